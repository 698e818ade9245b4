"""DDT: the first principal component of a class's deep descriptors tells object from scenery.

Wei et al., "Unsupervised Object Discovery and Co-Localization by Deep Descriptor Transforming"
(Pattern Recognition 2019), as PSOL takes it (tzzcl/PSOL ddecfce, generate_box_imagenet.py:81-145):
the descriptors of all images of a class, less their mean, are projected on their first principal
component; where the projection is positive is object, and the box is that of its largest component
(or those of several objects).

Letters: N images, C channels, h·w cells of a map.

The component has no sign of its own: :mod:`wend.localize.signs`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from wend.localize.boxes import FoundBox, Refine, boxes_of_map, share_of_magnitude

UPSAMPLINGS = ("nearest", "bilinear")


def _rows(maps: Tensor) -> Tensor:
    """Maps (N, C, h, w) to descriptors (N·h·w, C) float64 where they lie (Apple's GPU has none)."""
    if maps.device.type == "mps":
        maps = maps.cpu()
    return maps.permute(0, 2, 3, 1).flatten(0, 2).to(torch.float64)


@dataclass
class Moments:
    """Sums over descriptors, float64, from which mean and covariance follow.

    Attributes:
        count: number of descriptors.
        total: their sum (C,).
        second: sum of their outer products (C, C).
        inner_count, inner: the same of those that are not the outermost cells of their maps, and
            the sum (C,).
    """

    count: int
    total: Tensor
    second: Tensor
    inner_count: int
    inner: Tensor

    @classmethod
    def empty(cls, channels: int, device: torch.device | str = "cpu") -> Moments:
        """The sums over no descriptor."""
        device = "cpu" if torch.device(device).type == "mps" else device
        total = torch.zeros(channels, dtype=torch.float64, device=device)
        second = total.new_zeros(channels, channels)
        return cls(0, total, second, 0, torch.zeros_like(total))

    def add(self, maps: Tensor) -> None:
        """Take in the descriptors of maps (N, C, h, w)."""
        rows = _rows(maps)
        self.count += len(rows)
        self.total += rows.sum(0)
        self.second += rows.T @ rows
        if min(maps.shape[2:]) > 2:
            inner = _rows(maps[:, :, 1:-1, 1:-1])
            self.inner_count += len(inner)
            self.inner += inner.sum(0)

    def add_sums(self, other: Moments) -> None:
        """Take in the descriptors that other sums are of."""
        self.count += other.count
        self.total += other.total
        self.second += other.second
        self.inner_count += other.inner_count
        self.inner += other.inner

    def covariance(self) -> Tensor:
        """The covariance (C, C) of the population (divided by the count)."""
        mean = self.total / self.count
        return self.second / self.count - torch.outer(mean, mean)

    def axis(self) -> tuple[Tensor, Tensor]:
        """The mean (C,) and the first principal component (C,), of length 1.

        Its sign is ``loading``'s: the entry of the largest magnitude is positive.
        """
        component = torch.linalg.eigh(self.covariance())[1][:, -1]
        component = component * torch.sign(component[component.abs().argmax()])
        return self.total / self.count, component

    def border_contrast(self, component: Tensor) -> float:
        """The mean of the outermost cells' projections, less that of the others.

        Returns:
            0 where all cells are outermost.
        """
        if not self.inner_count:
            return 0.0
        outer = (self.total - self.inner) / (self.count - self.inner_count)
        return float((outer - self.inner / self.inner_count) @ component)


def project(maps: Tensor, mean: Tensor, component: Tensor) -> np.ndarray:
    """Each descriptor's projection on the component: maps (N, C, h, w) to (N, h, w) float64."""
    values = (_rows(maps) - mean) @ component
    return values.view(len(maps), *maps.shape[2:]).cpu().numpy()


def find_boxes(
    projection: np.ndarray,
    upsampling: str = "nearest",
    side: int = 448,
    number: int = 1,
    refine: Refine | None = None,
) -> tuple[FoundBox, ...]:
    """The box of the largest positive component of a projection (h, w), or of several objects.

    Args:
        upsampling: "nearest": sides lie on the map's grid, PSOL's; "bilinear": the projection is
            resized to ``side``² first, and sides lie between cells.
        refine: as of :func:`wend.localize.boxes.boxes_of_map`.

    Returns:
        The score is the region's share of the map's whole magnitude.
    """
    if upsampling == "bilinear":
        projection = cv2.resize(projection, (side, side), interpolation=cv2.INTER_LINEAR)
    return boxes_of_map(projection, 0.0, number, share_of_magnitude, refine)
