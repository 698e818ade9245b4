"""The truth of a folder of images as files of others list it, before its images are known.

COCO's JSON, VOC's XML, YOLO's text files, Open Images' or Kaggle's CSV, or lines of boxes: which of
them it is, :func:`read_listed_truth` sees from the path and a CSV's first line.

Shape letters: L = images that are listed, B = boxes of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wend.errors import InputError, MissingFileError
from wend.formats import kaggle, openimages_csv
from wend.formats.coco import common_class, read_coco_truth
from wend.formats.voc import load_voc
from wend.formats.wsoleval import read_box_list
from wend.formats.yolo import find_yolo, read_yolo
from wend.images.paths import find_files
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageId

KINDS = (
    "a COCO JSON, a folder of VOC's XML or YOLO's text files, Open Images' or Kaggle's CSV, or a "
    "text file of lines <path>,<x0>,<y0>,<x1>,<y1>"
)
NO_CLASS = -1


@dataclass(frozen=True, eq=False)
class ListedTruth:
    """What a source says of L images.

    Attributes:
        names: L paths of images as they are listed, all different; VOC, YOLO, Open Images and
            Kaggle leave out the ending.
        truth: boxes of the L images in original pixels, or in fractions of width and height.
        is_fraction: whether they are fractions.
        sizes: (L, 2) int64 stated width and height in pixels; 0, 0 where there is none.
        class_ids: (L,) int64 classes from 0; -1 where an image has none, or several.
        image_ids: L ids, or None where the source has none.
    """

    names: Sequence[str]
    truth: BoxTable
    is_fraction: bool
    sizes: np.ndarray
    class_ids: np.ndarray
    image_ids: Sequence[ImageId] | None = None

    @classmethod
    def from_rows(
        cls,
        names: Sequence[str],
        boxes: np.ndarray,
        class_ids: np.ndarray | None,
        *,
        is_fraction: bool,
        images: Sequence[str] = (),
    ) -> ListedTruth:
        """The truth of rows: the image's path, box (B, 4) and class (B,) of each.

        Args:
            images: paths of the images, if some may have no row.
        """
        image_of = {name: i for i, name in enumerate(dict.fromkeys([*images, *names]))}
        owner = np.array([image_of[name] for name in names], dtype=np.int64)
        number = len(image_of)
        no_class = np.full(number, NO_CLASS, dtype=np.int64)
        return cls(
            names=list(image_of),
            truth=BoxTable.from_rows(owner, boxes, None, number),
            is_fraction=is_fraction,
            sizes=np.zeros((number, 2), dtype=np.int64),
            class_ids=no_class if class_ids is None else common_class(owner, class_ids, number),
        )

    @classmethod
    def from_data_set(cls, data_set: DataSet, *, has_ids: bool) -> ListedTruth:
        """The truth of a source that stands alone, with its ids if they are not only paths."""
        return cls(
            names=data_set.file_names,
            truth=data_set.truth,
            is_fraction=False,
            sizes=data_set.sizes,
            class_ids=data_set.class_ids,
            image_ids=data_set.image_ids if has_ids else None,
        )


def _read_folder(folder: Path) -> ListedTruth:
    xml, text = bool(find_files(folder, ".xml")), bool(find_yolo(folder))
    if xml == text:
        raise (InputError if xml else MissingFileError)(
            f"{folder}: holds {'both *.xml and *.txt' if xml else 'neither *.xml nor *.txt'}; "
            f"expected VOC's XML files or YOLO's text files there, one for each image"
        )
    if xml:
        return ListedTruth.from_data_set(load_voc(folder), has_ids=False)
    labels = read_yolo(folder)
    return ListedTruth.from_rows(
        labels.names, labels.boxes, labels.class_ids, is_fraction=True, images=labels.images
    )


def _read_csv(path: Path, groups: str) -> ListedTruth:
    if openimages_csv.is_openimages(path):
        rows = openimages_csv.read_openimages(path, groups)
        numbers = number_labels(rows.labels)
        return ListedTruth.from_rows(rows.names, rows.boxes, numbers, is_fraction=True)
    if kaggle.is_kaggle(path):
        solution = kaggle.read_kaggle(path)
        names = [name for name, labels, _ in solution for _ in labels]
        numbers = number_labels([label for _, labels, _ in solution for label in labels])
        boxes = np.concatenate([np.zeros((0, 4)), *(boxes for *_, boxes in solution)])
        images = [name for name, *_ in solution]
        return ListedTruth.from_rows(names, boxes, numbers, is_fraction=False, images=images)
    names, boxes = read_box_list(path)
    return ListedTruth.from_rows(names, boxes, None, is_fraction=False)


def number_labels(labels: Sequence[str]) -> np.ndarray:
    """The index (B,) of each label among the sorted different ones."""
    number_of = {label: number for number, label in enumerate(sorted(set(labels)))}
    return np.array([number_of[label] for label in labels], dtype=np.int64)


def read_listed_truth(source: str | Path, groups: str = "drop") -> ListedTruth:
    """Read truth of any of the :data:`KINDS`.

    Args:
        groups: of Open Images' boxes around groups of objects: "drop" or "keep" them.

    Raises:
        MissingFileError, InputError: there is none of these, or it is malformed.
    """
    source = Path(source)
    if source.is_dir():
        return _read_folder(source)
    if source.suffix.lower() == ".json":
        return ListedTruth.from_data_set(read_coco_truth(source), has_ids=True)
    if not source.exists():
        raise MissingFileError(f"{source}: there is no such file or folder; expected {KINDS}")
    return _read_csv(source, groups)
