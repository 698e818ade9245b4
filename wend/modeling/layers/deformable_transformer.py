"""Deformable DETR after the backbone: projections, encoder, decoder and heads.

Without box refinement and without the two-stage variant (Zhu et al., arXiv:2010.04159, section 4).
Initial values are those of the official code (github.com/fundamentalvision/Deformable-DETR).

Shape letters: N = images, C = width, L = levels, S = cells of all levels, Q = queries, D = layers
of the decoder, H, W = height and width of a map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wend.errors import InputError
from wend.modeling.layers.deformable_attention import MultiScaleDeformableAttention

GROUPS = 32  # of the projections' GroupNorm
TEMPERATURE = 10000.0


def sine_embedding(padding: Tensor, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Sine position embedding of a map; half of the channels tell y, half x, in 0 .. 2π.

    Args:
        padding: (N, H, W), true where a cell belongs to no image.
        width: C, a multiple of 4.
        dtype: type of the result.

    Returns:
        (N, H·W, C).
    """
    if width % 4:
        raise InputError(f"sine position embedding: width {width} is not a multiple of 4")
    channel = torch.arange(width // 4, dtype=dtype, device=padding.device)
    wavelength = TEMPERATURE ** (4 * channel / width)
    parts = []
    for axis in (1, 2):
        position = (~padding).cumsum(axis, dtype=dtype)
        last = position.narrow(axis, -1, 1)
        angle = ((position - 0.5) / (last + 1e-6) * 2 * math.pi)[..., None] / wavelength
        parts.append(torch.stack([angle.sin(), angle.cos()], -1).flatten(3))
    return torch.cat(parts, -1).flatten(1, 2)


def _cell_centres(shapes: Sequence[tuple[int, int]], valid_ratios: Tensor) -> Tensor:
    """Reference points of the encoder: each cell's centre on every level, (N or 1, S, L, 2).

    Args:
        shapes: height and width in cells of each level.
        valid_ratios: (N or 1, L, 2), share of each map's width and height that its image fills.
    """
    centres = []
    for level, (height, width) in enumerate(shapes):
        y = torch.arange(height, dtype=valid_ratios.dtype, device=valid_ratios.device) + 0.5
        x = torch.arange(width, dtype=valid_ratios.dtype, device=valid_ratios.device) + 0.5
        grid = torch.stack(torch.meshgrid(x / width, y / height, indexing="xy"), -1).flatten(0, 1)
        centres.append(grid / valid_ratios[:, None, level])  # in fractions of the image
    return torch.cat(centres, 1)[:, :, None] * valid_ratios[:, None]


class _FeedForward(nn.Sequential):
    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(width, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )


class EncoderLayer(nn.Module):
    """Deformable self-attention of all cells, then a feed-forward network; normalized after each.

    Args:
        width, heads, levels, points: see :class:`MultiScaleDeformableAttention`.
        feed_forward: width of the hidden layer.
        dropout: in [0, 1).
    """

    def __init__(
        self, width: int, heads: int, levels: int, points: int, feed_forward: int, dropout: float
    ) -> None:
        super().__init__()
        self.self_attn = MultiScaleDeformableAttention(width, heads, levels, points)
        self.dropout = nn.Dropout(dropout)
        self.norm1 = nn.LayerNorm(width)
        self.feed_forward = _FeedForward(width, feed_forward, dropout)
        self.norm2 = nn.LayerNorm(width)

    def forward(
        self,
        cells: Tensor,
        positions: Tensor,
        reference_points: Tensor,
        shapes: Sequence[tuple[int, int]],
        padding: Tensor | None,
    ) -> Tensor:
        """Cells (N, S, C) with their position embeddings (N or 1, S, C) -> (N, S, C)."""
        read = self.self_attn(cells + positions, reference_points, cells, shapes, padding)
        cells = self.norm1(cells + self.dropout(read))
        return self.norm2(cells + self.feed_forward(cells))


class DecoderLayer(nn.Module):
    """Self-attention of the queries, deformable attention to the cells, feed-forward network.

    Args:
        width, heads, levels, points, feed_forward, dropout: see :class:`EncoderLayer`.
    """

    def __init__(
        self, width: int, heads: int, levels: int, points: int, feed_forward: int, dropout: float
    ) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn = MultiScaleDeformableAttention(width, heads, levels, points)
        self.norm2 = nn.LayerNorm(width)
        self.feed_forward = _FeedForward(width, feed_forward, dropout)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        state: Tensor,
        positions: Tensor,
        reference_points: Tensor,
        memory: Tensor,
        shapes: Sequence[tuple[int, int]],
        padding: Tensor | None,
    ) -> Tensor:
        """Queries' states (N, Q, C) with their position embeddings (N, Q, C) -> (N, Q, C)."""
        query = state + positions
        read = self.self_attn(query, query, state, need_weights=False)[0]
        state = self.norm1(state + self.dropout(read))
        read = self.cross_attn(state + positions, reference_points, memory, shapes, padding)
        state = self.norm2(state + self.dropout(read))
        return self.norm3(state + self.feed_forward(state))


