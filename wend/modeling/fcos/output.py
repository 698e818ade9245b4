"""What FCOS's head says of a batch, all feature maps in a row.

Shape letters: N = images, R = locations of all levels, K = classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class HeadOutput(NamedTuple):
    """A head's output.

    Attributes:
        logits: (N, R, K), log-odds of each class; of the foreground, if K is 1.
        distances: (N, R, 4), left, top, right and bottom from the location to the box's sides, in
            sides of the location's square; not negative.
        centreness: (N, R), log-odds.
    """

    logits: Tensor
    distances: Tensor
    centreness: Tensor

    @classmethod
    def of_maps(
        cls, logits: Sequence[Tensor], distances: Sequence[Tensor], centreness: Sequence[Tensor]
    ) -> HeadOutput:
        """Of maps (N, K, H, W), (N, 4, H, W) and (N, 1, H, W) of each level.

        Distances below 0 become 0.
        """
        return cls(
            _in_a_row([each.flatten(2).transpose(1, 2) for each in logits]),
            _in_a_row([each.flatten(2).transpose(1, 2) for each in distances]).relu(),
            _in_a_row([each.flatten(1) for each in centreness]),
        )


def _in_a_row(levels: list[Tensor]) -> Tensor:
    return levels[0] if len(levels) == 1 else torch.cat(levels, 1)
