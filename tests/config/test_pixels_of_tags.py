"""MODEL.PIXEL_MEAN of timm's networks whose weights do not agree on it."""

import logging

import pytest
from engine_runs import config

pytest.importorskip("timm", reason="timm is not installed (extra 'classifier')")


@pytest.mark.parametrize(
    ("model", "weights", "mean", "is_said"),
    [
        ("vit_small_patch16_224", "dino.pth", 127.5, True),
        ("vit_small_patch16_224", "", 127.5, False),
        ("vit_small_patch16_224.dino", "dino.pth", 123.675, False),
        ("vit_small_patch14_dinov2", "dinov2.pth", 123.675, False),
    ],
)
def test_weights_of_a_name_that_expect_other_pixels_are_said(model, weights, mean, is_said, caplog):
    changes = {"MODEL.BACKBONE.NAME": "build_timm_backbone", "WEND.TIMM.MODEL": model}
    with caplog.at_level(logging.WARNING, "wend"):
        cfg = config("torchvision", "fcos", {**changes, "MODEL.WEIGHTS": weights})
    assert cfg.MODEL.PIXEL_MEAN[0] == mean
    said = "others of its weights expect another (vit_small_patch16_224.dino): if dino.pth is one"
    assert (said in caplog.text) == is_said
    assert bool(caplog.text) == is_said
