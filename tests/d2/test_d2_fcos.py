import pytest
import torch
from engine_runs import CONFIGS, CROP, d2_config, random_crops, without_memory

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.structures import Boxes, Instances

import wend.d2  # noqa: F401  (registers BinaryFCOS)
from wend.config import add_wend_config, merge_config
from wend.errors import InputError
from wend.losses.padded_boxes import PaddedBoxes
from wend.modeling.fcos.locations import Locations
from wend.modeling.fcos.targets import targets
from wend.training.normalizers import Normalizers

pytestmark = [pytest.mark.detectron2, pytest.mark.usefixtures("_event_storage")]


def _build(changes=None):
    torch.manual_seed(0)
    model = build_model(d2_config("fcos", changes))
    # the classifier starts at p = 0.01 everywhere; spread p over both sides of the thresholds
    torch.nn.init.normal_(model.head.cls_score.weight, std=0.3)
    torch.nn.init.zeros_(model.head.cls_score.bias)
    return model.train()


def _batch(boxes_each=(1, 2, 0), num_classes=1):
    batch = []
    for image, boxes in random_crops(3, boxes_each):
        instances = Instances((CROP, CROP), gt_boxes=Boxes(boxes))
        instances.gt_classes = torch.arange(len(boxes)) % num_classes
        batch.append({"image": image, "height": CROP, "width": CROP, "instances": instances})
    return batch


def _stock(model, num_classes=1, features=("stage3",)):
    """Detectron2's own FCOS around the same backbone and head, all else at its defaults."""
    return FCOS(
        backbone=model.backbone,
        head=model.head,
        head_in_features=list(features),
        num_classes=num_classes,
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    ).train()


def _stock_values(model, batch, **options):
    """The stock detector's losses, whose normalizer comes from the model's batch, not from 300."""
    stock = _stock(model, **options)
    stock.loss_normalizer = round(float(model.loss_normalizer))
    return _values(stock(batch))


def _values(losses):
    return {name: value.item() for name, value in losses.items()}


@pytest.mark.parametrize(("num_classes", "parameters"), [(200, 102_796_557), (1000, 117_542_957)])
def test_resnet50_detector_has_as_many_parameters_as_table_1(num_classes, parameters):
    cfg = get_cfg()
    add_wend_config(cfg)
    changes = ["MODEL.DEVICE", "meta", "WEND.FCOS.NUM_CLASSES", str(num_classes)]
    merge_config(cfg, str(CONFIGS / "CUB" / "fcos_R50.yaml"), changes, "")
    with without_memory():
        model = build_model(cfg)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_frozen_batch_norm_holds_what_the_parameter_count_lacks():
    cfg = get_cfg()
    add_wend_config(cfg)
    changes = ["MODEL.DEVICE", "meta", "MODEL.RESNETS.NORM", "FrozenBN"]
    merge_config(cfg, str(CONFIGS / "CUB" / "fcos_R50.yaml"), changes, "")
    with without_memory():
        model = build_model(cfg)
    affine = [
        buffer
        for name, buffer in model.named_buffers()
        if name.endswith(("norm.weight", "norm.bias"))
    ]
    # ResNet50's batch norms: 2 * 26,560 channels
    assert sum(b.numel() for b in affine) == 53_120
    assert sum(p.numel() for p in [*model.parameters(), *affine]) == 99_128_390


def test_the_weight_carries_gradient_unless_it_is_detached():
    gradients = {}
    for detach in ("flow", "detach"):
        model = _build({"WEND.WE.WEIGHT_GRADIENT": detach})
        loss = model(_batch())["loss_unsup"]
        loss.backward()
        gradients[detach] = loss.item(), model.head.cls_score.bias.grad.item()
    assert gradients["detach"][0] == gradients["flow"][0]
    assert gradients["detach"][1] != pytest.approx(gradients["flow"][1], rel=1e-3)


def test_more_classes_without_we_give_detectron2s_losses():
    model = _build({"WEND.LOSS": "none", "WEND.ETA": "1.0", "WEND.FCOS.NUM_CLASSES": "5"})
    batch = _batch(num_classes=5)
    ours = _values(model(batch))
    assert ours == pytest.approx(_stock_values(model, batch, num_classes=5), rel=1e-6)


def test_more_classes_with_we_are_an_error():
    with pytest.raises(InputError) as error:
        _build({"WEND.FCOS.NUM_CLASSES": "200"})
    assert str(error.value) == (
        "config entry WEND.FCOS.NUM_CLASSES: WEND.LOSS weighted_entropy needs one foreground "
        "class, got 200; set it to 1 or leave that out (WEND.LOSS none)"
    )


