"""How a detector chooses among its candidates: threshold, suppression, the best ones, the border.

Shape letters: N = images, K = candidates of an image, D = boxes that are kept at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from wend.modeling.layers.box_batch import BoxBatch
from wend.modeling.layers.box_selection import not_suppressed, packed, sides_longer_than
from wend.modeling.layers.image_batch import Size


@dataclass(frozen=True)
class Choice:
    """How a detector chooses among its candidates, in this order.

    Attributes:
        above: candidates of scores greater than this are considered; None considers all.
        max_iou: those that a better one overlaps by more are suppressed; None suppresses none.
        most: how many are kept, the best; None keeps all.
        clip: whether the kept boxes are cut to the image.
        drop_empty: whether kept boxes without an area are dropped at the end.
    """

    above: float | None = None
    max_iou: float | None = None
    most: int | None = None
    clip: bool = False
    drop_empty: bool = False

    def inside_images(self) -> Choice:
        """The same, whose boxes lie in their images and have an area."""
        return replace(self, clip=True, drop_empty=True)


def borders(sizes: Sequence[Size], like: Tensor) -> Tensor:
    """Where boxes of images end: width, height, width, height (N, 1, 4), in one copy to a device.

    Args:
        sizes: height and width of each image; or of one, for all.
        like: on the device, of the type of the result.
    """
    ends = np.array(sizes, dtype=np.float32)[:, None, [1, 0, 1, 0]]
    return torch.from_numpy(ends).to(like.device, like.dtype, non_blocking=True)


def cut_at(boxes: Tensor, borders: Tensor) -> Tensor:
    """Boxes (N, K, 4), xyxy in pixels, with every coordinate moved into its image (N, 1, 4)."""
    return torch.minimum(boxes.clamp(min=0), borders)


def chosen(
    boxes: Tensor,
    scores: Tensor,
    choice: Choice,
    *,
    borders: Tensor | None = None,
    classes: Tensor | None = None,
) -> BoxBatch:
    """A choice among candidates, for all images at once.

    Args:
        boxes: (N, K, 4), xyxy in pixels, best first.
        scores: (N, K), descending; 0 where an image has fewer candidates.
        choice: how to choose.
        borders: of the images, see :func:`borders`; needed where boxes are to be cut.
        classes: (N, K) int64, of candidates of several classes: those of different ones do not
            suppress each other.

    Returns:
        The D best that are kept, zeros after them.
    """
    kept = scores > (0.0 if choice.above is None else max(choice.above, 0.0))
    candidates = scores.shape[1]
    most = candidates if choice.most is None else min(choice.most, candidates)
    if choice.max_iou is not None:
        compared = boxes if classes is None else apart(boxes, kept, classes)
        kept = not_suppressed(compared, kept, choice.max_iou, classes, most=most)
    rows = [boxes, scores, kept] + ([] if classes is None else [classes])
    boxes, scores, kept, *rest = packed(kept, most, *rows)
    if choice.clip:
        assert borders is not None
        boxes = cut_at(boxes, borders)
    if choice.drop_empty:
        whole = kept & sides_longer_than(boxes, 0)
        boxes, scores, kept, *rest = packed(whole, most, boxes, scores, kept, *rest)
    return BoxBatch(boxes, scores, kept, *rest)


def apart(boxes: Tensor, kept: Tensor, classes: Tensor) -> Tensor:
    """The boxes as torchvision's ``batched_nms``, which Detectron2 calls too, compares them.

    Up to a number of boxes of an image it moves those of each class to a place of their own. That
    rounds coordinates, by 0.02 pixels at 1000 classes, so that without it other boxes would be
    suppressed.
    """
    limit = 1000 if boxes.device.type == "cpu" else 25_000
    largest = torch.where(kept[..., None], boxes, -torch.inf).amax((1, 2))  # (N,)
    step = torch.where(kept.sum(1) <= limit, largest + 1, 0.0)
    step = torch.where(step.isfinite(), step, 0.0)
    return boxes + (classes.to(boxes.dtype) * step[:, None])[..., None]
