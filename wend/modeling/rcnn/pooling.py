"""Features of regions of all images of a batch.

Shape letters: N = images, P = boxes of an image at most, B = regions of all images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def regions_of(boxes: Tensor, is_box: Tensor) -> tuple[Tensor, Tensor]:
    """The boxes of a batch one after the other, without what is none. Waits for the device.

    Args:
        boxes: (N, P, 4), xyxy in pixels.
        is_box: (N, P) bool.

    Returns:
        Where each stands in the flat table of N·P (B,) int64, and regions (B, 5): the index of the
        image in the batch and the box.
    """
    places = is_box.flatten().nonzero()[:, 0]
    image = (places // boxes.shape[1])[:, None].to(boxes.dtype)
    return places, torch.cat([image, boxes.flatten(0, 1)[places]], 1)


def pooled(
    features: Sequence[Tensor],
    poolers: Sequence[Callable[[Tensor, Tensor], Tensor]],
    regions: Tensor,
    level_of: Callable[[Tensor], Tensor],
) -> Tensor:
    """Features of regions (B, 5), each from the map of its level: (B, channels, cells, cells).

    Pooled in float32, as coordinates in half precision are whole pixels off.

    Args:
        features: the maps, finest first.
        poolers: for each map the function of it and regions that pools.
        regions: index of the image in the batch and box.
        level_of: boxes (B, 4) -> index (B,) of their level; asked where there are several. Of
            several maps each one's regions are counted, for which the device is waited for.
    """
    maps = [feature.float() for feature in features]
    if len(maps) == 1:
        return poolers[0](maps[0], regions).to(features[0].dtype)
    levels = level_of(regions[:, 1:])
    places = [(levels == index).nonzero()[:, 0] for index in range(len(maps))]
    parts = [
        pool(feature, regions[chosen])
        for feature, pool, chosen in zip(maps, poolers, places, strict=True)
    ]
    # the parts, one level after the other, in the order of the regions
    return torch.cat(parts)[torch.cat(places).argsort()].to(features[0].dtype)
