"""The first epoch: what is left of the boxes, said once; the run ends where it would learn nothing.

Each process counts its own batches and all add up, so that they decide alike.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from wend import processes
from wend.errors import InputError
from wend.files import write_json
from wend.loading.box_counts import LOST, BoxCounts
from wend.losses import PositiveCounts
from wend.run_files import FIRST_EPOCH_FILE

PERIOD = 20  # steps after which processes add up their counts
FEW = 100  # boxes; so many lost and none left is no chance
Gather = Callable[[Any], list[Any]]
logger = logging.getLogger(__name__)


class FirstEpoch:
    """Counts boxes until each training image was seen about once.

    Args:
        names: the data sets, for messages.
        num_boxes: boxes to learn from of all images.
        left_out: why others were none before, in words, and how many.
        steps: steps of an epoch.
        max_lost: share of the boxes that may be lost.
        positives: the detector's losses count their positive samples here.
        output_dir: gets ``first_epoch.json``; None for a process that writes nothing.
        gather: makes of each process's value the list of all, on all; None: there is one process.

    Attributes:
        counts: of all processes, as of the last time that they added up.
    """

    def __init__(
        self,
        *,
        names: str,
        num_boxes: int,
        steps: int,
        max_lost: float,
        left_out: Mapping[str, int] = MappingProxyType({}),
        positives: Sequence[PositiveCounts] = (),
        output_dir: str | Path | None = None,
        gather: Gather | None = None,
    ) -> None:
        self.names, self.num_boxes, self.steps = names, num_boxes, steps
        self.max_lost, self.left_out, self.positives = max_lost, left_out, positives
        self.output_dir, self.gather = output_dir, gather
        self.counts = BoxCounts()
        self._own = BoxCounts()
        self._step = self._taken = 0
        self._everybodys: dict[str, Any] = {}

    def exchange(self) -> None:
        """Learn what all processes have counted, for :meth:`state_dict`; all of them call it."""
        if self.is_over:
            return
        own = self._own, [counted.so_far() for counted in self.positives]
        each = [own] if self.gather is None else self.gather(own)
        positives = zip(*(numbers for _, numbers in each), strict=True)
        self._everybodys = {
            "counts": BoxCounts.total(counts for counts, _ in each)._asdict(),
            "positives": [[*map(sum, zip(*rows, strict=True))] for rows in positives],
        }

    def state_dict(self) -> dict[str, Any]:
        """Steps taken, and the counts of all processes as of the last :meth:`exchange`."""
        return {"step": self._step, **({} if self.is_over else self._everybodys)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with it; the first process takes the counts of all, whose sum stays the same."""
        step, counts = int(state["step"]), state.get("counts")
        if counts is None and step < self.steps:
            return  # nobody counted
        self._step = self._taken = step
        if counts is not None and processes.is_main():
            self._own = BoxCounts(**{name: int(number) for name, number in counts.items()})
            for counted, numbers in zip(self.positives, state["positives"], strict=True):
                counted.go_on(*map(int, numbers))

    @property
    def is_over(self) -> bool:
        """Whether it counts no longer."""
        return self._step >= self.steps

    def add(self, counts: Iterable[BoxCounts]) -> None:
        """Count a batch of this process."""
        if not self.is_over:
            self._own = BoxCounts.total([self._own, *counts])

    def after_step(self, *, last: bool) -> None:
        """Note that a step was taken; all processes call it after each of theirs.

        Args:
            last: the training ends here, though the epoch may not be over.

        Raises:
            InputError: no box is left, or too few; on all processes alike.
        """
        if self.is_over:
            return
        self._taken = self._step + 1
        self._step = self.steps if last else self._taken
        if not self.is_over and self._step % PERIOD:
            return
        own = self._own
        self.counts = BoxCounts.total([own] if self.gather is None else self.gather(own))
        positives = self._positives() if self.is_over else None
        if self.is_over:
            self._say(positives)
            self._write(positives)
        self._check()
        self._check_positives(positives)

    def _check(self) -> None:
        lost, boxes = self.counts.lost, self.counts.boxes
        due = self.num_boxes * self._taken / self.steps  # of so many steps
        if not boxes and due >= min(FEW, self.num_boxes) > 0:
            raise InputError(
                f"{self.names}: none of {self.counts.images} images came with a box, and the data "
                f"sets have {self.num_boxes} to learn from; a mapper or loader of your own leaves "
                f"out all of them"
            )
        # all those of the epoch, whatever becomes of the others; a shorter training has no others
        total = boxes if self.is_over and boxes >= FEW else max(boxes, self.num_boxes)
        seen = f"{lost} of {boxes} boxes to learn from"
        if 0 < lost == boxes and (self.is_over or boxes >= FEW):
            problem = f"none is left: {seen} were lost on the way to the detector"
        elif lost > self.max_lost * total:
            problem = (
                f"{seen} were lost on the way to the detector, and WEND.DATA.MAX_LOST_SHARE allows "
                f"{100 * self.max_lost:g} %"
            )
        else:
            return
        likely = max(LOST, key=lambda cause: getattr(self.counts, cause))
        raise InputError(f"{self.names}: {problem} ({self._causes()}); {LOST[likely][1]}")

    def _causes(self) -> str:
        numbers = {words: getattr(self.counts, name) for name, (words, _) in LOST.items()}
        return ", ".join(f"{number} {words}" for words, number in numbers.items() if number)

    def _check_positives(self, positives: tuple[int, int, int] | None) -> None:
        if positives is not None and not positives[1]:
            raise InputError(
                f"{self.names}: none of the {positives[0]} boxes that reached the detector has a "
                f"positive sample, it would learn background alone; are they too small for its "
                f"locations or anchors? Take finer feature maps (such as WEND.FCOS.IN_FEATURES), a "
                f"larger WEND.RESIZE and WEND.CROP, or other boxes"
            )

    def _say(self, positives: tuple[int, int, int] | None) -> None:
        counts = self.counts
        lost = f" ({self._causes()}), all those of {counts.emptied} images" if counts.lost else ""
        logger.info(
            "first epoch of %s: %d images, %d of them without a box; %d boxes to learn from, "
            "%d lost on the way to the detector%s%s",
            *(self.names, counts.images, counts.without_box, counts.boxes, counts.lost, lost),
            "".join(f"; before, {number} {words}" for words, number in self.left_out.items()),
        )
        if positives is not None:
            boxes, samples, without = positives
            logger.log(
                logging.WARNING if without > self.max_lost * boxes else logging.INFO,
                "first epoch of %s: %.2f positive samples per box that reached the detector; %d of "
                "%d boxes (%.1f %%) had none",
                *(self.names, samples / boxes, without, boxes, 100 * without / boxes),
            )

    def _write(self, positives: tuple[int, int, int] | None) -> None:
        if self.output_dir is None:
            return
        content = {"data_sets": self.names, "lost": self.counts.lost, **self.counts._asdict()}
        content["left_out_before"] = dict(self.left_out)
        if positives is not None:
            keys = ("boxes", "positive_samples", "boxes_without")
            content["positives"] = dict(zip(keys, positives, strict=True))
        write_json(Path(self.output_dir) / FIRST_EPOCH_FILE, content, indent=1)

    def _positives(self) -> tuple[int, int, int] | None:
        """Boxes, positive samples, and boxes without one, of all processes; None if not counted."""
        own = [counted.read() for counted in self.positives]
        everybodys = [own] if self.gather is None else self.gather(own)
        totals = [numbers for each in everybodys for numbers in each]
        boxes, samples, without = map(sum, zip((0, 0, 0), *totals, strict=True))
        return (boxes, samples, without) if boxes else None
