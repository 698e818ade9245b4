"""The findings of a join, as counts and one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wend.structures.box_table import BoxTable
from wend.structures.plausibility import Finding

EXAMPLES = 3
KINDS = {  # what can be wrong -> how the table calls it; strict turns each into an error
    "missing": "images without a box",
    "surplus": "images of the source that the data set lacks",
    "contaminated": "ImageNet validation images in the source",
    "repeated": "duplicates that agree, left out",
    "conflicting": "duplicates that disagree, the last one counts",
    "zero_area": "boxes of zero area (nothing found), left out",
    "outside": "boxes that leave the image, clipped",
    "vanished": "boxes wholly outside the image, left out",
    "whole_image": "boxes of the whole image (>= 99 % of it), kept",
    "other_shape": "images whose stated shape is another (turned by EXIF?)",
    "exchanged": "images whose width and height the file exchanges; their masks' counts",
    "crowd": "boxes of crowds, left out",
}
LEFT_OUT = ("surplus", "zero_area", "vanished", "crowd")  # of them, boxes that nobody learns from
CHOSEN = {  # what the user asked for
    "below_min_score": "boxes below min_score, left out",
    "beyond_max_boxes": "boxes beyond max_boxes, left out",
}


@dataclass(frozen=True)
class Count:
    """How often a kind of finding occurred, and the keys of the first."""

    number: int = 0
    examples: tuple[str, ...] = ()

    @classmethod
    def from_indices(cls, keys: Sequence[str], indices: np.ndarray) -> Count:
        """The count of the indices (n,) of keys."""
        first = [keys[i] for i in indices[:EXAMPLES].tolist()]
        return cls(len(indices), tuple(dict.fromkeys(first)))


def count_all(keys: Sequence[str], findings: Mapping[str, np.ndarray]) -> dict[str, Count]:
    """The counts of findings: kind -> indices (n,) of keys."""
    return {kind: Count.from_indices(keys, indices) for kind, indices in findings.items()}


def add_counts(a: Mapping[str, Count], b: Mapping[str, Count]) -> dict[str, Count]:
    """The sums of two mappings of kinds to counts."""
    sums = dict(a)
    for kind, count in b.items():
        old = sums.get(kind, Count())
        examples = dict.fromkeys([*old.examples, *count.examples])
        sums[kind] = Count(old.number + count.number, tuple(examples)[:EXAMPLES])
    return sums


@dataclass(frozen=True)
class AttachReport:
    """The result of joining a source's boxes with a data set.

    Attributes:
        source: where they come from.
        num_images: images of the data set.
        num_boxes: boxes that they were given.
        counts: kind (a key of :data:`KINDS`) -> how often, with the first keys.
        per_image: number of boxes -> number of images with so many.
        implausible: why the boxes are hardly pixels of their images.
        stated: the boxes of the images in original pixels as they stand in the files, before they
            were cut at the borders; None for a report that was not made by a join.
    """

    source: str
    num_images: int
    num_boxes: int
    counts: Mapping[str, Count]
    per_image: Mapping[int, int]
    implausible: tuple[Finding, ...] = ()
    stated: BoxTable | None = None

    def number(self, kind: str) -> int:
        """How often a kind of finding occurred."""
        return self.counts.get(kind, Count()).number

    @property
    def matched(self) -> int:
        """Images with a pseudo box."""
        return self.num_images - self.number("missing")

    @property
    def left_out(self) -> dict[str, int]:
        """Kinds of :data:`LEFT_OUT` that occurred, and how often."""
        return {kind: self.number(kind) for kind in LEFT_OUT if self.number(kind)}

    def brief(self) -> str:
        """A line, where there is nothing that the table of counts would tell beside it."""
        if any(self.number(kind) for kind in (*KINDS, *CHOSEN)):
            return self.text()
        return (
            f"{self.source}: boxes of all {self.num_images} images, "
            f"{self.num_boxes / max(self.num_images, 1):.2f} per image; none left out or changed"
        )

    def rows(self) -> list[tuple[str, str, str]]:
        """The table's rows: kind of finding, number and the first keys."""
        rows = [("images matched", str(self.matched), f"of {self.num_images}")]
        for kind, title in {**KINDS, **CHOSEN}.items():
            count = self.counts.get(kind, Count())
            if count.number or kind in list(KINDS)[:-2]:
                rows.append((title, str(count.number), ", ".join(count.examples)))
        several = [f"{num}: {images}" for num, images in list(self.per_image.items())[:8]]
        more = len(self.per_image) - len(several)
        text = ", ".join(several) + (f", ... up to {max(self.per_image)}" if more else "")
        mean = self.num_boxes / max(self.num_images, 1)
        return [*rows, ("boxes per image", f"{mean:.2f}", f"number: images = {text}")]

    def __str__(self) -> str:
        return self.text()

    def text(self, more: Sequence[tuple[str, str, str]] = ()) -> str:
        """The source and the table, with more rows at its end."""
        from tabulate import tabulate

        header = ("pseudo boxes", "number", "the first")
        columns = ("left", "right", "left")
        rows = [*self.rows(), *more]
        table = tabulate(rows, header, disable_numparse=True, colalign=columns)
        return f"{self.source}\n{table}"

    def to_dict(self) -> dict:
        """The report as plain values, for JSON."""
        counts = {kind: self.number(kind) for kind in (*KINDS, *CHOSEN)}
        return {
            "source": self.source,
            "images": self.num_images,
            "boxes": self.num_boxes,
            "matched": self.matched,
            "counts": counts,
            "first": {kind: list(count.examples) for kind, count in self.counts.items()},
            "boxes_per_image": {str(num): images for num, images in self.per_image.items()},
            "implausible": [finding.message for finding in self.implausible],
        }
