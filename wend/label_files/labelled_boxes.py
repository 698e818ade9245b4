"""What a writer of label files receives: images, their boxes, and what the boxes are called.

Shape letters: I = images, B = boxes of all images, P = boxes of an image, L = labels.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from wend.errors import InputError, some
from wend.files import is_unicode
from wend.images.orientation import SIDEWAYS, UPRIGHT, read_orientations, turn_boxes
from wend.images.paths import check_relative
from wend.structures.box_table import BoxTable
from wend.structures.boxes import box_area
from wend.structures.data_set import DataSet

logger = logging.getLogger(__name__)
FOREGROUND = "foreground"  # what class-agnostic boxes are called
TOLERANCE = 1e-3  # pixels that a box may reach out of its image without a word: rounding


@dataclass(frozen=True, eq=False)
class ImageBoxes:
    """An image and its boxes.

    Attributes:
        index: of the image, from 0.
        image_id: the data set's.
        name: path below the images' root, with forward slashes; no two images share one.
        file: path of the image file as it can be opened from the working directory.
        width, height: in the pixels that the boxes are in.
        boxes: (P, 4) float64 ``x0, y0, x1, y1``, best first.
        scores: (P,) float64, higher is better; None where the boxes have none.
        label_ids: (P,) int64 index of each box's label.
        labels: names of the P boxes.
    """

    index: int
    image_id: object
    name: str
    file: str
    width: int
    height: int
    boxes: np.ndarray
    scores: np.ndarray | None
    label_ids: np.ndarray
    labels: list[str]


@dataclass(frozen=True, eq=False)
class LabelledBoxes(Sequence[ImageBoxes]):
    """Boxes of I images; ``labelled[i]`` and iteration give :class:`ImageBoxes`.

    Attributes:
        images: the images, whose ``keys`` are the names in the files.
        table: their boxes in original pixels (of the upright image where ``images.exif`` is
            "apply").
        labels: (L) names that boxes may have; ``table.class_ids`` are indices into them, and
            class-agnostic boxes are of the first.

    Raises:
        InputError: no image, another number of them in the table, an image without a size, names
            that are no paths below a root or not all different, or boxes of a class without label.
    """

    images: DataSet
    table: BoxTable
    labels: tuple[str, ...] = (FOREGROUND,)

    def __post_init__(self) -> None:
        images, table = self.images, self.table
        if len(images) != len(table):
            raise InputError(f"label files: {len(images)} images but boxes of {len(table)}")
        if not len(images):
            raise InputError("label files: expected at least one image, got none")
        images.require_readable()
        without_size = np.flatnonzero((images.sizes <= 0).any(1)).tolist()
        if without_size:
            raise InputError(
                f"label files: {len(without_size)} images have no width and height "
                f"({some(images.keys[i] for i in without_size)}); expected those of the files"
            )
        self._check_labels()
        if len(set(self.names)) < len(self.names):
            twice = [name for name, times in Counter(self.names).items() if times > 1]
            raise InputError(
                f"label files: {len(twice)} names are of several images ({some(twice)}), which no "
                f"tool could tell apart; give images keys that are paths below one root"
            )

    def _check_labels(self) -> None:
        twice = [label for label, times in Counter(self.labels).items() if times > 1]
        blank = [label for label in self.labels if not label.strip() or not label.isprintable()]
        if not self.labels or twice or blank:
            raise InputError(
                f"label files: expected different names of a line each as labels, got "
                f"{some(map(repr, self.labels))}"
            )
        class_ids = self.table.class_ids
        if class_ids is not None and len(class_ids) and class_ids.max() >= len(self.labels):
            raise InputError(
                f"label files: boxes are of classes up to {class_ids.max()}, but there are "
                f"{len(self.labels)} labels ({some(self.labels)}); name a label for each class"
            )

    @cached_property
    def names(self) -> list[str]:
        """Names (I) of the images in the files."""
        names = []
        for key in self.images.keys:
            name = check_relative(key.replace("\\", "/"), "label files")
            if not is_unicode(name):
                raise InputError(f"label files: image name {name!r} is no Unicode; rename the file")
            names.append(name)
        return names

    @cached_property
    def label_ids(self) -> np.ndarray:
        """Label (B,) int64 of each box."""
        if self.table.class_ids is None:
            return np.zeros(len(self.table.boxes), dtype=np.int64)
        return self.table.class_ids

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> ImageBoxes:  # type: ignore[override]
        index = range(len(self))[index]
        rows = slice(self.table.offsets[index], self.table.offsets[index + 1])
        width, height = self.images.sizes[index].tolist()
        label_ids = self.label_ids[rows]
        return ImageBoxes(
            index=index,
            image_id=self.images.image_ids[index],
            name=self.names[index],
            file=self.images.file_names[index],
            width=width,
            height=height,
            boxes=self.table.boxes[rows],
            scores=None if self.table.scores is None else self.table.scores[rows],
            label_ids=label_ids,
            labels=[self.labels[label] for label in label_ids.tolist()],
        )

    def __iter__(self) -> Iterator[ImageBoxes]:
        return map(self.__getitem__, range(len(self)))

    def upright(self) -> LabelledBoxes:
        """The same for the images turned by EXIF's orientation, as tools show them.

        Itself where boxes and sizes are of the turned images already. An image whose file is not
        there counts as upright; how many are so, and how many are turned, is logged.
        """
        images = self.images
        if images.exif == "apply":
            return self
        absent = [i for i, file in enumerate(images.file_names) if not Path(file).is_file()]
        if absent:
            logger.warning(
                "%d of %d image files are not there (%s): whether EXIF turns them is not known, "
                "their boxes are written as they are",
                *(len(absent), len(images), some(images.file_names[i] for i in absent)),
            )
        orientations = read_orientations(images.file_names, "EXIF's orientations")
        turned = np.flatnonzero(orientations != UPRIGHT)
        if not len(turned):
            return replace(self, images=replace(images, exif="apply", reopen=None))
        logger.info(
            "boxes of %d images are turned by EXIF's orientation, as tools show their images (%s)",
            *(len(turned), some(images.keys[i] for i in turned.tolist())),
        )
        sideways = np.isin(orientations, SIDEWAYS)
        owner = self.table.owner
        boxes = turn_boxes(self.table.boxes, images.sizes[owner], orientations[owner])
        sizes = np.where(sideways[:, None], images.sizes[:, ::-1], images.sizes)
        empty = BoxTable.empty(len(images))  # truth and pseudo boxes are not turned
        turned_images = replace(
            images, sizes=sizes, exif="apply", truth=empty, pseudo_boxes=empty, reopen=None
        )
        return replace(
            self, images=turned_images, table=replace(self.table, boxes=boxes, given=None)
        )

    def inside(self, label_format: str) -> LabelledBoxes:
        """The same with boxes cut at their image's border, for a format that holds no others.

        Boxes without any area in the image are left out. How many are cut and left out is logged,
        except where rounding alone makes them reach out.
        """
        boxes = self.table.boxes
        limits = np.tile(self.images.sizes.astype(np.float64), 2)[self.table.owner]
        cut = np.clip(boxes, 0, limits)
        reaches_out = (np.abs(cut - boxes) > TOLERANCE).any(1)
        has_area = box_area(cut) > 0
        number, lost = int((reaches_out & has_area).sum()), int((~has_area).sum())
        if number or lost:
            logger.warning(
                "%s: %d of %d boxes reach out of their image and are cut at its border; %d have no "
                "area in it and are left out",
                *(label_format, number, len(boxes), lost),
            )
        return replace(self, table=replace(self.table, boxes=cut, given=None).keep(has_area))
