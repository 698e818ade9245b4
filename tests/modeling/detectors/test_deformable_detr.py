"""Deformable DETR on both engines; its parts: tests/modeling/test_deformable_*.py and others."""

import math

import pytest
import torch
from engine_runs import (
    CONFIGS,
    CROP,
    assert_refused,
    build,
    config,
    detections,
    file_config,
    losses,
    random_crops,
    without_memory,
)
from reference import weighted_entropy_mean
from torchvision.ops import box_convert

from wend.modeling.optimizer import lr_factor

LAYERS, QUERIES = 2, 6  # of engine_runs.TINY
SUPERVISED = {f"loss_{term}_{d}" for term in ("cls", "l1", "giou") for d in range(LAYERS)}
UNSUPERVISED = {f"loss_unsup_{d}" for d in range(LAYERS)}
WE = {"gamma": 6.0, "alpha": 0.1, "tau1": 0.3, "tau2": 0.3}


def _build(engine, changes=None, spread=True):
    taus = {"WEND.TAU1": "0.3", "WEND.TAU2": "0.3"}
    model = build(engine, config(engine, "detr", {**taus, **(changes or {})}))
    if spread:  # the classifier starts at p = 0.01, far from the thresholds
        torch.nn.init.normal_(model.head.class_embed.weight, std=0.3)
        torch.nn.init.zeros_(model.head.class_embed.bias)
    return model


def _crops(boxes_each=(1, 2, 0)):
    return random_crops(3, boxes_each)


def _values(terms):
    return {name: value.item() for name, value in terms.items()}


def _seen(model):
    """Log-odds and boxes of the coming forward passes."""
    seen = []
    model.head.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs))
    return seen


@pytest.mark.parametrize(("queries", "trainable"), [(10, 16_443_143), (30, 16_453_383)])
def test_frozen_resnet50_leaves_as_many_parameters_to_train_as_the_paper(
    engine, queries, trainable
):
    """Facts: 16.443 M at 10 queries; table 6 has 16.45 M, so about 30 (a query has 512)."""
    path = CONFIGS / "ablation" / "table6" / "CUB" / "deformable_detr_R50_we.yaml"
    changes = ["MODEL.DEVICE", "meta", "WEND.DETR.NUM_QUERIES", str(queries)]
    with without_memory():
        model = build(engine, file_config(engine, path, changes))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == trainable
    assert not any(p.requires_grad for p in model.backbone.parameters())


def test_terms_are_those_of_every_layer_and_eta_multiplies_the_supervised(engine):
    ours = _values(losses(engine, _build(engine, {"WEND.ETA": "0.125"}), _crops()))
    unweighted = _values(losses(engine, _build(engine, {"WEND.ETA": "1.0"}), _crops()))
    assert set(ours) == SUPERVISED | UNSUPERVISED
    for name, value in unweighted.items():
        assert value > 0
        assert ours[name] == (value if name in UNSUPERVISED else 0.125 * value)


@pytest.mark.parametrize("name", ["none", "entropy"])
def test_without_we_there_is_no_term_and_plain_entropy_is_the_mean_of_the_queries(engine, name):
    model = _build(engine, {"WEND.LOSS": name})
    seen = _seen(model)
    terms = losses(engine, model, _crops())
    if name == "none":
        assert set(terms) == SUPERVISED
        return
    for d, logits in enumerate(seen[0][0]):
        expected = torch.distributions.Bernoulli(logits=logits.detach().double()).entropy()
        assert terms[f"loss_unsup_{d}"].item() == pytest.approx(expected.mean().item(), rel=1e-5)


def test_loss_unsup_of_a_layer_is_the_weighted_entropy_of_its_queries(engine):
    model = _build(engine)
    seen = _seen(model)
    terms = losses(engine, model, _crops())
    logits = seen[0][0].detach().double()
    assert logits.shape == (LAYERS, 3, QUERIES)
    p = logits.sigmoid()
    assert p.min() < 0.3 <= p.max()
    for d in range(LAYERS):
        expected = weighted_entropy_mean(logits[d].flatten().tolist(), **WE)
        assert terms[f"loss_unsup_{d}"].item() == pytest.approx(expected, rel=1e-4)
    assert terms["loss_unsup_0"] != terms["loss_unsup_1"]


def test_boxes_to_learn_are_fractions_of_the_image(engine):
    """With one query matched by force: the L1 loss by hand, from torchvision's box forms."""
    model = _build(engine, {"WEND.DETR.NUM_QUERIES": "1", "WEND.ETA": "1.0"})
    seen = _seen(model)
    crops = [(image[:, :40, :48], boxes) for image, boxes in _crops(boxes_each=(1,))]
    terms = losses(engine, model, crops)
    wanted = torch.cat([boxes for _, boxes in crops]) / torch.tensor([48, 40, 48, 40])
    distance = (seen[0][1][:, :, 0] - box_convert(wanted, "xyxy", "cxcywh")).abs().sum(-1)
    for d in range(LAYERS):
        expected = 5 * distance[d].sum().item() / 3
        assert terms[f"loss_l1_{d}"].item() == pytest.approx(expected, rel=1e-5)


def test_unsupervised_loss_reaches_the_classifier_and_not_the_box_network(engine):
    model = _build(engine)
    terms = losses(engine, model, _crops())
    sum(terms[name] for name in UNSUPERVISED).backward()
    assert model.head.class_embed.weight.grad.abs().sum() > 0
    assert model.head.bbox_embed[0].weight.grad is None


