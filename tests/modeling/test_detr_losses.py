"""Against a slow second implementation, transformers' losses, and a second process."""

import math
from itertools import permutations
from types import SimpleNamespace

import pytest
import torch
from torch import distributed

from wend.losses.padded_boxes import PaddedBoxes
from wend.modeling.layers.detr_losses import DETRLosses

LAYERS, QUERIES = 3, 4
WEIGHTS = {
    **{"class_cost": 1.5, "l1_cost": 4.0, "giou_cost": 3.0},
    **{"class_weight": 1.7, "l1_weight": 4.5, "giou_weight": 2.5, "alpha": 0.3, "gamma": 1.5},
}


def _batch(counts=(1, 3, 0), seed=0):
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(LAYERS, len(counts), QUERIES, generator=random)
    boxes = torch.randn(LAYERS, len(counts), QUERIES, 4, generator=random).sigmoid()
    targets = []
    for count in counts:
        size = 0.1 + 0.4 * torch.rand(count, 2, generator=random)
        centre = size / 2 + torch.rand(count, 2, generator=random) * (1 - size)
        targets.append(torch.cat([centre, size], 1))
    return logits.requires_grad_(), boxes.requires_grad_(), targets


def _focal(z, target, alpha, gamma):
    p = 1 / (1 + math.exp(-z))
    p, weight = (p, alpha) if target else (1 - p, 1 - alpha)
    return -weight * (1 - p) ** gamma * math.log(p)


def _giou(a, b):
    ax0, ay0, ax1, ay1 = a[0] - a[2] / 2, a[1] - a[3] / 2, a[0] + a[2] / 2, a[1] + a[3] / 2
    bx0, by0, bx1, by1 = b[0] - b[2] / 2, b[1] - b[3] / 2, b[0] + b[2] / 2, b[1] + b[3] / 2
    width, height = min(ax1, bx1) - max(ax0, bx0), min(ay1, by1) - max(ay0, by0)
    inner = max(width, 0) * max(height, 0)
    union = a[2] * a[3] + b[2] * b[3] - inner
    hull = (max(ax1, bx1) - min(ax0, bx0)) * (max(ay1, by1) - min(ay0, by0))
    return inner / union - (hull - union) / hull


def _slow(logits, boxes, targets, w):
    """Losses of one layer: the cheapest of all permutations, then sums over Python numbers."""
    classes = distance = overlap = 0.0
    for z, predicted, wanted in zip(logits, boxes, targets, strict=True):

        def cost(q, k, z=z, predicted=predicted, wanted=wanted):
            focal = [_focal(z[q], target, w["alpha"], w["gamma"]) for target in (True, False)]
            l1 = sum(abs(a - b) for a, b in zip(predicted[q], wanted[k], strict=True))
            giou = _giou(predicted[q], wanted[k])
            sign = w["class_cost"] * (focal[0] - focal[1])
            return sign + w["l1_cost"] * l1 - w["giou_cost"] * giou

        best = min(
            permutations(range(QUERIES), len(wanted)),
            key=lambda chosen: sum(cost(q, k) for k, q in enumerate(chosen)),
        )
        for q in range(QUERIES):
            classes += _focal(z[q], q in best, w["alpha"], w["gamma"])
        for k, q in enumerate(best):
            distance += sum(abs(a - b) for a, b in zip(predicted[q], wanted[k], strict=True))
            overlap += 1 - _giou(predicted[q], wanted[k])
    number = max(sum(len(one) for one in targets), 1)
    return {
        "loss_cls": w["class_weight"] * classes / number,
        "loss_l1": w["l1_weight"] * distance / number,
        "loss_giou": w["giou_weight"] * overlap / number,
    }


@pytest.mark.parametrize("counts", [(1, 3, 0), (1, 1), (4, 2)])
def test_losses_are_those_of_the_slow_implementation(counts):
    logits, boxes, targets = _batch(counts)
    found = DETRLosses(**WEIGHTS)(logits, boxes, PaddedBoxes.of(targets))
    assert len(found) == 3 * LAYERS
    numbers = [x.double().tolist() for x in targets]
    for d in range(LAYERS):
        expected = _slow(logits[d].tolist(), boxes[d].tolist(), numbers, WEIGHTS)
        for name, value in expected.items():
            assert value > 0
            assert found[f"{name}_{d}"].item() == pytest.approx(value, rel=1e-5)


