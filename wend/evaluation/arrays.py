"""Numbers from plain arrays: images given one by one as lists, NumPy arrays or torch tensors.

No file, no data set and no torch is needed: what has ``detach`` is taken for a tensor. Everything
is checked where it comes in, and an error names the image.

Shape letters: n = images, P = predicted boxes and G = true boxes of an image.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from wend.datasets.plausible_truth import check_plausible
from wend.errors import InputError, shown
from wend.evaluation.detection_rows import DetectionRows, to_table
from wend.evaluation.metrics import choose_metrics
from wend.evaluation.protocols import EvalProtocol, get_protocol
from wend.evaluation.scoring import ProtocolScores, score_all
from wend.structures.box_table import NO_BOXES, BoxTable
from wend.structures.checks import as_boxes, as_numbers, as_scores
from wend.structures.class_predictions import ClassPredictions
from wend.structures.data_set import DataSet
from wend.structures.records import ImageId


def as_array(values: Any) -> Any:
    """A tensor, on any device, with or without gradient, as a NumPy array; lists of them, as lists.

    Numbers keep their values: bfloat16 and half become float64, in which both are exact.
    """
    if hasattr(values, "detach"):
        kind = getattr(getattr(values, "format", None), "name", "XYXY")  # of BoundingBoxes
        if kind != "XYXY":
            raise InputError(f"boxes of torchvision's format {kind}: convert them to XYXY")
        values = values.detach().cpu()
        return (values.double() if values.is_floating_point() else values).numpy()
    if isinstance(values, (list, tuple)):
        return [as_array(value) for value in values]
    return values


def as_id(value: Any) -> ImageId:
    """An image id: a number of NumPy's or a tensor's as Python's, so that equal ids are equal."""
    value = as_array(value)
    if isinstance(value, (np.ndarray, np.generic)):
        if value.size != 1:
            raise InputError(f"image_id: expected one number or text, got {shown(value.tolist())}")
        value = value.item()
    if not isinstance(value, Hashable) or isinstance(value, (bool, float)) or value is None:
        raise InputError(f"image_id: expected a whole number or text, got {shown(value)}")
    return value


def _whole(value: Any, where: str, expected: str, least: int) -> list[int]:
    numbers = as_numbers(as_array(value), where, expected).reshape(-1)
    if not np.isfinite(numbers).all() or (numbers != np.floor(numbers)).any():
        raise InputError(f"{where}: expected {expected}, got {numbers.tolist()}")
    if (numbers < least).any() or (numbers >= 2**31).any():
        raise InputError(f"{where}: expected {expected}, got {numbers.astype(np.int64).tolist()}")
    return numbers.astype(np.int64).tolist()


@dataclass(frozen=True, eq=False)
class ArrayImage:
    """An image with its truth and its predictions, checked.

    Attributes:
        image_id: by which an image that comes twice is known.
        size: width and height in original pixels.
        truth: (G, 4) true boxes, G >= 1.
        class_id: true class from 0, or None.
        boxes: (P, 4) predicted boxes; P may be 0.
        scores: (P,).
        class_ids: (P,) predicted class of each box, or None for class-agnostic boxes.
        class_ranking: predicted classes of the image, best first, or None.
    """

    image_id: ImageId
    size: tuple[int, int]
    truth: np.ndarray
    class_id: int | None
    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray | None
    class_ranking: tuple[int, ...] | None

    @classmethod
    def of(
        cls,
        image_id: Any,
        *,
        size: Any,
        truth: Any,
        boxes: Any,
        scores: Any,
        class_id: Any = None,
        class_ids: Any = None,
        class_ranking: Any = None,
    ) -> ArrayImage:
        """Check what is given of an image; InputError names it and what is wrong."""
        image_id = as_id(image_id)
        where = f"image {image_id!r}"
        sides = _whole(size, f"{where}, size", "width and height, whole numbers from 1", 1)
        if len(sides) != 2:
            raise InputError(f"{where}, size: expected width and height, got {sides}")
        true_boxes = as_boxes(as_array(truth), f"{where}, true boxes")
        if not len(true_boxes):
            raise InputError(
                f"{where}: has no true box, so that it can be neither right nor wrong; leave it out"
            )
        predicted = as_boxes(as_array(boxes), f"{where}, predicted boxes")
        marks = as_scores(as_array(scores), len(predicted), f"{where}, predicted boxes")
        classes = ranking = None
        if class_ids is not None:
            expected = "a class from 0 of each predicted box"
            listed = _whole(class_ids, f"{where}, class_ids", expected, 0)
            if len(listed) != len(predicted):
                raise InputError(f"{where}: {len(predicted)} boxes but {len(listed)} class_ids")
            classes = np.array(listed, dtype=np.int64)
        if class_ranking is not None:
            expected = "classes from 0, best first"
            ranking = tuple(_whole(class_ranking, f"{where}, class_ranking", expected, 0))
            if len(set(ranking)) < max(5, len(ranking)):
                raise InputError(
                    f"{where}, class_ranking: expected five or more distinct {expected}, got "
                    f"{list(ranking)}"
                )
        true_class = None
        if class_id is not None:
            (true_class,) = _whole([as_id(class_id)], f"{where}, class_id", "a class from 0", 0)
        size = (sides[0], sides[1])
        return cls(image_id, size, true_boxes, true_class, predicted, marks, classes, ranking)

    def differing(self, other: ArrayImage) -> list[str]:
        """The names of what another of the same id has otherwise."""
        return [
            field.name
            for field in fields(self)
            if not np.array_equal(getattr(self, field.name), getattr(other, field.name))
        ]


