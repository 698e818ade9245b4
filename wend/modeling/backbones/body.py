"""What a backbone is for both engines: a network with feature maps by name."""

from __future__ import annotations

from torch import nn


class Body(nn.Module):
    """A network that maps images to a dict of feature maps.

    Attributes:
        channels: channels of each feature map by its name.
        strides: pixels of the image per cell of each feature map by its name.
    """

    channels: dict[str, int]
    strides: dict[str, int]

    def parameters_up_to(self, freeze_at: int) -> set[str]:
        """Names of the parameters of the first ``freeze_at`` stages, 1 <= ``freeze_at`` <= 4."""
        raise NotImplementedError