def test_unknown_feature_map_is_an_error_that_lists_the_known():
    with pytest.raises(InputError) as error:
        _build({"WEND.FCOS.IN_FEATURES": "('res5',)"})
    assert str(error.value) == (
        "config entry WEND.FCOS.IN_FEATURES: expected some of the feature maps of "
        "build_small_cnn_backbone, stage1, stage2, stage3; got ['res5']"
    ) or str(error.value).endswith("stage1, stage2, stage3; got ('res5',)")


def test_group_norm_needs_a_multiple_of_32_channels():
    with pytest.raises(
        InputError, match=r"^config entry WEND\.FCOS\.NORM: GN needs .* got 40; set"
    ):
        _build({"WEND.FCOS.CONV_DIM": "40"})
    assert _build({"WEND.FCOS.CONV_DIM": "40", "WEND.FCOS.NORM": "''"})


def test_detector_can_be_made_without_a_config():
    model = _build()
    from wend.d2.fcos import BinaryFCOS
    from wend.losses import LocalizationLoss

    explicit = BinaryFCOS(
        localization_loss=LocalizationLoss(eta=0.125),
        backbone=model.backbone,
        head=model.head,
        head_in_features=["stage3"],
        num_classes=1,
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    ).train()
    assert _values(explicit(_batch())) == _values(model(_batch()))


def test_lean_detector_has_the_parameters_of_its_layers():
    cfg = get_cfg()
    add_wend_config(cfg)
    path = CONFIGS / "CUB" / "fcos_R50_lean.yaml"
    merge_config(cfg, str(path), ["MODEL.DEVICE", "meta"], "")
    with without_memory():
        model = build_model(cfg)
    reduce = 2048 * 256 + 2 * 256  # no bias before GN
    tower = 256 * 256 * 9 + 256 + 2 * 256
    outputs = (256 * 9 + 1) * (1 + 4 + 1)  # class, box, centreness
    expected = 23_508_032 + reduce + 2 * tower + outputs
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize("norm", ["GN", "''"])
def test_reduced_head_is_the_stock_head_behind_a_shared_1x1_convolution(norm):
    model = _build({"WEND.FCOS.REDUCE_DIM": "64", "WEND.FCOS.NORM": norm})
    feature = torch.randn(2, 32, 7, 7)
    seen = []
    model.head.cls_subnet.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    model.head.bbox_subnet.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    model.head([feature])
    reduced = torch.einsum("oi,nihw->nohw", model.head.reduce.weight[:, :, 0, 0], feature)
    if norm == "GN":  # 32 groups of two channels
        groups = reduced.reshape(2, 32, -1)
        deviation = groups.var(2, unbiased=False, keepdim=True).add(1e-5).sqrt()
        reduced = ((groups - groups.mean(2, keepdim=True)) / deviation).view(2, 64, 7, 7)
    assert len(seen) == 2
    assert seen[0] is seen[1]  # computed once for both towers
    torch.testing.assert_close(seen[0], reduced.relu(), atol=1e-5, rtol=1e-4)
    convolutions = [m for m in model.head.modules() if isinstance(m, torch.nn.Conv2d)]
    assert sorted(m.in_channels for m in convolutions) == [32, 64, 64, 64, 64, 64]


