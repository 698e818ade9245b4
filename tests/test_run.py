"""wend.run: what a config names, resolved once."""

import logging

import pytest

from wend.datasets.catalog import DataSets
from wend.errors import InputError
from wend.run import resolve_training
from wend.structures.records import ImageRecord
from wend.tv.config import get_cfg

PSEUDO = ImageRecord(1, "/a", 10, 10, key="c/a", pseudo_boxes=[[1, 2, 3, 4]])
TRUE = ImageRecord(2, "/b", 10, 10, key="c/b", gt_boxes=[[5, 6, 7, 8]])
BOTH = ImageRecord(3, "/c", 10, 10, key="c/c", gt_boxes=[[0, 0, 9, 9]], pseudo_boxes=[[1, 1, 2, 2]])


def training_data(names):
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = tuple(names)
    return resolve_training(cfg, DataSets())


def test_images_with_a_box_to_learn_from_are_counted_and_the_others_said(caplog, register):
    register("pseudo", lambda: [PSEUDO, TRUE, BOTH])
    register("true", lambda: [PSEUDO, BOTH], "gt_boxes")
    with caplog.at_level(logging.INFO, logger="wend"):
        # PSEUDO and BOTH have a pseudo box, only BOTH of the second set has a true one: 2 + 1
        assert len(training_data(["pseudo", "true"]).images) == 3
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("pseudo: training on the pseudo boxes of 2 images; 1 images without")
    assert second.startswith("true: training on the TRUE boxes")
    assert "of 1 images; 1 images without" in second


@pytest.mark.parametrize("names", [[], ["none"]])
def test_training_without_any_box_is_an_error_that_names_the_entry(names, register):
    register("none", lambda: [TRUE])
    said = "none" if names else "an empty list"
    with pytest.raises(
        InputError, match=rf"config entry DATASETS\.TRAIN: no image of {said} has a box to train on"
    ):
        training_data(names)
