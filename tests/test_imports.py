"""What importing costs: checked in fresh interpreters."""

import subprocess
import sys

import pytest

CORE = [
    "wend.boxes",
    "wend.config",
    "wend.data.catalog",
    "wend.data.coco",
    "wend.data.mapper",
    "wend.data.toy",
    "wend.draw",
    "wend.evaluation",
    "wend.layers.small_cnn",
    "wend.losses",
    "wend.metrics",
    "wend.protocol",
    "wend.records",
    "wend.report",
    "wend.solver",
    "wend.summary",
    "wend.train",
    "wend.cli",
    "wend.weights",
]


def python(code):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True
    )


def test_the_core_imports_no_engine():
    code = (
        f"import sys; [__import__(m) for m in {CORE}];"
        "print([m for m in sys.modules if m.split('.')[0] in ('detectron2', 'torchvision')])"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_importing_prints_nothing_and_touches_no_log_handler():
    done = python(
        "import logging, wend.cli, wend.evaluation; assert not logging.getLogger('wend').handlers"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_detectron2_the_error_says_what_to_do():
    code = "import sys; sys.modules['detectron2'] = None; import wend.d2"
    done = python(code)
    assert done.returncode == 1
    assert "README" in done.stderr
    assert "--engine torchvision" in done.stderr


@pytest.mark.parametrize("module", ["wend.tv.run", "wend.doctor"])
def test_the_torchvision_engine_needs_no_detectron2(module):
    done = python(f"import sys; sys.modules['detectron2'] = None; import {module}")
    assert done.returncode == 0, done.stderr
