"""Cells of a transformer's maps lie where the detector's locations and anchors are.

Images whose first two channels are x and y of each pixel go through networks whose layers pass them
on: a cell then holds the middle of what it is made of. Maximum pooling takes the last pixel of its
window; the mean of a ramp's maximum and of its mirror image's is the middle again.
"""

import pytest
import torch
from engine_runs import build, config
from torch import nn

from wend.modeling.backbones.simple_pyramid import LayerNormOfChannels

timm = pytest.importorskip("timm", reason="timm is not installed (extra 'classifier')")
SIDE = 192


def ramp():
    """(1, 3, SIDE, SIDE): x and y of the pixels' middles, and zeros."""
    middles = torch.arange(SIDE) + 0.5
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    return torch.stack([x, y, torch.zeros_like(x)])[None]


@torch.no_grad()
def pass_on(network):
    """Let a transformer or a pyramid have the mean x and y of a cell as its first two channels."""
    for name, module in [*network.named_modules()]:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.weight.zero_()
            if module.bias is not None:
                module.bias.zero_()
            height, width = module.kernel_size
            for i in range(2):
                if "patch_embed" in name:
                    module.weight[i, i] = 1 / (height * width)
                elif isinstance(module, nn.ConvTranspose2d):
                    module.weight[i, i] = 1
                else:
                    module.weight[i, i, height // 2, width // 2] = 1
        for child, inner in module.named_children():
            if isinstance(inner, LayerNormOfChannels | nn.GELU):
                setattr(module, child, nn.Identity())
    transformer = getattr(network, "model", None)
    if transformer is not None:
        transformer.pos_embed.zero_()
        transformer.norm = nn.Identity()
        for block in transformer.blocks:
            for linear in (block.attn.proj, block.mlp.fc2):
                linear.weight.zero_()
                linear.bias.zero_()


@torch.no_grad()
def middles(network):
    """Of the cells of each map (cells, cells, 2): x and y, by the map's name."""
    up, down = network(ramp()), network(-ramp())
    return {name: (up[name] - down[name])[0, :2].permute(1, 2, 0) / 2 for name in up}


def inner(cells, stride):
    """Without the outermost ones: images have no pixels beyond their border."""
    border = max(1, 32 // stride)
    return cells[border:-border, border:-border]


@pytest.mark.parametrize("patch", [8, 14, 16])
@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_a_cell_of_one_map_is_made_of_the_pixels_around_its_middle(patch, stride):
    from wend.modeling.backbones.vit_body import VitBody

    small = {"embed_dim": 8, "num_heads": 1, "depth": 1, "patch_size": patch, "img_size": 2 * patch}
    network = timm.create_model("vit_small_patch16_224", dynamic_img_size=True, **small)
    body = VitBody("a transformer", network, stride).eval()
    pass_on(body.net)
    (cells,) = middles(body).values()
    expected = (torch.arange(SIDE // stride) + 0.5) * stride
    y, x = torch.meshgrid(expected, expected, indexing="ij")
    expected = torch.stack([x, y], 2)
    torch.testing.assert_close(inner(cells, stride), inner(expected, stride), rtol=0, atol=1e-2)


FCOS = {
    **{"MODEL.BACKBONE.NAME": "build_timm_simple_fpn_backbone", "WEND.TIMM.MODEL": "test_vit"},
    **{"WEND.FCOS.IN_FEATURES": "('p2', 'p3', 'p4', 'p5')", "MODEL.FPN.OUT_CHANNELS": "32"},
    **{"WEND.CROP": str(SIDE), "WEND.RESIZE": str(SIDE)},
}
RCNN = {
    **FCOS,
    "MODEL.RPN.IN_FEATURES": "('p2', 'p3', 'p4', 'p5')",
    "MODEL.ROI_HEADS.IN_FEATURES": "('p2', 'p3', 'p4', 'p5')",
    "MODEL.ANCHOR_GENERATOR.SIZES": "[[8], [16], [32], [48]]",
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": "[[1.0]]",
}


def passing_on(engine, detector, changes):
    model = build(engine, config(engine, detector, changes)).eval()
    pass_on(model.backbone.bottom_up.body.net)
    pass_on(model.backbone.simple_fpn)
    maps = {name: value[None] for name, value in middles(model.backbone).items() if name != "p6"}
    return model, maps


@pytest.mark.parametrize("stride", ["8", "16"])
def test_cells_of_a_pyramid_lie_at_the_locations_of_fcos(engine, stride):
    """Of transposed convolutions a cell copies the coarser one: the mean of its copies is right.

    Torchvision's FCOS has its anchors' corners for locations, half a cell before, on all backbones.
    """
    model, maps = passing_on(engine, "fcos", {**FCOS, "WEND.TIMM.STRIDE": stride})
    features = [torch.zeros(1, 1, *value.shape[1:3]) for value in maps.values()]
    size = () if engine == "detectron2" else ((SIDE, SIDE),)
    locations = model._locations_of(features, *size)
    per_level = locations.middles[:, :2].split(locations.counts)
    for (name, cells), centres in zip(maps.items(), per_level, strict=True):
        step = 2 ** int(name[1])
        before = 0 if engine == "detectron2" else step / 2
        off = inner(cells[0] - before - centres.reshape(cells[0].shape), step)
        assert off.mean((0, 1)).abs().max() < 0.01 * step, name
        assert off.abs().max() <= max(int(stride) - step, 0) / 2 + 0.01, name


def test_anchors_of_faster_rcnn_lie_half_a_cell_before_as_in_both_libraries(engine):
    """On every backbone: both put anchors at cell · stride, and boxes are regressed from there."""
    model, maps = passing_on(engine, "rcnn", RCNN)
    features = [torch.zeros(1, 1, *value.shape[1:3]) for value in maps.values()]
    if engine == "detectron2":
        anchors = [each.tensor for each in model.proposal_generator.anchor_generator(features)]
    else:
        from wend.tv.detector import level_anchors

        anchors = level_anchors(model.rpn.anchor_generator, features, (SIDE, SIDE))
    for (name, cells), boxes in zip(maps.items(), anchors, strict=True):
        step = 2 ** int(name[1])
        centres = ((boxes[:, :2] + boxes[:, 2:]) / 2).reshape(cells[0].shape)
        off = inner(cells[0] - centres, step).mean((0, 1))
        torch.testing.assert_close(off, torch.full((2,), step / 2), rtol=0, atol=0.01 * step)
