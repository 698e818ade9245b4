"""Class predictions as a file: a classifier's best classes of each image.

JSON: ``{"format": "wend-class-predictions-1", "predictions": {"<class folder>/<file>": [c0, c1,
...]}}`` with 0-based classes, best first, at least five. What else :class:`PredictionsFile` holds
(scores, the model, its preprocessing, ...) may stand beside ``predictions`` and may be absent.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from wend.classes.class_names import class_folders, plain_name
from wend.errors import InputError, some
from wend.files import is_number, read_json, write_json
from wend.structures.class_predictions import ClassPredictions
from wend.structures.data_set import DataSet

FORMAT = "wend-class-predictions-1"
SHAPE = (
    f'{{"format": "{FORMAT}", "predictions": {{"<class folder>/<file>": [class, ...]}}}} '
    f"('wend classify --import' makes it of other programs' files)"
)
MIN_IMAGES_FOR_CHANCE = 100  # fewer say little on whether the accuracy is chance
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PredictionsFile:
    """The content of a file of class predictions.

    Attributes:
        predictions: ``<class folder>/<file>`` -> 0-based classes, best first.
        scores: the same keys -> the classes' scores, highest first; empty if not known.
        num_classes: how many classes the classifier knows; None if not known.
        class_names: their names in the order of their numbers; empty if not known.
        settings: how the file was made (model, weights' hash, preprocessing, versions, ...).
        source: the file's name, for messages.
    """

    predictions: dict[str, list[int]]
    scores: dict[str, list[float]] = field(default_factory=dict)
    num_classes: int | None = None
    class_names: Sequence[str] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    source: str = "class predictions"

    def for_data_set(self, data_set: DataSet) -> ClassPredictions:
        """The predictions of these images; those of other images are passed over.

        Raises:
            InputError: images are missing, or the classes are not those of the data set.
        """
        listed = {
            image_id: self.predictions[key]
            for image_id, key in zip(data_set.image_ids, data_set.keys, strict=True)
            if key in self.predictions
        }
        result = ClassPredictions(listed, source=self.source)
        result.check_covers(data_set)
        check_class_list(self.source, self.num_classes, self.class_names, data_set)
        if self.num_classes is None:
            _check_range(result, data_set)
        warning = explain_chance(result, data_set, self.num_classes)
        if warning:
            logger.warning("%s: %s", self.source, warning)
        return result


def write_class_predictions(
    path: str | Path,
    predictions: Mapping[str, Sequence[int]],
    scores: Mapping[str, Sequence[float]] | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write ``<class folder>/<file>`` -> classes (whole numbers), best first; atomically.

    The other arguments are those of :class:`PredictionsFile`; what is not known is left out.
    """
    listed = {key: [operator.index(c) for c in classes] for key, classes in predictions.items()}
    content: dict[str, Any] = {"format": FORMAT, **(settings or {})}
    if num_classes is not None:
        content["num_classes"] = num_classes
    if class_names:
        content["class_names"] = list(class_names)
    content["predictions"] = listed
    if scores:
        content["scores"] = {key: [float(s) for s in scores[key]] for key in listed}
    write_json(path, content)


def _check_scores(path: str, predictions: dict[str, list], scores: object) -> None:
    if not isinstance(scores, dict) or scores.keys() != predictions.keys():
        raise InputError(f"{path}: entry 'scores': expected an object with the predictions' keys")
    for key, values in scores.items():
        expected = len(predictions[key])
        good = isinstance(values, list) and len(values) == expected and all(map(is_number, values))
        if not good or any(a < b for a, b in pairwise(values)):
            raise InputError(
                f"{path}: entry 'scores', image {key!r}: expected {expected} finite numbers, "
                f"highest first, one for each predicted class, got {values!r}"
            )


def _check_classes(path: str, content: dict[str, Any], predictions: dict[str, list]) -> None:
    """Check ``num_classes`` and ``class_names`` in themselves and against the predictions."""
    number, names = content.get("num_classes"), content.get("class_names", [])
    if number is not None and (type(number) is not int or number < 1):
        raise InputError(f"{path}: entry 'num_classes': expected a number from 1, got {number!r}")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: entry 'class_names': expected a list of names, got {names!r}")
    if names and number is not None and len(names) != number:
        raise InputError(f"{path}: {len(names)} class_names, but num_classes is {number}")
    if number is None:
        return
    for key, classes in predictions.items():
        high = [c for c in classes if type(c) is int and c >= number]
        if high:
            raise InputError(
                f"{path}: image {key!r}: class {high[0]}, but the file's {number} classes are "
                f"numbered 0 to {number - 1}; are its numbers 1-based?"
            )


def read_predictions_file(path: str | Path) -> PredictionsFile:
    """Read a file with all its entries.

    Raises:
        InputError: not such a file, or its entries contradict each other.
    """
    content = read_json(path, SHAPE)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: expected {SHAPE}, got another JSON value or format")
    predictions = content.get("predictions")
    if not isinstance(predictions, dict) or not all(
        isinstance(classes, list) for classes in predictions.values()
    ):
        raise InputError(f"{path}: entry 'predictions': expected {SHAPE}")
    scores = content.get("scores")
    if scores is not None:
        _check_scores(str(path), predictions, scores)
    _check_classes(str(path), content, predictions)
    own = {"format", "predictions", "scores", "num_classes", "class_names"}
    names = content.get("class_names", [])
    return PredictionsFile(
        predictions=predictions,
        scores=scores or {},
        num_classes=content.get("num_classes", len(names) or None),
        class_names=names,
        settings={key: value for key, value in content.items() if key not in own},
        source=str(path),
    )


def read_class_predictions(path: str | Path, data_set: DataSet) -> ClassPredictions:
    """Read a file for a data set's images; predictions of other images are passed over.

    Accuracy near chance is a warning that names the likely cause.

    Raises:
        InputError: not such a file, images or classes missing from it, or other classes than the
            data set's.
    """
    return read_predictions_file(path).for_data_set(data_set)


def _same_class(name: str, folder: str) -> bool:
    """Whether they are equal but for case, spaces and CUB's number (``001.Gull``, ``gull``)."""
    return plain_name(name) == plain_name(folder)


def check_class_list(
    source: str,
    num_classes: int | None,
    class_names: Sequence[str],
    data_set: DataSet,
) -> None:
    """Raise InputError if the classifier's classes cannot be those of the data set.

    Args:
        source: the file, for messages.
        num_classes: how many classes the classifier knows; None if not known.
        class_names: their names; compared with the data set's class folders, where each class has
            one of its own.
    """
    highest = int(data_set.class_ids.max(initial=-1))
    if num_classes is not None and num_classes <= highest:
        raise InputError(
            f"{source}: the classifier knows {num_classes} classes, but the data set's go up to "
            f"number {highest} (from 0); use a classifier that was trained on this data set"
        )
    folders = class_folders(data_set) if class_names else {}
    wrong = [
        f"class {number}: {class_names[number]!r}, folder {folder!r}"
        for number, folder in sorted(folders.items())
        if not _same_class(class_names[number], folder)
    ]
    if wrong:
        raise InputError(
            f"{source}: {len(wrong)} of {len(folders)} class names are not the data set's class "
            f"folders ({some(wrong)}); the classifier's label order is another one. Map its "
            f"classes to the data set's order (sorted folders) and make the file again"
        )


def _check_range(predictions: ClassPredictions, data_set: DataSet) -> None:
    """Raise InputError if classes are counted from 1; warn of classes that the data set has not.

    Only for a file that does not say how many classes its classifier knows.
    """
    highest = int(data_set.class_ids.max(initial=-1))
    numbers = {number for classes in predictions.class_ids.values() for number in classes}
    beyond = sorted(number for number in numbers if number > highest)
    if beyond == [highest + 1] and 0 not in numbers:
        raise InputError(
            f"{predictions.source}: predicts class {highest + 1}, but the data set's classes are "
            f"0 to {highest}, and never class 0. Are its numbers 1-based? Subtract 1 and make the "
            f"file again"
        )
    if beyond:
        logger.warning(
            "%s: predicts classes up to %d, but the data set's go up to %d; is the classifier of "
            "another data set?",
            *(predictions.source, beyond[-1], highest),
        )


def _purity(labels: np.ndarray, groups: np.ndarray) -> float:
    """Share of the images (N,) whose label is the commonest of their group."""
    return sum(np.bincount(labels[groups == g]).max() for g in np.unique(groups)) / len(groups)


def _likely_cause(top1: np.ndarray, truth: np.ndarray) -> str:
    """Why top-1 classes (N,) may be near chance against the true ones (N,)."""
    for shift in (-1, 1):
        if (top1 + shift == truth).mean() > 0.3:
            return f"every class is {-shift:+d} off: the classifier's numbers start at another one"
    counts = np.unique(truth, return_counts=True)[1]
    order = (
        "label order (sorted WordNet ids, as torchvision, against the ILSVRC devkit's "
        "ILSVRC2012_ID; or a stray folder that shifts every label)"
    )
    size = (
        "preprocessing (EfficientNet-B7 needs 600x600 crops; 256/224, PSOL's default, ruins it) or "
        "weights that were not trained"
    )
    if counts.mean() < 5:
        return f"likely {order}, or {size}"
    agreement = min(_purity(top1, truth), _purity(truth, top1))
    if agreement > 0.5:  # images of a class agree, on a number that is theirs alone
        return (
            f"likely {order}: {100 * agreement:.0f} % of the images agree with their class's "
            f"others on another number, so the classifier works"
        )
    return f"likely {size}; or else {order}"


def explain_chance(
    predictions: ClassPredictions, data_set: DataSet, num_classes: int | None = None
) -> str | None:
    """A warning with the likely cause if Top-1 accuracy is below three times chance, else None.

    Args:
        num_classes: how many classes the classifier knows; by default one more than the highest
            class seen.

    Returns:
        None also where there are 100 images or fewer, or images without a true class.
    """
    truth = data_set.class_ids
    if len(data_set) <= MIN_IMAGES_FOR_CHANCE or truth.min() < 0:
        return None
    lists = [predictions.class_ids[image_id] for image_id in data_set.image_ids]
    top1 = np.array([classes[0] for classes in lists])
    highest = max(map(max, lists))
    count = num_classes or int(max(truth.max(), highest)) + 1
    accuracy = (top1 == truth).mean()
    if accuracy >= 3 / count:
        return None
    return (
        f"Top-1 accuracy is {100 * accuracy:.2f} %, near the chance of {100 / count:.2f} %; "
        f"{_likely_cause(top1, truth)}"
    )
