"""What an evaluation would fail of is said before there are detections."""

import tempfile

import numpy as np
import pytest

from wend.errors import InputError
from wend.evaluation import rehearsal
from wend.evaluation.evaluation import Evaluation
from wend.evaluation.metrics import METRICS, choose_metrics, register_metric
from wend.evaluation.protocols import get_protocol
from wend.evaluation.rehearsal import rehearse
from wend.structures.class_predictions import ClassPredictions
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

NUMBER = 7


@pytest.fixture
def data_set():
    return DataSet.from_records(
        (
            ImageRecord(i, f"{i}.jpg", 50 + i, 40, class_id=i % 3, gt_boxes=[[0, 0, 20, 30]])
            for i in range(NUMBER)
        ),
        "made_up",
    )


def evaluation(data_set, **more):
    protocols = [get_protocol(name) for name in ("psol-crop224", "original", "wsoleval-v2")]
    return Evaluation(data_set, protocols, 2, more_ks=[1, 5, None], **more)


@pytest.mark.filterwarnings("error")
def test_a_sound_evaluation_passes_and_leaves_nothing(data_set, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    classes = ClassPredictions({i: [0, 1, 2, 3, 4] for i in range(NUMBER)})
    metrics = choose_metrics(sorted(METRICS))
    rehearse(evaluation(data_set, metrics=metrics, class_predictions=classes))
    rehearse(evaluation(data_set.take([0])))
    assert list(tmp_path.iterdir()) == []
    assert not caplog.records


def test_of_many_images_some_are_scored(data_set, monkeypatch):
    monkeypatch.setattr(rehearsal, "MOST_IMAGES", 3)
    numbers = []
    with METRICS.temporary():

        @register_metric("Seen", name="seen_images", average="none", unit="images")
        def seen_images(per_image):
            numbers.append((len(per_image.data_set), int(per_image.num_boxes.sum())))
            return 1.0

        made = evaluation(data_set, metrics=choose_metrics(["seen_images"]))
        rehearse(made)
    assert set(numbers) == {(3, 3), (3, 0)}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda p: p.top_uio, r"(?s)evaluation on made_up would fail.*metric mine failed.*top_uio"),
        (lambda p: p.top_iou / p.num_boxes, "mine: expected a finite number of each of the 7"),
        (lambda p: np.full(len(p), 2) * (p.num_boxes > 1), r"within its bounds \(0, 1\), got 0 to"),
    ],
)
def test_a_metric_that_fails_on_some_boxes_or_on_none_is_named(data_set, function, message):
    with METRICS.temporary():
        register_metric("Mine", name="mine", bounds=(0, 1))(function)
        made = evaluation(data_set, metrics=choose_metrics(["mine"]))
        with pytest.raises(InputError, match=message):
            rehearse(made)


def test_class_predictions_have_to_cover_every_image_also_of_many(data_set, monkeypatch):
    monkeypatch.setattr(rehearsal, "MOST_IMAGES", 2)
    classes = ClassPredictions({i: [0, 1, 2, 3, 4] for i in range(NUMBER) if i != 2})
    with pytest.raises(InputError, match=r"1 of 7 images have no class prediction \(2\)"):
        rehearse(evaluation(data_set, class_predictions=classes))


def test_a_data_set_without_truth_has_nothing_to_rehearse():
    rehearse(evaluation(DataSet.from_records([ImageRecord(1, "a.jpg", 9, 9)], "none")))
