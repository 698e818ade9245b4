"""What each detector tells its L_unsup: samples, labels, images, counts and progress.

The proof is a loss that computes the detector's own L_cls from the context alone.
"""

import pytest
import torch
import torch.nn.functional as F
from engine_runs import CROP, ENGINES, build, config, losses, random_crops, run
from torchvision.ops import sigmoid_focal_loss

from wend.losses import localization_losses, tell_progress, unsupervised_loss

pytestmark = pytest.mark.usefixtures("own_registries")
DETECTORS = ("fcos", "rcnn", "detr", "cln")
CASES = [(engine, name) for engine in ENGINES for name in DETECTORS]
CASES.remove(("torchvision", "cln"))
IDS = ["first", 2, "third"]
COUNTS = (1, 2, 0)  # pseudo boxes of the three images
LAYERS = 2  # of Deformable DETR's decoder in the tiny config


def focal(context):
    terms = sigmoid_focal_loss(
        context.logits, context.labels.float(), alpha=0.25, gamma=2.0, reduction="sum"
    )
    return terms / context.num_positives


def cross_entropy(context):
    return F.binary_cross_entropy_with_logits(context.logits, context.labels.float())


FORMULAS = {
    "fcos": focal,
    "rcnn": cross_entropy,
    "cln": cross_entropy,
    "detr": lambda context: 2.0 * focal(context),  # WEND.DETR.CLASS_WEIGHT
}
OWN_NAMES = ("loss_fcos_cls", "classification", "loss_cls", "loss_classifier")


def model_of(engine, name, **changes):
    changes = {f"WEND.{key}": value for key, value in changes.items()}
    if name == "cln":
        changes["MODEL.ANCHOR_GENERATOR.SIZES"] = "[[32]]"
    return build(engine, config(engine, name, changes))


@pytest.fixture
def contexts():
    """The contexts that the loss "probe" was called with, but for those of trials."""
    seen = []

    @unsupervised_loss("probe")
    def probe(context):
        if len(context.logits):
            seen.append(context)
        return context.logits.sum() * 0

    return seen


@pytest.mark.parametrize(("engine", "name"), CASES)
def test_the_context_is_enough_for_the_detectors_own_classification_loss(engine, name):
    formula = FORMULAS[name]
    unsupervised_loss("own")(lambda context: formula(context) if len(context.logits) else None)
    model = model_of(engine, name, LOSS="own", ETA="1.0")
    for _ in range(2):  # FCOS of Detectron2 divides by a moving average
        terms = losses(engine, model, random_crops(3, COUNTS), IDS)
        if name == "detr":
            pairs = [(f"loss_unsup_{d}", f"loss_cls_{d}") for d in range(LAYERS)]
        else:
            pairs = [("loss_unsup", own) for own in OWN_NAMES if own in terms]
        assert len(pairs) == (LAYERS if name == "detr" else 1)
        for ours, theirs in pairs:
            torch.testing.assert_close(terms[ours], terms[theirs], rtol=1e-5, atol=0)


@pytest.mark.parametrize(("engine", "name"), CASES)
def test_a_loss_that_is_the_detectors_own_pulls_at_the_log_odds_as_strongly(engine, name):
    """L_unsup = L_cls: the ratio of f · L_unsup's gradient to η · L_cls's is f / η."""
    formula = FORMULAS[name]
    unsupervised_loss("own")(lambda context: formula(context) if len(context.logits) else None)
    model = model_of(engine, name, LOSS="own", ETA="0.5", UNSUP_FACTOR="3.0")
    (loss,) = localization_losses(model)
    losses(engine, model, random_crops(3, COUNTS), IDS)
    measured = loss.measured()
    assert measured["unsup_to_cls"] == pytest.approx(6.0, rel=1e-4)
    assert measured["unsup_touched"] == pytest.approx(1.0, abs=0.01)
    tell_progress(model, iteration=1, max_iter=120)  # not every step is measured
    losses(engine, model, random_crops(3, COUNTS), IDS)
    assert loss.measured() == {}


