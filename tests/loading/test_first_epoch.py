"""When a run ends because its boxes are gone, and what it says."""

import json
import logging

import pytest
import torch

from wend.errors import InputError
from wend.loading.box_counts import BoxCounts
from wend.loading.first_epoch import FEW, PERIOD, FirstEpoch
from wend.losses import ImagesContext, LocalizationLoss, PositiveCounts

GOOD, LOST = BoxCounts(1, boxes=1), BoxCounts(1, emptied=1, boxes=1, fractions=1)
EMPTY = BoxCounts(1, without_box=1)  # of a negative, or of a mapper that leaves boxes out


def first_epoch(steps=3, num_boxes=6, max_lost=0.5, **more):
    return FirstEpoch(names="birds", num_boxes=num_boxes, steps=steps, max_lost=max_lost, **more)


def train(epoch, batches, last=None):
    """The number of steps that were taken, and the error that ended them."""
    for number, batch in enumerate(batches, 1):
        epoch.add(batch)
        try:
            epoch.after_step(last=number == last)
        except InputError as error:
            return number, str(error)
    return len(batches), ""


def test_none_left_at_the_end_of_the_epoch():
    steps, error = train(first_epoch(max_lost=1.0), [[LOST, LOST]] * 5)
    assert steps == 3
    assert error == (
        "birds: none is left: 6 of 6 boxes to learn from were lost on the way to the detector (6 "
        "lie within 0..1 of the image's pixels); are these fractions of the image, read as pixels? "
        "Say so where the boxes are declared (frame: fraction), or write them in pixels"
    )


def test_a_share_that_is_lost_and_one_that_may_be():
    thin, cut = BoxCounts(1, boxes=1, thin=1), BoxCounts(1, boxes=1, cut=1)
    assert train(first_epoch(), [[GOOD, LOST], [GOOD, thin], [GOOD, cut]]) == (3, "")
    steps, error = train(first_epoch(), [[GOOD, LOST], [GOOD, thin], [thin, cut]])
    assert steps == 3
    assert error.startswith(
        "birds: 4 of 6 boxes to learn from were lost on the way to the detector"
    )
    assert "and WEND.DATA.MAX_LOST_SHARE allows 50 % (1 lie within 0..1" in error
    assert (
        ", 2 are at most a pixel wide or high, 1 were cut off by the random crop); 'wend boxes"
        in error
    )


def test_an_end_that_is_certain_comes_before_the_epoch_is_over():
    steps = 10 * PERIOD
    # 2 of 3 boxes are lost; after 40 steps 80 are, more than half of 150, whatever comes
    epoch = first_epoch(steps=steps, num_boxes=150)
    assert train(epoch, [[GOOD, LOST, LOST]] * steps)[0] == 2 * PERIOD
    # of 100,000 boxes it is not certain, but none of the first 120 was left
    epoch = first_epoch(steps=steps, num_boxes=10**5, max_lost=1.0)
    assert FEW < 120
    assert train(epoch, [[LOST] * 6] * steps)[0] == PERIOD
    # 20 images without a box say nothing of the others
    epoch = first_epoch(steps=10**5, num_boxes=10**5)
    assert train(epoch, [[EMPTY]] * PERIOD) == (PERIOD, "")


def test_a_training_that_ends_before_the_epoch():
    assert train(first_epoch(), [[LOST]], last=1)[1].startswith("birds: none is left: 1 of 1 boxes")
    # the share is of the boxes that it saw, where they are not too few to tell
    epoch = first_epoch(steps=9, num_boxes=10**4)
    error = train(epoch, [[LOST] * 60 + [GOOD] * 40], last=1)[1]
    assert error.startswith("birds: 60 of 100 boxes to learn from were lost")
    assert train(first_epoch(num_boxes=10**4), [[LOST] * 6 + [GOOD] * 4], last=1)[1] == ""


def test_boxes_that_no_image_came_with():
    message = "birds: none of 3 images came with a box, and the data sets have 6 to learn from"
    steps, error = train(first_epoch(), [[EMPTY]] * 5)
    assert (steps, error.startswith(message)) == (3, True)
    # a training of one step sees a negative, and one without any box began elsewhere
    assert train(first_epoch(), [[EMPTY]], last=1) == (1, "")
    assert train(first_epoch(num_boxes=0), [[EMPTY]] * 3) == (3, "")
    epoch = first_epoch(steps=10 * PERIOD, num_boxes=10 * FEW)  # 5 boxes in each step
    assert train(epoch, [[EMPTY]] * 60)[0] == PERIOD


