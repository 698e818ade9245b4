"""``wend predict``: what is written is what the detector says, of one run, whole or not at all."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from engine_runs import _one_thread, _own_loggers, _toy_datasets  # noqa: F401
from PIL import Image
from pycocotools.coco import COCO

import wend
from wend.cli.parser import main
from wend.datasets.catalog import DataSets
from wend.inference import run as predict_run


@pytest.fixture
def photos(tmp_path):
    """Images of two folders, one with blanks and an umlaut."""
    folder = tmp_path / "my photos"
    (folder / "ü b").mkdir(parents=True)
    for number, path in enumerate(DataSets().get("toy_test").file_names[:5]):
        shutil.copy(path, folder / ("ü b" if number % 2 else ".") / f"{number}.jpg")
    return folder


def predict(*arguments):
    return main(["predict", *map(str, arguments)])


def names_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def written_boxes(folder):
    """Name of each image -> boxes x, y, w, h and scores of ``coco/``, read by pycocotools."""
    coco = COCO(str(folder / "coco/annotations.json"))
    results = coco.loadRes(str(folder / "coco/results.json"))
    return {
        image["file_name"]: [(row["bbox"], row["score"]) for row in results.imgToAnns[image["id"]]]
        for image in coco.dataset["images"]
    }


def test_files_hold_the_detectors_boxes(engine, finished, photos, tmp_path, capsys):
    out = tmp_path / "out"
    trained = finished(engine)
    options = ("--format", "coco,csv", "--pictures", "2", "--max-boxes", "3", "--batch-size", 2)
    assert predict(trained, photos, "--output", out, *options) == 0
    assert f"15 boxes in 5 images; 0 images have none\nwritten: {out}/predict.json" in (
        capsys.readouterr().out
    )
    names = ["0.jpg", "2.jpg", "4.jpg", "ü b/1.jpg", "ü b/3.jpg"]
    detections = list(wend.load(trained)(photos, batch_size=2, max_boxes=3))
    assert written_boxes(out) == {
        name: [(row["bbox"], row["score"]) for row in each.to_coco()]
        for name, each in zip(names, detections, strict=True)
    }
    assert names_in(out) == [
        "coco/annotations.json",
        "coco/results.json",
        "csv/boxes.csv",
        "pictures/0.jpg",
        "pictures/ü b/3.jpg",
        "predict.json",
    ]
    assert Image.open(out / "pictures/ü b/3.jpg").size == Image.open(photos / "ü b/3.jpg").size


@pytest.fixture(scope="module")
def trained(finished):
    return finished("torchvision")


def test_the_advised_score_holds_unless_another_is_said(
    trained, photos, tmp_path, monkeypatch, capsys
):
    shutil.copytree(trained, tmp_path / "run")
    monkeypatch.chdir(tmp_path)

    def least(*more, run="run"):
        words = [run, photos, "--output", "boxes", "--pictures", "none", "--overwrite"]
        assert predict(*words, *more) == 0
        return min(score for boxes in written_boxes(Path("boxes")).values() for _, score in boxes)

    every = least()
    advised = float(np.median([score for box in wend.load("run")(photos) for score in box.scores]))
    Path("run/advice.json").write_text(json.dumps({"min_score": advised}))
    assert every < advised <= least()
    assert least(run="run/model_final.pth") == least("--min-score", "advised") == least()
    assert least("--min-score", "none") == every
    assert least("--min-score", every) == every
    Path("run/advice.json").unlink()
    words = ["run", photos, "--output", "other", "--min-score"]
    assert predict(*words, "advised") == 2
    assert "run advises none; wend auto writes advice.json" in capsys.readouterr().err
    assert predict(*words, "much") == 2
    assert "expected a number, advised or none, got 'much'" in capsys.readouterr().err


def test_a_used_folder_keeps_its_run_or_is_replaced_as_a_whole(trained, photos, tmp_path, capsys):
    out = tmp_path / "out"
    every = ("--output", out)
    assert predict(trained, photos, *every, "--format", "voc,yolo", "--pictures", "all") == 0
    before = names_in(out)
    assert len(before) > 10
    assert predict(trained, photos / "0.jpg", *every) == 2
    assert "holds the boxes of an earlier run" in capsys.readouterr().err
    assert names_in(out) == before
    assert predict(trained, photos / "0.jpg", *every, "--overwrite", "--pictures", "none") == 0
    assert names_in(out) == ["coco/annotations.json", "coco/results.json", "predict.json"]
    (out / "coco" / "mine.txt").write_text("of the user")  # in a folder of ours: goes with it
    (out / "mine.txt").write_text("of the user")
    assert predict(trained, photos, *every, "--overwrite") == 2
    assert "holds files that are none of wend predict's (mine.txt)" in capsys.readouterr().err
    assert predict(trained, photos, "--output", photos.parent) == 2
    assert predict(trained, photos, "--output", photos / "out") == 2
    assert "lies in the folder of the images" in capsys.readouterr().err
    assert not (photos / "out").exists()


def test_an_interrupted_run_goes_on_and_ends_as_a_whole_one(
    trained, photos, tmp_path, monkeypatch, capsys
):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert predict(trained, photos, "--output", whole) == 0
    as_row, rows = predict_run._as_row, []

    def interrupt(*arguments):
        if len(rows) == 3:
            raise KeyboardInterrupt
        rows.append(arguments)
        return as_row(*arguments)

    monkeypatch.setattr(predict_run, "_as_row", interrupt)
    assert predict(trained, photos, "--output", stopped) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert names_in(stopped) == [".unfinished/boxes.jsonl"]
    monkeypatch.undo()
    monkeypatch.setenv("DETECTRON2_DATASETS", "")
    assert predict(trained, photos, "--output", stopped) == 0
    assert "3 of 5 images are predicted already" in capsys.readouterr().out
    assert names_in(stopped) == names_in(whole)
    for name in ("coco/annotations.json", "coco/results.json"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()


def test_an_interrupted_run_of_other_settings_is_forgotten(trained, photos, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(predict_run, "write_labels", fail)
    assert predict(trained, photos, "--output", out) == 130
    (out / ".unfinished/csv").mkdir()
    monkeypatch.undo()
    assert predict(trained, photos, "--output", out, "--max-boxes", "1") == 0
    assert not (out / "csv").exists()
    assert {len(boxes) for boxes in written_boxes(out).values()} == {1}


def test_bad_images_end_the_run_or_are_left_out_and_named(trained, photos, tmp_path, capsys):
    (photos / "3 bad.png").write_text("no image")
    (photos / "4 gone.jpg").symlink_to("nowhere")
    out = tmp_path / "out"
    assert predict(trained, photos, "--output", out) == 2
    error = capsys.readouterr().err
    assert "3 bad.png: cannot be read as an image" in error
    assert "error: " in error
    assert predict(trained, photos, "--output", out, "--on-bad", "skip") == 0
    said = capsys.readouterr().out
    assert "2 images could not be read and are left out:\n" in said
    assert "3 bad.png: cannot be read" in said
    assert "4 gone.jpg: there is no such image file" in said
    assert len(written_boxes(out)) == 5
    bad, gone = json.loads((out / "predict.json").read_text())["unreadable"]
    assert "3 bad.png" in bad
    assert "4 gone.jpg" in gone


def test_a_video_becomes_a_video_and_boxes_of_its_frames(trained, tmp_path):
    frames = np.zeros((7, 64, 96, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[10:40, 10 + 5 * number : 40 + 5 * number] = (30, 200, 240)
    path = tmp_path / "a clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 12.5, (96, 64))
    for frame in frames:
        writer.write(frame)
    writer.release()
    out = tmp_path / "out"
    assert predict(trained, path, "--output", out, "--max-boxes", "2") == 0
    assert names_in(out) == [
        "a clip.mp4", "coco/annotations.json", "coco/results.json", "predict.json"
    ]  # fmt: skip
    drawn = cv2.VideoCapture(str(out / "a clip.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 7
    assert drawn.get(cv2.CAP_PROP_FPS) == 12.5
    detections = list(wend.load(trained)(path, max_boxes=2))
    assert [each.index for each in detections] == list(range(7))
    assert written_boxes(out) == {
        f"a clip_{each.index:06d}.jpg": [(row["bbox"], row["score"]) for row in each.to_coco()]
        for each in detections
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected images (files, folders, patterns, or a video), or --webcam"),
        (("a.jpg", "--webcam"), "expected images (files, folders, patterns, or a video), or"),
        (("nothing.jpg",), "nothing.jpg: there is no such image file or folder"),
        (("no/*.jpg",), "no/*.jpg: there is no file of this pattern"),
        (("a.mp4", "b.mp4"), "a video is predicted on alone"),
        (("a.mp4",), "a.mp4: there is no such video file"),
        (("--webcam", "99"), "there is no camera 99 that can be opened"),
        ((".", "--format", "coc"), "'coc'"),
        ((".", "--pictures", "some"), "--pictures: expected a number, all or none, got 'some'"),
        ((".", "--opts", "TEST.X"), "--opts: expected KEY VALUE pairs, got TEST.X"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else " ".join(value) or "none",
)
def test_wrong_input_is_one_line(trained, arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert predict(trained, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not any(Path().iterdir())


def test_an_empty_folder_and_images_named_twice_are_one_line(trained, photos, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert predict(trained, tmp_path / "empty") == 2
    assert "there is no image (a file that ends in" in capsys.readouterr().err
    assert predict(trained, photos, photos / "0.jpg", "--output", tmp_path / "out") == 2
    assert "1 images are named twice" in capsys.readouterr().err
