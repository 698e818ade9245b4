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
    pixels = images()
    own = detections(engine, model, [(image, torch.zeros(0, 4)) for image in pixels])
    with torch.no_grad():
        boxes, scores = ChosenBoxes(candidate_detector(engine, cfg, model).eval())(pixels)
    assert sum(len(own_scores) for _, own_scores in own) > len(pixels) / 2
    for index, (own_boxes, own_scores) in enumerate(own):
        if engine == "torchvision":  # its evaluation drops those without an area
            whole = sides_longer_than(own_boxes, 0)
            own_boxes, own_scores = own_boxes[whole], own_scores[whole]
        count = len(own_scores)
        torch.testing.assert_close(boxes[index, :count], own_boxes, rtol=0, atol=2e-5)
        torch.testing.assert_close(scores[index, :count], own_scores, rtol=0, atol=1e-6)
        assert not scores[index, count:].any()
        assert not boxes[index, count:].any()


@pytest.mark.parametrize(("engine", "name"), [("detectron2", "fcos")], indirect=["engine"])
def test_pixels_in_blue_green_red_are_turned(engine, name):
    cfg, model = untrained(engine, name, {"INPUT.FORMAT": "BGR"})
    pixels = images()
    own = detections(engine, model, [(image.flip(0), torch.zeros(0, 4)) for image in pixels])
    with torch.no_grad():
        boxes, _ = ChosenBoxes(candidate_detector(engine, cfg, model).eval())(pixels)
    for index, (own_boxes, _) in enumerate(own):
        torch.testing.assert_close(boxes[index, : len(own_boxes)], own_boxes, rtol=0, atol=2e-5)


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
    pixels = images()
    own = detections(engine, model, [(image, torch.zeros(0, 4)) for image in pixels])
    with torch.no_grad():
        boxes, scores = ChosenBoxes(candidate_detector(engine, cfg, model).eval())(pixels)
    for index, (own_boxes, own_scores) in enumerate(own):
        count = len(own_scores)
        assert not scores[index, count:].any()
        torch.testing.assert_close(scores[index, :count], own_scores, rtol=0, atol=1e-5)
        torch.testing.assert_close(boxes[index, :count], own_boxes, rtol=0, atol=1e-3)
