"""What six protocols make of the same boxes, in slow plain Python, one peer at a time.

Written from the descriptions of the peers' arithmetic in `protocols.md` (rows 1 to 7 and 12; the
order in which a coordinate is multiplied and divided is each peer's own), never from the package,
which is not imported: an error has to be made twice, independently, to go unseen. Python floats are
float64. Used by the tests and, as the loop to be faster than, by projects/benchmark/evaluation.

An image is a dict: `width`, `height`, `class_id`, `gt_boxes` (in the list's order), `boxes` (best
first), all boxes x1, y1, x2, y2 in original pixels, and optionally `class_ranking` (predicted
classes, best first).
"""

import math


def continuous_iou(a, b):
    """Sides are x2 - x1; a box that is inside out has no area (row 5: PSOL, C2AM)."""
    if a[2] <= a[0] or a[3] <= a[1] or b[2] <= b[0] or b[3] <= b[1]:
        return 0.0
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    inter = w * h
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def inclusive_iou(a, b):
    """Sides are x2 - x1 + 1 (row 5: wsolevaluation, TS-CAM, GenPromp)."""
    if a[2] < a[0] or a[3] < a[1] or b[2] < b[0] or b[3] < b[1]:
        return 0.0
    w = min(a[2], b[2]) - max(a[0], b[0]) + 1
    h = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if w <= 0 or h <= 0:
        return 0.0
    inter = w * h
    area_a = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
    area_b = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
    return inter / (area_a + area_b - inter)


def psol_crop(box, width, height):
    """Row 1, PSOL: squash to 256, cut the centre 224 (at 16), fractions of it within [0, 1]."""
    rate_w, rate_h = 256 / width, 256 / height
    x1, y1, x2, y2 = box[0] * rate_w, box[1] * rate_h, box[2] * rate_w, box[3] * rate_h
    x1, y1, x2, y2 = max(16, x1), max(16, y1), min(16 + 224, x2), min(16 + 224, y2)
    fractions = [min(max((v - 16) / 224, 0), 1) for v in (x1, y1, x2, y2)]
    return [f * 224 for f in fractions]


def tscam_squash(box, width, height):
    """Row 1, TS-CAM: squash to 224, no crop, cut at 0 and 223, whole pixels."""
    return [
        int(max(box[0] / width * 224 - 0, 0)),
        int(max(box[1] / height * 224 - 0, 0)),
        int(min(box[2] / width * 224 - 0, 224 - 1)),
        int(min(box[3] / height * 224 - 0, 224 - 1)),
    ]


def wsoleval_truth(box, width, height):
    """Row 1, wsolevaluation: truth squashed to 224 and made whole, not cut."""
    return [
        int(box[0] * 224.0 / width),
        int(box[1] * 224.0 / height),
        int(box[2] * 224.0 / width),
        int(box[3] * 224.0 / height),
    ]


def wsoleval_box(box, width, height):
    """A box read off a score map of 224 pixels ends at its last pixel, 223."""
    x1, y1, x2, y2 = wsoleval_truth(box, width, height)
    return [max(x1, 0), max(y1, 0), min(x2, 223), min(y2, 223)]


def unchanged(box, width, height):
    """Original pixels."""
    return box


def ious(image, map_truth, map_box, iou, first_only=False):
    """Each box's IoU with the true box that it fits best, in the peer's frame."""
    width, height = image["width"], image["height"]
    truths = image["gt_boxes"][:1] if first_only else image["gt_boxes"]
    truths = [map_truth(truth, width, height) for truth in truths]
    best = []
    for box in image["boxes"]:
        mapped = map_box(box, width, height)
        highest = 0.0
        for truth in truths:
            overlaps = iou(mapped, truth)
            if overlaps > highest:
                highest = overlaps
        best.append(highest)
    return best


def over(iou):
    """Row 4: PSOL, C2AM; TS-CAM and GenPromp for Top-1 and Top-5."""
    return iou > 0.5


