"""Detectron2's config entries that the torchvision engine has, with Detectron2's defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fvcore.common.config import CfgNode

from wend.config import add_wend_config, merge_config
from wend.errors import InputError
from wend.run import value_of
from wend.tv.models import find_detector

ONLY_DETECTRON2 = (
    "The torchvision engine has no such entry. If it is one of Detectron2's, run with "
    "--engine detectron2 (README says how to install it)"
)

# What the engine does with every detector; each has further ones in its ``fixed``.
FIXED = {
    "INPUT.FORMAT": "RGB",
    "MODEL.FPN.FUSE_TYPE": "sum",
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR",
}

_DEFAULTS: dict[str, Any] = {
    "VERSION": 2,
    "MODEL": {
        "META_ARCHITECTURE": "GeneralizedRCNN",
        "DEVICE": "cuda",
        "WEIGHTS": "",
        "PIXEL_MEAN": [103.530, 116.280, 123.675],
        "PIXEL_STD": [1.0, 1.0, 1.0],
        "BACKBONE": {"NAME": "build_resnet_backbone", "FREEZE_AT": 2},
        "FPN": {"IN_FEATURES": [], "OUT_CHANNELS": 256, "NORM": "", "FUSE_TYPE": "sum"},
        "RESNETS": {
            "DEPTH": 50,
            "NORM": "FrozenBN",
            "STRIDE_IN_1X1": True,
            "OUT_FEATURES": ["res4"],
        },
        "ANCHOR_GENERATOR": {
            "SIZES": [[32, 64, 128, 256, 512]],
            "ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
        },
        "RPN": {
            "IN_FEATURES": ["res4"],
            "IOU_THRESHOLDS": [0.3, 0.7],
            "BATCH_SIZE_PER_IMAGE": 256,
            "POSITIVE_FRACTION": 0.5,
            "PRE_NMS_TOPK_TRAIN": 12000,
            "PRE_NMS_TOPK_TEST": 6000,
            "POST_NMS_TOPK_TRAIN": 2000,
            "POST_NMS_TOPK_TEST": 1000,
            "NMS_THRESH": 0.7,
            "LOSS_WEIGHT": 1.0,
            "BBOX_REG_LOSS_WEIGHT": 1.0,
        },
        "ROI_HEADS": {
            "NAME": "Res5ROIHeads",
            "NUM_CLASSES": 80,
            "IN_FEATURES": ["res4"],
            "IOU_THRESHOLDS": [0.5],
            "BATCH_SIZE_PER_IMAGE": 512,
            "POSITIVE_FRACTION": 0.25,
            "SCORE_THRESH_TEST": 0.05,
            "NMS_THRESH_TEST": 0.5,
        },
        "ROI_BOX_HEAD": {
            "NAME": "",
            "NUM_FC": 0,
            "FC_DIM": 1024,
            "POOLER_RESOLUTION": 14,
            "POOLER_SAMPLING_RATIO": 0,
            "BBOX_REG_LOSS_WEIGHT": 1.0,
        },
    },
    "INPUT": {"FORMAT": "BGR", "RANDOM_FLIP": "horizontal"},
    "DATASETS": {"TRAIN": (), "TEST": ()},
    "DATALOADER": {"NUM_WORKERS": 4, "FILTER_EMPTY_ANNOTATIONS": True},
    "SOLVER": {
        "IMS_PER_BATCH": 16,
        "BASE_LR": 0.001,
        "BASE_LR_END": 0.0,
        "MAX_ITER": 40000,
        "MOMENTUM": 0.9,
        "NESTEROV": False,
        "WEIGHT_DECAY": 0.0001,
        "WEIGHT_DECAY_NORM": 0.0,
        "LR_SCHEDULER_NAME": "WarmupMultiStepLR",
        "WARMUP_FACTOR": 1.0 / 1000,
        "WARMUP_ITERS": 1000,
        "CHECKPOINT_PERIOD": 5000,
        "AMP": {"ENABLED": False},
    },
    "TEST": {"DETECTIONS_PER_IMAGE": 100, "EVAL_PERIOD": 0, "EXPECTED_RESULTS": []},
    "OUTPUT_DIR": "./output",
    "SEED": -1,
    "CUDNN_BENCHMARK": False,
}


def get_cfg() -> CfgNode:
    """A new config with the defaults of Detectron2 and of WEND."""
    cfg = CfgNode(_DEFAULTS)
    add_wend_config(cfg)
    return cfg


def check_supported(cfg: CfgNode) -> None:
    """Raise InputError, which names Detectron2, for what this engine or the detector cannot do."""
    fixed = {**FIXED, **getattr(find_detector(cfg), "fixed", {})}
    for name, value in fixed.items():
        given = value_of(cfg, name)
        if given != value:
            raise InputError(
                f"config entry {name}: the torchvision engine has only {value!r}, got {given!r}; "
                f"set it so, or run with --engine detectron2"
            )


def read_config(config_file: str, opts: Sequence[str], imports: Sequence[str] = ()) -> CfgNode:
    """The engine's config with a YAML and ``KEY VALUE`` overrides; see :func:`merge_config`."""
    cfg = get_cfg()
    merge_config(cfg, config_file, opts, ONLY_DETECTRON2, imports)
    check_supported(cfg)
    return cfg
