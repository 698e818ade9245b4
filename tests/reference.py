"""Slow plain-Python oracle for the maths that the package implements vectorised.

Used by tests only and never imported by the package. Everything here follows the notes on the paper
(`facts.md`) and on its peers' protocols (`protocols.md`), not the package's source, so that an
error has to be made twice, independently, to go unseen. Python floats are float64.
"""

import math
from pathlib import Path
from typing import Any

Box = list[float]
Image = dict[str, Any]

RESIZE = 256
CROP = 224
IOU_THRESHOLD = 0.5
PROTOCOLS = ("psol-crop224", "original")


def _sigmoid(z: float) -> float:
    """Logistic function that never overflows; `_sigmoid(-z)` is 1 - p without cancellation."""
    if z >= 0.0:
        return 1.0 / (1.0 + math.exp(-z))
    e = math.exp(z)
    return e / (1.0 + e)


def _softplus(z: float) -> float:
    """log(1 + exp(z)), that is -log(1 - sigmoid(z))."""
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def entropy(z: float) -> float:
    """Entropy in nats of a foreground/background choice given by its log-odds.

    Source: H(p) in facts.md, equations (2) and (3).

    Args:
        z: Foreground log-odds; p = sigmoid(z).

    Returns:
        H(p) = -p log p - (1 - p) log(1 - p), between 0 and log 2.
    """
    # -log p = softplus(-z) and -log(1 - p) = softplus(z): two non-negative terms, no cancellation.
    return _sigmoid(z) * _softplus(-z) + _sigmoid(-z) * _softplus(z)


def _weight(p: float, q: float, gamma: float, alpha: float, tau1: float, tau2: float) -> float:
    """Weight for probability p whose complement q = 1 - p is given separately (for accuracy)."""
    if not (0.0 < tau2 <= tau1 < 1.0):
        raise ValueError(f"need 0 < tau2 <= tau1 < 1, got tau1={tau1}, tau2={tau2}")
    if not gamma >= 0.0:
        raise ValueError(f"need gamma >= 0, got {gamma}")
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"need 0 <= alpha <= 1, got {alpha}")
    if p >= tau1:
        return alpha * q**gamma
    if p < tau2:
        return (1.0 - alpha) * p**gamma
    return 0.0


def weight(p: float, gamma: float, alpha: float, tau1: float, tau2: float) -> float:
    """Weight of one sample's entropy, which depends on the prediction alone.

    Source: w(p) in facts.md, equations (2) and (3).

    Args:
        p: Foreground probability.
        gamma: Focusing exponent, at least 0.
        alpha: Share of the foreground, in [0, 1]; the background has 1 - alpha.
        tau1: From this probability on (inclusive) a sample looks like foreground.
        tau2: Under this probability (exclusive) a sample looks like background.

    Returns:
        alpha (1 - p)^gamma, (1 - alpha) p^gamma, or 0 for tau2 <= p < tau1.

    Raises:
        ValueError: Unless 0 < tau2 <= tau1 < 1, gamma >= 0 and 0 <= alpha <= 1.
    """
    return _weight(p, 1.0 - p, gamma, alpha, tau1, tau2)


def weighted_entropy(z: float, gamma: float, alpha: float, tau1: float, tau2: float) -> float:
    """Weighted entropy w(p) H(p) of one sample.

    Source: facts.md, equations (2) and (3).

    Args:
        z: Foreground log-odds; p = sigmoid(z).
        gamma: See `weight`.
        alpha: See `weight`.
        tau1: See `weight`.
        tau2: See `weight`.

    Returns:
        The sample's term of the loss, before the mean.
    """
    return _weight(_sigmoid(z), _sigmoid(-z), gamma, alpha, tau1, tau2) * entropy(z)


def weighted_entropy_mean(
    zs: list[float], gamma: float, alpha: float, tau1: float, tau2: float
) -> float:
    """Weighted-entropy loss: the mean over all samples, those of weight 0 included.

    Source: L_unsup = 1/N sum w(p_i) H(p_i) in facts.md, equations (2) and (3).

    Args:
        zs: Foreground log-odds of the N samples.
        gamma: See `weight`.
        alpha: See `weight`.
        tau1: See `weight`.
        tau2: See `weight`.

    Returns:
        The mean; samples left out by the thresholds count in N.

    Raises:
        ValueError: If there is no sample (the sources do not define 1/N then).
    """
    if not zs:
        raise ValueError("the mean over no samples is not defined")
    return math.fsum(weighted_entropy(z, gamma, alpha, tau1, tau2) for z in zs) / len(zs)


