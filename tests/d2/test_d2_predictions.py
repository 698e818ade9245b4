"""Boxes of a batch in original pixels are those of Detectron2's own arithmetic for each image."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.export import TracingAdapter
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from engine_runs import untrained

from wend.d2.evaluator import WSOLEvaluator
from wend.d2.frames import Predictions, predict, table_of
from wend.errors import InputError
from wend.modeling.layers.box_batch import BoxBatch
from wend.structures.frame import fit_and_crop, resize_and_crop

pytestmark = pytest.mark.detectron2
SIDE, MOST = 56, 5
COUNTS = (5, 0, 3, 5, 1, 4)


def _inputs():
    """Crops of both views, a whole image that is to be rescaled, and one without a size."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, SIDE, SIDE), generator=draw, dtype=torch.uint8)
    squashed = resize_and_crop(100, 50, 64, SIDE, left=3, top=5, flip=True)
    upside_down = resize_and_crop(333, 77, 64, SIDE, upside_down=True)
    padded = fit_and_crop(100, 30, 64, SIDE)
    more = [
        {"height": 50, "width": 100, "frame": squashed, "file_name": "a.jpg"},
        {"height": 77, "width": 333, "frame": upside_down},
        {"height": 91, "width": 47},
        {"height": 30, "width": 100, "frame": padded},
        {},
        {"height": 30, "width": 100, "frame": padded},
    ]
    return [{"image": image, **each} for image, each in zip(images, more, strict=True)]


def _batch(with_classes=False):
    draw = torch.Generator().manual_seed(1)
    low = torch.rand(6, MOST, 2, generator=draw) * SIDE - 8
    boxes = torch.cat([low, low + 40 * torch.rand(6, MOST, 2, generator=draw)], -1)
    boxes[0, 1, 2] = boxes[0, 1, 0]  # no area
    boxes[3, 0] = torch.tensor([5.0, 0.0, 50.0, 6.0])  # in the padding
    boxes[2, 1] = torch.tensor([60.0, 60.0, 70.0, 70.0])  # beside the image
    scores = torch.rand(6, MOST, generator=draw).sort(1, descending=True).values
    scores[:, 2] = scores[:, 3]
    kept = torch.arange(MOST) < torch.tensor(COUNTS)[:, None]
    classes = torch.randint(0, 200, (6, MOST), generator=draw) if with_classes else None
    return BoxBatch(boxes, scores, kept, classes)


def _expected(inputs, batch, *, cuts=True):
    """Detectron2's instances of each input, and boxes in float64 of crops."""
    for index, (entry, count) in enumerate(zip(inputs, COUNTS, strict=True)):
        classes = torch.zeros(MOST, dtype=torch.int64)
        if batch.classes is not None:
            classes = batch.classes[index]
        raw = Instances(
            (SIDE, SIDE),
            pred_boxes=Boxes(batch.boxes[index, :count].clone()),
            scores=batch.scores[index, :count],
            pred_classes=classes[:count],
        )
        frame = entry.get("frame")
        size = entry.get("height", SIDE), entry.get("width", SIDE)
        if frame is None:
            yield detector_postprocess(raw, *size), None
            continue
        if cuts:
            raw = detector_postprocess(raw, SIDE, SIDE)
        boxes = frame.to_original(raw.pred_boxes.tensor.double())
        if frame.image is not None:
            whole = (boxes[:, 2:] > boxes[:, :2]).all(1)
            raw, boxes = raw[whole], boxes[whole]
        yield Instances(size, **{**raw.get_fields(), "pred_boxes": Boxes(boxes)}), boxes


def _assert_same(output, instances, boxes):
    own = output["instances"]
    assert own.image_size == instances.image_size
    assert own.get_fields().keys() == instances.get_fields().keys()
    for name, value in instances.get_fields().items():
        value = getattr(value, "tensor", value)
        other = own.get(name)
        other = getattr(other, "tensor", other)
        assert other.dtype == value.dtype
        assert torch.equal(other, value)
    assert ("boxes" in output) == (boxes is not None)
    if boxes is not None:
        assert torch.equal(output["boxes"], boxes)
        assert output["boxes"].dtype == torch.float64


@pytest.mark.parametrize("with_classes", [False, True], ids=["a class", "classes"])
def test_every_image_has_the_bits_of_detectron2s_arithmetic(with_classes):
    inputs, batch = _inputs(), _batch(with_classes)
    outputs = predict(lambda _: batch, inputs)
    assert len(outputs) == len(inputs)
    expected = [*_expected(inputs, batch)]
    table = outputs.table  # before any entry is made
    for output, (instances, boxes) in zip(outputs, expected, strict=True):
        _assert_same(output, instances, boxes)
    for read in (table, outputs.table, table_of(list(outputs))):
        for index, (instances, boxes) in enumerate(expected):
            boxes = instances.pred_boxes.tensor if boxes is None else boxes
            np.testing.assert_array_equal(read[index], boxes.numpy())
            np.testing.assert_array_equal(read.scores_of(index), instances.scores.double().numpy())
    assert len(expected[0][0]) == 4
    assert len(expected[3][0]) < COUNTS[3]  # each kind of box that is dropped was there
    assert len(expected[2][0]) < COUNTS[2]


