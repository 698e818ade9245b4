"""The numbers of score maps: a sweep over thresholds, boxes at one of them, rows for the tables.

Example:
    >>> import numpy as np
    >>> from wend.structures.data_set import DataSet
    >>> from wend.structures.records import ImageRecord
    >>> images = DataSet.from_records(
    ...     [ImageRecord(1, "a.jpg", 448, 448, gt_boxes=[[100, 60, 300, 200]])]
    ... )
    >>> score_map = np.zeros((224, 224))
    >>> score_map[30:100, 50:150] = 1
    >>> scores, maps = score_maps(images, [score_map])
    >>> maps.sweep.max_box_acc("wsoleval-v1"), scores["wsoleval-v1"].numbers["gt_known_loc"]
    (100.0, 100.0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from wend.evaluation.map_sweep import MapOptions, Sweep, map_detections, sweep_maps
from wend.evaluation.metrics import Metric, accuracy, choose_metrics
from wend.evaluation.per_image import PerImage
from wend.evaluation.protocols import EvalProtocol, get_protocol
from wend.evaluation.score_maps import SIDE, as_score_maps
from wend.evaluation.scoring import ProtocolScores, score_all
from wend.structures.box_table import BoxTable
from wend.structures.class_predictions import ClassPredictions
from wend.structures.data_set import DataSet

MAP_PROTOCOLS = ("wsoleval-v1", "wsoleval-v2")  # under which the field's maps are scored
CURVE_COLUMNS = ("protocol", "contour", "IoU threshold", "map threshold", "per cent right")
PIXEL_COLUMNS = ("map threshold", "precision", "recall")
# wsolevaluation's own names of two of the numbers: name, protocol, contour
PUBLISHED = (("MaxBoxAcc", "wsoleval-v1", "largest"), ("MaxBoxAccV2", "wsoleval-v2", "any"))


@dataclass(frozen=True, eq=False)
class MapScores:
    """What maps give at every threshold, and their boxes at one.

    Attributes:
        data_set: the images.
        sweep: the numbers at every threshold.
        threshold: that of the boxes, a share of each map's largest value.
        chosen_by: the protocol whose GT-known Loc is highest there; None for a fixed threshold.
        detections: the boxes at the threshold, best first (:func:`.map_sweep.map_detections`).
    """

    data_set: DataSet
    sweep: Sweep
    threshold: float
    chosen_by: str | None
    detections: BoxTable

    def metrics(self) -> list[Metric]:
        """MaxBoxAcc as metrics for :func:`.scoring.score_all` on the detections.

        Of fixed boxes, which have no thresholds to choose from, they are what the boxes give: the
        first, or as many as the image with most contours has.
        """
        most = max(1, int(self.detections.counts.max()))

        def metric(name: str, title: str, choice: str, num_boxes: int | None) -> Metric:
            def value(per_image: PerImage) -> float:
                if per_image.detections is self.detections:
                    return self.sweep.max_box_acc(per_image.protocol.name, choice)
                return accuracy(per_image, "gt_known_loc_multi", num_boxes or most)

            return Metric(name, title, value, scale=1, most_boxes=num_boxes, average="none")

        title = "MaxBoxAcc, best map threshold"
        made = [metric("map_max_box_acc", title, "largest", 1)]
        if "any" in self.sweep.options.choices:
            made.append(metric("map_max_box_acc_any", f"{title}, any contour", "any", None))
        if self.sweep.pixels is not None:
            pxap = self.sweep.pixels.average_precision
            made.append(
                Metric(
                    *("pxap", "PxAP", lambda _: pxap),
                    scale=1,
                    most_boxes=0,
                    average="none",
                    any_protocol=True,
                )
            )
        return made

    def notes(self) -> list[str]:
        """Lines below the tables: what the maps were, and what their numbers are."""
        counts, options = self.sweep.counts, self.sweep.options
        largest = options.contours == "largest"
        because = (
            "fixed"
            if self.chosen_by is None
            else f"where GT-known Loc of {self.chosen_by} is highest, chosen on these very images"
        )
        notes = [
            f"{self.data_set.name}: {counts.maps} score maps, of which {counts.resized} are of "
            f"another size than {SIDE}x{SIDE} and were resized and normalised, {counts.constant} "
            f"are constant, {counts.blank} blank (box 0, 0, 0, 0); {counts.others} further maps in "
            f"the folder are of none of the images",
            f"boxes: {'the largest contour' if largest else 'all contours'} above "
            f"{self.threshold:g} of a map's largest value, {because}; their scores are the areas "
            f"of the contours as shares of the map",
        ]
        for name, protocol, choice in PUBLISHED:
            if protocol in self.sweep.accuracy and choice in options.choices:
                best = self.sweep.best_thresholds(protocol, choice)
                said = ", ".join(
                    f"{each['accuracy']:.2f} at {each['map_threshold']:g} for IoU {iou}"
                    for iou, each in best.items()
                )
                value = self.sweep.max_box_acc(protocol, choice)
                notes.append(
                    f"wsolevaluation's {name} ({protocol}, {choice} contour): {value:.2f} "
                    f"({said}); thresholds 0, {options.interval:g}, ..., the best chosen on these "
                    f"very images"
                )
        pxap = f"area under precision and recall of the masks' pixels at {SIDE}x{SIDE}"
        if self.sweep.pixels is None:
            pxap = "not computed, since the ground truth has no masks"
        notes.append(f"PxAP: {pxap}")
        return notes

    def to_dict(self) -> dict:
        """Plain values for ``metrics.json``."""
        sweep = self.sweep
        return {
            **asdict(sweep.options),
            "threshold": self.threshold,
            "chosen_by": self.chosen_by,
            "counts": asdict(sweep.counts),
            "max_box_acc": {
                protocol: {
                    choice: {
                        "value": sweep.max_box_acc(protocol, choice),
                        "iou": sweep.best_thresholds(protocol, choice),
                    }
                    for choice in sweep.options.choices
                }
                for protocol in sweep.accuracy
            },
            "pxap": None if sweep.pixels is None else sweep.pixels.average_precision,
        }

    def curve_rows(self) -> list[list[str]]:
        """Accuracy at every threshold, rows of ``CURVE_COLUMNS``."""
        options = self.sweep.options
        return [
            [name, choice, f"{iou:g}", f"{threshold:.10g}", f"{value:.4f}"]
            for name, accuracy in self.sweep.accuracy.items()
            for iou, of_iou in zip(self.sweep.protocols[name].thresholds, accuracy, strict=True)
            for choice, values in zip(options.choices, of_iou, strict=True)
            for threshold, value in zip(options.thresholds, values, strict=True)
        ]


def evaluate_maps(
    data_set: DataSet,
    maps: object,
    protocols: Sequence[EvalProtocol],
    options: MapOptions | None = None,
    *,
    threshold: float | None = None,
    num_workers: int = 0,
) -> MapScores:
    """Compare score maps with the truth at every threshold, and take their boxes at one.

    Args:
        data_set: images with true boxes, and perhaps masks, which give PxAP.
        maps: a folder, arrays by image id, or arrays in the order of the images
            (:func:`.score_maps.as_score_maps`); each is (H, W) (:func:`.score_maps.prepare_map`).
        protocols: how boxes are compared.
        options: how boxes come of maps.
        threshold: of the boxes, in [0, 1); None for the one at which the first protocol's GT-known
            Loc is highest.
        num_workers: processes; 0: this one.

    Raises:
        InputError: a map is missing or wrong (it is named), or an image has no truth.
    """
    options = options or MapOptions()
    checked = as_score_maps(maps, data_set)
    sweep = sweep_maps(data_set, checked, protocols, options, num_workers)
    first = protocols[0].name
    chosen = sweep.best_threshold(first) if threshold is None else threshold
    detections = map_detections(data_set, checked, chosen, options, num_workers)
    return MapScores(data_set, sweep, chosen, first if threshold is None else None, detections)


def score_maps(
    data_set: DataSet,
    maps: object,
    protocols: Sequence[str | EvalProtocol] = MAP_PROTOCOLS,
    ks: Sequence[int | None] = (1, None),
    class_predictions: ClassPredictions | None = None,
    *,
    options: MapOptions | None = None,
    threshold: float | None = None,
    num_workers: int = 0,
) -> tuple[dict[str, ProtocolScores], MapScores]:
    """All numbers of score maps, by protocol name, and the maps' own.

    The first are those of the boxes at the chosen threshold, as of detections
    (:func:`.scoring.score_all`), with MaxBoxAcc and PxAP beside them; arguments as there and as of
    :func:`evaluate_maps`.
    """
    chosen = [each if isinstance(each, EvalProtocol) else get_protocol(each) for each in protocols]
    made = evaluate_maps(
        data_set, maps, chosen, options, threshold=threshold, num_workers=num_workers
    )
    metrics = choose_metrics(others=made.metrics())
    scores = score_all(data_set, made.detections, chosen, ks, class_predictions, metrics=metrics)
    return scores, made
