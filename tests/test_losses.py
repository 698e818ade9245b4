"""wend.losses against hand values, identities, finite differences and tests/reference.py."""

import math

import pytest
import reference
import torch
from torch.autograd import gradcheck

from wend.errors import InputError
from wend.losses import (
    FORMS,
    WEIGHT_GRADIENTS,
    ForceLog,
    ImagesContext,
    LocalizationLoss,
    LossContext,
    average_over,
    entropy_loss,
    joint_loss,
    localization_losses,
    tell_progress,
    unsupervised_loss,
    weighted_entropy_loss,
)
from wend.schedules import Progress, Scheduled

PAPER = {"gamma": 6.0, "alpha": 0.1, "tau1": 0.3, "tau2": 0.3}
SETTINGS = [
    PAPER,
    {"gamma": 4.0, "alpha": 0.25, "tau1": 0.1, "tau2": 0.1},
    {"gamma": 0.5, "alpha": 0.75, "tau1": 0.8, "tau2": 0.25},
    {"gamma": 0.0, "alpha": 0.5, "tau1": 0.5, "tau2": 0.5},
]


def logit(p):
    return math.log(p / (1 - p))


def test_entropy_is_ln2_at_even_odds_and_a_hand_value_elsewhere():
    # H(1/2) = ln 2; H(1/4) = 1/4 ln 4 + 3/4 ln(4/3) = 0.34657 + 0.21576
    losses = entropy_loss(torch.tensor([0.0, logit(0.25)], dtype=torch.float64), "none")
    assert losses[0].item() == pytest.approx(math.log(2), rel=1e-12)
    assert losses[1].item() == pytest.approx(0.25 * math.log(4) + 0.75 * math.log(4 / 3), rel=1e-12)


def test_entropy_equals_torch_distributions():
    z = torch.linspace(-12, 12, 97, dtype=torch.float64)
    expected = torch.distributions.Bernoulli(logits=z).entropy()
    torch.testing.assert_close(entropy_loss(z, "none"), expected, rtol=1e-10, atol=1e-14)


def test_weight_of_looks_like_foreground_is_alpha_times_power_of_background():
    # p = 0.8 >= tau1: w = 0.1 * 0.2^6 = 6.4e-6; p = 0.2 < tau2: w = 0.9 * 0.2^6 = 5.76e-5
    z = torch.tensor([logit(0.8), logit(0.2)], dtype=torch.float64)
    entropy = 0.2 * math.log(5) + 0.8 * math.log(1.25)  # the same for both
    losses = weighted_entropy_loss(z, **PAPER, reduction="none")
    assert losses[0].item() == pytest.approx(6.4e-6 * entropy, rel=1e-9)
    assert losses[1].item() == pytest.approx(5.76e-5 * entropy, rel=1e-9)


def test_samples_between_the_thresholds_are_left_out_but_counted():
    z = torch.tensor([logit(0.5), logit(0.9)], dtype=torch.float64)
    settings = {"gamma": 2.0, "alpha": 0.5, "tau1": 0.8, "tau2": 0.2}
    none = weighted_entropy_loss(z, **settings, reduction="none")
    assert none[0].item() == 0
    mean = weighted_entropy_loss(z, **settings)
    assert mean.item() == pytest.approx(none[1].item() / 2, rel=1e-12)


def test_threshold_tau1_belongs_to_the_foreground():
    # p = 0.5 exactly = tau1 = tau2: alpha, not 1 - alpha
    z = torch.zeros(1, dtype=torch.float64)
    loss = weighted_entropy_loss(z, gamma=0.0, alpha=0.1, tau1=0.5, tau2=0.5)
    assert loss.item() == pytest.approx(0.1 * math.log(2), rel=1e-12)


