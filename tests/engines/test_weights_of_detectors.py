"""Weights of images and samples, and another L_cls, in the supervised losses of each detector.

Expected gradients come from the detector's own losses alone: of single images, and of formulas of
log-odds and labels.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from engine_runs import (
    ENGINES,
    ONE_ANCHOR,
    assert_refused,
    build,
    config,
    losses,
    random_crops,
    run,
)
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from wend.errors import InputError
from wend.losses import (
    ImagesContext,
    classification_loss,
    image_weights,
    localization_losses,
    sample_weights,
    unsupervised_loss,
)

pytestmark = pytest.mark.usefixtures("own_registries")
CLASSIFY = [(e, d) for e in ENGINES for d in ("fcos", "rcnn", "detr", "cln")]
CLASSIFY.remove(("torchvision", "cln"))
ALL = [*CLASSIFY, *((engine, "scr") for engine in ENGINES)]
QUICK = {("torchvision", "fcos"), ("detectron2", "cln")}
slow = pytest.mark.slow


def each(pairs):
    """Parametrizes engine and name; but for two detectors, which every run tries, it is slow."""
    cases = [pytest.param(*pair, marks=() if pair in QUICK else slow) for pair in pairs]
    return pytest.mark.parametrize(("engine", "name"), cases)


COUNTS = (1, 2, 0)  # pseudo boxes of the three images
ALL_SAMPLED = {  # proposals and anchors: so that an image's samples do not depend on chance
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": "2000",
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "2000",
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": "40",
}
CLS_TERMS = ("loss_fcos_cls", "classification", "loss_cls", "loss_classifier")


def model_of(engine, name, others=(), **changes):
    """A detector with drawn heads, whose images do not know each other.

    Args:
        others: entries outside of ``WEND``.
        changes: entries of ``WEND``.
    """
    chosen = {**dict(others), **{f"WEND.{key}": value for key, value in changes.items()}}
    chosen = {"WEND.ETA": "1.0", **ALL_SAMPLED, **(ONE_ANCHOR if name == "cln" else {}), **chosen}
    model = build(engine, config(engine, name, chosen))
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    return model


def terms_of(engine, model, crops):
    vars(model).pop("loss_normalizer", None)  # the moving average of Detectron2's FCOS
    torch.manual_seed(3)
    return losses(engine, model, crops)


def supervised(terms):
    return {name: term for name, term in terms.items() if not name.startswith("loss_unsup")}


def gradients(term, model):
    parameters = [p for p in model.parameters() if p.requires_grad]
    grads = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads, strict=True)]


def assert_equal(ours, expected, tolerance=2e-5):
    """Of all parameters, beside the largest gradient: what is 0 but for rounding is so in both."""
    assert len(ours) == len(expected) > 0
    largest = max(float(each.abs().max()) for each in expected)
    assert largest > 1e-7
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * largest)


def weigh_by(*weights):
    """Registers an image weight "given"."""
    image_weights("given")(lambda images: torch.tensor(weights[: len(images)]))


# ---- weights of images ----


class Normalizers:
    """What a detector divided each of its last terms by, as it says itself."""

    def __init__(self, engine, name, model):
        self.engine, self.name, self.model = engine, name, model
        self.contexts, self.sampled = [], []
        if (engine, name) == ("torchvision", "rcnn"):
            model.rpn.register_forward_hook(lambda rpn, *_: self.sampled.append(int(rpn.drawn)))

    def see(self, context):
        self.contexts.append(context)

    def __call__(self, term, crops):
        if self.name == "scr":
            return max(sum(len(boxes) > 0 for _, boxes in crops), 1)
        if term in ("loss_objectness", "loss_rpn_box_reg"):
            return self.sampled[-1]
        if "rpn" in term:
            return len(crops)
        context = self.contexts[-1]
        if self.name in ("rcnn", "cln"):
            return len(context.logits)
        return float(context.num_positives)


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param((2.0, 1.0, 1.0), id="doubled", marks=slow),
        pytest.param((1.0, 0.0, 1.0), id="left-out", marks=slow),
        pytest.param((0.5, 3.0, 0.0), id="each-its-own"),
    ],
)
@each(ALL)
def test_a_weight_multiplies_the_terms_of_its_image(engine, name, weights):
    """The gradient is the sum of single images', each at the batch's own normalizer."""
    weigh_by(*weights)
    changes = {"LOSS": "none" if name == "scr" else "seen"}
    seen = []
    unsupervised_loss("seen")(lambda context: seen[-1](context) if seen else None)
    model = model_of(engine, name, **changes)
    normalizers = Normalizers(engine, name, model)
    seen.append(normalizers.see)
    crops = random_crops(3, COUNTS)
    whole = {term: normalizers(term, crops) for term in terms_of(engine, model, crops)}
    expected = [torch.zeros_like(p) for p in model.parameters() if p.requires_grad]
    for crop, weight in zip(crops, weights, strict=True):
        for term, value in terms_of(engine, model, [crop]).items():
            factor = weight * normalizers(term, [crop]) / whole[term]
            for total, each in zip(expected, gradients(value, model), strict=True):
                total += factor * each
    weighed = model_of(engine, name, **{**changes, "IMAGE_WEIGHTS": "('given',)"})
    ours = gradients(sum(terms_of(engine, weighed, crops).values()), weighed)
    assert_equal(ours, expected)


@each(ALL)
def test_weights_change_no_value_and_not_l_unsup(engine, name):
    weigh_by(2.0, 0.0, 5.0)
    sample_weights("some")(lambda context: torch.arange(len(context.logits)) % 3)
    changes = {"LOSS": "none" if name == "scr" else "entropy"}
    chosen = {"IMAGE_WEIGHTS": "('given',)"}
    if name != "scr":
        chosen["SAMPLE_WEIGHTS"] = "('some',)"
    plain, weighed = model_of(engine, name, **changes), model_of(engine, name, **changes, **chosen)
    crops = random_crops(3, COUNTS)
    theirs, ours = terms_of(engine, plain, crops), terms_of(engine, weighed, crops)
    assert {k: v.item() for k, v in ours.items()} == {k: v.item() for k, v in theirs.items()}
    for term in theirs:
        if term.startswith("loss_unsup"):
            assert_equal(gradients(ours[term], weighed), gradients(theirs[term], plain), 1e-7)


# ---- weights of samples, and L_cls ----


def focal(context):
    """Of each sample; α 0.25, γ 2, torchvision's."""
    return sigmoid_focal_loss(context.logits, context.labels.to(context.logits), 0.25, 2.0)


