"""Where the numbers of a training go, on either engine."""

import csv
import json
import sys

import pytest
from engine_runs import TWO_TESTS, assert_refused, run

SINK = """
import json


class Lines:
    def __init__(self, run):
        self.file = (run.output_dir / "lines.jsonl").open("a" if run.resumed else "w")

    def add(self, values, step):
        print(json.dumps([step, values]), file=self.file)

    def close(self):
        self.file.close()
"""


def test_tensorboard_and_an_own_sink_have_the_losses_and_metrics(engine, tmp_path, capsys):
    """Two epochs of three iterations on two test sets, in the folder of an earlier run."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (tmp_path / "sink.py").write_text(SINK)
    loggers = f"('tensorboard', '{tmp_path}/sink.py:Lines')"
    output_dir = tmp_path / "run"
    output_dir.mkdir()
    earlier = ("metrics.json", "curve.csv", "events.out.tfevents.1.earlier")
    for name in earlier:
        (output_dir / name).write_text("an earlier run\n")
    changes = {**TWO_TESTS, "WEND.LOGGERS": loggers}
    assert run(engine, output_dir, "--overwrite", changes=changes) == 0
    said = capsys.readouterr().out
    assert f"{output_dir}: held an earlier run; removed: {', '.join(sorted(earlier))}" in said
    logged = [json.loads(line) for line in (output_dir / "metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in logged if "total_loss" in line] == [5]
    lines = [json.loads(line) for line in (output_dir / "lines.jsonl").read_text().splitlines()]
    last = {name: value for _, values in lines for name, value in values.items()}
    losses = {name: value for name, value in logged[0].items() if "loss" in name or name == "lr"}
    assert "loss_unsup" in losses
    assert {name: last[name] for name in losses} == losses
    with (output_dir / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["iteration"] for row in rows} == {"3", "6"}
    metrics = {
        f"{row['dataset']}/{row['protocol']}/{row['metric']}": float(row["value"])
        for row in rows
        if row["iteration"] == "6"
    }
    assert len(metrics) > 10
    assert {name: last[name] for name in metrics} == pytest.approx(metrics, abs=1e-6)
    assert len(list(output_dir.glob("events.out.tfevents.*"))) == 1
    events = reader.EventAccumulator(str(output_dir)).Reload()
    expected = {**losses, **metrics}
    read = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]}
    assert {name: read[name] for name in expected} == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("loggers", "message"),
    [
        ("('tensorbord',)", "unknown event sink 'tensorbord'. Did you mean 'tensorboard'?"),
        ("('wandb',)", "needs the package wandb, which is not installed: pip install wandb"),
        ("('wandb', 'wandb')", "expected distinct names, got ('wandb', 'wandb')"),
        ("(3,)", "event sink: expected a name or module:name, got 3"),
        ("('./none.py:Sink',)", "none.py: there is no such file"),
    ],
)
def test_what_is_no_sink_ends_the_run_before_it_writes(
    engine, loggers, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    assert_refused(engine, f"WEND.LOGGERS {loggers}", message, tmp_path / "out", capsys)


@pytest.mark.slow
def test_a_training_that_was_killed_logs_nothing_twice(engine, tmp_path):
    """Killed after the evaluation at its end, which its last whole checkpoint does not know."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    changes = {"WEND.LOGGERS": "('tensorboard',)", "WEND.EPOCHS": "8"}
    output_dir = tmp_path / "run"
    assert run(engine, output_dir, changes=changes) == 0
    logged = (output_dir / "metrics.json").read_text().splitlines()
    curve = (output_dir / "curve.csv").read_text()
    for name in ("model_final.pth", "model_final.safetensors", "model_0000023.pth"):
        (output_dir / name).unlink()
    assert run(engine, output_dir, "--resume", changes=changes) == 0
    again = [json.loads(line) for line in (output_dir / "metrics.json").read_text().splitlines()]
    numbers = [(line["iteration"], name) for line in again for name in line if name != "iteration"]
    assert len(set(numbers)) == len(numbers)
    assert {json.loads(line)["iteration"] for line in logged} <= {step for step, _ in numbers}
    # evaluations before the last are those of before; of the last there are as many rows
    assert len((output_dir / "curve.csv").read_text().splitlines()) == len(curve.splitlines())
    events = reader.EventAccumulator(str(output_dir)).Reload()
    for tag in events.Tags()["scalars"]:
        steps = [event.step for event in events.Scalars(tag)]
        assert steps == sorted(set(steps)), tag


@pytest.mark.slow
def test_a_resumed_training_goes_on_in_its_files(engine, tmp_path):
    (tmp_path / "sink.py").write_text(SINK)
    changes = {"WEND.LOGGERS": f"('{tmp_path}/sink.py:Lines',)"}
    output_dir = tmp_path / "run"
    assert run(engine, output_dir, changes={**changes, "WEND.EPOCHS": "1"}) == 0
    first = (output_dir / "lines.jsonl").read_text()
    assert run(engine, output_dir, "--resume", "--allow-changes", changes=changes) == 0
    assert (output_dir / "lines.jsonl").read_text().startswith(first)
    logged = [json.loads(line) for line in (output_dir / "metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in logged if "total_loss" in line] == [2, 5]
