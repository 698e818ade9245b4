"""``wend evaluate --analysis``: where the best boxes hit and how they miss, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wend.evaluation.analysis import (
    HIT,
    MOSTLY,
    TOUCHES,
    Group,
    by_class,
    by_num_boxes,
    by_size,
    error_shares,
    error_types,
    true_box_sizes,
)
from wend.evaluation.metrics import gt_known_loc, hits
from wend.evaluation.per_image import PerImage
from wend.evaluation.protocols import EvalProtocol
from wend.evaluation.scoring import ProtocolScores
from wend.evaluation.tables import format_table
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

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


def analysis_text(scores: Mapping[str, ProtocolScores]) -> str:
    """Breakdowns and error types of GT-known Loc, a section for each protocol.

    Images on a protocol's blacklist are left out of its section.
    """
    sections = [_section(result.per_image) for result in scores.values()]
    return "\n\n".join(["# Where the best box of each image hits, and how it misses", *sections])


def _section(per_image: PerImage) -> str:
    data_set = per_image.data_set.take(per_image.images)
    value = gt_known_loc.values(per_image)
    num_true, share = true_box_sizes(data_set)
    parts = [
        f"## {per_image.protocol.name}",
        f"GT-known Loc of {len(data_set)} images; {per_image.protocol.describe()}",
        _averages(per_image, value),
        _table("true boxes", by_num_boxes(value, num_true)),
        _table("largest true box, share of the image", by_size(value, share)),
    ]
    if per_image.class_ids is not None:
        parts += _class_tables(data_set, value)
    return "\n\n".join([*parts, _errors(per_image)])


def _averages(per_image: PerImage, value: np.ndarray) -> str:
    """Which average the rows below are of, beside the one of the table of results."""
    of_images = f"{gt_known_loc.scale * float(value.mean()):.2f}"
    rows = f"means over the images of each row (over all images: {of_images})"
    if gt_known_loc.averaged_classes(per_image) is None:
        return f"Per cent: {rows}"
    of_classes = gt_known_loc.text(gt_known_loc.average_of(per_image, value))
    return f"Per cent: {rows}; the table of results has the mean over classes, {of_classes}"


def _table(title: str, groups: Sequence[Group]) -> str:
    rows = [[group.label, str(group.num_images), f"{group.percent:.2f}"] for group in groups]
    return format_table((title, "images", "per cent of images"), rows)


def _class_tables(data_set: DataSet, value: np.ndarray) -> list[str]:
    classes = data_set.class_ids.tolist()
    folders = {c: key.rpartition("/")[0] for c, key in zip(classes, data_set.keys, strict=True)}
    groups = [
        Group(f"{g.label} {folders[int(g.label)]}".rstrip(), g.num_images, g.percent)
        for g in by_class(value, data_set.class_ids)
    ]
    groups.sort(key=lambda group: group.percent)
    if len(groups) <= 2 * EXTREMES:
        return [_table("class, worst first", groups)]
    return [
        _table(f"worst {EXTREMES} of {len(groups)} classes", groups[:EXTREMES]),
        _table(f"best {EXTREMES} of {len(groups)} classes", groups[: -EXTREMES - 1 : -1]),
    ]


def miss_types(per_image: PerImage) -> tuple[np.ndarray, float]:
    """How each best box misses: (I,) of :func:`error_types`; and at which IoU.

    At 0.5 where that is one of the protocol's thresholds, else at its first.
    """
    thresholds = per_image.protocol.thresholds
    threshold = 0.5 if 0.5 in thresholds else thresholds[0]
    images = per_image.images
    tables = (per_image.data_set.take(images), per_image.ranked.take(images))
    best_and_truth = boxes_in_frame(*tables, per_image.protocol)
    return error_types(*best_and_truth, hits(per_image, threshold=threshold)), threshold


def _errors(per_image: PerImage) -> str:
    types, threshold = miss_types(per_image)
    shares = error_shares(types)
    rows = [
        [name, meaning, str(int((types == name).sum())), f"{shares[name]:.2f}"]
        for name, meaning in ERROR_MEANINGS.items()
    ]
    title = f"miss at IoU {threshold:g}"
    missed = int((types != HIT).sum())
    notes = [f"{missed} of {len(types)} best boxes miss; the first type that applies counts"]
    return format_table((title, "the best box", "images", "% of misses"), rows, notes)


def boxes_in_frame(
    data_set: DataSet, detections: BoxTable, protocol: EvalProtocol
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The arrays that :func:`error_types` takes, in the protocol's frame.

    Corners are exclusive: a protocol that counts pixels inclusively has its pixel added.

    Returns:
        Best boxes (I, 4), rows of NaN for images without boxes; the true boxes (G, 4) that the
        protocol counts; and the index (G,) of each true box's image, rising.
    """
    counted = data_set.truth.first(1) if protocol.truth == "first" else data_set.truth
    image = counted.owner
    sizes = data_set.frame_sizes
    images = detections.with_boxes
    best = np.full((len(detections), 4), np.nan)
    best[images] = protocol.to_frame(detections, detections.offsets[images], sizes[images])
    truth = protocol.to_frame(counted, np.arange(len(image)), sizes[image], truth=True)
    for boxes in (best, truth):
        boxes[:, 2:] += protocol.pixel_offset
    return best, truth, image
