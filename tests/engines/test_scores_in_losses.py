"""Scores of pseudo boxes on the way from the data set into the losses of either engine."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from engine_runs import run

from wend.datasets.catalog import DataSets
from wend.losses import image_weights

pytestmark = pytest.mark.usefixtures("own_registries")


def test_the_losses_of_a_training_see_each_images_scores(engine, register, tmp_path):
    """Two boxes per image, of scores that only this image has; flips and crops keep them apart."""
    records = [
        replace(
            record,
            pseudo_boxes=np.concatenate([record.pseudo_boxes[:1], record.pseudo_boxes[:1] + 1]),
            pseudo_scores=[1 / (2 + number), 1 / (30 + number)],
        )
        for number, record in enumerate(DataSets().get("toy_train_c2am"))
    ]
    register("scored", lambda: records)
    seen = {}

    @image_weights("seen")
    def look(images):
        seen.update(zip(images.image_ids, images.scores, strict=True))
        return torch.ones(len(images.boxes))

    changes = {"DATASETS.TRAIN": "('scored',)", "WEND.IMAGE_WEIGHTS": "('seen',)"}
    assert run(engine, tmp_path / "run", changes={**changes, "WEND.EPOCHS": "1"}) == 0
    assert seen.keys() == {record.image_id for record in records}
    for record in records:
        expected = torch.tensor(record.pseudo_scores, dtype=torch.float32)
        torch.testing.assert_close(seen[record.image_id].cpu(), expected, rtol=0, atol=0)
