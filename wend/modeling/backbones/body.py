"""What a backbone is for both engines: a network with feature maps by name."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from wend.errors import InputError


class Body(nn.Module):
    """A network that maps images to a dict of feature maps.

    Attributes:
        channels: channels of each feature map by its name.
        strides: pixels of the image per cell of each feature map by its name.
    """

    channels: dict[str, int]
    strides: dict[str, int]

    def converted(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights of a file of others, under names and in shapes that this network knows.

        Here as they are. Names that a detector puts before the network's are not its business.
        """
        return weights

    def parameters_up_to(self, freeze_at: int) -> set[str]:
        """Names of the parameters of the first ``freeze_at`` stages, 1 <= ``freeze_at`` <= 4.

        Raises:
            InputError: the body has no such stages.
        """
        raise InputError(
            f"config entry MODEL.BACKBONE.FREEZE_AT: expected 0 (nothing) or 5 (the whole "
            f"backbone), as {type(self).__name__} has no parameters_up_to, got {freeze_at}"
        )
