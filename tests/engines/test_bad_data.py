"""What bad images do to whole runs of either engine."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from engine_runs import DETECTORS, REPOSITORY, options, run

from wend.datasets.catalog import DataSets
from wend.datasets.importing import import_data_set


@pytest.fixture
def own_toy(toy_root, tmp_path, monkeypatch):
    """A copy of the toy set, which a test may damage; returns the paths of a data set's images."""
    shutil.copytree(toy_root, tmp_path / "sets" / "toy")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "sets"))

    def paths(name: str) -> list[Path]:
        return [Path(file_name) for file_name in DataSets().get(name).file_names]

    return paths


@pytest.fixture
def output_dir(tmp_path):
    return tmp_path / "out"


def cut(path: Path) -> None:
    """Its header can be read, its pixels cannot."""
    path.write_bytes(path.read_bytes()[:-400])


def last_line(capsys) -> str:
    """Of what was said on stderr; libraries may warn before, an error of ours has one line."""
    return capsys.readouterr().err.splitlines()[-1]


def metrics(output_dir: Path) -> dict:
    """Protocol -> metric -> value of the run's evaluation."""
    path = output_dir / "inference" / "toy_test" / "metrics.json"
    return json.loads(path.read_text())["original"]


def test_an_unreadable_image_ends_the_run_and_is_named(engine, own_toy, output_dir, capsys):
    bad = own_toy("toy_train_c2am")[4]
    cut(bad)
    assert run(engine, output_dir, changes={"DATALOADER.NUM_WORKERS": "2"}) == 2
    error = last_line(capsys)
    assert error.startswith(f"error: {bad}: cannot be read as an image (")
    assert "'wend data check NAME' lists all such images" in error


def test_skip_counts_and_names_what_it_skipped(engine, own_toy, output_dir, capsys):
    train = own_toy("toy_train_c2am")
    cut(train[4])
    train[9].write_bytes(b"")  # whose header cannot be read, either
    changes = {"WEND.DATA.ON_BAD_IMAGE": "skip", "WEND.DATA.MAX_BAD_SHARE": "0.1"}
    changes |= {"DATALOADER.NUM_WORKERS": "2", "WEND.EPOCHS": "1"}
    assert run(engine, output_dir, changes=changes) == 0
    said = capsys.readouterr().out
    assert f"the headers of 1 images cannot be read ({train[9]})" in said
    assert re.search(r"skipped, 1 of at most 2: \S+: cannot be read as an image", said)
    end = re.search(r"2 of 24 training images could not be read and were skipped, (\d+) .*", said)
    assert int(end[1]) >= 2  # a pass shows each once
    assert str(train[4]) in end[0]
    assert str(train[9]) in end[0]


def test_more_than_the_share_ends_the_run(engine, own_toy, output_dir, capsys):
    for bad in own_toy("toy_train_c2am")[3:6]:
        cut(bad)
    changes = {"WEND.DATA.ON_BAD_IMAGE": "skip", "WEND.DATA.MAX_BAD_SHARE": "0.1"}
    assert run(engine, output_dir, changes=changes) == 2
    error = last_line(capsys)
    assert "toy_train_c2am: 3 of 24 training images cannot be read (" in error
    assert "and WEND.DATA.MAX_BAD_SHARE allows 2; " in error


def test_quarantined_images_are_left_out_before_training(engine, own_toy, output_dir, capsys):
    train = own_toy("toy_train_c2am")
    cut(train[4])
    train[9].write_bytes(b"")
    listed = output_dir.parent / "quarantine"
    listed.write_text(f"{train[4]}\n{train[9].parent.name}/{train[9].name}\nother/1.jpg\n")
    changes = {"WEND.DATA.QUARANTINE": str(listed), "SOLVER.IMS_PER_BATCH": "11"}
    assert run(engine, output_dir, changes=changes) == 0
    said = capsys.readouterr().out
    assert f"{listed} lists 3 images; 2 of 24 training images are left out" in said
    # 22 images in batches of 11, 2 epochs: evaluated after 2 and 4 iterations
    curve = (output_dir / "curve.csv").read_text()
    assert {line.split(",")[0] for line in curve.splitlines()[1:]} == {"2", "4"}
    train[11].write_bytes(b"")  # a header that is in no list
    assert run(engine, output_dir / "2", changes=changes) == 2
    assert last_line(capsys).startswith(f"error: {train[11]}: cannot be read as an image")


