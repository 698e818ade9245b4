"""One method over a job's images, from the request to its files."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wend.localize.found import BOXES_STEP, FORMAT, LEFTOVERS, from_row, part_folder
from wend.localize.job import Job
from wend.localize.methods_ready import make_ready
from wend.localize.request import Request
from wend.localize.whole import write_whole
from wend.localize.writers import is_done
from wend.parts import Parts
from wend.structures.box_table import BoxTable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """What a run of a method has come to.

    Attributes:
        settings: what the boxes depend on, as their file says it.
        is_whole: whether the files of all images are there.
        boxes: of the data set's images, in original pixels, scored; None where this process has
            not made the whole, be it that it was there.
        waits: of a shard: for which shards' share of a step this one waits, in words; else "".
        progress: of a shard: how many images are done, and which shards are not.
    """

    settings: dict[str, Any]
    is_whole: bool
    boxes: BoxTable | None = None
    waits: str = ""
    progress: str = ""


def make_boxes(request: Request, job: Job, output: str | Path, split: str) -> Made:
    """Make a method's boxes, or go on with them; all processes of the job's crew call it.

    Args:
        output, split: the folder that gets ``<split>/``, and ``<split>.partial`` meanwhile.

    Raises:
        InputError: the user's input is wrong.
    """
    data_set, crew = job.data_set, job.crew
    ready = make_ready(request, job)
    settings = {"method": request.method, **job.images, **ready.settings}
    if request.number > 1:
        settings["boxes"] = request.number
    settings = json.loads(json.dumps(settings))  # as they are read back

    def is_there() -> bool:
        there = crew.is_main and is_done(output, split, data_set.keys, settings)
        if there:
            logger.info("%s: is there already, made with the same settings", output)
        return crew.broadcast(there)

    if is_there():  # a folder that cannot be written into is no problem then
        return Made(settings, True)
    parts: Parts
    with Parts(
        Path(output) / split,
        part_folder(output, split),
        FORMAT,
        settings,
        from_row,
        crew,
        job.shard,
        LEFTOVERS,
        doing="wend pseudo-boxes",
    ) as parts:
        if is_there():  # another run has just ended
            return Made(settings, True)
        step = ready.work(parts)
        if job.shard is None:
            boxes = write_whole(output, split, data_set, parts) if crew.is_main else None
            return Made(settings, True, boxes)
        if step:
            return Made(settings, False, waits=parts.open_shards(step) or "others have not ended")
        number = len(data_set)
        open_shards = parts.what_is_open(number, BOXES_STEP)
        progress = f"of {number} images {parts.num_images} are ({open_shards})"
        return Made(settings, False, progress=progress)
