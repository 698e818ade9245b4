"""What both engines' region proposal networks are tried on: images of different sizes, their
feature maps, and boxes to learn.
"""

import torch

SIZES = ((96, 128), (96, 128), (64, 80), (96, 100), (33, 128))
LEVELS = {"one map": [16], "pyramid": [8, 16, 32]}  # strides
COUNTS = (1, 0, 30, 2, 3)  # boxes of each image
IMAGES = len(SIZES)


def anchor_sides(strides):
    """Of the anchors of each level."""
    return [[4 * stride, 5 * stride] for stride in strides]


def features_of(strides, images=IMAGES, seed=0):
    """Maps of 8 channels by name."""
    generator = torch.Generator().manual_seed(seed)
    return {
        f"p{stride}": torch.randn(images, 8, 96 // stride, 128 // stride, generator=generator)
        for stride in strides
    }


def boxes_to_learn(counts=COUNTS, seed=1):
    """Boxes of each image; some reach out of it."""
    generator = torch.Generator().manual_seed(seed)
    boxes = []
    for (height, width), count in zip(SIZES, counts, strict=True):
        sides = torch.tensor([width, height])
        corner = torch.rand(count, 2, generator=generator) * sides * 0.6
        side = 5 + torch.rand(count, 2, generator=generator) * sides * 0.4
        boxes.append(torch.cat([corner, corner + side], 1))
    return boxes


def with_spread_outputs(layers):
    """Weights that make scores and deltas of different anchors differ."""
    for layer in layers:
        torch.nn.init.normal_(layer.weight, std=0.3)
