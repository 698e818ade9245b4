"""A training goes on as the one it was: what differs is listed and refused, or meant."""

import json
import shutil

import pytest
import torch
from engine_runs import run

STEPS = {"WEND.EPOCHS": "0", "SOLVER.MAX_ITER": "3", "SOLVER.CHECKPOINT_PERIOD": "1"}
STEPS |= {"TEST.EVAL_PERIOD": "0", "SOLVER.WARMUP_ITERS": "1"}


@pytest.fixture(scope="module")
def interrupted(toy_root, tmp_path_factory):
    """Engine -> the folder of a training of three steps that was killed after the second."""
    made = {}

    def make(engine):
        if engine not in made:
            folder = tmp_path_factory.mktemp("interrupted") / "run"
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))
                assert run(engine, folder, changes=STEPS) == 0
            for name in ("model_final.pth", "model_final.safetensors", "model_0000002.pth"):
                (folder / name).unlink()
            made[engine] = folder
        return made[engine]

    return make


@pytest.fixture
def folder(engine, interrupted, tmp_path):
    return shutil.copytree(interrupted(engine), tmp_path / "run")


def checkpoint(folder, name="model_0000001"):
    return torch.load(folder / f"{name}.pth", weights_only=True)


def resume(engine, folder, *flags, **changes):
    entries = {name.replace("__", "."): value for name, value in changes.items()}
    return run(engine, folder, "--resume", *flags, changes={**STEPS, **entries})


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
    changes = {"SOLVER__BASE_LR": "0.02", "SOLVER__IMS_PER_BATCH": "4", "SEED": "2"}
    listed = refused(engine, folder, capsys, **changes)
    for change in ("SOLVER.BASE_LR: 0.01 -> 0.02", "SOLVER.IMS_PER_BATCH: 8 -> 4", "SEED: 1 -> 2"):
        assert change in listed
    assert listed.count("->") == 3
    assert resume(engine, folder, "--allow-changes", **changes) == 0
    said = capsys.readouterr()
    assert "--allow-changes: going on from" in said.out + said.err
    final = checkpoint(folder, "model_final")
    assert final["iteration"] == 2
    assert final["training"]["batch"] == 4
    assert "BASE_LR: 0.02" in final["wend"]["config"]
    trainer = final["trainer"]["_trainer"] if engine == "detectron2" else final
    groups = trainer["optimizer"]["param_groups"]
    assert {group["initial_lr"] for group in groups} == {0.02, 0.04}  # as asked, with the head's


def test_entries_that_change_no_number_are_free_and_said(engine, folder, capsys):
    free = {"DATALOADER__NUM_WORKERS": "1", "TEST__EVAL_PERIOD": "1"}
    free |= {"SOLVER__CHECKPOINT_PERIOD": "2", "WEND__DATA__ON_BAD_IMAGE": "skip"}
    free |= {"MODEL__WEIGHTS": "/nowhere/r50.pth", "DATASETS__TEST": "('toy_test_c2am',)"}
    assert resume(engine, folder, **free) == 0
    said = capsys.readouterr().out
    assert "differs in what changes no number" in said
    assert "DATALOADER.NUM_WORKERS: 0 -> 1" in said
    assert checkpoint(folder, "model_final")["iteration"] == 2


def test_a_longer_schedule_is_a_change(engine, folder, capsys):
    listed = refused(engine, folder, capsys, SOLVER__MAX_ITER="4")
    assert listed == "SOLVER.MAX_ITER: 3 -> 4"


def test_other_data_are_named_by_their_numbers(engine, folder, capsys, toy_root, tmp_path):
    quarantine = tmp_path / "bad.txt"
    key = checkpoint(folder)  # noqa: F841
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


def test_an_old_checkpoint_goes_on_where_it_is_said_to(engine, folder, capsys):
    """As a WEND of before saved it: its config, and no more."""
    path = folder / "model_0000001.pth"
    content = checkpoint(folder)
    del content["training"]
    torch.save(content, path)
    assert "whether they are the same is not known" in refused(engine, folder, capsys)
    assert resume(engine, folder, "--allow-changes") == 0
    assert checkpoint(folder, "model_final")["iteration"] == 2


def test_a_training_of_the_other_engine_is_refused(engine, interrupted, tmp_path, capsys):
    other = {"detectron2": "torchvision", "torchvision": "detectron2"}[engine]
    folder = shutil.copytree(interrupted(other), tmp_path / "run")
    assert resume(engine, folder, "--allow-changes") == 2
    assert f"was saved by the engine {other}" in capsys.readouterr().err


def test_a_folder_that_was_moved_goes_on(engine, folder, tmp_path, monkeypatch):
    moved = tmp_path / "über alles" / "run 2"
    moved.parent.mkdir()
    shutil.move(folder, moved)
    monkeypatch.chdir(moved.parent)
    (moved / "last_checkpoint").unlink()
    assert run(engine, "run 2", "--resume", changes=STEPS) == 0
    assert checkpoint(moved, "model_final")["iteration"] == 2


def test_a_resume_in_an_empty_folder_starts_anew_and_says_so(engine, tmp_path, capsys):
    assert resume(engine, tmp_path / "new", SOLVER__MAX_ITER="2") == 0
    assert "there is no checkpoint to resume from; starting anew" in capsys.readouterr().out
    lines = (tmp_path / "new" / "metrics.json").read_text().splitlines()
    assert json.loads(lines[0])["iteration"] == 1
