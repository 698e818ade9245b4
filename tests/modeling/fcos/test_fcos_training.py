"""Targets and losses of a whole batch, against torchvision's, which go image by image."""

from types import SimpleNamespace

import pytest
import torch
from fcos_batches import LEVELS, anchors, locations, output, truths
from torchvision.models.detection.fcos import FCOS, FCOSHead

from wend.losses import ImagesContext, LocalizationLoss
from wend.losses.padded_boxes import PaddedBoxes
from wend.modeling.fcos import targets as of_targets
from wend.modeling.fcos.losses import focal_loss
from wend.modeling.fcos.targets import targets
from wend.modeling.fcos.training import Supervision, loss_terms

NAMES = ("classification", "bbox_regression", "bbox_ctrness")
COUNTS = [(1,), (2, 0, 5), (0, 0), (30, 1, 3, 0)]
IDS = ["one image", "three", "no boxes", "thirty boxes"]


def stock(truth, head_output=None, radius=1.5, levels=LEVELS):
    """Torchvision's index of each location's box, or its losses of a head's output."""
    seen = []
    head = SimpleNamespace(compute_loss=lambda *arguments: seen.append(arguments))
    model = SimpleNamespace(center_sampling_radius=radius, head=head)
    per_level = anchors(levels)
    given = [{"boxes": boxes, "labels": classes} for boxes, classes in truth]
    outputs = None
    if head_output is not None:
        logits, distances, centreness = head_output
        parts = logits, distances, centreness[..., None]
        outputs = dict(zip(("cls_logits", "bbox_regression", "bbox_ctrness"), parts, strict=True))
    every = [torch.cat(per_level)] * len(truth)
    FCOS.compute_loss(model, given, outputs, every, [len(each) for each in per_level])
    ((*arguments, matched),) = seen
    if head_output is None:
        return torch.stack(matched)
    return FCOSHead(32, 1, logits.shape[-1], 1).compute_loss(*arguments, matched)


@pytest.mark.parametrize("radius", [1.5, 0.6, 0.0, -1.0])
@pytest.mark.parametrize("levels", [LEVELS, LEVELS[:1]], ids=["levels", "level"])
@pytest.mark.parametrize("counts", COUNTS, ids=IDS)
def test_each_location_has_torchvisions_box(counts, levels, radius):
    truth = truths(counts)
    padded = PaddedBoxes.of([boxes for boxes, _ in truth])
    found = targets(padded, locations(levels), radius)
    assert torch.equal(found.box_index, stock(truth, None, radius, levels))
    assert torch.equal(found.background, found.box_index < 0)
    assert found.boxes.isfinite().all()
    assert (radius > 0.1 and any(counts)) == bool((found.box_index >= 0).any())


def test_a_box_of_a_huge_batch_is_matched_as_that_of_a_small_one(monkeypatch):
    padded = PaddedBoxes.of([boxes for boxes, _ in truths((30, 1, 3, 0, 7))])
    whole = targets(padded, locations(), 1.5)
    monkeypatch.setattr(of_targets, "PAIRS_AT_ONCE", 2 * 30 * 69)
    for one, other in zip(whole, targets(padded, locations(), 1.5), strict=True):
        assert torch.equal(one, other)


def terms(truth, head_output, loss=None, weights=None, radius=1.5):
    loss = loss or LocalizationLoss("none")
    loss.start_batch(ImagesContext(boxes=[boxes for boxes, _ in truth]))
    classes = loss.images.padded.padded([classes for _, classes in truth])
    how = Supervision(NAMES, radius, 0.25, 2.0, weights or {})
    return loss_terms(
        head_output, locations(), loss, how, normalizer=lambda number: number, classes=classes
    )


@pytest.mark.parametrize("classes", [1, 5, 200])
@pytest.mark.parametrize("counts", COUNTS, ids=IDS)
def test_losses_and_gradients_are_torchvisions(counts, classes):
    truth, said = truths(counts, classes=classes), output(len(counts), classes)
    ours, theirs = terms(truth, said), stock(truth, said)
    for name in NAMES:
        assert ours[name].item() == pytest.approx(theirs[name].item(), rel=1e-6, abs=1e-9)
        gradients, expected = (
            torch.autograd.grad(each[name], said, allow_unused=True) for each in (ours, theirs)
        )
        for one, other in zip(gradients, expected, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other, rtol=2e-6, atol=1e-7)


def test_no_class_beyond_the_last_is_learnt():
    truth = [(boxes, classes + 7) for boxes, classes in truths((3,))]
    with pytest.raises(RuntimeError, match="out of bounds"):
        terms(truth, output(1, 5))


def test_what_is_not_finite_at_background_spoils_neither_boxes_nor_centreness():
    """The libraries do not look there."""
    truth, said = truths((1, 2)), output(2)
    background = stock(truth) < 0
    _, distances, centreness = (part.detach() for part in said)
    distances[background], centreness[background] = torch.inf, torch.nan
    spoilt = said._replace(
        distances=distances.requires_grad_(), centreness=centreness.requires_grad_()
    )
    ours, theirs = terms(truth, spoilt), terms(truth, said)
    for name, part in (("bbox_regression", "distances"), ("bbox_ctrness", "centreness")):
        assert ours[name].item() == theirs[name].item()
        (gradient,) = torch.autograd.grad(ours[name], getattr(spoilt, part))
        assert not gradient[background].any()
        assert gradient.isfinite().all()


def test_weights_of_terms_multiply_them():
    truth, said = truths((1, 2)), output(2)
    weighed = terms(truth, said, weights={"bbox_regression": 3.0})
    plain = terms(truth, said)
    assert weighed["bbox_regression"] == 3 * plain["bbox_regression"]
    assert weighed["classification"] == plain["classification"]


@pytest.mark.parametrize("alpha", [-1.0, 0.25])
def test_focal_loss_of_one_sample(alpha):
    # p = 0.8 for 1, and p = 0.2 for 0 at weight 1 - α: both (1 - 0.8)^2 · -ln 0.8 = 0.0089257
    logits = torch.tensor([[[1.3862944], [-1.3862944]]])
    loss = focal_loss(logits, torch.tensor([[[1.0], [0.0]]]), alpha=alpha, gamma=2.0)
    assert loss.item() == pytest.approx(0.0089257 * (1 if alpha > 0 else 2), rel=1e-4)


def test_half_precision_gives_about_the_losses_of_single():
    truth, said = truths((1, 2, 0)), output(3)
    half = type(said)(*(part.bfloat16() for part in said))
    for name, term in terms(truth, half).items():
        assert term.dtype == torch.float32
        assert term.item() == pytest.approx(terms(truth, said)[name].item(), rel=0.02)
