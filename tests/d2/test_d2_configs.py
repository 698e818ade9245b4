import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from engine_runs import CONFIG_FILES, CONFIG_IDS, DETECTOR_CONFIGS

import wend.d2  # noqa: F401  (registers detectors)
from wend.config import add_wend_config, check_config, merge_config

DETECTORS = {"BinaryFCOS", "BinaryRCNN", "CLN", "DeformableDETR", "SCR"}


def _read(path, changes=()):
    cfg = get_cfg()
    add_wend_config(cfg)
    merge_config(cfg, str(path), list(changes), "")
    return cfg


def test_there_are_configs():
    assert len(DETECTOR_CONFIGS) >= 75
    assert len(DETECTOR_CONFIGS) < len(CONFIG_FILES)


@pytest.mark.parametrize("path", DETECTOR_CONFIGS, ids=CONFIG_IDS)
def test_config_builds_the_detector_that_it_names(path):
    cfg = _read(path, ["MODEL.DEVICE", "meta"])
    check_config(cfg)
    with torch.device("meta"):
        model = build_model(cfg)
    assert type(model).__name__ == cfg.MODEL.META_ARCHITECTURE
    assert cfg.MODEL.META_ARCHITECTURE in DETECTORS
    assert model.localization_loss.name == cfg.WEND.LOSS
    backbone = list(model.backbone.parameters())
    trained = [p for p in backbone if p.requires_grad]
    frozen = "table6" in path.parts  # "whose pre-trained backbone is freezed"
    assert len(trained) == (0 if frozen else len(backbone))


# facts.md, "Best settings": γ, α, τ, η. FCOS and CLN have Faster R-CNN's, DETR on ImageNet CUB's.
BEST = {"CUB": (6, 0.1, 0.3, 0.125), "ImageNet": (4, 0.25, 0.1, 0.03125)}
BEST_DETR = (6, 0.1, 0.9, 1)


@pytest.mark.parametrize(
    "path", [p for p in DETECTOR_CONFIGS if p.parent.name in ("CUB", "ImageNet")], ids=str
)
def test_we_configs_have_the_papers_setting_and_the_others_no_we(path):
    loss = _read(path).WEND
    assert loss.EPOCHS == (10 if "ImageNet" in str(path) else 50)
    if "_we" in path.name:
        data = "ImageNet" if "ImageNet" in str(path) else "CUB"
        expected = BEST_DETR if "deformable" in path.name else BEST[data]
        assert loss.LOSS == "weighted_entropy"
        assert (loss.GAMMA, loss.ALPHA, loss.TAU1, loss.ETA) == expected
        assert loss.TAU1 == loss.TAU2
    else:
        assert loss.LOSS == "none"
        assert loss.ETA == 1


def test_a_resnet50_detector_runs_a_step_of_training_and_a_test():
    from detectron2.structures import Boxes, Instances
    from detectron2.utils.events import EventStorage

    path = next(p for p in DETECTOR_CONFIGS if p.name == "cub_faster_rcnn_R50_we_quick.yaml")
    model = build_model(_read(path, ["MODEL.DEVICE", "cpu"]))
    instances = Instances((112, 112), gt_boxes=Boxes(torch.tensor([[20.0, 30.0, 80.0, 90.0]])))
    instances.gt_classes = torch.zeros(1, dtype=torch.int64)
    image = torch.randint(0, 256, (3, 112, 112), dtype=torch.uint8)
    one = {"image": image, "height": 112, "width": 112, "instances": instances}
    with EventStorage():
        losses = model.train()([one, one])
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    with torch.no_grad():
        (output,) = model.eval()([one])
    assert len(output["instances"]) >= 1