def test_losses_and_gradients_are_those_of_transformers():
    pytest.importorskip("transformers", reason="transformers is not installed")
    from transformers.loss.loss_deformable_detr import DeformableDetrForObjectDetectionLoss

    logits, boxes, targets = _batch((1, 3, 0))
    config = SimpleNamespace(
        **{"class_cost": 2, "bbox_cost": 5, "giou_cost": 2, "focal_alpha": 0.25, "num_labels": 1},
        **{"bbox_loss_coefficient": 5, "giou_loss_coefficient": 2, "decoder_layers": LAYERS},
        auxiliary_loss=True,
    )
    labels = [{"boxes": x, "class_labels": torch.zeros(len(x), dtype=torch.int64)} for x in targets]
    classes = logits[..., None]
    total, terms, _ = DeformableDetrForObjectDetectionLoss(
        classes[-1], labels, "cpu", boxes[-1], config, classes, boxes
    )
    # transformers' weight of the classes is fixed
    found = DETRLosses(class_weight=1.0)(logits, boxes, PaddedBoxes.of(targets))
    weights = {"cls": ("ce", 1), "l1": ("bbox", 5), "giou": ("giou", 2)}
    for name, (theirs, weight) in weights.items():
        for d in range(LAYERS):
            suffix = "" if d == LAYERS - 1 else f"_{d}"
            expected = weight * terms[f"loss_{theirs}{suffix}"].item()
            assert found[f"loss_{name}_{d}"].item() == pytest.approx(expected, rel=1e-5)
    mine = torch.autograd.grad(sum(found.values()), [logits, boxes])
    other = torch.autograd.grad(total, [logits, boxes])
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_each_layer_is_matched_by_itself():
    """The first layer's best query is 0, the last layer's 1: each learns its own as foreground."""
    target = torch.tensor([[0.5, 0.5, 0.4, 0.4]])
    far = torch.tensor([0.1, 0.1, 0.1, 0.1])
    boxes = torch.stack([torch.stack([target[0], far]), torch.stack([far, target[0]])])[:, None]
    logits = torch.zeros(2, 1, 2, requires_grad=True)
    losses = DETRLosses()(logits, boxes, PaddedBoxes.of([target]))
    assert losses["loss_l1_0"] == losses["loss_l1_1"] == 0
    sum(losses.values()).backward()
    assert (logits.grad < 0).tolist() == [[[True, False]], [[False, True]]]


def test_batches_without_boxes_give_zeros_with_gradients():
    logits, boxes, targets = _batch((0, 0))
    losses = DETRLosses()(logits, boxes, PaddedBoxes.of(targets))
    sum(losses.values()).backward()
    for d in range(LAYERS):
        assert losses[f"loss_l1_{d}"] == losses[f"loss_giou_{d}"] == 0
        assert losses[f"loss_cls_{d}"] > 0
    assert not boxes.grad.any()
    assert logits.grad.isfinite().all()
    assert (logits.grad > 0).all()  # background everywhere


def test_more_boxes_than_queries_are_matched_as_far_as_they_go():
    logits, boxes, targets = _batch((QUERIES + 2,))
    losses = DETRLosses()(logits, boxes, PaddedBoxes.of(targets))
    assert all(value.isfinite() for value in losses.values())


def test_losses_that_are_not_finite_are_put_out_and_do_not_raise():
    logits, boxes, targets = _batch((1, 1))
    broken = logits.detach().clone()
    broken[0, 0, 0] = float("nan")
    losses = DETRLosses()(broken, boxes, PaddedBoxes.of(targets))
    assert losses["loss_cls_0"].isnan()
    assert losses["loss_cls_1"].isfinite()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    logits, boxes, targets = _batch()
    logits, boxes = logits.detach().to(dtype), boxes.detach().to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = DETRLosses()(logits, boxes, PaddedBoxes.of(targets))
    expected = DETRLosses()(logits.float(), boxes.float(), PaddedBoxes.of(targets))
    for name, value in found.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(expected[name].item(), rel=1e-6)


def _losses_of_a_process(rank, store, results):
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    logits, boxes, targets = _batch((1, 3, 0, 1))
    mine = slice(rank * 2, rank * 2 + 2)
    losses = DETRLosses()(logits[:, mine], boxes[:, mine], PaddedBoxes.of(targets[mine]))
    torch.save({name: value.item() for name, value in losses.items()}, f"{results}/{rank}.pt")
    distributed.destroy_process_group()


def test_losses_are_divided_by_the_boxes_of_all_processes(tmp_path):
    """4 boxes in one process and 1 in the other: their mean is the whole batch's loss."""
    torch.multiprocessing.start_processes(  # fork: a spawned process imports torch for seconds
        _losses_of_a_process,
        (str(tmp_path / "store"), str(tmp_path)),
        nprocs=2,
        start_method="fork",
    )
    each = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    logits, boxes, targets = _batch((1, 3, 0, 1))
    whole = DETRLosses()(logits, boxes, PaddedBoxes.of(targets))
    for name, value in whole.items():
        assert (each[0][name] + each[1][name]) / 2 == pytest.approx(value.item(), rel=1e-5)
