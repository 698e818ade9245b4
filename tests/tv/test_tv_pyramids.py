"""Feature pyramids on torchvision's engine: the levels are Detectron2's, and detectors learn."""

import pytest
import torch
from engine_runs import build, d2_config, detections, losses, random_crops, tv_config

from wend.errors import InputError
from wend.tv.backbones import build_backbone
from wend.tv.detector import StrideAnchors

PYRAMID = {
    "MODEL.BACKBONE.NAME": "build_small_cnn_fpn_backbone",
    "MODEL.FPN.IN_FEATURES": "('stage2', 'stage3')",
    "MODEL.FPN.OUT_CHANNELS": "64",
    "WEND.FCOS.IN_FEATURES": "('p2', 'p3', 'p4')",
    "MODEL.RPN.IN_FEATURES": "('p2', 'p3', 'p4')",
    "MODEL.ROI_HEADS.IN_FEATURES": "('p2', 'p3')",
    "MODEL.ANCHOR_GENERATOR.SIZES": "[[8], [16], [32]]",
    "WEND.DETR.IN_FEATURES": "('p2', 'p3')",
    "WEND.SCR.IN_FEATURE": "p4",
}
P6P7 = {**PYRAMID, "MODEL.BACKBONE.NAME": "build_small_cnn_fpn_p6p7_backbone"}


@pytest.mark.detectron2
@pytest.mark.parametrize(("changes", "width"), [(PYRAMID, 64), (P6P7, 64), (P6P7, 32)])
def test_levels_are_detectron2s(changes, width):
    """The same weights; at width 32 P5 and the body's last map are equally wide."""
    from detectron2.modeling import build_backbone as build_theirs

    import wend.d2  # noqa: F401  (registers backbones)

    changes = {**changes, "MODEL.FPN.OUT_CHANNELS": str(width)}
    ours, theirs = (
        build_backbone(tv_config("fcos", changes)),
        build_theirs(d2_config("fcos", changes)),
    )
    names: dict[str, str] = {}
    for number, level in enumerate((2, 3)):
        for mine, their in (("inner_blocks", "fpn_lateral"), ("layer_blocks", "fpn_output")):
            names |= {
                f"{their}{level}.{e}": f"fpn.{mine}.{number}.0.{e}" for e in ("weight", "bias")
            }
    state = {
        names.get(name, name.replace("top_block.", "fpn.extra_blocks.")): value
        for name, value in theirs.state_dict().items()
    }
    ours.load_state_dict(state)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        given, expected = ours.eval()(images), theirs.eval()(images)
    assert list(given) == list(expected)
    assert ours.strides == {name: shape.stride for name, shape in theirs.output_shape().items()}
    assert ours.channels == {name: shape.channels for name, shape in theirs.output_shape().items()}
    for name, level in expected.items():
        torch.testing.assert_close(given[name], level)


@pytest.mark.parametrize("detector", ["fcos", "rcnn", "detr", "scr"])
def test_detectors_train_and_predict_on_a_pyramid(detector):
    cfg = tv_config(detector, PYRAMID)
    model = build("torchvision", cfg)
    terms = losses("torchvision", model, random_crops(2, (1, 2)))
    sum(terms.values()).backward()
    gradients = {
        n.split(".")[1]
        for n, p in model.backbone.named_parameters("backbone")
        if p.grad is not None and p.grad.any()
    }
    assert gradients == {"bottom_up", "fpn"}
    for boxes, scores in detections("torchvision", model.eval(), random_crops(2, (1,))):
        assert boxes.shape == (len(scores), 4)


def test_anchors_lie_a_stride_apart_where_a_map_is_larger_than_the_image():
    """224 pixels have 4 cells of stride 64: at 0, 64, 128 and 192, and torchvision's at 56s."""
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.image_list import ImageList

    sizes, ratios = ((64,), (32,)), ((1.0,), (1.0,))
    images = ImageList(torch.zeros(2, 3, 224, 224), [(224, 224)] * 2)
    maps = [torch.zeros(2, 8, side, side) for side in (4, 7)]
    ours = StrideAnchors(sizes, ratios, [64, 32])(images, maps)
    assert [len(anchors) for anchors in ours] == [4 * 4 + 7 * 7] * 2
    centres = (ours[0][:, :2] + ours[0][:, 2:]) / 2
    assert sorted({*centres[:16, 0].tolist()}) == [0, 64, 128, 192]
    theirs = AnchorGenerator(sizes, ratios)(images, maps)
    torch.testing.assert_close(ours[0][16:], theirs[0][16:], rtol=0, atol=0)  # 224 / 32 = 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MODEL.FPN.IN_FEATURES": "()"}, r"MODEL\.FPN\.IN_FEATURES: expected neighbouring"),
        ({"MODEL.FPN.IN_FEATURES": "('stage1', 'stage3')"}, "expected neighbouring"),
        ({"MODEL.FPN.IN_FEATURES": "('stage3', 'stage2')"}, "expected neighbouring"),
        ({"MODEL.FPN.IN_FEATURES": "('res4', 'res5')"}, "stage1, stage2, stage3; got"),
        ({"MODEL.FPN.NORM": "LN"}, r"MODEL\.FPN\.NORM: expected one of '', 'BN', 'GN', got 'LN'"),
        ({"MODEL.FPN.NORM": "GN", "MODEL.FPN.OUT_CHANNELS": "40"}, r"MODEL\.FPN\.OUT_CHANNELS"),
        ({"WEND.FCOS.IN_FEATURES": "('p2', 'p9')"}, r"WEND\.FCOS\.IN_FEATURES: expected some of"),
    ],
)
def test_a_pyramid_that_does_not_fit_names_the_entry(changes, message):
    with pytest.raises(InputError, match=message):
        build("torchvision", tv_config("fcos", {**PYRAMID, **changes}))
