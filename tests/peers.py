"""What the peers make of the same boxes, in slow plain Python, one peer at a time.

Written from the peers' own sources, whose files and lines stand beside each step, and never from
the package, which is not imported: an error has to be made twice, independently, to go unseen.
Python floats are float64. Used by the tests and, as the loop to be faster than, by
projects/benchmark/evaluation.

Sources: tzzcl/PSOL ddecfce, CVI-SZU/CCAM e6a46c9 (C2AM), wpy1999/BAS 54c395e, vasgaowei/TS-CAM
25aece4, callsys/GenPromp c480e0a, clovaai/wsolevaluation 96f4b88.

An image is a dict: `width`, `height`, `class_id`, `gt_boxes` (in the list's order, x1, y1, x2, y2
in original pixels) and its detections, best first: `boxes` in original pixels, or `frame_boxes` in
the peer's own frame, as its network or score map gives them; and optionally `class_ranking`
(predicted classes, best first) or `pairs` (a class for each box).
"""

import math


def continuous_iou(a, b):
    """PSOL and C2AM: utils/IoU.py:75-106 (82-110): areas of max(0, x2 - x1) * max(0, y2 - y1).

    C2AM's map evaluation is the same but for its clamp, which train_CCAM_ILSVRC.py lacks for boxes
    that are apart on both axes (WSOL/utils.py:144-145); not repeated here.
    """
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(0, w) * max(0, h)
    area_a = max(0, a[2] - a[0]) * max(0, a[3] - a[1])
    area_b = max(0, b[2] - b[0]) * max(0, b[3] - b[1])
    if area_a + area_b - inter <= 0:  # PSOL would divide by 0
        return 0.0
    return inter / (area_a + area_b - inter)


def inclusive_iou(a, b):
    """Sides are x2 - x1 + 1.

    BAS utils/IoU.py:3-14; TS-CAM lib/cams_deit.py:292-304; GenPromp datasets/evaluation/cam.py:
    303-315; wsolevaluation evaluation.py:79-90.
    """
    w, h = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    inter = max(0, w) * max(0, h)
    if inter == 0:
        return 0.0
    area_a = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
    area_b = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
    return inter / (area_a + area_b - inter)


def psol_resized(box, width, height):
    """PSOL utils/augment.py:220-226 with (256, 256): each axis by its own rate."""
    rate_w, rate_h = 256 / width, 256 / height
    return [box[0] * rate_w, box[1] * rate_h, box[2] * rate_w, box[3] * rate_h]


def psol_truth(box, width, height):
    """PSOL_inference.py:142-153: the truth alone goes through CenterBBoxCrop, which clips it.

    utils/augment.py:259-266 (corner (256 - 224) / 2), utils/func.py:99-103 (each corner at its own
    side), 111-115 (fractions of the crop); then times 224. C2AM inference_CUB.py:145-152.
    """
    x1, y1, x2, y2 = psol_resized(box, width, height)
    clipped = [max(16, x1), max(16, y1), min(16 + 224, x2), min(16 + 224, y2)]
    return [(v - 16) / 224 * 224 for v in clipped]


def psol_box(box, width, height):
    """PSOL_inference.py:157-160 leaves x, y, x + w, y + h of the network as they are.

    So a box in original pixels comes into the crop without being cut. C2AM inference_CUB.py:
    158-161, inference_ILSVRC.py:151-154; BAS takes boxes of its map (BAS_inference.py:163-169).
    """
    return [v - 16 for v in psol_resized(box, width, height)]


def psol_training_box(box, width, height):
    """While PSOL trains, utils/IoU.py:131-132 clamps x + w and y + h of the network to 0..1.

    x and y are of a sigmoid; a box from elsewhere is cut there, too.
    """
    x1, y1, x2, y2 = psol_box(box, width, height)
    return [max(x1, 0), max(y1, 0), min(x2, 224), min(y2, 224)]


def tscam_truth(side):
    """TS-CAM lib/datasets/imagenet.py:132-139: x / width * 224, at least 0, at most 223, int.

    GenPromp datasets/base.py:305-311 is the same with 512.
    """

    def mapped(box, width, height):
        return [
            int(max(box[0] / width * side - 0, 0)),
            int(max(box[1] / height * side - 0, 0)),
            int(min(box[2] / width * side - 0, side - 1)),
            int(min(box[3] / height * side - 0, side - 1)),
        ]

    return mapped


def tscam_box(side):
    """TS-CAM lib/cams_deit.py:50-51 (GenPromp cam.py:47-48): x, y, x + w, y + h, not cut.

    A bounding rectangle's numbers are whole, so a box in original pixels is made so.
    """

    def mapped(box, width, height):
        return [
            int(box[0] / width * side),
            int(box[1] / height * side),
            int(box[2] / width * side),
            int(box[3] / height * side),
        ]

    return mapped


