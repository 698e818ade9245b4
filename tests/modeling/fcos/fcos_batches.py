"""Random batches of FCOS's head and boxes, for comparisons with the libraries' own FCOS."""

import torch

from wend.modeling.fcos.locations import Locations
from wend.modeling.fcos.output import HeadOutput

LEVELS = ((8, 7), (16, 4), (32, 2))  # stride, cells of each side
SIDE = 56


def anchors(levels=LEVELS):
    """The squares (R of the level, 4) around the locations of each level, as Detectron2 has them:
    the first location at the corner.
    """
    each = []
    for stride, cells in levels:
        y, x = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
        centres = torch.stack([x, y], -1).reshape(-1, 2) * float(stride)
        each.append(torch.cat([centres - stride / 2, centres + stride / 2], 1))
    return each


def locations(levels=LEVELS):
    return Locations.of_anchors(anchors(levels))


def truths(counts, seed=0, classes=1):
    """Boxes (P, 4) and classes (P,) of each image; some are equal, some of whole pixels."""
    generator = torch.Generator().manual_seed(seed)
    result = []
    for count in counts:
        corner = torch.rand(count, 2, generator=generator) * 40 - 4
        boxes = torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator) * 50], 1)
        if count > 2:
            boxes[1] = boxes[0]
        if count > 3:
            boxes = boxes.round()
            boxes[2, 2] = boxes[2, 0]  # without area
        result.append((boxes, torch.randint(0, classes, (count,), generator=generator)))
    return result


def output(images, classes=1, levels=LEVELS, seed=0):
    """A head's output, with gradients."""
    generator = torch.Generator().manual_seed(seed)
    number = sum(cells**2 for _, cells in levels)

    def drawn(*shape):
        return torch.randn(images, number, *shape, generator=generator)

    parts = drawn(classes) * 2, drawn(4).abs() * 2, drawn() * 2
    return HeadOutput(*(part.requires_grad_() for part in parts))
