"""WEND.RCNN.RATIO and the λ of eq. (1), on either engine."""

import json

import pytest
import torch
from engine_runs import ONE_ANCHOR, assert_refused, build, config, losses, random_crops, run

RCNNS = [("detectron2", "rcnn"), ("torchvision", "rcnn"), ("detectron2", "cln")]
SAMPLES = 16
# of the crops' images; the last has none
BOXES = (1, 2, 1, 0)


def rcnn(engine, name, ratio, fraction=0.5, **changes):
    entries = {
        "WEND.RCNN.RATIO": ratio,
        "WEND.LOSS": "none",
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": str(SAMPLES),
        "MODEL.ROI_HEADS.POSITIVE_FRACTION": str(fraction),
        **(ONE_ANCHOR if name == "cln" else {}),
        **changes,
    }
    return build(engine, config(engine, name, entries))


def sampled_labels(engine, model, monkeypatch, boxes=BOXES):
    """Labels (S,) of each image's samples in one step: 1 for foreground."""
    seen = []
    loss = model.localization_loss
    context = loss.context

    def spy(logits, *, labels, image_index, **more):
        seen.extend(labels[image_index == image] for image in range(4))
        return context(logits, labels=labels, image_index=image_index, **more)

    monkeypatch.setattr(loss, "context", spy)
    terms = losses(engine, model, random_crops(4, boxes))
    assert all(torch.isfinite(value) for value in terms.values())
    sum(terms.values()).backward()
    monkeypatch.undo()
    return seen


@pytest.mark.parametrize("fraction", [0.5, 0.2])
@pytest.mark.parametrize(("engine", "name"), RCNNS)
def test_exact_keeps_the_ratio_where_the_cap_does_not(engine, name, fraction, monkeypatch):
    labels = torch.cat(sampled_labels(engine, rcnn(engine, name, "cap", fraction), monkeypatch))
    assert len(labels) == 4 * SAMPLES  # filled up with negatives
    assert labels.float().mean() < 0.75 * fraction
    images = sampled_labels(engine, rcnn(engine, name, "exact", fraction), monkeypatch)
    labels = torch.cat(images)
    positives = int(labels.sum())
    assert len(labels) == round(positives / fraction)
    assert positives >= 3  # each box itself is a proposal
    assert len(images) == 4
    assert images[3].sum() == 0


@pytest.mark.parametrize(("engine", "name"), RCNNS)
def test_a_batch_without_a_box_trains_on_background_alone(engine, name, monkeypatch):
    model = rcnn(engine, name, "exact")
    labels = torch.cat(sampled_labels(engine, model, monkeypatch, boxes=(0,)))
    assert len(labels) > 0
    assert labels.sum() == 0


@pytest.mark.detectron2
def test_detectron2s_own_numbers_are_those_of_what_is_kept():
    from detectron2.utils.events import EventStorage
    from engine_runs import d2_inputs

    model = rcnn("detectron2", "rcnn", "exact", 0.25)
    with EventStorage(19) as storage:  # the first step whose numbers are logged
        model(d2_inputs(random_crops(4, BOXES)))
    positives, negatives = (
        storage.history(f"roi_head/num_{kind}_samples") for kind in ("fg", "bg")
    )
    assert len(positives.values()) == len(negatives.values()) == 1
    assert negatives.latest() == pytest.approx(3 * positives.latest(), abs=0.125)


# ---- λ ----

WEIGHTS = {
    ("fcos", "detectron2"): {
        "WEND.FCOS.CLASS_WEIGHT": "loss_fcos_cls",
        "WEND.FCOS.BOX_WEIGHT": "loss_fcos_loc",
        "WEND.FCOS.CENTERNESS_WEIGHT": "loss_fcos_ctr",
    },
    ("fcos", "torchvision"): {
        "WEND.FCOS.CLASS_WEIGHT": "classification",
        "WEND.FCOS.BOX_WEIGHT": "bbox_regression",
        "WEND.FCOS.CENTERNESS_WEIGHT": "bbox_ctrness",
    },
    ("rcnn", "detectron2"): {
        "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT": "loss_box_reg",
        "MODEL.RPN.BBOX_REG_LOSS_WEIGHT": "loss_rpn_loc",
        "MODEL.RPN.LOSS_WEIGHT": "loss_rpn_cls loss_rpn_loc",
    },
    ("rcnn", "torchvision"): {
        "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT": "loss_box_reg",
        "MODEL.RPN.BBOX_REG_LOSS_WEIGHT": "loss_rpn_box_reg",
        "MODEL.RPN.LOSS_WEIGHT": "loss_objectness loss_rpn_box_reg",
    },
}


@pytest.mark.parametrize("detector", ["fcos", "rcnn"])
def test_each_weight_multiplies_its_terms_alone(engine, detector):
    def terms(changes):
        model = build(engine, config(engine, detector, {"WEND.ETA": "0.5", **changes}))
        torch.manual_seed(1)  # sampled proposals
        return losses(engine, model, random_crops(3, (1, 2)))

    before = terms({})
    for entry, names in WEIGHTS[detector, engine].items():
        for name, value in terms({entry: "3.0"}).items():
            expected = 3 * before[name] if name in names.split() else before[name]
            torch.testing.assert_close(value, expected, msg=f"{entry} {name}")


def test_the_weight_of_fcos_classes_counts_in_the_force_of_l_unsup(engine):
    def ratio(weight):
        model = build(engine, config(engine, "fcos", {"WEND.FCOS.CLASS_WEIGHT": weight}))
        losses(engine, model, random_crops(3, (1,)))
        return model.localization_loss.measured()["unsup_to_cls"]

    assert ratio("4.0") == pytest.approx(ratio("1.0") / 4, rel=1e-5)


# ---- the log ----


def test_the_ratio_that_is_reached_stands_in_the_log(engine, tmp_path):
    def share(ratio):
        changes = {
            "WEND.RCNN.RATIO": ratio,
            "WEND.LOSS": "none",
            "WEND.ETA": "1.0",
            "WEND.EPOCHS": "1",
            "MODEL.ROI_HEADS.POSITIVE_FRACTION": "0.25",
            "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "32",
        }
        assert run(engine, tmp_path / ratio, detector="rcnn", changes=changes) == 0
        lines = (tmp_path / ratio / "metrics.json").read_text().splitlines()
        numbers = map(json.loads, lines)  # Detectron2 writes a line for each step that has some
        return [line["positive_share"] for line in numbers if "positive_share" in line]

    # of one batch of 8 images: whole samples
    assert share("exact") == [pytest.approx(0.25, abs=0.01)]
    assert max(share("cap")) < 0.2


@pytest.mark.parametrize("detector", ["fcos", "rcnn", "detr"])
def test_summing_ignored_samples_is_refused_where_none_is(engine, detector, tmp_path, capsys):
    message = "config entry WEND.WE.SAMPLES: Binary"
    if detector == "detr":
        message = "config entry WEND.WE.SAMPLES: DeformableDETR"
    assert_refused(
        *(engine, "WEND.WE.SAMPLES ignored", message, tmp_path / "out", capsys), detector=detector
    )