def test_a_detector_of_detectron2s_containers_has_the_same_and_keeps_what_else_it_says():
    inputs, batch = _inputs(), _batch()
    crops = [entry for entry in inputs if "frame" in entry]
    rows = [index for index, entry in enumerate(inputs) if "frame" in entry]

    def forward(entries):
        outputs = []
        for row, entry in zip(rows, entries, strict=True):
            assert (entry["height"], entry["width"]) == (SIDE, SIDE)
            raw = Instances((SIDE, SIDE), pred_boxes=Boxes(batch.boxes[row, : COUNTS[row]].clone()))
            raw.scores, raw.mark = batch.scores[row, : COUNTS[row]], torch.arange(COUNTS[row])
            outputs.append({"instances": detector_postprocess(raw, SIDE, SIDE), "more": row})
        return outputs

    outputs = predict(forward, crops)
    expected = [pair for row, pair in enumerate(_expected(inputs, batch)) if row in rows]
    for row, output, (instances, boxes) in zip(rows, outputs, expected, strict=True):
        assert output["more"] == row
        assert torch.equal(output["boxes"], boxes)
        own = output["instances"]
        assert torch.equal(own.pred_boxes.tensor, instances.pred_boxes.tensor)
        assert torch.equal(batch.scores[row][own.mark], own.scores)
        assert own.image_size == instances.image_size


def test_outputs_of_others_for_whole_images_are_handed_on():
    outputs = [{"sem_seg": 1}]
    assert predict(lambda _: outputs, [_inputs()[2]]) is outputs


def test_boxes_that_no_detector_cuts_stay_as_they_are():
    inputs, batch = _inputs(), _batch()
    outputs = predict(lambda _: batch, inputs, cuts=False)
    for output, entry, pair in zip(
        outputs, inputs, _expected(inputs, batch, cuts=False), strict=True
    ):
        if "frame" in entry:
            _assert_same(output, *pair)


def test_a_dict_is_made_once_and_what_is_done_to_it_counts():
    outputs = predict(lambda _: _batch(), _inputs())
    whole = outputs.table
    output = outputs[-6]
    assert outputs[0] is output
    assert [each is output for each in outputs[:2]] == [True, False]
    output["instances"], output["boxes"] = output["instances"][:1], output["boxes"][:1]
    assert outputs.table.counts.tolist() == [1, *whole.counts[1:].tolist()]
    with pytest.raises(IndexError):
        outputs[6]
    assert copy.deepcopy(outputs)[0]["boxes"].tolist() == output["boxes"].tolist()


def test_instances_that_somebody_changed_count():
    outputs = predict(lambda _: _batch(), _inputs())
    whole = outputs.table
    assert isinstance(outputs, list)
    first, moved = outputs[0]["instances"], outputs[3]["instances"].pred_boxes
    outputs[0] = {**outputs[0], "instances": first[1:]}  # its float64 ``boxes`` are still all
    moved.tensor[1, 2:] += 5
    table = outputs.table
    np.testing.assert_array_equal(table[0], first[1:].pred_boxes.tensor.numpy())
    np.testing.assert_array_equal(table.scores_of(0), whole.scores_of(0)[1:])
    np.testing.assert_array_equal(table[3][1], moved.tensor[1].numpy())
    np.testing.assert_array_equal(table[3][0], whole[3][0])  # to the last bit of float64
    np.testing.assert_array_equal(table[5], whole[5])


def test_outputs_of_more_or_fewer_images_than_the_batch_are_refused():
    outputs = predict(lambda _: _batch(), _inputs())
    evaluator = WSOLEvaluator(evaluation=SimpleNamespace(data_set=None))
    inputs = [{**entry, "image_id": index} for index, entry in enumerate(_inputs())]
    for count in (5, 7):
        with pytest.raises(InputError, match=rf"something of {count} images for a batch of 6 .*0 "):
            evaluator.process(inputs, [*outputs, outputs[0]][:count])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_box_that_is_not_finite_names_its_image(value):
    batch = _batch()
    batch.boxes[0, 0, 2] = value
    with pytest.raises(InputError, match=r"^a\.jpg: the detector predicts a box that is not finit"):
        predict(lambda _: batch, _inputs())
    batch = _batch()
    batch.boxes[2, 4] = value  # is not kept
    assert isinstance(predict(lambda _: batch, _inputs()), Predictions)


@pytest.mark.filterwarnings("ignore")  # torch's of what a trace takes for a constant
@pytest.mark.parametrize("name", ["fcos", "rcnn", "scr"])
def test_detectron2s_tracing_adapter_takes_a_detector(name):
    _, model = untrained("detectron2", name)
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 255
    adapter = TracingAdapter(model, [{"image": images[0]}])
    with torch.no_grad():
        # by default it calls the adapter once more, untraced; that costs as much again
        traced = torch.jit.trace(adapter, (images[0],), check_trace=name == "scr")
        expected = model([{"image": images[1]}])[0]["instances"]
        result = adapter.outputs_schema(traced(images[1]))[0]["instances"]
    assert len(result) > 0
    torch.testing.assert_close(result.pred_boxes.tensor, expected.pred_boxes.tensor)
    torch.testing.assert_close(result.scores, expected.scores)


@pytest.mark.filterwarnings("ignore")
def test_an_image_whose_crop_would_be_a_constant_of_the_trace_is_refused():
    _, model = untrained("detectron2", "scr")
    image = torch.rand(3, 60, 70)
    with pytest.raises(InputError, match="expected an image of 56x56 to trace with, got 70x60"):
        torch.jit.trace(TracingAdapter(model, [{"image": image}]), (image,))
