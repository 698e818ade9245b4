"""The proposals that an R-CNN's head learns from, with what it is to say of them.

Shape letters: N = images, P = proposals of an image at most, S = samples of an image at most, B =
samples of all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wend.losses.padded_boxes import PaddedBoxes
from wend.modeling.layers.box_selection import take
from wend.modeling.rcnn.exact_ratio import keep_exact_ratio
from wend.modeling.rcnn.matching import match
from wend.modeling.rcnn.pooling import regions_of
from wend.modeling.rcnn.proposals import Proposals
from wend.modeling.rcnn.sampling import subsample


@dataclass(frozen=True)
class Sampling:
    """How an R-CNN chooses its samples.

    Attributes:
        thresholds, labels: of the matching, see :func:`wend.modeling.rcnn.matching.match`.
        number: samples of an image at most.
        fraction: share of positives at most, of an image's ``number``.
        exact: whether positives are that share of the batch's samples exactly.
        append_truth: whether the boxes to learn are proposals, too.
    """

    thresholds: Sequence[float]
    labels: Sequence[int]
    number: int
    fraction: float
    exact: bool = False
    append_truth: bool = True


@dataclass(frozen=True, eq=False)
class RegionSamples:
    """The samples of a batch, those of an image together.

    The B rows are the samples alone, so that the head computes nothing else and the samples that a
    loss sees are what it says they are: their number is the one thing that is asked of the device.

    Attributes:
        regions: (B, 5), index of the image in the batch and the proposal, xyxy in pixels.
        classes: (B,) int64 index of the matched box's class; -1: background.
        truth: (B, 4) the matched box; of background the proposal.
        box_index: (B,) int64, which of its image's boxes; -1: background.
        matched: (N, S) int64, the same for :meth:`LocalizationLoss.count_positives`; -1 also where
            there is no sample.
    """

    regions: Tensor
    classes: Tensor
    truth: Tensor
    box_index: Tensor
    matched: Tensor

    def __len__(self) -> int:
        return len(self.regions)

    @property
    def boxes(self) -> Tensor:
        """The proposals (B, 4)."""
        return self.regions[:, 1:]

    @property
    def image_index(self) -> Tensor:
        """(B,) int64 index of each one's image in the batch."""
        return self.regions[:, 0].long()


@torch.no_grad()
def sample_regions(
    proposals: Proposals,
    truth: PaddedBoxes,
    sampling: Sampling,
    classes: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> RegionSamples:
    """Match the proposals of a batch with the boxes to learn, and draw samples.

    Args:
        proposals: of an RPN.
        truth: boxes to learn, of the same images.
        sampling: how.
        classes: (N, most boxes of an image) int64 index of each box's class; None: all are 0.
        generator: of the random numbers; by default the one that is seeded for each step.
    """
    boxes, is_proposal = proposals.boxes, proposals.is_proposal
    if sampling.append_truth:
        boxes = torch.cat([boxes, truth.boxes.to(boxes.dtype)], 1)
        is_proposal = torch.cat([is_proposal, truth.is_box], 1)
    matches = match(truth, boxes, thresholds=sampling.thresholds, labels=sampling.labels)
    labels = torch.where(is_proposal, matches.labels, -1)
    samples = subsample(labels, sampling.number, sampling.fraction, generator)
    is_sample, is_positive = samples.is_sample, samples.is_positive
    if sampling.exact:
        is_sample = keep_exact_ratio(is_sample, is_positive, sampling.fraction, generator)
    matched = torch.where(is_positive & is_sample, take(matches.box_index, samples.row_index), -1)
    places, regions = regions_of(take(boxes, samples.row_index), is_sample)
    box_index = matched.flatten()[places]
    if not truth.boxes.shape[1]:
        return RegionSamples(regions, box_index, regions[:, 1:], box_index, matched)
    is_foreground, index = box_index >= 0, box_index.clamp(min=0)
    image = regions[:, 0].long()
    of_box = torch.where(is_foreground[:, None], truth.boxes[image, index], regions[:, 1:])
    if classes is None:
        of_class = is_foreground.long() - 1
    else:
        of_class = torch.where(is_foreground, classes[image, index], -1)
    return RegionSamples(regions, of_class, of_box, box_index, matched)
