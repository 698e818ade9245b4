"""Weights and L_cls without a detector: gradients by hand, and what is refused."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from wend.errors import InputError
from wend.losses import (
    ImagesContext,
    LocalizationLoss,
    LossContext,
    classification_loss,
    image_weights,
    sample_weights,
    scale_gradient,
)
from wend.losses.training import tell_progress
from wend.losses.weights import WeighedOutputs

pytestmark = pytest.mark.usefixtures("own_registries")


# ---- gradients ----


def test_a_scaled_gradient_is_that_of_the_weighted_sum():
    """d/dx Σ w x² = 2 w x: 2 · 3 · 1, 2 · 0 · 2, 2 · 0.5 · 4."""
    x = torch.tensor([1.0, 2.0, 4.0], requires_grad=True)
    scaled = scale_gradient(x, torch.tensor([3.0, 0.0, 0.5]))
    assert torch.equal(scaled, x)
    (scaled**2).sum().backward()
    assert x.grad.tolist() == [6.0, 0.0, 4.0]
    assert scale_gradient(x, None) is x


def test_weights_hold_for_all_further_dimensions_and_are_differentiable_twice():
    weights = torch.rand(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    scale_gradient(x, weights).sum().backward()
    assert torch.equal(x.grad, weights[..., None].expand(2, 3, 4))
    ones = torch.ones(2, 3, dtype=torch.float64)
    assert gradcheck(lambda x: scale_gradient(x, ones).sin(), x)
    assert gradgradcheck(lambda x: scale_gradient(x, ones).sin(), x)


def test_half_precision_stays_half():
    x = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    scaled = scale_gradient(x, torch.tensor([0.5, 1e-3, 2.0]))
    (scaled * 3).sum().backward()
    assert (scaled.dtype, x.grad.dtype) == (torch.bfloat16, torch.bfloat16)
    assert x.grad.tolist() == pytest.approx([1.5, 3e-3, 6.0], rel=4e-3)


def test_a_heads_outputs_are_weighed_in_training_alone():
    class Head(torch.nn.Linear):
        def forward(self, x):
            return [super().forward(x)], (x + 1,)

    head = Head(2, 1)
    head.register_forward_hook(WeighedOutputs(lambda each: each * 5))
    x = torch.ones(3, 2)
    (plain,), (other,) = head.eval()(x)
    (weighed,), (second,) = head.train()(x)
    assert torch.equal(weighed, 5 * plain)
    assert torch.equal(second, 5 * other)


# ---- the loss that a detector holds ----

LABELS = torch.tensor([1, 0, -1, 0])
INDEX = torch.tensor([0, 0, 1, 1])


def held(*, boxes=(1, 2), **chosen):
    """A loss at the start of a batch of two images, and the context of four samples."""
    loss = LocalizationLoss("none", **chosen)
    loss.start_batch(ImagesContext(boxes=[torch.zeros(count, 4) for count in boxes]))
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0], requires_grad=True)
    return loss, loss.context(logits, labels=LABELS, image_index=INDEX)


def test_weights_of_images_and_samples_are_multiplied():
    image_weights("by_boxes")(lambda images: torch.tensor([len(each) for each in images.boxes]))
    sample_weights("half")(lambda context: torch.full_like(context.logits, 0.5))
    sample_weights("assigned")(lambda context: context.labels == 1)
    loss, context = held()
    assert loss.weights(context) is None
    loss, context = held(image_weights={"by_boxes": {}})
    assert loss.weights(context).tolist() == [1, 1, 2, 2]
    loss, context = held(image_weights={"by_boxes": {}}, sample_weights={"half": {}})
    assert loss.weights(context).tolist() == [0.5, 0.5, 1, 1]
    loss, context = held(
        boxes=(3, 2), image_weights={"by_boxes": {}}, sample_weights={"half": {}, "assigned": {}}
    )
    assert loss.weights(context).tolist() == [1.5, 0, 0, 0]
    assert not loss.weights(context).requires_grad


def test_parameters_and_progress_reach_the_functions():
    @image_weights("later")
    def later(images, *, at):
        return torch.full((len(images),), float(images.progress.share >= at))

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.localization_loss = LocalizationLoss("none", image_weights={"later": {"at": 0.5}})

    model = Model()
    for iteration, expected in ((0, 0.0), (49, 0.0), (50, 1.0)):
        tell_progress(model, iteration, 100)
        loss = model.localization_loss
        loss.start_batch(ImagesContext(image_ids=["a"]))
        weighed = loss.weigh_images(x := torch.ones(1, 2, requires_grad=True))
        weighed.sum().backward()
        assert x.grad.tolist() == [[expected, expected]]


def test_l_cls_leaves_out_the_ignored_and_is_weighed():
    """Losses z · k of samples 0, 1, 3 with k 10, times a scale of 2; the gradient is weighted."""
    classification_loss("linear")(lambda context, *, k: k * context.logits)
    image_weights("three")(lambda images: torch.tensor([3.0, 1.0]))
    loss, context = held(cls_loss="linear", cls_parameters={"k": 10}, image_weights={"three": {}})
    value = loss.classification(torch.tensor(7.0), context, loss.weights(context), 2.0)
    assert value.item() == 2 * 10 * (0 + 1 - 1)
    (gradient,) = torch.autograd.grad(value, context.logits)
    assert gradient.tolist() == [60, 60, 0, 20]
    loss, context = held()
    own = torch.tensor(7.0)
    assert loss.classification(own, context, None, 2.0) is own


def test_l_cls_is_float32_and_has_no_samples_at_times():
    kinds = []

    @classification_loss("seen")
    def seen(context):
        kinds.append(context.logits.dtype)
        return F.softplus(context.logits)

    loss = LocalizationLoss("none", cls_loss="seen")
    context = loss.context(torch.zeros(3, dtype=torch.bfloat16, requires_grad=True))
    value = loss.classification(torch.zeros(()), context, None, 1.0)
    assert value.item() == pytest.approx(3 * 0.693147)
    assert set(kinds) == {torch.float32}
    logits = torch.zeros(0, requires_grad=True)
    value = loss.classification(torch.zeros(()), loss.context(logits), None, 1.0)
    value.backward()
    assert (value.item(), logits.grad.shape) == (0, (0,))


# ---- contexts ----


def test_an_images_context_knows_what_is_usual():
    images = ImagesContext(boxes=[torch.zeros(2, 4), torch.zeros(0, 4)])
    assert (len(images), images.image_ids, images.num_boxes) == (2, [None, None], 2)
    assert [each.tolist() for each in images.scores] == [[1, 1], []]
    assert images.teacher is None
    assert (len(ImagesContext()), ImagesContext().num_boxes) == (0, 0)


def test_boxes_of_samples_are_made_when_they_are_read():
    made = []
    boxes = torch.zeros(3, 4)
    context = LossContext(torch.zeros(3), sample_boxes=lambda: made.append(1) or boxes)
    other = context.changed(num_positives=5)
    assert (made, other.num_positives, context.num_positives) == ([], 5, None)
    assert context.sample_boxes is context.sample_boxes is boxes
    assert made == [1]
    assert LossContext(torch.zeros(3), sample_boxes=boxes).sample_boxes is boxes
    assert LossContext(torch.zeros(3)).sample_boxes is None


# ---- what is refused ----

REGISTER = {
    "SAMPLE_WEIGHTS": sample_weights,
    "IMAGE_WEIGHTS": image_weights,
    "CLS_LOSS": classification_loss,
}
WRONG = {  # of the context or images c, with n numbers wanted -> what is said
    "no_tensor": (lambda c, n: [1.0] * n, "got list"),
    "one": (lambda c, n: torch.ones(()), r"got \(\) of torch.float32"),
    "column": (lambda c, n: torch.ones(n, 1), r"got \(\d+, 1\) of torch.float32"),
    "more": (lambda c, n: torch.ones(n + 1), r"got \(\d+,\) of torch.float32"),
}
WRONG_WEIGHTS = {
    "negative": (lambda c, n: torch.full((n,), -0.5), r"numbers >= 0, got -0\.5 \(\d+ such\)"),
    "nan": (lambda c, n: torch.ones(n) / 0 * 0, r"numbers >= 0, got nan"),
    "infinite": (lambda c, n: torch.ones(n) / 0, r"numbers >= 0, got inf"),
}
CASES = [(e, k) for e in REGISTER for k in WRONG]
CASES += [(e, k) for e in ("SAMPLE_WEIGHTS", "IMAGE_WEIGHTS") for k in WRONG_WEIGHTS]
CASES.append(("CLS_LOSS", "no_gradient"))


ARGUMENTS = {
    "SAMPLE_WEIGHTS": "sample_weights",
    "IMAGE_WEIGHTS": "image_weights",
    "CLS_LOSS": "cls_loss",
}


def use(**chosen):
    loss, context = held(**chosen)
    value = loss.classification(torch.zeros(()), context, loss.weights(context), 1.0)
    (term,) = loss.joint({"loss_cls": value}).values()
    assert term.isnan()  # at once, without a look at the numbers
    loss.check_weights()


@pytest.mark.parametrize(("entry", "kind"), CASES)
def test_what_a_function_may_not_return(entry, kind):
    wrong, message = {
        **WRONG,
        **WRONG_WEIGHTS,
        "no_gradient": (lambda c, n: torch.ones(n), "losses with a gradient, made of context.log"),
    }[kind]

    @REGISTER[entry]("wrong")
    def function(context):
        return wrong(context, len(context) if entry == "IMAGE_WEIGHTS" else len(context.logits))

    value = "wrong" if entry == "CLS_LOSS" else {"wrong": {}}
    with pytest.raises(InputError, match=rf"^config entry WEND\.{entry}: .*'wrong'.*{message}"):
        use(**{ARGUMENTS[entry]: value})


def test_a_parameter_out_of_its_range_names_the_entry():
    def refuse(context):
        raise ValueError("q must be in [0, 1], got 2")

    refuse.__module__ = "wend.losses.somewhere"  # an error of ours, not of a user's code
    classification_loss("ranged")(refuse)
    with pytest.raises(InputError, match=r"^config entry WEND\.CLS_LOSS: .*'ranged': q must be"):
        LocalizationLoss("none", cls_loss="ranged")


def test_a_detector_that_obeys_all_is_let_pass():
    sample_weights("all")(lambda context: torch.ones_like(context.logits))
    classification_loss("linear")(lambda context: context.logits)
    loss, context = held(sample_weights={"all": {}}, cls_loss="linear")
    with pytest.raises(InputError, match=r"WEND\.CLS_LOSS: the detector makes no use of linear"):
        loss.joint({})
    loss.classification(torch.zeros(()), context, loss.weights(context), 1.0)
    assert loss.joint({}) == {}
    loss.start_batch(ImagesContext(image_ids=["a"]))
    loss.classification(torch.zeros(()), context, None, 1.0)
    with pytest.raises(InputError, match=r"WEND\.SAMPLE_WEIGHTS: the detector makes no use of all"):
        loss.joint({})
