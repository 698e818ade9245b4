import math

import engine_runs
import pytest
import torch
from engine_runs import CONFIGS, CROP, assert_refused, d2_batch, d2_config
from reference import weighted_entropy_mean

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from detectron2.structures import pairwise_iou
from torchvision.ops import box_convert

import wend.d2  # noqa: F401  (registers DeformableDETR)
from wend.config import add_wend_config, merge_config
from wend.d2.mapper import WSOLDatasetMapper
from wend.modeling.optimizer import lr_factor

LAYERS, QUERIES = 2, 6
SMALL = {
    "MODEL.META_ARCHITECTURE": "DeformableDETR",
    "WEND.DETR.IN_FEATURES": "('stage2', 'stage3')",
    "WEND.DETR.NUM_FEATURE_LEVELS": "3",
    "WEND.DETR.NUM_QUERIES": str(QUERIES),
    "WEND.DETR.HIDDEN_DIM": "64",
    "WEND.DETR.ENC_LAYERS": str(LAYERS),
    "WEND.DETR.DEC_LAYERS": str(LAYERS),
    "WEND.DETR.FFN_DIM": "128",
    "WEND.DETR.DROPOUT": "0.0",
}
SUPERVISED = {f"loss_{term}_{d}" for term in ("cls", "l1", "giou") for d in range(LAYERS)}
UNSUPERVISED = {f"loss_unsup_{d}" for d in range(LAYERS)}
WE = {"gamma": 6.0, "alpha": 0.1, "tau1": 0.3, "tau2": 0.3}  # configs/CUB/fcos_R50_we.yaml


def _build(changes=None, spread=True):
    torch.manual_seed(0)
    model = build_model(d2_config("fcos", {**SMALL, **(changes or {})}))
    if spread:  # the classifier starts at p = 0.01; see test_d2_fcos.py
        torch.nn.init.normal_(model.head.class_embed.weight, std=0.3)
        torch.nn.init.zeros_(model.head.class_embed.bias)
    return model.train()


def _batch(boxes_each=(1, 2, 0)):
    return d2_batch(boxes_each)


def _values(losses):
    return {name: value.item() for name, value in losses.items()}


def _seen(model):
    """Log-odds and boxes of the coming forward passes."""
    seen = []
    model.head.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs))
    return seen


@pytest.mark.parametrize(("queries", "trainable"), [(10, 16_443_143), (30, 16_453_383)])
def test_frozen_resnet50_leaves_as_many_parameters_to_train_as_the_paper(queries, trainable):
    """Facts: 16.443 M at 10 queries; table 6 has 16.45 M, so about 30 (a query has 512)."""
    cfg = get_cfg()
    add_wend_config(cfg)
    changes = {
        "MODEL.DEVICE": "meta",
        "MODEL.META_ARCHITECTURE": "DeformableDETR",
        "MODEL.RESNETS.OUT_FEATURES": "['res3', 'res4', 'res5']",
        "MODEL.BACKBONE.FREEZE_AT": "5",
        "WEND.DETR.NUM_QUERIES": str(queries),
    }
    options = [text for pair in changes.items() for text in pair]
    merge_config(cfg, str(CONFIGS / "CUB" / "fcos_R50.yaml"), options, "")
    with torch.device("meta"):
        model = build_model(cfg)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == trainable
    assert not any(p.requires_grad for p in model.backbone.parameters())


def test_terms_are_those_of_every_layer_and_eta_multiplies_the_supervised():
    ours = _values(_build({"WEND.ETA": "0.125"})(_batch()))
    unweighted = _values(_build({"WEND.ETA": "1.0"})(_batch()))
    assert set(ours) == SUPERVISED | UNSUPERVISED
    for name, value in unweighted.items():
        assert value > 0
        assert ours[name] == (value if name in UNSUPERVISED else 0.125 * value)


@pytest.mark.parametrize("name", ["none", "entropy"])
def test_without_we_there_is_no_term_and_plain_entropy_is_the_mean_of_the_queries(name):
    model = _build({"WEND.LOSS": name})
    seen = _seen(model)
    losses = model(_batch())
    if name == "none":
        assert set(losses) == SUPERVISED
        return
    for d, logits in enumerate(seen[0][0]):
        expected = torch.distributions.Bernoulli(logits=logits.detach().double()).entropy()
        assert losses[f"loss_unsup_{d}"].item() == pytest.approx(expected.mean().item(), rel=1e-5)


def test_loss_unsup_of_a_layer_is_the_weighted_entropy_of_its_queries():
    model = _build()
    seen = _seen(model)
    losses = model(_batch())
    logits = seen[0][0].detach().double()
    assert logits.shape == (LAYERS, 3, QUERIES)
    p = logits.sigmoid()
    assert p.min() < 0.3 <= p.max()
    for d in range(LAYERS):
        expected = weighted_entropy_mean(logits[d].flatten().tolist(), **WE)
        assert losses[f"loss_unsup_{d}"].item() == pytest.approx(expected, rel=1e-4)
    assert losses["loss_unsup_0"] != losses["loss_unsup_1"]


def test_boxes_to_learn_are_fractions_of_the_image():
    """With one query matched by force: the L1 loss by hand, from torchvision's box forms."""
    model = _build({"WEND.DETR.NUM_QUERIES": "1", "WEND.ETA": "1.0"})
    seen = _seen(model)
    batch = _batch(boxes_each=(1,))
    losses = model(batch)
    wanted = torch.cat([one["instances"].gt_boxes.tensor for one in batch]) / CROP
    distance = (seen[0][1][:, :, 0] - box_convert(wanted, "xyxy", "cxcywh")).abs().sum(-1)
    for d in range(LAYERS):
        expected = 5 * distance[d].sum().item() / 3
        assert losses[f"loss_l1_{d}"].item() == pytest.approx(expected, rel=1e-5)


