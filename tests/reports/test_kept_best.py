"""Which evaluation a report calls the best: that of the checkpoint which lies there."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from wend.errors import InputError
from wend.evaluation.curve import append_to_curve
from wend.reports.run_folder import kept_best


@pytest.fixture
def run(tmp_path):
    for iteration, value in ((2, 60.0), (4, 50.0), (6, 40.0)):
        numbers = {"gt_known_loc": value, "mean_iou": value / 100}
        append_to_curve(tmp_path / "curve.csv", iteration, 0, {"toy": {"original": numbers}})
    return tmp_path


def test_it_is_what_the_checkpoints_own_file_says(run):
    """Here of a run that chose by another number at first, and began to choose after 2."""
    state = {"name": "mean_iou", "value": 0.5, "iteration": 4, "evaluated": 4, "without": 0}
    file = run / "model_best.safetensors"
    save_file({"w": np.zeros(1)}, file, {"best": json.dumps(state)})
    best = kept_best(run, "mean_iou")
    assert (best.name, best.value, best.iteration, best.without) == ("mean_iou", 0.5, 4, 1)
    file.write_text("no such file")
    with pytest.raises(InputError, match=r"model_best\.safetensors: "):
        kept_best(run, "mean_iou")


def test_without_such_a_file_it_is_the_curves(run):
    assert kept_best(run, "") is None
    best = kept_best(run, "gt_known_loc")
    assert (best.value, best.iteration, best.without) == (60.0, 2, 2)
