"""LOST's and TokenCut's predictions: a pickle of one box for each image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wend.array_pickles import ArrayUnpickler
from wend.errors import InputError, shown
from wend.files import open_bytes
from wend.formats.coco_json import DATA_SET, CocoFile, Image
from wend.pseudo_boxes.registry import box_source
from wend.pseudo_boxes.source_boxes import PseudoBoxes

PREDICTIONS = "LOST's or TokenCut's preds.pkl, a pickle of {image's name: [x0, y0, x1, y1]}"


@box_source("tokencut")
@box_source("lost")
def read_predictions(path: str | Path, images: str | Path | None = None) -> PseudoBoxes:
    """Read ``preds.pkl`` of LOST or TokenCut; nothing in the file is run.

    Frame: pixels of the original image; TokenCut's ``--resize`` is for a single image, of which it
    writes no file. Names are without folders, and with endings, but LOST's of COCO, which are
    numbers: the ids of ``images``. Without scores. (LOST fcedbec, main_lost.py:316-339,
    datasets.py:117-129; TokenCut fed52cd, main_tokencut.py:288-317.) LOST's clusters
    (cluster_for_OD.py:193-200), ``{"predicted_bb", "pseudo_label"}`` for each image, are read
    without their labels.

    Args:
        path: the pickle.
        images: the COCO JSON whose ids the names are.

    Raises:
        MissingFileError, InputError: not there, holds other objects than arrays and text, or a
            value is no box; the message names the image.
    """
    with open_bytes(path, PREDICTIONS) as file:
        try:
            content = ArrayUnpickler(file, encoding="latin1").load()
        except Exception as error:  # a damaged pickle raises nearly any
            raise InputError(
                f"{path}: cannot be read as a pickle of boxes ({error}); expected {PREDICTIONS}. "
                f"Where it holds other Python objects, write its boxes as CSV with those who made "
                f"it, and read them by source: csv"
            ) from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: expected {PREDICTIONS}, got {type(content).__name__}")
    names = None if images is None else _names_of_ids(images)
    boxes = {}
    for name, value in content.items():
        value = value.get("predicted_bb", ()) if isinstance(value, Mapping) else value
        key = name if names is None else names.get(str(name).lstrip("0"))
        if key is None:
            raise InputError(f"{path}: {name!r} is no id of an image of {images}")
        boxes[key] = _boxes(f"{path}: image {name!r}", value)
    return PseudoBoxes.from_dict(boxes, "pixel", source=str(path))


def _boxes(where: str, value: object) -> np.ndarray:
    """The box (4,), or the boxes (P, 4), of an image."""
    try:
        boxes = np.asarray(value)
    except ValueError:  # rows of different lengths
        boxes = np.zeros(1)
    is_none = boxes.size == 0 and not isinstance(value, str | bytes)
    if not is_none and (
        boxes.dtype.kind not in "iuf" or boxes.ndim > 2 or boxes.shape[-1:] != (4,)
    ):
        raise InputError(f"{where}: expected [x0, y0, x1, y1] as numbers, got {shown(value)}")
    return boxes.astype(np.float64).view(np.ndarray)


def _names_of_ids(images: str | Path) -> dict[str, str]:
    """File name by id, which LOST writes as text, of the images of a COCO JSON."""
    file = CocoFile.open(images, DATA_SET)
    if not file.has_list("images"):
        raise InputError(f"{images}: expected {DATA_SET}, got no images")
    rows, _ = file.images(Image)
    return {str(row.id).lstrip("0"): row.path for row in rows}
