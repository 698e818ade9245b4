"""``wend evaluate --analysis``: where the best boxes hit and how they miss, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wend.evaluation.analysis import (
    MOSTLY,
    TOUCHES,
    Group,
    best_boxes,
    by_class,
    by_num_boxes,
    by_size,
    error_shares,
    error_types,
    true_box_sizes,
)
from wend.evaluation.metrics import PerImage, hits, values
from wend.evaluation.protocols import EvalProtocol
from wend.evaluation.scoring import ProtocolScores
from wend.evaluation.tables import format_table
from wend.structures.records import Detections, ImageRecord

ANALYSIS_FILE = "analysis.md"
EXTREMES = 10  # classes shown at each end
ERROR_MEANINGS = {
    "none": "there is no box",
    "merged": f"covers at least {MOSTLY:g} of two or more true boxes",
    "part": f"at least {MOSTLY:g} of it lies in a larger true box",
    "whole": f"covers at least {MOSTLY:g} of a true box, and much else",
    "shifted": f"IoU > {TOUCHES:g} with a true box",
    "place": f"IoU <= {TOUCHES:g} with all of them: wrong object or background",
}


def analysis_text(
    records: Sequence[ImageRecord],
    detections: Sequence[Detections],
    scores: Mapping[str, ProtocolScores],
) -> str:
    """Breakdowns and error types of GT-known Loc, a section for each protocol.

    Args:
        records: I images with true boxes.
        detections: theirs, in the same order.
        scores: of them; images on a protocol's blacklist are left out of its section.
    """
    sections = [_section(records, detections, of.per_image) for of in scores.values()]
    return "\n\n".join(["# Where the best box of each image hits, and how it misses", *sections])


def _section(
    records: Sequence[ImageRecord], detections: Sequence[Detections], per_image: PerImage
) -> str:
    scored = set(per_image.image_ids)
    keep = [i for i, record in enumerate(records) if record.image_id in scored]
    records, detections = [records[i] for i in keep], [detections[i] for i in keep]
    value = values(per_image, "gt_known_loc")
    num_true, share = true_box_sizes(records)
    parts = [
        f"## {per_image.protocol.name}",
        f"GT-known Loc of {len(records)} images; {per_image.protocol.describe()}",
        _table("true boxes", by_num_boxes(value, num_true)),
        _table("largest true box, share of the image", by_size(value, share)),
    ]
    if per_image.class_ids is not None:
        parts += _class_tables(records, value, per_image.class_ids)
    return "\n\n".join([*parts, _errors(records, detections, per_image)])


def _table(title: str, groups: Sequence[Group]) -> str:
    rows = [[group.label, str(group.num_images), f"{group.percent:.2f}"] for group in groups]
    return format_table((title, "images", "per cent"), rows)


def _class_tables(
    records: Sequence[ImageRecord], value: np.ndarray, class_ids: np.ndarray
) -> list[str]:
    folders = {r.class_id: r.key.rpartition("/")[0] for r in records}
    groups = [
        Group(f"{g.label} {folders[int(g.label)]}".rstrip(), g.num_images, g.percent)
        for g in by_class(value, class_ids)
    ]
    groups.sort(key=lambda group: group.percent)
    if len(groups) <= 2 * EXTREMES:
        return [_table("class, worst first", groups)]
    return [
        _table(f"worst {EXTREMES} of {len(groups)} classes", groups[:EXTREMES]),
        _table(f"best {EXTREMES} of {len(groups)} classes", groups[: -EXTREMES - 1 : -1]),
    ]


def _errors(
    records: Sequence[ImageRecord], detections: Sequence[Detections], per_image: PerImage
) -> str:
    thresholds = per_image.protocol.thresholds
    threshold = 0.5 if 0.5 in thresholds else thresholds[0]
    hit = hits(per_image, "gt_known_loc", threshold=threshold)
    types = error_types(*boxes_in_frame(records, detections, per_image.protocol), hit)
    shares = error_shares(types)
    rows = [
        [name, meaning, str(int((types == name).sum())), f"{shares[name]:.2f}"]
        for name, meaning in ERROR_MEANINGS.items()
    ]
    title = f"miss at IoU {threshold:g}"
    missed = int((~hit).sum())
    notes = [f"{missed} of {len(hit)} best boxes miss; the first type that applies counts"]
    return format_table((title, "the best box", "images", "% of misses"), rows, notes)


def boxes_in_frame(
    records: Sequence[ImageRecord], detections: Sequence[Detections], protocol: EvalProtocol
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Arrays of :func:`wend.evaluation.analysis.best_boxes`, in the protocol's frame and with its
    true boxes.

    Corners are exclusive: a protocol that counts pixels inclusively has its pixel added.
    """
    best, truth, place = best_boxes(records, detections)
    if protocol.truth == "first":
        first = np.unique(place, return_index=True)[1]
        truth, place = truth[first], place[first]
    widths, heights = np.array([(r.width, r.height) for r in records], dtype=np.float64).T
    there = np.isfinite(best).all(1)
    best[there] = protocol.to_frame(best[there], widths[there], heights[there])
    truth = protocol.to_frame(truth, widths[place], heights[place], truth=True)
    for boxes in (best, truth):
        boxes[:, 2:] += protocol.pixel_offset
    return best, truth, place