def test_unsupervised_loss_reaches_the_classifier_and_not_the_box_network():
    model = _build()
    losses = model(_batch())
    sum(losses[name] for name in UNSUPERVISED).backward()
    assert model.head.class_embed.weight.grad.abs().sum() > 0
    assert model.head.bbox_embed[0].weight.grad is None


def test_images_without_boxes_give_finite_losses_and_gradients():
    model = _build(spread=False)
    losses = model(_batch(boxes_each=(0,)))
    sum(losses.values()).backward()
    assert set(losses) == SUPERVISED | UNSUPERVISED
    assert all(math.isfinite(value) for value in _values(losses).values())
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert all(g is not None and g.isfinite().all() for g in gradients.values())
    assert gradients["head.class_embed.weight"].abs().sum() > 0
    assert not gradients["head.bbox_embed.4.weight"].any()


def test_autocast_gives_float32_losses():
    model = _build()
    plain = _values(model(_batch()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model(_batch())
    assert {value.dtype for value in losses.values()} == {torch.float32}
    assert sum(_values(losses).values()) == pytest.approx(sum(plain.values()), rel=0.1)


def test_detections_are_the_last_layers_boxes_best_first_in_the_crop():
    model = _build().eval()
    seen = _seen(model)
    with torch.no_grad():
        outputs = model(_batch())
    logits, boxes = seen[0][0][-1], seen[0][1][-1]
    for image, output in enumerate(outputs):
        found = output["instances"]
        assert found.image_size == (CROP, CROP)
        assert len(found) == QUERIES  # fewer than TEST.DETECTIONS_PER_IMAGE
        assert found.scores.tolist() == sorted(logits[image].sigmoid().tolist(), reverse=True)
        best = CROP * box_convert(boxes[image, logits[image].argmax()], "cxcywh", "xyxy")
        torch.testing.assert_close(found.pred_boxes.tensor[0], best.clamp(0, CROP))
        assert not found.pred_classes.any()


def test_as_many_boxes_as_asked_for_come_out():
    model = _build({"TEST.DETECTIONS_PER_IMAGE": "2", "WEND.MAX_BOXES": "2"}).eval()
    with torch.no_grad():
        assert [len(output["instances"]) for output in model(_batch())] == [2, 2, 2]


def test_images_of_different_sizes_are_masked_and_have_their_own_frame():
    """A small image's boxes are nearly those that it has alone, and not read from its padding."""
    model = _build().eval()
    torch.nn.init.normal_(model.head.bbox_embed[-1].weight, std=0.1)
    random = torch.Generator().manual_seed(0)
    small = torch.randint(0, 256, (3, 40, 48), generator=random, dtype=torch.uint8)
    large = torch.randint(0, 256, (3, CROP, CROP), generator=random, dtype=torch.uint8)
    seen = []
    hook = model.head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    with torch.no_grad():
        together = model([{"image": small}, {"image": large}])[0]["instances"]
        alone = model([{"image": small}])[0]["instances"]
    hook.remove()
    assert together.image_size == (40, 48)
    padding = seen[0][1]
    assert padding.shape == (2, CROP, CROP)
    assert not padding[0, :40, :48].any()
    assert padding[0].sum() == CROP * CROP - 40 * 48
    assert not padding[1].any()
    assert seen[1][1] is None
    # not equal: convolutions see the padding at the small image's border
    torch.testing.assert_close(
        together.pred_boxes.tensor[0], alone.pred_boxes.tensor[0], rtol=0, atol=3
    )
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
def test_settings_that_do_not_fit_are_refused(override, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(engine_runs, "TINY", {**engine_runs.TINY, **SMALL})
    assert_refused("detectron2", override, message, tmp_path / "run", capsys)


def test_projections_of_sampling_learn_at_the_backbones_rate():
    factors = {name: lr_factor(name, 10.0) for name, _ in _build().named_parameters()}
    slow = {name for name in factors if "reference_points" in name or "sampling_offsets" in name}
    assert len(slow) == 2 * (1 + 2 * LAYERS)
    assert all((factors[n] == 1) == (n in slow or n.startswith("backbone.")) for n in factors)


def test_it_overfits_eight_toy_images():
    """GT-known 100 %: the best box of each image has IoU > 0.5 with a box of the truth."""
    cfg = d2_config("fcos", {**SMALL, "DATASETS.TRAIN": "('toy_test',)"})
    torch.manual_seed(0)
    mapper = WSOLDatasetMapper(cfg, is_train=True)
    batch = [mapper(one) for one in DatasetCatalog.get("toy_test")[:8]]
    model = _build({"WEND.ETA": "1.0"}, spread=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    totals = []
    for _ in range(70):
        loss = sum(model(batch).values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)  # as the official code
        optimizer.step()
        totals.append(loss.item())
    assert totals[1] < totals[0]
    with torch.no_grad():
        outputs = model.eval()(batch)
    for one, output in zip(batch, outputs, strict=True):
        iou = pairwise_iou(output["instances"].pred_boxes[:1], one["instances"].gt_boxes)
        assert iou.max() > 0.5
