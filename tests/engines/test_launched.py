"""Trainings and evaluations that torchrun or Slurm starts are one run, whoever starts them."""

import os
import socket
import subprocess
import sys

import pytest
import torch
from engine_runs import DETECTORS, EVALUATION_FILES, REPOSITORY, options, run

pytestmark = pytest.mark.slow
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
FATAL = """
import os, signal
from wend import processes
from wend.losses import unsupervised_loss


@unsupervised_loss("fatal")
def fatal(context):
    first = os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0"
    if processes.rank() == 1 and context.progress.iteration == 4 and first:
        os.kill(os.getpid(), signal.SIGKILL)
    return context.logits.sum() * 0


@unsupervised_loss("nan_on_one")
def nan_on_one(context):
    value = context.logits.sum() * 0
    return value * float("nan") if processes.rank() == 1 else value
"""


@pytest.fixture
def started(engine, toy_root):
    """Start Python with some arguments and then those of a training; several at once, each with
    variables of its own.
    """

    def start(output_dir, *words, flags=(), changes=None, variables=({},)):
        entries = options({**(changes or {}), "OUTPUT_DIR": str(output_dir)})
        command = [sys.executable, *words, "train", "--engine", engine, *flags]
        command += ["--config-file", str(DETECTORS["fcos"]), *entries]
        common = {
            **os.environ,
            "DETECTRON2_DATASETS": str(toy_root.parent),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
        }
        processes = [
            subprocess.Popen(
                command,
                env={**common, **more},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for more in variables
        ]
        outputs = [process.communicate(timeout=600) for process in processes]
        return [
            subprocess.CompletedProcess(command, process.returncode, *output)
            for process, output in zip(processes, outputs, strict=True)
        ]

    return start


def _weights(output_dir):
    return torch.load(output_dir / "model_final.pth", weights_only=True)["model"]


def _files(output_dir):
    folder = output_dir / "inference" / "toy_test"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def test_whoever_starts_two_processes_they_are_one_run(started, tmp_path):
    (done,) = started(tmp_path / "torchrun", *TORCHRUN, "-m", "wend")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("first epoch of toy_train_c2am: 24 images, 0 of them without") == 1
    assert (tmp_path / "torchrun" / "log.txt.rank1").is_file()
    step = {
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_NODELIST": "localhost",
        "MASTER_PORT": _free_port(),
    }
    tasks = [{**step, "SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in ("0", "1")]
    for done in started(tmp_path / "srun", "-m", "wend", variables=tasks):
        assert done.returncode == 0, done.stderr[-2000:]
    (done,) = started(tmp_path / "own", "-m", "wend", flags=("--num-gpus", "2"))
    assert done.returncode == 0, done.stderr[-2000:]
    expected = _weights(tmp_path / "torchrun")
    for name in ("srun", "own"):
        weights = _weights(tmp_path / name)
        assert all(torch.equal(weights[key], value) for key, value in expected.items())
        assert _files(tmp_path / name) == _files(tmp_path / "torchrun")


def test_an_evaluation_that_is_shared_writes_the_same_files(started, engine, finished, tmp_path):
    changes = {
        "MODEL.WEIGHTS": str(finished(engine) / "model_final.pth"),
        "WEND.TEST_BATCH": "5",  # 12 images: the first process has 5, the second 7
    }
    assert run(engine, tmp_path / "one", "--eval-only", changes=changes) == 0
    flags = ("--eval-only",)
    (done,) = started(tmp_path / "two", *TORCHRUN, "-m", "wend", flags=flags, changes=changes)
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(_files(tmp_path / "one")) == EVALUATION_FILES
    assert _files(tmp_path / "two") == _files(tmp_path / "one")


def test_a_restart_goes_on_with_its_own_run_alone(started, tmp_path):
    (tmp_path / "fatal.py").write_text(FATAL)
    changes = {"WEND.IMPORTS": f"('{tmp_path / 'fatal.py'}',)", "WEND.LOSS": "fatal"}
    words = (*TORCHRUN, "--max-restarts", "1", "-m", "wend")
    (done,) = started(tmp_path / "out", *words, changes=changes)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"restart 1: going on with the run in {tmp_path / 'out'}" in done.stdout
    before = _weights(tmp_path / "out")
    (done,) = started(tmp_path / "out", *words, changes=changes)
    assert done.returncode != 0
    assert done.stderr.count("error: OUTPUT_DIR ") == 2  # of both attempts
    after = _weights(tmp_path / "out")
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_an_error_on_one_process_ends_all_with_one_line(started, tmp_path):
    (tmp_path / "fatal.py").write_text(FATAL)
    changes = {"WEND.IMPORTS": f"('{tmp_path / 'fatal.py'}',)", "WEND.LOSS": "nan_on_one"}
    (done,) = started(tmp_path / "out", *TORCHRUN, "-m", "wend", changes=changes)
    assert done.returncode != 0
    assert done.stderr.count("error: ") == 1
    assert "error: iteration 0: process 1: loss_unsup is nan" in done.stderr
    (done,) = started(tmp_path / "out2", *TORCHRUN, "-m", "wend", flags=("--num-gpus", "4"))
    assert done.returncode != 0
    assert done.stderr.count("error: ") == 1
    assert "--num-gpus 4: torchrun has started 2 processes" in done.stderr
    assert not (tmp_path / "out2").exists()


def test_other_verbs_are_refused_where_several_processes_are_started(tmp_path):
    command = [sys.executable, *TORCHRUN, "-m", "wend", "toy", str(tmp_path / "toy")]
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert done.stderr.count("error: wend toy runs in one process, and torchrun has started 2") == 1
    assert not (tmp_path / "toy").exists()


def test_an_open_seed_is_the_first_ones_also_where_images_are_held_out_by_it(started, tmp_path):
    changes = {"SEED": "-1", "WEND.HELD_OUT": "0.25"}
    (done,) = started(tmp_path, *TORCHRUN, "-m", "wend", changes=changes)
    assert done.returncode == 0, done.stderr[-2000:]
