"""The border prior over a data set, image by image, in any process; no network."""

from __future__ import annotations

from dataclasses import dataclass, field

from wend.errors import InputError
from wend.localize import border_prior
from wend.localize.border_prior import BorderPriorConfig
from wend.localize.cost import Stopwatch, cost_row
from wend.localize.found import BOXES_STEP, image_row
from wend.parts import Parts
from wend.structures.data_set import DataSet

LAP = 32  # images whose cost is noted together


@dataclass(frozen=True)
class BorderOptions:
    """The options of a run.

    Attributes:
        config: of the prior.
        num_workers: processes that do the work; 0: this one.
        number: boxes per image at most, at least 1.
        skip_unreadable: an image that cannot be read is noted, not raised.
    """

    config: BorderPriorConfig = field(default_factory=BorderPriorConfig)
    num_workers: int = 0
    number: int = 1
    skip_unreadable: bool = False


def localize(data_set: DataSet, parts: Parts, options: BorderOptions) -> str:
    """Find the boxes of this process's share of the images; ``parts`` notes them.

    Returns:
        The empty string: no shard waits for another.

    Raises:
        InputError: an image cannot be read (unless skipped).
    """
    keys = data_set.keys
    mine = parts.share("border", range(len(keys)), lambda i: keys[i] in parts.done, lambda _: 1)
    files = [data_set.file_names[i] for i in mine]
    how = (options.num_workers, data_set.exif, options.number, data_set.max_megapixels)
    results = border_prior.localize(files, options.config, *how)
    watch = Stopwatch()
    for i, (index, result) in enumerate(zip(mine, results, strict=True), start=1):
        if isinstance(result, InputError) and not options.skip_unreadable:
            raise result
        row = str(result) if isinstance(result, InputError) else result
        parts.add([image_row(keys[index], row)])
        parts.advance(1)
        if i % LAP == 0 or i == len(mine):
            cost = watch.lap((i - 1) % LAP + 1)
            parts.add([cost_row(keys[index], BOXES_STEP, cost)])
    parts.end_step(BOXES_STEP)
    return ""