def wsoleval_truth(box, width, height):
    """wsolevaluation evaluation.py:106-114: x * 224 / width, int, not cut."""
    return [
        int(box[0] * 224.0 / width),
        int(box[1] * 224.0 / height),
        int(box[2] * 224.0 / width),
        int(box[3] * 224.0 / height),
    ]


def wsoleval_box(box, width, height):
    """wsolevaluation evaluation.py:153-157: x + w and y + h are at most 223."""
    return wsoleval_box_of_map(wsoleval_truth(box, width, height), width, height)


def wsoleval_box_of_map(box, width, height):
    """The same of a bounding rectangle in the map."""
    x1, y1, x2, y2 = box
    return [max(x1, 0), max(y1, 0), min(x2, 223), min(y2, 223)]


def c2am_map(box, width, height):
    """C2AM WSOL/dataset/ilsvrc.py:80-83, cub200.py:123-126: 480 squash, shifted by 16, not cut.

    Boxes of the map are in pixels of the 448 crop (WSOL/utils.py:306-311).
    """
    rate_w, rate_h = 480 / width, 480 / height
    shift = (480 - 448) / 2
    return [
        box[0] * rate_w - shift,
        box[1] * rate_h - shift,
        box[2] * rate_w - shift,
        box[3] * rate_h - shift,
    ]


def unchanged(box, width, height):
    """Original pixels, or a box that is in the peer's frame already."""
    return box


def ious(image, map_truth, map_box, iou, first_only=False, map_frame_box=unchanged):
    """Each box's IoU with the true box that it fits best, in the peer's frame.

    All peers take the largest over the true boxes: PSOL_inference.py:162-166, BAS_inference.py:
    211-218, TS-CAM lib/cams_deit.py:257-264, wsolevaluation evaluation.py:265.
    """
    width, height = image["width"], image["height"]
    truths = image["gt_boxes"][:1] if first_only else image["gt_boxes"]
    truths = [map_truth(truth, width, height) for truth in truths]
    given = "frame_boxes" in image
    map_box = map_frame_box if given else map_box
    best = []
    for box in image["frame_boxes" if given else "boxes"]:
        mapped = map_box(box, width, height)
        highest = 0.0
        for truth in truths:
            overlaps = iou(mapped, truth)
            if overlaps > highest:
                highest = overlaps
        best.append(highest)
    return best


def over(threshold):
    """PSOL_inference.py:193-197, C2AM, BAS; TS-CAM lib/cams_deit.py:269 for Top-1 and Top-5."""
    return lambda iou: iou > threshold


def at_least(threshold):
    """TS-CAM lib/cams_deit.py:204 for GT-known; wsolevaluation evaluation.py:270."""
    return lambda iou: iou >= threshold


def per_image(hits, class_ids):
    """Per cent of images: TS-CAM lib/core/engine.py:123-129, wsolevaluation."""
    return 100.0 * sum(hits) / len(hits)


def per_class(hits, class_ids):
    """Mean of each class's per cent: PSOL_inference.py:193-216, C2AM, BAS_inference.py:233-250."""
    by_class = {}
    for hit, class_id in zip(hits, class_ids, strict=True):
        by_class.setdefault(class_id, []).append(hit)
    return math.fsum(100.0 * sum(h) / len(h) for h in by_class.values()) / len(by_class)


def count(images, box_ious, known, classified, average, k):
    """The metrics of one threshold; `known` and `classified` test an IoU.

    Top-5 of one box: PSOL_inference.py:177-181. Multi-box metrics are the paper's (any of K).
    """
    if "pairs" in images[0]:
        return count_pairs(images, box_ious, known, classified, average, k)
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


def count_pairs(images, box_ious, known, classified, average, k):
    """The metrics of class-box pairs, best first.

    Top-1 and Top-5: TS-CAM lib/cams_deit.py:253-273 (GenPromp cam.py:264-284): any of the first
    one or five pairs has the class and a box that passes. GT-known: the box of the image's class,
    177-207 (183-214). The multi-box metrics take the boxes of the image's class; Top-5 of them
    asks that the class is among the five best, each counted once.
    """
    hits = {"top1_loc": [], "top5_loc": [], "gt_known_loc": []}
    hits.update(gt_known_loc_multi=[], top5_loc_multi=[])
    for image, overlaps in zip(images, box_ious, strict=True):
        true = image["class_id"]
        pairs = list(zip(image["pairs"], overlaps, strict=True))
        for name, number in (("top1_loc", 1), ("top5_loc", 5)):
            hit = False
            for class_id, iou in pairs[:number]:
                if class_id == true and classified(iou):
                    hit = True
                    break
            hits[name].append(hit)
        own = [iou for class_id, iou in pairs if class_id == true]
        hits["gt_known_loc"].append(bool(own) and known(own[0]))
        hits["gt_known_loc_multi"].append(any(known(iou) for iou in own[:k]))
        five = own[: 5 if k is None else min(5, k)]
        best_five = list(dict.fromkeys(image["pairs"]))[:5]
        hits["top5_loc_multi"].append(true in best_five and any(classified(iou) for iou in five))
    class_ids = [image["class_id"] for image in images]
    return {name: average(hit, class_ids) for name, hit in hits.items()}