def test_gamma_zero_and_alpha_half_is_half_the_entropy_with_half_its_gradient():
    z = torch.linspace(-5, 5, 33, dtype=torch.float64, requires_grad=True)
    weighted = weighted_entropy_loss(z, gamma=0.0, alpha=0.5, tau1=0.4, tau2=0.4)
    plain = entropy_loss(z)
    torch.testing.assert_close(weighted, 0.5 * plain)
    (a,) = torch.autograd.grad(weighted, z)
    (b,) = torch.autograd.grad(plain, z)
    torch.testing.assert_close(a, 0.5 * b)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_plain_python_reference(settings, dtype):
    generator = torch.Generator().manual_seed(0)
    z = (torch.rand(400, generator=generator, dtype=torch.float64) * 40 - 20).to(dtype)
    ours = weighted_entropy_loss(z, **settings, reduction="none").double()
    theirs = [reference.weighted_entropy(value, **settings) for value in z.double().tolist()]
    tolerance = (
        {"rtol": 1e-10, "atol": 1e-14} if dtype == torch.float64 else {"rtol": 2e-5, "atol": 1e-9}
    )
    torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64), **tolerance)
    mean = weighted_entropy_loss(z, **settings).item()
    expected = reference.weighted_entropy_mean(z.double().tolist(), **settings)
    assert mean == pytest.approx(expected, rel=1e-5 if dtype == torch.float32 else 1e-10)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("detach", ["flow", "detach"])
def test_gradient_is_right_against_finite_differences(settings, detach):
    z = torch.tensor([-9.0, -2.3, -0.1, 0.2, 1.7, 8.0], dtype=torch.float64, requires_grad=True)

    point = z.detach().clone()
    constant = weighted_entropy_loss(point, **settings, reduction="none")
    constant = constant / entropy_loss(point, "none")

    def loss(x):
        if detach == "detach":
            return constant * entropy_loss(x, "none")
        return weighted_entropy_loss(x, **settings, reduction="none")

    assert gradcheck(loss, (z,), eps=1e-6, atol=1e-8)
    ours = weighted_entropy_loss(z, **settings, weight_gradient=detach, reduction="sum")
    (gradient,) = torch.autograd.grad(ours, z)
    (expected,) = torch.autograd.grad(loss(z).sum(), z)
    torch.testing.assert_close(gradient, expected)


def test_detaching_the_weight_changes_the_gradient_but_not_the_value():
    z = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    flowing = weighted_entropy_loss(z, **PAPER)
    constant = weighted_entropy_loss(z, **PAPER, weight_gradient="detach")
    assert flowing.item() == constant.item()
    (a,) = torch.autograd.grad(flowing, z)
    (b,) = torch.autograd.grad(constant, z)
    assert abs(a - b) > 1e-6


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_stable_at_plus_and_minus_100(settings, dtype):
    z = torch.tensor([-100.0, 100.0], dtype=dtype, requires_grad=True)
    for loss in (weighted_entropy_loss(z, **settings), entropy_loss(z)):
        (gradient,) = torch.autograd.grad(loss, z)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
        assert 0 <= loss.item() < 1e-30


def test_half_precision_is_computed_in_float32_also_inside_autocast():
    z = torch.linspace(-6, 6, 50)
    expected = weighted_entropy_loss(z.bfloat16().float(), **PAPER)
    assert weighted_entropy_loss(z.bfloat16(), **PAPER).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = weighted_entropy_loss(z.bfloat16(), **PAPER)
    assert inside.dtype == torch.float32
    assert inside.item() == expected.item()


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 1, 4, 3)])
def test_any_shape_and_the_three_reductions_agree(shape):
    z = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    none = weighted_entropy_loss(z, **PAPER, reduction="none")
    assert none.shape == z.shape
    torch.testing.assert_close(weighted_entropy_loss(z, **PAPER, reduction="sum"), none.sum())
    torch.testing.assert_close(weighted_entropy_loss(z, **PAPER), none.mean())


@pytest.mark.parametrize(
    "loss", [entropy_loss, lambda z, r: weighted_entropy_loss(z, **PAPER, reduction=r)]
)
def test_empty_input_is_a_zero_with_a_gradient(loss):
    z = torch.zeros(0, 3, requires_grad=True)
    for reduction in ("mean", "sum"):
        value = loss(z, reduction)
        assert value.item() == 0
        (gradient,) = torch.autograd.grad(value, z)
        assert gradient.shape == z.shape
    assert loss(z, "none").shape == (0, 3)


