"""One optimizer step of each detector on each backbone, built from a YAML as a user switches them.

By default each detector runs on the small CNN, and each backbone under one cheap detector; the
whole grid is marked slow.
"""

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from engine_runs import CONFIGS
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from wend.d2.features import leaves_parts_unused
from wend.d2.run import read_config
from wend.d2.trainer import Trainer

pytestmark = [pytest.mark.detectron2, pytest.mark.usefixtures("_event_storage")]
SIDE = 64  # pixels of the crop; stride 32 leaves 2 x 2 cells

# Detector: its YAML in configs/CUB and what makes it cheap here
DETECTORS = {
    "fcos": ("fcos_R50_we", {"WEND.FCOS.CONV_DIM": "32"}),
    "fcos_lean": ("fcos_R50_lean_we", {"WEND.FCOS.REDUCE_DIM": "32"}),
    "rcnn": ("faster_rcnn_R50_we", {}),
    "cln": ("cln_R50_we", {"MODEL.ANCHOR_GENERATOR.SIZES": "[[32]]"}),
    "detr": (
        "deformable_detr_R50_we",
        {
            "SOLVER.BASE_LR": "0.0002",  # ten times that for the head, as in the YAML
            "WEND.DETR.HIDDEN_DIM": "32",
            "WEND.DETR.FFN_DIM": "32",
            "WEND.DETR.ENC_LAYERS": "1",
            "WEND.DETR.DEC_LAYERS": "2",
            "WEND.DETR.NUM_FEATURE_LEVELS": "3",  # a fourth would be smaller than 1x1
            "WEND.DETR.DROPOUT": "0.0",
        },
    ),
    "scr": ("scr_R50", {"WEND.SCR.HIDDEN_DIM": "32", "WEND.SCR.LOSS_WEIGHT": "5.0"}),
}
SMALL = {
    "MODEL.DEVICE": "cpu",
    "WEND.RESIZE": str(SIDE),
    "WEND.CROP": str(SIDE),
    "SOLVER.BASE_LR": "0.01",
    "MODEL.ANCHOR_GENERATOR.SIZES": "[[16, 32, 48]]",
    "MODEL.RPN.CONV_DIMS": "[32]",
    # All anchors and proposals are samples, so that a step changes the loss alone and not them
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": "2000",
    "MODEL.RPN.NMS_THRESH": "1.0",
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": "2000",
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": "2000",
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "4000",
    "MODEL.ROI_BOX_HEAD.FC_DIM": "32",
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": "3",
}
# Where a detector's feature maps are chosen
FEATURES = (
    "WEND.FCOS.IN_FEATURES",
    "MODEL.RPN.IN_FEATURES",
    "MODEL.ROI_HEADS.IN_FEATURES",
)
SMALL_CNN = {
    "MODEL.BACKBONE.NAME": "build_small_cnn_backbone",
    "WEND.SMALL_CNN.CHANNELS": "(32, 32, 32)",
    **dict.fromkeys(FEATURES, "('stage3',)"),
    "WEND.SCR.IN_FEATURE": "stage3",
    "WEND.DETR.IN_FEATURES": "('stage2', 'stage3')",
}
TIMM = {"MODEL.BACKBONE.NAME": "build_timm_backbone", "WEND.TIMM.MODEL": "test_resnet"}
# Backbone: what a user changes in the detector's YAML, which is on ResNet50
BACKBONES = {
    "resnet50": {},
    "densenet161": {"MODEL.BACKBONE.NAME": "build_densenet161_backbone"},
    "vgg16": {"MODEL.BACKBONE.NAME": "build_vgg16_backbone"},
    "googlenet": {"MODEL.BACKBONE.NAME": "build_googlenet_backbone"},
    "inception_v3": {"MODEL.BACKBONE.NAME": "build_inception_v3_backbone"},
    "timm": TIMM,
    "small_cnn": SMALL_CNN,
}
LEVELS = dict.fromkeys(FEATURES, "('p4', 'p5', 'p6')") | {
    "MODEL.ANCHOR_GENERATOR.SIZES": "[[16], [32], [48]]",
    "MODEL.RESNETS.OUT_FEATURES": "['res4', 'res5']",
    "MODEL.FPN.IN_FEATURES": "['res4', 'res5']",
    "MODEL.FPN.OUT_CHANNELS": "32",
}
PYRAMIDS = {
    "resnet50": LEVELS | {"MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone"},
    "densenet161": LEVELS | {"MODEL.BACKBONE.NAME": "build_densenet161_fpn_backbone"},
    "timm": LEVELS | TIMM | {"MODEL.BACKBONE.NAME": "build_timm_fpn_backbone"},
    "small_cnn": {
        **LEVELS,
        **SMALL_CNN,
        **dict.fromkeys(FEATURES, "('p2', 'p3', 'p4')"),
        "MODEL.BACKBONE.NAME": "build_small_cnn_fpn_backbone",
        "MODEL.FPN.IN_FEATURES": "['stage2', 'stage3']",
    },
}
QUICK = [(detector, "small_cnn") for detector in DETECTORS] + [
    ("fcos_lean", backbone) for backbone in BACKBONES if backbone != "small_cnn"
]
REST = [(d, b) for d in DETECTORS for b in BACKBONES if (d, b) not in QUICK]


