"""A data set as one table: images, truth, pseudo boxes and classes as columns.

Lists from code, COCO files, folders and imported stores all become a :class:`DataSet`; whoever
works on many images uses the columns, whoever looks at one asks for its row.

Shape letters: I = images.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from wend.errors import BadImageError, InputError, MissingImageError, shown, some
from wend.structures.box_table import BoxTable
from wend.structures.masks import MaskFiles
from wend.structures.records import EXIF, MAX_MEGAPIXELS, ImageId, ImageRecord

BOX_KINDS = ("pseudo_boxes", "gt_boxes")  # as declarations and ImageRecord call them


@dataclass(frozen=True, eq=False, repr=False)
class DataSet(Sequence[ImageRecord]):
    """I images of a data set. ``data_set[i]`` is a row, made when it is asked for.

    Attributes:
        name: what files and folders of results are called after.
        image_ids: I of them, all different.
        file_names: paths of the image files.
        keys: by which boxes and class predictions of any root find the images.
        sizes: (I, 2) int64 width and height in original pixels; 0, 0 where the header cannot be
            read (see ``unreadable``).
        class_ids: (I,) int64 classes from 0; -1 where an image has none.
        truth: true boxes in original pixels, for evaluation only (or an upper bound).
        pseudo_boxes: boxes to learn from, in original pixels; with their source's scores, if it has
            some.
        train_on: "pseudo_boxes", or "gt_boxes" for a fully supervised upper bound.
        left_out: why boxes of the source are not among the pseudo boxes, and how many of them
            (images, for those of other images); see ``wend.pseudo_boxes.report.KINDS``.
        exif: "ignore": sizes, boxes and pixels are of the image files as stored; "apply": of the
            images turned by EXIF's orientation.
        max_megapixels: an image file that states more pixels, in millions, is not decoded.
        unreadable: index of an image whose header cannot be read -> the error that says why.
        category_ids: what the truth's COCO file calls the classes 0, 1, ...; empty where classes
            are no categories of a file.
        masks: for each image the files of its objects' masks, for evaluation only; None for a data
            set whose truth are boxes alone.
        files: files that hold the truth, where they are few, for hashes in results.
        reopen: makes the data set anew in another process, which then shares its pages; None for
            one that is held in memory, which is copied.
    """

    name: str
    image_ids: Sequence[ImageId]
    file_names: Sequence[str]
    keys: Sequence[str]
    sizes: np.ndarray
    class_ids: np.ndarray
    truth: BoxTable
    pseudo_boxes: BoxTable
    train_on: str = "pseudo_boxes"
    exif: str = "ignore"
    max_megapixels: float = MAX_MEGAPIXELS
    left_out: Mapping[str, int] = field(default_factory=dict)
    unreadable: Mapping[int, BadImageError] = field(default_factory=dict)
    category_ids: tuple[int, ...] = ()
    masks: Sequence[MaskFiles] | None = None
    files: tuple[Path, ...] = ()
    reopen: tuple[Callable, tuple] | None = None

    def __post_init__(self) -> None:
        number = len(self.image_ids)
        lengths = {
            "file_names": len(self.file_names),
            "keys": len(self.keys),
            "sizes": len(self.sizes),
            "class_ids": len(self.class_ids),
            "truth": len(self.truth),
            "pseudo_boxes": len(self.pseudo_boxes),
            "masks": number if self.masks is None else len(self.masks),
        }
        wrong = [f"{length} {column}" for column, length in lengths.items() if length != number]
        if wrong:
            raise InputError(f"data set {self.name}: {number} image ids but {', '.join(wrong)}")
        if self.train_on not in BOX_KINDS:
            raise InputError(
                f"data set {self.name!r}: train_on must be one of {BOX_KINDS}, got "
                f"{self.train_on!r}"
            )
        if self.exif not in EXIF:
            raise InputError(
                f"data set {self.name!r}: exif must be one of {EXIF}, got {self.exif!r}"
            )

    @classmethod
    def from_records(cls, records: Iterable[ImageRecord], name: str = "") -> DataSet:
        """The table of rows, whose boxes were checked when they were made.

        Raises:
            InputError: a width, height or class that is no whole number from 0, or rows of both
                policies on EXIF.
        """
        rows = list(records)
        policies = {row.exif for row in rows} or {"ignore"}
        if len(policies) > 1:
            raise InputError(f"data set {name}: expected rows of one exif policy, got both")
        widths = _whole_numbers(name, "width", [row.width for row in rows])
        heights = _whole_numbers(name, "height", [row.height for row in rows])
        known = [i for i, row in enumerate(rows) if row.class_id is not None]
        class_ids = np.full(len(rows), -1, dtype=np.int64)
        class_ids[known] = _whole_numbers(name, "class_id", [rows[i].class_id for i in known])
        return cls(
            name=name,
            image_ids=[row.image_id for row in rows],
            file_names=[row.file_name for row in rows],
            keys=[row.key for row in rows],
            sizes=np.stack([widths, heights], 1),
            class_ids=class_ids,
            truth=BoxTable.from_arrays([row.gt_boxes for row in rows]),
            pseudo_boxes=_pseudo_boxes(rows),
            exif=policies.pop(),
            max_megapixels=min((row.max_megapixels for row in rows), default=MAX_MEGAPIXELS),
        )

    def __repr__(self) -> str:
        return f"<DataSet {self.name!r} of {len(self)} images>"

    def __len__(self) -> int:
        return len(self.image_ids)

    @overload
    def __getitem__(self, index: int) -> ImageRecord: ...

    @overload
    def __getitem__(self, index: slice) -> list[ImageRecord]: ...

    def __getitem__(self, index: int | slice) -> ImageRecord | list[ImageRecord]:
        """The row of an image; of a slice, a list of rows."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = operator.index(index)
        if row < 0:
            row += len(self)
        if not 0 <= row < len(self):
            raise IndexError(f"{self.name}: image {index} of {len(self)}")
        width, height = self.sizes[row].tolist()
        class_id = int(self.class_ids[row])
        return ImageRecord.trusted(
            image_id=self.image_ids[row],
            file_name=self.file_names[row],
            width=width,
            height=height,
            key=self.keys[row],
            class_id=None if class_id < 0 else class_id,
            gt_boxes=self.truth[row],
            pseudo_boxes=self.pseudo_boxes[row],
            exif=self.exif,
            max_megapixels=self.max_megapixels,
            pseudo_scores=(
                None if self.pseudo_boxes.scores is None else self.pseudo_boxes.scores_of(row)
            ),
        )

    def __reduce__(self) -> tuple:
        if self.reopen is not None:
            return _reopened, (self.reopen, self.name, self.train_on, self.max_megapixels)
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return _made, (values,)

    @property
    def training_boxes(self) -> BoxTable:
        """The boxes that a detector learns from in this data set."""
        return self.truth if self.train_on == "gt_boxes" else self.pseudo_boxes

    @property
    def frame_sizes(self) -> np.ndarray:
        """Sizes (I, 2) as float64 to map boxes by; 1, 1 for an image whose size is not known.

        The pseudo boxes of such an image are fractions, so that they can still be counted.
        """
        return np.maximum(self.sizes, 1.0)

    @cached_property
    def index_of_id(self) -> dict[ImageId, int]:
        """Image id -> index; InputError if two images share an id."""
        index_of = {image_id: i for i, image_id in enumerate(self.image_ids)}
        if len(index_of) < len(self):
            raise InputError(
                f"data set {self.name}: {len(self)} images but {len(index_of)} different image ids"
            )
        return index_of

    @cached_property
    def index_of_key(self) -> dict[str, int]:
        """Key -> index; of images that share a key, the first."""
        index_of: dict[str, int] = {}
        for i, key in enumerate(self.keys):
            index_of.setdefault(key, i)
        return index_of

    def shared_keys(self) -> list[str]:
        """Keys of the images that share theirs with an earlier one."""
        first = self.index_of_key
        if len(first) == len(self):
            return []
        return [key for i, key in enumerate(self.keys) if first[key] != i]

    def with_pseudo_boxes(
        self, pseudo_boxes: BoxTable, left_out: Mapping[str, int] | None = None
    ) -> DataSet:
        """The same images with other boxes to learn from; ``left_out``: see the attribute."""
        return replace(self, pseudo_boxes=pseudo_boxes, left_out=dict(left_out or {}), reopen=None)

    def take(self, images: np.ndarray | Sequence[int]) -> DataSet:
        """The data set of some images, in the order of their indices (n,); held in memory."""
        images = np.asarray(images, dtype=np.int64)
        chosen = images.tolist()
        new_index = {old: new for new, old in enumerate(chosen)}
        return replace(
            self,
            image_ids=[self.image_ids[i] for i in chosen],
            file_names=[self.file_names[i] for i in chosen],
            keys=[self.keys[i] for i in chosen],
            sizes=self.sizes[images],
            class_ids=self.class_ids[images],
            truth=self.truth.take(images),
            pseudo_boxes=self.pseudo_boxes.take(images),
            unreadable={
                new_index[i]: error for i, error in self.unreadable.items() if i in new_index
            },
            masks=None if self.masks is None else [self.masks[i] for i in chosen],
            reopen=None,
        )

    def require_plain_ids(self) -> None:
        """Raise InputError unless the ids are numbers of 64 bits or text, as a column holds them.

        Results have the images' ids in one column, and in JSON.
        """
        examples: dict[type, ImageId] = {}
        for image_id in self.image_ids:
            kind = int if isinstance(image_id, np.integer) else type(image_id)
            examples.setdefault(kind, image_id)
            if not _is_plain_id(image_id, kind):
                raise InputError(
                    f"{self.name}: expected ids of images that are whole numbers from -2^63 to "
                    f"2^63 - 1, or text, got {shown(image_id)}"
                )
        if len(examples) > 1:
            raise InputError(
                f"{self.name}: expected ids of images that are all numbers or all text, got "
                f"{some(map(repr, examples.values()))}"
            )

    def require_readable(self) -> None:
        """Raise the error of the images whose headers cannot be read: how many, and the first."""
        if self.unreadable:
            raise unreadable_error(list(self.unreadable.values()), len(self))