def test_nan_is_not_hidden():
    assert torch.isnan(weighted_entropy_loss(torch.tensor([float("nan"), 0.0]), **PAPER))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": -1.0}, r"gamma must be finite and >= 0, got -1\.0"),
        ({"gamma": float("nan")}, "gamma must be .* got nan"),
        ({"alpha": 1.5}, r"alpha must be in \[0, 1\], got 1\.5"),
        ({"tau1": 1.0}, r"tau1 must be in \(0, 1\), got 1\.0"),
        ({"tau2": 0.0}, r"tau2 must be in \(0, 1\), got 0\.0"),
        ({"tau1": 0.2}, r"tau1 must be >= tau2, got tau1=0\.2 < tau2=0\.3"),
        ({"reduction": "max"}, "reduction must be one of .* got 'max'"),
    ],
)
def test_wrong_arguments_name_range_and_value(change, message):
    with pytest.raises(ValueError, match=message):
        weighted_entropy_loss(torch.zeros(2), **{**PAPER, **change})


def test_whole_numbers_are_no_logits():
    with pytest.raises(ValueError, match=r"floating-point tensor, got torch\.int64"):
        entropy_loss(torch.tensor([1, 2]))


def test_joint_loss_multiplies_the_supervised_part_only():
    losses = {
        "loss_cls": torch.tensor(2.0),
        "loss_rpn_loc": torch.tensor(4.0),
        "loss_unsup": torch.tensor(3.0),
        "loss_unsup_0": torch.tensor(5.0),
    }
    joint = joint_loss(losses, eta=0.125)
    assert {name: value.item() for name, value in joint.items()} == {
        "loss_cls": 0.25,
        "loss_rpn_loc": 0.5,
        "loss_unsup": 3.0,
        "loss_unsup_0": 5.0,
    }
    assert sum(joint.values()).item() == 0.125 * 6 + 8


def test_localization_loss_chooses_the_term_by_name():
    z = torch.linspace(-3, 3, 9)
    assert LocalizationLoss("none").unsupervised(z) == {}
    plain = LocalizationLoss("entropy").unsupervised(z)["loss_unsup"]
    torch.testing.assert_close(plain, entropy_loss(z))
    parameters = {
        "gamma": 2.0,
        "alpha": 0.25,
        "tau1": 0.6,
        "tau2": 0.2,
        "weight_gradient": "detach",
    }
    chosen = LocalizationLoss(parameters=parameters)
    expected = weighted_entropy_loss(z, **parameters)
    torch.testing.assert_close(chosen.unsupervised(z)["loss_unsup"], expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "focal"}, "unknown loss 'focal'"),
        ({"eta": -0.5}, "expected a finite number >= 0, got -0.5"),
        ({"eta": float("inf")}, "expected a finite number >= 0, got inf"),
        ({"parameters": {"alpha": 2.0}}, r"alpha must be in \[0, 1\], got 2\.0"),
        (
            {"parameters": {"width": 2.0}},
            "loss 'weighted_entropy': got an unexpected keyword argument 'width'",
        ),
    ],
)
def test_localization_loss_refuses_what_is_out_of_range(wrong, message):
    with pytest.raises(ValueError, match=message):
        LocalizationLoss(**wrong)


# ---- the readings of eqs. (2) and (3) ----

READING = {"gamma": 2.0, "alpha": 0.25, "tau1": 0.3, "tau2": 0.3}


def terms(p):
    """-p ln p and -(1-p) ln(1-p)."""
    return -p * math.log(p), -(1 - p) * math.log(1 - p)


