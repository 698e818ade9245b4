"""A training goes on as the one it was: what differs is listed and refused, or meant."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from engine_runs import TWO_TESTS, kept_logging, run

from wend.cli.train import main, make_parser
from wend.inference.own_config import completed


@pytest.fixture
def interrupted(finished, tmp_path):
    """Engine -> the folder of a training of two epochs that was killed after the first."""

    def make(engine):
        folder = shutil.copytree(finished(engine), tmp_path / "run")
        for name in ("model_final.pth", "model_final.safetensors", "model_0000005.pth"):
            (folder / name).unlink()
        return folder

    return make


@pytest.fixture
def folder(engine, interrupted):
    return interrupted(engine)


def checkpoint(folder, name="model_0000002"):
    return torch.load(folder / f"{name}.pth", weights_only=True)


def resume(engine, folder, *flags, **changes):
    entries = {name.replace("__", "."): value for name, value in changes.items()}
    return run(engine, folder, "--resume", *flags, changes={**TWO_TESTS, **entries})


def refused(engine, folder, capsys, **changes):
    """What a resume with other entries ends in; the folder stays as it was."""
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert resume(engine, folder, **changes) == 2
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    error = capsys.readouterr().err
    assert error.startswith("error: --resume: the training of ")
    assert error.count("\n") == 1
    assert "add --allow-changes" in error
    return error.partition("asked for: ")[2].partition(". Ask for")[0]


def test_a_checkpoint_says_what_its_training_was_made_of(engine, folder):
    facts = checkpoint(folder)["training"]
    assert facts["seed"] == 1
    assert facts["batch"] == 8
    assert facts["world_size"] == 1
    assert (facts["images"], facts["boxes"]) == (24, 24)
    assert len(facts["data_digest"]) == 64
    assert {"wend", "torch", "python", engine} <= facts["versions"].keys()
    assert [protocol.partition(":")[0] for protocol in facts["protocols"]] == [
        "psol-crop224",
        "original",
    ]


def test_what_differs_is_listed_and_refused_and_done_where_it_is_meant(engine, folder, capsys):
    listed = refused(engine, folder, capsys, SOLVER__IMS_PER_BATCH="4", SEED="2")
    for change in ("SOLVER.IMS_PER_BATCH: 8 -> 4", "SOLVER.MAX_ITER: 6 -> 12", "SEED: 1 -> 2"):
        assert change in listed
    assert listed.count("->") == 3
    changes = {"SOLVER__BASE_LR": "0.02"}
    assert refused(engine, folder, capsys, **changes) == "SOLVER.BASE_LR: 0.01 -> 0.02"
    assert resume(engine, folder, "--allow-changes", **changes) == 0
    said = capsys.readouterr()
    assert "--allow-changes: going on from" in said.out + said.err
    final = checkpoint(folder, "model_final")
    assert final["iteration"] == 5
    assert "BASE_LR: 0.02" in final["wend"]["config"]
    trainer = final["trainer"]["_trainer"] if engine == "detectron2" else final
    groups = trainer["optimizer"]["param_groups"]
    assert {group["initial_lr"] for group in groups} == {0.02, 0.04}  # as asked, with the head's


@pytest.mark.slow
def test_entries_that_change_no_number_are_free_and_said(engine, folder, capsys):
    free = {"DATALOADER__NUM_WORKERS": "1", "WEND__DATA__ON_BAD_IMAGE": "skip"}
    free |= {"WEND__EPOCHS": "0", "SOLVER__MAX_ITER": "6", "TEST__EVAL_PERIOD": "2"}
    free |= {"MODEL__WEIGHTS": "/nowhere/r50.pth", "DATASETS__TEST": "('toy_test_c2am',)"}
    assert resume(engine, folder, **free) == 0
    said = capsys.readouterr().out
    assert "differs in what changes no number" in said
    assert "DATALOADER.NUM_WORKERS: 0 -> 1" in said
    assert checkpoint(folder, "model_final")["iteration"] == 5


def test_a_longer_schedule_is_a_change(engine, folder, capsys):
    listed = refused(engine, folder, capsys, WEND__EPOCHS="3")
    assert listed == "SOLVER.MAX_ITER: 6 -> 9; WEND.EPOCHS: 2 -> 3"


def test_other_data_are_named_by_their_numbers(engine, folder, capsys, toy_root, tmp_path):
    quarantine = tmp_path / "bad.txt"
    images = next((toy_root / "CUB_200_2011").rglob("images.txt")).read_text().splitlines()
    train = {
        line.split()[0]
        for line in (toy_root / "CUB_200_2011/train_test_split.txt").read_text().splitlines()
        if line.endswith(" 1")
    }
    name = next(line.split()[1] for line in images if line.split()[0] in train)
    quarantine.write_text(f"{name}\n")
    listed = refused(engine, folder, capsys, WEND__DATA__QUARANTINE=str(quarantine))
    assert listed == "training data: 24 images with 24 boxes -> 23 images with 23 boxes"
    listed = refused(engine, folder, capsys, DATASETS__TRAIN="('toy_train',)")
    assert "training data: 24 images with 24 boxes" in listed


@pytest.mark.slow
def test_an_old_checkpoint_goes_on_where_it_is_said_to(engine, folder, capsys):
    """As a WEND of before saved it: its config, and no more."""
    path = folder / "model_0000002.pth"
    content = checkpoint(folder)
    del content["training"]
    torch.save(content, path)
    not_noted = "the data, the seed and the number of processes: not noted"
    assert not_noted in refused(engine, folder, capsys)
    assert resume(engine, folder, "--allow-changes") == 0
    assert checkpoint(folder, "model_final")["iteration"] == 5


@pytest.mark.slow
def test_a_training_of_the_other_engine_is_refused(engine, interrupted, capsys):
    other = {"detectron2": "torchvision", "torchvision": "detectron2"}[engine]
    assert resume(engine, interrupted(other), "--allow-changes") == 2
    assert f"was made by the engine {other}, which alone can load it" in capsys.readouterr().err


@pytest.mark.slow
def test_a_folder_that_was_moved_goes_on(engine, folder, tmp_path, monkeypatch):
    moved = tmp_path / "über alles" / "run 2"
    moved.parent.mkdir()
    shutil.move(folder, moved)
    monkeypatch.chdir(moved.parent)
    (moved / "last_checkpoint").unlink()
    assert run(engine, "run 2", "--resume", changes=TWO_TESTS) == 0
    assert checkpoint(moved, "model_final")["iteration"] == 5


@pytest.mark.slow
def test_a_resume_in_an_empty_folder_starts_anew_and_says_so(engine, tmp_path, capsys):
    assert resume(engine, tmp_path / "new", WEND__EPOCHS="1") == 0
    assert "there is no checkpoint to resume from; starting anew" in capsys.readouterr().out
    lines = (tmp_path / "new" / "metrics.json").read_text().splitlines()
    assert json.loads(lines[0])["iteration"] <= 2


@pytest.mark.slow
def test_a_run_without_a_seed_goes_on_in_any(engine, folder):
    assert resume(engine, folder, SEED="-1") == 0


@pytest.mark.slow
def test_a_finished_training_that_is_resumed_keeps_its_logs_as_they_are(engine, finished, tmp_path):
    folder = shutil.copytree(finished(engine), tmp_path / "run")
    logs = {name: (folder / name).read_bytes() for name in ("metrics.json", "curve.csv")}
    assert resume(engine, folder) == 0
    assert {name: (folder / name).read_bytes() for name in logs} == logs


# ---- without a config file ----


def train(*words):
    """Exit status of ``wend train`` with these words alone, in this process."""
    with kept_logging():
        return main([str(word) for word in words])


@pytest.mark.slow
def test_a_training_goes_on_with_the_config_and_the_engine_of_its_folder(engine, folder, capsys):
    config = (folder / "config.yaml").read_bytes()
    assert train("--resume", "OUTPUT_DIR", folder) == 0
    assert checkpoint(folder, "model_final")["iteration"] == 5
    out = capsys.readouterr().out
    assert f"config: {folder}/config.yaml" in out
    assert f"engine: {engine}" in out
    then, now = yaml.safe_load(config), yaml.safe_load((folder / "config.yaml").read_bytes())
    assert {**then, "OUTPUT_DIR": str(folder)} == now


@pytest.mark.parametrize("damage", ["gone", "empty", "cut off"])
def test_a_damaged_config_is_replaced_by_that_of_the_checkpoint(folder, damage, caplog):
    file = folder / "config.yaml"
    text = file.read_text()
    file.write_text({"gone": "", "empty": "", "cut off": text[: text.index("SOLVER")]}[damage])
    if damage == "gone":
        file.unlink()
    args = make_parser().parse_args(["--resume", "OUTPUT_DIR", str(folder)])
    with caplog.at_level(logging.INFO, logger="wend"), completed(args) as complete:
        assert Path(complete.config_file) != file
        assert yaml.safe_load(Path(complete.config_file).read_text()) == yaml.safe_load(text)
    assert "going on with the config that" in caplog.text


def test_an_evaluation_needs_neither_config_file_nor_training_data(
    engine, finished, toy_root, tmp_path, monkeypatch
):
    """From another folder, of a copied run, with the training's boxes gone."""
    folder = shutil.copytree(finished(engine), tmp_path / "moved run")
    expected = json.loads((folder / "inference/toy_test/detections.json").read_text())
    shutil.rmtree(folder / "inference")
    shutil.copytree(toy_root, tmp_path / "data" / "toy")
    shutil.rmtree(tmp_path / "data/toy/c2am_boxes/train")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    kept = (folder / "config.yaml").read_bytes()
    tests = ("DATASETS.TEST", "('toy_test',)")
    assert train("--eval-only", "MODEL.WEIGHTS", "moved run/model_final.pth", *tests) == 0
    results = folder / "inference/toy_test/detections.json"
    assert json.loads(results.read_text()) == expected
    assert (folder / "config.yaml").read_bytes() == kept
    results.unlink()
    (folder / "config.yaml").unlink()
    weights = "moved run/model_final.safetensors"
    assert train("--eval-only", "MODEL.WEIGHTS", weights, "OUTPUT_DIR", "other", *tests) == 0
    assert json.loads(Path("other/inference/toy_test/detections.json").read_text()) == expected