def _batch():
    """Three crops of random pixels with one or two boxes that hold cells of stride 32."""
    generator = torch.Generator().manual_seed(0)
    batch = []
    for boxes in ([[6, 10, 50, 60]], [[14, 2, 62, 40], [4, 30, 36, 62]], [[8, 20, 58, 56]]):
        image = torch.randint(0, 256, (3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
        instances = Instances((SIDE, SIDE), gt_boxes=Boxes(torch.tensor(boxes).float()))
        instances.gt_classes = torch.zeros(len(boxes), dtype=torch.int64)
        batch.append({"image": image, "height": SIDE, "width": SIDE, "instances": instances})
    return batch


def _total(model, batch):
    """The sum of the losses, as a function of the weights alone."""
    model.loss_normalizer = 1.0  # of FCOS: a running mean, with which equal losses would change
    torch.manual_seed(0)
    return sum(model(batch).values())


def _build(detector, backbone):
    if "WEND.TIMM.MODEL" in backbone:
        pytest.importorskip("timm", reason="timm is not installed (extra 'classifier')")
    yaml, small = DETECTORS[detector]
    options = [text for pair in {**SMALL, **small, **backbone}.items() for text in pair]
    cfg = read_config(str(CONFIGS / "CUB" / f"{yaml}.yaml"), options)
    torch.manual_seed(0)
    return cfg, build_model(cfg).train()


def _check_a_step(detector, backbone):
    cfg, model = _build(detector, backbone)
    optimizer = Trainer.build_optimizer(cfg, model)
    batch = _batch()
    before = _total(model, batch)
    before.backward()
    optimizer.step()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    first = next(gradient for name, gradient in gradients.items() if name.startswith("backbone."))
    assert first.abs().sum() > 0
    with torch.no_grad():
        after = _total(model, batch)
    assert after < before


@pytest.mark.parametrize(("detector", "backbone"), QUICK)
def test_a_step_lowers_the_loss(detector, backbone):
    _check_a_step(detector, BACKBONES[backbone])


@pytest.mark.parametrize("detector", ["fcos", "rcnn"])
def test_a_step_on_a_pyramid_lowers_the_loss(detector):
    _check_a_step(detector, PYRAMIDS["small_cnn"])


@pytest.mark.slow
@pytest.mark.parametrize(("detector", "backbone"), REST)
def test_a_step_of_the_rest_of_the_grid_lowers_the_loss(detector, backbone):
    _check_a_step(detector, BACKBONES[backbone])


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [name for name in PYRAMIDS if name != "small_cnn"])
@pytest.mark.parametrize("detector", ["fcos", "rcnn"])
def test_a_step_on_other_pyramids_lowers_the_loss(detector, backbone):
    _check_a_step(detector, PYRAMIDS[backbone])


@pytest.fixture
def _one_process(tmp_path):
    """DistributedDataParallel needs a group; it finds unused parameters in a group of one too."""
    file = f"file://{tmp_path / 'group'}"
    distributed.init_process_group("gloo", init_method=file, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


UNUSED = [
    *((detector, SMALL_CNN, False) for detector in DETECTORS),
    ("fcos", {**SMALL_CNN, "WEND.FCOS.IN_FEATURES": "('stage2',)"}, True),
    ("scr", {**SMALL_CNN, "WEND.SCR.IN_FEATURE": "stage2"}, True),
    ("scr", TIMM, False),
    ("scr", {**TIMM, "WEND.SCR.IN_FEATURE": "res3"}, True),
    ("fcos", {**PYRAMIDS["small_cnn"], "WEND.FCOS.IN_FEATURES": "('p2',)"}, True),
    ("rcnn", PYRAMIDS["small_cnn"], False),
]


@pytest.mark.usefixtures("_one_process")
@pytest.mark.parametrize(("detector", "backbone", "unused"), UNUSED)
def test_several_processes_train_what_some_loss_depends_on(detector, backbone, unused):
    """Otherwise DistributedDataParallel ends the second step; images without boxes included."""
    _, model = _build(detector, backbone)
    assert leaves_parts_unused(model) == unused
    parallel = DistributedDataParallel(model, find_unused_parameters=unused)
    batch = _batch()
    empty = [{**example, "instances": example["instances"][:0]} for example in batch]
    for examples in (batch, empty, batch):
        sum(parallel(examples).values()).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert bool(without) == unused
