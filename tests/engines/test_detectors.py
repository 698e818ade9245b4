"""FCOS and Faster R-CNN: the engine's own detectors but for the weighted entropy."""

import math

import pytest
import torch
from engine_runs import (
    CONFIGS,
    CROP,
    build,
    config,
    detections,
    file_config,
    losses,
    random_crops,
    tv_config,
    without_memory,
)
from reference import weighted_entropy_mean
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

WE = {"gamma": 6.0, "alpha": 0.1, "tau1": 0.3, "tau2": 0.3}  # configs/CUB/*_we.yaml
PLAIN = {"WEND.LOSS": "none", "WEND.ETA": "1.0"}
# more than there are: all anchors and proposals are samples, so that none is drawn
EVERY_SAMPLE = {
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": "2000",
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "2000",
}
SUPERVISED = {
    ("detectron2", "fcos"): {"loss_fcos_cls", "loss_fcos_loc", "loss_fcos_ctr"},
    ("detectron2", "rcnn"): {"loss_cls", "loss_box_reg", "loss_rpn_cls", "loss_rpn_loc"},
    ("torchvision", "fcos"): {"classification", "bbox_regression", "bbox_ctrness"},
    ("torchvision", "rcnn"): {
        *("loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg")
    },
}
MEAN, DEVIATION = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")


@pytest.fixture(params=["fcos", "rcnn"])
def detector(request):
    return request.param


def _build(engine, detector, changes=None):
    """p of the classifier, 0.01 everywhere at first, lies on both sides of the thresholds."""
    model = build(engine, config(engine, detector, changes))
    if detector == "rcnn":
        torch.nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=1.0)
        return model
    head = model.head
    last = head.cls_score if engine == "detectron2" else head.classification_head.cls_logits
    torch.nn.init.normal_(last.weight, std=0.3)
    torch.nn.init.zeros_(last.bias)
    return model


def _detectron2s_fcos(model):
    from detectron2.modeling.meta_arch.fcos import FCOS

    return FCOS(
        backbone=model.backbone,
        head=model.head,
        head_in_features=["stage3"],
        num_classes=1,
        test_score_thresh=0.0,
        max_detections_per_image=10,
        pixel_mean=MEAN,
        pixel_std=DEVIATION,
    )


def _detectron2s_rcnn(model):
    names = {"MODEL.META_ARCHITECTURE": "GeneralizedRCNN"}
    names["MODEL.ROI_HEADS.NAME"] = "StandardROIHeads"
    return build("detectron2", config("detectron2", "rcnn", {**names, **EVERY_SAMPLE}))


def _torchvisions_fcos(model):
    anchors = AnchorGenerator(sizes=((8,),), aspect_ratios=((1.0,),))
    sides = {"min_size": CROP, "max_size": CROP}
    stock = detection.FCOS(model.backbone, 1, anchor_generator=anchors, **sides)
    for tower in (stock.head.classification_head, stock.head.regression_head):
        del tower.conv[3:]  # the paper's head: one convolution, norm and ReLU instead of four
    stock.score_thresh, stock.detections_per_img = 0.0, 10
    return stock


def _torchvisions_rcnn(model):
    return detection.FasterRCNN(
        model.backbone,
        rpn_anchor_generator=AnchorGenerator(((16, 32, 48),), ((0.5, 1.0, 2.0),)),
        rpn_pre_nms_top_n_train=441,
        rpn_pre_nms_top_n_test=441,
        rpn_post_nms_top_n_train=128,
        rpn_post_nms_top_n_test=128,
        box_roi_pool=MultiScaleRoIAlign(["stage3"], 3, 0),
        box_head=TwoMLPHead(32 * 9, 32),
        box_predictor=FastRCNNPredictor(32, 2),
        rpn_batch_size_per_image=2000,
        box_batch_size_per_image=2000,
        box_positive_fraction=0.5,
        box_score_thresh=0.0,
        box_detections_per_img=10,
        min_size=CROP,
        max_size=CROP,
    )


STOCK = {
    ("detectron2", "fcos"): _detectron2s_fcos,
    ("detectron2", "rcnn"): _detectron2s_rcnn,
    ("torchvision", "fcos"): _torchvisions_fcos,
    ("torchvision", "rcnn"): _torchvisions_rcnn,
}


def _stock(engine, detector, model):
    """The engine's own detector, with the weights of ours."""
    stock = STOCK[engine, detector](model)
    if engine == "torchvision":
        stock.transform.size_divisible = 1
        stock.transform._skip_resize = True  # it would draw a size, and so change what is sampled
        # in 0..255, so that rounding is the same: it decides which proposals are sampled
        stock.transform.image_mean, stock.transform.image_std = MEAN, DEVIATION
        stock.foreground_label = model.foreground_label
    stock.load_state_dict(model.state_dict(), strict=True)
    return stock.train(model.training)