def test_images_without_boxes_give_finite_losses_and_gradients(engine):
    model = _build(engine, spread=False)
    terms = losses(engine, model, _crops(boxes_each=(0,)))
    sum(terms.values()).backward()
    assert set(terms) == SUPERVISED | UNSUPERVISED
    assert all(math.isfinite(value) for value in _values(terms).values())
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert all(g is not None and g.isfinite().all() for g in gradients.values())
    assert gradients["head.class_embed.weight"].abs().sum() > 0
    assert not gradients["head.bbox_embed.4.weight"].any()


def test_autocast_gives_float32_losses(engine):
    model = _build(engine)
    plain = _values(losses(engine, model, _crops()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = losses(engine, model, _crops())
    assert {value.dtype for value in terms.values()} == {torch.float32}
    assert sum(_values(terms).values()) == pytest.approx(sum(plain.values()), rel=0.1)


def test_detections_are_the_last_layers_boxes_best_first_in_the_crop(engine):
    model = _build(engine).eval()
    seen = _seen(model)
    outputs = detections(engine, model, _crops())
    logits, predicted = seen[0][0][-1], seen[0][1][-1]
    for image, (boxes, scores) in enumerate(outputs):
        assert len(boxes) == QUERIES  # fewer than TEST.DETECTIONS_PER_IMAGE
        assert scores.tolist() == sorted(logits[image].sigmoid().tolist(), reverse=True)
        best = CROP * box_convert(predicted[image, logits[image].argmax()], "cxcywh", "xyxy")
        torch.testing.assert_close(boxes[0], best.clamp(0, CROP))


def test_as_many_boxes_as_asked_for_come_out(engine):
    model = _build(engine, {"TEST.DETECTIONS_PER_IMAGE": "2", "WEND.MAX_BOXES": "2"}).eval()
    assert [len(boxes) for boxes, _ in detections(engine, model, _crops())] == [2, 2, 2]


def test_images_of_different_sizes_are_masked_and_have_their_own_frame(engine):
    """A small image's boxes are nearly those that it has alone, and not read from its padding."""
    model = _build(engine, {"WEND.CROP_IN_MODEL": "False"}).eval()
    torch.nn.init.normal_(model.head.bbox_embed[-1].weight, std=0.1)
    random = torch.Generator().manual_seed(0)
    nothing = torch.empty(0, 4)
    small = torch.randint(0, 256, (3, 40, 48), generator=random, dtype=torch.uint8), nothing
    large = torch.randint(0, 256, (3, CROP, CROP), generator=random, dtype=torch.uint8), nothing
    seen = []
    hook = model.head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    together, _ = detections(engine, model, [small, large])[0]
    alone, _ = detections(engine, model, [small])[0]
    hook.remove()
    assert (together[:, [0, 2]] <= 48).all()
    assert (together[:, [1, 3]] <= 40).all()
    padding = seen[0][1]
    assert padding.shape == (2, CROP, CROP)
    assert not padding[0, :40, :48].any()
    assert padding[0].sum() == CROP * CROP - 40 * 48
    assert not padding[1].any()
    assert seen[1][1] is None
    # not equal: convolutions see the padding at the small image's border
    torch.testing.assert_close(together[0], alone[0], rtol=0, atol=3)
    with torch.no_grad():  # without the mask they differ more
        maps, _ = seen[0]
        masked, unmasked = model.head(*seen[0])[1], model.head(maps)[1]
    assert not torch.allclose(masked[:, 0], unmasked[:, 0], atol=1e-3)
    torch.testing.assert_close(masked[:, 1], unmasked[:, 1], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "WEND.DETR.IN_FEATURES ('stage2', 'res5')",
            "config entry WEND.DETR.IN_FEATURES: expected some of the feature maps of "
            "build_small_cnn_backbone, stage1, stage2, stage3; got ",
        ),
        (
            "WEND.DETR.NUM_FEATURE_LEVELS 1",
            "config entry WEND.DETR.NUM_FEATURE_LEVELS: expected at least the 2 of "
            "WEND.DETR.IN_FEATURES, got 1",
        ),
        (
            "WEND.DETR.NUM_HEADS 7",
            "config entry WEND.DETR.HIDDEN_DIM: expected a multiple of WEND.DETR.NUM_HEADS (7), "
            "got 64",
        ),
        (
            "WEND.DETR.HIDDEN_DIM 48",
            "config entry WEND.DETR.HIDDEN_DIM: expected a multiple of 32, >= 32, got 48",
        ),
        ("WEND.DETR.NUM_QUERIES 0", "config entry WEND.DETR.NUM_QUERIES: expected >= 1, got 0"),
        (
            "WEND.DETR.NUM_FEATURE_LEVELS 5",
            "config entry WEND.CROP: the coarsest level of the transformer has one cell for 64 "
            "pixels, more than the crop's 56; take a larger crop, fewer "
            "WEND.DETR.NUM_FEATURE_LEVELS or finer WEND.DETR.IN_FEATURES",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(engine, override, message, tmp_path, capsys):
    assert_refused(engine, override, message, tmp_path / "run", capsys, detector="detr")


def test_projections_of_sampling_learn_at_the_backbones_rate(engine):
    """See test_engines.py for what the optimizers make of it."""
    factors = {name: lr_factor(name, 10.0) for name, _ in _build(engine).named_parameters()}
    slow = {name for name in factors if "reference_points" in name or "sampling_offsets" in name}
    assert len(slow) == 2 * (1 + 2 * LAYERS)
    assert all((factors[n] == 1) == (n in slow or n.startswith("backbone.")) for n in factors)
