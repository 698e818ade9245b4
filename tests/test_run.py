"""wend.run: what a config names, resolved once."""

import logging
from pathlib import Path

import pytest
from engine_runs import kept_logging, run

from wend.cli.train import main
from wend.datasets.catalog import DataSets
from wend.errors import InputError
from wend.reports.summary import summarize_run
from wend.run import resolve_tests, resolve_training
from wend.structures.records import ImageRecord
from wend.tv.config import get_cfg

PSEUDO = ImageRecord(1, "/a", 10, 10, key="c/a", pseudo_boxes=[[1, 2, 3, 4]])
TRUE = ImageRecord(2, "/b", 10, 10, key="c/b", gt_boxes=[[5, 6, 7, 8]])
BOTH = ImageRecord(3, "/c", 10, 10, key="c/c", gt_boxes=[[0, 0, 9, 9]], pseudo_boxes=[[1, 1, 2, 2]])


def training_data(names, **entries):
    cfg = get_cfg()
    cfg.WEND.update(entries)
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


@pytest.mark.parametrize("entry", ["IMAGE_WEIGHTS", "SAMPLE_WEIGHTS"])
def test_weights_of_boxes_without_scores_are_said_to_be_1(caplog, register, entry):
    scored = ImageRecord(
        1, "/a", 10, 10, key="c/a", pseudo_boxes=[[1, 2, 3, 4]], pseudo_scores=[0.5]
    )
    register("none", lambda: [PSEUDO])
    register("scored", lambda: [scored])
    said = "none: its pseudo_boxes have no scores; weights that are made of scores take each as 1"
    with caplog.at_level(logging.INFO, logger="wend"):
        training_data(["none"])
        assert "scores" not in caplog.text
        training_data(["none", "scored"], **{entry: ("mine",)})
    assert said in caplog.text
    assert "scored: its" not in caplog.text


@pytest.mark.parametrize("names", [[], ["none"]])
def test_training_without_any_box_is_an_error_that_names_the_entry(names, register):
    register("none", lambda: [TRUE])
    said = "none" if names else "an empty list"
    with pytest.raises(
        InputError, match=rf"config entry DATASETS\.TRAIN: no image of {said} has a box to train on"
    ):
        training_data(names)


@pytest.mark.parametrize("engine", ["detectron2", "torchvision"])
def test_a_written_config_names_declarations_so_that_they_are_known_from_any_folder(
    engine, toy_root, tmp_path, monkeypatch
):
    if engine == "detectron2":
        pytest.importorskip("detectron2")
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        (tmp_path / f"mine_{split}.yaml").write_text(
            f"format: cub\nimages: {toy_root}/CUB_200_2011\nsplit: {split}\ntrain_on: gt_boxes\n"
        )
    changes = {
        "DATASETS.TRAIN": "('mine_train.yaml',)",
        "DATASETS.TEST": "('mine_test.yaml',)",
        "WEND.EPOCHS": "1",
    }
    assert run(engine, tmp_path / "out", changes=changes) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with kept_logging():
        config, weights = tmp_path / "out/config.yaml", tmp_path / "out/model_final.pth"
        written = config.read_text()  # and as earlier versions wrote it
        config.write_text(written.replace("WEND:\n", "WEND:\n  DETACH_WEIGHT: false\n"))
        flags = ["--engine", engine, "--eval-only", "--config-file", str(config)]
        assert main([*flags, "MODEL.WEIGHTS", str(weights), "OUTPUT_DIR", "again"]) == 0
    _, files = summarize_run(tmp_path / "out", DataSets())
    assert tmp_path / "out/boxes_mine_test.png" in files
    detections = "inference/mine_test/detections.json"
    assert Path("again", detections).read_bytes() == (tmp_path / "out" / detections).read_bytes()


def test_no_path_of_a_training_set_that_is_not_here_comes_into_the_files(toy_root, tmp_path):
    cfg = get_cfg()
    (tmp_path / "mine.yaml").write_text("format: cub\nimages: gone\nsplit: train\n")
    cfg.DATASETS.TRAIN = (str(tmp_path / "mine.yaml"),)
    cfg.DATASETS.TEST = ("toy_test",)
    (test,) = resolve_tests(cfg, DataSets(toy_root.parent)).values()
    assert test.evaluation.why_no_baseline == "not computed (mine.yaml cannot be read here)"
