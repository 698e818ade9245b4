"""``wend auto`` as a whole, on a few pictures of the toy set with the small network."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from engine_runs import kept_logging

from wend.cli.parser import main
from wend.datasets.catalog import DataSets

ENGINES = ["torchvision", pytest.param("detectron2", marks=pytest.mark.slow)]
TINY = {
    "WEND.SMALL_CNN.CHANNELS": "(16, 16, 32)",
    "WEND.RESIZE": "64",
    "WEND.CROP": "64",
    "SOLVER.IMS_PER_BATCH": "4",
    "SOLVER.MAX_ITER": "3",
    "MODEL.DEVICE": "cpu",
}


@pytest.fixture
def photos(toy_root, tmp_path):
    """Twelve pictures in two folders with odd names, one of them cut off."""
    folder = tmp_path / "Fotos für Ü"
    files = sorted((toy_root / "CUB_200_2011/images").rglob("*.jpg"))[:12]
    for number, file in enumerate(files):
        target = folder / ("a b" if number % 2 else "ç") / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    (folder / "cut.jpg").write_bytes(files[0].read_bytes()[:500])
    return folder


@pytest.fixture
def auto(drawing_auto, undrawn_figures):
    """Runs the command from the folder of the photos' parent; its report has no curves."""
    return drawing_auto


