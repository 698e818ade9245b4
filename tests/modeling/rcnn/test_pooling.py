"""wend.modeling.rcnn.pooling: the features of regions, those of torchvision's pooler."""

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign, RoIAlign

from wend.modeling.rcnn.pooling import pooled, regions_of

SIDE = 64


def table():
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(3, 7, 2, generator=generator) * 30
    boxes = torch.cat([corner, corner + 1 + torch.rand(3, 7, 2, generator=generator) * 33], -1)
    return boxes, torch.rand(3, 7, generator=generator) > 0.4


def test_regions_are_the_boxes_of_the_images_one_after_the_other():
    boxes, is_box = table()
    places, regions = regions_of(boxes, is_box)
    assert torch.equal(
        regions[:, 1:], torch.cat([own[mask] for own, mask in zip(boxes, is_box, strict=True)])
    )
    assert regions[:, 0].tolist() == is_box.nonzero()[:, 0].tolist()
    assert torch.equal(boxes.flatten(0, 1)[places], regions[:, 1:])


@pytest.mark.parametrize("levels", [1, 3])
def test_features_are_torchvisions(levels):
    generator = torch.Generator().manual_seed(1)
    maps = [
        torch.randn(3, 5, SIDE >> 2 + i, SIDE >> 2 + i, generator=generator) for i in range(levels)
    ]
    names = [str(i) for i in range(levels)]
    # a level for boxes of less than 12 pixels, one for less than 24, one for the others
    stock = MultiScaleRoIAlign(names, 3, 2, canonical_scale=6, canonical_level=2)
    boxes, is_box = table()
    own = [b[mask] for b, mask in zip(boxes, is_box, strict=True)]
    expected = stock(dict(zip(names, maps, strict=True)), own, [(SIDE, SIDE)] * 3)
    poolers = [RoIAlign(3, scale, 2) for scale in stock.scales]
    _, regions = regions_of(boxes, is_box)
    seen = []

    def level_of(rows):
        seen.append(stock.map_levels([rows]))
        return seen[-1]

    assert torch.equal(pooled(maps, poolers, regions, level_of), expected)
    assert [len(each.unique()) for each in seen] == ([3] if levels > 1 else [])


@pytest.mark.parametrize("levels", [1, 2])
def test_no_region_has_no_features(levels):
    maps = [torch.zeros(3, 5, 16, 16)] * levels
    poolers = [RoIAlign(3, 0.25, 2)] * levels
    crops = pooled(maps, poolers, torch.zeros(0, 5), lambda boxes: boxes[:, 0].long())
    assert crops.shape == (0, 5, 3, 3)


def test_regions_keep_their_fractions_where_the_maps_are_in_half_precision():
    torch.manual_seed(0)
    feature = torch.randn(1, 4, 28, 28).bfloat16()
    region = torch.tensor([[0.0, 101.3, 87.7, 190.6, 203.4]])  # bfloat16 has steps of a pixel there
    pooler = RoIAlign(7, 1 / 8, 2)
    crops = pooled([feature], [pooler], region, None)
    assert crops.dtype == torch.bfloat16
    assert torch.equal(crops, pooler(feature.float(), region).bfloat16())