class ArrayImages:
    """Images by id, as they were given.

    Args:
        protocols: what they will be scored under, and so must have.
    """

    def __init__(self, protocols: Sequence[EvalProtocol]) -> None:
        self.protocols = protocols
        self.by_id: dict[ImageId, ArrayImage] = {}

    def __len__(self) -> int:
        return len(self.by_id)

    def add(self, images: Iterable[ArrayImage]) -> None:
        """Add images, all or none; one that comes again as it was is counted once.

        Raises:
            InputError: one differs from an earlier one of its id, lacks a class that a protocol
                needs, or has other kinds of classes than the others.
        """
        new: dict[ImageId, ArrayImage] = {}
        first = next(iter(self.by_id.values()), None)
        for image in images:
            earlier = new.get(image.image_id) or self.by_id.get(image.image_id)
            first = first or image
            if earlier is None:
                self._check_classes(image, first)
                new[image.image_id] = image
            elif differing := earlier.differing(image):
                raise InputError(
                    f"image {image.image_id!r} came twice, with different {', '.join(differing)}: "
                    f"each image needs an id of its own, a sampler may repeat an image only as it "
                    f"was, and predictions of another evaluation come after reset()"
                )
        self.by_id.update(new)

    def _check_classes(self, image: ArrayImage, first: ArrayImage) -> None:
        for name in ("class_id", "class_ids", "class_ranking"):
            if (getattr(image, name) is None) != (getattr(first, name) is None):
                lacking, having = (first, image) if getattr(first, name) is None else (image, first)
                raise InputError(
                    f"image {lacking.image_id!r} has no {name}, and image {having.image_id!r} has "
                    f"some: give it for all images or for none"
                )
        if image.class_id is not None:
            return
        by_class = [protocol.name for protocol in self.protocols if protocol.average == "class"]
        if by_class:
            raise InputError(
                f"image {image.image_id!r} has no class_id, and protocol {by_class[0]} averages "
                f"over classes: give it, or use a protocol that averages over images, such as "
                f"original"
            )
        if image.class_ranking is not None or image.class_ids is not None:
            raise InputError(
                f"image {image.image_id!r} has predicted classes and no class_id, the true class"
            )

    def tables(
        self, implausible: str | None = None
    ) -> tuple[DataSet, BoxTable, ClassPredictions | None]:
        """The data set, detections and class predictions that :func:`.score_all` takes.

        Images are sorted by id, so that numbers do not depend on the order in which they came.
        Boxes are looked at as those of files are.

        Args:
            implausible: what becomes of boxes that are hardly original pixels: "error" (None, too),
                or "count" to warn and go on.

        Raises:
            InputError: boxes are implausible.
        """
        images = sorted(self.by_id.values(), key=lambda image: _order(image.image_id))
        ids = [image.image_id for image in images]
        classes = [-1 if image.class_id is None else image.class_id for image in images]
        data_set = DataSet(
            name="arrays",
            image_ids=ids,
            file_names=[str(i) for i in ids],
            keys=[str(i) for i in ids],
            sizes=np.array([image.size for image in images], dtype=np.int64).reshape(-1, 2),
            class_ids=np.array(classes, dtype=np.int64),
            truth=BoxTable.from_arrays([image.truth for image in images]),
            pseudo_boxes=BoxTable.empty(len(ids)),
        )
        check_plausible(data_set, implausible, headers=False)
        counts = [len(image.boxes) for image in images]
        box_classes = [image.class_ids for image in images if image.class_ids is not None]
        rows = DetectionRows(
            source="predictions",
            entry="box",
            ids=ids,
            codes=np.repeat(np.arange(len(ids)), counts),
            boxes=np.concatenate([NO_BOXES, *(image.boxes for image in images)]),
            scores=np.concatenate([np.zeros(0), *(image.scores for image in images)]),
        )
        class_ids = np.concatenate(box_classes) if box_classes else None
        detections, _ = to_table(rows, data_set, implausible=implausible, class_ids=class_ids)
        rankings = {i.image_id: i.class_ranking for i in images if i.class_ranking is not None}
        return (
            data_set,
            detections,
            ClassPredictions(rankings, "class_ranking") if rankings else None,
        )

    def scores(
        self,
        ks: Sequence[int | None],
        metrics: Iterable[str] = (),
        level: float | None = None,
        implausible: str | None = None,
    ) -> dict[str, ProtocolScores]:
        """Numbers by protocol name; arguments as of :func:`.score_all`, metrics by name."""
        data_set, detections, class_predictions = self.tables(implausible)
        return score_all(
            data_set,
            detections,
            self.protocols,
            ks,
            class_predictions,
            metrics=choose_metrics(metrics),
            level=level,
        )