def test_reduced_detector_has_detectron2s_losses_and_learns():
    model = _build({"WEND.FCOS.REDUCE_DIM": "32", "WEND.LOSS": "none", "WEND.ETA": "1.0"})
    batch = _batch()
    ours = _values(model(batch))
    assert ours == pytest.approx(_stock_values(model, batch), rel=1e-6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    totals = []
    for _ in range(4):
        total = sum(model(batch).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < totals[0]


def test_group_norm_needs_a_multiple_of_32_channels_of_the_reduction_too():
    with pytest.raises(InputError, match=r"got 40; set WEND\.FCOS\.CONV_DIM and REDUCE_DIM"):
        _build({"WEND.FCOS.REDUCE_DIM": "40", "WEND.FCOS.CONV_DIM": "32"})


def test_feature_maps_of_other_channels_are_an_error():
    changes = {"WEND.SMALL_CNN.CHANNELS": "(32, 64, 32)"}
    with pytest.raises(InputError) as error:
        _build({**changes, "WEND.FCOS.IN_FEATURES": "('stage2', 'stage3')"})
    assert "stage2, stage3 have [64, 32]; use one, or a pyramid" in str(error.value)


@pytest.mark.parametrize("features", [("stage3",), ("stage2", "stage3")])
@pytest.mark.parametrize("boxes_each", [(1,), (0, 1), (3, 0, 1, 6), (0,)])
def test_labels_of_all_images_at_once_are_detectron2s(features, boxes_each):
    model = _build({"WEND.FCOS.IN_FEATURES": str(features)})
    instances = []
    for image, boxes in random_crops(8, boxes_each, seed=len(boxes_each)):
        per_image = Instances(tuple(image.shape[1:]), gt_boxes=Boxes(boxes))
        per_image.gt_classes = torch.zeros(len(boxes), dtype=torch.int64)
        instances.append(per_image)
    sides = [{"stage2": 14, "stage3": 7}[name] for name in features]
    anchors = model.anchor_generator([torch.zeros(1, 1, side, side) for side in sides])
    labels, stock_boxes = FCOS.label_anchors(model, anchors, instances)
    locations = Locations.of_anchors([each.tensor for each in anchors])
    truth = PaddedBoxes.of([each.gt_boxes.tensor for each in instances])
    matched = targets(truth, locations, model.center_sampling_radius)
    assert torch.equal(matched.background, torch.stack(labels) == model.num_classes)
    positive = ~matched.background
    boxes = matched.boxes * locations.signs
    assert torch.equal(boxes[positive], torch.stack(stock_boxes)[positive])
    assert positive.any() == any(boxes_each)


@pytest.mark.parametrize("num_classes", [1, 5])
def test_images_of_different_sizes_have_detectron2s_losses(num_classes):
    changes = {"WEND.FCOS.IN_FEATURES": "('stage2', 'stage3')", "WEND.LOSS": "none"}
    changes |= {"WEND.FCOS.NUM_CLASSES": str(num_classes), "WEND.ETA": "1.0"}
    model = _build({**changes, "WEND.SMALL_CNN.CHANNELS": "(32, 32, 32)"})
    batch = _batch((2, 1, 0), num_classes)
    for entry, (height, width) in zip(batch, [(56, 56), (40, 48), (33, 20)], strict=True):
        entry["image"] = entry["image"][:, :height, :width]
    ours = _values(model(batch))
    features = {"num_classes": num_classes, "features": ("stage2", "stage3")}
    assert ours == pytest.approx(_stock_values(model, batch, **features), rel=1e-6)


def test_the_normalizer_is_detectron2s_moving_average_in_double_precision():
    model = _build()
    expected, seen = None, []
    for boxes_each in ((1, 2, 0), (3,), (0,), (1,)):
        batch = _batch(boxes_each)
        model(batch)
        seen.append(float(model.localization_loss.images.padded.is_box.sum()))
        _, locations = model.head_output(batch)
        matched = targets(model.localization_loss.images.padded, locations, 1.5)
        number = max(int((~matched.background).sum()), 1)
        old = number if expected is None else expected
        expected = old * 0.9 + number * (1 - 0.9)
        assert float(model.loss_normalizer) == expected
    assert seen == [3, 9, 0, 3]


def test_the_normalizer_of_a_checkpoint_goes_on():
    model, other = _build(), _build()
    for boxes_each in ((1, 2, 0), (3,), (0,)):  # to a number that float32 has not
        model(_batch(boxes_each))
    assert float(model.loss_normalizer) != float(model.loss_normalizer.float())
    state = Normalizers(model).state_dict()
    assert state == {"": float(model.loss_normalizer)}
    Normalizers(other).load_state_dict(state)
    other(_batch())
    model(_batch())
    assert float(other.loss_normalizer) == float(model.loss_normalizer)


def test_autocast_gives_about_the_losses_of_single_precision():
    model = _build()
    single = _values(model(_batch()))
    vars(model).pop("loss_normalizer")
    with torch.autocast("cpu", torch.bfloat16):
        terms = model(_batch())
        sum(terms.values()).backward()
    assert _values(terms) == pytest.approx(single, rel=0.05, abs=5e-5)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_box_without_an_area_has_no_location_as_in_detectron2():
    model = _build({"WEND.LOSS": "none", "WEND.ETA": "1.0"})
    batch = _batch()
    batch[1]["instances"].gt_boxes.tensor[0] = torch.tensor([20.0, 20.0, 20.0, 40.0])
    assert _values(model(batch)) == pytest.approx(_stock_values(model, batch), rel=1e-6)
