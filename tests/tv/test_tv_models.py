import math

import pytest
import torch
from engine_runs import CONFIGS, CROP, random_crops, tv_config
from reference import weighted_entropy_mean
from torchvision.models.detection import FCOS, FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from wend.config import merge_config
from wend.errors import InputError
from wend.tv.config import check_supported, get_cfg
from wend.tv.engine import build_optimizer
from wend.tv.models import build_model

WE = {"gamma": 6.0, "alpha": 0.1, "tau1": 0.3, "tau2": 0.3}
NAMES = {
    "fcos": {"classification", "bbox_regression", "bbox_ctrness"},
    "rcnn": {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"},
}
PLAIN = {"WEND.LOSS": "none", "WEND.ETA": "1.0"}


def _build(detector, changes=None):
    torch.manual_seed(0)
    model = build_model(tv_config(detector, changes))
    if detector == "fcos":  # spread p over both sides of the thresholds
        head = model.head.classification_head.cls_logits
        torch.nn.init.normal_(head.weight, std=0.3)
        torch.nn.init.zeros_(head.bias)
    else:
        torch.nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=1.0)
    return model.train()


class _Stock:
    """Torchvision's own detectors."""

    def fcos(self, model):
        anchors = AnchorGenerator(sizes=((8,),), aspect_ratios=((1.0,),))
        stock = FCOS(model.backbone, 1, anchor_generator=anchors, min_size=CROP, max_size=CROP)
        for tower in (stock.head.classification_head, stock.head.regression_head):
            del tower.conv[3:]  # the paper's head: one convolution, norm and ReLU instead of four
        stock.score_thresh, stock.detections_per_img = 0.0, 10
        return stock

    def rcnn(self, model):
        return FasterRCNN(
            model.backbone,
            rpn_anchor_generator=AnchorGenerator(((16, 32, 48),), ((0.5, 1.0, 2.0),)),
            rpn_pre_nms_top_n_train=441,
            rpn_pre_nms_top_n_test=441,
            rpn_post_nms_top_n_train=128,
            rpn_post_nms_top_n_test=128,
            box_roi_pool=MultiScaleRoIAlign(["stage3"], 3, 0),
            box_head=TwoMLPHead(32 * 9, 32),
            box_predictor=FastRCNNPredictor(32, 2),
            box_batch_size_per_image=32,
            box_positive_fraction=0.5,
            box_score_thresh=0.0,
            box_detections_per_img=10,
            min_size=CROP,
            max_size=CROP,
        )


def _stock(detector, model):
    stock = getattr(_Stock(), detector)(model)
    stock.transform.size_divisible = 1
    stock.transform._skip_resize = True  # it would draw a size, and so change what is sampled
    # in 0..255, so that rounding is the same: it decides which proposals are sampled
    stock.transform.image_mean = [123.675, 116.28, 103.53]
    stock.transform.image_std = [58.395, 57.12, 57.375]
    stock.load_state_dict(model.state_dict(), strict=True)
    return stock.train(model.training)


def _batch(detector, boxes_each=(1, 2, 1)):
    images, targets = [], []
    for image, boxes in random_crops(3, boxes_each):
        images.append(image.float())
        label = {"fcos": 0, "rcnn": 1}[detector]  # Faster R-CNN's background is 0
        targets.append({"boxes": boxes, "labels": torch.full((len(boxes),), label)})
    return images, targets


def _losses(detector, model, scale=1.0, boxes_each=(1, 2, 1)):
    images, targets = _batch(detector, boxes_each)
    torch.manual_seed(3)  # anchors and proposals are sampled
    return model([image / scale for image in images], targets)


def _values(losses):
    return {name: value.item() for name, value in losses.items()}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet", 99_128_390),  # table 1
        # 26,472,000 of the trunk; C = 2208: two towers of 9·C² + 3·C, and 9·C·6 + 6
        ("densenet161", 114_359_238),
    ],
)
def test_fcos_parameters_with_the_papers_head(name, parameters):
    cfg = get_cfg()
    path = CONFIGS / "CUB" / "fcos_R50.yaml"
    changes = ["MODEL.DEVICE", "meta", "MODEL.BACKBONE.NAME", f"build_{name}_backbone"]
    merge_config(cfg, str(path), changes, "")
    with torch.device("meta"):
        model = build_model(cfg)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("detector", ["fcos", "rcnn"])
def test_without_we_losses_are_torchvisions(detector):
    model = _build(detector, PLAIN)
    theirs = _values(_losses(detector, _stock(detector, model)))
    ours = _values(_losses(detector, model))
    assert set(ours) == NAMES[detector]
    assert ours == theirs
    assert min(ours.values()) > 0