def _order(image_id: ImageId) -> tuple:
    return (0, image_id, "") if isinstance(image_id, int) else (1, 0, str(image_id))


def checked_ks(max_boxes: int | Iterable[int | None] | None) -> list[int | None]:
    """One or several K as a list; None for all boxes."""
    several = isinstance(max_boxes, Iterable) and not isinstance(max_boxes, str)
    ks: list[Any] = list(max_boxes) if several else [max_boxes]  # type: ignore[arg-type]
    for k in ks:
        whole = isinstance(k, (int, np.integer)) and not isinstance(k, bool)
        if k is not None and not (whole and k >= 1):
            raise InputError(
                f"max_boxes (K): expected whole numbers from 1, or None for all: {k!r}"
            )
    if not ks:
        raise InputError("max_boxes (K): expected a number or several, got none")
    return [None if k is None else int(k) for k in ks]


def wsol_scores(
    boxes: Sequence,
    scores: Sequence,
    truth: Sequence,
    sizes: Sequence,
    *,
    protocol: str | EvalProtocol,
    max_boxes: int | Sequence[int | None] | None = 5,
    class_ids: Sequence | None = None,
    class_ranking: Sequence | None = None,
    box_classes: Sequence | None = None,
    image_ids: Sequence | None = None,
    metrics: Iterable[str] = (),
    level: float | None = None,
    implausible: str | None = None,
) -> ProtocolScores:
    """All numbers of n images from arrays: what ``wend evaluate`` computes from files.

    Args:
        boxes: for each image (P, 4) predicted boxes ``x0, y0, x1, y1`` in original pixels; P may
            be 0. Lists, arrays or tensors, here as below.
        scores: for each image (P,), higher is better.
        truth: for each image (G, 4) true boxes, G >= 1.
        sizes: (n, 2) width and height in original pixels.
        protocol: frame, IoU test and average, or its name; it has no default, because numbers of
            two protocols cannot be compared.
        max_boxes: K of the metrics that have K, or several; None for all boxes.
        class_ids: (n,) true classes from 0, for protocols that average over classes and for Top-1
            and Top-5.
        class_ranking: for each image at least its five best classes, best first, for Top-1 and
            Top-5.
        box_classes: for each image (P,) predicted classes of its boxes, where each has its own.
        image_ids: n of them, for messages; 0, 1, ... by default.
        metrics: more metrics than the default ones, as ``wend evaluate --metrics`` takes them.
        level: the confidence of the intervals, such as 0.95; None for no intervals.
        implausible: what becomes of boxes that are hardly original pixels (fractions, another
            frame): "error" (None, too), or "count" to warn and go on.

    Raises:
        InputError: names the image, what was expected and what came.

    Example:
        >>> result = wsol_scores(
        ...     boxes=[[[0, 0, 8, 7]], []], scores=[[0.9], []],
        ...     truth=[[[0, 0, 8, 8]], [[2, 2, 9, 9]]], sizes=[(10, 10), (10, 10)],
        ...     protocol="original",
        ... )
        >>> result.numbers["gt_known_loc"]
        50.0
    """
    columns: dict[str, Sequence | None] = {
        "image_id": range(len(boxes)) if image_ids is None else image_ids,
        "size": sizes,
        "truth": truth,
        "boxes": boxes,
        "scores": scores,
        "class_id": class_ids,
        "class_ids": box_classes,
        "class_ranking": class_ranking,
    }
    given = {name: column for name, column in columns.items() if column is not None}
    lengths = {name: len(column) for name, column in given.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"expected as many of each, one for each image, got {lengths}")
    images = ArrayImages([get_protocol(protocol) if isinstance(protocol, str) else protocol])
    rows = zip(*given.values(), strict=True)
    images.add(ArrayImage.of(**dict(zip(given, row, strict=True))) for row in rows)
    if len(images) < len(boxes):
        raise InputError(f"image_ids: {len(boxes)} images but {len(images)} different ids")
    (result,) = images.scores(checked_ks(max_boxes), metrics, level, implausible).values()
    return result
