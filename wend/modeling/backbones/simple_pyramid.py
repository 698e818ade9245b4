"""Maps of several strides of one map, as that of a vision transformer.

Shape letters: N = images, H, W = rows and columns, C = channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch.nn.functional as F
from torch import Tensor, nn

STRIDES = (4, 8, 16, 32)


class LayerNormOfChannels(nn.LayerNorm):
    """Layer norm over the channels of each cell of maps (N, C, H, W), with ViTDet's ε."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SimplePyramid(nn.Module):
    """Maps of strides 4, 8, 16, 32 and 64 of one map: ViTDet's simple feature pyramid.

    Li et al., "Exploring plain vision transformer backbones for object detection" (ECCV 2022),
    section 3: transposed convolutions to finer strides, each of half the channels, max pooling to
    coarser ones, then a 1x1 and a 3x3 convolution with layer norm. The coarsest is a max pooling of
    the one before, as that of Detectron2's pyramids.

    A level is computed when it is asked for: p2 has four times the cells of p3, at which many heads
    begin. All have their parameters, so that a checkpoint loads whatever a head reads; those of a
    level that nobody reads stay as they were drawn.

    Args:
        channels: C of the map.
        stride: S of the map, 4, 8, 16 or 32.
        width: channels of all levels.

    Attributes:
        channels, strides: of the levels by name, "p2" .. "p6", finest first.
    """

    def __init__(self, channels: int, stride: int, width: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(*_rescaled(channels, stride, wanted, width)) for wanted in STRIDES
        )
        names = [f"p{int(math.log2(s))}" for s in (*STRIDES, 2 * STRIDES[-1])]
        self.channels = dict.fromkeys(names, width)
        self.strides = dict(zip(names, (*STRIDES, 2 * STRIDES[-1]), strict=True))

    def forward(self, feature: Tensor) -> Levels:
        """The map (N, C, h, w) -> the levels by name."""
        return Levels(self, feature)

    def level(self, name: str, feature: Tensor) -> Tensor:
        """One of the levels up to p5 of the map (N, C, h, w)."""
        return self.levels[STRIDES.index(self.strides[name])](feature)


class Levels(Mapping[str, Tensor]):
    """The levels of a pyramid by name; each is computed when it is first asked for."""

    def __init__(self, pyramid: SimplePyramid, feature: Tensor) -> None:
        self.pyramid, self.feature = pyramid, feature
        self.computed: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.computed:
            self.computed[name] = self._compute(name)
        return self.computed[name]

    def _compute(self, name: str) -> Tensor:
        if self.pyramid.strides[name] > STRIDES[-1]:
            return F.max_pool2d(self["p5"], kernel_size=1, stride=2)
        return self.pyramid.level(name, self.feature)

    def __iter__(self) -> Iterator[str]:
        return iter(self.pyramid.strides)

    def __len__(self) -> int:
        return len(self.pyramid.strides)


def _rescaled(channels: int, stride: int, wanted: int, width: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    while stride > wanted:
        if layers:
            layers += [LayerNormOfChannels(channels), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2))
        channels, stride = channels // 2, stride // 2
    while stride < wanted:
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
        stride *= 2
    return [
        *layers,
        nn.Conv2d(channels, width, kernel_size=1, bias=False),
        LayerNormOfChannels(width),
        nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
        LayerNormOfChannels(width),
    ]
