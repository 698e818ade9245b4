"""A small backbone that learns from scratch in a minute on a CPU: for the demo and the tests."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from wend.errors import InputError
from wend.modeling.backbones.body import Body


class SmallCNN(Body):
    """A plain stack of stages, each of two 3x3 convolutions with batch norm and ReLU.

    The first convolution of a stage halves the resolution, so stage i has stride 2**i.

    Args:
        channels: output channels of each stage; at least one stage. The last must be a multiple of
            32, since the detection heads put GroupNorm(32) on it.
        in_channels: channels of the input image.

    Attributes:
        channels: output channels by stage name ("stage1", "stage2", ...).
        strides: pixels of the input per feature cell by stage name.
    """

    def __init__(self, channels: Sequence[int] = (32, 64, 128), in_channels: int = 3) -> None:
        super().__init__()
        if not channels or min(channels) < 1 or channels[-1] % 32:
            raise InputError(
                "channels (config entry WEND.SMALL_CNN.CHANNELS) must be positive and the last a "
                f"multiple of 32, as the heads' GroupNorm(32) needs, got {tuple(channels)}"
            )
        names = [f"stage{i}" for i in range(1, len(channels) + 1)]
        widths = [in_channels, *channels]
        self.channels = dict(zip(names, channels, strict=True))
        self.strides = {name: 2**i for i, name in enumerate(names, start=1)}
        self.stages = nn.ModuleDict(
            {name: _stage(widths[i], widths[i + 1]) for i, name in enumerate(names)}
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps images (N, in_channels, H, W) to features (N, C, ceil(H/s), ceil(W/s)) by stage."""
        features = {}
        for name, stage in self.stages.items():
            x = features[name] = stage(x)
        return features

    def parameters_up_to(self, freeze_at: int) -> set[str]:
        """Names of the parameters of the stages 1 to ``freeze_at``."""
        early = tuple(f"stages.stage{i}." for i in range(1, freeze_at + 1))
        return {name for name, _ in self.named_parameters() if name.startswith(early)}


def _stage(in_channels: int, out_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, stride in ((in_channels, 2), (out_channels, 1)):
        layers += [
            nn.Conv2d(width, out_channels, kernel_size=3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