def iou(a: Box, b: Box, plus_one: bool = False) -> float:
    """Intersection over union of two boxes.

    Source: protocols.md rows 2 and 5 (and 10: each side of the intersection is clamped at 0).

    Args:
        a: x1, y1, x2, y2.
        b: x1, y1, x2, y2.
        plus_one: Count x2 and y2 as inclusive pixels, so that a side is x2 - x1 + 1 long.

    Returns:
        A number in [0, 1]; 0 if a box is inverted or, by the convention in use, has no area.
    """
    one = 1.0 if plus_one else 0.0
    for box in (a, b):
        if box[2] < box[0] or box[3] < box[1]:
            return 0.0
    area_a = (a[2] - a[0] + one) * (a[3] - a[1] + one)
    area_b = (b[2] - b[0] + one) * (b[3] - b[1] + one)
    if area_a <= 0.0 or area_b <= 0.0:
        return 0.0
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + one)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + one)
    intersection = width * height
    return intersection / (area_a + area_b - intersection)


def clip_to_crop(box: Box, crop: int = CROP) -> Box:
    """A true box cut at the crop; a prediction is not (PSOL_inference.py:157-160).

    Source: protocols.md rows 1 and 2, and Corrections. The near corner is clipped at 0 and the far
    one at `crop`, so a box wholly outside the crop comes out inverted (or without area) and `iou`
    gives 0 for it.
    """
    return [max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(crop)), min(box[3], float(crop))]


def to_crop_frame(
    box: Box, width: float, height: float, resize: int = RESIZE, crop: int = CROP
) -> Box:
    """Map a box from original pixels to the centre crop of the squashed image; it is not clipped.

    Source: protocols.md row 1.

    Args:
        box: x1, y1, x2, y2 in original pixels.
        width: The original image's width.
        height: The original image's height.
        resize: Side of the square that the image is squashed to, its aspect not kept.
        crop: Side of the centre crop.

    Returns:
        x1, y1, x2, y2 in pixels of the crop.
    """
    offset = round((resize - crop) / 2)
    return [
        box[0] * resize / width - offset,
        box[1] * resize / height - offset,
        box[2] * resize / width - offset,
        box[3] * resize / height - offset,
    ]


def _check_protocol(protocol: str) -> None:
    """Refuse a protocol that has no definition here."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}, expected one of {PROTOCOLS}")


def first_hit_rank(
    gt_boxes: list[Box],
    boxes_sorted_by_score: list[Box],
    width: float,
    height: float,
    protocol: str,
) -> int | None:
    """Rank of the first predicted box that localizes any truth box.

    Source: "Correct localization" in facts.md (strictly over 0.5); protocols.md rows 1, 2, 4 and 7.

    Args:
        gt_boxes: All truth boxes of the image, in original pixels.
        boxes_sorted_by_score: Predictions in original pixels, best first.
        width: The original image's width.
        height: The original image's height.
        protocol: "psol-crop224" compares truth and predictions in the crop, both clipped to it;
            "original" compares them in original pixels.

    Returns:
        The 0-based rank, or None if no box is correct.
    """
    _check_protocol(protocol)
    for rank, box in enumerate(boxes_sorted_by_score):
        for truth in gt_boxes:
            if overlap(truth, box, width, height, protocol) > IOU_THRESHOLD:
                return rank
    return None


def overlap(truth: Box, box: Box, width: float, height: float, protocol: str) -> float:
    """IoU of a truth box and a prediction in original pixels, as the protocol compares them."""
    if protocol == "original":
        return iou(truth, box)
    return iou(clip_to_crop(to_crop_frame(truth, width, height)), to_crop_frame(box, width, height))


def _percentage(hits: list[float], class_ids: list[int], protocol: str) -> float:
    """Average hits the protocol's way: per class then over classes, or per image (row 3)."""
    if protocol == "original":
        return 100.0 * sum(hits) / len(hits)
    by_class: dict[int, list[float]] = {}
    for hit, class_id in zip(hits, class_ids, strict=True):
        by_class.setdefault(class_id, []).append(hit)
    return 100.0 * math.fsum(sum(h) / len(h) for h in by_class.values()) / len(by_class)