def cross_entropy(context):
    labels = context.labels.to(context.logits)
    return F.binary_cross_entropy_with_logits(context.logits, labels, reduction="none")


# each detector's own loss of a sample, its weight, and what it is divided by
OWN = {
    "fcos": (focal, 1.0, lambda context: context.num_positives),
    "detr": (focal, 2.0, lambda context: context.num_positives),
    "rcnn": (cross_entropy, 1.0, lambda context: len(context.logits)),
    "cln": (cross_entropy, 1.0, lambda context: len(context.logits)),
}


def cls_terms(terms):
    return [v for k, v in terms.items() if k in CLS_TERMS or k.startswith("loss_cls_")]


def box_terms(terms):
    """L_reg of the classified samples: not the RPN's."""
    first_stage = (*CLS_TERMS, "loss_objectness", "loss_rpn_box_reg")
    kept = {k: v for k, v in supervised(terms).items() if k not in first_stage and "rpn" not in k}
    return [v for k, v in kept.items() if not k.startswith("loss_cls_")]


@pytest.fixture
def contexts():
    """The contexts that the loss "seen" was called with."""
    seen = []
    unsupervised_loss("seen")(lambda context: seen.append(context) if len(context.logits) else None)
    return seen


def hand_made(name, contexts, weigh):
    own, weight, normalizer = OWN[name]
    return sum((weight * weigh(c) * own(c)).sum() / normalizer(c) for c in contexts)