def psol(images, k=None):
    """PSOL's, C2AM's and so the paper's inference."""
    overlaps = [ious(image, psol_truth, psol_box, continuous_iou) for image in images]
    return count(images, overlaps, over(0.5), over(0.5), per_class, k), overlaps


def bas(images, k=None):
    """BAS: PSOL's frame (CUB/BAS_inference.py:186-196), "+1" in a continuous frame, > 0.5."""
    overlaps = [ious(image, psol_truth, psol_box, inclusive_iou) for image in images]
    return count(images, overlaps, over(0.5), over(0.5), per_class, k), overlaps


def c2am_v2(images, k=None):
    """C2AM inference_CUB.py:206-208,217, inference_ILSVRC.py:201-203: > 0.3, 0.5, 0.7, the mean."""
    overlaps = [ious(image, psol_truth, psol_box, continuous_iou) for image in images]
    return mean_over(images, overlaps, over, per_class, k), overlaps


def c2am_maps(images, k=None):
    """C2AM's CorLoc of its maps: train_CCAM_CUB.py:291-300, 321-324, > 0.5, per image."""
    overlaps = [ious(image, c2am_map, c2am_map, continuous_iou) for image in images]
    return count(images, overlaps, over(0.5), over(0.5), per_image, k), overlaps


def psol_first_box(images, k=None):
    """PSOL's accuracy while it trains.

    First true box: loader/imagenet_loader.py:88; at least 0.5, per image: PSOL_training.py:36-42.
    """
    overlaps = [
        ious(image, psol_truth, psol_training_box, continuous_iou, first_only=True)
        for image in images
    ]
    return count(images, overlaps, at_least(0.5), at_least(0.5), per_image, k), overlaps


def original(images, k=None):
    """No frame, no peer."""
    overlaps = [ious(image, unchanged, unchanged, continuous_iou) for image in images]
    return count(images, overlaps, over(0.5), over(0.5), per_image, k), overlaps


def tscam(images, k=None, side=224):
    """TS-CAM."""
    overlaps = [ious(im, tscam_truth(side), tscam_box(side), inclusive_iou) for im in images]
    return count(images, overlaps, at_least(0.5), over(0.5), per_image, k), overlaps


def genpromp(images, k=None):
    """GenPromp: TS-CAM's evaluation at 512 (datasets/base.py:287)."""
    return tscam(images, k, side=512)


def wsoleval_overlaps(images):
    """IoUs in wsolevaluation's frame."""
    frame = (wsoleval_truth, wsoleval_box, inclusive_iou)
    return [ious(image, *frame, map_frame_box=wsoleval_box_of_map) for image in images]


def wsoleval_v1(images, k=None):
    """MaxBoxAcc: at least 0.5."""
    overlaps = wsoleval_overlaps(images)
    return count(images, overlaps, at_least(0.5), at_least(0.5), per_image, k), overlaps


def wsoleval_v2(images, k=None):
    """MaxBoxAccV2: mean over at least 30, 50 and 70 per cent (evaluation.py:268-272)."""
    overlaps = wsoleval_overlaps(images)
    return mean_over(images, overlaps, at_least, per_image, k), overlaps


def mean_over(images, overlaps, passes, average, k):
    """The mean of the metrics at IoU 30, 50 and 70 per cent."""
    tests = [passes(threshold / 100) for threshold in (30, 50, 70)]
    each = [count(images, overlaps, test, test, average, k) for test in tests]
    return {name: sum(metrics[name] for metrics in each) / 3 for name in each[0]}


PEERS = {
    "psol-crop224": psol,
    "original": original,
    "tscam-squash224": tscam,
    "genpromp-squash512": genpromp,
    "wsoleval-v1": wsoleval_v1,
    "wsoleval-v2": wsoleval_v2,
    "bas-crop224": bas,
    "c2am-crop224-v2": c2am_v2,
    "c2am-crop448": c2am_maps,
    "psol-first-box": psol_first_box,
}
