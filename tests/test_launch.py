"""wend.launch: how many processes there are, and what becomes of those that fail."""

import json
import os
import signal
from datetime import timedelta

import pytest

from wend import launch, processes
from wend.cli.train import make_parser
from wend.errors import InputError

TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "1",
}


def _settle(*flags):
    return launch.settle(make_parser().parse_args(list(flags)))


def _environment(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_without_options_there_is_one_process():
    processes = _settle()
    assert (processes.world_size, processes.member, processes.starts_them) == (1, None, False)
    assert processes.timeout == timedelta(minutes=30)
    assert _settle("--dist-timeout", "0.5").timeout == timedelta(seconds=30)


def test_the_second_of_three_machines():
    flags = ("--num-machines", "3", "--machine-rank", "1", "--dist-url", "tcp://a:1234")
    processes = _settle("--num-gpus", "2", *flags)
    assert (processes.world_size, processes.local_size, processes.starts_them) == (6, 2, True)
    assert (processes.member.rank, processes.member.url) == (2, "tcp://a:1234")


def test_a_process_of_torchrun_starts_none(monkeypatch):
    _environment(monkeypatch, TORCHRUN)
    for flags in ((), ("--num-gpus", "2")):
        processes = _settle(*flags)
        assert (processes.world_size, processes.member.rank) == (2, 1)
        assert not processes.starts_them


@pytest.mark.parametrize(
    ("flags", "variables", "said"),
    [
        (["--num-gpus", "4"], TORCHRUN, "--num-gpus 4: torchrun has started 2 processes, 2 of"),
        (["--num-gpus", "1"], TORCHRUN, "--num-gpus 1: torchrun has started 2 processes"),
        (["--num-machines", "2"], TORCHRUN, "--num-machines: torchrun has started 2 processes"),
        (["--machine-rank", "0"], TORCHRUN, "--machine-rank: torchrun has started 2 processes"),
        (["--dist-url", "tcp://a:1"], TORCHRUN, "--dist-url: torchrun has started 2 processes"),
        (["--num-gpus", "0"], {}, "--num-gpus: expected at least 1, got 0"),
        (["--num-machines", "0"], {}, "--num-machines: expected at least 1, got 0"),
        (["--machine-rank", "1"], {}, "--machine-rank: expected one of the 1 machines, from 0"),
        (["--num-machines", "2"], {}, "--dist-url: expected where the processes of several mach"),
        (["--num-gpus", "2", "--dist-url", "tcp://a"], {}, "expected tcp://HOST:PORT, or file"),
        (["--dist-timeout", "0"], {}, "--dist-timeout: expected minutes, more than 0, got 0"),
    ],
)
def test_contradictions_are_refused(flags, variables, said, monkeypatch):
    _environment(monkeypatch, variables)
    with pytest.raises(InputError) as caught:
        _settle(*flags)
    assert said in str(caught.value)


def test_a_task_of_srun_for_each_machine_may_start_its_processes(monkeypatch):
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"}
    _environment(monkeypatch, {**step, "SLURM_NODELIST": "a,b"})
    where = ("--machine-rank", "1", "--dist-url", "tcp://a:1234")
    processes = _settle("--num-gpus", "4", "--num-machines", "2", *where)
    assert (processes.world_size, processes.member.rank, processes.starts_them) == (8, 4, True)
    with pytest.raises(InputError, match="--num-machines 3: srun has started 2 tasks"):
        _settle("--num-machines", "3", *where)


@pytest.mark.parametrize(
    ("device", "gpus", "said"),
    [
        ("cuda", 1, "2 processes on this machine have a GPU each, and torch can use 1 here"),
        ("cuda:1", 2, "config entry MODEL.DEVICE: cuda:1 is one GPU, and 2 processes have one"),
        ("cuda", 2, ""),
        ("cpu", 0, ""),
    ],
)
def test_each_process_has_a_gpu_of_its_own(device, gpus, said, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    processes = _settle("--num-gpus", "2")
    if not said:
        launch.check_devices(device, processes)
        return
    with pytest.raises(InputError) as caught:
        launch.check_devices(device, processes)
    assert said in str(caught.value)


def test_a_process_that_does_not_come_is_named(monkeypatch):
    _environment(monkeypatch, {**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": "0"})
    processes = _settle("--dist-timeout", "0.01")
    with pytest.raises(InputError) as caught, launch.joined(processes.member, processes.timeout):
        pass
    said = "process 0 of 2 (torchrun, on "
    assert str(caught.value).startswith(said)
    assert "only 1 of 2 processes came to tcp://127.0.0.1:0 within 0.01 minutes; missing: 1." in (
        str(caught.value)
    )


def test_nobody_at_the_address_is_said(monkeypatch):
    _environment(monkeypatch, TORCHRUN)  # nobody listens at port 1
    processes = _settle("--dist-timeout", "0.005")
    with pytest.raises(InputError, match=r"process 1 of 2 .* nobody answers at tcp://127.0.0.1:1 "):
        launch.run(processes, lambda: None, print)


@pytest.fixture(autouse=True)
def _no_silence(monkeypatch):
    monkeypatch.setattr("wend.launchers.SILENCE", 0.0)


def _first(prepared):
    if processes.rank() == 1:
        raise InputError(f"only the second process says {prepared}")
    processes.wait_for_all()


def _killed(prepared):
    if processes.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    processes.wait_for_all()


def _fails(prepared):
    raise KeyError(prepared)


def _gathers(folder):
    ranks = processes.gather(processes.rank())
    (folder / f"{processes.rank()}.json").write_text(json.dumps(ranks))


@pytest.mark.slow
def test_started_processes_hear_of_each_other_and_tell_their_errors(tmp_path):
    two = _settle("--num-gpus", "2")
    launch.run(two, lambda: tmp_path, _gathers)
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)] == [[0, 1]] * 2
    with pytest.raises(InputError, match=r"^only the second process says this$"):
        launch.run(two, lambda: "this", _first)
    with pytest.raises(InputError, match=r"^process 1 of 2 was ended by SIGKILL, and the others"):
        launch.run(two, lambda: "this", _killed)
    with pytest.raises(RuntimeError, match=r"(?s)^process \d:\n.*KeyError: 'this'"):
        launch.run(two, lambda: "this", _fails)