def metrics(images: list[Image], protocol: str, max_boxes: int) -> dict[str, float]:
    """Localization accuracies over a list of images.

    Source: "Metrics" in facts.md; protocols.md finding 1 (K is explicit), rows 1 to 4, 7 and 12.

    Args:
        images: Dicts with `width`, `height`, `class_id`, `gt_boxes`, `boxes`, `scores` (in any
            order; equal scores keep the order given) and optionally `class_ranking`, the predicted
            class ids, best first. An image without boxes or without truth counts as a miss.
        protocol: "psol-crop224" averages in each class and then over the classes that occur;
            "original" averages over images. See `first_hit_rank` for the boxes.
        max_boxes: How many of the best boxes the multi-output metrics look at.

    Returns:
        Percentages `gt_known_loc` and `gt_known_loc_multi`, `max_box_acc_30`, `_50` and `_70` (the
        best box over 0.3, 0.5 and 0.7), the fraction `mean_iou`, and where every image has a class
        ranking also `top1_loc`, `top5_loc`, `top5_loc_multi`, `top1_cls` and `top5_cls`.

    Raises:
        ValueError: For an unknown protocol, no images, or max_boxes under 1.
    """
    _check_protocol(protocol)
    if not images:
        raise ValueError("no images")
    if max_boxes < 1:
        raise ValueError(f"need max_boxes >= 1, got {max_boxes}")
    ranked = all(image.get("class_ranking") is not None for image in images)
    thresholds = {"max_box_acc_30": 0.3, "max_box_acc_50": 0.5, "max_box_acc_70": 0.7}
    names = ["gt_known_loc", "gt_known_loc_multi", "mean_iou", *thresholds]
    if ranked:
        names += ["top1_loc", "top5_loc", "top5_loc_multi", "top1_cls", "top5_cls"]
    hits: dict[str, list[float]] = {name: [] for name in names}
    for image in images:
        pairs = list(zip(image["scores"], image["boxes"], strict=True))
        pairs.sort(key=lambda pair: -pair[0])  # Python's sort is stable
        boxes = [box for _, box in pairs]
        rank = first_hit_rank(image["gt_boxes"], boxes, image["width"], image["height"], protocol)
        best = rank is not None and rank < 1
        hits["gt_known_loc"].append(best)
        hits["gt_known_loc_multi"].append(rank is not None and rank < max_boxes)
        overlaps = [
            overlap(truth, box, image["width"], image["height"], protocol)
            for box in boxes[:1]
            for truth in image["gt_boxes"]
        ]
        hits["mean_iou"].append(max(overlaps, default=0.0))
        for name, threshold in thresholds.items():
            hits[name].append(max(overlaps, default=0.0) > threshold)
        if ranked:
            ranking = list(image["class_ranking"])
            top1 = image["class_id"] in ranking[:1]
            top5 = image["class_id"] in ranking[:5]
            any_of_five = rank is not None and rank < min(5, max_boxes)
            hits["top1_cls"].append(top1)
            hits["top5_cls"].append(top5)
            hits["top1_loc"].append(top1 and best)
            hits["top5_loc"].append(top5 and best)
            hits["top5_loc_multi"].append(top5 and any_of_five)
    class_ids = [image["class_id"] for image in images]
    values = {name: _percentage(hits[name], class_ids, protocol) for name in names}
    return {**values, "mean_iou": values["mean_iou"] / 100}


def _rows(path: Path, fields: int) -> list[list[str]]:
    """Split a text list into an image id and `fields` values a line; ids may hold commas."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        row = line.strip().rsplit(",", fields) if fields else [line.strip()]
        if len(row) != fields + 1:
            raise ValueError(f"{path}: expected {fields + 1} fields in {line!r}")
        rows.append(row)
    return rows


def read_metadata(folder: str | Path) -> list[Image]:
    """Read wsolevaluation's text lists.

    Source: protocols.md rows 6, 7, 16 and 17 (all truth boxes kept, coordinates taken as they are).

    Args:
        folder: Holds `image_ids.txt` (id), `class_labels.txt` (id,label), `image_sizes.txt`
            (id,width,height) and `localization.txt` (id,x1,y1,x2,y2, one line a box).

    Returns:
        Dicts as `metrics` takes them, in the order of `image_ids.txt`, without predictions; the id
        is kept as `image_id`.

    Raises:
        ValueError: For a line with the wrong number of fields.
        KeyError: For an image without a label or size, or a line about an unlisted image.
    """
    folder = Path(folder)
    images: dict[str, Image] = {}
    for (image_id,) in _rows(folder / "image_ids.txt", 0):
        images[image_id] = {"image_id": image_id, "gt_boxes": [], "boxes": [], "scores": []}
    for image_id, label in _rows(folder / "class_labels.txt", 1):
        images[image_id]["class_id"] = int(label)
    for image_id, width, height in _rows(folder / "image_sizes.txt", 2):
        images[image_id]["width"] = int(width)
        images[image_id]["height"] = int(height)
    for image_id, *corners in _rows(folder / "localization.txt", 4):
        images[image_id]["gt_boxes"].append([float(corner) for corner in corners])
    for image_id, image in images.items():
        for key in ("class_id", "width", "height"):
            if key not in image:
                raise KeyError(f"{folder}: no {key} for {image_id}")
    return list(images.values())
