"""A data set as one table: images, truth, pseudo boxes and classes as columns.

Lists from code, COCO files, folders and imported stores all become a :class:`DataSet`; whoever
works on many images uses the columns, whoever looks at one asks for its row.

Shape letters: I = images.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from wend.errors import BadImageError, InputError, MissingFileError, some
from wend.structures.box_table import BoxTable
from wend.structures.records import ImageId, ImageRecord

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
        pseudo_boxes: boxes to learn from, in original pixels.
        train_on: "pseudo_boxes", or "gt_boxes" for a fully supervised upper bound.
        unreadable: index of an image whose header cannot be read -> the error that says why.
        files: files that hold the truth, as far as they are few, for hashes in results.
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
    unreadable: Mapping[int, BadImageError] = field(default_factory=dict)
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
        }
        wrong = [f"{length} {column}" for column, length in lengths.items() if length != number]
        if wrong:
            raise InputError(f"data set {self.name}: {number} image ids but {', '.join(wrong)}")
        if self.train_on not in BOX_KINDS:
            raise InputError(
                f"data set {self.name!r}: train_on must be one of {BOX_KINDS}, got "
                f"{self.train_on!r}"
            )

    @classmethod
    def from_records(cls, records: Iterable[ImageRecord], name: str = "") -> DataSet:
        """The table of rows, which were checked when they were made."""
        rows = list(records)
        classes = [-1 if row.class_id is None else row.class_id for row in rows]
        sizes = np.array([(row.width, row.height) for row in rows], dtype=np.int64)
        return cls(
            name=name,
            image_ids=[row.image_id for row in rows],
            file_names=[row.file_name for row in rows],
            keys=[row.key for row in rows],
            sizes=sizes.reshape(-1, 2),
            class_ids=np.array(classes, dtype=np.int64),
            truth=_joined([row.gt_boxes for row in rows]),
            pseudo_boxes=_joined([row.pseudo_boxes for row in rows]),
        )

    def __repr__(self) -> str:
        return f"<DataSet {self.name!r} of {len(self)} images>"

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index):
        """The row of an image; of a slice, a list of rows."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = operator.index(index)
        if place < 0:
            place += len(self)
        if not 0 <= place < len(self):
            raise IndexError(f"{self.name}: image {index} of {len(self)}")
        width, height = self.sizes[place].tolist()
        class_id = int(self.class_ids[place])
        return ImageRecord.trusted(
            image_id=self.image_ids[place],
            file_name=self.file_names[place],
            width=width,
            height=height,
            key=self.keys[place],
            class_id=None if class_id < 0 else class_id,
            gt_boxes=self.truth[place],
            pseudo_boxes=self.pseudo_boxes[place],
        )

    def __reduce__(self) -> tuple:
        if self.reopen is not None:
            return _reopened, (self.reopen, self.name, self.train_on)
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return _made, (values,)

    @property
    def training_boxes(self) -> BoxTable:
        """The boxes that a detector learns from in this data set."""
        return self.truth if self.train_on == "gt_boxes" else self.pseudo_boxes

    @cached_property
    def index_of_id(self) -> dict[ImageId, int]:
        """Image id -> index; InputError if two images share an id."""
        places = {image_id: i for i, image_id in enumerate(self.image_ids)}
        if len(places) < len(self):
            raise InputError(
                f"data set {self.name}: {len(self)} images but {len(places)} different image ids"
            )
        return places

    @cached_property
    def index_of_key(self) -> dict[str, int]:
        """Key -> index; of images that share a key, the first."""
        places: dict[str, int] = {}
        for i, key in enumerate(self.keys):
            places.setdefault(key, i)
        return places

    def shared_keys(self) -> list[str]:
        """Keys of the images that share theirs with an earlier one."""
        first = self.index_of_key
        if len(first) == len(self):
            return []
        return [key for i, key in enumerate(self.keys) if first[key] != i]

    def with_pseudo_boxes(self, pseudo_boxes: BoxTable) -> DataSet:
        """The same images with other boxes to learn from."""
        return replace(self, pseudo_boxes=pseudo_boxes, reopen=None)

    def take(self, images: np.ndarray | Sequence[int]) -> DataSet:
        """The data set of some images, in the order of their indices (n,); held in memory."""
        images = np.asarray(images, dtype=np.int64)
        chosen = images.tolist()
        at = {place: new for new, place in enumerate(chosen)}
        return replace(
            self,
            image_ids=[self.image_ids[i] for i in chosen],
            file_names=[self.file_names[i] for i in chosen],
            keys=[self.keys[i] for i in chosen],
            sizes=self.sizes[images],
            class_ids=self.class_ids[images],
            truth=self.truth.take(images),
            pseudo_boxes=self.pseudo_boxes.take(images),
            unreadable={at[i]: error for i, error in self.unreadable.items() if i in at},
            reopen=None,
        )

    def require_readable(self) -> None:
        """Raise the error of the images whose headers cannot be read: how many, and the first."""
        errors = list(self.unreadable.values())
        absent = [error for error in errors if isinstance(error, MissingFileError)]
        if absent:
            names = some(str(error).split(": there is no")[0] for error in absent)
            raise MissingFileError(
                f"{len(absent)} of {len(self)} images are not there ({names}); unpack the data "
                f"set's images again, or correct the folder or the list"
            )
        if errors:
            more = f" ({len(errors)} of {len(self)} images are so)" if len(errors) > 1 else ""
            raise BadImageError(f"{errors[0]}{more}")


def _joined(parts: Sequence[np.ndarray]) -> BoxTable:
    offsets = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    return BoxTable(offsets, np.concatenate([np.zeros((0, 4)), *parts]))


def _reopened(reopen: tuple[Callable, tuple], name: str, train_on: str) -> DataSet:
    function, arguments = reopen
    return replace(function(*arguments), name=name, train_on=train_on)


def _made(values: dict) -> DataSet:
    return DataSet(**values)
