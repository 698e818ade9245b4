"""docs/extend.md: each of its files and commands, from a folder outside the package."""

import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from engine_runs import CONFIGS, REPOSITORY, TINY
from torch import nn

from wend.cli.parser import main
from wend.logs import kept_logging
from wend.losses.chosen import Chosen
from wend.schedules import Scheduled

DOCS = (REPOSITORY / "docs/extend.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)
FILES = {
    text.split("\n", 1)[0].removeprefix("# "): text
    for kind, text in BLOCKS
    if kind in ("python", "yaml") and text.startswith("# ")
}
COMMANDS = [
    line.removeprefix("$ ")
    for kind, text in BLOCKS
    if kind == "console"
    for line in text.splitlines()
]
TRAININGS = [command for command in COMMANDS if command.startswith("wend train")]
ENGINES = ("detectron2", "torchvision")


@pytest.fixture
def folder(tmp_path, monkeypatch, toy_root, own_registries):
    """The working directory: the documented files, the configs, and photographs with boxes."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "configs").symlink_to(CONFIGS)
    lines = []
    for index, image in enumerate(sorted(toy_root.glob("CUB_200_2011/images/*/*.jpg"))[:8]):
        photo = tmp_path / f"photos/bird/{index}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, photo)
        lines.append(f"bird/{index}.jpg;4;4;40;40\n")
    (tmp_path / "boxes.csv").write_text("".join(lines))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))
    monkeypatch.setenv("WEND_DATASETS", "")  # as it was, at the end
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arguments_of(command: str, output_dir: str, *flags: str) -> list[str]:
    """The command's, and those that make it a matter of seconds."""
    words = shlex.split(command)[1:]
    tiny = {**TINY, "WEND.EPOCHS": "1", "SOLVER.WARMUP_ITERS": "0", "OUTPUT_DIR": output_dir}
    short = [text for key, value in tiny.items() if key not in words for text in (key, value)]
    return [*words[:1], *flags, *words[1:], *short]


def test_there_is_a_file_and_a_command_for_each_door():
    assert {"my_loss.py", "ramp.yaml", "my_schedule.py", "my_fcos.py", "my_tv_fcos.py"} <= {*FILES}
    assert {"my_detector.py", "my_backbone.py", "my_source.py", "my_birds.yaml"} <= {*FILES}
    assert {"my_metric.py", "my_format.py", "my_sink.py"} <= {*FILES}
    assert {"my_cls_loss.py", "my_weights.py", "weighted.yaml"} <= {*FILES}
    assert all(command.startswith("wend ") for command in COMMANDS)
    for kind, text in BLOCKS:
        if kind == "yaml":
            assert isinstance(yaml.safe_load(text), dict)


@pytest.mark.parametrize(
    ("command", "engine"),
    [
        (command, engine)
        for command in TRAININGS
        for engine in ENGINES
        if f"--engine {engine}" in command or "--engine" not in command
    ],
)
def test_documented_training(command, engine, folder, monkeypatch):
    if engine == "detectron2":
        pytest.importorskip("detectron2")
    etas, at = [], Scheduled.at
    chosen, call = set(), Chosen.__call__
    monkeypatch.setattr(
        Chosen,
        "__call__",
        lambda self, context, count: (
            chosen.update([(self.name, *self.parameters.items())] * (count > 0))
            or call(self, context, count)
        ),
    )
    monkeypatch.setattr(
        Scheduled,
        "at",
        lambda self, progress: (
            etas.append((self.schedule, progress.share, at(self, progress))) or etas[-1][2]
        ),
    )
    with kept_logging():
        flags = () if "--engine" in command else ("--engine", engine)
        assert main(arguments_of(command, "out", *flags)) == 0
    last = logged(folder / "out")
    assert math.isfinite(last["total_loss"])
    cfg = yaml.safe_load((folder / "out/config.yaml").read_text())
    if "background_entropy" in cfg["WEND"]["LOSS"]:
        assert last["loss_unsup"] > 0.001  # weighted entropy is 1e-5 here
        assert cfg["WEND"]["RAMP"] == {"SHARE": 0.25 if "ramp.yaml" in command else 0.5}
    if "my_cls_loss" in command:
        assert chosen == {("smoothed", ("share", 0.2))}
    if "weighted.yaml" in command:
        assert chosen == {("best_score", ("floor", 0.1)), ("not_contradicted",)}
    if "my_weights.py:" in command:
        ((name,),) = chosen
        assert Path(name) == folder / "my_weights.py:not_contradicted"
    if "middle" in command:
        assert {(abs(s - 0.5) < 0.25, eta) for name, s, eta in etas if name == "middle"} == {
            *((False, 0.125), (True, 0.5))
        }
    if "DropoutFCOS" in command:
        dropouts = of_kind(nn.Dropout2d, engine, folder / "out/config.yaml")
        assert [dropout.p for dropout in dropouts] == [0.2, 0.2]
    if "GridSCR" in command:
        (linear,) = of_kind(nn.Linear, engine, folder / "out/config.yaml")
        assert linear.in_features == 32 * 3 * 3
    if "patches" in command:
        assert of_kind(nn.Conv2d, engine, folder / "out/config.yaml")[0].kernel_size == (8, 8)
    if "my_sink" in command:
        check_own_sink(folder / "out", last, with_tensorboard="tensorboard" in command)
    if "my_metric" in command:
        scores = json.loads((folder / "out/inference/toy_test/metrics.json").read_text())
        assert 0 <= scores["original"]["loc70"] <= 100
    if "my_birds" in command:
        assert "bird/7.jpg" in str(training_keys(cfg))


def check_own_sink(output_dir: Path, last: dict[str, float], *, with_tensorboard: bool) -> None:
    """The sink has the losses of metrics.json and the last evaluation's metrics of curve.csv."""
    lines = [json.loads(line) for line in (output_dir / "numbers.jsonl").read_text().splitlines()]
    numbers = {name: value for line in lines for name, value in line.items()}
    losses = {name for name in last if "loss" in name}
    assert "total_loss" in losses
    assert {name: numbers[name] for name in losses} == {name: last[name] for name in losses}
    rows = (output_dir / "curve.csv").read_text().splitlines()
    (value,) = {row.split(",")[-1] for row in rows if ",original,gt_known_loc," in row}
    assert numbers["original/gt_known_loc"] == pytest.approx(float(value), abs=1e-6)
    if with_tensorboard:
        assert list(output_dir.glob("events.out.tfevents.*"))


def logged(output_dir: Path) -> dict[str, float]:
    """The last value of each scalar of a training."""
    lines = (output_dir / "metrics.json").read_text().splitlines()
    return {key: value for line in lines for key, value in json.loads(line).items()}


def of_kind(kind: type[nn.Module], engine: str, config: Path) -> list[nn.Module]:
    """The layers of a kind of a finished run's detector."""
    if engine == "detectron2":
        from detectron2.modeling import build_model

        from wend.d2.run import read_config
    else:
        from wend.tv.models import build_model
        from wend.tv.run import read_config
    model = build_model(read_config(str(config), ["WEND.EPOCHS", "0"]))
    return [module for module in model.modules() if isinstance(module, kind)]


def training_keys(cfg: dict) -> list[str]:
    from wend.datasets.catalog import DataSets

    data_sets = DataSets(folders=[Path()])
    return [key for name in cfg["DATASETS"]["TRAIN"] for key in data_sets.get(name).keys]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in TRAININGS])
