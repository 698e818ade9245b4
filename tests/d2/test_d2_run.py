import os
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from engine_runs import DETECTORS, EVALUATION_FILES, REPOSITORY, options, run

from wend.cli.train import make_parser
from wend.d2.run import setup
from wend.errors import InputError
from wend.launch import settle

pytestmark = pytest.mark.detectron2

ENGINE = "detectron2"


def _evaluate(weights, output_dir, *flags, **more):
    changes = {"MODEL.WEIGHTS": str(weights), **more.pop("changes", {})}
    return run(ENGINE, output_dir, "--eval-only", *flags, changes=changes, **more)


def _files(output_dir):
    folder = output_dir / "inference" / "toy_test"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_two_hundred_classes_train(tmp_path):
    # table 1's comparison; the toy set has fewer classes than 200
    changes = {"WEND.FCOS.NUM_CLASSES": "200", "WEND.LOSS": "none", "WEND.EPOCHS": "1"}
    assert run(ENGINE, tmp_path / "out", changes=changes) == 0


def _process(toy_root, output_dir, *flags, changes=None):
    """``train_net.py`` in a process of its own (it starts others)."""
    chosen = options({**(changes or {}), "OUTPUT_DIR": str(output_dir)})
    script = REPOSITORY / "projects" / "WEND" / "train_net.py"
    command = [sys.executable, str(script), "--engine", ENGINE, *flags]
    command += ["--config-file", str(DETECTORS["fcos"]), *chosen]
    environment = {
        **os.environ,
        "DETECTRON2_DATASETS": str(toy_root.parent),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_one_two_and_three_processes_write_identical_files(finished, toy_root, tmp_path):
    weights = {"MODEL.WEIGHTS": str(finished(ENGINE) / "model_final.pth")}
    written = []
    for number in ("1", "2", "3"):
        flags = ("--eval-only", "--num-gpus", number)
        done = _process(toy_root, tmp_path / number, *flags, changes=weights)
        assert done.returncode == 0, done.stderr[-2000:]
        written.append(_files(tmp_path / number))
    assert set(written[0]) == EVALUATION_FILES
    for name in EVALUATION_FILES:
        assert written[0][name] == written[1][name] == written[2][name], name


@pytest.mark.slow
def test_two_processes_train_an_epoch(toy_root, tmp_path):
    changes = {"WEND.EPOCHS": "1"}
    done = _process(toy_root, tmp_path / "out", "--num-gpus", "2", changes=changes)
    assert done.returncode == 0, done.stderr[-2000:]
    final = torch.load(tmp_path / "out" / "model_final.pth", weights_only=False)
    assert final["iteration"] == 2
    assert set(_files(tmp_path / "out")) == EVALUATION_FILES
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "first epoch of toy_train_c2am: 24 images, 0 of them without a box" in log  # of both
    # both processes evaluated the weights and statistics that were saved
    assert _evaluate(tmp_path / "out" / "model_final.pth", tmp_path / "one") == 0
    assert _files(tmp_path / "out") == _files(tmp_path / "one")


@pytest.mark.slow
def test_wrong_checkpoint_in_two_processes_is_an_error_without_a_traceback(
    finished, toy_root, tmp_path
):
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"no weights")
    flags = ("--eval-only", "--num-gpus", "2")
    changes = {"MODEL.WEIGHTS": str(broken)}
    done = _process(toy_root, tmp_path / "out", *flags, changes=changes)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "broken.pth: cannot be read as a weight file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_nan_in_one_of_two_processes_ends_both_with_one_line(toy_root, tmp_path):
    changes = {"SOLVER.BASE_LR": "1e30", "SOLVER.WARMUP_ITERS": "0"}
    done = _process(toy_root, tmp_path / "out", "--num-gpus", "2", changes=changes)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "error: iteration 1: process 0: " in done.stderr
    assert "the step was not taken" in done.stderr


@pytest.mark.parametrize(
    ("flags", "batch", "reference", "message"),
    [
        (["--num-gpus", "2"], "7", "0", "SOLVER.IMS_PER_BATCH: expected a multiple of the 2 pro"),
        (["--num-gpus", "2"], "3", "1", ""),  # Detectron2 makes it 6
        (["--num-gpus", "2"], "6", "4", "SOLVER.IMS_PER_BATCH: expected a multiple of the 4 pro"),
    ],
)
def test_a_batch_and_processes_that_do_not_fit(flags, batch, reference, message, tmp_path):
    changes = {"SOLVER.IMS_PER_BATCH": batch, "SOLVER.REFERENCE_WORLD_SIZE": reference}
    entries = options({**changes, "WEND.EPOCHS": "9", "OUTPUT_DIR": str(tmp_path / "out")})
    args = make_parser().parse_args(["--config-file", str(DETECTORS["fcos"]), *flags, *entries])
    with pytest.raises(InputError, match=message) if message else nullcontext():
        setup(args, settle(args))


@pytest.mark.slow
def test_two_processes_have_the_same_average(toy_root, tmp_path):
    """After each update, buffers too, though each process sees other images."""
    (tmp_path / "checked.py").write_text(
        "import wend.d2.trainer\n"
        "from detectron2.utils import comm\n\n"
        "share = wend.d2.trainer.share_average\n\n\n"
        "def checked(average):\n"
        "    share(average)\n"
        "    state = average.average.state_dict()\n"
        "    ours = {name: value.flatten().tolist() for name, value in state.items()}\n"
        "    assert all(theirs == ours for theirs in comm.all_gather(ours)), 'averages differ'\n"
        "    print('the averages are equal')\n\n\n"
        "wend.d2.trainer.share_average = checked\n"
    )
    changes = {"WEND.EPOCHS": "1", "WEND.EMA.DECAY": "0.9", "WEND.REFINE": "average"}
    changes |= {"WEND.TEACHER.START": "0.3", "WEND.IMPORTS": f"('{tmp_path / 'checked.py'}',)"}
    done = _process(toy_root, tmp_path / "out", "--num-gpus", "2", changes=changes)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("the averages are equal") == 6  # 3 steps of 2 processes
    assert _evaluate(tmp_path / "out" / "model_final.pth", tmp_path / "one") == 0
    assert _files(tmp_path / "out") == _files(tmp_path / "one")
