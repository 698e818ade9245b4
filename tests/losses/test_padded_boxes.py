"""Boxes of images as one tensor, beside the lists that it is made of."""

import pytest
import torch

from wend.losses.padded_boxes import PaddedBoxes


def lists(*counts):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(count, 4, generator=generator) for count in counts]


@pytest.mark.parametrize("counts", [(1, 1), (2, 0, 3), (0, 0), (0,), (5,)], ids=str)
def test_each_image_has_its_boxes_first_and_zeros_behind(counts):
    boxes = lists(*counts)
    padded = PaddedBoxes.of(boxes)
    most = max(counts)
    assert padded.boxes.shape == (len(counts), most, 4)
    assert padded.counts == counts
    for index, own in enumerate(boxes):
        assert torch.equal(padded.boxes[index, : len(own)], own)
        assert not padded.boxes[index, len(own) :].any()
        assert padded.is_box[index].tolist() == [True] * len(own) + [False] * (most - len(own))


def test_values_of_boxes_are_padded_alike():
    padded = PaddedBoxes.of(lists(2, 0, 1))
    values = [torch.tensor([5, 6]), torch.tensor([], dtype=torch.int64), torch.tensor([7])]
    assert padded.padded(values).tolist() == [[5, 6], [0, 0], [7, 0]]
    assert torch.cat(lists(2, 0, 1))[padded.index[2, 0]].equal(padded.boxes[2, 0])


def test_no_image_is_an_error():
    with pytest.raises(ValueError, match="at least one image"):
        PaddedBoxes.of([])
