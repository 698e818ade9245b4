"""What torchvision's detectors return, made when it is read, and all of it at once."""

import numpy as np
import torch

from wend.modeling.layers.box_batch import BoxBatch
from wend.tv.predictions import Predictions, table_of


def _batch(classes=None):
    boxes = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    scores = torch.tensor([[0.9, 0.5, 0.5, 0.1]] * 3)
    kept = torch.arange(4) < torch.tensor([[2], [0], [4]])
    return BoxBatch(boxes, scores, kept, classes)


def test_dicts_hold_the_kept_boxes_of_an_image():
    batch = _batch()
    outputs = Predictions(batch, 1)
    assert [len(output["boxes"]) for output in outputs] == [2, 0, 4]
    assert torch.equal(outputs[0]["boxes"], batch.boxes[0, :2])
    assert outputs[-1]["scores"].tolist() == batch.scores[2].tolist()
    assert outputs[2]["labels"].tolist() == [1] * 4
    classes = torch.arange(12).view(3, 4)
    assert Predictions(_batch(classes), 1)[2]["labels"].tolist() == [8, 9, 10, 11]


def test_who_keeps_a_dict_keeps_no_padding():
    outputs = Predictions(_batch(), 1)
    assert outputs[2]["boxes"].untyped_storage().nbytes() == (2 + 0 + 4) * 4 * 4


def test_the_table_is_that_of_the_dicts():
    outputs = Predictions(_batch(), 1)
    table = table_of(outputs)
    assert table.counts.tolist() == [2, 0, 4]
    for other in (table_of([*Predictions(_batch(), 1)]), table_of(list(outputs))):
        np.testing.assert_array_equal(table.boxes, other.boxes)
        np.testing.assert_array_equal(table.scores, other.scores)
    assert table.boxes.dtype == np.float32


def test_what_is_done_to_a_dict_counts():
    outputs = Predictions(_batch(), 1)
    output = outputs[2]
    output["boxes"], output["scores"] = output["boxes"][:1], output["scores"][:1]
    assert outputs[2:][0] is output
    assert table_of(outputs).counts.tolist() == [2, 0, 1]


def test_half_precision_comes_to_the_host_as_it_is():
    batch = _batch()
    half = BoxBatch(batch.boxes, batch.scores.bfloat16(), batch.kept)
    np.testing.assert_array_equal(half.on_host().boxes, batch.on_host().boxes)
    assert half.on_host().scores.tolist() == batch.scores.bfloat16()[batch.kept].tolist()
    whole = BoxBatch(batch.boxes.half(), batch.scores.half(), batch.kept).on_host()
    assert whole.boxes.dtype == np.float32
