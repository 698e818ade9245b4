"""Where FCOS's head predicts: the cells of all feature maps in a row.

Shape letters: R = locations of all levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Locations:
    """The locations of a batch's feature maps, those of the finest level first.

    Attributes:
        middles: (R, 4), their centres x, y, x, y in pixels.
        points: (R, 4), the centres as boxes without area, in outward form.
        sides: (R, 1), of the squares around the centres, in pixels: their level's stride.
        spans: (R, 4), the sides with the signs of the outward form.
        signs: (4,), -1 for x0 and y0, 1 for x1 and y1: a box times them is in outward form.
        lower, upper: (R,) pixels: a location is for boxes whose farthest side is farther from it
            than the one and nearer than the other.
        counts: locations of each level.
    """

    middles: Tensor
    points: Tensor
    sides: Tensor
    spans: Tensor
    signs: Tensor
    lower: Tensor
    upper: Tensor
    counts: tuple[int, ...]

    @classmethod
    def of_anchors(cls, anchors: Sequence[Tensor]) -> Locations:
        """Of squares (R of the level, 4) of each level, xyxy; float32.

        A level is for boxes of 4 to 8 strides, the first one also for smaller and the last one for
        larger ones.
        """
        counts = tuple(map(len, anchors))
        squares = torch.cat([*anchors]).float()
        centres = (squares[:, :2] + squares[:, 2:]) / 2
        sides = squares[:, 2:3] - squares[:, :1]
        lower, upper = sides[:, 0] * 4, sides[:, 0] * 8
        lower[: counts[0]] = 0
        upper[len(upper) - counts[-1] :] = torch.inf
        signs = squares.new_tensor([-1.0, -1.0, 1.0, 1.0])
        middles = torch.cat([centres, centres], 1)
        return cls(middles, middles * signs, sides, sides * signs, signs, lower, upper, counts)

    def boxes(self, distances: Tensor) -> Tensor:
        """Boxes (N, R, 4), xyxy, of distances (N, R, 4) in sides of the squares; float32."""
        return self.middles + distances.float() * self.spans
