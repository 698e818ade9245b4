"""The distribution: what the wheel holds, and that it works where there is no checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from engine_runs import REPOSITORY

import wend

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # of pytest

# Names of modules that a user's own files may have, of the standard library and of packages; not
# those that Python itself imports to run a module (types, importlib)
SHADOWS = (
    *("logging", "random", "json", "re", "signal", "socket", "struct", "tempfile"),
    *(
        "multiprocessing",
        "threading",
        "argparse",
        "inspect",
        "calendar",
        "queue",
        "typing",
    ),
    *("yaml", "numpy", "torch", "cv2", "tqdm", "fvcore", "boxes"),
)
TOY = ("--num-train", "64", "--num-test", "16")
SHORT = ("WEND.EPOCHS", "1", "SOLVER.WARMUP_ITERS", "1")
SMALL = ("WEND.SMALL_CNN.CHANNELS", "(16, 16, 32)", "WEND.RESIZE", "64", "WEND.CROP", "64")


def put_shadows(folder, *more):
    for name in (*SHADOWS, *more):
        (folder / f"{name}.py").write_text(f"raise SystemExit('the user\\'s {name}.py ran')\n")


def test_python_m_takes_no_file_of_the_working_folder_for_a_library(tmp_path):
    put_shadows(tmp_path)
    (tmp_path / "wend").mkdir()  # not a package: Python goes on
    done = subprocess.run(
        [sys.executable, "-m", "wend", "--version"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("wend ")


def test_a_users_file_still_finds_its_neighbours_with_python_m(tmp_path):
    (tmp_path / "mine.py").write_text("import neighbour\nprint(neighbour.NUMBER)\n")
    (tmp_path / "neighbour.py").write_text("NUMBER = 41 + 1\n")
    done = subprocess.run(
        [sys.executable, "-m", "wend", "data", "check", "no_such_set", "--import", "./mine.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("42\n")
    assert "unknown data set 'no_such_set'" in done.stderr


def test_the_lowest_versions_are_those_that_the_package_allows():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    allowed = [*project["dependencies"], *extras["classifier"], *extras["pretrained"]]
    listed = (REPOSITORY / "constraints-lowest.txt").read_text("utf-8").splitlines()
    lowest = {line for line in listed if not line.startswith("#")}
    assert {each.replace(">=", "==") for each in allowed} == lowest


def test_the_citation_has_the_packages_version():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == wend.__version__


def run(*command, cwd, status=0):
    """A command's output; the environment knows no checkout."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in ("PYTHONPATH", "PYTHONSAFEPATH", "DETECTRON2_DATASETS"):
        env.pop(name, None)
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True
    )
    assert done.returncode == status, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The sdist of the tracked files, and the wheel that is built from that sdist alone."""
    folder = tmp_path_factory.mktemp("distributions")
    listed = run("git", "ls-files", "-co", "--exclude-standard", cwd=REPOSITORY).splitlines()
    for name in filter(lambda name: (REPOSITORY / name).is_file(), listed):
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, folder / "source" / name)
    build = "from setuptools.build_meta import build_{0}; build_{0}({1!r})"
    run(sys.executable, "-c", build.format("sdist", str(folder)), cwd=folder / "source")
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    run(sys.executable, "-c", build.format("wheel", str(folder)), cwd=unpacked)
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel, listed


@pytest.fixture(scope="module")
def bin_folder(distributions, tmp_path_factory):
    """Commands of an empty environment with the wheel; packages that it needs are this Python's."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    command = (sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", folder)
    run(*command, cwd=folder.parent)
    (site,) = folder.glob("lib/python*/site-packages")
    # a folder of a .pth is no site folder: what is installed there as editable stays unknown
    (site / "needed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin/python", "install")
    run(*pip, "--no-deps", "--no-index", distributions[1], cwd=folder.parent)
    where = run(folder / "bin/python", "-c", "import wend; print(wend.__file__)", cwd=folder)
    assert Path(where.strip()) == site / "wend/__init__.py"
    return folder / "bin"


@pytest.mark.slow
def test_wheel_holds_the_package_its_configs_and_the_licence_and_nothing_else(distributions):
    sdist, wheel, listed = distributions
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = {name.partition(".dist-info/")[2] for name in archive.namelist()}
        entries = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "wend = wend.__main__:main" in archive.read(entries).decode()
    expected = {name for name in listed if name.startswith("wend/")}
    expected |= {f"wend/{name}" for name in listed if name.startswith("configs/")}
    assert inside == expected
    assert {"licenses/LICENSE", "licenses/NOTICE", "METADATA"} <= about
    assert wheel.stat().st_size < 2e6  # 0.6 MB today
    with tarfile.open(sdist) as archive:
        folders = {name.split("/")[1] for name in archive.getnames() if name.count("/") > 1}
    assert folders == {"configs", "wend", "wend_wsol.egg-info"}


