"""Every reading of eqs. (2) and (3) against its closed form and derivative, derived by hand.

With dp/dz = p (1-p) of a log-odds z, h1 = -p ln p and h0 = -(1-p) ln(1-p) have the derivatives
-(ln p + 1) p (1-p) and (ln(1-p) + 1) p (1-p); the weights f = α (1-p)^γ and b = (1-α) p^γ have
-γ p f and γ (1-p) b.
"""

import math

import pytest
import torch

from wend.losses import (
    FORMS,
    NORMALIZERS,
    SAMPLES,
    WEIGHT_GRADIENTS,
    LossContext,
    entropy,
    weighted_entropy,
)

GAMMA, ALPHA = 6.0, 0.1
P = (0.2, 0.4, 0.6, 0.8)  # on both sides of each τ and of 0.5
TAUS = (0.3, 0.7)
LABELS = (1, 0, -1, 0)
POSITIVES, BOXES = 2.5, 3.0
# weight of h1 and weight of h0, each a name of WEIGHTS, at or above τ and below it
SIDES = {
    "entropy": (("f", "f"), ("b", "b")),
    "terms": (("f", "b"), ("f", "b")),
    "chosen": (("f", ""), ("", "b")),
    "swapped": (("b", "b"), ("f", "f")),
    "confidence": (("c", "c"), ("c", "c")),
}


def weights(p):
    """Name -> a weight and its derivative with respect to z."""
    f, b = ALPHA * (1 - p) ** GAMMA, (1 - ALPHA) * p**GAMMA
    confident = 1 - max(p, 1 - p)
    c = confident**GAMMA
    slope = -GAMMA * p if p >= 0.5 else GAMMA * (1 - p)
    return {
        "f": (f, -GAMMA * p * f),
        "b": (b, GAMMA * (1 - p) * b),
        "c": (c, slope * c),
        "": (0.0, 0.0),
    }


def by_hand(p, tau, form, weight_gradient):
    """The loss of a sample and its derivative."""
    terms = (
        (-p * math.log(p), -(math.log(p) + 1) * p * (1 - p)),
        (-(1 - p) * math.log(1 - p), (math.log(1 - p) + 1) * p * (1 - p)),
    )
    value = slope = 0.0
    for name, (h, dh) in zip(SIDES[form][p < tau], terms, strict=True):
        w, dw = weights(p)[name]
        value += w * h
        slope += w * dh + (dw * h if weight_gradient == "flow" else 0.0)
    return value, slope


def of_reading(function, **reading):
    """Value and gradient (S,) of an L_unsup."""
    z = torch.tensor(P, dtype=torch.float64).logit().requires_grad_()
    context = LossContext(z, torch.tensor(LABELS), num_positives=POSITIVES, num_boxes=BOXES)
    value = function(context, **reading)
    return value.item(), torch.autograd.grad(value, z)[0].tolist()


def test_every_form_has_a_closed_form():
    assert set(SIDES) == set(FORMS)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("weight_gradient", WEIGHT_GRADIENTS)
@pytest.mark.parametrize("form", FORMS)
def test_value_and_gradient_are_the_closed_form(form, weight_gradient, tau):
    values, slopes = zip(*(by_hand(p, tau, form, weight_gradient) for p in P), strict=True)
    reading = {"form": form, "weight_gradient": weight_gradient, "gamma": GAMMA, "alpha": ALPHA}
    for samples in SAMPLES:
        summed = {
            "all": [True] * 4,
            "unassigned": [False, True, True, True],
            "ignored": [False, False, True, False],
        }[samples]
        for normalizer in NORMALIZERS:
            number = {"samples": sum(summed), "positives": POSITIVES, "boxes": BOXES}[normalizer]
            value, gradient = of_reading(
                weighted_entropy,
                tau1=tau,
                tau2=tau,
                samples=samples,
                normalizer=normalizer,
                **reading,
            )
            expected = sum(v for v, s in zip(values, summed, strict=True) if s) / number
            assert value == pytest.approx(expected, rel=1e-11)
            assert gradient == pytest.approx(
                [s * slope / number for slope, s in zip(slopes, summed, strict=True)],
                rel=1e-11,
                abs=1e-18,
            )


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_plain_entropy_has_the_closed_form_and_the_normalizers(normalizer):
    number = {"samples": 4, "positives": POSITIVES, "boxes": BOXES}[normalizer]
    value, gradient = of_reading(entropy, normalizer=normalizer)
    expected = sum(-p * math.log(p) - (1 - p) * math.log(1 - p) for p in P) / number
    assert value == pytest.approx(expected, rel=1e-12)
    # H' = -z p (1-p)
    slopes = [-math.log(p / (1 - p)) * p * (1 - p) / number for p in P]
    assert gradient == pytest.approx(slopes, rel=1e-11)


# Up is +: towards the foreground. docs/weighted_entropy.md has these in its table and figure.
SIGNS = {
    ("flow", 0.3): {0.05: "-", 0.2: "-", 0.29: "-", 0.3001: "+", 0.4: "+", 0.8: "+", 0.95: "+"},
    ("flow", 0.5): {0.05: "-", 0.29: "-", 0.49: "-", 0.5001: "+", 0.8: "+", 0.95: "+"},
    ("flow", 0.9): {0.05: "-", 0.49: "-", 0.6: "-", 0.8: "-", 0.897: "-", 0.899: "+", 0.95: "+"},
    ("detach", 0.3): {0.2: "-", 0.3001: "-", 0.49: "-", 0.51: "+", 0.95: "+"},
    ("detach", 0.5): {0.2: "-", 0.49: "-", 0.51: "+", 0.95: "+"},
    ("detach", 0.9): {0.2: "-", 0.49: "-", 0.51: "+", 0.8: "+", 0.899: "+", 0.95: "+"},
}


@pytest.mark.parametrize(("weight_gradient", "tau"), SIGNS)
def test_the_flowing_weight_pushes_by_the_side_of_tau_and_the_detached_one_by_that_of_a_half(
    weight_gradient, tau
):
    signs = SIGNS[weight_gradient, tau]
    z = torch.tensor([*signs], dtype=torch.float64).logit().requires_grad_()
    loss = weighted_entropy(
        LossContext(z), tau1=tau, tau2=tau, weight_gradient=weight_gradient, gamma=6.0, alpha=0.1
    )
    (gradient,) = torch.autograd.grad(loss, z)
    assert {p: "-+"[int(-g > 0)] for p, g in zip(signs, gradient.tolist(), strict=True)} == signs
    assert (gradient != 0).all()


@pytest.mark.parametrize(("p", "ratio"), [(0.3, 0.000335), (0.6, 0.05), (0.7, 0.53), (0.8, 4.7)])
def test_deformable_detrs_reading_acts_once_its_queries_are_confident(p, ratio):
    # docs/weighted_entropy.md; η 1, one matched query: 2 · focal loss (α 1/4, γ 2), whose slope is
    # -2 · 1/4 (1-p)^2 ((1-p) - 2 p ln p)
    z = torch.tensor([p], dtype=torch.float64).logit().requires_grad_()
    context = LossContext(z, torch.tensor([1]), num_positives=1)
    loss = weighted_entropy(
        context, tau1=0.9, tau2=0.9, normalizer="positives", weight_gradient="detach"
    )
    (gradient,) = torch.autograd.grad(loss, z)
    own = 0.5 * (1 - p) ** 2 * ((1 - p) - 2 * p * math.log(p))
    assert abs(gradient.item()) / own == pytest.approx(ratio, rel=0.1)