def _losses(engine, model, boxes_each=(1, 2, 0)):
    torch.manual_seed(3)  # anchors and proposals are sampled
    return losses(engine, model, random_crops(3, boxes_each))


def _values(terms):
    return {name: value.item() for name, value in terms.items()}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # The paper's head on C channels: two towers of a 3x3 convolution C -> C with bias and a
        # GroupNorm (9·C² + 3·C each), then 3x3 convolutions C -> 1 class, 4 distances, 1 centreness
        # (9·C·6 + 6).
        # ResNet50 (table 1), C = 2048: 2·(37,748,736 + 6,144) + 110,592 + 6 = 75,620,358; trunk
        # 23,508,032
        ("resnet", 99_128_390),
        # DenseNet161, C = 2208: 2·(43,877,376 + 6,624) + 119,232 + 6 = 87,887,238; trunk
        # 28,681,000 - 2208·1000 - 1000 = 26,472,000
        ("densenet161", 114_359_238),
    ],
)
def test_fcos_parameters_with_the_papers_head(engine, name, parameters):
    changes = ["MODEL.DEVICE", "meta", "MODEL.BACKBONE.NAME", f"build_{name}_backbone"]
    with without_memory():
        model = build(engine, file_config(engine, CONFIGS / "CUB" / "fcos_R50.yaml", changes))
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_without_we_losses_are_the_engines(engine, detector):
    model = _build(engine, detector, {**PLAIN, **EVERY_SAMPLE})
    stock = _stock(engine, detector, model)
    for _ in range(2):  # FCOS's normalizer is a running mean: a second step must agree too
        ours = _values(_losses(engine, model))
        if not hasattr(stock, "loss_normalizer") and hasattr(model, "loss_normalizer"):
            stock.loss_normalizer = float(model.loss_normalizer)  # ours begins at the first batch's
        theirs = _values(_losses(engine, stock))
        assert set(ours) == SUPERVISED[engine, detector]
        # the samples of R-CNN are in another order
        assert ours == (pytest.approx(theirs, rel=1e-6) if detector == "rcnn" else theirs)
        assert min(ours.values()) > 0


def test_eta_multiplies_every_supervised_loss_and_not_the_unsupervised(engine, detector):
    ours, whole, plain = (
        _values(_losses(engine, _build(engine, detector, changes)))
        for changes in ({"WEND.ETA": "0.125"}, {"WEND.ETA": "1.0"}, PLAIN)
    )
    assert ours.pop("loss_unsup") == whole.pop("loss_unsup")
    assert whole == plain
    assert ours == {name: 0.125 * value for name, value in plain.items()}


def _class_logits(engine, model):
    """The list that gets FCOS's class logits, flat, at each forward pass."""
    seen = []
    if engine == "detectron2":
        model.head.register_forward_hook(
            lambda module, inputs, maps: seen.append(torch.cat([m.flatten() for m in maps[0]]))
        )
    else:
        model.head.classification_head.register_forward_hook(
            lambda module, inputs, logits: seen.append(logits.flatten())
        )
    return seen


@pytest.mark.parametrize("features", [("stage3",), ("stage2", "stage3")])
def test_fcos_loss_unsup_is_the_weighted_entropy_of_all_class_logits(engine, features):
    model = _build(engine, "fcos", {"WEND.FCOS.IN_FEATURES": str(features)})
    seen = _class_logits(engine, model)
    loss = _losses(engine, model)["loss_unsup"].item()
    (logits,) = seen
    assert len(logits) == 3 * sum({"stage2": 14, "stage3": 7}[name] ** 2 for name in features)
    p = logits.sigmoid()
    assert p.min() < 0.3  # both branches of w(p) are in use
    assert p.max() > 0.6
    assert loss == pytest.approx(weighted_entropy_mean(logits.double().tolist(), **WE), rel=1e-4)


def test_fcos_entropy_is_the_mean_entropy_of_the_class_logits(engine):
    model = _build(engine, "fcos", {"WEND.LOSS": "entropy"})
    seen = _class_logits(engine, model)
    loss = _losses(engine, model)["loss_unsup"].item()
    expected = torch.distributions.Bernoulli(logits=seen[0].detach().double()).entropy()
    assert loss == pytest.approx(expected.mean().item(), rel=1e-5)


