"""LOST's and TokenCut's predictions: a pickle of one box for each image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wend.array_pickles import ArrayUnpickler
from wend.errors import InputError, shown
from wend.files import open_bytes
from wend.pseudo_boxes.registry import box_source
from wend.pseudo_boxes.source_boxes import PseudoBoxes

PREDICTIONS = "LOST's or TokenCut's preds.pkl, a pickle of {image's name: [x0, y0, x1, y1]}"


@box_source("tokencut")
@box_source("lost")
def read_predictions(path: str | Path) -> PseudoBoxes:
    """Read ``preds.pkl`` of LOST or TokenCut; nothing in the file is run.

    Frame: pixels of the image that the method saw: the original one, unless TokenCut was run with
    ``--resize``, whose files state no size and have to be scaled by hand. Names are without
    folders, as LOST's and TokenCut's data sets give them, and with endings. Without scores.
    (LOST fcedbec, main_lost.py:316-339, and its data/LOST_predictions; TokenCut fed52cd,
    main_tokencut.py:288-317.)

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
    boxes = {}
    for name, value in content.items():
        try:
            box = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            box = np.zeros(0)
        if box.size % 4 or not box.size or box.ndim > 2 or box.shape[-1] != 4:
            raise InputError(
                f"{path}: image {name!r}: expected [x0, y0, x1, y1], got {shown(value)}"
            )
        boxes[name] = box.view(np.ndarray)
    return PseudoBoxes.from_dict(boxes, "pixel", source=str(path))
