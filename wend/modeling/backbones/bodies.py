"""Torchvision's networks, without their classifiers, as chains of stages with a feature map each.

A stage is all that runs at one resolution; its last map is output. Maps have ceil(H / S) x
ceil(W / S) cells (torchvision's have floor where a side is no multiple of S); at multiples of S
they are torchvision's, but for InceptionV3 (:mod:`wend.modeling.backbones.inception`).

Shape letters: N = images, H, W = pixels, C = channels, S = stride.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.models import GoogLeNet, densenet161, resnet, vgg

from wend.errors import InputError
from wend.modeling.backbones.body import Body
from wend.modeling.backbones.inception import AlignedInception3

STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}


class StagedBody(Body):
    """A chain of a network's modules, cut into stages; they keep the network's names.

    Args:
        network: the network that holds the modules.
        stages: names of the modules in the order in which they run, for "stem", "res2" ... "res5".
        channels: channels of the maps res2 ... res5.

    Attributes:
        channels, strides: channels and strides of the feature maps by name.
    """

    def __init__(
        self, network: nn.Module, stages: Mapping[str, Sequence[str]], channels: Sequence[int]
    ) -> None:
        super().__init__()
        self.stages = {stage: tuple(names) for stage, names in stages.items()}
        for name in (name for names in self.stages.values() for name in names):
            top = name.split(".")[0]
            if not hasattr(self, top):
                self.add_module(top, getattr(network, top))
        self.channels = dict(zip(STRIDES, channels, strict=True))
        self.strides = dict(STRIDES)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) -> maps (N, C, ceil(H/S), ceil(W/S)) by name."""
        features = {}
        for stage, names in self.stages.items():
            for name in names:
                x = self.get_submodule(name)(x)
            if stage in self.channels:
                features[stage] = x
        return features

    def parameters_up_to(self, freeze_at: int) -> set[str]:
        """Names of the parameters of the first ``freeze_at`` stages, the stem being the first."""
        parts = [f"{part}." for names in list(self.stages.values())[:freeze_at] for part in names]
        return {name for name, _ in self.named_parameters() if name.startswith(tuple(parts))}


class ImageNetToInception(nn.Module):
    """Renormalizes RGB to mean and deviation 0.5: torchvision's ``transform_input``.

    Torchvision's weights of GoogLeNet and InceptionV3 were trained elsewhere on such images.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        self.register_buffer("scale", (std / 0.5).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", ((mean - 0.5) / 0.5).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W), normalized one way -> the other."""
        return x * self.scale + self.shift


def max_pool_after() -> nn.Module:
    """3x3 max pooling with stride 2 whose windows begin at the cell: H -> ceil(H / 2).

    Zeros behind the map stand for nothing, as a ReLU comes before.
    """
    return nn.Sequential(nn.ZeroPad2d((0, 2, 0, 2)), nn.MaxPool2d(3, stride=2))


def resnet_body(depth: int) -> StagedBody:
    """ResNet-18 ... ResNet-152; the stride is in the 3x3 convolution."""
    builder = getattr(resnet, f"resnet{depth}", None)
    if builder is None:
        raise InputError(f"config entry MODEL.RESNETS.DEPTH: no ResNet-{depth}")
    network = builder(weights=None, num_classes=1)
    width = network.fc.in_features
    stages = {
        "stem": ("conv1", "bn1", "relu", "maxpool"),
        **{f"res{i}": (f"layer{i - 1}",) for i in range(2, 6)},
    }
    return StagedBody(network, stages, [width // 8, width // 4, width // 2, width])


def densenet161_body() -> StagedBody:
    """DenseNet161: a map after each dense block, the last behind the final norm and ReLU."""
    network = densenet161(weights=None, num_classes=1)
    network.features.add_module("relu5", nn.ReLU(inplace=True))
    for i in range(1, 4):
        network.features.get_submodule(f"transition{i}.pool").ceil_mode = True
    layers = {
        "stem": ("conv0", "norm0", "relu0", "pool0"),
        "res2": ("denseblock1",),
        "res3": ("transition1", "denseblock2"),
        "res4": ("transition2", "denseblock3"),
        "res5": ("transition3", "denseblock4", "norm5", "relu5"),
    }
    stages = {stage: [f"features.{name}" for name in names] for stage, names in layers.items()}
    return StagedBody(network, stages, (384, 768, 2112, 2208))


def vgg16_body() -> StagedBody:
    """VGG16 without batch norm: maps before pool3, pool4, pool5, and pool5's."""
    network = nn.Module()  # not torchvision's VGG: its classifier alone would fill 0.5 GB
    network.features = layers = vgg.make_layers(vgg.cfgs["D"])
    for layer in layers:
        if isinstance(layer, nn.Conv2d):  # as torchvision begins
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True
    ends = {"stem": 10, "res2": 16, "res3": 23, "res4": 30, "res5": 31}
    starts = [0, *ends.values()]
    stages = {
        stage: [f"features.{i}" for i in range(start, end)]
        for start, (stage, end) in zip(starts, ends.items(), strict=False)
    }
    return StagedBody(network, stages, (256, 512, 512, 512))


def googlenet_body() -> StagedBody:
    """GoogLeNet (with batch norm): maps after conv3, 3b, 4e and 5b."""
    network = GoogLeNet(num_classes=1, aux_logits=False, init_weights=True)
    network.transform = ImageNetToInception()
    network.maxpool1, network.maxpool2, network.maxpool3 = (max_pool_after() for _ in range(3))
    stages = {
        "stem": ("transform", "conv1", "maxpool1"),
        "res2": ("conv2", "conv3"),
        "res3": ("maxpool2", "inception3a", "inception3b"),
        "res4": ("maxpool3", *(f"inception4{i}" for i in "abcde")),
        "res5": ("maxpool4", "inception5a", "inception5b"),
    }
    return StagedBody(network, stages, (192, 480, 832, 1024))


def inception_v3_body() -> StagedBody:
    """InceptionV3 with paddings: maps after 4a, 5d, 6e and 7c."""
    network = AlignedInception3()
    network.transform = ImageNetToInception()
    stages = {
        "stem": ("transform", "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1"),
        "res2": ("Conv2d_3b_1x1", "Conv2d_4a_3x3"),
        "res3": ("maxpool2", "Mixed_5b", "Mixed_5c", "Mixed_5d"),
        "res4": tuple(f"Mixed_6{i}" for i in "abcde"),
        "res5": ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
    }
    return StagedBody(network, stages, (192, 288, 768, 2048))
