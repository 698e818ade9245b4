"""The border prior over a data set, image by image, in any process; no network."""

from __future__ import annotations

from dataclasses import dataclass, field

from wend.errors import InputError
from wend.localize import border_prior
from wend.localize.border_prior import BorderPriorConfig
from wend.localize.cost import Cost, Stopwatch, cost_row
from wend.localize.found import BOXES_STEP, image_row
from wend.parts import Parts
from wend.structures.data_set import DataSet

LAP = 32  # images whose cost is one item of the parts


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
    first, cost = "", Cost()  # of the images that are noted together
    for i, (index, result) in enumerate(zip(mine, results, strict=True)):
        if isinstance(result, InputError) and not options.skip_unreadable:
            raise result
        row = str(result) if isinstance(result, InputError) else result
        if i % LAP == 0:
            first, cost = keys[index], Cost()
        cost += watch.lap(1)
        # of rows with one key the last counts, so that a kill takes no image's cost
        parts.add([image_row(keys[index], row), cost_row(first, BOXES_STEP, cost)])
        parts.advance(1)
    parts.end_step(BOXES_STEP)
    return ""
