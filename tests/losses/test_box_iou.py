"""wend.losses.box_iou against torchvision, and where boxes have no area."""

import torch
from torchvision.ops import box_iou

from wend.losses.box_iou import paired_iou, pairwise_iou


def boxes_of(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(*shape, 2, generator=generator) * 60
    return torch.cat([corner, corner + torch.rand(*shape, 2, generator=generator) * 40], -1)


def test_iou_is_torchvisions_of_all_pairs():
    boxes, others = boxes_of(3, 7), boxes_of(3, 50, seed=1)
    for image in range(3):
        expected = box_iou(boxes[image], others[image])
        assert torch.equal(pairwise_iou(boxes, others)[image], expected)
        assert torch.equal(paired_iou(boxes[image], others[image, :7]), expected.diagonal())
        expected = box_iou(boxes[image], others[0])
        assert torch.equal(pairwise_iou(boxes, others[0])[image], expected)


def test_boxes_without_an_area_overlap_nothing_and_have_finite_gradients():
    point = torch.tensor([[3.0, 3.0, 3.0, 3.0]], requires_grad=True)
    iou = paired_iou(point, point.detach())
    iou.sum().backward()
    assert iou.tolist() == [0.0]
    assert point.grad.isfinite().all()