@pytest.mark.slow
def test_a_detector_that_is_evaluated_otherwise_than_trained_says_so(engine, finished, tmp_path):
    weights = finished(engine) / "model_final.pth"
    with kept_logging():
        logger, said = logging.getLogger("wend.training.changes"), []
        handler = logging.Handler()
        handler.emit = lambda record: said.append(record.getMessage())
        logger.addHandler(handler)
        try:
            words = ("MODEL.WEIGHTS", weights, "DATASETS.TEST", "('toy_test',)", "OUTPUT_DIR")
            assert (
                main(
                    [
                        str(w)
                        for w in (
                            "--eval-only",
                            *words,
                            tmp_path / "a",
                            "WEND.CROP",
                            "64",
                        )
                    ]
                )
                == 0
            )
        finally:
            logger.removeHandler(handler)
    (line,) = said
    assert "IS NOT EVALUATED AS IT WAS TRAINED" in line
    assert "WEND.CROP: 56 -> 64" in line
    assert "->" not in line.replace("WEND.CROP: 56 -> 64", "")


def test_what_nobody_says_is_named(engine, tmp_path, capsys):
    assert train("--resume", "--engine", engine, "OUTPUT_DIR", tmp_path) == 2
    error = capsys.readouterr().err
    assert "config.yaml: there is no such file" in error
    assert "--config-file FILE" in error
    assert run(engine, tmp_path, "--eval-only", "--resume") == 2
    assert "holds no checkpoint" in capsys.readouterr().err


def test_the_other_engine_is_refused_for_an_evaluation(engine, finished, capsys):
    other = {"detectron2": "torchvision", "torchvision": "detectron2"}[engine]
    weights = finished(engine) / "model_final.pth"
    assert train("--eval-only", "--engine", other, "MODEL.WEIGHTS", weights) == 2
    assert f"was made by the engine {engine}, which alone can load it" in capsys.readouterr().err