# Below tau, between tau and 0.5, above 0.5; with gamma 2 and alpha 1/4 the two weights at p are
# (1-p)^2 / 4 and 3 p^2 / 4.
P = (0.2, 0.4, 0.8)
FOREGROUND, BACKGROUND = [(1 - p) ** 2 / 4 for p in P], [3 * p**2 / 4 for p in P]
H1, H0 = zip(*map(terms, P), strict=True)
BY_HAND = {
    "entropy": [
        BACKGROUND[0] * (H1[0] + H0[0]),
        FOREGROUND[1] * (H1[1] + H0[1]),
        FOREGROUND[2] * (H1[2] + H0[2]),
    ],
    "terms": [f * h1 + b * h0 for f, b, h1, h0 in zip(FOREGROUND, BACKGROUND, H1, H0, strict=True)],
    "chosen": [BACKGROUND[0] * H0[0], FOREGROUND[1] * H1[1], FOREGROUND[2] * H1[2]],
    "swapped": [
        FOREGROUND[0] * (H1[0] + H0[0]),
        BACKGROUND[1] * (H1[1] + H0[1]),
        BACKGROUND[2] * (H1[2] + H0[2]),
    ],
    "confidence": [
        0.2**2 * (H1[0] + H0[0]),
        0.4**2 * (H1[1] + H0[1]),
        0.2**2 * (H1[2] + H0[2]),
    ],
}


def test_every_form_has_hand_values():
    assert set(BY_HAND) == set(FORMS)


@pytest.mark.parametrize("form", FORMS)
def test_a_form_has_its_hand_values_on_each_side_of_tau_and_of_a_half(form):
    z = torch.tensor([logit(p) for p in P], dtype=torch.float64)
    losses = weighted_entropy_loss(z, **READING, form=form, reduction="none")
    assert losses.tolist() == pytest.approx(BY_HAND[form], rel=1e-12)
    apart = READING | {"tau1": 0.9, "tau2": 0.1}  # all three lie between
    assert weighted_entropy_loss(z, **apart, form=form, reduction="sum") == 0


@pytest.mark.parametrize("weight_gradient", WEIGHT_GRADIENTS)
@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_of_a_form_is_right_against_finite_differences(form, weight_gradient):
    z = torch.tensor([logit(p) for p in P], dtype=torch.float64, requires_grad=True)

    def weights(x):
        """The weights of -p ln p and of -(1-p) ln(1-p), from the probabilities alone."""
        p = x.sigmoid()
        above = (p >= 0.3).double()
        f, b = (1 - p) ** 2 / 4, 3 * p**2 / 4
        for_both = {
            "entropy": above * f + (1 - above) * b,
            "swapped": above * b + (1 - above) * f,
            "confidence": torch.minimum(p, 1 - p) ** 2,
        }
        if form in for_both:
            return for_both[form], for_both[form]
        return (f, b) if form == "terms" else (above * f, (1 - above) * b)

    constant = [weight.detach() for weight in weights(z)]

    def loss(x):
        w1, w0 = constant if weight_gradient == "detach" else weights(x)
        p = x.sigmoid()
        return -(w1 * p * p.log() + w0 * (1 - p) * (1 - p).log())

    assert gradcheck(loss, (z,), eps=1e-6, atol=1e-8)
    ours = weighted_entropy_loss(
        z, **READING, form=form, weight_gradient=weight_gradient, reduction="sum"
    )
    (gradient,) = torch.autograd.grad(ours, z)
    (expected,) = torch.autograd.grad(loss(z).sum(), z)
    torch.testing.assert_close(gradient, expected)


def test_a_flowing_weight_pushes_confident_foreground_below_tau_down_and_a_detached_one_up():
    # facts.md: at tau 0.9 every query below is pushed down; detached, those in (0.5, 0.9) go up
    settings = {"gamma": 6.0, "alpha": 0.1, "tau1": 0.9, "tau2": 0.9}
    z = torch.tensor([logit(p) for p in (0.3, 0.6, 0.8, 0.95)], dtype=torch.float64)
    z.requires_grad_()
    signs = {}
    for way in WEIGHT_GRADIENTS:
        loss = weighted_entropy_loss(z, **settings, weight_gradient=way, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, z)
        signs[way] = (-gradient).sign().tolist()  # the step of gradient descent
    assert signs == {"flow": [-1, -1, -1, 1], "detach": [-1, 1, 1, 1]}


