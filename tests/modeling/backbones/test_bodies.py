"""Torchvision's networks as bodies: their sizes, and where the cells of their maps lie."""

import functools

import pytest
import torch
import torch.nn.functional as F
from networks import make_meta, randomize
from torchvision import models

from wend.errors import InputError

meta = functools.cache(make_meta)  # for what changes nothing
CHANNELS = {
    "resnet": (256, 512, 1024, 2048),  # depth 50
    "densenet161": (384, 768, 2112, 2208),  # 96+6·48, 192+12·48, 384+36·48, 1056+24·48
    "vgg16": (256, 512, 512, 512),
    "googlenet": (192, 480, 832, 1024),
    "inception_v3": (192, 288, 768, 2048),
}
# What torchvision publishes for the whole network, less what a classifier n -> 1000 has
PARAMETERS = {
    "resnet": (models.ResNet50_Weights.IMAGENET1K_V1, 2_049_000),  # 2048·1000 + 1000
    "densenet161": (models.DenseNet161_Weights.IMAGENET1K_V1, 2_209_000),  # 2208·1000 + 1000
    # 25088·4096 + 4096, 4096·4096 + 4096, 4096·1000 + 1000
    "vgg16": (models.VGG16_Weights.IMAGENET1K_V1, 102_764_544 + 16_781_312 + 4_097_000),
    "googlenet": (models.GoogLeNet_Weights.IMAGENET1K_V1, 1_025_000),  # counted without aux heads
    # fc; aux: 768·128 + 2·128, 128·768·25 + 2·768, 768·1000 + 1000
    "inception_v3": (
        models.Inception_V3_Weights.IMAGENET1K_V1,
        2_049_000 + 98_560 + 2_459_136 + 769_000,
    ),
}
TRUNKS = {  # the same, computed once by hand
    "resnet": 23_508_032,
    "densenet161": 26_472_000,
    "vgg16": 14_714_688,
    "googlenet": 5_599_904,
    "inception_v3": 21_785_568,
}
# Pixels from S·(i + 0.5) to the middle of what cell i sees, for res2 ... res5. Each 3x3 or 7x7
# window with stride 2 is off by half a pixel of its input: before the middle of the two pixels it
# stands for where it is padded on both sides, behind where at the end only; 2x2 windows are exact.
OFFSETS = {
    "resnet": (-1.5, -3.5, -7.5, -15.5),
    "densenet161": (-1.5, -1.5, -1.5, -1.5),
    "vgg16": (0, 0, 0, 0),
    "googlenet": (0.5, 2.5, 6.5, 6.5),
    "inception_v3": (0.5, -1.5, 2.5, -5.5),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_maps_have_the_channels_strides_and_sizes_that_the_body_says(name):
    body = meta(name).eval()
    assert body.channels == dict(zip(("res2", "res3", "res4", "res5"), CHANNELS[name], strict=True))
    assert body.strides == {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
    for height, width in ((224, 65), (1, 31)):
        maps = body(torch.zeros(2, 3, height, width, device="meta"))
        assert list(maps) == list(body.channels)
        for key, one in maps.items():
            cells = (-(-height // body.strides[key]), -(-width // body.strides[key]))  # rounded up
            assert one.shape == (2, body.channels[key], *cells)


@pytest.mark.parametrize("name", PARAMETERS)
def test_trunk_has_torchvisions_parameters_less_the_classifiers(name):
    weights, classifier = PARAMETERS[name]
    count = sum(p.numel() for p in meta(name).parameters())
    assert count == weights.meta["num_params"] - classifier == TRUNKS[name]


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_resnets_have_their_depths_widths(depth):
    body = make_meta("resnet", MODEL__RESNETS__DEPTH=depth)
    assert body.channels["res5"] == (512 if depth < 50 else 2048)


def test_unknown_depth_is_an_error():
    with pytest.raises(InputError, match=r"^config entry MODEL\.RESNETS\.DEPTH: no ResNet-51"):
        make_meta("resnet", MODEL__RESNETS__DEPTH=51)


def _average(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, **_):
    return x if stride == 1 else F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode)


def _averaging(body):
    """Make each cell a mean of pixels: of all in a window with stride 2, else of the middle one."""
    body = body.to_empty(device="cpu").eval()
    with torch.no_grad():
        for name, value in [*body.named_parameters(), *body.named_buffers()]:
            value.fill_(name.endswith(("weight", "running_var", "scale")))
        for module in body.modules():
            if isinstance(module, torch.nn.Conv2d):
                height, width = module.kernel_size
                if module.stride == (1, 1):
                    module.weight.zero_()
                    module.weight[:, :, height // 2, width // 2] = 1
                module.weight /= module.weight[0].sum()
    return body


@pytest.mark.parametrize("name", OFFSETS)
def test_cells_see_what_lies_around_the_middle_that_heads_assume(monkeypatch, name):
    depth = {"MODEL__RESNETS__DEPTH": 18} if name == "resnet" else {}
    body = _averaging(make_meta(name, **depth))
    # the maximum of equals would be the first; what lies evenly around a cell changes no middle
    monkeypatch.setattr(F, "max_pool2d", _average)
    avg_pool2d = F.avg_pool2d
    monkeypatch.setattr(
        F, "avg_pool2d", lambda x, *a, **k: x if k.get("stride") == 1 else avg_pool2d(x, *a, **k)
    )
    side = 128
    image = torch.ones(1, 3, side, side, requires_grad=True)
    for (key, one), offset in zip(body(image).items(), OFFSETS[name], strict=True):
        stride = body.strides[key]
        cell = side // stride // 2
        seen = torch.autograd.grad(one[0, :, cell, cell].sum(), image, retain_graph=True)[0]
        for others in ((0, 1, 2), (0, 1, 3)):  # what each column sees, and each row
            share = seen.sum(others)
            assert share[0] == share[-1] == 0  # all that the cell sees lies inside
            middle = (share * (torch.arange(side) + 0.5)).sum() / share.sum()
            assert middle.item() == pytest.approx(stride * (cell + 0.5) + offset, abs=0.01)


def test_inception_v3_is_torchvisions_network_with_padding(monkeypatch):
    """Torchvision's own forward, with the paddings put in where it calls for none."""
    network = models.inception_v3(weights=None, transform_input=True, init_weights=False)
    randomize(network).eval()
    body = make_meta("inception_v3").to_empty(device="cpu").eval()
    body.transform = type(body.transform)()
    body.load_state_dict(network.state_dict(), strict=False)
    image = torch.randn(1, 3, 97, 128)
    with torch.no_grad():
        ours = body(image)["res5"]
    around, behind = (1, 1, 1, 1), (0, 2, 0, 2)
    conv2d, max_pool2d = F.conv2d, F.max_pool2d
    # 1a, 2a, 4a, two branches of 6a, two of 7a; maxpool1, maxpool2, 6a, 7a
    convolutions = iter([around, around, around, behind, behind, around, around])
    pools = iter([behind, around, behind, around])

    def padded_convolution(x, weight, bias, stride, padding, *others):
        if weight.shape[-2:] == (3, 3) and padding == (0, 0):
            x = F.pad(x, next(convolutions))
        return conv2d(x, weight, bias, stride, padding, *others)

    def padded_pool(x, *arguments, **named):
        return max_pool2d(F.pad(x, next(pools), value=-torch.inf), *arguments, **named)

    monkeypatch.setattr(F, "conv2d", padded_convolution)
    monkeypatch.setattr(F, "max_pool2d", padded_pool)
    seen = []
    network.Mixed_7c.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        network(image)
    assert list(convolutions) == list(pools) == []
    assert ours.shape == (1, 2048, 4, 4)
    assert ours.std() > 0
    torch.testing.assert_close(ours, seen[0])
