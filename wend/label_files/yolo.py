"""YOLO's text files in ultralytics' layout: ``data.yaml``, ``labels/``, and ``images/``.

``labels/<path of the image without its ending>.txt`` has a line ``<class> <cx> <cy> <w> <h>`` for
each box: centre, width and height in fractions of the image's, classes from 0. An image without
boxes has an empty file. ``data.yaml`` names the classes and ``images/``, whose paths mirror those
of the labels. Boxes are cut at the image's border, and are of the upright image, as ultralytics
reads images.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import yaml

from wend.errors import InputError, MissingFileError, shown
from wend.label_files.labelled_boxes import ImageBoxes, LabelledBoxes
from wend.label_files.registry import label_writer
from wend.structures.names import without_ending

logger = logging.getLogger(__name__)


@label_writer("yolo")
def write_yolo(
    labelled: LabelledBoxes, folder: Path, link_images: bool = False, scores: bool = False
) -> None:
    """Write ``data.yaml`` and ``labels/``.

    Args:
        link_images: make ``images/`` with a link to each image file, so that the folder can be
            trained on as it is; else put or link your images there.
        scores: write the score as sixth number, as ultralytics' ``save_conf`` does. Its training
            refuses such lines.

    Raises:
        InputError: images whose names differ in their endings only, or a score that is missing.
    """
    for name, value in (("link_images", link_images), ("scores", scores)):
        if value is not True and value is not False:
            raise InputError(f"yolo: {name} must be true or false, got {shown(value)}")
    if scores and labelled.table.scores is None:
        raise InputError("yolo: scores: the boxes have no scores; leave the option out")
    if labelled.table.scores is not None and not scores:
        logger.info("yolo: scores are not written, since training refuses them (option scores)")
    labelled = labelled.upright().inside("yolo")
    stems = distinct_stems(labelled, "yolo")
    (folder / "labels").mkdir()
    for image, stem in zip(labelled, stems, strict=True):
        path = folder / "labels" / f"{stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(_lines(image, scores)), encoding="utf-8")
    if link_images:
        for image in labelled:
            _link(folder / "images" / image.name, image.file)
    content = {"train": "images", "val": "images", "names": dict(enumerate(labelled.labels))}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")


def distinct_stems(labelled: LabelledBoxes, label_format: str) -> list[str]:
    """Names (I) of the images without their endings, by which a format's files are called.

    Raises:
        InputError: two images differ in their endings only.
    """
    name_of: dict[str, str] = {}
    for name in labelled.names:
        other = name_of.setdefault(without_ending(name), name)
        if other != name:
            raise InputError(
                f"{label_format}: {other} and {name} differ in their endings only, and would share "
                f"a file of labels; rename one of the images"
            )
    return list(name_of)


def _lines(image: ImageBoxes, scores: bool) -> list[str]:
    fractions = image.boxes / np.tile([image.width, image.height], 2)
    low, high = fractions[:, :2], fractions[:, 2:]
    columns = [image.label_ids.tolist(), *((low + high) / 2).T.tolist(), *(high - low).T.tolist()]
    if scores:
        assert image.scores is not None
        columns.append(image.scores.tolist())
    return [" ".join(map(repr, row)) + "\n" for row in zip(*columns, strict=True)]


def _link(path: Path, file: str) -> None:
    if not Path(file).is_file():
        raise MissingFileError(
            f"{file}: there is no such image file to link to; leave out the option link_images"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.abspath(file))