def test_magnitudes_are_those_of_the_papers_setting():
    # facts.md: gamma 6, alpha 0.1, tau 0.3, flowing: the loss is 0.0071 just above tau and 4e-5 at
    # 0.7; the gradient on the log-odds -0.011 at 0.3, -0.003 at 0.5, +2e-6 at 0.1
    z = torch.tensor([logit(p) for p in (0.300001, 0.7, 0.5, 0.1)], dtype=torch.float64)
    z.requires_grad_()
    losses = weighted_entropy_loss(z, **PAPER, reduction="none")
    (gradient,) = torch.autograd.grad(losses.sum(), z)
    assert losses[:2].tolist() == pytest.approx([0.0071, 4e-5], rel=0.15)
    assert gradient[[0, 2]].tolist() == pytest.approx([-0.011, -0.003], rel=0.15)
    assert gradient[3].item() == pytest.approx(2e-6, rel=0.25)


SAMPLED = LossContext(
    torch.zeros(5), torch.tensor([1, 1, 0, -1, -1]), num_positives=2.5, num_boxes=3.0
)


@pytest.mark.parametrize(
    ("normalizer", "samples", "expected"),
    [  # the losses are 1, 2, 4, 8, 16
        ("samples", "all", 31 / 5),
        ("positives", "all", 31 / 2.5),
        ("boxes", "all", 31 / 3),
        ("samples", "unassigned", 28 / 3),
        ("boxes", "unassigned", 28 / 3),
        ("samples", "ignored", 24 / 2),
        ("positives", "ignored", 24 / 2.5),
    ],
)
def test_the_number_that_a_sum_is_divided_by(normalizer, samples, expected):
    losses = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
    value = average_over(losses, SAMPLED, normalizer=normalizer, samples=samples)
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_no_sample_to_sum_is_a_zero_with_a_gradient():
    losses = torch.tensor([1.0, 2.0], requires_grad=True)
    context = LossContext(losses, torch.tensor([1, 1]))
    value = average_over(losses, context, samples="ignored")
    value.backward()
    assert (value.item(), losses.grad.tolist()) == (0.0, [0.0, 0.0])


@pytest.mark.parametrize(
    ("reading", "error", "message"),
    [
        ({"samples": "ignored"}, InputError, "samples 'ignored' need labels"),
        ({"normalizer": "positives"}, InputError, "does not count its positives"),
        ({"normalizer": "boxes"}, InputError, "does not count its boxes"),
        ({"normalizer": "images"}, ValueError, "one of samples, positives, boxes, got 'images'"),
        ({"samples": "some"}, ValueError, "one of all, unassigned, ignored, got 'some'"),
    ],
)
def test_what_a_detector_does_not_count_is_an_error(reading, error, message):
    with pytest.raises(error, match=message):
        average_over(torch.ones(2), LossContext(torch.zeros(2)), **reading)


@pytest.mark.parametrize("name", ["weighted_entropy", "entropy"])
def test_both_losses_take_the_reading_of_the_mean(name):
    z, labels = torch.tensor([0.5, -0.5, 0.1]), torch.tensor([1, 0, -1])
    reading = {"normalizer": "boxes", "samples": "unassigned"}
    loss = LocalizationLoss(name, parameters=reading)
    loss.start_batch(ImagesContext(["a"], [torch.zeros(4, 4)]))
    (value,) = loss.unsupervised(z, labels=labels).values()
    function = entropy_loss if name == "entropy" else weighted_entropy_loss
    settings = {} if name == "entropy" else PAPER
    assert value.item() == pytest.approx(function(z[1:], **settings).item() * 2 / 4, rel=1e-6)


def test_the_factor_multiplies_the_unsupervised_part_and_follows_its_schedule():
    # the same balance as eta 1/8, eight times the rate
    assert joint_loss({"loss_cls": 2.0, "loss_unsup": 3.0}, eta=1, factor=8) == {
        "loss_cls": 2.0,
        "loss_unsup": 24.0,
    }
    factor = Scheduled(0.0, 4.0, "step", {"step_at": 0.5})
    loss = LocalizationLoss("none", 0.5, factor=factor)
    values = []
    for iteration in range(4):
        loss.progress = Progress(iteration, 4)
        values.append(loss.joint({"loss_cls": 2.0, "loss_unsup_1": 3.0}))
    assert [each["loss_unsup_1"] for each in values] == [0, 0, 12, 12]
    assert {each["loss_cls"] for each in values} == {1.0}


