"""The command wend and train_net.py's arguments, as a user types them."""

import json
import re
import subprocess
import sys
from importlib.machinery import ModuleSpec

import pytest

from wend import cli, distribution
from wend.cli import doctor, train
from wend.datasets.declared import FORMATS
from wend.distribution import NAME
from wend.errors import InputError
from wend.evaluation.metrics import METRICS
from wend.evaluation.protocols import PROTOCOLS
from wend.inference.engines import choose_engine
from wend.pseudo_boxes import SOURCES


def test_doctor_names_versions_engines_and_the_fix(capsys, monkeypatch):
    requirements = {NAME: ["torch>=2.1"]}  # as of an installation, which a checkout may lack
    monkeypatch.setattr(doctor.metadata, "requires", requirements.__getitem__)
    assert cli.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    import torch

    assert re.search(rf"^torch +{re.escape(torch.__version__.split('+')[0])}", shown, re.MULTILINE)
    assert "engine torchvision: ready" in shown
    assert "engine detectron2: " in shown
    assert "DETECTRON2_DATASETS is not set" in shown


def test_doctor_reads_packages_from_the_metadata(capsys, monkeypatch):
    texts = [
        "numpy>=1.24",
        "no-such-package<2,>=1; python_version >= '3.10'",
        'timm>=1.0; extra == "classifier"',
        'timm>=1.0; extra == "dev"',
        'no-such-tool; extra == "dev"',
        f'{NAME}[classifier]; extra == "dev"',  # an extra of our own: its packages are listed
    ]
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: texts)
    assert doctor.requirements() == {
        "numpy": (">=1.24", []),
        "no-such-package": ("<2,>=1", []),
        "timm": (">=1.0", ["classifier", "dev"]),
        "no-such-tool": ("", ["dev"]),
    }
    assert cli.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^no-such-package +- +<2,>=1 +always$", shown, re.MULTILINE)
    assert re.search(r"^timm +\S+ +>=1.0 +classifier, dev$", shown, re.MULTILINE)
    assert "missing: pip install no-such-package\n" in shown  # not the tool of an extra


def test_doctor_runs_from_a_checkout_that_is_not_installed(capsys, monkeypatch):
    def not_installed(name):
        raise doctor.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", not_installed)
    assert cli.main(["doctor"]) == 0
    assert "wend-wsol is not installed" in capsys.readouterr().out


@pytest.mark.parametrize("other", ["0.5.0", None])
def test_doctor_says_when_the_other_package_called_wend_is_installed(capsys, monkeypatch, other):
    versions = {"wend": other}
    monkeypatch.setattr(doctor, "_version", lambda package: versions.get(package, "1.0"))
    assert cli.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    said = "another package, wend 0.5.0, is installed: it and wend-wsol have the same import name"
    assert (said in shown) == (other is not None)
    assert ("pip uninstall wend" in shown) == (other is not None)


def test_doctor_lists_every_registry(capsys):
    cli.main(["doctor"])
    shown = capsys.readouterr().out
    for line in (
        f"metrics (WEND.METRICS): {', '.join(METRICS)}",
        f"protocols (WEND.PROTOCOLS): {', '.join(sorted(PROTOCOLS))}",
        f"formats of data sets: {', '.join(sorted(FORMATS))}",
        f"box sources: {', '.join(SOURCES)}",
    ):
        assert f"{line}\n" in shown


def test_doctor_says_how_to_mend_a_missing_engine(capsys, monkeypatch):
    for name in [
        m for m in sys.modules if m.split(".")[0] == "detectron2" or m.startswith("wend.d2")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "detectron2", None)
    assert cli.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"engine detectron2: not here \(.*README says which commit", shown)


def test_toy_writes_a_set_and_says_how_noisy_it_is(tmp_path, capsys):
    arguments = ["toy", str(tmp_path / "toy"), "--num-train", "8", "--num-test", "4"]
    assert cli.main([*arguments, "--image-size", "48", "60"]) == 0
    assert "train: 8 images" in capsys.readouterr().out
    assert json.loads((tmp_path / "toy/toy.json").read_text())["config"]["image_size"] == [48, 60]
    assert cli.main([*arguments, "--image-size", "48", "70"]) == 2  # another set is there
    assert "error: " in capsys.readouterr().err


def test_bad_toy_settings_end_in_a_message_not_a_traceback(tmp_path, capsys):
    assert cli.main(["toy", str(tmp_path / "toy"), "--part", "1.5"]) == 2
    assert "part" in capsys.readouterr().err
    assert not (tmp_path / "toy").exists()


