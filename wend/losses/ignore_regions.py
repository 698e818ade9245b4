"""Ignore regions: an uncertain pseudo box teaches nothing, neither object nor background."""

from __future__ import annotations

import torch
from torch import Tensor

from wend.errors import InputError
from wend.losses.context import LossContext
from wend.losses.overlaps import overlaps, per_sample
from wend.losses.weights import sample_weights


@sample_weights("ignore_regions", node="IGNORE_REGIONS")
def ignore_regions(
    context: LossContext, *, min_score: float = 0.5, grow: float = 1.2, overlap: float = 0.5
) -> Tensor:
    """0 for the samples of uncertain boxes and for background inside of them, else 1.

    A box is uncertain where its score is below ``min_score``. Background is inside where more than
    ``overlap`` of its own box lies in the uncertain box, grown; COCO's evaluation treats regions
    marked as crowds in this way.

    Args:
        context: samples with boxes, and their images' boxes with scores.
        min_score: in [0, 1]; boxes of sources without scores have 1.
        grow: an uncertain box is so many times as wide and as high, >= 0; 0: only its positives
            are left out, and background stays background.
        overlap: in [0, 1).

    Returns:
        Weights (S,).
    """
    inside = overlaps(context, "ignore_regions", grow=grow).of_sample() > overlap
    images = context.images
    uncertain = per_sample(context, (images.padded_scores < min_score) & images.padded.is_box)
    in_region = (inside & uncertain).any(1)
    if context.box_index is None:
        raise InputError("ignore_regions: the detector does not say which box a sample is for")
    index = context.box_index
    assigned = torch.zeros_like(in_region)
    if uncertain.shape[1]:
        assigned = uncertain.gather(1, index.clamp(min=0)[:, None])[:, 0] & (index >= 0)
    left_out = torch.where(context.known_labels == 1, assigned, in_region)
    return 1.0 - left_out.float()
