"""What wsolevaluation makes of score maps, in slow loops: thresholds, contours, boxes, pixels.

Written from the facts, each with its line of wsolevaluation 96f4b88, never from the package, which
is not imported. OpenCV traces the contours here as there. Used by the tests and, as the loop to be
faster than, by projects/benchmark/evaluation.
"""

import cv2
import numpy as np

from tests.peers import inclusive_iou, wsoleval_truth


def thresholds(interval):
    """evaluation.py:468."""
    return list(np.arange(0, 1, interval))


def map_boxes(score_map, threshold, every_contour):
    """evaluation.py:130-159: boxes of one threshold as lists of whole numbers."""
    height, width = score_map.shape
    grey = (score_map * 255).astype(np.uint8)  # :132
    level = int(threshold * int(grey.max()))  # :137
    _, binary = cv2.threshold(grey, level, 255, cv2.THRESH_BINARY)  # :135-139, above the level
    contours = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]  # :140-143
    if len(contours) == 0:
        return [[0, 0, 0, 0]]  # :145-146
    if not every_contour:
        contours = [max(contours, key=cv2.contourArea)]  # :148-149
    boxes = []
    for contour in contours:
        x, y, w, h = cv2.boundingRect(contour)  # :153
        boxes.append([x, y, min(x + w, width - 1), min(y + h, height - 1)])  # :154-156
    return boxes


def max_box_acc(score_maps, truths, sizes, interval, iou_thresholds, every_contour):
    """evaluation.py:239-288: for each IoU threshold the best accuracy (per cent) over the maps'.

    `truths` are lists of boxes in original pixels, `sizes` widths and heights; maps may come from
    an iterator.
    """
    steps = thresholds(interval)
    correct = np.zeros((len(iou_thresholds), len(steps)), dtype=int)
    for score_map, boxes, size in zip(score_maps, truths, sizes, strict=True):
        squashed = [wsoleval_truth(box, *size) for box in boxes]  # :114, :232-236
        for step, threshold in enumerate(steps):
            best = max(
                inclusive_iou(box, truth)
                for box in map_boxes(score_map, threshold, every_contour)
                for truth in squashed
            )  # :265, the best of any contour with any true box
            for row, iou in enumerate(iou_thresholds):
                correct[row, step] += best >= iou  # :269-271
    return [100.0 * int(row.max()) / len(truths) for row in correct]  # :284-286


def normalized(cam, side=224):
    """inference.py:38-52,86-88: a network's map as it is scored."""
    cam = cv2.resize(np.asarray(cam, dtype=float), (side, side), interpolation=cv2.INTER_CUBIC)
    if cam.min() == cam.max():
        return np.zeros_like(cam)
    cam = cam - cam.min()
    return cam / cam.max()


def pixel_truth(objects, ignored, side=224):
    """evaluation.py:291-336 of masks that are arrays: 1 object, 0 background, 255 ignored."""

    def squashed(mask):
        rows, columns = mask.shape  # INTER_NEAREST takes the pixel at floor(i * size / side)
        ys = [i * rows // side for i in range(side)]
        xs = [i * columns // side for i in range(side)]
        return mask[np.ix_(ys, xs)] > 0.5

    truth = np.zeros((side, side), dtype=np.uint8)
    if ignored is not None:
        truth[squashed(ignored)] = 255
    for mask in objects:
        truth[squashed(mask)] = 1  # an object's pixel is never ignored: :329-330
    return truth


def pxap(score_maps, truths, interval):
    """evaluation.py:382-416: sum over falling thresholds of precision times the step of recall."""
    scores = np.concatenate([m[t == 1] for m, t in zip(score_maps, truths, strict=True)])
    others = np.concatenate([m[t == 0] for m, t in zip(score_maps, truths, strict=True)])
    area, last = 0.0, 0.0
    for threshold in reversed([*thresholds(interval), 1.0, 2.0]):  # the lower edges of the bins
        right, wrong = int((scores >= threshold).sum()), int((others >= threshold).sum())
        if right + wrong:
            recall = right / len(scores)
            area += right / (right + wrong) * (recall - last)
            last = recall
    return 100 * area