# ---- the force ----


def detector_of(loss):
    model = torch.nn.Identity()
    model.localization_loss = loss
    return model


def steps_of(loss, ratio, steps, log):
    """A detector's steps whose L_cls pulls 1 / ratio times as strongly as its L_unsup."""
    model, values = detector_of(loss), []
    for iteration in range(steps):
        tell_progress(model, iteration, steps)
        loss.start_batch()
        z = torch.tensor([[0.5, -1.0], [2.0, -3.0]], requires_grad=True)
        own = loss.function(LossContext(z.flatten()))
        loss.unsupervised(z, supervised=own / ratio)
        values.append(log.after_step())
    return values


def pulling(context):
    return context.logits.clamp(min=0).sum()  # at two of the four, with gradient 1


def test_force_is_the_ratio_of_the_gradients_with_their_weights(own_registries):
    unsupervised_loss("pulling")(pulling)
    loss = LocalizationLoss("pulling", 0.5, factor=4.0)
    values = steps_of(loss, 0.25, 41, ForceLog(detector_of(loss), 20))
    # 4 · 2 / (0.5 · 8)
    expected = {"unsup_to_cls": 2.0, "unsup_touched": 0.5}
    assert [i for i, each in enumerate(values) if each] == [0, 20, 40]
    assert values[20] == pytest.approx(expected)


@pytest.mark.parametrize(("ratio", "times"), [(0.009, 1), (0.011, 0)])
def test_an_inert_loss_is_said_once(ratio, times, own_registries, caplog):
    unsupervised_loss("pulling")(pulling)
    loss = LocalizationLoss("pulling")
    steps_of(loss, ratio, 80, ForceLog(detector_of(loss), 20))
    assert caplog.text.count("L_unsup is inert: over an epoch its gradient") == times
    assert ("0.9 % of η · L_cls's" in caplog.text) == (times == 1)


def test_gradients_of_half_precision_that_round_to_zero_are_measured():
    def measured(dtype):  # 12,544 samples, as FCOS has of 256 images; gradients from 1e-10
        z = torch.linspace(-2, 1, 12544).to(dtype).requires_grad_()
        loss = LocalizationLoss("weighted_entropy")
        loss.start_batch()
        loss.unsupervised(z, supervised=z.float().exp().mean())
        return loss.measured()

    half, single = measured(torch.float16), measured(torch.float32)
    assert half["unsup_to_cls"] == pytest.approx(single["unsup_to_cls"], rel=0.01)
    assert half["unsup_touched"] == pytest.approx(single["unsup_touched"], abs=0.02)


def test_no_loss_and_no_comparison_have_no_force():
    z = torch.zeros(3, requires_grad=True)
    for loss in (LocalizationLoss("none"), LocalizationLoss("entropy")):
        loss.start_batch()
        loss.unsupervised(z, **({"supervised": z.sum()} if loss.is_none else {}))
        assert loss.measured() == {}
    with torch.no_grad():
        loss.start_batch()
        loss.unsupervised(z, supervised=z.sum())
    assert loss.measured() == {}


# ---- the context ----


def context_of(own_registries, *arguments, **samples):
    """What a registered loss sees when a detector calls it so."""
    seen = []
    unsupervised_loss("probe")(lambda context: seen.append(context))
    loss = LocalizationLoss("probe")
    loss.start_batch(ImagesContext(["a", "b"], [torch.zeros(3, 4), torch.zeros(4, 4)]))
    loss.unsupervised(*arguments, **samples)
    return seen[-1]


