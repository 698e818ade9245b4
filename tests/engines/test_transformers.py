"""Every detector on a vision transformer of timm's: one map or a pyramid, frozen or trained."""

import numpy as np
import pytest
import torch
from engine_runs import (
    BUILDABLE,
    ONE_ANCHOR,
    build,
    config,
    detections,
    go_on,
    losses,
    optimizer,
    random_crops,
    run,
    untrained,
)
from PIL import Image

import wend
from wend.errors import InputError
from wend.inference.export import largest_difference
from wend.inference.file_formats import FORMATS
from wend.weight_files import Origin, stated_origin

timm = pytest.importorskip("timm", reason="timm is not installed (extra 'classifier')")
ONE_MAP = {
    "MODEL.BACKBONE.NAME": "build_timm_backbone",
    "WEND.TIMM.MODEL": "test_vit",
    "WEND.FCOS.IN_FEATURES": "('res4',)",
    "WEND.SCR.IN_FEATURE": "res4",
    "WEND.DETR.IN_FEATURES": "('res4',)",
    "WEND.DETR.NUM_FEATURE_LEVELS": "2",
    "MODEL.RPN.IN_FEATURES": "('res4',)",
    "MODEL.ROI_HEADS.IN_FEATURES": "('res4',)",
}
PYRAMID = {
    **ONE_MAP,
    "MODEL.BACKBONE.NAME": "build_timm_simple_fpn_backbone",
    "MODEL.FPN.OUT_CHANNELS": "32",
    "WEND.FCOS.IN_FEATURES": "('p3', 'p4', 'p5')",
    "WEND.SCR.IN_FEATURE": "p4",
    "WEND.DETR.IN_FEATURES": "('p3', 'p4', 'p5')",
    "WEND.DETR.NUM_FEATURE_LEVELS": "3",
    "MODEL.RPN.IN_FEATURES": "('p2', 'p3', 'p4', 'p5')",
    "MODEL.ROI_HEADS.IN_FEATURES": "('p2', 'p3', 'p4', 'p5')",
    "MODEL.ANCHOR_GENERATOR.SIZES": "[[8], [16], [32], [48]]",
}
MAPS = {"one map": ONE_MAP, "pyramid": PYRAMID}
FROZEN = {"frozen": "5", "trained": "0"}
ALL = [
    pytest.param(*pair, maps, frozen, id=f"{'-'.join(pair)}-{maps}-{frozen}")
    for pair in BUILDABLE
    for maps in MAPS
    for frozen in FROZEN
]
ANCHORS = {"one map": ONE_ANCHOR, "pyramid": {"MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": "[[1.0]]"}}


def changes_of(detector, maps, frozen, more=()):
    own = ANCHORS[maps] if detector == "cln" else {}
    return {**MAPS[maps], **own, "MODEL.BACKBONE.FREEZE_AT": FROZEN[frozen], **dict(more)}


def is_of_transformer(name):
    return name.startswith("backbone.") and "simple_fpn" not in name


def unread(detector, maps):
    """Levels of the pyramid that no head reads: p2 is the first."""
    read = {"fcos": "123", "scr": "2", "detr": "123", "rcnn": "0123", "cln": "0123"}[detector]
    return {f"simple_fpn.levels.{i}." for i in "0123" if maps == "pyramid" and i not in read}


@pytest.mark.parametrize(("engine", "detector", "maps", "frozen"), ALL, indirect=["engine"])
def test_a_step_trains_what_is_not_frozen_and_the_detector_predicts(engine, detector, maps, frozen):
    cfg = config(engine, detector, changes_of(detector, maps, frozen))
    model = build(engine, cfg)
    crops = random_crops(3, (1, 2, 0))
    terms = losses(engine, model, crops)
    assert all(torch.isfinite(value) for value in terms.values())
    sum(terms.values()).backward()
    unused = tuple(unread(detector, maps))
    for name, parameter in model.named_parameters():
        trains = not (is_of_transformer(name) and frozen == "frozen")
        assert parameter.requires_grad == trains, name
        if trains and not any(level in name for level in unused):
            assert parameter.grad is not None, name
    if frozen == "trained":
        assert any(
            p.grad.abs().max() > 0 for n, p in model.named_parameters() if is_of_transformer(n)
        )
    with torch.no_grad():
        predicted = detections(engine, model.eval(), crops)
    assert all(torch.isfinite(boxes).all() for boxes, _ in predicted)
    assert sum(len(scores) for _, scores in predicted)


@pytest.mark.parametrize("maps", MAPS)
def test_the_pyramid_learns_at_the_heads_rate(engine, maps):
    cfg = config(engine, "fcos", changes_of("fcos", maps, "trained"))
    model = build(engine, cfg)
    rate = {
        id(parameter): group["lr"]
        for group in optimizer(engine, cfg, model).param_groups
        for parameter in group["params"]
    }
    for name, parameter in model.named_parameters():
        factor = 1 if is_of_transformer(name) else cfg.WEND.HEAD_LR_FACTOR
        assert rate[id(parameter)] == pytest.approx(cfg.SOLVER.BASE_LR * factor), name