def test_documented_command(command, folder, capsys):
    with kept_logging():
        assert main(shlex.split(command)[1:]) == 0
    if "export" not in command:
        assert re.search(r"coverage: 100\.00 % of the images", capsys.readouterr().out)
        return
    separator, written = ("/", "labels/lines") if "separator" in command else (";", "other_labels")
    (lines,) = (folder / written).glob("**/boxes.txt")
    first, *_ = lines.read_text().splitlines()
    assert first == separator.join(["bird/0.jpg", "foreground", "4.0", "4.0", "40.0", "40.0"])


@pytest.mark.early
@pytest.mark.parametrize(
    "engine", ["torchvision", pytest.param("detectron2", marks=pytest.mark.slow)], indirect=True
)
def test_the_users_loss_is_known_to_spawned_processes_and_to_a_report(engine, folder):
    """Both begin without the user's entries; a report that is not told of them: test_safety."""
    flags = ("--engine", engine, "--num-gpus", "2")
    with kept_logging():
        assert main(arguments_of("wend train --config-file ramp.yaml", "out", *flags)) == 0
    assert logged(folder / "out")["loss_unsup"] > 0.001
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "wend", "report", "out", "--import", "my_loss.py"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "out/report.md").is_file()


def test_an_import_that_fails_ends_in_the_users_own_traceback(folder, capsys):
    (folder / "my_loss.py").write_text("def f():\n    return undefined\n\n\nf()\n")
    with kept_logging():
        assert main(arguments_of(TRAININGS[0], "out", "--engine", "torchvision")) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"error: ramp.yaml: {folder}/my_loss.py: it could not be imported; its own"
    )
    assert f'File "{folder}/my_loss.py", line 2, in f\n    return undefined\n' in said
    assert not (folder / "out").exists()