class DeformableTransformer(nn.Module):
    """Encoder over the cells of all levels and decoder of the queries.

    Args:
        width: C, a multiple of ``heads`` and of 4.
        queries: Q, predicted boxes per image.
        levels: L, maps of an image.
        heads: heads of every attention.
        points: points of a head on a level.
        encoder_layers, decoder_layers: at least 1.
        feed_forward: width of the feed-forward networks.
        dropout: in [0, 1).
    """

    def __init__(
        self,
        *,
        width: int = 256,
        queries: int = 30,
        levels: int = 4,
        heads: int = 8,
        points: int = 4,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        feed_forward: int = 1024,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        arguments = (width, heads, levels, points, feed_forward, dropout)
        self.encoder = nn.ModuleList([EncoderLayer(*arguments) for _ in range(encoder_layers)])
        self.decoder = nn.ModuleList([DecoderLayer(*arguments) for _ in range(decoder_layers)])
        self.level_embed = nn.Parameter(torch.empty(levels, width))
        self.reference_points = nn.Linear(width, 2)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for module in self.modules():
            if isinstance(module, MultiScaleDeformableAttention):
                module.reset_parameters()
        nn.init.normal_(self.level_embed)
        nn.init.zeros_(self.reference_points.bias)
        self.query_embed = nn.Embedding(queries, 2 * width)  # positions and first states

    def forward(
        self, maps: Sequence[Tensor], paddings: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode the cells and decode the queries.

        Args:
            maps: feature map of each level (N, C, H, W).
            paddings: mask of each level (N, H, W), true where a cell belongs to no image; images
                fill the upper left corner. None where all images fill the maps.

        Returns:
            The queries' states after each layer of the decoder (D, N, Q, C), and the log-odds of
            their reference points (Q, 2), x and y in fractions of the image.
        """
        shapes = [(level.shape[-2], level.shape[-1]) for level in maps]
        cells = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], 1)
        dtype = torch.promote_types(cells.dtype, torch.float32)
        padding = None if paddings is None else torch.cat([p.flatten(1) for p in paddings], 1)
        if paddings is None:
            paddings = [cells.new_zeros(1, *shape, dtype=torch.bool) for shape in shapes]
        filled = [(~p).any(axis).to(dtype).mean(1) for p in paddings for axis in (1, 2)]
        valid_ratios = torch.stack(filled, 1).unflatten(1, (-1, 2))  # (N or 1, L, 2)
        embeddings = [sine_embedding(p, cells.shape[-1], dtype) for p in paddings]
        positions = torch.cat([e + self.level_embed[i] for i, e in enumerate(embeddings)], 1)

        centres = _cell_centres(shapes, valid_ratios)
        for layer in self.encoder:
            cells = layer(cells, positions, centres, shapes, padding)

        query, state = self.query_embed.weight.chunk(2, dim=-1)
        log_odds = self.reference_points(query)
        points = log_odds.to(dtype).sigmoid()[None, :, None] * valid_ratios[:, None]
        query = query.expand(cells.shape[0], -1, -1)
        state = state.expand(cells.shape[0], -1, -1)
        states = []
        for layer in self.decoder:
            state = layer(state, query, points, cells, shapes, padding)
            states.append(state)
        return torch.stack(states), log_odds


class DeformableDETRHead(nn.Module):
    """Foreground log-odds and boxes from a backbone's feature maps.

    All layers of the decoder share one classifier and one box network, as in the official code
    where boxes are not refined.

    Args:
        in_channels: channels of the backbone's maps, finest first. The transformer's further levels
            come from 3x3 convolutions with stride 2, the first of them on the last of these maps.
        width: C, a multiple of 32 (GroupNorm) and of ``heads``.
        levels: L, at least as many as ``in_channels``.
        prior_prob: foreground probability that the classifier starts at, in (0, 1).
        transformer: further arguments of :class:`DeformableTransformer`.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        width: int = 256,
        levels: int = 4,
        prior_prob: float = 0.01,
        **transformer: Any,
    ) -> None:
        super().__init__()
        projections = [nn.Conv2d(channels, width, 1) for channels in in_channels]
        for i in range(levels - len(in_channels)):
            channels = width if i else in_channels[-1]
            projections.append(nn.Conv2d(channels, width, 3, stride=2, padding=1))
        for convolution in projections:
            nn.init.xavier_uniform_(convolution.weight)
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)
        self.input_proj = nn.ModuleList(
            [nn.Sequential(conv, nn.GroupNorm(GROUPS, width)) for conv in projections]
        )
        self.transformer = DeformableTransformer(width=width, levels=levels, **transformer)
        self.class_embed = nn.Linear(width, 1)
        nn.init.constant_(self.class_embed.bias, math.log(prior_prob / (1 - prior_prob)))
        hidden = [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        last = nn.Linear(width, 4)
        self.bbox_embed = nn.Sequential(*hidden, last)
        nn.init.zeros_(last.weight)
        with torch.no_grad():  # each box starts at its reference point, a good tenth of the image
            last.bias.copy_(torch.tensor([0.0, 0.0, -2.0, -2.0]))

    def forward(
        self, features: Sequence[Tensor], padding: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predict log-odds and boxes.

        Args:
            features: feature maps (N, channels, H, W), finest first.
            padding: pixels (N, height, width) of the batch that belong to no image (below and right
                of it); None where all images have one size.

        Returns:
            For each layer of the decoder foreground log-odds (D, N, Q) and boxes (D, N, Q, 4):
            centre x, y, width and height in fractions of each image, in (0, 1).
        """
        maps: list[Tensor] = []
        for i, projection in enumerate(self.input_proj):
            source = features[i] if i < len(features) else maps[-1]
            maps.append(projection(features[-1] if i == len(features) else source))
        paddings = None
        if padding is not None:
            pixels = padding[None].float()
            paddings = [F.interpolate(pixels, size=m.shape[-2:])[0].bool() for m in maps]
        states, reference = self.transformer(maps, paddings)
        moved = self.bbox_embed(states).to(torch.promote_types(states.dtype, torch.float32))
        boxes = torch.cat([moved[..., :2] + reference, moved[..., 2:]], -1).sigmoid()
        return self.class_embed(states).squeeze(-1), boxes
