"""Class predictions as a file: a classifier's best classes of each image.

JSON: ``{"format": "wend-class-predictions-1", "predictions": {"<class folder>/<file>": [c0, c1,
...]}}`` with 0-based classes, best first, at least five.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from pathlib import Path

from wend.errors import InputError
from wend.files import read_json, write_json
from wend.records import ClassPredictions, ImageRecord

FORMAT = "wend-class-predictions-1"


def write_class_predictions(path: str | Path, predictions: Mapping[str, Sequence[int]]) -> None:
    """Write ``<class folder>/<file>`` -> classes (whole numbers), best first."""
    listed = {key: [operator.index(c) for c in classes] for key, classes in predictions.items()}
    write_json(path, {"format": FORMAT, "predictions": listed})


def read_class_predictions(path: str | Path, records: Sequence[ImageRecord]) -> ClassPredictions:
    """Read the file for these records; predictions of other images are passed over.

    Raises:
        InputError: not such a file, or images or classes missing from it.
    """
    what = f'{{"format": "{FORMAT}", "predictions": {{"<class folder>/<file>": [class, ...]}}}}'
    content = read_json(path, what)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: expected {what}, got another JSON value or format")
    predictions = content.get("predictions")
    if not isinstance(predictions, dict) or not all(
        isinstance(classes, list) for classes in predictions.values()
    ):
        raise InputError(f"{path}: entry 'predictions': expected {what}")
    found = {r.image_id: predictions[r.key] for r in records if r.key in predictions}
    result = ClassPredictions(found, source=str(path))
    result.check_covers(records)
    return result
