"""Every file of configs/ builds the detector that it names, with the paper's settings."""

import pytest
import torch
from engine_runs import (
    CONFIG_FILES,
    CONFIG_IDS,
    DETECTOR_CONFIGS,
    build,
    detections,
    file_config,
    losses,
    without_memory,
)
from fvcore.common.config import CfgNode

from wend.config import add_wend_config
from wend.errors import InputError

DETECTORS = {"BinaryFCOS", "BinaryRCNN", "CLN", "DeformableDETR", "SCR"}


def test_there_are_configs():
    assert len(DETECTOR_CONFIGS) >= 75
    assert len(DETECTOR_CONFIGS) < len(CONFIG_FILES)


@pytest.mark.parametrize("path", DETECTOR_CONFIGS, ids=CONFIG_IDS)
def test_config_builds_the_detector_that_it_names(engine, path):
    if engine == "torchvision" and "Detectron2 only" in path.read_text().splitlines()[0]:
        with pytest.raises(InputError, match="--engine detectron2"):
            file_config(engine, path, [])
        return
    cfg = file_config(engine, path, ["MODEL.DEVICE", "meta"])
    with without_memory():
        model = build(engine, cfg)
    assert type(model).__name__ == cfg.MODEL.META_ARCHITECTURE
    assert cfg.MODEL.META_ARCHITECTURE in DETECTORS
    assert model.localization_loss.name == cfg.WEND.LOSS
    backbone = list(model.backbone.parameters())
    trained = [p for p in backbone if p.requires_grad]
    if path.name == "photos.yaml":  # the early stages, for minutes on a CPU
        assert 0 < len(trained) < len(backbone)
        return
    if "_dino" in path.name:  # the transformer; a pyramid is trained
        names = [name for name, p in model.backbone.named_parameters() if p.requires_grad]
        assert all(name.startswith("simple_fpn.") for name in names)
        assert bool(names) == ("simple_fpn" in cfg.MODEL.BACKBONE.NAME)
        return
    frozen = "table6" in path.parts  # "whose pre-trained backbone is freezed"
    assert len(trained) == (0 if frozen else len(backbone))


# facts.md, "Best settings": γ, α, τ, η. FCOS and CLN have Faster R-CNN's, DETR on ImageNet CUB's.
BEST = {"CUB": (6, 0.1, 0.3, 0.125), "ImageNet": (4, 0.25, 0.1, 0.03125)}
BEST_DETR = (6, 0.1, 0.9, 1)


@pytest.mark.parametrize(
    "path", [p for p in DETECTOR_CONFIGS if p.parent.name in ("CUB", "ImageNet")], ids=str
)
def test_we_configs_have_the_papers_setting_and_the_others_no_we(path):
    cfg = CfgNode()
    add_wend_config(cfg)
    loss = cfg.WEND
    loss.merge_from_other_cfg(CfgNode(CfgNode.load_yaml_with_base(str(path))["WEND"]))
    data = path.parent.name
    assert loss.EPOCHS == (10 if data == "ImageNet" else 50)
    if "_we" in path.name:
        expected = BEST_DETR if "deformable" in path.name else BEST[data]
        assert loss.LOSS == "weighted_entropy"
        assert (loss.GAMMA, loss.ALPHA, loss.TAU1, loss.ETA) == expected
        assert loss.TAU1 == loss.TAU2
        likeliest = ("positives", "detach" if "deformable" in path.name else "flow")
        reading = ("samples", "flow") if "literal" in path.name else likeliest
        assert (loss.WE.NORMALIZER, loss.WE.WEIGHT_GRADIENT) == reading
        assert (loss.WE.FORM, loss.WE.SAMPLES, loss.UNSUP_FACTOR) == ("entropy", "all", 1)
        pair = {path.name, path.name.replace("_we.yaml", "_we_literal.yaml")}
        in_paper = "Not in the paper" not in path.read_text()
        if "ablation" not in path.parts:  # run.py --reading literal has theirs
            assert all((path.parent / name).is_file() for name in pair) == in_paper
    else:
        assert loss.LOSS == "none"
        assert loss.ETA == 1


def test_a_resnet50_detector_of_a_quick_schedule_runs_a_step_and_a_test(engine):
    (path,) = (p for p in DETECTOR_CONFIGS if p.name == "cub_faster_rcnn_R50_we_quick.yaml")
    model = build(engine, file_config(engine, path, ["MODEL.DEVICE", "cpu"]))
    image = torch.randint(0, 256, (3, 112, 112), dtype=torch.uint8)
    crops = [(image, torch.tensor([[20.0, 30.0, 80.0, 90.0]]))] * 2
    terms = losses(engine, model, crops)
    sum(terms.values()).backward()
    assert all(torch.isfinite(value) for value in terms.values())
    ((boxes, _), _) = detections(engine, model.eval(), crops)
    assert len(boxes) >= 1
