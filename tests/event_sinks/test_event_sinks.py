"""Sinks are opened with the run, get every number, and end no training; those of the libraries."""

import importlib.machinery
import sys
import types

import pytest

from wend.errors import InputError
from wend.event_sinks import EVENT_SINKS, OpenSinks, event_sink, require_packages
from wend.user_code import UserCodeError

CONFIG = {"SEED": 1, "WEND": {"LOSS": "none", "WE": {"FORM": "terms"}}}
FLAT = {"SEED": 1, "WEND.LOSS": "none", "WEND.WE.FORM": "terms"}


@pytest.fixture(autouse=True)
def _registry():
    with EVENT_SINKS.temporary():
        yield


class Recorder:
    """Keeps what it is told."""

    def __init__(self, run):
        self.run, self.rows, self.closed = run, [], 0
        type(self).last = self

    def add(self, values, step):
        self.rows.append((step, dict(values)))

    def close(self):
        self.closed += 1


def test_a_sink_gets_the_run_and_all_numbers(tmp_path):
    event_sink("recorder")(Recorder)
    sinks = OpenSinks(["recorder"], tmp_path / "my run", CONFIG, start_iter=3)
    sinks.add({"a": 1.5}, 0)
    sinks.add({"a": 2.5, "b/c": 3}, 19)
    sinks.close()
    sinks.close()
    recorder = Recorder.last
    assert recorder.rows == [(0, {"a": 1.5}), (19, {"a": 2.5, "b/c": 3})]
    assert recorder.closed == 1
    run = recorder.run
    assert (run.name, run.output_dir, run.resumed) == ("my run", tmp_path / "my run", True)
    assert run.config == FLAT


def test_a_sink_that_fails_is_left_out_with_a_warning(tmp_path, caplog):
    class Weak(Recorder):
        def add(self, values, step):
            super().add(values, step)
            raise ConnectionError("no network")

    event_sink("recorder")(Recorder)
    event_sink("weak")(Weak)
    sinks = OpenSinks(["weak", "recorder"], tmp_path, CONFIG)
    for step in range(3):
        sinks.add({"a": step}, step)
    assert (len(Weak.last.rows), len(Recorder.last.rows)) == (1, 3)
    assert caplog.text.count("event sink 'weak' takes no more numbers") == 1
    assert "ConnectionError: no network" in caplog.text
    assert 'raise ConnectionError("no network")' in caplog.text  # the user's own line


def test_a_sink_that_cannot_be_opened_ends_the_run_and_closes_the_others(tmp_path):
    class Broken:
        def __init__(self, run):
            raise OSError("disk full")

    event_sink("recorder")(Recorder)
    event_sink("broken")(Broken)
    with pytest.raises(UserCodeError, match=r"WEND\.LOGGERS: 'broken' could not be opened"):
        OpenSinks(["recorder", "broken"], tmp_path, CONFIG)
    assert Recorder.last.closed == 1


@pytest.mark.parametrize("name", ["wandb", "mlflow", "tensorboard"])
def test_a_missing_package_is_named_with_the_way_to_have_it(name, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    (tmp_path / name).mkdir()  # a folder of results, as wandb makes one, is no package
    monkeypatch.delitem(sys.modules, name, raising=False)
    message = rf"WEND\.LOGGERS: '{name}' needs the package {name}, .*: pip install {name}$"
    with pytest.raises(InputError, match=message):
        require_packages([name])


def fake_module(monkeypatch, name, **members):
    module = types.ModuleType(name)
    vars(module).update(members)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, origin="fake")
    monkeypatch.setitem(sys.modules, name, module)


def test_weights_and_biases_gets_one_run_also_after_an_interruption(monkeypatch, tmp_path):
    calls, ids = [], iter(["first", "second"])

    class Run:
        def __init__(self, wanted):
            self.id = wanted or next(ids)

        def log(self, values, step):
            calls.append((self.id, step, values))

        def finish(self):
            calls.append((self.id, "finished"))

    def init(**arguments):
        calls.append(arguments)
        return Run(arguments["id"])

    fake_module(monkeypatch, "wandb", init=init)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    require_packages(["wandb"])
    for resumed in (False, True, False):
        sinks = OpenSinks(["wandb"], tmp_path / "run", CONFIG, start_iter=3 * resumed)
        sinks.add({"total_loss": 0.5}, 7)
        sinks.close()
    common = {"project": "wend", "name": "run", "dir": str(tmp_path / "run"), "config": FLAT}
    new = {**common, "id": None, "resume": None}
    of_first = [("first", 7, {"total_loss": 0.5}), ("first", "finished")]
    of_second = [("second", 7, {"total_loss": 0.5}), ("second", "finished")]
    again = {**common, "id": "first", "resume": "allow"}
    assert calls == [new, *of_first, again, *of_first, new, *of_second]


def test_mlflow_gets_one_run_also_after_an_interruption(monkeypatch, tmp_path):
    calls, ids = [], iter(["first", "second"])

    def start_run(run_id, run_name):
        calls.append(("start", run_id, run_name))
        info = types.SimpleNamespace(run_id=run_id or next(ids))
        return types.SimpleNamespace(info=info)

    fake_module(
        monkeypatch,
        "mlflow",
        set_experiment=lambda name: calls.append(("experiment", name)),
        start_run=start_run,
        log_params=lambda values: calls.append(("params", values)),
        log_metrics=lambda values, step: calls.append((step, values)),
        end_run=lambda: calls.append("end"),
    )
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "birds")
    for resumed in (False, True):
        sinks = OpenSinks(["mlflow"], tmp_path / "run", CONFIG, start_iter=3 * resumed)
        sinks.add({"lr": 0.1}, 3)
        sinks.close()
    params = {name: str(value) for name, value in FLAT.items()}
    assert calls == [
        *(("experiment", "birds"), ("start", None, "run"), ("params", params)),
        *((3, {"lr": 0.1}), "end"),
        *(("experiment", "birds"), ("start", "first", None), (3, {"lr": 0.1}), "end"),
    ]


def test_a_library_that_refuses_is_an_input_error(monkeypatch, tmp_path):
    def init(**arguments):
        raise RuntimeError("api_key not configured")

    fake_module(monkeypatch, "wandb", init=init)
    message = r"'wandb' could not be opened \(RuntimeError: api_key not configured\)"
    with pytest.raises(InputError, match=message):
        OpenSinks(["wandb"], tmp_path, CONFIG)


def test_tensorboard_reads_what_was_written(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    sinks = OpenSinks(["tensorboard"], tmp_path, CONFIG)
    sinks.add({"total_loss": 0.5, "original/gt_known_loc": 97.5}, 19)
    sinks.add({"total_loss": 0.25}, 39)
    sinks.close()
    events = reader.EventAccumulator(str(tmp_path)).Reload()
    read = {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }
    assert read == {
        "total_loss": [(19, 0.5), (39, 0.25)],
        "original/gt_known_loc": [(19, 97.5)],
    }
