"""Multi-scale deformable attention (Zhu et al., arXiv:2010.04159, eq. (3)) on ``grid_sample``.

Shape letters: N = images, Q = queries, C = width, M = heads, L = levels, P = points of a head on a
level, S = cells of all levels, C' = C / M.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wend.errors import InputError


def sample_levels(
    value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """Weighted sum of the values at points of all levels, read bilinearly, 0 outside of a map.

    Args:
        value: (N, S, M, C'), the levels' cells row by row, one level after the other.
        shapes: height and width in cells of each level.
        locations: (N, Q, M, L, P, 2), x and y in fractions of the map.
        weights: (N, Q, M, L, P), attention.

    Returns:
        (N, Q, C).
    """
    images, _, heads, channels = value.shape
    queries = locations.shape[1]
    # grid_sample wants one type, and positions lose too much in half precision. Queries come last
    # until the end: vectors over them are long, which makes the sums fast.
    grid = (2 * locations - 1).permute(0, 2, 3, 4, 1, 5).flatten(0, 1)  # (N·M, L, P, Q, 2)
    weights = weights.to(grid.dtype).permute(0, 2, 3, 4, 1).flatten(0, 1)  # (N·M, L, P, Q)
    maps = value.to(grid.dtype).permute(0, 2, 3, 1).flatten(0, 1)  # (N·M, C', S)
    output = maps.new_zeros(())
    for level, cells in enumerate(maps.split([h * w for h, w in shapes], dim=-1)):
        sampled = F.grid_sample(
            cells.unflatten(-1, shapes[level]),
            grid[:, level],
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )  # (N·M, C', P, Q)
        output = output + (sampled * weights[:, level, None]).sum(2)
    return output.view(images, heads * channels, queries).transpose(1, 2)


class MultiScaleDeformableAttention(nn.Module):
    """Each query reads a few points of each level, at learned offsets from its reference point.

    Parameters have the names of the official code (github.com/fundamentalvision/Deformable-DETR).

    Args:
        width: C, a multiple of ``heads``.
        heads, levels, points: M, L and P, each at least 1.
    """

    def __init__(self, width: int = 256, heads: int = 8, levels: int = 4, points: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise InputError(f"width {width} is not a multiple of the number of heads {heads}")
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize as the official code: head m looks to side m, point p is p + 1 cells far."""
        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        ring = torch.stack([angle.cos(), angle.sin()], -1)
        ring = ring / ring.abs().amax(-1, keepdim=True)  # (M, 2) on a square
        far = torch.arange(1, self.points + 1)
        bias = ring[:, None, None] * far[:, None]  # (M, 1, P, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(bias.expand(-1, self.levels, -1, -1).flatten())
        nn.init.zeros_(self.sampling_offsets.weight)
        for layer in (self.attention_weights, self.value_proj, self.output_proj):
            nn.init.zeros_(layer.bias)
            nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(self.attention_weights.weight)

    def forward(
        self,
        query: Tensor,
        reference_points: Tensor,
        memory: Tensor,
        shapes: Sequence[tuple[int, int]],
        padding: Tensor | None = None,
    ) -> Tensor:
        """Read the levels at the points of each query.

        Args:
            query: (N, Q, C).
            reference_points: (N, Q, L, 2), x and y in fractions of the map; N and L may be 1.
            memory: (N, S, C), the levels' cells as in :func:`sample_levels`.
            shapes: height and width in cells of each level.
            padding: (N, S), true where a cell belongs to no image and counts as 0.

        Returns:
            (N, Q, C).
        """
        value = self.value_proj(memory)
        if padding is not None:
            value = value.masked_fill(padding[..., None], 0)
        heads = (self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).unflatten(-1, (*heads, 2))
        weights = self.attention_weights(query).unflatten(-1, (self.heads, -1))
        weights = weights.softmax(-1).unflatten(-1, heads[1:])
        size = reference_points.new_tensor([(w, h) for h, w in shapes])  # (L, 2)
        locations = reference_points[:, :, None, :, None] + offsets / size[:, None]
        value = value.unflatten(-1, (self.heads, -1))
        return self.output_proj(sample_levels(value, shapes, locations, weights))
