import math

import pytest
import torch
from engine_runs import CONFIGS, CROP, without_memory
from reference import weighted_entropy_mean

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from cln_models import (
    SUPERVISED,
    batch_of,
    build,
    iou,
    losses_of,
    sigmoid,
    values,
    watch,
    watch_proposals,
)
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances

from wend.config import add_wend_config, merge_config
from wend.errors import InputError

pytestmark = [pytest.mark.detectron2, pytest.mark.usefixtures("_event_storage")]
WE = {"gamma": 6.0, "alpha": 0.1, "tau1": 0.3, "tau2": 0.3}  # configs/CUB/cln_R50_we.yaml


# ---- the R-CNN head ----


def test_classifier_and_box_losses_are_detectron2s_and_the_iou_loss_is_plain_pythons():
    model = build({"WEND.LOSS": "none", "WEND.ETA": "1.0"})
    predictor = model.roi_heads.box_predictor
    seen = watch(predictor, "losses")
    losses = values(losses_of(model))
    assert set(losses) == SUPERVISED
    (predictions, samples), _ = seen[0]
    classes = torch.where(samples.classes < 0, 1, samples.classes)
    assert 0 < (classes == 0).sum() < len(classes)
    theirs = Instances((CROP, CROP), proposal_boxes=Boxes(samples.boxes))
    theirs.gt_boxes, theirs.gt_classes = Boxes(samples.truth), classes
    stock = FastRCNNOutputLayers.losses(predictor, predictions[:2], [theirs])
    assert {name: losses[name] for name in stock} == pytest.approx(values(stock), rel=1e-6)

    error = 0
    rows = zip(predictions[2], samples.boxes, samples.truth, classes, strict=True)
    for logit, box, truth, label in rows:
        if label == 0:
            error += abs(sigmoid(logit.item()) - iou(box.tolist(), truth.tolist()))
    assert losses["loss_iou"] == pytest.approx(error / len(classes), rel=1e-5)


def test_weights_multiply_their_losses():
    ours = values(losses_of(build({"WEND.ETA": "1.0"})))
    changes = {"IOU_WEIGHT": "0.5", "RPN_LOC_WEIGHT": "5.0", "RPN_OBJECTNESS_WEIGHT": "2.0"}
    changed = build({"WEND.ETA": "1.0", **{f"WEND.CLN.{k}": v for k, v in changes.items()}})
    changed = values(losses_of(changed))
    factors = {name: changed[name] / ours[name] for name in ours}
    expected = {"loss_iou": 0.5, "loss_rpn_loc": 0.5, "loss_rpn_ctr": 2.0}
    assert factors == pytest.approx(dict.fromkeys(ours, 1.0) | expected)


@pytest.mark.parametrize("a", [0.3, 0.0, 1.0])
def test_final_score_in_plain_python(a):
    model = build({"WEND.CLN.CLS_EXPONENT": str(a), "TEST.DETECTIONS_PER_IMAGE": "49"}).eval()
    predictor = model.roi_heads.box_predictor
    predictor.test_nms_thresh = 1.0  # keep all
    seen, of_generator = watch(predictor, "foreground_scores"), watch_proposals(model)
    with torch.no_grad():
        outputs = model(batch_of())
    ((scores, _, iou_logits), _), _ = seen[0]
    (proposals,) = of_generator
    start = 0
    for output, logits in zip(outputs, proposals, strict=True):
        assert 2 <= len(logits) <= 49
        expected = []
        for index, rpn in enumerate(logits):
            foreground, background = scores[start + index].tolist()
            located = sigmoid(rpn) * sigmoid(iou_logits[start + index].item())
            expected.append(sigmoid(foreground - background) ** a * located ** (1 - a))
        start += len(logits)
        actual = output["instances"].scores.tolist()
        assert actual == pytest.approx(sorted(expected, reverse=True), rel=1e-4)


def test_detections_lie_in_the_crop_best_first_and_each_image_has_one():
    model = build().eval()
    with torch.no_grad():
        outputs = model(batch_of())
    for output in outputs:
        detected = output["instances"]
        assert 1 <= len(detected) <= 10  # TEST.DETECTIONS_PER_IMAGE
        assert detected.pred_boxes.tensor.min() >= 0
        assert detected.pred_boxes.tensor.max() <= CROP
        assert detected.scores.tolist() == sorted(detected.scores.tolist(), reverse=True)
        assert not detected.pred_classes.any()


def test_more_classes_are_an_error_with_and_without_we():
    for loss in ("none", "weighted_entropy"):
        with pytest.raises(InputError, match=r"MODEL\.ROI_HEADS\.NUM_CLASSES: .* got 200"):
            build({"MODEL.ROI_HEADS.NUM_CLASSES": "200", "WEND.LOSS": loss})