@pytest.mark.slow
def test_wheel_generates_trains_evaluates_and_reports_outside_a_checkout(bin_folder, tmp_path):
    command = bin_folder / "wend"
    assert "wend-wsol is not installed" not in run(command, "doctor", cwd=tmp_path)
    run(command, "toy", "data/toy", *TOY, cwd=tmp_path)
    train = (command, "train", "--config-file", "demo", "--engine", "torchvision")
    data = ("--datasets-root", "data")
    run(*train, *data, *SHORT, "OUTPUT_DIR", "out", cwd=tmp_path)
    weights = ("MODEL.WEIGHTS", "out/model_final.pth", "OUTPUT_DIR", "again")
    run(*train, "--eval-only", *data, *weights, cwd=tmp_path)
    detections = "inference/toy_test_c2am/detections.json"
    assert (tmp_path / "out" / detections).read_bytes() == (
        tmp_path / "again" / detections
    ).read_bytes()
    run(command, "report", "out", *data, cwd=tmp_path)
    evaluate = (
        command,
        "evaluate",
        "--ground-truth",
        "toy_test",
        "--detections",
        f"out/{detections}",
    )
    run(*evaluate, *data, "--output", "table", cwd=tmp_path)
    assert (tmp_path / "table/metrics.json").is_file()
    # a config of the user's own starts from one of WEND's
    own = tmp_path / "own.yaml"
    own.write_text("_BASE_: configs/demo.yaml\nWEND: {EPOCHS: 1}\nSOLVER: {WARMUP_ITERS: 1}\n")
    shown = run(command, "config", "WEND.ETA", "--config-file", own, cwd=tmp_path)
    assert "set by   configs/demo.yaml: 0.125" in shown
    run(*train[:2], "--config-file", own, *train[4:], *data, "OUTPUT_DIR", "own", cwd=tmp_path)
    assert (tmp_path / "own" / detections).is_file()


@pytest.mark.slow
def test_wheel_predicts_exports_and_makes_a_run_of_photos_outside_a_checkout(bin_folder, tmp_path):
    command = bin_folder / "wend"
    run(command, "toy", "data/toy", *TOY, cwd=tmp_path)
    photos = tmp_path / "Fotos für Ü"
    photos.mkdir()
    pictures = sorted((tmp_path / "data/toy/CUB_200_2011/images").rglob("*.jpg"))[:8]
    for picture in pictures:
        shutil.copy(picture, photos)
    auto = (command, "auto", photos, "--engine", "torchvision", "--backbone", "small")
    run(*auto, "--minutes", "0.01", "--output", "out", *SMALL, cwd=tmp_path)
    assert (tmp_path / "out/report.html").read_text().startswith("<!")
    run(command, "predict", "out", photos, "--output", "boxes", "--pictures", "1", cwd=tmp_path)
    written = json.loads((tmp_path / "boxes/coco/annotations.json").read_text())
    assert {image["file_name"] for image in written["images"]} == {
        picture.name for picture in pictures
    }
    run(command, "export", "out", "--format", "torchscript", "--nms", cwd=tmp_path)
    file = ("predict", "out/model.torchscript", photos, "--output", "same", "--pictures", "none")
    run(command, *file, cwd=tmp_path)
    same = json.loads((tmp_path / "same/coco/annotations.json").read_text())
    assert len(same["annotations"]) == len(written["annotations"]) > 0
    script = "import sys, wend; print(*(len(each) for each in wend.load('out')(sys.argv[1])))"
    counts = run(bin_folder / "python", "-c", script, photos, cwd=tmp_path).split()
    assert len(counts) == len(pictures)


@pytest.mark.slow
def test_wheel_explains_its_configs_outside_a_checkout(bin_folder, tmp_path):
    command = bin_folder / "wend"
    listed = run(command, "config", "--list", cwd=tmp_path)
    for name in ("demo", "photos", "CUB/fcos_R50_we"):
        assert name in listed
    shown = run(command, "config", "WEND.ETA", "--config-file", "CUB/fcos_R50_we", cwd=tmp_path)
    assert "set by   configs/CUB/fcos_R50_we.yaml: " in shown
    run(command, "config", "--schema", "wend.schema.json", cwd=tmp_path)
    schema = json.loads((tmp_path / "wend.schema.json").read_text())
    assert "ETA" in schema["properties"]["WEND"]["properties"]


@pytest.mark.slow
def test_processes_take_no_file_of_the_working_folder_for_a_library(bin_folder, tmp_path):
    run(bin_folder / "wend", "toy", "data/toy", *TOY, cwd=tmp_path)
    put_shadows(tmp_path, "wend")
    boxes = ("pseudo-boxes", "--method", "border", "--images", "data/toy", "--num-workers", "2")
    run(bin_folder / "wend", *boxes, "--output", "made", cwd=tmp_path)
    assert (tmp_path / "made/train/pseudo_boxes.json").is_file()
