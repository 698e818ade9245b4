"""What a loaded detector takes, what it gives, and what it refuses."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

import wend
from wend.datasets.catalog import DataSets
from wend.errors import BadImageError, InputError
from wend.inference.detections import Detections
from wend.weight_files import Origin, read_checkpoint, read_origin

ENGINE = "torchvision"


@pytest.fixture(scope="module")
def trained(finished):
    return finished(ENGINE)


@pytest.fixture(scope="module")
def detector(trained):
    return wend.load(trained)


@pytest.fixture
def images():
    return list(DataSets().get("toy_test").file_names)


def same(ours, theirs):
    return np.array_equal(ours.xyxy, theirs.xyxy) and np.array_equal(ours.scores, theirs.scores)


def test_one_image_gives_detections_and_many_an_iterator(detector, images, tmp_path):
    path = images[0]
    pixels = np.asarray(Image.open(path).convert("RGB"))
    one = detector(path)
    assert isinstance(one, Detections)
    assert one.xyxy.shape == (len(one), 4)
    assert one.xyxy.dtype == one.scores.dtype == np.float64
    assert (np.diff(one.scores) <= 0).all()
    assert one.size == Image.open(path).size
    grey = Image.open(path).convert("L")
    alpha = np.dstack([pixels, np.full(pixels.shape[:2], 7, np.uint8)])
    for given in (Path(path), pixels, Image.open(path), alpha, pixels[::-1][::-1]):
        assert same(one, detector(given))
    assert same(detector(np.asarray(grey)), detector(grey))
    assert same(detector(np.asarray(grey)[..., None]), detector(Image.merge("RGB", [grey] * 3)))
    mixed = detector(iter([path, pixels, Image.open(path)]), batch_size=1)
    assert not isinstance(mixed, Detections)
    numbered = list(mixed)
    assert [each.index for each in numbered] == [0, 1, 2]
    assert all(same(one, each) for each in numbered)
    assert numbered[0].image == path
    assert numbered[1].image is pixels
    folder = tmp_path / "photos [1]" / "ä b"
    folder.mkdir(parents=True)
    shutil.copy(path, folder / "x.jpg")
    (folder / "notes.txt").write_text("no image")
    for given in (folder, folder.parent, f"{tmp_path}/photos*/**/*", [folder], [folder / "x.jpg"]):
        (each,) = detector(given)
        assert same(one, each)
    assert list(detector([])) == []


def test_boxes_are_filtered_by_score_and_number(detector, images):
    every = detector(images[0])
    assert len(every) > 4
    assert same(every[:3], detector(images[0], max_boxes=3))
    least = every.scores[2]
    assert same(every[every.scores >= least], detector(images[0], min_score=least))
    assert same(every.above(least)[:1], detector(images[0], 1, 1, least))
    assert len(detector(images[0], min_score=2)) == 0
    assert [len(each) for each in every] == [1] * len(every)
    assert same(every[-1], every[[len(every) - 1]])
    with pytest.raises(IndexError):
        every[len(every)]


def test_coco_and_pictures(detector, images):
    boxes = detector(images[0], max_boxes=2)
    first, second = boxes.to_coco()
    x0, y0, x1, y1 = boxes.xyxy[0].tolist()
    assert first == {
        "image_id": Path(images[0]).name,
        "category_id": 1,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "score": boxes.scores[0],
    }
    assert second["score"] == boxes.scores[1]
    assert boxes.to_coco(7)[0]["image_id"] == 7
    plain, drawn = Image.open(images[0]).convert("RGB"), boxes.plot()
    assert drawn.size == plain.size
    changed = np.flatnonzero((np.asarray(plain) != np.asarray(drawn)).any((1, 2)))
    assert len(changed) > 0
    none = boxes[:0].plot()
    assert np.array_equal(np.asarray(none), np.asarray(plain))


def test_supervision_takes_the_boxes(detector, images):
    supervision = pytest.importorskip("supervision")
    boxes = detector(images[0], max_boxes=3)
    theirs = boxes.to_supervision()
    assert isinstance(theirs, supervision.Detections)
    np.testing.assert_array_equal(theirs.xyxy, boxes.xyxy)
    np.testing.assert_array_equal(theirs.confidence, boxes.scores)
    assert len(boxes[:0].to_supervision()) == 0


def _array(*shape, dtype=np.uint8):
    return np.zeros(shape, dtype)


NO_IMAGES = {
    "floats": (_array(8, 9, 3, dtype=np.float32), r"got an array of float32.*255 \* image"),
    "channels first": (_array(3, 8, 9), "channels first make image.transpose"),
    "a batch": (_array(2, 8, 9, 3), "several images are a list of arrays"),
    "two channels": (_array(8, 9, 2), r"got an array of shape \(8, 9, 2\)"),
    "nothing": (_array(0, 9, 3), r"got an array of shape \(0, 9, 3\)"),
    "a number": (5, "expected a path, a folder.*got int 5"),
    "None": (None, "expected a path, a folder"),
    "bytes": (b"a.jpg", "expected a path, a folder.*got bytes"),
    "no path": ("", "expected the path of an image or a folder, got ''"),
    "a mapping": ({"a": 1}, "expected a path, a folder"),
    "numbers": ([3], "image 0: expected a path"),
    "a tensor": (torch.zeros(3, 4, 4), "expected a path.*got a torch.Tensor.*permute"),
    "a pattern": ("nowhere/*.jpg", "there is no file of this pattern"),
    "a path": ("nowhere.jpg", "nowhere.jpg: there is no such image file or folder"),
    "paths": (["nowhere.jpg"], "nowhere.jpg: there is no such image file or folder"),
    "a video": ("nowhere.mp4", "nowhere.mp4: there is no such video file"),
}


@pytest.mark.parametrize("case", NO_IMAGES)
def test_what_is_no_image_is_named(detector, case):
    given, message = NO_IMAGES[case]
    with pytest.raises(InputError, match=message):
        list(detector(given))


def test_empty_folders_and_wrong_arguments_are_named(detector, images, tmp_path):
    (tmp_path / "only.txt").write_text("")
    with pytest.raises(InputError, match=r"there is no image .*but other files: 1 .txt"):
        detector(tmp_path)
    for name, value in [("batch_size", 0), ("max_boxes", 0), ("max_boxes", 1.5)]:
        with pytest.raises(InputError, match=f"{name}: expected a whole number >= 1"):
            detector(images, **{name: value})
    for value in (float("nan"), "0.5", True):
        with pytest.raises(InputError, match="min_score: expected a finite number"):
            detector(images, min_score=value)
    for on_bad in ("ignore", None, []):
        with pytest.raises(InputError, match="on_bad: expected raise, skip"):
            detector(images, on_bad=on_bad)


def test_an_unreadable_file_is_an_error_or_skipped_and_named(detector, images, tmp_path, caplog):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(Path(images[0]).read_bytes()[:900])
    three = [images[0], bad, images[1]]
    with pytest.raises(BadImageError, match=r"bad\.jpg: cannot be read as an image"):
        list(detector(three))
    with pytest.raises(BadImageError, match=r"bad\.jpg: cannot be read as an image"):
        detector(bad)
    with pytest.raises(BadImageError, match="image 0: cannot be read as an image"):
        detector(Image.open(bad))
    caplog.set_level("WARNING")
    kept = list(detector(three, on_bad="skip"))
    assert [each.index for each in kept] == [0, 2]
    assert "1 images could not be read and are left out" in caplog.text
    assert "bad.jpg" in caplog.text
    told = []
    assert len(list(detector(three, on_bad=told.append))) == 2
    assert [type(error) for error in told] == [BadImageError]


def test_exif_is_the_trainings_policy_unless_another_is_asked_for(trained, images, tmp_path):
    upright = Image.open(images[0]).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned to the right
    turned = tmp_path / "turned.png"
    upright.transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif)
    stored, applied = wend.load(trained), wend.load(trained, exif="apply")
    assert (stored.exif, applied.exif) == ("ignore", "apply")
    assert applied(turned).size == upright.size
    assert stored(turned).size == upright.size[::-1]
    assert same(applied(turned), applied(upright))
    assert applied(turned).plot().size == upright.size
    with pytest.raises(InputError, match="exif: expected one of ignore, apply, got 'yes'"):
        wend.load(trained, exif="yes")


def test_a_checkpoint_alone_holds_its_config(trained, detector, images, tmp_path, monkeypatch):
    alone = tmp_path / "detector.pth"
    shutil.copy(trained / "model_final.pth", alone)
    origin = read_origin(alone)
    assert (origin.engine, origin.exif) == (ENGINE, "ignore")
    ran = yaml.safe_load((trained / "config.yaml").read_text())
    assert yaml.safe_load(origin.config) == ran
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "not there"))
    expected = detector(images[0])
    assert same(wend.load(alone)(images[0]), expected)

    weights = read_checkpoint(alone)["model"]
    tensors = tmp_path / "detector.safetensors"
    save_file({name: value.clone() for name, value in weights.items()}, tensors)
    with pytest.raises(InputError, match=r"neither holds its config nor lies beside"):
        wend.load(tensors)
    config = trained / "config.yaml"
    assert same(wend.load(tensors, config=config)(images[0]), expected)
    shutil.copy(config, tmp_path)
    assert same(wend.load(tensors)(images[0]), expected)


def test_the_newest_checkpoint_of_a_folder_is_loaded(trained, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(trained / "config.yaml", folder)
    with pytest.raises(InputError, match="there is no checkpoint"):
        wend.load(folder)
    for name in ("model_0000002.pth", "model_0000005.pth"):
        shutil.copy(trained / "model_final.pth", folder / name)
    assert wend.load(folder).checkpoint.weights.name == "model_0000005.pth"
    (folder / "model_0000005.pth").write_bytes(b"")
    assert wend.load(folder).checkpoint.weights.name == "model_0000002.pth"
    (folder / "model_0000002.pth").write_bytes(b"")
    with pytest.raises(InputError, match="none of its 2 checkpoints is whole"):
        wend.load(folder)


def test_entries_can_be_changed_and_wrong_ones_are_named(trained, images):
    two = wend.load(trained, device="cpu", **{"TEST.DETECTIONS_PER_IMAGE": 2, "WEND.MAX_BOXES": 1})
    assert len(two(images[0])) == 2
    with pytest.raises(InputError, match=r"Non-existent key: WEND\.NOTHING"):
        wend.load(trained, **{"WEND.NOTHING": 2})
    with pytest.raises(InputError, match="not a checkpoint of this detector"):
        wend.load(trained, **{"WEND.SMALL_CNN.CHANNELS": (32, 64, 32)})
    with pytest.raises(InputError, match="device nothing: cannot be used here"):
        wend.load(trained, device="nothing")


@pytest.mark.parametrize("path", [3, None, [], b"run", "", "a\0b"], ids=repr)
def test_what_is_no_path_is_named(trained, path):
    with pytest.raises(InputError, match="path: expected the path of a file or folder, got"):
        wend.load(path)
    if path is not None:
        with pytest.raises(InputError, match="config: expected the path of a file or folder"):
            wend.load(trained, config=path)


def test_a_path_that_is_too_long_is_not_there():
    with pytest.raises(InputError, match="there is no such file or folder"):
        wend.load("a" * 5000)


def test_wrong_paths_and_engines_are_named(trained, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="there is no such file or folder"):
        wend.load(tmp_path / "nothing")
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(InputError, match=r"ends in one of \.pth.*got \.txt"):
        wend.load(tmp_path / "x.txt")
    (tmp_path / "x.pth").write_text("")
    with pytest.raises(InputError, match=r"x\.pth: cannot be read as a weight file"):
        wend.load(tmp_path / "x.pth")
    (tmp_path / "x.pth").unlink()
    with pytest.raises(InputError, match="it is no run's OUTPUT_DIR"):
        wend.load(tmp_path)
    with pytest.raises(InputError, match="was made by the engine torchvision, which alone"):
        wend.load(trained, engine="detectron2")
    with pytest.raises(InputError, match="engine: expected auto, detectron2, torchvision"):
        wend.load(trained, engine="jax")
    content = torch.load(trained / "model_final.pth", weights_only=True)
    content["wend"]["engine"] = "detectron2"
    torch.save(content, tmp_path / "d2.pth")
    monkeypatch.setattr("wend.distribution.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"d2\.pth: was made by the engine detectron2, which is"):
        wend.load(tmp_path / "d2.pth")


def test_losses_and_metrics_of_the_users_own_need_not_be_there(trained, images, tmp_path, caplog):
    gone = str(tmp_path / "gone.py")
    content = torch.load(trained / "model_final.pth", weights_only=True)
    config = yaml.safe_load(content["wend"]["config"])
    config["WEND"] |= {"LOSS": f"{gone}:my_loss", "METRICS": [f"{gone}:my"], "IMPORTS": [gone]}
    config["WEND"]["CLASS_PREDICTIONS"] = str(tmp_path / "gone.json")
    content["wend"] = vars(Origin(yaml.safe_dump(config), ENGINE, "ignore"))
    torch.save(content, tmp_path / "own.pth")
    caplog.set_level("WARNING")
    assert len(wend.load(tmp_path / "own.pth")(images[0])) > 0
    assert "gone.py, which is not imported; going on without it" in caplog.text
