"""Any method that makes an image's boxes of its own maps, over a data set, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from wend.localize.boxes import Refine
from wend.localize.cost import Stopwatch, cost_row
from wend.localize.found import BOXES_STEP, Boxes, Result, image_row
from wend.localize.network_pass import NetworkPass
from wend.parts import Parts

BoxesOf = Callable[[Sequence[int], Tensor, Sequence["Refine | None"]], Sequence[Boxes]]


def batches_of(number: int, size: int) -> list[range]:
    """The batches of so many images."""
    return [range(start, min(start + size, number)) for start in range(0, number, size)]


def localize(network: NetworkPass, parts: Parts, name: str, size: int, boxes_of: BoxesOf) -> str:
    """Find the boxes of this process's share of the images; ``parts`` notes them.

    Args:
        name: of the method, for the progress.
        size: images at a time.
        boxes_of: indices of n images, their maps (n, C, h, w), and what refines maps of each ->
            the boxes of each.

    Returns:
        The empty string: no shard waits for another.

    Raises:
        InputError: an image cannot be read (unless skipped), or maps are not finite.
    """
    keys = network.data_set.keys

    def is_done(batch: Sequence[int]) -> bool:
        return all(keys[index] in parts.done for index in batch)

    mine = parts.share(name, batches_of(len(keys), size), is_done, len)
    watch = Stopwatch()
    for batch, passed in zip(mine, network.batches(mine), strict=True):
        results: dict[int, Result] = dict(passed.errors)
        if passed.maps is not None:
            readable = [index for index in batch if index not in passed.errors]
            made = boxes_of(readable, passed.maps, passed.refine)
            results |= zip(readable, made, strict=True)
        cost = watch.lap(len(batch), passed.waiting, passed.network)
        rows = [image_row(keys[index], results[index]) for index in batch]
        parts.add([*rows, cost_row(keys[batch[0]], BOXES_STEP, cost)])
        parts.advance(len(batch))
    parts.end_step(BOXES_STEP)
    return ""