def test_pixels_are_normalized_as_torchvision_normalizes_images_in_0_to_1():
    model = _build("fcos", PLAIN)
    stock = _stock("fcos", model)
    default = FCOS(model.backbone, 1, anchor_generator=model.anchor_generator).transform
    stock.transform.image_mean, stock.transform.image_std = default.image_mean, default.image_std
    theirs = _values(_losses("fcos", stock, scale=255))
    assert _values(_losses("fcos", model)) == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("detector", ["fcos", "rcnn"])
def test_eta_multiplies_every_supervised_loss_and_not_the_unsupervised(detector):
    ours = _values(_losses(detector, _build(detector, {"WEND.ETA": "0.125"})))
    whole = _values(_losses(detector, _build(detector, {"WEND.ETA": "1.0"})))
    plain = _values(_losses(detector, _build(detector, PLAIN)))
    assert ours.pop("loss_unsup") == whole.pop("loss_unsup")
    assert whole == plain
    assert ours == {name: 0.125 * value for name, value in plain.items()}


def test_fcos_loss_unsup_is_the_weighted_entropy_of_all_class_logits():
    model = _build("fcos")
    seen = []
    head = model.head.classification_head
    head.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs))
    loss = _losses("fcos", model)["loss_unsup"].item()
    logits = seen[0].flatten()
    assert len(logits) == 3 * 7 * 7
    assert logits.sigmoid().min() < 0.3 <= logits.sigmoid().max()
    assert loss == pytest.approx(weighted_entropy_mean(logits.double().tolist(), **WE), rel=1e-4)


def test_faster_rcnn_loss_unsup_is_the_weighted_entropy_of_the_proposals_foreground():
    model = _build("rcnn")
    seen = []
    predictor = model.roi_heads.box_predictor
    predictor.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs[0]))
    loss = _losses("rcnn", model)["loss_unsup"].item()
    p = torch.softmax(seen[0].detach().double(), 1)[:, 1]  # torchvision: background is first
    assert p.min() < 0.3 <= p.max()
    log_odds = [math.log(one / (1 - one)) for one in p.tolist()]
    assert loss == pytest.approx(weighted_entropy_mean(log_odds, **WE), rel=1e-4)
    mirrored = weighted_entropy_mean([-z for z in log_odds], **WE)
    assert loss != pytest.approx(mirrored, rel=1e-2)


@pytest.mark.parametrize("detector", ["fcos", "rcnn"])
def test_images_without_boxes_give_finite_losses_and_gradients(detector):
    model = _build(detector)
    losses = _losses(detector, model, boxes_each=(0,))
    sum(losses.values()).backward()
    assert set(losses) == {*NAMES[detector], "loss_unsup"}
    assert all(math.isfinite(value) for value in _values(losses).values())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("detector", ["fcos", "rcnn"])
def test_detections_are_torchvisions_and_lie_in_the_crop(detector):
    model = _build(detector).eval()
    stock = _stock(detector, model)
    images, _ = _batch(detector)
    with torch.no_grad():
        ours, theirs = model(images), stock(images)
    for one, other in zip(ours, theirs, strict=True):
        assert 1 <= len(one["boxes"]) <= 10
        assert one["boxes"].min() >= 0
        assert one["boxes"].max() <= CROP
        assert one["scores"].tolist() == sorted(one["scores"].tolist(), reverse=True)
        assert torch.equal(one["boxes"], other["boxes"])
        assert torch.equal(one["scores"], other["scores"])


def test_several_levels_of_a_plain_backbone_are_possible():
    model = _build("fcos", {"WEND.FCOS.IN_FEATURES": "('stage2', 'stage3')"})
    assert math.isfinite(sum(_values(_losses("fcos", model)).values()))