def test_later_epochs_are_not_counted():
    epoch = first_epoch()
    assert train(epoch, [[GOOD]] * 3 + [[LOST] * 9] * 3) == (6, "")
    assert epoch.counts == BoxCounts(3, boxes=3)


def test_all_processes_decide_alike():
    def end(other):
        def gather(own):
            return [own, other] if isinstance(own, BoxCounts) else [own]

        return train(first_epoch(steps=1, gather=gather), [[LOST, LOST]])[1]

    assert end(BoxCounts(4, boxes=4)) == ""  # 2 of 6
    assert end(BoxCounts(4, boxes=4, cut=2)).startswith("birds: 4 of 6 boxes")


def test_what_it_says_and_writes(tmp_path, caplog):
    positives = PositiveCounts()
    is_box = torch.tensor([[True, True, True], [True, False, False]])
    positives.add(torch.tensor([[0, -1, 0, 2], [-1, -1, -1, -1]]), is_box, 4)
    left_out = {"boxes of zero area": 7}
    epoch = first_epoch(steps=1, left_out=left_out, positives=[positives], output_dir=tmp_path)
    with caplog.at_level(logging.INFO):
        train(epoch, [[GOOD, GOOD, LOST, BoxCounts(1, without_box=1)]])
    assert caplog.messages == [
        "first epoch of birds: 4 images, 1 of them without a box; 3 boxes to learn from, 1 lost on "
        "the way to the detector (1 lie within 0..1 of the image's pixels), all those of 1 images; "
        "before, 7 boxes of zero area",
        "first epoch of birds: 0.75 positive samples per box that reached the detector; 2 of 4 "
        "boxes (50.0 %) had none",
    ]
    assert json.loads((tmp_path / "first_epoch.json").read_text()) == {
        "data_sets": "birds",
        **{"images": 4, "without_box": 1, "emptied": 1, "boxes": 3, "lost": 1},
        **{"fractions": 1, "thin": 0, "cut": 0},
        "left_out_before": {"boxes of zero area": 7},
        "positives": {"boxes": 4, "positive_samples": 3, "boxes_without": 2},
    }


def test_positives_of_all_processes():
    positives = PositiveCounts()
    positives.add(torch.tensor([[0]]), torch.tensor([[True]]), 1)
    epoch = first_epoch(steps=1, positives=[positives], gather=lambda own: [own, [(3, 8, 1)]])
    assert epoch._positives() == (4, 9, 1)


def counted(loss, boxes, matched):
    """Let a detector's loss count a batch of images with so many boxes each."""
    loss.start_batch(ImagesContext(boxes=[torch.zeros(number, 4) for number in boxes]))
    loss.count_positives(torch.tensor(matched))


def test_positives_are_counted_until_they_are_read():
    loss = LocalizationLoss("none")
    counted(loss, [1], [[0]])  # nobody asked
    loss.positives = PositiveCounts()
    counted(loss, [2, 0], [[1, 1, -1], [-1, -1, -1]])
    counted(loss, [1], [[[0], [0]]])
    counted(loss, [0, 0], [[-1], [-1]])
    with pytest.raises(ValueError, match="the 2 images of start_batch, got those of 3"):
        loss.count_positives(torch.zeros(3, 1, dtype=torch.int64))
    assert loss.positives.read() == (3, 4, 1)
    counted(loss, [1], [[0]])
    assert loss.positives.read() == (3, 4, 1)
    assert PositiveCounts().read() == (0, 0, 0)


def test_boxes_without_a_positive_sample_end_it(tmp_path):
    positives = PositiveCounts()
    positives.add(torch.tensor([[-1, -1]]), torch.tensor([[True, True]]), 2)
    epoch = first_epoch(steps=1, positives=[positives], output_dir=tmp_path)
    _, error = train(epoch, [[GOOD, GOOD]])
    assert error.startswith(
        "birds: none of the 2 boxes that reached the detector has a positive sa"
    )
    assert (tmp_path / "first_epoch.json").is_file()