# ---- the whole detector ----


def test_resnet50_detector_has_as_many_parameters_as_derived_by_hand():
    """On C5 (2048 channels):

    trunk                            23,508,032
    RPN   3x3 conv 2048 -> 2048      37,750,784   9 · 2048² + 2048
          centreness, distances          10,245   2048 · 5 + 5
    R-CNN 7 · 7 · 2048 -> 1024      102,761,472   100,352 · 1024 + 1024
          1024 -> 1024                1,049,600   1024² + 1024
          classes, box, IoU               7,175   1024 · 7 + 7
    """
    for file in ("cln_R50.yaml", "cln_R50_we.yaml"):
        cfg = get_cfg()
        add_wend_config(cfg)
        merge_config(cfg, str(CONFIGS / "CUB" / file), ["MODEL.DEVICE", "meta"], "")
        with without_memory():
            model = build_model(cfg)
        assert sum(p.numel() for p in model.parameters()) == 165_087_308


def test_eta_multiplies_every_supervised_loss_and_not_the_unsupervised():
    ours = values(losses_of(build({"WEND.ETA": "0.125"})))
    unweighted = values(losses_of(build({"WEND.ETA": "1.0"})))
    assert set(ours) == {*SUPERVISED, "loss_unsup"}
    assert ours.pop("loss_unsup") == unweighted.pop("loss_unsup")
    assert ours == {name: 0.125 * value for name, value in unweighted.items()}
    assert min(ours.values()) > 0


def test_loss_unsup_is_the_weighted_entropy_of_the_sampled_proposals_foreground():
    model = build()
    seen = watch(model.roi_heads.box_predictor, "losses")
    loss = losses_of(model)["loss_unsup"].item()
    (predictions, samples), _ = seen[0]
    p = torch.softmax(predictions[0].detach().double(), 1)[:, 0]  # Detectron2: background is last
    assert len(p) == len(samples)
    assert p.min() < 0.3 <= p.max()
    log_odds = [math.log(value / (1 - value)) for value in p.tolist()]
    assert loss == pytest.approx(weighted_entropy_mean(log_odds, **WE), rel=1e-4)
    assert loss != pytest.approx(weighted_entropy_mean([-z for z in log_odds], **WE), rel=1e-2)


REACH = {  # of the outputs of the detector, which gets a gradient from which loss
    "loss_unsup": {"cls_score"},
    "loss_cls": {"cls_score"},
    "loss_box_reg": {"bbox_pred"},
    "loss_iou": {"iou_score"},
    "loss_rpn_ctr": {"objectness_logits"},
    "loss_rpn_loc": {"anchor_deltas"},
}


@pytest.mark.parametrize("name", REACH)
def test_each_loss_reaches_its_output_and_the_backbone(name):
    model = build()
    losses_of(model)[name].backward()
    head, predictor = model.proposal_generator.rpn_head, model.roi_heads.box_predictor
    outputs = {
        output: getattr(owner, output).weight.grad
        for owner in (head, predictor)
        for output in set().union(*REACH.values())
        if hasattr(owner, output)
    }
    assert len(outputs) == 5
    reached = {
        output for output, gradient in outputs.items() if gradient is not None and gradient.any()
    }
    assert reached == REACH[name]
    assert any(p.grad.any() for p in model.backbone.parameters())


def test_images_without_boxes_give_finite_losses_and_gradients():
    model = build()
    losses = losses_of(model, batch_of(boxes_each=(0,)))
    sum(losses.values()).backward()
    terms = values(losses)
    assert set(terms) == {*SUPERVISED, "loss_unsup"}
    assert terms["loss_rpn_ctr"] == terms["loss_rpn_loc"] == terms["loss_iou"] == 0
    assert all(map(math.isfinite, terms.values()))
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in gradients)
    assert model.roi_heads.box_predictor.cls_score.weight.grad.any()


@pytest.mark.parametrize(
    ("entry", "value", "needed"),
    [
        ("MODEL.PROPOSAL_GENERATOR.NAME", "RPN", "CLNRPN"),
        ("MODEL.RPN.HEAD_NAME", "StandardRPNHead", "CLNRPNHead"),
        ("MODEL.ROI_HEADS.NAME", "StandardROIHeads", "CLNROIHeads"),
    ],
)
def test_another_part_is_an_error_that_names_the_right_one(entry, value, needed):
    with pytest.raises(InputError) as error:
        build({entry: value})
    assert str(error.value) == (
        f"config entry {entry}: CLN needs {needed}, got {value}; see configs/CUB/cln_R50.yaml"
    )