UNSUPPORTED = {
    "MODEL.BACKBONE.NAME": ("fcos", "build_resnet_fpn_backbone"),
    "MODEL.META_ARCHITECTURE": ("fcos", "GeneralizedRCNN"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_part_that_torchvision_lacks_is_an_error_that_names_detectron2(name):
    detector, value = UNSUPPORTED[name]
    with pytest.raises(InputError) as error:
        build_model(tv_config(detector, {name: value}))
    said = str(error.value)
    assert said.startswith(f"config entry {name}: ")
    assert repr(value) in said
    assert said.endswith("; others need --engine detectron2")


def test_unknown_feature_map_is_an_error_that_lists_the_known():
    with pytest.raises(InputError) as error:
        build_model(tv_config("fcos", {"WEND.FCOS.IN_FEATURES": "('res5',)"}))
    assert "expected feature maps of equal width among {'stage1': 32" in str(error.value)
    assert "need --engine detectron2" in str(error.value)


def test_rpn_and_roi_heads_share_their_feature_maps():
    with pytest.raises(InputError, match=r"ROI_HEADS\.IN_FEATURES: the torchvision engine needs"):
        build_model(tv_config("rcnn", {"MODEL.RPN.IN_FEATURES": "('stage2',)"}))


@pytest.mark.parametrize("depth", ["51", "0"])
def test_unknown_depth_is_an_error(depth):
    changes = {"MODEL.BACKBONE.NAME": "build_resnet_backbone", "MODEL.RESNETS.DEPTH": depth}
    with pytest.raises(InputError, match=rf"^config entry MODEL\.RESNETS\.DEPTH: .*got {depth}$"):
        tv_config("fcos", changes)


def test_unknown_norm_is_an_error_that_names_detectron2():
    changes = {"MODEL.BACKBONE.NAME": "build_resnet_backbone", "MODEL.RESNETS.NORM": "SyncBN"}
    with pytest.raises(InputError, match=r"has BN, FrozenBN, got 'SyncBN'; .*--engine"):
        build_model(tv_config("fcos", changes))


WIDTHS = {"densenet161": 2208, "vgg16": 512, "googlenet": 1024, "inception_v3": 2048, "timm": 96}


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("detector", ["fcos", "rcnn"])
def test_detectors_take_the_backbones_under_detectron2s_names(detector, name):
    if name == "timm":
        pytest.importorskip("timm", reason="timm is not installed (extra 'classifier')")
    maps = ("WEND.FCOS.IN_FEATURES", "MODEL.RPN.IN_FEATURES", "MODEL.ROI_HEADS.IN_FEATURES")
    changes = dict.fromkeys(maps, "('res5',)")
    changes |= {"MODEL.BACKBONE.NAME": f"build_{name}_backbone", "WEND.TIMM.MODEL": "test_resnet"}
    with torch.device("meta"):
        model = build_model(tv_config(detector, {**changes, "MODEL.DEVICE": "meta"}))
    assert (model.backbone.out_channels, model.backbone.strides) == (WIDTHS[name], [32])
    if name == "timm":  # small enough to run
        model = build_model(tv_config(detector, changes)).train()
        losses = _losses(detector, model)
        sum(losses.values()).backward()
        assert math.isfinite(sum(_values(losses).values()))
        assert next(model.backbone.parameters()).grad.abs().sum() > 0


@pytest.mark.parametrize("freeze_at", [0, 2, 5])
def test_frozen_stages_are_not_in_the_optimizer(freeze_at):
    changes = {"MODEL.BACKBONE.FREEZE_AT": str(freeze_at), "MODEL.DEVICE": "meta"}
    cfg = tv_config("fcos", changes)
    check_supported(cfg)
    with torch.device("meta"):
        model = build_model(cfg)
    taken = {id(p) for group in build_optimizer(cfg, model).param_groups for p in group["params"]}
    stages = {
        name.split(".")[3]
        for name, parameter in model.named_parameters()
        if name.startswith("backbone.") and id(parameter) in taken
    }
    expected = {0: {"stage1", "stage2", "stage3"}, 2: {"stage3"}, 5: set()}
    assert stages == expected[freeze_at]
    assert {id(p) for p in model.head.parameters()} <= taken


def test_map_larger_than_the_crop_is_an_error():
    changes = {"MODEL.BACKBONE.NAME": "build_vgg16_backbone", "WEND.CROP": "16"}
    changes |= {"WEND.FCOS.IN_FEATURES": "('res5',)", "MODEL.DEVICE": "meta"}
    with pytest.raises(InputError, match=r"1x1 cells; of a crop of 16 .* res5 would be smaller"):
        build_model(tv_config("fcos", changes))


def test_every_location_of_fcos_starts_with_a_box_of_the_initial_distance():
    """Behind torchvision's ReLU an output that starts at or below 0 may never get a gradient."""
    model = _build("fcos", {"WEND.FCOS.INITIAL_DISTANCE": "1.5"})
    with torch.no_grad():
        distances = model.head([torch.randn(2, 32, 7, 7)])["bbox_regression"]  # (N, R, 4)
    torch.testing.assert_close(distances.mean((0, 1)), torch.full((4,), 1.5), atol=0.2, rtol=0)
    assert distances.min() > 0
