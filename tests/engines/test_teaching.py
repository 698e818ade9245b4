"""The average of the weights and its lessons on either engine: batches, and whole runs."""

import copy

import pytest
import torch
from engine_runs import (
    BUILDABLE,
    ONE_ANCHOR,
    build,
    config,
    d2_inputs,
    go_on,
    losses,
    random_crops,
    run,
)

import wend
from wend.schedules import Progress
from wend.structures.frame import Frame
from wend.teaching.ema import STATE_KEY, WeightAverage
from wend.teaching.refine import Refinement
from wend.teaching.teacher import Teaching

pytestmark = pytest.mark.usefixtures("own_registries")
COUNTS = (1, 2, 0)
EMA = {"WEND.EMA.DECAY": "0.9", "WEND.TEACHER.START": "0.5"}


def teacher_of(engine, model, **teaching):
    if engine == "detectron2":
        from wend.d2.teaching import build_teacher
    else:
        from wend.tv.teaching import build_teacher
    return build_teacher(WeightAverage(model, 0.9), Teaching(**teaching))


def lessons(engine, teacher, crops):
    """Boxes, scores and the teacher's own of each crop, as they stand in the engine's batch."""
    teacher.progress = Progress(1, 1)
    if engine == "detectron2":
        from wend.d2.teaching import taught

        batch = d2_inputs(crops)
        return [(e["instances"].gt_boxes.tensor, e["teacher"]) for e in taught(teacher, batch)]
    from wend.tv.dataset import Example
    from wend.tv.teaching import taught

    frame = Frame(*crops[0][0].shape[:0:-1], 1.0, 1.0, 0.0, 0.0)
    images = [image.float() for image, _ in crops]
    examples = [
        Example(0, frame, image, boxes, torch.ones(len(boxes)), None)
        for image, (_, boxes) in zip(images, crops, strict=True)
    ]
    targets = [
        {
            "boxes": boxes,
            "labels": torch.ones(len(boxes), dtype=torch.int64),
            "scores": torch.ones(len(boxes)),
        }
        for _, boxes in crops
    ]
    results = taught(teacher, images, examples, targets)
    assert all(len(t["labels"]) == len(t["boxes"]) == len(t["scores"]) for t in results)
    return [(target["boxes"], target["teacher"]) for target in results]


@pytest.mark.parametrize(("engine", "name"), BUILDABLE)
def test_the_teacher_predicts_the_very_crops_and_its_boxes_are_learned(engine, name):
    """Where the view of the tests is another, too, at another size, and with a closer look."""
    changes = {"WEND.VIEW": "squash", "WEND.CLOSER_LOOK": "1.3"}
    model = build(
        engine, config(engine, name, {**changes, **(ONE_ANCHOR if name == "cln" else {})})
    )
    crops = random_crops(3, COUNTS)
    state = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    teacher = teacher_of(engine, model, refinement=Refinement("replace"))
    for (boxes, (predicted, scores)), (image, before) in zip(
        lessons(engine, teacher, crops), crops, strict=True
    ):
        assert len(predicted) == len(scores) >= 1
        assert (scores.diff() <= 0).all()
        assert (predicted >= 0).all()
        assert (predicted <= image.shape[-1]).all()
        assert len(boxes) == len(before)
        taken = min(len(boxes), len(predicted))
        assert {tuple(b) for b in predicted[:taken].tolist()} <= {tuple(b) for b in boxes.tolist()}
    assert torch.equal(torch.get_rng_state(), random_state)
    assert model.training
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    sum(losses(engine, model, crops).values()).backward()  # no inference tensor got in


