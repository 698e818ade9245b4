"""The losses of an R-CNN's head on the sampled proposals of a batch.

They are those of Detectron2's ``FastRCNNOutputLayers`` and of torchvision's ``fastrcnn_loss``: sums
over the B samples, divided by B, of all images. Background is masked and not left out, which would
wait for the device.

Shape letters: B = samples of all images, C = foreground classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from wend.losses.box_iou import paired_iou
from wend.modeling.rcnn.box_deltas import harmless


def class_cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy of a softmax; 0 with a gradient where there is no sample.

    Args:
        scores: (B, C + 1) log-odds of the classes and of the background.
        labels: (B,) int64 index of the right one.
    """
    return F.cross_entropy(scores.float(), labels, reduction="sum") / max(len(labels), 1)


def class_sigmoid_cross_entropy(scores: Tensor, classes: Tensor) -> Tensor:
    """Binary cross entropy of each class on its own, summed over the classes: the samples' mean.

    Args:
        scores: (B, C) log-odds of the foreground classes.
        classes: (B,) int64; -1: background.
    """
    targets = classes[:, None] == torch.arange(scores.shape[1], device=classes.device)
    scores = scores.float()
    losses = F.binary_cross_entropy_with_logits(scores, targets.to(scores.dtype), reduction="sum")
    return losses / max(len(classes), 1)


def of_own_class(deltas: Tensor, classes: Tensor) -> Tensor:
    """What is predicted for each sample's own class (B, 4), in float32; 0 for background.

    Args:
        deltas: (B, C, 4), or (B, 1, 4) of a regressor that knows no classes.
        classes: (B,) int64; -1: background.
    """
    if deltas.shape[1] > 1:
        index = classes.clamp(min=0)[:, None, None].expand(-1, 1, 4)
        deltas = deltas.gather(1, index)
    return torch.where(classes[:, None] >= 0, deltas[:, 0].float(), 0.0)


def smooth_l1(predicted: Tensor, target: Tensor, beta: float) -> Tensor:
    """Of each number; ``beta``: from which error on it is linear, 0: everywhere."""
    error = (predicted - target).abs()
    if beta < 1e-5:
        return error
    return torch.where(error < beta, 0.5 * error**2 / beta, error - 0.5 * beta)


def delta_loss(
    deltas: Tensor,
    boxes: Tensor,
    truth: Tensor,
    classes: Tensor,
    encode: Callable[[Tensor, Tensor], Tensor],
    beta: float,
) -> Tensor:
    """:func:`smooth_l1` of the deltas, summed over the foreground and divided by B.

    Args:
        deltas: see :func:`of_own_class`.
        boxes, truth: proposals and their matched boxes (B, 4); anything finite of background.
        classes: (B,) int64; -1: background.
        encode: proposals and boxes (B, 4) -> deltas (B, 4).
        beta: see :func:`smooth_l1`.
    """
    is_foreground = classes >= 0
    boxes, truth = harmless(boxes, is_foreground), harmless(truth, is_foreground)
    losses = smooth_l1(of_own_class(deltas, classes), encode(boxes, truth), beta)
    return torch.where(is_foreground[:, None], losses, 0.0).sum() / max(len(classes), 1)


def overlap_loss(
    deltas: Tensor,
    boxes: Tensor,
    truth: Tensor,
    classes: Tensor,
    decode: Callable[[Tensor, Tensor], Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """A loss of decoded boxes, summed over the foreground and divided by B.

    Args:
        deltas, boxes, truth, classes: see :func:`delta_loss`.
        decode: deltas and boxes (B, 4) -> boxes (B, 4).
        loss: predicted and true boxes (B, 4) -> (B,).
    """
    is_foreground = classes >= 0
    boxes, truth = harmless(boxes, is_foreground), harmless(truth, is_foreground)
    losses = loss(decode(of_own_class(deltas, classes), boxes), truth)
    return torch.where(is_foreground, losses, 0.0).sum() / max(len(classes), 1)


def iou_score_loss(logits: Tensor, boxes: Tensor, truth: Tensor, classes: Tensor) -> Tensor:
    """L1 of CLN's IoU score against the proposal's IoU, over the foreground, divided by B.

    Args:
        logits: (B,) log-odds of the score.
        boxes, truth: proposals and their matched boxes (B, 4).
        classes: (B,) int64; -1: background.
    """
    error = (logits.float().sigmoid() - paired_iou(boxes, truth)).abs()
    return torch.where(classes >= 0, error, 0.0).sum() / max(len(classes), 1)


def accuracy_counts(scores: Tensor, labels: Tensor, background: int) -> Tensor:
    """Four numbers of a classifier: right ones, foreground, right foreground, missed foreground.

    Args:
        scores: (B, C + 1).
        labels: (B,) int64 index of the right one.
        background: index of the background; foreground that is taken for it is missed.
    """
    predicted = scores.argmax(1)
    is_right, is_foreground = predicted == labels, labels != background
    is_missed = is_foreground & (predicted == background)
    return torch.stack([is_right, is_foreground, is_right & is_foreground, is_missed]).sum(1)
