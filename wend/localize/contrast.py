"""CCAM's head: foreground and background by contrast, learnt from images alone.

Xie et al., *C2AM: Contrastive Learning of Class-Agnostic Activation Map*, CVPR 2022 (their code:
e6a46c9, ``WSOL/models``). A convolution, batch norm and a sigmoid make a map A of each image from
its descriptors; A weighs them to a vector of foreground, 1 - A to one of background. Foreground and
background of all images of a batch are pushed apart, those of a kind are pulled together, more so
the more alike they are.

Here the network is frozen, and only the head learns. Shape letters: N images, C channels, h·w
cells.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

ALPHA = 0.25  # of the weights by rank; the authors' default
LEAST_COSINE, MOST_COSINE = 0.0005, 0.9995  # theirs, so that logarithms stay finite
BINS = 256  # of Otsu's histogram


class ContrastHead(nn.Module):
    """A map of activations of each image: 3x3 convolution, batch norm, sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, 1, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, maps: Tensor) -> Tensor:
        """The activations (N, 1, h, w), 0 to 1, of descriptors (N, C, h, w)."""
        return torch.sigmoid(self.norm(self.convolution(maps)))


def split_descriptors(maps: Tensor, activations: Tensor) -> tuple[Tensor, Tensor]:
    """Foreground and background vectors (N, C) of descriptors (N, C, h, w) by activations."""
    cells = maps.shape[2] * maps.shape[3]
    foreground = (maps * activations).sum((2, 3)) / cells
    return foreground, maps.mean((2, 3)) - foreground


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """The cosines (N, M) of all pairs of vectors (N, C), (M, C), kept off 0 and 1."""
    both = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T
    return both.clamp(LEAST_COSINE, MOST_COSINE)


def apart(foreground: Tensor, background: Tensor) -> Tensor:
    """SimMin: the mean of -log(1 - cosine) of all foregrounds with all backgrounds."""
    return -(1 - cosines(foreground, background)).log().mean()


def together(vectors: Tensor, alpha: float = ALPHA) -> Tensor:
    """SimMax: the mean of -log(cosine) of all pairs (N, N), weighed by rank.

    Of each vector's N cosines, that of rank r (0: with itself) weighs exp(-alpha (r - 1)).
    """
    cosine = cosines(vectors, vectors)
    rank = cosine.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    weight = torch.exp(-alpha * (rank.to(cosine.dtype) - 1))
    return (-cosine.log() * weight).mean()


def contrast_loss(maps: Tensor, activations: Tensor, alpha: float = ALPHA) -> Tensor:
    """The loss of a batch: both kinds together, and apart from each other."""
    foreground, background = split_descriptors(maps, activations)
    pulled = together(background, alpha) + together(foreground, alpha)
    return pulled + apart(foreground, background)


def border_excess(activations: np.ndarray) -> float:
    """The mean of the outermost cells of maps (N, h, w), less that of those inside; 0 without."""
    inner = activations[:, 1:-1, 1:-1]
    if not inner.size:
        return 0.0
    outer = activations.sum() - inner.sum()
    return float(outer / (activations.size - inner.size) - inner.mean())


def otsu(values: np.ndarray) -> float:
    """Otsu's threshold of values from 0 to 1: the two sides' means are farthest apart.

    Returns:
        An edge between two of 256 bins, the first of equally good ones; 0.5 where all values are
        in one bin.
    """
    counts, edges = np.histogram(values, BINS, (0.0, 1.0))
    if (counts > 0).sum() < 2:
        return 0.5
    centres = (edges[:-1] + edges[1:]) / 2
    below, weighted = counts.cumsum()[:-1], (counts * centres).cumsum()
    above, total = counts.sum() - below, weighted[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = weighted[:-1] / below - (total - weighted[:-1]) / above
        between = np.where((below > 0) & (above > 0), below * above * gap**2.0, -1.0)
    return float(edges[1 + int(between.argmax())])