@pytest.fixture
def drawing_auto(photos, tmp_path, monkeypatch):
    """Runs the command from the folder of the photos' parent."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wend.auto.schedule.LEAST_ITERATIONS", 3)
    monkeypatch.setattr("wend.auto.schedule.PROBE", 2)

    def call(*more, engine="torchvision", source=photos.name, entries=TINY):
        entries = [word for pair in entries.items() for word in pair]
        flags = ["--engine", engine, "--backbone", "small", "--output", "out"]
        with kept_logging():
            return main(["auto", str(source), *flags, *map(str, more), *entries])

    return call


def write_boxes(path, photos):
    """Write a box of each whole photo as COCO JSON, ``i, 10, 30, 20`` of the i-th; their names."""
    keys = sorted(file.relative_to(photos).as_posix() for file in photos.rglob("*[0-9].jpg"))
    box = {"category_id": 1, "iscrowd": 0}
    content = {
        "images": [{"id": i, "file_name": key} for i, key in enumerate(keys)],
        "annotations": [
            {**box, "id": i, "image_id": i, "bbox": [i, 10, 30, 20]} for i in range(len(keys))
        ],
        "categories": [{"id": 1, "name": "bird"}],
    }
    path.write_text(json.dumps(content))
    return keys


@pytest.mark.parametrize(
    "engine", ["torchvision", pytest.param("detectron2", marks=pytest.mark.slow)]
)
def test_a_folder_becomes_a_run_that_the_ordinary_commands_read(
    drawing_auto, photos, engine, capsys
):
    assert drawing_auto("--format", "coco,yolo", "--pictures", 2, engine=engine) == 0
    folder = Path("out")
    data_sets = DataSets()
    train = data_sets.get(str(folder / "datasets/photos_train.yaml"))
    held_out = data_sets.get(str(folder / "datasets/photos_held_out.yaml"))
    every = data_sets.get(str(folder / "datasets/photos.yaml"))
    assert len(train) + len(held_out) == len(every) == 12
    assert {*train.keys} | {*held_out.keys} == {*every.keys}
    assert len(held_out) == 2
    assert train.train_on == "pseudo_boxes"
    boxes = dict(zip(every.keys, every.pseudo_boxes, strict=True))
    for key, box in zip(held_out.keys, held_out.truth, strict=True):
        np.testing.assert_allclose(box, boxes[key])
    detections = json.loads((folder / "inference/photos_held_out/detections.json").read_text())
    assert {row["image_id"] for row in detections} <= {*held_out.keys}
    assert "fixed boxes" in (folder / "standing.md").read_text()
    assert not (folder / "probe").exists()
    labels = json.loads((folder / "predictions/coco/annotations.json").read_text())
    assert {image["file_name"] for image in labels["images"]} == {*every.keys}
    assert len(list((folder / "predictions/pictures").rglob("*.jpg"))) == 2
    assert (folder / "report.html").read_text().startswith("<!")
    capsys.readouterr()
    with kept_logging():
        words = ["train", "--engine", engine, "--config-file", "out/config.yaml", "--eval-only"]
        weights = ["MODEL.WEIGHTS", "out/model_final.pth", "OUTPUT_DIR", "again"]
        assert main([*words, *weights]) == 0
    again = Path("again/inference/photos_held_out/detections.json").read_bytes()
    assert again == (folder / "inference/photos_held_out/detections.json").read_bytes()


def test_the_same_command_does_nothing_twice_and_says_what_a_setting_changes(
    auto, photos, tmp_path, monkeypatch, capsys
):
    assert auto() == 0
    weights = Path("out/model_final.pth")
    before = weights.stat().st_mtime_ns
    capsys.readouterr()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "out").symlink_to(tmp_path / "out")
    monkeypatch.chdir(elsewhere)
    assert auto(source=photos) == 0
    printed = capsys.readouterr().out
    assert "training: is done already" in printed
    assert "$ wend" not in printed
    assert weights.stat().st_mtime_ns == before
    monkeypatch.chdir(tmp_path)
    assert auto("--held-out", 0.4) == 0
    printed = capsys.readouterr().out
    assert "pseudo boxes, border: is done already" in printed
    assert "training: boxes: of other content, tests: of other content; done anew" in printed
    assert "done anew" in printed
    assert weights.stat().st_mtime_ns != before
    assert auto(source=tmp_path) == 2
    assert "was made of something else (photos: " in capsys.readouterr().err


def test_a_training_that_was_killed_goes_on_from_its_checkpoint(auto, monkeypatch, capsys):
    from wend.tv.engine import Trainer

    step, seen = Trainer._step, []

    def killed(self, iteration, batch):
        seen.append(iteration)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return step(self, iteration, batch)

    monkeypatch.setattr(Trainer, "_step", killed)
    assert auto() == 130
    assert auto() == 0
    assert seen == [0, 1, 2, 2]
    assert "training: goes on where it was interrupted" in capsys.readouterr().out


@pytest.mark.slow
def test_the_length_of_the_training_is_measured(auto, capsys):
    entries = {key: value for key, value in TINY.items() if key != "SOLVER.MAX_ITER"}
    assert auto("--minutes", 0.01, entries=entries) == 0
    assert json.loads(Path("out/schedule.json").read_text())["SOLVER.MAX_ITER"].isdigit()
    assert "iterations of" in capsys.readouterr().out


def test_one_photo_is_trained_on_and_what_cannot_be_said_is_said(auto, photos, capsys):
    for file in photos.rglob("*.jpg"):
        if file.name != "0.jpg":
            file.unlink()
    assert auto() == 0
    assert "too few to hold some out" in capsys.readouterr().out
    assert not Path("out/advice.json").exists()
    assert Path("out/model_final.pth").exists()


@pytest.mark.slow
def test_an_output_in_the_folder_of_the_photos_never_becomes_its_input(auto, photos, monkeypatch):
    monkeypatch.chdir(photos)
    assert auto(source=".") == 0
    assert list(Path("out/predictions/pictures").rglob("*.jpg"))
    before = Path("out/model_final.pth").stat().st_mtime_ns
    assert auto(source=".") == 0
    assert Path("out/model_final.pth").stat().st_mtime_ns == before
    assert len(DataSets().get("out/datasets/photos.yaml")) == 12
    labels = json.loads(Path("out/predictions/coco/annotations.json").read_text())
    assert len(labels["images"]) == 12


def test_truth_is_for_evaluation_only_and_pseudo_boxes_stand_beside(auto, photos, capsys):
    write_boxes(Path("truth.json"), photos)
    assert auto("--truth", "truth.json") == 0
    text = Path("out/standing.md").read_text()
    assert "photos_held_out_truth (2 photos)" in text
    assert "the pseudo boxes that it learned from" in text
    train = DataSets().get("out/datasets/photos_train.yaml")
    assert not len(train.truth.boxes)


def test_boxes_of_the_user_are_taken_as_they_are(auto, photos):
    keys = write_boxes(Path("given.json"), photos)
    assert auto("--pseudo-boxes", "given.json") == 0
    assert not Path("out/boxes").exists()
    train = DataSets().get("out/datasets/photos_train.yaml")
    for key, (box,) in zip(train.keys, train.pseudo_boxes, strict=True):
        left = keys.index(key)
        np.testing.assert_allclose(box, [left, 10, left + 30, 30])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--held-out", "1"], "--held-out: expected a share from 0 to below 1, got 1.0"),
        (["--boxes", "0"], "--boxes: expected at least 1, got 0"),
        (["--format", "coco,cocoo"], "unknown label format 'cocoo'"),
        (["--pictures", "some"], "--pictures: expected a number, all or none, got 'some'"),
        (["--minutes", "0"], "--minutes: expected more than 0, got 0.0"),
        (["--method", "ddt"], "--method ddt: needs the weights of a network"),
        (["--method", "auto"], "--method auto: needs the weights of a network; without there is "),
        (["OUTPUT_DIR", "x"], "OUTPUT_DIR: wend auto writes to --output"),
        (
            ["SOLVER.BASE_LR"],
            "expected KEY VALUE pairs, got SOLVER.BASE_LR",
        ),
        (["SOLVER.BASE_RATE", "1"], "SOLVER.BASE_RATE"),
        (["--pseudo-boxes", "given.txt"], "expected a file that ends in .json"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_made(auto, capsys, flags, message):
    assert auto(*flags, entries={}) == 2
    assert message in capsys.readouterr().err
    assert not (Path("out") / "boxes").exists()


def test_truth_that_is_not_there_is_named_before_boxes_are_made(auto, capsys):
    assert auto("--truth", "nowhere") == 2
    assert "nowhere" in capsys.readouterr().err
    assert not Path("out/boxes").exists()


def test_few_photos_shorten_the_warm_up_of_so_many_epochs(auto):
    entries = {**TINY, "WEND.EPOCHS": "1"}
    del entries["SOLVER.MAX_ITER"]
    assert auto(entries=entries) == 0  # 3 iterations, fewer than the config's warm-up
    assert yaml.safe_load(Path("out/config.yaml").read_text())["SOLVER"]["WARMUP_ITERS"] == 0
    assert not Path("out/schedule.json").exists()  # nothing was measured


def test_what_stands_in_files_is_not_printed(auto, engine, capsys):
    assert auto(engine=engine) == 0
    printed = capsys.readouterr().out
    assert "$ wend train" in printed
    for noise in ("Full config", "Environment info", "copypaste", "Start inference", "Model:"):
        assert noise not in printed
