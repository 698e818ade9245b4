"""An R-CNN's samples with exactly the ratio of positives to negatives that is asked for.

Detectron2's and torchvision's samplers take at most ``POSITIVE_FRACTION`` positives of an image's
proposals and fill up with negatives, so that the ratio is a cap: boxes that few proposals overlap
make it smaller. Table 12 of the paper is about that ratio.

Shape letters: S = samples of an image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def exact_counts(positives: int, negatives: int, fraction: float) -> tuple[int, int]:
    """How many of a batch's positives and negatives are kept.

    As many as there can be with ``negatives = positives · (1 - fraction) / fraction``, rounded to a
    whole sample. Without a positive there is no such ratio, and all negatives are kept.

    Args:
        positives, negatives: samples of all images of the batch.
        fraction: share of positives, in (0, 1].
    """
    if not positives:
        return 0, negatives
    ratio = (1 - fraction) / fraction
    kept = positives
    if ratio * positives > negatives:  # too few negatives: fewer positives, one at least
        kept = max(int(negatives / ratio), 1)
    return kept, min(round(ratio * kept), negatives)


def keep_exact_ratio(is_positive: Sequence[Tensor], fraction: float) -> list[Tensor]:
    """Which samples of a batch are kept, so that positives are exactly a share of them.

    They are drawn at random from all images' samples together: the ratio is the batch's, and an
    image without a positive gives negatives as the others do. A batch without any positive keeps
    all its samples.

    Args:
        is_positive: of each image (S,) bool.
        fraction: share of positives, in (0, 1].

    Returns:
        Of each image (S,) bool, whether the sample is kept.
    """
    sizes = [len(each) for each in is_positive]
    positive = torch.cat([*is_positive])
    of_kind = [mask.nonzero().flatten() for mask in (positive, ~positive)]
    counts = exact_counts(len(of_kind[0]), len(of_kind[1]), fraction)
    kept = torch.zeros_like(positive)
    for index, count in zip(of_kind, counts, strict=True):
        kept[index[torch.randperm(len(index), device=index.device)[:count]]] = True
    return list(kept.split(sizes))
