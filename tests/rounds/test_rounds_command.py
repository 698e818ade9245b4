"""``wend rounds`` as a whole, on a few pictures of the toy set."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from engine_runs import kept_logging

import wend
from wend.cli.parser import main
from wend.datasets.catalog import DataSets
from wend.rounds.acceptance import Verdict

ENTRIES = {
    "WEND.SMALL_CNN.CHANNELS": "(16, 16, 32)",
    "WEND.LOSS": "none",
    "WEND.EPOCHS": "0",
    "SOLVER.IMS_PER_BATCH": "4",
    "SOLVER.MAX_ITER": "2",
    "SOLVER.WARMUP_ITERS": "1",
    "SOLVER.CHECKPOINT_PERIOD": "1",
    "MODEL.DEVICE": "cpu",
}
BOTH_ENGINES = ["torchvision", pytest.param("detectron2", marks=pytest.mark.slow)]


@pytest.fixture
def rounds(toy_root, tmp_path, monkeypatch):
    """Runs the command in a folder of its own; nothing that so short a training made is refused."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wend.rounds.pipeline.judge", lambda now, before: Verdict(True, "by hand"))

    def call(*more, engine="torchvision", output="out ü", **entries):
        values = {**ENTRIES, **entries, "OUTPUT_DIR": output}
        words = [word for pair in values.items() for word in pair]
        with kept_logging():
            return main(
                ["rounds", "--engine", engine, "--config-file", "demo", *map(str, more), *words]
            )

    return call


@pytest.mark.parametrize("engine", BOTH_ENGINES)
def test_a_run_that_was_killed_goes_on_and_is_an_ordinary_run(rounds, engine, monkeypatch, capsys):
    options = ("--looks", "plain", "--skip-last-check")
    if engine == "torchvision":
        from wend.tv.engine import Trainer

        step, seen = Trainer._step, []

        def killed(self, iteration, batch):
            seen.append(iteration)
            if len(seen) == 2:
                raise KeyboardInterrupt
            return step(self, iteration, batch)

        monkeypatch.setattr(Trainer, "_step", killed)
        assert rounds(*options) == 130
        assert "the same command goes on where it stopped" in capsys.readouterr().err
    assert rounds(*options, engine=engine) == 0
    if engine == "torchvision":
        assert seen == [0, 1, 1, 0, 1, 0, 1]  # two folds, the first of which goes on; then the run
    printed = capsys.readouterr().out
    folder = Path("out ü")
    data_sets = DataSets()
    train = data_sets.get(str(folder / "rounds/run/toy_train_c2am_train_last.yaml"))
    given = DataSets().get("toy_train_c2am")
    assert len(train) == len(given) == 24
    assert train.class_ids.tolist() == given.class_ids.tolist()
    boxes = json.loads((folder / "rounds/1/toy_train_c2am_boxes.json").read_text())
    assert len(boxes["annotations"]) == 24
    assert {row["score"] for row in boxes["annotations"]} <= {0.0, 1.0}  # one look
    x, y, w, h = boxes["annotations"][0]["bbox"]
    np.testing.assert_allclose(train.pseudo_boxes[0], [[x, y, x + w, y + h]])
    changed = (np.abs(train.pseudo_boxes.boxes - given.pseudo_boxes.boxes) > 1e-6).any(1)
    assert changed.any()
    folds = [
        data_sets.get(str(folder / f"rounds/data/toy_train_c2am_fold{k}.yaml")) for k in (0, 1)
    ]
    assert {*folds[0].keys} | {*folds[1].keys} == {*train.keys}
    for fold, k in zip(folds, (0, 1), strict=True):
        learned = data_sets.get(str(folder / f"rounds/1/data/toy_train_c2am_train_fold{k}.yaml"))
        assert not {*fold.keys} & {*learned.keys}
        look = yaml.safe_load((folder / f"rounds/1/fold{k}/plain/config.yaml").read_text())
        assert look["WEND"]["VIEW"] == "crop"  # what the detector is tested with
    assert "| round 1 " in printed
    assert "| round 1 " in (folder / "rounds.md").read_text()
    wend.load(folder, engine=engine)
    capsys.readouterr()
    assert rounds(*options, engine=engine) == 0
    printed = capsys.readouterr().out
    assert "$ wend" not in printed
    assert "training: is done already" in printed