@pytest.mark.parametrize("kept", [pytest.param(1, marks=slow), 0])
@each(CLASSIFY)
def test_weights_of_foreground_or_background_alone(engine, name, kept, contexts):
    sample_weights("kept")(lambda context: context.labels == kept)
    weighed = model_of(engine, name, LOSS="seen", SAMPLE_WEIGHTS="('kept',)")
    terms = terms_of(engine, weighed, random_crops(3, COUNTS))
    expected = hand_made(name, contexts, lambda context: (context.labels == kept).float())
    assert_equal(gradients(sum(cls_terms(terms)), weighed), gradients(expected, weighed))
    boxes = gradients(sum(box_terms(terms)), weighed)
    if kept == 0:  # boxes are learnt from the foreground alone
        assert all(not each.any() for each in boxes)
        return
    plain = model_of(engine, name, LOSS="none")
    theirs = box_terms(terms_of(engine, plain, random_crops(3, COUNTS)))
    assert_equal(boxes, gradients(sum(theirs), plain), 1e-6)


@each(CLASSIFY)
def test_weights_are_multiplied(engine, name, contexts):
    weigh_by(2.0, 0.5, 1.0)
    of_sample = lambda context: 1.0 + context.labels + context.image_index  # noqa: E731
    sample_weights("one")(of_sample)
    sample_weights("three")(lambda context: torch.full_like(context.logits, 3.0))
    weighed = model_of(
        engine, name, LOSS="seen", IMAGE_WEIGHTS="('given',)", SAMPLE_WEIGHTS="('one', 'three')"
    )
    terms = terms_of(engine, weighed, random_crops(3, COUNTS))
    of_image = torch.tensor([2.0, 0.5, 1.0])
    expected = hand_made(name, contexts, lambda c: 3 * of_sample(c) * of_image[c.image_index])
    assert_equal(gradients(sum(cls_terms(terms)), weighed), gradients(expected, weighed))


@each([case for case in CLASSIFY if "detr" not in case])
def test_the_rpn_has_no_weights_of_samples(engine, name):
    sample_weights("nothing")(lambda context: torch.zeros_like(context.logits))
    chosen = {"SAMPLE_WEIGHTS": "('nothing',)", "LOSS": "none"}
    weighed, plain = model_of(engine, name, **chosen), model_of(engine, name, LOSS="none")
    crops = random_crops(3, COUNTS)
    ours = gradients(sum(terms_of(engine, weighed, crops).values()), weighed)
    if name == "fcos":
        assert all(not each.any() for each in ours)
        return
    theirs = terms_of(engine, plain, crops)
    rpn = [v for k, v in theirs.items() if "rpn" in k or k == "loss_objectness"]
    assert len(rpn) == 2
    assert_equal(ours, gradients(sum(rpn), plain), 1e-6)


@pytest.mark.parametrize("counts", [COUNTS, pytest.param((0,), marks=slow)], ids=["boxes", "none"])
@each(CLASSIFY)
def test_a_copy_of_the_detectors_own_loss_is_its_own(engine, name, counts):
    classification_loss("copied")(OWN[name][0])
    copied = model_of(engine, name, LOSS="entropy", CLS_LOSS="copied")
    plain = model_of(engine, name, LOSS="entropy")
    crops = random_crops(3, counts)
    for _ in range(2):  # FCOS of Detectron2 divides by a moving average
        ours, theirs = losses_twice(engine, copied, plain, crops)
        assert list(ours) == list(theirs)
        for term in theirs:
            torch.testing.assert_close(ours[term], theirs[term], rtol=1e-6, atol=1e-8)
        pair = gradients(sum(ours.values()), copied), gradients(sum(theirs.values()), plain)
        assert_equal(*pair, tolerance=1e-5)


