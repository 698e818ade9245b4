"""WSOL metrics: Top-1, Top-5 and GT-known Loc, of the best box and of the K best boxes.

Records and detections are packed into arrays (:mod:`.arrays`), scored once an image under a
protocol (:mod:`.per_image`), and every number is a pure function of those scores
(:mod:`.numbers`). Nothing here opens a file.

Example:
    >>> from wend.evaluation.protocols import get_protocol
    >>> from wend.structures.records import Detections, ImageRecord
    >>> record = ImageRecord(1, "a.jpg", 10, 10, gt_boxes=[[0, 0, 8, 8]])
    >>> scores = score_images([record], [Detections(1, [[0, 0, 8, 7]], [0.9])], None,
    ...                       get_protocol("original"))
    >>> accuracy(scores, "gt_known_loc"), float(scores.top_iou[0])
    (100.0, 0.875)
"""

from wend.evaluation.metrics.arrays import BoxArrays, align, pack
from wend.evaluation.metrics.numbers import (
    METRICS,
    accuracy,
    average,
    hits,
    iou_histogram,
    max_box_acc,
    mean_boxes,
    mean_iou,
    recall_curve,
    summary,
    values,
)
from wend.evaluation.metrics.per_image import (
    NO_HIT,
    PerImage,
    best_ious,
    first_hit_ranks,
    score_arrays,
    score_images,
)
from wend.evaluation.metrics.result import WSOLMetric, WSOLResult, compute, result_of

__all__ = [
    "BoxArrays",
    "METRICS",
    "NO_HIT",
    "PerImage",
    "WSOLMetric",
    "WSOLResult",
    "accuracy",
    "align",
    "average",
    "best_ious",
    "compute",
    "first_hit_ranks",
    "hits",
    "iou_histogram",
    "max_box_acc",
    "mean_boxes",
    "mean_iou",
    "pack",
    "recall_curve",
    "result_of",
    "score_arrays",
    "score_images",
    "summary",
    "values",
]