def test_samples_of_images_by_rows_are_flattened_and_numbered(own_registries):
    logits, labels = torch.arange(6.0).view(2, 3), torch.tensor([[1, 0, -1], [0, 1, 1]])
    context = context_of(own_registries, logits, labels=labels)
    assert context.logits.tolist() == [0, 1, 2, 3, 4, 5]
    assert context.labels.tolist() == [1, 0, -1, 0, 1, 1]
    assert context.image_index.tolist() == [0, 0, 0, 1, 1, 1]
    assert (context.image_ids, context.num_boxes, context.num_positives) == (["a", "b"], 7, 3)


def test_what_a_detector_counts_itself_goes_before(own_registries):
    labels, index = torch.tensor([0, 0]), torch.tensor([1, 1])
    context = context_of(own_registries, torch.zeros(2), labels=labels, image_index=index)
    assert (context.image_index is index, context.num_positives) == (True, 1)  # at least
    context = LossContext(torch.zeros(2))
    assert (context.labels, context.num_boxes, context.progress.share) == (None, None, 0)
    unsupervised_loss("both")(lambda c: c.logits.sum() * 0 + c.num_boxes + 10 * c.num_positives)
    loss = LocalizationLoss("both")
    (value,) = loss.unsupervised(torch.zeros(2), num_positives=2.5, num_boxes=3.0).values()
    assert value == 28


def test_a_loss_of_ones_own_is_called_with_its_parameters(own_registries):
    @unsupervised_loss("scaled")
    def scaled(context, *, factor=2.0):
        return factor * context.progress.share * context.logits.mean()

    loss = LocalizationLoss("scaled", parameters={"factor": 3.0})
    loss.progress = Progress(1, 4)
    assert loss.unsupervised(torch.full((2, 2), 8.0)) == {"loss_unsup": torch.tensor(6.0)}
    assert LocalizationLoss("scaled").parameters == {}
    assert not loss.is_none


def test_functions_of_a_file_need_no_name(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "def loss(context): return context.logits.sum()\n"
        "def eta(progress, start, end): return 0.5\n"
    )
    loss = LocalizationLoss(f"{file}:loss", Scheduled(1.0, schedule=f"{file}:eta"))
    assert loss.unsupervised(torch.ones(3)) == {"loss_unsup": torch.tensor(3.0)}
    assert loss.joint({"loss_cls": 4.0}) == {"loss_cls": 2.0}


def fails_on_nothing(context):
    return context.logits.max()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: None, r"loss 'wrong': too many positional arguments; a loss is called with \(con"),
        (lambda context, *, width: None, "loss 'wrong': missing a required .* 'width'; a loss is"),
        (
            lambda context: context.logits,
            r"loss 'wrong': expected to return a scalar .* got \(0,\)",
        ),
        (lambda context: torch.tensor(1), r"a scalar tensor of floats .* got \(\) of torch\.int64"),
        (lambda context: 0.5, "loss 'wrong': expected to return a scalar .* got float"),
        (fails_on_nothing, r"tried before .*; its own traceback:\n(?s:.*)in fails_on_nothing\n"),
    ],
)
def test_a_loss_that_cannot_be_called_is_told_before_the_training(
    function, message, own_registries
):
    unsupervised_loss("wrong")(function)
    with pytest.raises(InputError, match=message):
        LocalizationLoss("wrong")


def test_eta_of_the_present_iteration_multiplies_the_supervised_part():
    loss = LocalizationLoss("none", Scheduled(1.0, 0.0, "linear"))
    for iteration, eta in enumerate((1.0, 0.75, 0.5, 0.25, 0.0)):
        loss.progress = Progress(iteration, 4)
        terms = {"loss_cls": torch.tensor(2.0), "loss_unsup": torch.tensor(3.0)}
        assert loss.joint(terms) == {"loss_cls": 2 * eta, "loss_unsup": 3}


def test_progress_reaches_every_loss_of_a_detector_once():
    shared, other = LocalizationLoss("none"), LocalizationLoss("none")
    model = torch.nn.ModuleDict({"a": torch.nn.Identity(), "b": torch.nn.Identity()})
    model.localization_loss = model["a"].localization_loss = shared
    model["b"].localization_loss = other
    assert localization_losses(model) == [shared, other]
    tell_progress(model, 3, 12)
    assert shared.progress == other.progress == Progress(3, 12)
