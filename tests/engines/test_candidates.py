"""A detector as one function of a batch of pixels has the detector's own boxes."""

import pytest
import torch
from engine_runs import (
    BUILDABLE,
    CONFIGS,
    CROP,
    build,
    detections,
    file_config,
    random_crops,
    untrained,
)

from wend.errors import InputError
from wend.modeling.candidates.base import ChosenBoxes
from wend.modeling.detectors import SCR
from wend.modeling.layers.box_selection import sides_longer_than

CHANGES = {
    "many": {"TEST.DETECTIONS_PER_IMAGE": "100", "MODEL.RPN.POST_NMS_TOPK_TEST": "1000"},
    "few": {
        "TEST.DETECTIONS_PER_IMAGE": "3",
        "WEND.MAX_BOXES": "3",
        "WEND.FCOS.SCORE_THRESH_TEST": "0.085",
        "WEND.FCOS.TOPK_CANDIDATES_TEST": "20",
        "WEND.FCOS.NMS_THRESH_TEST": "0.3",
        "MODEL.RPN.PRE_NMS_TOPK_TEST": "60",
        "MODEL.RPN.POST_NMS_TOPK_TEST": "12",
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": "0.216",
        "MODEL.ROI_HEADS.NMS_THRESH_TEST": "0.3",
    },
    "two levels": {
        "WEND.FCOS.IN_FEATURES": "('stage2', 'stage3')",
        "MODEL.RPN.IN_FEATURES": "('stage2', 'stage3')",
        "MODEL.ROI_HEADS.IN_FEATURES": "('stage2', 'stage3')",
        "MODEL.RPN.POST_NMS_TOPK_TEST": "50",
    },
}


def candidate_detector(engine, cfg, model):
    if engine == "detectron2":
        from wend.d2.candidates import candidate_detector as of_engine
    else:
        from wend.tv.candidates import candidate_detector as of_engine
    return of_engine(cfg, model, (CROP, CROP))


def images():
    crops = [image for image, _ in random_crops(4, (0,), 3)]
    coarse = torch.nn.functional.interpolate(crops[0][None, :, :4, :4].float(), size=(CROP, CROP))
    return torch.stack([*crops, coarse[0].byte()])


# Nothing of SCR and Deformable DETR depends on these
QUICK = {"few": {"fcos", "rcnn", "cln"}, "two levels": {"fcos", "rcnn"}, "many": {"scr", "detr"}}


@pytest.mark.parametrize(
    ("engine", "name", "setting"),
    [
        pytest.param(*case, setting, marks=[] if case[1] in QUICK[setting] else [pytest.mark.slow])
        for case in BUILDABLE
        for setting in CHANGES
    ],
    indirect=["engine"],
)
def test_the_choice_among_the_candidates_is_the_detectors(engine, name, setting):
    cfg, model = untrained(engine, name, CHANGES[setting])
    own = own_boxes(engine, model, images())
    assert sum(len(scores) for _, scores in own) > len(own) / 2
    assert_candidates_give(own, engine, cfg, model)


def own_boxes(engine, model, pixels):
    """The boxes and scores of each image that the detector itself predicts."""
    own = detections(engine, model, [(image, torch.zeros(0, 4)) for image in pixels])
    if engine == "detectron2":
        return own
    wholes = [sides_longer_than(boxes, 0) for boxes, _ in own]  # its evaluation drops the others
    return [(boxes[w], scores[w]) for (boxes, scores), w in zip(own, wholes, strict=True)]


def assert_candidates_give(own, engine, cfg, model, pixels=2e-5, scores=1e-6):
    """That the detector as a function has these boxes, to so many pixels, and scores."""
    with torch.no_grad():
        of_all = ChosenBoxes(candidate_detector(engine, cfg, model).eval())(images())
    for boxes, its_scores, (expected, expected_scores) in zip(*of_all, own, strict=True):
        count = len(expected_scores)
        torch.testing.assert_close(boxes[:count], expected, rtol=0, atol=pixels)
        torch.testing.assert_close(its_scores[:count], expected_scores, rtol=0, atol=scores)
        assert not its_scores[count:].any()
        assert not boxes[count:].any()


@pytest.mark.parametrize(("engine", "name"), [("detectron2", "rcnn")], indirect=["engine"])
def test_less_than_0_keeps_all_boxes_as_in_detectron2(engine, name):
    cfg, model = untrained(engine, name, {"MODEL.ROI_HEADS.SCORE_THRESH_TEST": "0.0"})
    model.roi_heads.box_predictor.test_topk_per_image = -1
    own = own_boxes(engine, model, images())
    assert min(len(scores) for _, scores in own) > 10  # TEST.DETECTIONS_PER_IMAGE
    assert_candidates_give(own, engine, cfg, model)


@pytest.mark.parametrize(("engine", "name"), [("detectron2", "fcos")], indirect=["engine"])
def test_pixels_in_blue_green_red_are_turned(engine, name):
    cfg, model = untrained(engine, name, {"INPUT.FORMAT": "BGR"})
    own = own_boxes(engine, model, images().flip(1))
    assert_candidates_give(own, engine, cfg, model)


class ImageByImage(SCR):
    def detections(self, predictions, frames):
        return [(boxes[:1], scores) for boxes, scores in super().detections(predictions, frames)]


def test_a_detector_that_has_no_function_of_a_batch_is_refused():
    cfg, model = untrained("torchvision", "scr")
    model.__class__ = type("Mine", (ImageByImage, type(model)), {})
    with pytest.raises(InputError, match=r"detector Mine: cannot be exported.*best_boxes"):
        candidate_detector("torchvision", cfg, model)


@pytest.mark.parametrize("engine", ["detectron2"], indirect=True)
@pytest.mark.parametrize(
    ("name", "entry"),
    [("fcos", "WEND.FCOS.NUM_CLASSES"), ("rcnn", "MODEL.ROI_HEADS.NUM_CLASSES")],
)
def test_several_classes_are_refused(engine, name, entry):
    cfg, model = untrained(engine, name, {entry: "3", "WEND.LOSS": "none"})
    with pytest.raises(InputError, match=rf"{entry}: a detector of 3 classes cannot be exported"):
        candidate_detector(engine, cfg, model)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["detectron2"], indirect=True)
@pytest.mark.parametrize("file", ["fcos_R50_FPN_we.yaml", "faster_rcnn_R50_FPN_we.yaml"])
def test_pyramids_whose_batches_are_padded(engine, file):
    # it would make crops of its own size of these images
    overrides = ["MODEL.DEVICE", "cpu", "WEND.CROP_IN_MODEL", "False"]
    cfg = file_config(engine, CONFIGS / "CUB" / file, overrides)
    model = build(engine, cfg).eval()
    own = own_boxes(engine, model, images())
    assert_candidates_give(own, engine, cfg, model, pixels=1e-3, scores=1e-5)
