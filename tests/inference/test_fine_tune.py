"""Training on from a loaded detector is the ordinary training, with its weights."""

import json

import numpy as np
import pytest
import yaml

import wend
from wend.cli.parser import main
from wend.datasets.catalog import DataSets
from wend.errors import InputError
from wend.weight_files import read_weights


def test_the_training_begins_with_the_weights_and_ends_in_a_runs_folder(
    engine, finished, tmp_path, caplog
):
    trained, output = finished(engine), tmp_path / "on"
    detector = wend.load(trained)
    changes = {"WEND.EPOCHS": 1, "SOLVER.BASE_LR": 1e-12, "SOLVER.WARMUP_ITERS": 0}
    tuned = detector.fine_tune("toy_test_c2am", "toy_test", output=output, **changes)
    assert tuned.engine == engine
    cfg = yaml.safe_load((output / "config.yaml").read_text())
    assert tuple(cfg["DATASETS"]["TRAIN"]) == ("toy_test_c2am",)
    assert cfg["MODEL"]["WEIGHTS"] == str(trained / "model_final.pth")
    assert cfg["SOLVER"]["MAX_ITER"] == 2  # 12 images, batch 8
    assert (output / "inference/toy_test/metrics.json").is_file()
    before, after = (read_weights(folder / "model_final.pth") for folder in (trained, output))
    assert before.keys() == after.keys()
    for name, value in before.items():
        if "running" not in name and "num_batches" not in name:
            np.testing.assert_allclose(after[name], value, rtol=0, atol=1e-6, err_msg=name)
    images = DataSets().get("toy_test")
    written = json.loads((output / "inference/toy_test/detections.json").read_text())
    assert [
        row
        for record, boxes in zip(images, tuned(images.file_names), strict=True)
        for row in boxes.to_coco(record.image_id)
    ] == written


def test_what_cannot_be_trained_on_is_named(finished, tmp_path):
    detector = wend.load(finished("torchvision"))
    with pytest.raises(InputError, match="holds the weights that the training begins with"):
        detector.fine_tune("toy_train_c2am", output=finished("torchvision"))
    with pytest.raises(InputError, match="no_such_set"):
        detector.fine_tune("no_such_set", output=tmp_path / "on")
    with pytest.raises(InputError, match=r"Non-existent key: WEND\.NOTHING"):
        detector.fine_tune("toy_train_c2am", output=tmp_path / "on", **{"WEND.NOTHING": 1})
    assert not (tmp_path / "on").exists()


def test_the_command_trains_on(finished, tmp_path, capsys):
    output = tmp_path / "on"
    command = ["fine-tune", str(finished("torchvision")), "--output", str(output), "--train"]
    entries = ["--opts", "WEND.EPOCHS", "1", "SOLVER.WARMUP_ITERS", "0"]
    assert main([*command, "toy_test_c2am", *entries]) == 0
    assert len(wend.load(output)(DataSets().get("toy_test").file_names[0])) > 0
    assert main([*command, "toy_test_c2am", "--opts", "WEND.EPOCHS"]) == 2
    assert "--opts: expected KEY VALUE pairs" in capsys.readouterr().err
