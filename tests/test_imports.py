"""What importing costs: checked in fresh interpreters."""

import subprocess
import sys

import pytest

CORE = [
    "wend.analysis",
    "wend.analysis_report",
    "wend.baselines",
    "wend.boxes",
    "wend.boxes_report",
    "wend.classifiers",
    "wend.classify",
    "wend.cli",
    "wend.coco_metrics",
    "wend.compare",
    "wend.config",
    "wend.data.bad_images",
    "wend.data.catalog",
    "wend.data.check",
    "wend.data.class_imports",
    "wend.data.coco",
    "wend.data.fill_cache",
    "wend.data.fingerprints",
    "wend.data.image_cache",
    "wend.data.known_sizes",
    "wend.data.mapper",
    "wend.data.partial_predictions",
    "wend.data.preprocessing",
    "wend.data.selection",
    "wend.data.sources",
    "wend.data.store",
    "wend.data.store_writer",
    "wend.data.toy",
    "wend.data.wsoleval",
    "wend.data_command",
    "wend.draw",
    "wend.evaluate",
    "wend.evaluation",
    "wend.layers.box_matching",
    "wend.layers.deformable_attention",
    "wend.layers.deformable_transformer",
    "wend.layers.detr_losses",
    "wend.layers.scr_head",
    "wend.layers.small_cnn",
    "wend.localize.backbones",
    "wend.localize.ddt_run",
    "wend.localize_command",
    "wend.losses",
    "wend.metrics",
    "wend.protocol",
    "wend.records",
    "wend.report",
    "wend.scoring",
    "wend.solver",
    "wend.statistics",
    "wend.summary",
    "wend.train",
    "wend.weight_names",
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


def test_help_waits_for_no_tensor_library():
    code = (
        "import sys; from wend.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print([m for m in ('torch', 'numpy', 'pyarrow') if m in sys.modules])"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("[]\n")
    for verb in ("classify", "compare", "doctor", "evaluate", "report", "toy", "train"):
        assert f"\n    {verb} " in done.stdout


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
