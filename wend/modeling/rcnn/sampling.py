"""Random samples of anchors or proposals, for all images of a batch at once.

They are distributed as those of Detectron2's ``subsample_labels`` and of torchvision's
``BalancedPositiveNegativeSampler``.

Shape letters: N = images, R = anchors or proposals of an image, S = samples of an image at most.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Samples(NamedTuple):
    """What is sampled of each image: positives, then negatives, then places that hold none.

    Attributes:
        row_index: (N, S) int64, into the R rows; anything where there is no sample.
        is_sample: (N, S) bool.
        is_positive: (N, S) bool.
    """

    row_index: Tensor
    is_sample: Tensor
    is_positive: Tensor

    def as_labels(self, rows: int) -> Tensor:
        """Of each of the R rows (N, R) int64: 1 a positive sample, 0 a negative one, -1 none."""
        labels = self.row_index.new_full((len(self.row_index), rows + 1), -1)
        index = torch.where(self.is_sample, self.row_index, rows)  # none: a row that is cut off
        return labels.scatter(1, index, self.is_positive.long())[:, :rows]


def subsample(
    labels: Tensor, number: int, fraction: float, generator: torch.Generator | None = None
) -> Samples:
    """Draw samples of each image without replacement, each of a kind as likely as the others.

    At most ``int(number · fraction)`` positives, as many as there are, and negatives for the rest
    of ``number``, as many as there are.

    Args:
        labels: (N, R): > 0 positive, 0 negative, -1 never sampled.
        number: samples of an image at most; S is this, or R if that is less.
        fraction: share of positives at most, in [0, 1].
        generator: of the random numbers; by default the one that is seeded for each step.
    """
    count = labels.shape[1]
    size = min(number, count)
    # the order of these is a random order of the R, and so of any part of them
    keys = torch.rand(labels.shape, device=labels.device, generator=generator)
    positive, is_positive = _drawn(keys, labels > 0, min(int(number * fraction), size))
    negative, is_negative = _drawn(keys, labels == 0, size)
    positives = is_positive.sum(1, keepdim=True)
    places = torch.arange(size, device=labels.device).expand(len(labels), -1)
    of_negatives = (places - positives).clamp(min=0)
    first = places < positives
    if positive.shape[1]:
        of_positives = positive.gather(1, places.clamp(max=positive.shape[1] - 1))
        index = torch.where(first, of_positives, negative.gather(1, of_negatives))
    else:
        index = negative
    return Samples(index, first | is_negative.gather(1, of_negatives), first)


def _drawn(keys: Tensor, allowed: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Index (N, number) of the allowed ones with the largest keys in [0, 1), and which are any."""
    values, index = torch.where(allowed, keys, -1.0).topk(number, dim=1)
    return index, values >= 0