def test_a_bad_test_image_is_an_error_or_a_miss(engine, own_toy, output_dir, capsys):
    test = own_toy("toy_test")
    cut(test[2])
    changes = {"DATALOADER.NUM_WORKERS": "1", "WEND.EPOCHS": "1"}
    assert run(engine, output_dir, changes=changes) == 2
    error = last_line(capsys)
    assert error.startswith(f"error: {test[2]}: cannot be read as an image (")
    assert "WEND.DATA.ON_BAD_TEST_IMAGE wrong counts such images as wrong" in error

    test[5].write_bytes(b"")
    changes["WEND.DATA.ON_BAD_TEST_IMAGE"] = "wrong"
    output_dir = output_dir.parent / "wrong"
    assert run(engine, output_dir, changes=changes) == 0
    said = capsys.readouterr().out
    assert "toy_test: 2 of 12 test images could not be read and count as wrong:\n" in said
    assert f"\n{test[2]}: cannot be read as an image (" in said
    detections = json.loads((output_dir / "inference" / "toy_test" / "detections.json").read_text())
    ids = DataSets().get("toy_test", keep_unreadable=True).image_ids
    assert {row["image_id"] for row in detections} == {*ids} - {ids[2], ids[5]}


def test_a_cache_changes_no_number(engine, own_toy, output_dir, capsys):
    """Two runs of the same seed, one with a cache and from a store: the same losses."""
    own_toy("toy_test")

    def losses(folder):
        lines = (folder / "metrics.json").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        return [{k: v for k, v in row.items() if "loss" in k} for row in rows]

    changes = {"WEND.EPOCHS": "1"}
    assert run(engine, output_dir / "plain", changes=changes) == 0
    for name in ("toy_train_c2am", "toy_test"):
        import_data_set(DataSets(), name)
    changes |= {"WEND.DATA.CACHE": str(output_dir / "caches")}
    assert run(engine, output_dir / "cached", changes=changes) == 0
    said = capsys.readouterr().out
    assert "24 images x 64 x 64 x 3 bytes = 0.3 MB, of which 0.3 MB are still" in said
    assert losses(output_dir / "plain") == losses(output_dir / "cached")
    assert metrics(output_dir / "plain") == metrics(output_dir / "cached")
    assert run(engine, output_dir / "again", changes=changes) == 0
    assert "toy_train_c2am-64: 24 of 24 rows are filled" in capsys.readouterr().out
    assert losses(output_dir / "plain") == losses(output_dir / "again")


@pytest.mark.slow
@pytest.mark.detectron2
def test_two_processes_skip_the_same_and_end_together(own_toy, tmp_path):
    """Both know of each other's bad images; past the share both end with the same words."""
    train = own_toy("toy_train_c2am")
    for bad in (train[1], train[2], train[12]):
        cut(bad)
    script = REPOSITORY / "projects" / "WEND" / "train_net.py"
    command = [sys.executable, str(script), "--engine", "detectron2"]
    command += ["--num-gpus", "2", "--config-file", str(DETECTORS["fcos"])]
    changes = {"WEND.DATA.ON_BAD_IMAGE": "skip", "WEND.EPOCHS": "10"}

    def process(share, output_dir):
        more = {"WEND.DATA.MAX_BAD_SHARE": share, "OUTPUT_DIR": str(output_dir)}
        more["TEST.EVAL_PERIOD"] = "0"
        chosen = options(changes | more)
        return subprocess.run(
            [*command, *chosen],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    done = process("0.125", tmp_path / "allowed")  # 3 of 24
    assert done.returncode == 0, done.stderr[-2000:]
    ends = []
    for name in ("log.txt", "log.txt.rank1"):
        log = (tmp_path / "allowed" / name).read_text()
        ends.append(re.search(r"3 of 24 training images could .* (\d+) times in all: .*", log)[0])
    assert ends[0] == ends[1]  # names and times
    done = process("0.1", tmp_path / "refused")  # 2 of 24
    assert done.returncode == 2, done.stderr[-2000:]
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: toy_train_c2am: 3 of 24 training images cannot be read (")