@pytest.mark.detectron2
def test_log_odds_of_a_classifier_that_is_one_sigmoid():
    classification_loss("copied")(cross_entropy)
    sigmoid = {"MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": "True"}
    copied = model_of("detectron2", "rcnn", sigmoid, LOSS="none", CLS_LOSS="copied")
    plain = model_of("detectron2", "rcnn", sigmoid, LOSS="none")
    ours, theirs = losses_twice("detectron2", copied, plain, random_crops(3, COUNTS))
    torch.testing.assert_close(ours["loss_cls"], theirs["loss_cls"], rtol=1e-6, atol=0)
    assert_equal(gradients(ours["loss_cls"], copied), gradients(theirs["loss_cls"], plain), 1e-5)


def losses_twice(engine, *models_and_crops):
    *models, crops = models_and_crops
    terms = []
    for model in models:
        torch.manual_seed(3)
        terms.append(losses(engine, model, crops))
    return terms


@each(CLASSIFY)
def test_the_force_is_beside_the_weighted_chosen_l_cls(engine, name):
    """L_unsup is the own loss, L_cls three times it, and half of that by weights."""
    own, weight, normalizer = OWN[name]
    classification_loss("thrice")(lambda context: 3 * own(context))
    image_weights("half")(lambda images: torch.full((len(images),), 0.5))

    @unsupervised_loss("as_own")
    def as_own(context):
        count = normalizer(context) if len(context.logits) else 1
        return (weight * own(context)).sum() / count

    chosen = {"LOSS": "as_own", "CLS_LOSS": "thrice", "IMAGE_WEIGHTS": "('half',)", "ETA": "0.5"}
    model = model_of(engine, name, **chosen)
    terms_of(engine, model, random_crops(3, COUNTS))
    (loss,) = localization_losses(model)
    assert loss.measured()["unsup_to_cls"] == pytest.approx(1 / (0.5 * 3 * 0.5), rel=1e-4)


# ---- what they see ----


@each(ALL)
def test_weights_of_images_see_boxes_scores_and_a_teacher(engine, name):
    seen = []
    image_weights("seen")(lambda images: seen.append(images) or torch.ones(len(images)))
    model = model_of(engine, name, LOSS="none", IMAGE_WEIGHTS="('seen',)")
    crops = random_crops(3, COUNTS)
    scores = [torch.tensor([0.25]), torch.tensor([0.5, 0.75]), torch.zeros(0)]
    teacher = [(boxes + 1, score / 2) for (_, boxes), score in zip(crops, scores, strict=True)]
    losses(engine, model, crops, ["a", "b", 3])
    losses(engine, model, crops, ["a", "b", 3], scores=scores, teacher=teacher)
    plain, whole = seen
    for images in seen:
        assert list(images.image_ids) == ["a", "b", 3]
        assert all(map(torch.equal, images.boxes, (boxes for _, boxes in crops)))
    assert plain.teacher is None
    assert [each.tolist() for each in plain.scores] == [[1], [1, 1], []]
    assert [each.tolist() for each in whole.scores] == [[0.25], [0.5, 0.75], []]
    for (boxes, score), (expected, of_box) in zip(whole.teacher, teacher, strict=True):
        assert torch.equal(boxes, expected)
        assert torch.equal(score, of_box)


@each(CLASSIFY)
def test_the_boxes_of_samples(engine, name, contexts):
    """FCOS's and Deformable DETR's are those that it predicts; R-CNN's proposals have the truth."""
    crops = random_crops(3, COUNTS)
    model = model_of(engine, name, LOSS="seen")
    terms_of(engine, model, crops)
    for context in contexts:
        boxes = context.sample_boxes
        assert boxes.shape == (len(context.logits), 4)
        assert not boxes.requires_grad
        assert context.sample_boxes is boxes
        assert (boxes[:, 2:] >= boxes[:, :2]).all()
        assert context.images.num_boxes == 3
    if name in ("rcnn", "cln"):
        (context,) = contexts
        for image, (_, truth) in enumerate(crops):
            proposals = context.sample_boxes[context.image_index == image]
            for box in truth:
                assert (proposals - box).abs().amax(1).min() < 1e-3
        return
    from engine_runs import detections

    if name == "fcos":
        model = model_of(engine, name, LOSS="seen", **{"FCOS.SCORE_THRESH_TEST": "0.0"})
    best = contexts[-1]
    for image, (boxes, _) in enumerate(detections(engine, model.eval(), crops)):
        predicted = best.sample_boxes[best.image_index == image].clamp(0, 56)
        nearest = (boxes[:, None] - predicted).abs().amax(2).min(1).values
        assert nearest.max() < 1e-2