def test_faster_rcnn_loss_unsup_is_the_weighted_entropy_of_the_proposals_foreground(engine):
    model = _build(engine, "rcnn")
    seen = []
    predictor = model.roi_heads.box_predictor
    predictor.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs[0]))
    loss = _losses(engine, model)["loss_unsup"].item()
    foreground = {"detectron2": 0, "torchvision": 1}[engine]  # background: the other column
    p = torch.softmax(seen[0].detach().double(), 1)[:, foreground]
    assert 3 <= len(p) <= 3 * 32  # MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE
    assert p.min() < 0.3 <= p.max()
    log_odds = [math.log(value / (1 - value)) for value in p.tolist()]
    assert loss == pytest.approx(weighted_entropy_mean(log_odds, **WE), rel=1e-4)
    mirrored = weighted_entropy_mean([-z for z in log_odds], **WE)
    assert loss != pytest.approx(mirrored, rel=1e-2)  # the test can tell the columns apart


def test_faster_rcnn_loss_unsup_reaches_the_classifier_and_not_the_rpn_head(engine):
    model = _build(engine, "rcnn")
    _losses(engine, model)["loss_unsup"].backward()
    assert model.roi_heads.box_predictor.cls_score.weight.grad.abs().sum() > 0
    head = model.proposal_generator.rpn_head if engine == "detectron2" else model.rpn.head
    assert not any(p.grad is not None and p.grad.any() for p in head.parameters())


def test_images_without_boxes_give_finite_losses_and_gradients(engine, detector):
    model = _build(engine, detector)
    terms = _losses(engine, model, boxes_each=(0,))
    sum(terms.values()).backward()
    assert set(terms) == {*SUPERVISED[engine, detector], "loss_unsup"}
    assert all(math.isfinite(value) for value in _values(terms).values())
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    (classifier,) = (
        gradient
        for name, gradient in gradients.items()
        if name.endswith(("cls_score.weight", "cls_logits.weight")) and "rpn" not in name
    )
    assert classifier.abs().sum() > 0


def test_detections_are_the_engines_and_lie_in_the_crop_best_first(engine, detector):
    model = _build(engine, detector).eval()
    stock = _stock(engine, detector, model)
    crops = random_crops(3, (1, 2, 0))
    pairs = zip(detections(engine, model, crops), detections(engine, stock, crops), strict=True)
    for (boxes, scores), (stock_boxes, stock_scores) in pairs:
        assert 1 <= len(boxes) <= 10  # TEST.DETECTIONS_PER_IMAGE
        assert boxes.min() >= 0
        assert boxes.max() <= CROP
        assert scores.tolist() == sorted(scores.tolist(), reverse=True)
        assert torch.equal(boxes, stock_boxes)
        assert torch.equal(scores, stock_scores)


@pytest.mark.parametrize("detector", ["fcos", "rcnn"])
def test_torchvision_rescales_images_of_other_sizes_in_evaluation(detector):
    model = _build("torchvision", detector).eval()
    stock = _stock("torchvision", detector, model)
    sizes = [(CROP, CROP), (40, 48), (33, 20), (CROP, 30)]
    crops = [(i[:, :h, :w], b) for (i, b), (h, w) in zip(random_crops(4, (1,)), sizes, strict=True)]
    pairs = zip(*(detections("torchvision", each, crops) for each in (model, stock)), strict=True)
    for (height, width), ((boxes, scores), (stock_boxes, stock_scores)) in zip(
        sizes, pairs, strict=True
    ):
        assert boxes[:, [0, 2]].max() <= width
        assert boxes[:, [1, 3]].max() <= height
        torch.testing.assert_close(boxes, stock_boxes, rtol=0, atol=1e-4)
        torch.testing.assert_close(scores, stock_scores, rtol=0, atol=1e-6)


def test_every_location_of_fcos_starts_with_a_box_of_the_initial_distance(engine):
    """Behind the engines' ReLU an output that starts at or below 0 may never get a gradient."""
    model = _build(engine, "fcos", {"WEND.FCOS.INITIAL_DISTANCE": "1.5"})
    with torch.no_grad():
        outputs = model.head([torch.randn(2, 32, 7, 7)])
    if engine == "detectron2":
        distances = outputs[1][0].flatten(2).transpose(1, 2)  # (N, R, 4)
    else:
        distances = outputs["bbox_regression"]
    assert distances.shape == (2, 49, 4)
    torch.testing.assert_close(distances.mean((0, 1)), torch.full((4,), 1.5), atol=0.2, rtol=0)
    assert distances.min() > 0


def test_torchvisions_pixels_are_normalized_as_it_normalizes_images_in_0_to_1():
    model = build("torchvision", tv_config("fcos", PLAIN))
    stock = _stock("torchvision", "fcos", model)
    default = detection.FCOS(model.backbone, 1, anchor_generator=model.anchor_generator).transform
    stock.transform.image_mean, stock.transform.image_std = default.image_mean, default.image_std
    crops = [(image / 255, boxes) for image, boxes in random_crops(3, (1, 2, 1))]
    theirs = _values(losses("torchvision", stock, crops))
    assert _values(_losses("torchvision", model, (1, 2, 1))) == pytest.approx(theirs, rel=1e-4)
