"""An R-CNN's samples with exactly the ratio of positives to negatives that is asked for.

Detectron2's and torchvision's samplers take at most ``POSITIVE_FRACTION`` positives of an image's
proposals and fill up with negatives, so that the ratio is a cap: boxes that few proposals overlap
make it smaller. Table 12 of the paper is about that ratio.

Shape letters: N = images, S = samples of an image at most.
"""

from __future__ import annotations

import torch
from torch import Tensor


def exact_counts(positives: Tensor, negatives: Tensor, fraction: float) -> tuple[Tensor, Tensor]:
    """How many of a batch's positives and negatives are kept: two whole numbers.

    As many as there can be with ``negatives = positives · (1 - fraction) / fraction``, rounded to a
    whole sample. Without a positive there is no such ratio, and all negatives are kept.

    Args:
        positives, negatives: scalars, samples of all images of the batch.
        fraction: share of positives, in (0, 1].
    """
    positives, negatives = positives.double(), negatives.double()
    ratio = (1 - fraction) / fraction
    kept = positives
    if ratio:  # where there are too few negatives: fewer positives, one at least
        fewer = (negatives / ratio).floor().clamp(min=1)
        kept = torch.where(ratio * positives > negatives, fewer, positives)
    with_them = torch.minimum((ratio * kept).round(), negatives)
    return kept, torch.where(positives > 0, with_them, negatives)


def keep_exact_ratio(
    is_sample: Tensor,
    is_positive: Tensor,
    fraction: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Which samples of a batch are kept, so that positives are exactly a share of them.

    They are drawn at random from all images' samples together: the ratio is the batch's, and an
    image without a positive gives negatives as the others do. A batch without any positive keeps
    all its samples.

    Args:
        is_sample: (N, S) bool.
        is_positive: (N, S) bool, of samples.
        fraction: share of positives, in (0, 1].
        generator: of the random numbers; by default the one that is seeded for each step.

    Returns:
        (N, S) bool.
    """
    of_kinds = is_positive, is_sample & ~is_positive
    counts = exact_counts(of_kinds[0].sum(), of_kinds[1].sum(), fraction)
    keys = torch.rand(is_sample.shape, device=is_sample.device, generator=generator)
    drawn = [
        kind & (_rank(torch.where(kind, keys, 2.0)) < count)
        for kind, count in zip(of_kinds, counts, strict=True)
    ]
    return drawn[0] | drawn[1]


def _rank(keys: Tensor) -> Tensor:
    """How many of all keys (N, S) are less than each."""
    return keys.flatten().argsort().argsort().view(keys.shape)
