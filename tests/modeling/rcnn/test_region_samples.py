"""wend.modeling.rcnn.region_samples: which proposals are samples, and what they are to learn."""

import pytest
import torch
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import box_iou

from wend.losses.padded_boxes import PaddedBoxes
from wend.modeling.rcnn.proposals import Proposals
from wend.modeling.rcnn.region_samples import Sampling, sample_regions

SIDE = 100
EVERY = Sampling(thresholds=(0.5,), labels=(0, 1), number=1000, fraction=0.5)


def drawn_boxes(count, seed, spread=60):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * (SIDE - spread)
    return torch.cat([corner, corner + 5 + torch.rand(count, 2, generator=generator) * spread], 1)


def batch(proposals_each=(40, 17, 30, 25), boxes_each=(1, 3, 0, 30)):
    """Proposals near to the boxes to learn, as lists and as tensors of a batch."""
    truth = [drawn_boxes(count, 10 + i) for i, count in enumerate(boxes_each)]
    boxes = [drawn_boxes(count, 20 + i) for i, count in enumerate(proposals_each)]
    for own, learnt in zip(boxes, truth, strict=True):
        near = min(len(learnt), 8)
        own[:near] = learnt[:near] + torch.linspace(-6, 6, near)[:, None]
    padded = PaddedBoxes.of(boxes)
    sizes = [(SIDE, SIDE)] * len(boxes)
    logits = torch.zeros(padded.is_box.shape)
    return boxes, truth, Proposals(padded.boxes, logits, padded.is_box, sizes)


def rows_of(samples, image):
    """Each sample of an image as a tuple of what is known of it, in an order of their own."""
    own = samples.image_index == image
    parts = (samples.boxes, samples.classes[:, None], samples.truth, samples.box_index[:, None])
    return sorted(map(tuple, torch.cat([part[own].float() for part in parts], 1).tolist()))


@pytest.mark.parametrize("append_truth", [True, False])
def test_where_all_are_samples_they_are_matched_as_torchvision_matches_them(append_truth):
    boxes, truth, proposals = batch()
    sampling = Sampling((0.5,), (0, 1), 1000, 0.5, append_truth=append_truth)
    samples = sample_regions(proposals, PaddedBoxes.of(truth), sampling)
    stock = RoIHeads(None, None, None, 0.5, 0.5, 1000, 0.5, None, 0.0, 0.5, 10)
    if append_truth:
        boxes = stock.add_gt_proposals(boxes, truth)
    labels = [torch.ones(len(own), dtype=torch.int64) for own in truth]
    index, labels = stock.assign_targets_to_proposals(boxes, truth, labels)
    for image, own in enumerate(boxes):
        expected = [
            (
                *box.tolist(),
                label - 1.0,
                *(truth[image][i] if label else box).tolist(),
                i * label - (1 - label),
            )
            for box, label, i in zip(
                own, labels[image].tolist(), index[image].tolist(), strict=True
            )
        ]
        assert rows_of(samples, image) == sorted(expected)
    assert len(samples) == sum(map(len, boxes))
    assert (samples.classes == 0).any()
    assert (samples.classes == -1).any()


def test_samples_are_as_many_of_each_kind_as_asked_and_an_images_own():
    _, truth, proposals = batch()
    sampling = Sampling((0.5,), (0, 1), number=12, fraction=0.25)
    samples = sample_regions(proposals, PaddedBoxes.of(truth), sampling)
    assert samples.matched.shape == (4, 12)
    for image, own in enumerate(truth):
        rows = samples.image_index == image
        positive = samples.classes[rows] == 0
        if not len(own):
            assert not positive.any()
            continue
        assert (rows.sum(), positive.sum()) == (12, min(3, 8 + len(own)))
        matched = own[samples.box_index[rows][positive]]
        assert torch.equal(samples.truth[rows][positive], matched)
        iou = box_iou(samples.boxes[rows], own)
        assert (iou[positive].amax(1) >= 0.5).all()
        assert (iou[~positive].amax(1) < 0.5).all()
    # the table that is counted says the same
    assert (
        samples.matched[samples.matched >= 0].tolist()
        == samples.box_index[samples.box_index >= 0].tolist()
    )


def test_proposals_between_two_thresholds_are_no_samples():
    _, truth, proposals = batch()
    sampling = Sampling((0.3, 0.7), (0, -1, 1), 1000, 0.5, append_truth=False)
    samples = sample_regions(proposals, PaddedBoxes.of(truth), sampling)
    best = torch.cat(
        [
            box_iou(samples.boxes[samples.image_index == image], own).amax(1)
            for image, own in enumerate(truth)
            if len(own)
        ]
    )
    assert ((best < 0.3) | (best >= 0.7)).all()
    assert len(samples) < proposals.is_proposal.sum()


def test_the_classes_are_those_of_the_matched_boxes():
    _, truth, proposals = batch()
    padded = PaddedBoxes.of(truth)
    classes = torch.arange(padded.is_box.numel()).view(padded.is_box.shape)
    samples = sample_regions(proposals, padded, EVERY, classes)
    positive = samples.classes >= 0
    expected = classes[samples.image_index[positive], samples.box_index[positive]]
    assert torch.equal(samples.classes[positive], expected)
    assert torch.equal(positive, samples.box_index >= 0)


def test_a_batch_without_boxes_has_background_alone():
    _, _, proposals = batch(boxes_each=(0, 0, 0, 0))
    truth = PaddedBoxes.of([torch.zeros(0, 4)] * 4)
    for exact in (False, True):
        sampling = Sampling((0.5,), (0, 1), 16, 0.5, exact=exact)
        samples = sample_regions(proposals, truth, sampling)
        assert len(samples) == 4 * 16
        assert (samples.classes == -1).all()
        assert torch.equal(samples.truth, samples.boxes)


def test_an_exact_ratio_is_that_of_the_batch():
    _, truth, proposals = batch()
    sampling = Sampling((0.5,), (0, 1), 24, 0.2, exact=True)
    samples = sample_regions(proposals, PaddedBoxes.of(truth), sampling)
    positives = int((samples.classes == 0).sum())
    assert positives >= 3
    assert len(samples) == 5 * positives
    assert (samples.matched >= 0).sum() == positives


def test_boxes_without_area_are_never_matched():
    flat = torch.tensor([[10.0, 10.0, 10.0, 40.0]])
    _, _, proposals = batch(boxes_each=(1, 0, 0, 0))
    truth = PaddedBoxes.of([flat, *[torch.zeros(0, 4)] * 3])
    samples = sample_regions(proposals, truth, EVERY)
    assert (samples.classes == -1).all()
    assert len(samples) == proposals.is_proposal.sum() + 1
