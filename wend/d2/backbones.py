"""Backbones by name for ``MODEL.BACKBONE.NAME`` (Detectron2 has ResNet with and without FPN)."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor

from wend.layers.small_cnn import SmallCNN


class SmallCNNBackbone(Backbone):
    """:class:`wend.layers.small_cnn.SmallCNN` as Detectron2's backbone.

    Args:
        channels: output channels of the stages, see there.
        in_channels: channels of the image.
    """

    def __init__(self, channels: tuple[int, ...], in_channels: int = 3) -> None:
        super().__init__()
        self.body = SmallCNN(tuple(channels), in_channels)
        self._out_features = list(self.body.channels)
        self._out_feature_channels = dict(self.body.channels)
        self._out_feature_strides = dict(self.body.strides)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Image (N, C, H, W) -> feature maps by name."""
        return self.body(image)


@BACKBONE_REGISTRY.register()
def build_small_cnn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """``WEND.SMALL_CNN``'s network."""
    return SmallCNNBackbone(cfg.WEND.SMALL_CNN.CHANNELS, input_shape.channels)