def _is_plain_id(image_id: Any, kind: type) -> bool:
    if kind is int:
        return -(2**63) <= image_id < 2**63
    return kind is str and (image_id.isascii() or not re.search("[\ud800-\udfff]", image_id))


def unreadable_error(errors: Sequence[BadImageError], total: int) -> BadImageError:
    """The error that stands for those of several of ``total`` images: how many, and the first."""
    absent = [error for error in errors if isinstance(error, MissingImageError)]
    if absent:
        names = some(str(error).split(": there is no")[0] for error in absent)
        return MissingImageError(
            f"{len(absent)} of {total} images are not there ({names}); unpack the data set's "
            f"images again, correct the folder or the list, or leave them out (format: coco: "
            f"missing_images: skip)"
        )
    more = f" ({len(errors)} of {total} images are so)" if len(errors) > 1 else ""
    return BadImageError(f"{errors[0]}{more}")


def _whole_numbers(name: str, column: str, values: Sequence[Any]) -> np.ndarray:
    for value in values:
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not whole or not 0 <= value < 2**63:
            raise InputError(
                f"data set {name}: {column}: expected whole numbers from 0 of at most 63 bits, got "
                f"{value!r}"
            )
    return np.array(values, dtype=np.int64)


def _pseudo_boxes(rows: Sequence[ImageRecord]) -> BoxTable:
    """The pseudo boxes of rows; with scores if a row has some, 1 where others have none."""
    table = BoxTable.from_arrays([row.pseudo_boxes for row in rows])
    if all(row.pseudo_scores is None for row in rows):
        return table
    scores = [
        np.ones(len(row.pseudo_boxes)) if row.pseudo_scores is None else row.pseudo_scores
        for row in rows
    ]
    return BoxTable.from_counts(table.counts, table.boxes, np.concatenate(scores))


def _reopened(
    reopen: tuple[Callable, tuple], name: str, train_on: str, max_megapixels: float
) -> DataSet:
    function, arguments = reopen
    data_set = function(*arguments)
    return replace(data_set, name=name, train_on=train_on, max_megapixels=max_megapixels)


def _made(values: dict) -> DataSet:
    return DataSet(**values)
