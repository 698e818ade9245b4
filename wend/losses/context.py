"""The context of a loss: a batch as the functions that users write see it.

Shape letters: S = samples (locations, sampled proposals or queries) of all images of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from wend.schedules import Progress


@dataclass(frozen=True, eq=False)
class LossContext:
    """The context of L_unsup: a batch's S samples, as the detector sees them.

    Attributes:
        logits: (S,) foreground log-odds.
        labels: (S,) int64: 1 assigned to a pseudo box, 0 background, -1 ignored; None where the
            detector assigns none.
        image_index: (S,) int64, which image of the batch a sample belongs to; None if not known.
        image_ids: ids of the batch's images; empty if not known.
        num_positives: samples of label 1, as the detector's own L_cls counts them (FCOS of
            Detectron2: a moving average; Deformable DETR: the mean of all processes), at least 1: a
            number or a scalar tensor; None without labels.
        num_boxes: pseudo boxes of the batch, counted and given likewise; None if not known.
        progress: how far the training is.
    """

    logits: Tensor
    labels: Tensor | None = None
    image_index: Tensor | None = None
    image_ids: Sequence[object] = ()
    num_positives: Tensor | float | None = None
    num_boxes: Tensor | float | None = None
    progress: Progress = field(default_factory=Progress)


def image_indices(counts: Sequence[int], device: torch.device) -> Tensor:
    """:attr:`LossContext.image_index` (S,) of samples that come image by image.

    Args:
        counts: samples of each image of the batch.
        device: device of the result.
    """
    images = torch.arange(len(counts))
    return images.repeat_interleave(torch.tensor(counts, dtype=torch.int64)).to(device)
