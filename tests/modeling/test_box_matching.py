"""Against brute force over all permutations, and against torchvision's and fvcore's functions."""

from itertools import permutations

import pytest
import torch
from fvcore.nn import sigmoid_focal_loss
from torchvision.ops import box_convert, generalized_box_iou

from wend.modeling.layers.box_matching import (
    centre_to_corners,
    corners_to_centre,
    focal_terms,
    generalized_iou,
    hungarian_matching,
    matching_cost,
)

WEIGHTS = {"class_cost": 2.0, "l1_cost": 5.0, "giou_cost": 2.0, "alpha": 0.25, "gamma": 2.0}


def _corners(*shape, seed=0):
    low_high = torch.rand(*shape, 2, 2, generator=torch.Generator().manual_seed(seed)).double()
    return low_high.sort(-2).values.flatten(-2)


def _cheapest(cost):
    """Least total cost of matching as many rows with columns as can be, over all permutations."""
    rows, columns = len(cost), len(cost[0])
    if rows < columns:
        cost, rows, columns = [list(one) for one in zip(*cost, strict=True)], columns, rows
    return min(
        sum(cost[row][column] for column, row in enumerate(chosen))
        for chosen in permutations(range(rows), columns)
    )


@pytest.mark.parametrize(("queries", "boxes"), [(5, 1), (5, 3), (4, 4), (3, 5)])
def test_matching_is_the_cheapest_of_all_permutations(queries, boxes):
    cost = torch.randn(4, queries, boxes, generator=torch.Generator().manual_seed(queries))
    of_box, of_prediction = hungarian_matching(cost, [boxes] * 4)
    for i in range(4):
        columns = [k for k, row in enumerate(of_box[i].tolist()) if row >= 0]
        rows = [of_box[i, k].item() for k in columns]
        assert len(set(rows)) == len(columns) == min(queries, boxes)
        assert of_prediction[i, rows].tolist() == columns
        assert (of_prediction[i] >= 0).sum() == len(columns)
        total = sum(cost[i, row, column].item() for row, column in zip(rows, columns, strict=True))
        assert total == pytest.approx(_cheapest(cost[i].tolist()), abs=1e-6)


def test_boxes_that_fill_up_the_batch_are_not_matched():
    cost = torch.zeros(3, 4, 2)
    cost[:, :, 1] = -100  # the second box of images that have one only
    of_box, of_prediction = hungarian_matching(cost, [1, 0, 2])
    assert (of_box >= 0).tolist() == [[True, False], [False, False], [True, True]]
    assert [sorted(each.tolist()) for each in of_prediction] == [
        [-1, -1, -1, 0],
        [-1, -1, -1, -1],
        [-1, -1, 0, 1],
    ]


def test_no_boxes_give_no_matches():
    of_box, of_prediction = hungarian_matching(torch.zeros(2, 4, 0), [0, 0])
    assert of_box.shape == (2, 0)
    assert (of_prediction == -1).all()
    assert of_box.dtype == of_prediction.dtype == torch.int64


def test_costs_that_are_not_finite_are_avoided_and_never_raise():
    cost = torch.tensor([[[float("nan")], [float("inf")], [3.0]]])
    assert hungarian_matching(cost, [1])[0].tolist() == [[2]]
    assert (hungarian_matching(torch.full((1, 3, 2), float("nan")), [2])[0] >= 0).all()


def test_generalized_iou_is_torchvisions_of_all_pairs():
    a, b = _corners(6), _corners(4, seed=1)
    found = generalized_iou(a[:, None], b[None])
    torch.testing.assert_close(found, generalized_box_iou(a, b), rtol=0, atol=1e-6)


def test_generalized_iou_of_boxes_without_area_is_finite_with_its_gradient():
    point = torch.full((1, 4), 0.5, requires_grad=True)
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.1, 0.1, 0.1, 0.9]])
    found = generalized_iou(point, boxes)
    found.sum().backward()
    assert found.isfinite().all()
    assert point.grad.isfinite().all()


def test_box_forms_are_torchvisions():
    boxes = _corners(5)
    centres = corners_to_centre(boxes)
    torch.testing.assert_close(centres, box_convert(boxes, "xyxy", "cxcywh"))
    torch.testing.assert_close(centre_to_corners(centres), boxes)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 0.0), (0.1, 0.5)])
def test_focal_terms_are_fvcores_focal_loss(alpha, gamma):
    logits = torch.linspace(-9, 9, 31)
    terms = focal_terms(logits, alpha, gamma)
    for target, term in zip((1.0, 0.0), terms, strict=True):
        expected = sigmoid_focal_loss(logits, torch.full_like(logits, target), alpha, gamma)
        torch.testing.assert_close(term, expected, rtol=1e-4, atol=1e-6)


def test_focal_terms_and_gradients_are_finite_at_every_confidence():
    logits = torch.tensor([-200.0, -50.0, 0.0, 50.0, 200.0], requires_grad=True)
    total = sum(term.sum() for term in focal_terms(logits, 0.25, 0.5))
    total.backward()
    assert total.isfinite()
    assert logits.grad.isfinite().all()


def test_matching_cost_is_the_official_formula():
    """As github.com/fundamentalvision/Deformable-DETR, models/matcher.py, pair by pair."""
    random = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 5, generator=random).double()
    boxes, targets = corners_to_centre(_corners(2, 5)), corners_to_centre(_corners(2, 3, seed=1))
    found = matching_cost(logits, boxes, targets, **WEIGHTS)
    for n in range(2):
        giou = generalized_box_iou(*(box_convert(x[n], "cxcywh", "xyxy") for x in (boxes, targets)))
        for q in range(5):
            p = torch.sigmoid(logits[n, q])
            focal = 0.25 * (1 - p) ** 2 * -p.log() - 0.75 * p**2 * -(1 - p).log()
            for k in range(3):
                distance = sum(abs(boxes[n, q, i] - targets[n, k, i]) for i in range(4))
                expected = 2 * focal + 5 * distance - 2 * giou[q, k]
                assert found[n, q, k].item() == pytest.approx(expected.item(), abs=1e-6)