def test_layer_norms_have_the_norms_decay(engine):
    changes = {"SOLVER.WEIGHT_DECAY": "0.01", "SOLVER.WEIGHT_DECAY_NORM": "0.5"}
    cfg = config(engine, "fcos", changes_of("fcos", "pyramid", "trained", changes.items()))
    model = build(engine, cfg)
    decay = {
        id(parameter): group["weight_decay"]
        for group in optimizer(engine, cfg, model).param_groups
        for parameter in group["params"]
    }
    norms = {
        id(p)
        for module in model.modules()
        if isinstance(module, torch.nn.LayerNorm | torch.nn.GroupNorm)
        for p in module.parameters()
    }
    for name, parameter in model.named_parameters():
        assert decay[id(parameter)] == (0.5 if id(parameter) in norms else 0.01), name


@pytest.mark.parametrize("maps", MAPS)
def test_a_frozen_transformer_keeps_nothing_for_a_backward_pass(engine, maps):
    """No tensor of its forward pass is saved: the first saved one is made of its last map."""
    cfg = config(engine, "fcos", changes_of("fcos", maps, "frozen"))
    model = build(engine, cfg)
    backbone = model.backbone
    body = getattr(backbone, "bottom_up", backbone).body
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        (feature,) = body(torch.randn(1, 3, 64, 64)).values()
    assert not saved
    assert not feature.requires_grad


def test_parts_that_no_loss_uses_are_known(engine):
    if engine == "detectron2":
        from wend.d2.features import leaves_parts_unused
    else:
        from wend.tv.models import leaves_parts_unused
    for maps, detector, expected in (
        ("one map", "fcos", False),
        ("one map", "rcnn", False),
        ("pyramid", "rcnn", False),
        ("pyramid", "fcos", True),  # p2
    ):
        model = build(engine, config(engine, detector, changes_of(detector, maps, "trained")))
        assert leaves_parts_unused(model) is expected, (maps, detector)


@pytest.mark.parametrize("maps", MAPS)
def test_it_computes_in_bfloat16_and_averages(engine, maps, tmp_path):
    changes = {"WEND.PRECISION": "bfloat16", "WEND.EMA.DECAY": "0.9", "WEND.EPOCHS": "1"}
    changes = changes_of("fcos", maps, "frozen", changes.items())
    assert run(engine, tmp_path / "run", changes=changes) == 0


@pytest.mark.parametrize(
    ("detector", "entry"),
    [
        ("fcos", "WEND.FCOS.IN_FEATURES"),
        ("rcnn", "MODEL.RPN.IN_FEATURES"),
        ("detr", "WEND.DETR.IN_FEATURES"),
        ("scr", "WEND.SCR.IN_FEATURE"),
    ],
)
def test_the_map_of_convolutional_networks_is_refused_with_what_there_is(engine, detector, entry):
    value = "res5" if entry.endswith("FEATURE") else "('res5',)"
    changes = {**ONE_MAP, entry: value}
    if detector == "rcnn":
        changes["MODEL.ROI_HEADS.IN_FEATURES"] = value
    with pytest.raises(InputError) as error:
        build(engine, config(engine, detector, changes))
    message = str(error.value)
    assert "res4" in message
    assert "build_timm_simple_fpn_backbone" in message


@pytest.mark.parametrize("maps", MAPS)
def test_a_resumed_training_is_the_uninterrupted_one(engine, maps, tmp_path):
    changes = changes_of("fcos", maps, "frozen")
    assert run(engine, tmp_path / "whole", changes=changes) == 0
    half = tmp_path / "whole" / "model_0000002.pth"
    assert go_on(engine, half, tmp_path / "resumed", changes=changes) == 0
    resumed, whole = (
        torch.load(tmp_path / name / "model_final.pth", weights_only=True)["model"]
        for name in ("resumed", "whole")
    )
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("file_format", "stride"),
    [
        ("torchscript", "8"),
        pytest.param("torch.export", "8", marks=SLOW),
        pytest.param("onnx", "0", marks=SLOW),
        pytest.param("onnx", "8", marks=SLOW),
    ],
)
def test_an_exported_file_has_its_boxes(file_format, stride, tmp_path):
    """Stride 8 resizes the image before it is cut into patches, and resamples the positions."""
    if file_format == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    if file_format == "torch.export":
        pytest.importorskip("torch.export.pt2_archive")
    changes = {**PYRAMID, "WEND.TIMM.STRIDE": stride}
    cfg, model = untrained("torchvision", "fcos", changes)
    checkpoint = tmp_path / "model_final.pth"
    origin = stated_origin(Origin(cfg.dump(), "torchvision", "apply"))
    torch.save({"model": model.state_dict(), **origin}, checkpoint)
    path = tmp_path / f"detector{FORMATS[file_format].ending}"
    wend.export(checkpoint, file_format, path)
    generator = np.random.default_rng(3)
    images = [
        Image.fromarray(generator.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize((80 + i, 60))
        for i in range(3)
    ]
    boxes, scores = largest_difference(wend.load(path), wend.load(checkpoint), images)
    assert boxes < 1e-2
    assert scores < 1e-4
