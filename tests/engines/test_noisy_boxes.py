"""What helps against noisy boxes, one entry away on every detector of both engines."""

import sys

import numpy as np
import pytest
import torch
from engine_runs import (
    BUILDABLE,
    ONE_ANCHOR,
    assert_refused,
    build,
    config,
    d2_inputs,
    random_crops,
    run,
)

from wend.datasets.toy import ToyConfig, write_toy
from wend.losses import tell_progress
from wend.losses.small_loss import small_loss
from wend.losses.weights import sample_weights
from wend.structures.boxes import box_iou

CLASSIFIERS = [(engine, name) for engine, name in BUILDABLE if name != "scr"]
COMMON = [(engine, name) for engine, name in BUILDABLE if name in ("fcos", "rcnn")]
LOSSES = ("gce", "focal_gce", "bootstrap", "sce")
OF_SAMPLES = ("drop_loss", "ignore_regions", "small_loss", "small_loss_samples")
OF_IMAGES = ("box_score", "teacher_agreement")
TEACHER = {"EMA__DECAY": "0.9", "TEACHER__ENABLED": "True", "TEACHER__START": "0.0"}


def detector(engine, name, **changes):
    """A tiny detector without L_unsup; entries of the WEND node are changed."""
    entries = {f"WEND.{key.replace('__', '.')}": value for key, value in changes.items()}
    changes = {"WEND.LOSS": "none", **(ONE_ANCHOR if name == "cln" else {}), **entries}
    return build(engine, config(engine, name, changes))


def gradients(engine, model, score, teacher=None, counts=(1, 2, 1)):
    """The gradient of the sum of the losses on three images, boxes scored alike, by parameter."""
    tell_progress(model, 90, 100)
    crops = random_crops(3, counts)
    taught = {} if teacher is None else {"teacher": teacher}
    if engine == "detectron2":
        from detectron2.utils.events import EventStorage

        batch = d2_inputs(crops)
        for entry in batch:
            number = len(entry["instances"])
            entry["instances"].gt_scores = torch.full((number,), score)
            entry.update(taught)
        with EventStorage():
            losses = model(batch)
    else:
        targets = [
            {
                "boxes": boxes,
                "labels": torch.full((len(boxes),), model.foreground_label, dtype=torch.int64),
                "scores": torch.full((len(boxes),), score),
                **taught,
            }
            for _, boxes in crops
        ]
        losses = model([image.float() for image, _ in crops], targets)
    model.zero_grad()
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    return {
        key: parameter.grad.clone()
        for key, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def moved(slopes):
    """The parameters that are moved."""
    assert all(torch.isfinite(slope).all() for slope in slopes.values())
    return {key for key, slope in slopes.items() if slope.abs().sum() > 0}


@pytest.mark.parametrize(("engine", "name"), COMMON)
def test_images_without_trust_move_nothing_not_even_the_proposals(engine, name):
    model = detector(engine, name, IMAGE_WEIGHTS="('box_score',)")
    assert not moved(gradients(engine, model, score=0.0))
    assert moved(gradients(engine, model, score=0.5))


@pytest.mark.parametrize(("engine", "name"), COMMON)
def test_a_teacher_that_sees_something_else_stops_an_image(engine, name):
    model = detector(engine, name, IMAGE_WEIGHTS="('teacher_agreement',)", **TEACHER)
    elsewhere = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([0.9])
    assert not moved(gradients(engine, model, 1.0, elsewhere))
    assert moved(gradients(engine, model, 1.0))


@pytest.mark.parametrize(("engine", "name"), COMMON)
def test_regions_of_uncertain_boxes_move_no_classifier_and_no_regressor(engine, name):
    # Grown so far that all background is inside
    model = detector(
        engine,
        name,
        SAMPLE_WEIGHTS="('ignore_regions',)",
        IGNORE_REGIONS__GROW="1000.0",
        IGNORE_REGIONS__OVERLAP="0.0",
    )
    assert all("rpn" in key or "backbone" in key for key in moved(gradients(engine, model, 0.4)))
    assert any("bbox" in key or "box" in key for key in moved(gradients(engine, model, 0.6)))


@pytest.mark.parametrize(("engine", "name"), CLASSIFIERS)
def test_a_batch_without_boxes_has_no_uncertain_one(engine, name):
    model = detector(engine, name, SAMPLE_WEIGHTS="('ignore_regions',)")
    assert moved(gradients(engine, model, 0.4, counts=(0, 0, 0)))


@pytest.mark.parametrize("engine", ["detectron2", "torchvision"])
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("WEND.GCE.Q 1.5", "config entry WEND.GCE.Q: expected in [0, 1], got 1.5"),
        ("WEND.SCE.LOG_ZERO 0.0", "config entry WEND.SCE.LOG_ZERO: expected finite and < 0"),
        ("WEND.BOOTSTRAP.FORM firm", "config entry WEND.BOOTSTRAP.FORM: expected one of"),
        ("WEND.SMALL_LOSS.DROP 1.0", "config entry WEND.SMALL_LOSS.DROP: expected in [0, 1)"),
        ("WEND.CLS_LOSS gcee", "unknown classification loss 'gcee'. Did you mean 'gce'?"),
    ],
)
def test_what_is_out_of_range_is_named_by_its_entry(engine, override, message, tmp_path, capsys):
    assert_refused(engine, override, message, tmp_path / "out", capsys)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("entry", "remedy"),
    [
        *(("CLS_LOSS", loss) for loss in LOSSES),
        *(("SAMPLE_WEIGHTS", weights) for weights in OF_SAMPLES),
        *(("IMAGE_WEIGHTS", weights) for weights in OF_IMAGES),
    ],
)
@pytest.mark.parametrize(("engine", "name"), CLASSIFIERS)
def test_every_remedy_reaches_the_gradient_of_every_detector(engine, name, entry, remedy):
    value = remedy if entry == "CLS_LOSS" else f"('{remedy}',)"
    elsewhere = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([0.9])
    changed, plain = (
        gradients(engine, detector(engine, name, **changes), 0.4, elsewhere)
        for changes in ({entry: value, **TEACHER}, {})
    )
    moved(changed)
    assert any(not torch.equal(changed[key], plain[key]) for key in plain)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "name"), CLASSIFIERS)
