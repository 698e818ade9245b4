"""InceptionV3 whose maps lie as heads assume: ceil(H / S) cells, cell i about S * (i + 0.5).

Torchvision's convolutions and pools without padding lose the border: at 224x224 the map of stride
32 has 5x5 cells and cell i is centred at pixel 32 * i + 37.5. Here each of them is padded, so that
the weights, which do not depend on padding, still load.

A 3x3 window with stride 2 is centred half a pixel (of its input) before or behind the middle of the
two pixels that it stands for: before with one row of padding on each side, behind with two rows at
the end. The five of them alternate, so that the errors -0.5, +1, -2, +4, -8 pixels nearly cancel:
+0.5 (stride 4), -1.5 (8), +2.5 (16), -5.5 (32) against -1.5, -3.5, -7.5, -15.5 of a ResNet.

Shape letters: N = images, H, W = rows and columns, C = channels, S = stride.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import inception

_BEHIND = (0, 2, 0, 2)  # left, right, top, bottom


class _InceptionB(inception.InceptionB):
    """Mixed_6a; its three branches with stride 2 are padded at the end."""

    def _forward(self, x: Tensor) -> list[Tensor]:
        """Map (N, C, H, W) -> the branches' (N, ., ceil(H/2), ceil(W/2))."""
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        x = F.pad(x, _BEHIND)  # by zeros, which a max pool behind a ReLU does not see
        return [
            self.branch3x3(x),
            self.branch3x3dbl_3(F.pad(double, _BEHIND)),
            F.max_pool2d(x, kernel_size=3, stride=2),
        ]


class _InceptionD(inception.InceptionD):
    """Mixed_7a; its three branches with stride 2 are padded on each side."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels)
        for block in (self.branch3x3_2, self.branch7x7x3_4):
            block.conv.padding = (1, 1)

    def _forward(self, x: Tensor) -> list[Tensor]:
        """Map (N, C, H, W) -> the branches' (N, ., ceil(H/2), ceil(W/2))."""
        long = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        pooled = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        return [self.branch3x3_2(self.branch3x3_1(x)), long, pooled]


class AlignedInception3(inception.Inception3):
    """Torchvision's network with these paddings, no auxiliary head and a classifier of one."""

    def __init__(self) -> None:
        blocks = [
            inception.BasicConv2d,
            inception.InceptionA,
            _InceptionB,
            inception.InceptionC,
            _InceptionD,
            inception.InceptionE,
            inception.InceptionAux,
        ]
        super().__init__(
            num_classes=1, aux_logits=False, inception_blocks=blocks, init_weights=True
        )
        for block in (self.Conv2d_1a_3x3, self.Conv2d_2a_3x3, self.Conv2d_4a_3x3):
            block.conv.padding = (1, 1)
        self.maxpool1 = nn.Sequential(nn.ZeroPad2d(_BEHIND), nn.MaxPool2d(3, stride=2))
        self.maxpool2 = nn.MaxPool2d(3, stride=2, padding=1)
