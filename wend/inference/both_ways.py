"""A detector's boxes of images and of the mirrored images, for whoever asks how steady they are.

Shape letters: I = images of the data set.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from wend.audit.signals import mirror_back
from wend.errors import BadImageError, some
from wend.files import state_digest
from wend.images.reading import read_image
from wend.inference.detector import Detector
from wend.inference.run import Choices, settings_of
from wend.partial import PartialFile
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

MOST_BOXES = 20  # of an image, the best
FORMAT = "wend boxes of images and mirrored images 1"
logger = logging.getLogger(__name__)
Boxes = tuple[list, list]  # boxes and scores of an image, as JSON has them


@dataclass(frozen=True, eq=False)
class BothWays:
    """What was predicted.

    Attributes:
        boxes: of the I images, best first; none on images that were not asked for.
        mirrored: of the mirrored images, mirrored back.
        unreadable: what is wrong with the images that could not be read, which have no boxes.
    """

    boxes: BoxTable
    mirrored: BoxTable
    unreadable: list[str]


def predict_both_ways(
    detector: Detector, data_set: DataSet, images: np.ndarray, record: Path
) -> BothWays:
    """Predict on images and on the mirrored images; what is done stays in a file.

    Args:
        images: (n,) indices of the images.
        record: file of what was predicted: a run that was interrupted goes on from it, and one
            with the same detector and images reads it.

    Raises:
        BadImageError: none of the images can be read.
    """
    settings = settings_of(detector, Choices(max_boxes=MOST_BOXES))
    settings |= {"exif": data_set.exif, "images": state_digest(data_set.file_names)}
    done = PartialFile(record, FORMAT, settings, _from_row)
    predicted: dict[int, tuple[Boxes, Boxes]] = dict(done.items)
    todo = [i for i in images.tolist() if i not in predicted]
    if predicted:
        logger.info("%s: %d of %d images are predicted", record, len(predicted), len(images))
    unreadable: dict[int, str] = {}
    bar = tqdm(total=len(todo), desc="predict", unit="image", leave=False, disable=None)
    with bar:
        for index, both in _predict(detector, data_set, todo, unreadable):
            predicted[index] = both
            done.add([{"index": index, "both": both}])
            bar.update()
    if unreadable:
        if len(unreadable) == len(images):
            raise BadImageError(
                f"none of {len(images)} images of {data_set.name} can be read "
                f"({some(unreadable.values())})"
            )
        logger.warning(
            "%d images could not be read and have no boxes of the detector: %s",
            *(len(unreadable), some(unreadable.values())),
        )
    empty: tuple[Boxes, Boxes] = (([], []), ([], []))
    tables = [
        BoxTable.from_lists(
            [predicted.get(i, empty)[way][0] for i in range(len(data_set))],
            [predicted.get(i, empty)[way][1] for i in range(len(data_set))],
        )
        for way in (0, 1)
    ]
    return BothWays(tables[0], tables[1], list(unreadable.values()))


def _predict(
    detector: Detector, data_set: DataSet, images: Sequence[int], unreadable: dict[int, str]
) -> Iterator[tuple[int, tuple[Boxes, Boxes]]]:
    """Index and both ways' boxes of each image that can be read."""
    given: list[int] = []

    def pixels() -> Iterator[Image.Image]:
        for index in images:
            try:
                image = read_image(
                    data_set.file_names[index], data_set.exif, data_set.max_megapixels
                )
            except BadImageError as error:
                unreadable[index] = str(error)
                continue
            given.append(index)
            yield image
            yield image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    first: Boxes = ([], [])
    for detections in detector(pixels(), max_boxes=MOST_BOXES):
        boxes, scores = detections.xyxy, detections.scores.tolist()
        if detections.index % 2 == 0:
            first = (boxes.tolist(), scores)
            continue
        boxes = mirror_back(boxes, detections.size[0])
        yield given[detections.index // 2], (first, (boxes.tolist(), scores))


def _from_row(row: dict[str, Any]) -> tuple[int, tuple[Boxes, Boxes]]:
    (boxes, scores), (mirrored, marks) = row["both"]
    return int(row["index"]), ((boxes, scores), (mirrored, marks))


def trained_on(detector: Detector, names: Sequence[str]) -> list[str]:
    """Which of some data sets the detector's config says that it was trained on."""
    trained = set(detector.cfg.DATASETS.TRAIN)
    return [name for name in names if name in trained]
