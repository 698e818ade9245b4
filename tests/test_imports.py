"""What importing costs: checked in fresh interpreters."""

import subprocess
import sys

import pytest

CORE = [
    "wend.cli.entries",
    "wend.cli.options",
    "wend.registry",
    "wend.schedules",
    "wend.user_code",
    "wend.evaluation.analysis",
    "wend.evaluation.analysis_report",
    "wend.evaluation.collect",
    "wend.structures.boxes",
    "wend.cli.boxes",
    "wend.classes.classifiers",
    "wend.cli.classify",
    "wend.cli.parser",
    "wend.evaluation.coco_metrics",
    "wend.cli.compare",
    "wend.config",
    "wend.loading.bad_images",
    "wend.datasets.catalog",
    "wend.loading.check",
    "wend.classes.imports",
    "wend.formats.coco",
    "wend.loading.fill_cache",
    "wend.datasets.fingerprints",
    "wend.loading.image_cache",
    "wend.datasets.known_sizes",
    "wend.loading.crop",
    "wend.partial",
    "wend.devices",
    "wend.weight_files",
    "wend.classes.preprocessing",
    "wend.loading.selection",
    "wend.datasets.ground_truth",
    "wend.datasets.store",
    "wend.datasets.store_writer",
    "wend.datasets.toy",
    "wend.formats.wsoleval",
    "wend.cli.data",
    "wend.reports.draw",
    "wend.cli.evaluate",
    "wend.evaluation.evaluation",
    "wend.evaluation.fixed_boxes",
    "wend.modeling.layers.box_matching",
    "wend.modeling.layers.deformable_attention",
    "wend.modeling.layers.deformable_transformer",
    "wend.modeling.layers.detr_losses",
    "wend.modeling.backbones.feature_maps",
    "wend.modeling.detectors",
    "wend.modeling.backbones.small_cnn",
    "wend.localize.backbones",
    "wend.localize.ddt_run",
    "wend.cli.pseudo_boxes",
    "wend.losses",
    "wend.evaluation.metrics",
    "wend.evaluation.protocols",
    "wend.structures.records",
    "wend.evaluation.tables",
    "wend.evaluation.scoring",
    "wend.modeling.optimizer",
    "wend.evaluation.statistics",
    "wend.reports.summary",
    "wend.cli.train",
    "wend.modeling.weight_names",
    "wend.modeling.weights",
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
        "import logging, wend.cli.parser, wend.evaluation.evaluation;"
        "assert not logging.getLogger('wend').handlers"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_help_waits_for_no_tensor_library():
    code = (
        "import sys; from wend.cli.parser import main\n"
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


@pytest.mark.parametrize("module", ["wend.tv.run", "wend.cli.doctor"])
def test_the_torchvision_engine_needs_no_detectron2(module):
    done = python(f"import sys; sys.modules['detectron2'] = None; import {module}")
    assert done.returncode == 0, done.stderr