def test_report_on_no_run_says_what_was_expected(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "OUTPUT_DIR of a training" in capsys.readouterr().err


def test_engine_is_detectron2_where_it_is_and_torchvision_elsewhere(monkeypatch):
    installed = ModuleSpec("detectron2", None, origin="detectron2/__init__.py")
    monkeypatch.setattr(distribution, "find_spec", lambda name: installed)
    assert choose_engine("auto") == "detectron2"
    folder = ModuleSpec("detectron2", None)  # such as a clone in the working folder
    monkeypatch.setattr(distribution, "find_spec", lambda name: folder)
    assert choose_engine("auto") == "torchvision"
    monkeypatch.setattr(distribution, "find_spec", lambda name: None)
    assert choose_engine("auto") == "torchvision"
    assert choose_engine("torchvision") == "torchvision"
    with pytest.raises(InputError, match=r"not installed.*--engine torchvision"):
        choose_engine("detectron2")


CONFIG = """
MODEL:
  META_ARCHITECTURE: BinaryFCOS
  BACKBONE: {NAME: build_small_cnn_backbone, FREEZE_AT: 0}
  RESNETS: {STRIDE_IN_1X1: False}
INPUT: {FORMAT: RGB}
DATASETS: {TRAIN: [toy_train_c2am], TEST: [toy_test]}
SOLVER: {IMS_PER_BATCH: 8, WARMUP_ITERS: 1, LR_SCHEDULER_NAME: WarmupCosineLR}
DATALOADER: {NUM_WORKERS: 0}
WEND: {EPOCHS: 1, RESIZE: 64, CROP: 56, FCOS: {IN_FEATURES: [stage3]}}
"""


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["WEND.TAU1", "0.1"], "config entry WEND.LOSS weighted_entropy: tau1 must be >= tau2"),
        (
            ["WEND.LOSS", "focal"],
            "config entry WEND.LOSS: unknown loss 'focal'. Known: entropy, none",
        ),
        (["WEND.TAU3", "0.1"], "Non-existent key: WEND.TAU3"),
        (["WEND.ETA"], "expected KEY VALUE pairs; WEND.ETA has no value"),
        (["WEND.ETA", "one"], "WEND.ETA"),
        (
            ["DATASETS.TEST", "('toy_tset',)"],
            "unknown data set 'toy_tset'. Did you mean 'toy_test'?",
        ),
        (["DATASETS.TRAIN", "('cub_train_c2am',)"], "Set DETECTRON2_DATASETS or --datasets-root"),
        (["DATASETS.TRAIN", "()"], "config entry DATASETS.TRAIN: no image of an empty list"),
        (
            ["MODEL.WEIGHTS", "nowhere.pth"],
            "config entry MODEL.WEIGHTS: there is no file nowhere.pth",
        ),
        (["WEND.CLASS_PREDICTIONS", "no.json"], "WEND.CLASS_PREDICTIONS: there is no file no.json"),
        (
            ["WEND.MAX_BOXES", "200"],
            "WEND.MAX_BOXES: expected 1 .. TEST.DETECTIONS_PER_IMAGE (100)",
        ),
        (
            ["SOLVER.WARMUP_ITERS", "500"],
            "SOLVER.WARMUP_ITERS: expected fewer than the 3 iterations",
        ),
        (["SOLVER.MAX_ITER", "10"], "both set the schedule"),
    ],
)
def test_wrong_input_ends_before_anything_is_written(
    extra, message, toy_root, tmp_path, capsys, monkeypatch
):
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))
    arguments = ["--config-file", str(config), "--engine", "torchvision"]
    status = train.main([*arguments, "OUTPUT_DIR", str(tmp_path / "out"), *extra])
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert status == 2
    assert not (tmp_path / "out").exists()


def test_eval_only_without_a_checkpoint_is_refused(toy_root, tmp_path, capsys):
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG)
    arguments = ["--config-file", str(config), "--engine", "torchvision", "--eval-only"]
    assert train.main([*arguments, "--datasets-root", str(toy_root.parent)]) == 2
    assert "--eval-only: config entry MODEL.WEIGHTS is empty" in capsys.readouterr().err


def test_a_missing_config_file_is_named(capsys):
    assert train.main(["--config-file", "no.yaml", "--engine", "torchvision"]) == 2
    assert "--config-file: there is no file no.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "option"),
    [
        ("evaluate", "--analysis"),
        ("compare", "--images"),
        ("classify", "--ten-crop"),
        ("pseudo-boxes", "ddt, contrast and border, fused"),
    ],
)
def test_each_verb_has_its_own_help(verb, option, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    assert option in capsys.readouterr().out


def test_classify_is_run_by_the_command(tmp_path, capsys):
    arguments = ["--dataset", "toy_tset", "--output", str(tmp_path / "c.json")]
    arguments += ["--model", "efficientnet-b7", "--weights", "no.pth"]
    assert cli.main(["classify", *arguments, "--preprocessing", "c2am-685-600"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_output_that_nobody_reads_any_more_is_no_traceback():
    code = (
        "import sys; from wend.cli.failures import exit_status; "
        "sys.exit(exit_status(lambda: print('x' * 1_000_000) or 0))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.read(1)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1
    process.stderr.close()


def test_ctrl_c_ends_in_a_line(monkeypatch, capsys):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("wend.cli.config.run", interrupted)
    assert cli.main(["config"]) == 130
    assert (
        capsys.readouterr().err
        == "interrupted by Ctrl-C; every file is either whole or as it was\n"
    )