# ---- batches without boxes, half precision, copies, several classes ----


@pytest.mark.parametrize("counts", [COUNTS, pytest.param((0,), marks=slow)], ids=["boxes", "none"])
@each(ALL)
def test_bfloat16_and_no_boxes(engine, name, counts):
    weigh_by(2.0, 0.0, 1.0)
    sample_weights("half")(lambda context: context.logits.detach().sigmoid())
    classification_loss("own_kind")(cross_entropy)
    chosen = {"LOSS": "none", "IMAGE_WEIGHTS": "('given',)"}
    if name != "scr":
        chosen |= {"SAMPLE_WEIGHTS": "('half',)", "CLS_LOSS": "own_kind", "LOSS": "entropy"}
    model = model_of(engine, name, **chosen)
    with torch.autocast("cpu", torch.bfloat16):
        terms = terms_of(engine, model, random_crops(3, counts))
    sum(terms.values()).backward()
    assert all(term.isfinite() and term.dtype == torch.float32 for term in cls_terms(terms))
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads
    assert all(each.isfinite().all() for each in grads)


@each([case for case in CLASSIFY if "rcnn" in case])
def test_a_copied_detector_has_weights_of_its_own(engine, name):
    """An RPN's weights come by a hook, which a copy must not share."""
    factor = [1.0]
    image_weights("given")(lambda images: torch.full((len(images),), factor[0]))
    model = model_of(engine, name, LOSS="none", IMAGE_WEIGHTS="('given',)")
    copied = copy.deepcopy(model)
    crops = random_crops(3, COUNTS)
    plain = gradients(sum(terms_of(engine, model, crops).values()), model)
    factor[0] = 2.0
    doubled = gradients(sum(terms_of(engine, copied, crops).values()), copied)
    assert_equal(doubled, [2 * each for each in plain], 1e-6)


@pytest.mark.detectron2
@pytest.mark.parametrize("name", ["fcos", "rcnn"])
def test_detectors_of_several_classes_have_weights_of_images_alone(name):
    classes = {"fcos": "WEND.FCOS.NUM_CLASSES", "rcnn": "MODEL.ROI_HEADS.NUM_CLASSES"}[name]
    weigh_by(0.0, 0.0, 0.0)
    changes = {classes: "3", "WEND.LOSS": "none", "WEND.IMAGE_WEIGHTS": "('given',)"}
    model = build("detectron2", config("detectron2", name, changes))
    total = sum(terms_of("detectron2", model, random_crops(3, COUNTS)).values())
    assert total > 0
    assert all(not each.any() for each in gradients(total, model))
    sample_weights("all")(lambda context: torch.ones_like(context.logits))
    with pytest.raises(InputError, match=rf"{classes}: WEND\.SAMPLE_WEIGHTS all needs one"):
        build(
            "detectron2", config("detectron2", name, {**changes, "WEND.SAMPLE_WEIGHTS": "('all',)"})
        )


# ---- what does not fit ----


def test_scr_classifies_nothing(engine):
    sample_weights("all")(lambda context: torch.ones_like(context.logits))
    classification_loss("copied")(focal)
    for entry, value in (("CLS_LOSS", "copied"), ("SAMPLE_WEIGHTS", "('all',)")):
        with pytest.raises(InputError, match=rf"WEND\.{entry}: expected .* with SCR"):
            build(engine, config(engine, "scr", {f"WEND.{entry}": value}))


