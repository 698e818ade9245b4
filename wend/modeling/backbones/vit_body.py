"""Vision transformers of timm as bodies: one feature map, of the patches' tokens.

Shape letters: N = images, H, W = pixels, C = channels, p = side of a patch, S = stride.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from timm.models._features import FeatureGetterNet
from torch import Tensor

from wend.errors import InputError
from wend.modeling.backbones.body import Body
from wend.modeling.backbones.simple_pyramid import STRIDES
from wend.pretrained.transformer_names import transformer_as_timm

_ENTRY = "config entry WEND.TIMM.STRIDE"


class VitBody(Body):
    """The last tokens of the patches, behind the final norm; class and register tokens left out.

    Heads need maps whose cells are 4, 8, 16 or 32 pixels apart, and DINOv2's patches have 14. So
    images are resized before they are cut into patches, such that a patch covers S pixels of the
    input: 224 pixels are 196 for p = 14 and S = 16, and 448 for p = 16 and S = 8. Positions are
    resampled to the number of patches, as timm does.

    Where convolutions come before the transformer (hybrids, ViTamin), p is their stride times the
    patch.

    Args:
        name: timm's, such as "vit_small_patch14_dinov2".
        network: timm's network of that name, which takes images of any multiple of p.
        stride: S; 0 for the one of :data:`STRIDES` that is nearest to p.

    Attributes:
        channels, strides: of the one map, called after its stride: "res4" is 16.

    Raises:
        InputError: a stride that no map can have, or a network whose input has one size.
    """

    def __init__(self, name: str, network: Any, stride: int = 0) -> None:
        super().__init__()
        height, width = network.patch_embed.feat_ratio(as_scalar=False)
        if height != width or not getattr(network, "dynamic_img_size", False):
            raise InputError(
                f"config entry WEND.TIMM.MODEL: expected a transformer of square patches that "
                f"takes images of any size, got {name}"
            )
        if stride not in (0, *STRIDES):
            raise InputError(
                f"{_ENTRY}: expected one of {', '.join(map(str, STRIDES))}, or 0 for the nearest "
                f"to the patch's side, {height}; got {stride}"
            )
        self.name, self.patch = name, height
        self.stride = stride or min(STRIDES, key=lambda s: abs(math.log2(s / height)))
        network.reset_classifier(0)
        last = len(network.blocks) - 1
        self.net = FeatureGetterNet(network, (last,), norm=True)
        key = f"res{int(math.log2(self.stride))}"
        self.channels, self.strides = {key: network.num_features}, {key: self.stride}

    def converted(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """A transformer's weights as timm names them."""
        return transformer_as_timm(weights, self.net.model)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) -> the map (N, C, ceil(H/S), ceil(W/S)) by its name."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.stride, 0, -height % self.stride))
        if self.patch != self.stride:
            size = [side // self.stride * self.patch for side in x.shape[-2:]]
            x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        (feature,) = self.net(x)
        return dict.fromkeys(self.channels, feature)
