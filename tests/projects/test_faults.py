"""projects/faults: it sees what differs, ends processes where it says, and promises are kept."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from engine_runs import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "projects" / "faults"))

import comparing
import outcomes

FOLDER = REPOSITORY / "projects" / "faults"


@pytest.fixture
def folder(tmp_path):
    """What a training of two steps might leave behind."""
    folder = tmp_path / "run"
    (folder / "inference").mkdir(parents=True)
    weights = {"a.weight": torch.arange(6.0), "b.bias": torch.tensor([float("nan"), -0.0])}
    torch.save({"model": weights, "optimizer": {"state": [1, 0.5]}}, folder / comparing.FINAL)
    rows = [{"iteration": i, "time": i / 3, "total_loss": 1 / (i + 1)} for i in (0, 1)]
    (folder / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "curve.csv").write_text("iteration,value\n2,50.000000\n")
    (folder / "inference" / "detections.json").write_text("[]")
    return folder


def flip_a_weight(folder):
    content = torch.load(folder / comparing.FINAL)
    content["model"]["b.bias"][1] = 0.0  # -0.0 == 0.0, but it is not the same bits
    torch.save(content, folder / comparing.FINAL)


def another_loss(folder):
    text = (folder / "metrics.json").read_text()
    (folder / "metrics.json").write_text(text.replace("0.5}", "0.5000001}"))


def another_loss_besides(folder):
    text = (folder / "metrics.json").read_text()
    again = text.splitlines()[-1].replace("0.5}", "0.4}")
    (folder / "metrics.json").write_text(f"{text}{again}\n")


def no_last_loss(folder):
    first, _ = (folder / "metrics.json").read_text().splitlines()
    (folder / "metrics.json").write_text(f"{first}\n")


DIFFERENCES = {
    "model_final.pth: 1 of 2 of model differ": flip_a_weight,
    "metrics.json differs at 1": another_loss,
    "metrics.json has rows of [0], not of [0, 1]": no_last_loss,
    "curve.csv differs": lambda folder: (folder / "curve.csv").write_text("iteration,value\n"),
    "no inference/detections.json": lambda folder: shutil.rmtree(folder / "inference"),
    "checkpoints .model_final.pth.abc, model_final.pth, not model_final.pth": lambda folder: (
        folder / ".model_final.pth.abc"
    ).write_text(""),
    "no model_final.pth": lambda folder: (folder / comparing.FINAL).unlink(),
}


@pytest.mark.parametrize(
    ("words", "change"),
    [
        *DIFFERENCES.items(),
        ("metrics.json has rows of [0, 1, 1], not of [0, 1]", another_loss_besides),
    ],
    ids=[*DIFFERENCES, "another loss besides"],
)
def test_every_difference_is_seen(folder, tmp_path, words, change):
    reference = tmp_path / "reference"
    shutil.copytree(folder, reference)
    text = (folder / "metrics.json").read_text().replace('"time": 0.3', '"time": 7.3')
    (folder / "metrics.json").write_text(text)  # a clock is no difference
    assert comparing.differences(folder, reference) == []
    change(folder)
    assert comparing.differences(folder, reference) == [words]


def test_a_half_written_checkpoint_is_named(folder):
    assert comparing.half_written(folder) == []
    content = (folder / comparing.FINAL).read_bytes()
    (folder / "model_0000001.pth").write_bytes(content[: len(content) // 2])
    assert [each.split(":")[0] for each in comparing.half_written(folder)] == ["model_0000001.pth"]


WRITER = """
import os, pathlib, sys
folder = pathlib.Path(sys.argv[1])
for number in range(3):
    (folder / f".model_{number}.pth.x").write_text("new")
    os.replace(folder / f".model_{number}.pth.x", folder / f"model_{number}.pth")
"""


@pytest.mark.parametrize(
    ("kind", "number", "left"),
    [
        ("write", 2, [".", "model_0.pth"]),
        ("file", 4, [".", ".model_1.pth.x", "model_0.pth"]),
        ("file", 6, [".", ".model_2.pth.x", "model_0.pth", "model_1.pth"]),
    ],
)
def test_a_process_is_ended_before_what_the_moment_says(tmp_path, kind, number, left):
    folder, record = tmp_path / "run", tmp_path / "record"
    folder.mkdir()
    record.mkdir()
    at = {"kind": kind, "number": number, "delay": 0.0, "role": "rank0"}
    at |= {"signal": "SIGKILL", "whom": "self"}
    fault = {"record": str(record), "folder": str(folder), "test_images": [], "at": at}
    ended = subprocess.run(
        [sys.executable, "-c", WRITER, str(folder)],
        env={**os.environ, "PYTHONPATH": str(FOLDER / "moments"), "WEND_FAULT": json.dumps(fault)},
    )
    assert ended.returncode == -9
    assert sorted([".", *(path.name for path in folder.iterdir())]) == left


def test_the_table_counts_what_was_not_kept(tmp_path, capsys):
    table = outcomes.Table()
    for kept in (True, False):
        table.add(outcomes.Outcome("kill", "SIGKILL", "fcos", "a | b", "same", "x", 3, kept=kept))
    assert table.failures() == 1
    table.write(tmp_path / "table.md", "Title")
    text = (tmp_path / "table.md").read_text()
    assert "| all | 2 | 1 |" in text
    assert "| SIGKILL | fcos | a \\| b | **x** | 3 | same |" in text
    assert [row["kept"] for row in json.loads((tmp_path / "table.json").read_text())] == [
        True,
        False,
    ]


@pytest.mark.slow
def test_promises_are_kept(tmp_path):
    script = str(FOLDER / "faults.py")
    arguments = ["--short", "--engine", "torchvision", "--output", str(tmp_path / "table.md")]
    ended = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert len(json.loads((tmp_path / "table.json").read_text())) > 12
