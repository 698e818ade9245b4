"""What a training does until its first step: modules loaded, data read, detectors built."""

import gc
import json
import subprocess
import sys

import pytest
from engine_runs import DETECTORS, options

from wend import collecting

pytestmark = pytest.mark.early
# libraries that a training needs only for what its config names, or never
LATER = ("pandas", "scipy.optimize", "sympy", "matplotlib.pyplot", "onnx", "timm")
ALSO = {  # Detectron2 imports a part of each
    "detectron2": ("torch.utils.tensorboard", "tensorboard"),
    "torchvision": ("cv2", "matplotlib", "tensorboard", "pycocotools", "omegaconf"),
}

TO_THE_FIRST_STEP = """
import gc, json, os, sys
from wend.__main__ import begin_process

usual = gc.get_threshold()
begin_process()
import importlib
from collections import Counter
from wend.cli.train import main
from wend.datasets.catalog import DataSets

engine, room, libraries = sys.argv[1:4]
counts = Counter()

def count(owner, name, what):
    function = getattr(owner, name)
    def counting(*args, **kwargs):
        counts[what(*args)] += 1
        return function(*args, **kwargs)
    setattr(owner, name, counting)

count(DataSets, "read", lambda self, name, *_: name)
BinaryFCOS = importlib.import_module(f"{room}.fcos").BinaryFCOS
import torch

def kind(*_):
    return "without memory" if torch.empty(0).is_meta else "built"

count(BinaryFCOS, "__init__", kind)

def first_step(*_):
    loaded = [name for name in json.loads(libraries) if name in sys.modules]
    is_late = "torch._dynamo.eval_frame" not in sys.modules
    collects = gc.isenabled(), gc.get_threshold() == usual, gc.get_freeze_count() > 1e5
    print("RESULT", json.dumps([counts, loaded, is_late, collects]), flush=True)
    os._exit(0)

from torch.optim.optimizer import register_optimizer_step_post_hook

register_optimizer_step_post_hook(first_step)
sys.exit(main(["--engine", engine, *sys.argv[4:]]))
"""


def test_the_first_step_waits_for_nothing_that_it_does_not_need(
    engine, toy_root, tmp_path, monkeypatch
):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))
    room = {"detectron2": "wend.d2", "torchvision": "wend.tv"}[engine]
    libraries = json.dumps([*LATER, *ALSO[engine]])
    argv = ["--config-file", str(DETECTORS["fcos"]), *options({"OUTPUT_DIR": str(tmp_path / "o")})]
    done = subprocess.run(
        [sys.executable, "-c", TO_THE_FIRST_STEP, engine, room, libraries, *argv],
        capture_output=True,
        text=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    counts, loaded, compiler_is_late, collects = json.loads(line.removeprefix("RESULT "))
    check = {"without memory": 1} if engine == "detectron2" else {}  # before data are read
    assert counts == {"toy_train_c2am": 1, "toy_test": 1, "built": 1, **check}
    assert loaded == []
    assert compiler_is_late
    assert all(collects), collects


COMPILING = """
import sys
from wend.late_compiler import load_compiler_later

load_compiler_later()
import torch
import torchvision.ops

layer = torch.nn.Linear(2, 2)
optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
layer(torch.ones(1, 2)).sum().backward()
optimizer.step()
optimizer.zero_grad()
assert "torch._dynamo.eval_frame" not in sys.modules
from torch._dynamo import config, eval_frame  # as torch.compile does, by a submodule's name

modules = [name for name in sys.modules if name.startswith("torch._dynamo")]
for name in modules:
    assert type(sys.modules[name]).__name__ != "_NotYet", name
    assert sys.modules[name].__spec__.loader is not None, name
assert sys.modules["torch._dynamo.eval_frame"] is torch._dynamo.eval_frame is eval_frame
assert torch._dynamo.utils.get_optimize_ddp_mode() == "ddp_optimizer"
assert torchvision.ops.roi_align.__globals__["is_compile_supported"]("cpu") is True
assert not any("late_compiler" in type(each).__module__ for each in sys.meta_path)


@torch.compile(backend="eager")
def step(x):
    layer(x).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    return x * 2


before = layer.weight.detach().clone()
assert step(torch.ones(1, 2)).tolist() == [[2.0, 2.0]]
assert not torch.equal(before, layer.weight)
disabled = torch.optim.SGD.zero_grad.__wrapped__.__dynamo_disable
assert disabled is not torch.optim.SGD.zero_grad.__wrapped__, "never asked again"
"""


def test_a_compiler_that_is_late_is_the_compiler():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", COMPILING], capture_output=True)
    assert done.returncode == 0, done.stderr


def test_garbage_is_collected_as_before_in_a_program_of_the_users():
    before = gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()
    collecting.collect_rarely()
    collecting.collect_as_usual()
    assert (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()) == before