@pytest.mark.parametrize(("engine", "name"), CASES)
def test_measuring_changes_no_gradient(engine, name):
    gradients = []
    for iteration in (0, 1):
        torch.manual_seed(0)
        model = model_of(engine, name, LOSS="weighted_entropy")
        tell_progress(model, iteration, max_iter=120)
        torch.manual_seed(1)  # sampled proposals
        sum(losses(engine, model, random_crops(3, COUNTS), IDS).values()).backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 0
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize(("engine", "name"), CASES)
def test_the_context_tells_images_boxes_and_progress(engine, name, contexts):
    model = model_of(engine, name, LOSS="probe")
    tell_progress(model, iteration=30, max_iter=120)
    losses(engine, model, random_crops(3, COUNTS), IDS)
    assert len(contexts) == (LAYERS if name == "detr" else 1)
    for context in contexts:
        samples = context.logits.shape
        assert len(samples) == 1
        assert context.labels.shape == context.image_index.shape == samples
        assert context.image_ids == IDS
        assert context.image_index.unique_consecutive().tolist() == [0, 1, 2]
        assert set(context.labels.tolist()) == {0, 1}
        assert set(context.labels[context.image_index == 2].tolist()) == {0}  # it has no box
        assert context.num_boxes == sum(COUNTS)
        assert (context.progress.iteration, context.progress.share) == (30, 0.25)
        if (engine, name) != ("detectron2", "fcos"):  # a moving average
            assert context.num_positives == context.labels.sum()


@pytest.mark.parametrize(
    ("engine", "middle"), [("detectron2", slice(2, 5)), ("torchvision", slice(3, 5))]
)
def test_fcos_labels_are_the_locations_around_the_middle_of_the_box(engine, middle, contexts):
    """Of 7x7 locations 8 pixels apart, those less than 1.5 · 8 pixels from the middle at 28:
    Detectron2's at 4, 12, 20, ... are 20, 28, 36; torchvision's at 0, 8, 16, ... are 24, 32.
    """
    whole = torch.tensor([[0.0, 0.0, CROP, CROP]])
    crops = [(image, whole[: index % 2]) for index, (image, _) in enumerate(random_crops(3, (0,)))]
    losses(engine, model_of(engine, "fcos", LOSS="probe"), crops)
    expected = torch.zeros(3, 7, 7, dtype=torch.int64)
    expected[1, middle, middle] = 1
    assert torch.equal(contexts[0].labels.view(3, 7, 7), expected)
    assert contexts[0].num_boxes == 1


def test_detr_labels_are_one_query_a_box_in_each_layer(engine, contexts):
    model = model_of(engine, "detr", LOSS="probe")
    losses(engine, model, random_crops(3, COUNTS))
    for context in contexts:
        assert context.labels.view(3, -1).sum(1).tolist() == list(COUNTS)


@pytest.mark.parametrize(("engine", "name"), CASES)
def test_no_boxes_and_no_trainer_are_a_context_too(engine, name, contexts):
    losses(engine, model_of(engine, name, LOSS="probe"), random_crops(3, (0,)))
    assert contexts[0].image_ids == [None] * 3
    assert contexts[0].labels.sum() == 0
    assert contexts[0].num_boxes == 1  # at least, to divide by
    assert contexts[0].num_positives >= 1
    assert contexts[0].progress.share == 0


def test_a_training_tells_every_iteration(engine, contexts, tmp_path):
    changes = {"WEND.LOSS": "probe", "WEND.EPOCHS": "1"}
    assert run(engine, tmp_path / "out", changes=changes) == 0
    progress = [context.progress for context in contexts]
    assert [p.iteration for p in progress] == list(range(3))  # 24 images in batches of 8
    assert {p.max_iter for p in progress} == {3}
    assert all(len(set(context.image_ids) - {None}) == 8 for context in contexts)
