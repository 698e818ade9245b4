"""The bounded and soft classification losses against hand values, limits and other libraries."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck
from torchvision.ops import sigmoid_focal_loss

from wend.losses import CLASSIFICATION_LOSSES, LossContext
from wend.losses.entropies import entropy_loss
from wend.losses.robust import (
    bootstrapped_cross_entropy,
    focal_generalized_cross_entropy,
    generalized_cross_entropy,
    symmetric_cross_entropy,
)

Z = torch.tensor([-3.0, -0.7, 0.0, 0.4, 2.5], dtype=torch.float64)
LABELS = torch.tensor([1, 0, 1, 0, 1])
SETTINGS = [
    pytest.param(generalized_cross_entropy, {"q": 0.7}, id="gce"),
    pytest.param(generalized_cross_entropy, {"q": 0.0}, id="gce_q0"),
    pytest.param(generalized_cross_entropy, {"q": 1.0}, id="gce_q1"),
    pytest.param(
        focal_generalized_cross_entropy, {"q": 0.4, "alpha": 0.25, "gamma": 2.0}, id="focal_gce"
    ),
    pytest.param(
        focal_generalized_cross_entropy, {"q": 0.4, "alpha": 0.25, "gamma": 0.5}, id="focal_half"
    ),
    pytest.param(bootstrapped_cross_entropy, {"beta": 0.8, "form": "soft"}, id="bootstrap_soft"),
    pytest.param(bootstrapped_cross_entropy, {"beta": 0.8, "form": "hard"}, id="bootstrap_hard"),
    pytest.param(
        symmetric_cross_entropy, {"alpha": 0.1, "beta": 1.0, "log_zero": -4.0}, id="symmetric"
    ),
]


def logit(p):
    return math.log(p / (1 - p))


def cross_entropy(z, labels):
    return F.binary_cross_entropy_with_logits(z, labels.to(z), reduction="none")


def gradient(loss, z, labels, **settings):
    z = z.clone().requires_grad_()
    (result,) = torch.autograd.grad(loss(z, labels, **settings, reduction="sum"), z)
    return result


def of_label(z, labels):
    """The probability of the label."""
    return torch.where(labels == 1, z, -z).sigmoid()


def test_generalized_cross_entropy_has_hand_values():
    # p_t of labels 1 and 0 at p = 1/4 is 1/4 and 3/4; q = 1/2: (1 - sqrt(p_t)) / (1/2)
    z = torch.full((2,), logit(0.25), dtype=torch.float64)
    values = generalized_cross_entropy(z, torch.tensor([1, 0]), q=0.5, reduction="none")
    assert values.tolist() == pytest.approx([2 * (1 - 0.5), 2 * (1 - math.sqrt(0.75))], rel=1e-12)


def test_the_limits_of_generalized_cross_entropy_are_cross_entropy_and_the_mean_absolute_error():
    for q, tolerance in ((0.0, 0.0), (1e-9, 1e-7)):
        value = generalized_cross_entropy(Z, LABELS, q=q, reduction="none")
        torch.testing.assert_close(value, cross_entropy(Z, LABELS), rtol=tolerance + 1e-12, atol=0)
        ours = gradient(generalized_cross_entropy, Z, LABELS, q=q)
        expected = Z.sigmoid() - LABELS.double()
        torch.testing.assert_close(ours, expected, rtol=tolerance + 1e-12, atol=0)
    absolute = generalized_cross_entropy(Z, LABELS, q=1.0, reduction="none")
    torch.testing.assert_close(absolute, (Z.sigmoid() - LABELS).abs())  # of one probability of two


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
def test_the_gradient_of_generalized_cross_entropy_is_cross_entropys_times_a_power(q):
    expected = of_label(Z, LABELS) ** q * (Z.sigmoid() - LABELS)
    torch.testing.assert_close(gradient(generalized_cross_entropy, Z, LABELS, q=q), expected)


@pytest.mark.parametrize(("q", "share", "expected"), [(0.7, 0.4, 0.21), (0.7, 0.9, 0.999)])
def test_the_best_prediction_of_samples_with_mixed_labels_leans_to_the_majority(q, share, expected):
    # share · p^(q-1) = (1 - share) (1-p)^(q-1): p / (1-p) = (share / (1 - share))^(1 / (1-q))
    odds = (share / (1 - share)) ** (1 / (1 - q))
    assert odds / (1 + odds) == pytest.approx(expected, abs=0.005)
    z = torch.full((10,), math.log(odds), dtype=torch.float64)
    labels = (torch.arange(10) < 10 * share).long()
    assert gradient(generalized_cross_entropy, z, labels, q=q).sum().abs() < 1e-12


@pytest.mark.parametrize("q", [0.05, 0.7, 1.0])
def test_generalized_cross_entropy_is_bounded_where_cross_entropy_is_not(q):
    z = torch.tensor([-1e4, -50.0, 50.0, 1e4], dtype=torch.float64)
    for labels in (torch.ones(4), torch.zeros(4)):
        value = generalized_cross_entropy(z, labels, q=q, reduction="none")
        assert (value >= 0).all()
        assert value.max().item() == pytest.approx(1 / q, rel=1e-12)
        assert value.max() <= 1 / q


def test_a_small_q_loses_no_digits_in_float32():
    z = torch.tensor([-1.0, 0.3, 4.0])
    value = generalized_cross_entropy(z, torch.ones(3), q=1e-6, reduction="none")
    torch.testing.assert_close(value, cross_entropy(z, torch.ones(3)), rtol=3e-6, atol=0)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_the_focal_form_without_q_is_torchvisions_focal_loss(gamma):
    ours = focal_generalized_cross_entropy(
        Z, LABELS, q=0.0, alpha=0.25, gamma=gamma, reduction="none"
    )
    theirs = sigmoid_focal_loss(Z, LABELS.double(), alpha=0.25, gamma=gamma)
    torch.testing.assert_close(ours, theirs)
    point = Z.clone().requires_grad_()
    loss = sigmoid_focal_loss(point, LABELS.double(), alpha=0.25, gamma=gamma, reduction="sum")
    (expected,) = torch.autograd.grad(loss, point)
    settings = {"q": 0.0, "alpha": 0.25, "gamma": gamma}
    torch.testing.assert_close(
        gradient(focal_generalized_cross_entropy, Z, LABELS, **settings), expected
    )


def test_the_focal_form_has_hand_values_and_a_bound():
    # p = 1/4: p_t = 1/4 (label 1), 3/4 (label 0); alpha 1/4, gamma 2, q 1/2
    z = torch.full((2,), logit(0.25), dtype=torch.float64)
    settings = {"q": 0.5, "alpha": 0.25, "gamma": 2.0}
    value = focal_generalized_cross_entropy(z, torch.tensor([1, 0]), **settings, reduction="none")
    expected = [0.25 * 0.75**2 * 2 * (1 - 0.5), 0.75 * 0.25**2 * 2 * (1 - math.sqrt(0.75))]
    assert value.tolist() == pytest.approx(expected, rel=1e-12)
    wrong = torch.tensor([-1e4, 1e4], dtype=torch.float64)
    value = focal_generalized_cross_entropy(
        wrong, torch.tensor([1, 0]), **settings, reduction="none"
    )
    assert value.tolist() == pytest.approx([0.25 / 0.5, 0.75 / 0.5], rel=1e-12)


def test_soft_bootstrapping_is_a_mixture_of_cross_entropy_and_entropy():
    beta = 0.95
    value = bootstrapped_cross_entropy(Z, LABELS, beta=beta, reduction="none")
    expected = beta * cross_entropy(Z, LABELS) + (1 - beta) * entropy_loss(Z, "none")
    torch.testing.assert_close(value, expected)
    # dH/dz = -z p (1 - p)
    p = Z.sigmoid()
    expected = beta * (p - LABELS) - (1 - beta) * Z * p * (1 - p)
    torch.testing.assert_close(gradient(bootstrapped_cross_entropy, Z, LABELS, beta=beta), expected)


def test_hard_bootstrapping_takes_the_likelier_class_for_a_part_of_the_label():
    # p = 1/4, beta 4/5: of label 1 the target is 4/5, of label 0 it is 0
    z = torch.full((2,), logit(0.25), dtype=torch.float64)
    settings = {"beta": 0.8, "form": "hard"}
    value = bootstrapped_cross_entropy(z, torch.tensor([1, 0]), **settings, reduction="none")
    expected = [0.8 * math.log(4) + 0.2 * math.log(4 / 3), math.log(4 / 3)]
    assert value.tolist() == pytest.approx(expected, rel=1e-12)
    ours = gradient(bootstrapped_cross_entropy, Z, LABELS, **settings)
    target = 0.8 * LABELS + 0.2 * torch.tensor([0, 0, 1, 1, 1])  # p = 1/2 counts as foreground
    torch.testing.assert_close(ours, Z.sigmoid() - target)


@pytest.mark.parametrize("form", ["soft", "hard"])
def test_bootstrapping_that_trusts_the_label_is_cross_entropy(form):
    value = bootstrapped_cross_entropy(Z, LABELS, beta=1.0, form=form, reduction="none")
    torch.testing.assert_close(value, cross_entropy(Z, LABELS))


def test_symmetric_cross_entropy_is_cross_entropy_and_its_reverse():
    # Reverse: -sum_k p_k log y_k with log 1 = 0 and log 0 = A
    p, y = Z.sigmoid(), LABELS.double()
    for log_zero in (-4.0, -9.2):
        logs = [torch.where(target == 1, 0.0, log_zero) for target in (y, 1 - y)]
        reverse = -(p * logs[0] + (1 - p) * logs[1])
        expected = 0.1 * cross_entropy(Z, LABELS) + 2.0 * reverse
        settings = {"alpha": 0.1, "beta": 2.0, "log_zero": log_zero}
        value = symmetric_cross_entropy(Z, LABELS, **settings, reduction="none")
        torch.testing.assert_close(value, expected)
        # d(1 - p_t)/dz is the error p - y times p_t
        expected = (0.1 - 2.0 * log_zero * of_label(Z, LABELS)) * (p - y)
        torch.testing.assert_close(
            gradient(symmetric_cross_entropy, Z, LABELS, **settings), expected
        )


@pytest.mark.parametrize(("loss", "settings"), SETTINGS)
def test_the_gradient_is_right_against_finite_differences(loss, settings):
    z = torch.tensor([-9.0, -2.3, -0.1, 0.2, 1.7, 8.0], dtype=torch.float64, requires_grad=True)
    for labels in (torch.ones(6), torch.zeros(6)):
        assert gradcheck(
            lambda x, y=labels: loss(x, y, **settings, reduction="none"), (z,), eps=1e-6, atol=1e-8
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(("loss", "settings"), SETTINGS)
def test_values_and_gradients_are_finite_at_plus_and_minus_100(loss, settings, dtype):
    z = torch.tensor([-100.0, 100.0], dtype=dtype, requires_grad=True)
    for labels in (torch.ones(2), torch.zeros(2)):
        value = loss(z, labels, **settings, reduction="none")
        (slope,) = torch.autograd.grad(value.sum(), z)
        assert torch.isfinite(value).all()
        assert torch.isfinite(slope).all()
        right = int(labels[0])  # the sample that has its label
        assert value[right].abs() < 1e-30
        assert value[1 - right] > 0


@pytest.mark.parametrize(("loss", "settings"), SETTINGS)
def test_half_precision_is_computed_in_float32_also_inside_autocast(loss, settings):
    z = torch.linspace(-6, 6, 50).bfloat16()
    labels = (torch.arange(50) % 2).long()
    expected = loss(z.float(), labels, **settings)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(z, labels, **settings)
    assert inside.dtype == torch.float32
    assert inside.item() == expected.item()


@pytest.mark.parametrize(("loss", "settings"), SETTINGS)
def test_the_empty_input_is_a_zero_with_a_gradient(loss, settings):
    z = torch.zeros(0, 3, requires_grad=True)
    value = loss(z, torch.zeros(0, 3), **settings)
    assert value.item() == 0
    (slope,) = torch.autograd.grad(value, z)
    assert slope.shape == z.shape
    assert loss(z, torch.zeros(0, 3), **settings, reduction="none").shape == (0, 3)


@pytest.mark.parametrize(
    ("loss", "settings", "message"),
    [
        (generalized_cross_entropy, {"q": 1.5}, r"q must be in \[0, 1\], got 1.5"),
        (generalized_cross_entropy, {"q": float("nan")}, "q must be in .* got nan"),
        (
            focal_generalized_cross_entropy,
            {"q": 0.5, "alpha": -1.0, "gamma": 2.0},
            r"alpha must be in \[0, 1\], got -1.0",
        ),
        (
            focal_generalized_cross_entropy,
            {"q": 0.5, "alpha": 0.5, "gamma": -1.0},
            "gamma must be finite and >= 0, got -1.0",
        ),
        (bootstrapped_cross_entropy, {"beta": 2.0}, r"beta must be in \[0, 1\], got 2.0"),
        (
            bootstrapped_cross_entropy,
            {"beta": 0.5, "form": "firm"},
            "form must be one of soft, hard, got 'firm'",
        ),
        (
            symmetric_cross_entropy,
            {"alpha": -0.1, "beta": 1.0},
            "alpha must be finite and >= 0, got -0.1",
        ),
        (
            symmetric_cross_entropy,
            {"alpha": 0.1, "beta": 1.0, "log_zero": 4.0},
            "log_zero must be finite and < 0, got 4.0",
        ),
    ],
)
def test_wrong_arguments_name_range_and_value(loss, settings, message):
    with pytest.raises(ValueError, match=message):
        loss(torch.zeros(2), torch.zeros(2), **settings)


@pytest.mark.parametrize(
    ("name", "loss", "settings"),
    [
        ("gce", generalized_cross_entropy, {"q": 0.4}),
        ("focal_gce", focal_generalized_cross_entropy, {"q": 0.4, "alpha": 0.3, "gamma": 1.0}),
        ("bootstrap", bootstrapped_cross_entropy, {"beta": 0.8, "form": "hard"}),
        ("sce", symmetric_cross_entropy, {"alpha": 0.3, "beta": 0.5, "log_zero": -2.0}),
    ],
)
def test_a_registered_loss_is_its_function_with_the_same_parameters(name, loss, settings):
    by_entry = {
        f"focal_{key}" if name == "focal_gce" and key != "q" else key: value
        for key, value in settings.items()
    }
    value = CLASSIFICATION_LOSSES.get(name)(LossContext(Z, LABELS), **by_entry)
    torch.testing.assert_close(value, loss(Z, LABELS, **settings, reduction="none"))