def test_all_together_train_an_epoch(engine, name, tmp_path):
    changes = {
        "WEND.CLS_LOSS": "focal_gce" if name in ("fcos", "detr") else "gce",
        "WEND.SAMPLE_WEIGHTS": str(OF_SAMPLES),
        "WEND.IMAGE_WEIGHTS": str(OF_IMAGES),
        "WEND.EMA.DECAY": "0.9",
        "WEND.TEACHER.ENABLED": "True",
        "WEND.EPOCHS": "1",
    }
    changes |= ONE_ANCHOR if name == "cln" else {}
    assert run(engine, tmp_path / "out", detector=name, changes=changes) == 0


def wrong_images(name):
    """Whether the pseudo box of each image of a data set is wrong, by the image's id."""
    from wend.datasets.catalog import DataSets

    records = DataSets().get(name)
    wrong = {}
    for record in records:
        best = (
            box_iou(record.pseudo_boxes, record.gt_boxes).max() if len(record.pseudo_boxes) else 0
        )
        wrong[record.image_id] = best <= 0.5
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "name"), COMMON)
def test_small_loss_drops_images_with_wrong_boxes_more_often_than_chance(
    engine, name, tmp_path, monkeypatch, own_registries
):
    write_toy(
        tmp_path / "toy", ToyConfig(num_train=400, num_test=12, max_objects=1, wrong_place=0.4)
    )
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    wrong = wrong_images("toy_train_c2am")
    seen: list[tuple[bool, bool]] = []

    @sample_weights("spied", node="SMALL_LOSS")
    def spied(context, *, drop, start, ramp):
        weights = small_loss(context, drop=drop, start=start, ramp=ramp)
        if context.progress.share > 0.5:
            for index, image in enumerate(context.image_ids):
                of_image = weights[context.image_index == index]
                seen.append((wrong[image], bool(len(of_image)) and not of_image.any()))
        return weights

    changes = {
        "WEND.LOSS": "none",
        "WEND.ETA": "1.0",
        "WEND.SAMPLE_WEIGHTS": "('spied',)",
        "WEND.SMALL_LOSS.DROP": "0.4",
        "WEND.EPOCHS": "6",
    }
    assert run(engine, tmp_path / "out", detector=name, changes=changes) == 0
    is_wrong, is_dropped = (np.array(column) for column in zip(*seen, strict=True))
    of_dropped, of_all = is_wrong[is_dropped].mean(), is_wrong.mean()
    sys.stdout.write(f"{engine} {name}: wrong {of_dropped:.3f} of dropped, {of_all:.3f} of all\n")
    assert of_dropped > of_all + 0.1