def test_a_detector_that_makes_no_use_of_a_weight_says_so(engine):
    weigh_by(1.0, 1.0, 1.0)
    model = model_of(engine, "scr", LOSS="none", IMAGE_WEIGHTS="('given',)")
    (loss,) = localization_losses(model)
    loss.start_batch(ImagesContext(boxes=[torch.zeros(1, 4)]))
    with pytest.raises(
        InputError, match=r"WEND\.IMAGE_WEIGHTS: the detector makes no use of given"
    ):
        loss.joint({"loss": torch.zeros(())})


@pytest.mark.detectron2
@pytest.mark.parametrize(
    ("entry", "value"),
    [("CLS_LOSS", "given"), ("SAMPLE_WEIGHTS", "('given',)"), ("IMAGE_WEIGHTS", "('given',)")],
)
def test_other_detectors_have_no_weights(entry, value):
    for register in (classification_loss, sample_weights, image_weights):
        register("given")(lambda context: context.logits)
    changes = {"WEND.LOSS": "none", "WEND.ETA": "1.0", f"WEND.{entry}": value}
    heads = {**changes, "MODEL.ROI_HEADS.NAME": "StandardROIHeads"}
    with pytest.raises(InputError, match=rf"ROI_HEADS\.NAME: WEND\.{entry}.* needs BinaryROIHeads"):
        build("detectron2", config("detectron2", "rcnn", heads))
    from wend.config import check_carries_loss

    cfg = config("detectron2", "rcnn", changes)
    with pytest.raises(
        InputError, match=rf"WEND\.{entry}: BinaryRCNN is not one of WEND's .* given"
    ):
        check_carries_loss(cfg, nn.Identity())


REGISTER = {
    "SAMPLE_WEIGHTS": sample_weights,
    "IMAGE_WEIGHTS": image_weights,
    "CLS_LOSS": classification_loss,
}


@pytest.mark.parametrize(
    "entry", [pytest.param(entry, marks=slow if entry == "CLS_LOSS" else ()) for entry in REGISTER]
)
def test_names_of_no_function_and_parameters_of_no_entry(engine, entry, tmp_path, capsys):
    value = "wrong" if entry == "CLS_LOSS" else "('wrong',)"
    message = f"config entry WEND.{entry}: unknown {REGISTER[entry].__self__.kind} 'wrong'"
    assert_refused(engine, f"WEND.{entry} {value}", message, tmp_path / "out", capsys)
    file = tmp_path / "mine.py"
    file.write_text("def needs(context, *, width): ...\n")
    value = f"{file}:needs" if entry == "CLS_LOSS" else f"('{file}:needs',)"
    assert_refused(engine, f"WEND.{entry} {value}", f"WEND.{entry}: ", tmp_path / "out", capsys)


def test_a_name_that_comes_twice(engine, tmp_path, capsys):
    message = "config entry WEND.IMAGE_WEIGHTS: expected distinct names, got"
    assert_refused(engine, "WEND.IMAGE_WEIGHTS ('a','a')", message, tmp_path / "out", capsys)


@slow
@pytest.mark.parametrize("entry", REGISTER)
def test_an_error_of_the_users_own_code_shows_it(engine, entry, tmp_path, capsys):
    file = tmp_path / "mine.py"
    size = "len(c)" if entry == "IMAGE_WEIGHTS" else "len(c.logits)"
    file.write_text(f"def broken(c):\n    return 1 / 0 if {size} else c.logits\n")
    value = f"{file}:broken" if entry == "CLS_LOSS" else f"('{file}:broken',)"
    assert run(engine, tmp_path / "out", changes={f"WEND.{entry}": value}) == 2
    error = capsys.readouterr().err.split("error: ")[-1]
    assert error.startswith(f"config entry WEND.{entry}: ")
    assert "failed; its own traceback" in error
    assert "line 2, in broken" in error
    assert "/wend/" not in error
