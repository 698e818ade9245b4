"""wend.modeling.rcnn.head_boxes, with the choice among them: torchvision's own detections."""

import pytest
import torch
from torchvision.models.detection.roi_heads import RoIHeads

from wend.modeling.layers.box_choice import Choice, borders, chosen
from wend.modeling.rcnn.head_boxes import head_candidates

SIZES = [(60, 80), (80, 50), (80, 80)]
COUNTS = [30, 45, 0]
PLACES = 50


def head_output(classes):
    """Deltas (B, 4 (C + 1)), logits (B, C + 1) with ties, and proposals of each image."""
    count = sum(COUNTS)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(count, classes + 1, generator=generator).mul(2).round().div(2)
    deltas = torch.randn(count, 4 * (classes + 1), generator=generator)
    corner = torch.rand(count, 2, generator=generator) * 50
    boxes = torch.cat([corner, corner + 2 + torch.rand(count, 2, generator=generator) * 40], 1)
    return logits, deltas, boxes


def detected(heads, logits, deltas, boxes, most):
    """The detections of the batch by the functions here."""
    is_proposal = torch.arange(PLACES) < torch.tensor(COUNTS)[:, None]
    decoded = heads.box_coder.decode_single(deltas, boxes).unflatten(1, (-1, 4))[:, 1:]
    ends = borders(SIZES, boxes)
    candidates = head_candidates(
        decoded,
        logits.softmax(-1)[:, 1:],
        is_proposal.flatten().nonzero()[:, 0],
        is_proposal.shape,
        ends,
        1e-2,
    )
    choice = Choice(
        above=heads.score_thresh, max_iou=heads.nms_thresh, most=most, clip=False, drop_empty=False
    )
    return chosen(candidates.boxes, candidates.scores, choice, classes=candidates.classes)


@pytest.mark.parametrize("classes", [1, 7])
@pytest.mark.parametrize(
    ("threshold", "max_iou", "most"), [(0.0, 0.5, 100), (0.2, 0.3, 5), (0.05, 1.0, 1000)]
)
def test_detections_are_torchvisions(classes, threshold, max_iou, most):
    heads = RoIHeads(None, None, None, 0.5, 0.5, 64, 0.5, None, threshold, max_iou, most)
    logits, deltas, boxes = head_output(classes)
    batch = detected(heads, logits, deltas, boxes, most)
    stock = heads.postprocess_detections(logits, deltas, list(boxes.split(COUNTS)), SIZES)
    assert sum(map(len, stock[0])) > 2
    for image, (own_boxes, scores, labels) in enumerate(zip(*stock, strict=True)):
        kept = batch.kept[image]
        assert torch.equal(batch.boxes[image][kept], own_boxes)
        assert torch.equal(batch.scores[image][kept], scores)
        if classes > 1:
            assert torch.equal(batch.classes[image][kept] + 1, labels)
        assert kept.tolist() == sorted(kept.tolist(), reverse=True)
    assert not batch.kept[2].any()


def test_a_proposal_with_a_number_that_is_not_finite_has_no_box():
    heads = RoIHeads(None, None, None, 0.5, 0.5, 64, 0.5, None, 0.0, 1.0, 100)
    logits, deltas, boxes = head_output(1)
    before = detected(heads, logits, deltas, boxes, 100)
    deltas[0, 5], logits[1] = torch.nan, torch.nan
    after = detected(heads, logits, deltas, boxes, 100)
    assert before.kept[0].sum() - after.kept[0].sum() == 2
    assert torch.equal(before.boxes[1], after.boxes[1])
    assert after.boxes.isfinite().all()


def test_one_regressor_for_all_classes_gives_each_the_same_boxes():
    decoded = torch.tensor([[[10.0, 10, 30, 30]], [[5.0, 5, 9, 9]]])
    scores = torch.tensor([[0.2, 0.9], [0.5, 0.1]])
    ends = borders([(40, 40)], decoded)
    places = torch.tensor([0, 2])
    candidates = head_candidates(decoded, scores, places, (1, 3), ends, 1e-2)
    assert candidates.scores[0].tolist() == pytest.approx([0.9, 0.5, 0.2, 0.1, 0, 0])
    assert candidates.classes[0, :4].tolist() == [1, 0, 0, 1]
    assert torch.equal(candidates.boxes[0, :4], decoded[[0, 1, 0, 1], 0])


def test_no_proposal_at_all_gives_no_box():
    none = torch.zeros(0, dtype=torch.int64)
    ends = borders([(40, 40)] * 2, torch.zeros(1))
    candidates = head_candidates(torch.zeros(0, 1, 4), torch.zeros(0, 1), none, (2, 4), ends)
    choice = Choice(above=0.0, max_iou=0.5, most=3, clip=False, drop_empty=False)
    batch = chosen(candidates.boxes, candidates.scores, choice)
    assert batch.boxes.shape == (2, 3, 4)
    assert not batch.kept.any()
