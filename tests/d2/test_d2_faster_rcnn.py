"""What only Detectron2's Faster R-CNN is asked for; the rest: engines/test_detectors.py."""

import pytest
from engine_runs import build, d2_config

from wend.errors import InputError

pytestmark = pytest.mark.detectron2


def test_more_classes_with_we_are_an_error():
    with pytest.raises(InputError) as error:
        build("detectron2", d2_config("rcnn", {"MODEL.ROI_HEADS.NUM_CLASSES": "200"}))
    assert str(error.value) == (
        "config entry MODEL.ROI_HEADS.NUM_CLASSES: WEND.LOSS weighted_entropy needs one foreground "
        "class, got 200; set it to 1 or leave that out (WEND.LOSS none)"
    )


def test_we_with_roi_heads_that_cannot_compute_it_is_an_error_not_a_silent_loss():
    with pytest.raises(InputError, match=r"MODEL\.ROI_HEADS\.NAME"):
        build("detectron2", d2_config("rcnn", {"MODEL.ROI_HEADS.NAME": "StandardROIHeads"}))
