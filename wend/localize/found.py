"""What is found in an image, and how a part of a run (:mod:`wend.parts`) notes it.

Rows of images: ``{"key", "boxes"}`` or ``{"key", "error"}``; of what they cost:
:mod:`wend.localize.cost`. DDT's others, of which
:mod:`wend.localize.ddt_run` says more: ``{"key", "boxes", "turned", "group"}`` of an image whose
group's sign is not known yet, ``{"group", "block", "blocks", "extreme", "contrast"}`` of a block of
a group's images whose boxes are done, and ``{"sums", "block"}`` of one whose sums are.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wend.localize.boxes import FoundBox
from wend.localize.cost import cost_from_row

FORMAT = "wend-pseudo-boxes-part-4"
SUMS = "sums"  # folder of DDT's sums beside the parts
SUMS_STEP, BOXES_STEP = "sums", "boxes"  # what shards note as finished
LEFTOVERS = (SUMS, "found.jsonl", "group.npz")  # the last two of earlier versions
Boxes = tuple[FoundBox, ...]
Result = Boxes | str  # an image's boxes, or the message of the error that reading it ended in


@dataclass(frozen=True)
class GroupBlock:
    """The key of a block of a group's images."""

    group: str
    block: int


@dataclass(frozen=True)
class SumsOf:
    """The key of a block whose descriptors' sums are in a file."""

    sums: str
    block: int


@dataclass(frozen=True, slots=True)
class EitherSide:
    """An image's boxes on both sides of its group's component, whose sign is not known yet."""

    boxes: Boxes
    turned: Boxes
    group: str


@dataclass(frozen=True, slots=True)
class BlockStatistics:
    """What the sign of a group depends on, of one of its blocks.

    Attributes:
        blocks: how many the group has.
        extreme: the projection of the largest magnitude; None where no image could be read.
        contrast: :meth:`wend.localize.ddt.Moments.border_contrast` of the whole group.
    """

    blocks: int
    extreme: float | None
    contrast: float


def part_folder(output: str | Path, split: str) -> Path:
    """The folder of the parts of an unfinished run."""
    return Path(output) / f"{split}.partial"


def image_row(key: str, result: Result | EitherSide) -> dict[str, Any]:
    """An image's row."""
    if isinstance(result, str):
        return {"key": key, "error": result}
    if isinstance(result, EitherSide):
        sides = {"boxes": _values(result.boxes), "turned": _values(result.turned)}
        return {"key": key, **sides, "group": result.group}
    return {"key": key, "boxes": _values(result)}


def _values(boxes: Boxes) -> list[list]:
    return [[*b.box, b.score, b.whole_image, b.unrefined] for b in boxes]


def _boxes(values: list[list]) -> Boxes:
    return tuple(FoundBox((x0, y0, x1, y1), *rest) for x0, y0, x1, y1, *rest in values)


def from_row(row: dict[str, Any]) -> tuple[Hashable, Any]:
    """Key and item of any row."""
    if "key" in row:
        key = row["key"]
        if "error" in row:
            return key, row["error"]
        boxes = _boxes(row["boxes"])
        if "turned" in row:
            return key, EitherSide(boxes, _boxes(row["turned"]), row["group"])
        return key, boxes
    if "cost" in row:
        return cost_from_row(row)
    if "sums" in row:
        return SumsOf(row["sums"], row["block"]), None
    block = GroupBlock(row["group"], row["block"])
    return block, BlockStatistics(row["blocks"], row["extreme"], row["contrast"])