def at_least(iou):
    """Row 4: TS-CAM and GenPromp for GT-known."""
    return iou >= 0.5


def per_image(hits, class_ids):
    """Row 3: per cent of images."""
    return 100.0 * sum(hits) / len(hits)


def per_class(hits, class_ids):
    """Row 3: mean of each class's per cent."""
    by_class = {}
    for hit, class_id in zip(hits, class_ids, strict=True):
        by_class.setdefault(class_id, []).append(hit)
    return math.fsum(100.0 * sum(h) / len(h) for h in by_class.values()) / len(by_class)


def count(images, box_ious, known, classified, average, k):
    """The metrics of one threshold; `known` and `classified` test an IoU (row 12 for Top-5)."""
    hits = {"gt_known_loc": [], "gt_known_loc_multi": []}
    if "class_ranking" in images[0]:
        hits.update(top1_loc=[], top5_loc=[], top5_loc_multi=[])
    for image, overlaps in zip(images, box_ious, strict=True):
        hits["gt_known_loc"].append(bool(overlaps) and known(overlaps[0]))
        hits["gt_known_loc_multi"].append(any(known(iou) for iou in overlaps[:k]))
        if "class_ranking" in image:
            top1 = image["class_ranking"][0] == image["class_id"]
            top5 = image["class_id"] in image["class_ranking"][:5]
            best = bool(overlaps) and classified(overlaps[0])
            five = overlaps[: 5 if k is None else min(5, k)]
            hits["top1_loc"].append(top1 and best)
            hits["top5_loc"].append(top5 and best)
            hits["top5_loc_multi"].append(top5 and any(classified(iou) for iou in five))
    class_ids = [image["class_id"] for image in images]
    return {name: average(hit, class_ids) for name, hit in hits.items()}


def psol(images, k=None):
    """PSOL's, C2AM's and so the paper's inference."""
    overlaps = [ious(image, psol_crop, psol_crop, continuous_iou) for image in images]
    return count(images, overlaps, over, over, per_class, k), overlaps


def psol_first_box(images, k=None):
    """PSOL's accuracy while it trains (row 7; at least 0.5, per image)."""
    overlaps = [ious(image, psol_crop, psol_crop, continuous_iou, True) for image in images]
    return count(images, overlaps, at_least, at_least, per_image, k), overlaps


def original(images, k=None):
    """No frame."""
    overlaps = [ious(image, unchanged, unchanged, continuous_iou) for image in images]
    return count(images, overlaps, over, over, per_image, k), overlaps


def tscam(images, k=None):
    """TS-CAM, and GenPromp but for its 512."""
    overlaps = [ious(image, tscam_squash, tscam_squash, inclusive_iou) for image in images]
    return count(images, overlaps, at_least, over, per_image, k), overlaps


def wsoleval_v1(images, k=None):
    """MaxBoxAcc: at least 0.5."""
    overlaps = [ious(image, wsoleval_truth, wsoleval_box, inclusive_iou) for image in images]
    return count(images, overlaps, at_least, at_least, per_image, k), overlaps


def wsoleval_v2(images, k=None):
    """MaxBoxAccV2: mean over at least 30, 50 and 70 per cent."""
    overlaps = [ious(image, wsoleval_truth, wsoleval_box, inclusive_iou) for image in images]
    each = []
    for threshold in (30, 50, 70):

        def reaches(iou, threshold=threshold):
            return iou >= threshold / 100

        each.append(count(images, overlaps, reaches, reaches, per_image, k))
    return {name: sum(metrics[name] for metrics in each) / 3 for name in each[0]}, overlaps


PEERS = {
    "psol-crop224": psol,
    "original": original,
    "tscam-squash224": tscam,
    "wsoleval-v1": wsoleval_v1,
    "wsoleval-v2": wsoleval_v2,
    "psol-first-box": psol_first_box,
}