def test_the_very_crops_means_pixels_of_the_crop_whatever_the_test_view(engine):
    """A teacher with the view of the tests larger than the crop predicts as one with the crop's."""
    crops = random_crops(2, (1,))
    predicted = []
    for view in ("crop", "squash"):
        model = build(engine, config(engine, "fcos", {"WEND.VIEW": view}))
        predicted.append([own for _, own in lessons(engine, teacher_of(engine, model), crops)])
    for (a, of_a), (b, of_b) in zip(*predicted, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(of_a, of_b)


def test_other_fields_of_the_instances_stay_and_scores_are_the_lessons():
    pytest.importorskip("detectron2")
    from wend.d2.teaching import taught

    model = build("detectron2", config("detectron2", "fcos"))
    teacher = teacher_of("detectron2", model, refinement=Refinement("replace"))
    batch = d2_inputs(random_crops(3, COUNTS))
    for entry in batch:
        number = len(entry["instances"])
        entry["instances"].gt_scores = torch.full((number,), 0.5)
        entry["instances"].mine = torch.arange(number)
    for before, after in zip(batch, taught(teacher, batch), strict=True):
        number = len(before["instances"])
        assert torch.equal(after["instances"].mine, torch.arange(number))
        assert torch.equal(after["instances"].gt_classes, before["instances"].gt_classes)
        assert not (after["instances"].gt_scores == 0.5).any()
        assert (before["instances"].gt_scores == 0.5).all()  # the mapper's own stay


def weights_of(path):
    return torch.load(path, weights_only=True)


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def taught_run(tmp_path_factory, toy_root):
    """A run with a teacher on each engine, once."""
    runs = {}

    def of(engine):
        if engine not in runs:
            folder = tmp_path_factory.mktemp(engine)
            changes = {**EMA, "WEND.REFINE": "average", "WEND.EPOCHS": "1"}
            assert run(engine, folder, detector="fcos", changes=changes) == 0
            runs[engine] = folder
        return runs[engine]

    return of


def test_a_run_saves_and_evaluates_the_average(engine, taught_run, tmp_path):
    folder = taught_run(engine)
    final = weights_of(folder / "model_final.pth")
    state = final[STATE_KEY]
    assert state["model"] == "average"
    assert state["updates"] == 3
    assert state["other"].keys() == final["model"].keys()
    assert not same(state["other"], final["model"])
    detector = wend.load(folder)
    loaded = detector.model.model.state_dict()
    assert same({k: v for k, v in loaded.items() if k in final["model"]}, final["model"])
    changes = {"MODEL.WEIGHTS": str(folder / "model_final.pth")}
    assert run(engine, tmp_path, "--eval-only", changes=changes) == 0
    name = "inference/toy_test/detections.json"
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_the_numbers_are_logged(engine, taught_run):
    name = "metrics.json" if engine == "detectron2" else "losses.json"
    text = "".join(path.read_text() for path in taught_run(engine).glob("*.json"))
    for number in ("teacher/score", "teacher/iou_with_given", "teacher/changed"):
        assert f'"{number}"' in text, name


def test_without_evaluate_the_weights_are_the_model(engine, tmp_path):
    changes = {**EMA, "WEND.EMA.EVALUATE": "False", "WEND.EPOCHS": "1"}
    assert run(engine, tmp_path / "average", detector="scr", changes=changes) == 0
    assert run(engine, tmp_path / "none", detector="scr", changes={"WEND.EPOCHS": "1"}) == 0
    final = weights_of(tmp_path / "average" / "model_final.pth")
    assert final[STATE_KEY]["model"] == "weights"
    plain = weights_of(tmp_path / "none" / "model_final.pth")
    assert STATE_KEY not in plain
    assert same(final["model"], plain["model"])  # an average changes no bit of the training
    assert not same(final[STATE_KEY]["other"], plain["model"])


@pytest.mark.parametrize("evaluates", ["True", "False"])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(engine, evaluates, tmp_path):
    changes = {**EMA, "WEND.REFINE": "average", "WEND.TEACHER.START": "0.1"}
    changes |= {"WEND.EMA.EVALUATE": evaluates, "WEND.TEACHER.IOU": "0.0"}
    assert run(engine, tmp_path / "whole", detector="scr", changes=changes) == 0
    half = tmp_path / "whole" / "model_0000002.pth"
    assert go_on(engine, half, tmp_path / "resumed", detector="scr", changes=changes) == 0
    a, b = (weights_of(tmp_path / name / "model_final.pth") for name in ("whole", "resumed"))
    assert a["iteration"] == b["iteration"] == 5
    assert a[STATE_KEY]["updates"] == b[STATE_KEY]["updates"] == 6
    assert same(a["model"], b["model"])
    assert same(a[STATE_KEY]["other"], b[STATE_KEY]["other"])
    assert not same(a["model"], weights_of(half)["model"])


def test_a_run_is_resumed_with_and_without_an_average(engine, tmp_path, capsys):
    """From a checkpoint without one, and from one whose average is left out."""
    longer = {"WEND.EPOCHS": "2"}
    assert run(engine, tmp_path, detector="scr", changes={"WEND.EPOCHS": "1"}) == 0
    again = ("--resume", "--allow-changes")
    assert run(engine, tmp_path, *again, detector="scr", changes={**longer, **EMA}) == 0
    assert weights_of(tmp_path / "model_final.pth")[STATE_KEY]["updates"] == 3
    assert run(engine, tmp_path, *again, detector="scr", changes={"WEND.EPOCHS": "3"}) == 0
    assert STATE_KEY not in weights_of(tmp_path / "model_final.pth")
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert "holds no average of the weights" in said
    assert "holds an average of the weights, which WEND.EMA.DECAY 0 leaves out" in said
