"""What the tests of CLN share: a small one, its losses, and geometry in plain Python."""

import math

import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from engine_runs import CONFIGS, d2_batch, options

import wend.d2  # noqa: F401  (registers CLN)
from wend.config import add_wend_config, merge_config

SUPERVISED = {"loss_cls", "loss_box_reg", "loss_iou", "loss_rpn_ctr", "loss_rpn_loc"}
ANCHOR, STRIDE, CELLS = 24, 8, 7  # the small CNN's stage3 on 56 pixels


def config(changes=None, file="cln_R50_we_literal.yaml"):
    cfg = get_cfg()
    add_wend_config(cfg)
    changes = {"MODEL.ANCHOR_GENERATOR.SIZES": f"[[{ANCHOR}]]", **(changes or {})}
    merge_config(cfg, str(CONFIGS / "CUB" / file), options(changes), "")
    return cfg


def build(changes=None):
    torch.manual_seed(0)
    model = build_model(config(changes))
    predictor = model.roi_heads.box_predictor
    torch.nn.init.normal_(predictor.cls_score.weight, std=1.0)  # spread p, see test_d2_fcos.py
    torch.nn.init.normal_(predictor.iou_score.weight, std=1.0)
    torch.nn.init.normal_(model.proposal_generator.rpn_head.objectness_logits.weight, std=1.0)
    return model.train()


def batch_of(boxes_each=(1, 2, 0)):
    return d2_batch(boxes_each)


def losses_of(model, batch=None):
    torch.manual_seed(3)  # proposals are sampled
    return model(batch_of() if batch is None else batch)


def values(losses):
    return {name: value.item() for name, value in losses.items()}


def watch(owner, name):
    """The list that gets (arguments, result) of each call of a method."""
    seen, method = [], getattr(owner, name)

    def watched(*arguments):
        result = method(*arguments)
        seen.append((arguments, result))
        return result

    setattr(owner, name, watched)
    return seen


def watch_proposals(model):
    """The list that gets, for each batch, the log-odds of each image's proposals."""
    seen = []
    method = model.roi_heads.predicted

    def watched(features, proposals):
        rows = zip(proposals.logits, proposals.is_proposal, strict=True)
        seen.append([logits[mask].tolist() for logits, mask in rows])
        return method(features, proposals)

    model.roi_heads.predicted = watched
    return seen


def iou(a, b):
    """In plain Python."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def sigmoid(z):
    return 1 / (1 + math.exp(-z))
