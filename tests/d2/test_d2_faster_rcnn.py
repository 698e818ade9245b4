import math

import pytest
import torch
from engine_runs import CROP, d2_batch, d2_config
from reference import weighted_entropy_mean

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.modeling import build_model

import wend.d2  # noqa: F401  (registers BinaryRCNN)
from wend.errors import InputError

pytestmark = pytest.mark.usefixtures("_event_storage")
SUPERVISED = {"loss_cls", "loss_box_reg", "loss_rpn_cls", "loss_rpn_loc"}
WE = {"gamma": 6.0, "alpha": 0.1, "tau1": 0.3, "tau2": 0.3}  # configs/CUB/faster_rcnn_R50_we.yaml


def _build(changes=None):
    torch.manual_seed(0)
    model = build_model(d2_config("rcnn", changes))
    predictor = model.roi_heads.box_predictor
    torch.nn.init.normal_(predictor.cls_score.weight, std=1.0)  # spread p, see test_d2_fcos.py
    return model.train()


def _stock(model):
    """Detectron2's own Faster R-CNN with the same config and weights."""
    stock = build_model(
        d2_config(
            "rcnn",
            {
                "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
                "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
            },
        )
    )
    stock.load_state_dict(model.state_dict(), strict=True)
    return stock.train()


def _batch(boxes_each=(1, 2, 1)):
    return d2_batch(boxes_each)


def _losses(model, batch=None):
    torch.manual_seed(3)  # anchors and proposals are sampled
    return model(_batch() if batch is None else batch)


def _values(losses):
    return {name: value.item() for name, value in losses.items()}


def test_without_we_losses_are_detectron2s_faster_rcnn_losses():
    model = _build({"WEND.LOSS": "none", "WEND.ETA": "1.0"})
    ours = _values(_losses(model))
    assert set(ours) == SUPERVISED
    assert ours == _values(_losses(_stock(_build())))
    assert min(ours.values()) > 0


def test_eta_multiplies_rpn_and_roi_losses_and_not_the_unsupervised():
    ours = _values(_losses(_build({"WEND.ETA": "0.125"})))
    unweighted = _values(_losses(_build({"WEND.ETA": "1.0"})))
    assert ours.pop("loss_unsup") == unweighted.pop("loss_unsup")
    theirs = _values(_losses(_stock(_build())))
    assert ours == {name: 0.125 * value for name, value in theirs.items()}
    assert unweighted == theirs


def test_loss_unsup_is_the_weighted_entropy_of_the_sampled_proposals_foreground():
    model = _build()
    seen = []
    predictor = model.roi_heads.box_predictor
    predictor.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs[0]))
    loss = _losses(model)["loss_unsup"].item()
    p = torch.softmax(seen[0].detach().double(), 1)[:, 0]  # Detectron2: background is last
    assert 3 <= len(p) <= 3 * 32  # MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE
    assert p.min() < 0.3 <= p.max()
    log_odds = [math.log(one / (1 - one)) for one in p.tolist()]
    assert loss == pytest.approx(weighted_entropy_mean(log_odds, **WE), rel=1e-4)
    mirrored = weighted_entropy_mean([-z for z in log_odds], **WE)
    assert loss != pytest.approx(mirrored, rel=1e-2)  # the test can tell the columns apart


def test_unsupervised_loss_reaches_the_rcnn_classifier_and_not_the_rpn_head():
    model = _build()
    _losses(model)["loss_unsup"].backward()
    assert model.roi_heads.box_predictor.cls_score.weight.grad.abs().sum() > 0
    for parameter in model.proposal_generator.rpn_head.parameters():
        assert parameter.grad is None or not parameter.grad.any()


def test_more_classes_with_we_are_an_error():
    with pytest.raises(InputError) as error:
        _build({"MODEL.ROI_HEADS.NUM_CLASSES": "200"})
    assert str(error.value) == (
        "config entry MODEL.ROI_HEADS.NUM_CLASSES: weighted_entropy needs one foreground class, "
        "got 200; set it to 1 or set WEND.LOSS none"
    )


def test_we_with_roi_heads_that_cannot_compute_it_is_an_error_not_a_silent_loss():
    with pytest.raises(InputError, match=r"MODEL\.ROI_HEADS\.NAME"):
        _build({"MODEL.ROI_HEADS.NAME": "StandardROIHeads"})


def test_images_without_boxes_give_finite_losses_and_gradients():
    model = _build()
    losses = _losses(model, _batch(boxes_each=(0,)))
    sum(losses.values()).backward()
    assert set(losses) == {*SUPERVISED, "loss_unsup"}
    assert all(math.isfinite(value) for value in _values(losses).values())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in gradients)
    assert model.roi_heads.box_predictor.cls_score.weight.grad.abs().sum() > 0


def test_detections_are_detectron2s_and_lie_in_the_crop():
    model = _build().eval()
    stock = _stock(model).eval()
    with torch.no_grad():
        for ours, theirs in zip(model(_batch()), stock(_batch()), strict=True):
            ours, theirs = ours["instances"], theirs["instances"]
            assert 1 <= len(ours) <= 10
            assert ours.pred_boxes.tensor.min() >= 0
            assert ours.pred_boxes.tensor.max() <= CROP
            assert torch.equal(ours.pred_boxes.tensor, theirs.pred_boxes.tensor)
            assert torch.equal(ours.scores, theirs.scores)
