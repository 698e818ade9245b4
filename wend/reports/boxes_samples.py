"""Which images of a data set a look at its pseudo boxes is worth: chance, and the extremes.

Shape letters: I = images, n = images with a box.
"""

from __future__ import annotations

import numpy as np

from wend.structures.box_table import BoxTable
from wend.structures.boxes import paired_iou
from wend.structures.data_set import DataSet
from wend.structures.plausibility import outside


def choose_samples(
    data_set: DataSet, boxes: BoxTable, number: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """Images to look at, by what they are examples of.

    Args:
        boxes: pseudo boxes of the I images in original pixels, as they stand in their files.
        number: images of each kind.
        seed: of the images that are drawn by chance.

    Returns:
        Title -> indices of at most ``number`` images with a box, the most extreme first. A kind
        that no image is an example of is left out.
    """
    held = boxes.with_boxes
    if not len(held):
        return {}
    drawn = np.random.default_rng(seed).permutation(len(held))[:number]
    first = boxes.boxes[boxes.offsets[held]]
    share = _share_of_image(first, data_set.frame_sizes[held])
    samples = {
        "drawn by chance": held[np.sort(drawn)],
        "smallest first box": _most(held, -share, number),
        "largest first box": _most(held, share, number),
    }
    beyond = outside(boxes.boxes, data_set.frame_sizes[boxes.owner])
    far = _reach(boxes, data_set.frame_sizes) * np.bincount(
        boxes.owner, weights=beyond, minlength=len(boxes)
    ).astype(bool)
    samples["boxes that reach out of their image"] = _most(held, far[held], number, above=0)
    samples["most boxes"] = _most(held, boxes.counts[held], number, above=1)
    known = held[data_set.truth.counts[held] > 0]
    if len(known):
        iou = _best_iou(boxes, data_set.truth, known)
        samples["least overlap with the truth"] = _most(known, -iou, number)
    return {title: images for title, images in samples.items() if len(images)}


def _most(
    images: np.ndarray, value: np.ndarray, number: int, above: float | None = None
) -> np.ndarray:
    """The images (n,) of the highest values (n,), equals by index, only those above a value."""
    order = np.argsort(-value, kind="stable")
    if above is not None:
        order = order[value[order] > above]
    return images[order[:number]]


def _share_of_image(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Shares (n,) of their images, of sizes (n, 2), that boxes (n, 4) cover."""
    inside = np.clip(boxes / np.tile(sizes, 2), 0, 1)
    return (inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1])


def _reach(boxes: BoxTable, sizes: np.ndarray) -> np.ndarray:
    """How far (I,) the boxes of each image reach beyond it, in shares of its side."""
    limits = np.tile(sizes, 2)[boxes.owner]
    beyond = np.maximum(-boxes.boxes, boxes.boxes - limits) / limits
    farthest = np.zeros(len(boxes))
    np.maximum.at(farthest, boxes.owner, beyond.max(1))
    return farthest


def _best_iou(boxes: BoxTable, truth: BoxTable, images: np.ndarray) -> np.ndarray:
    """IoU (n,) of the images' first boxes with their nearest true boxes."""
    several = truth.take(images)
    first = boxes.boxes[boxes.offsets[images]]
    iou = np.zeros(len(images))
    np.maximum.at(iou, several.owner, paired_iou(first[several.owner], several.boxes))
    return iou
