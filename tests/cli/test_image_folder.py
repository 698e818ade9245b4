"""wend pseudo-boxes on a folder of any images: what is taken, what is said, and what comes next."""

import json
import logging
import re
import shlex
from html import unescape

import numpy as np
import pytest
from PIL import Image

from wend.cli.parser import _make_parser, run_command
from wend.cli.train import make_parser as train_parser
from wend.datasets.catalog import DataSets
from wend.errors import InputError
from wend.pseudo_boxes import attach_pseudo_boxes, read_c2am
from wend.structures.boxes import box_iou

NAMES = ["new\nline.png", "%20.png", "<b>&\"'.png", "ü 日本 😀.png", "-dash.PNG", "{{x}}.png"]
SIZE, BOX = (60, 40), (12, 8, 30, 28)  # of a red object on grey
Turn = Image.Transpose
STORED = {  # EXIF's orientation -> how a camera stores what is upright
    **{1: None, 2: Turn.FLIP_LEFT_RIGHT, 3: Turn.ROTATE_180, 4: Turn.FLIP_TOP_BOTTOM},
    **{5: Turn.TRANSPOSE, 6: Turn.ROTATE_90, 7: Turn.TRANSVERSE, 8: Turn.ROTATE_270},
}


def save(path, orientation=1):
    """Save the picture as a camera held in this orientation would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", SIZE, (120, 120, 120))
    image.paste((200, 0, 0), BOX)
    turn, exif = STORED[orientation], Image.Exif()
    exif[0x0112] = orientation
    (image if turn is None else image.transpose(turn)).save(path, exif=exif)


@pytest.fixture
def command(tmp_path, monkeypatch, caplog):
    """Runs the command on the folder ``my photos``, whose images a test saves."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "wend")

    def call(*more, folder="my photos", output="out"):
        words = ["pseudo-boxes", "--method", "border", "--images", folder, "--output", output]
        return run_command([*words, "--num-workers", "0", *more])

    return call


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory):
    """A file of random weights."""
    import torch
    from torchvision import models

    file = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(models.resnet18().state_dict(), file)
    return file


def boxes_of(path="out/train/pseudo_boxes.json"):
    """Name -> size and box of each image, in original pixels."""
    content = json.loads(open(path, encoding="utf-8").read())
    images = {image["id"]: image for image in content["images"]}
    boxes = {}
    for each in content["annotations"]:
        image = images[each["image_id"]]
        x, y, w, h = each["bbox"]
        boxes[image["file_name"]] = ((image["width"], image["height"]), (x, y, x + w, y + h))
    return boxes


def test_any_name_comes_back_from_each_file_and_stands_escaped_on_the_page(command, tmp_path):
    for name in (*NAMES, "a/same.png", "b/same.png", ".hidden.png", "._mac.png", ".git/x.png"):
        save(tmp_path / "my photos" / name)
    command()
    boxes = boxes_of()
    assert sorted(boxes) == sorted([*NAMES, "a/same.png", "b/same.png"])
    declared = DataSets().get("out/train/my_photos_border.yaml")
    again, report = attach_pseudo_boxes(declared, read_c2am(tmp_path / "out/train/pseudo_boxes"))
    assert (report.matched, report.number("surplus")) == (8, 0)
    for data_set in (declared, again):
        for record in data_set:
            size, box = boxes[record.key]
            assert (record.width, record.height) == size == SIZE
            np.testing.assert_allclose(record.pseudo_boxes, [box], atol=1e-9)
    page = (tmp_path / "out/train/pseudo_boxes.html").read_text(encoding="utf-8")
    assert "<b>&" not in page
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)  # one file, without requests
    for name in NAMES:
        assert name in unescape(page)


def test_boxes_of_turned_photos_lie_as_viewers_show_them(command, tmp_path, caplog):
    for orientation in STORED:
        save(tmp_path / "my photos" / f"{orientation}.png", orientation)
    command("--exif", "apply")
    boxes = boxes_of()
    assert len(set(boxes.values())) == 1
    size, box = boxes["8.png"]
    assert size == SIZE
    assert box_iou(np.array([box]), np.array([BOX]))[0, 0] > 0.8
    assert "EXIF turns" not in caplog.text
    declared = DataSets().get("out/train/my_photos_border.yaml")
    assert declared.exif == "apply"
    np.testing.assert_allclose(declared.pseudo_boxes.boxes, [box] * 8)
    command("--exif", "ignore", output="stored")
    assert "EXIF turns" not in caplog.text
    command(output="unsaid")
    assert "EXIF turns 7 of 8 images, which are taken as stored" in caplog.text
    assert boxes_of("unsaid/train/pseudo_boxes.json") == boxes_of("stored/train/pseudo_boxes.json")


def test_photographs_that_are_not_read_are_told_with_what_to_do(command, tmp_path, caplog):
    for name in ("a.HEIC", "b/c.avif", "notes.txt"):
        (tmp_path / "my photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "my photos" / name).touch()
    with pytest.raises(InputError, match=r"there is no image .* 1 \.avif, 1 \.heic, 1 \.txt: 2 ph"):
        command()
    save(tmp_path / "my photos/d.png")
    command()
    assert "2 photographs are of formats that are not read; convert them" in caplog.text


@pytest.mark.parametrize("folder", ["my photos/a.png", "nothing"])
def test_what_is_no_folder_is_named(command, tmp_path, folder):
    save(tmp_path / "my photos/a.png")
    with pytest.raises(InputError, match=f"--images {folder}: .*expected a folder of images"):
        command(folder=folder)


@pytest.mark.parametrize(
    "content", [b"", b"hello", None, b"\x89PNG\r\n\x1a\n"], ids=["empty", "text", "cut", "header"]
)
def test_an_unreadable_image_is_named_with_the_way_to_go_on(command, tmp_path, caplog, content):
    for name in ("a.png", "z.png"):
        save(tmp_path / "my photos" / name)
    bad = tmp_path / "my photos/bad.png"
    whole = (tmp_path / "my photos/a.png").read_bytes()
    bad.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(InputError, match=r"bad\.png: .*--skip-unreadable leaves out such images"):
        command()
    command("--skip-unreadable")
    assert "1 images could not be read" in caplog.text
    assert DataSets().get("out/train/my_photos_border.yaml").keys == ["a.png", "z.png"]


def test_pictures_in_the_output_are_no_images(command, tmp_path, caplog):
    save(tmp_path / "my photos/a.png")
    command(output="my photos/out")
    save(tmp_path / "my photos/out/labels/images/a.png")
    command(output="my photos/out")
    assert "1 images in my photos/out, passed over" in caplog.text
    assert "is there already, made with the same settings" in caplog.text


def test_the_commands_that_are_named_at_the_end_work(command, tmp_path, caplog):
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / "my photos" / name)
    Image.new("RGB", SIZE).save(tmp_path / "my photos/black.png")  # nothing is found there
    command()
    told = caplog.text.partition("next: look at out/train/pseudo_boxes.html, then")[2]
    commands = [shlex.split(line) for line in told.splitlines() if line.startswith("    wend ")]
    page = unescape((tmp_path / "out/train/pseudo_boxes.html").read_text(encoding="utf-8"))
    assert all(line.strip() in page for line in told.splitlines() if line.startswith("    wend "))
    assert [words[1] for words in commands] == ["auto", "train", "boxes", "boxes"]
    wishes = _make_parser("auto").parse_args(commands[0][1:])
    assert (wishes.photos, wishes.exif) == ("my photos", "ignore")
    train_parser("wend train").parse_args(commands[1][2:])
    assert "('out/train/my_photos_border.yaml',)" in commands[1]
    for words in commands[2:]:
        run_command(words[1:])
    labels = sorted(path.name for path in (tmp_path / "out/labels").rglob("*.txt"))
    assert labels[:3] == ["a.txt", "b.txt", "black.txt"]
    texts = {path.name: path.read_text() for path in (tmp_path / "out/labels").rglob("*.txt")}
    assert not texts["black.txt"]
    assert texts["a.txt"]


def test_a_data_set_is_declared_with_its_truth_and_classes(tmp_path, toy_root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))
    words = ["pseudo-boxes", "--method", "border", "--dataset", "toy_test", "--num-workers", "0"]
    run_command([*words, "--output", str(tmp_path / "out"), "--page", "none"])
    declared = DataSets().get(str(tmp_path / "out/train/toy_test_border.yaml"))
    original = DataSets().get("toy_test")
    assert declared.file_names == [str(tmp_path.joinpath(name)) for name in original.file_names]
    assert declared.class_ids.tolist() == original.class_ids.tolist()
    np.testing.assert_allclose(declared.truth.boxes, original.truth.boxes)
    assert declared.pseudo_boxes.counts.tolist() == [1] * 12


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--layer", "layr3"],
            r"no such module\. Did you mean 'layer3'\? .*transformers have .*keys",
        ),
        (["--input-size", "32"], r"--input-size 32: the map of torchvision:resnet18 has 1x1 cells"),
    ],
    ids=["layer", "one cell"],
)
def test_a_map_that_shows_no_place_and_a_misspelt_layer_are_named(
    command, tmp_path, more, message, resnet18
):
    save(tmp_path / "my photos/a.png")
    words = ["pseudo-boxes", "--method", "lost", "--images", "my photos", "--output", "out"]
    network = ["--backbone", "torchvision:resnet18", "--weights", str(resnet18)]
    with pytest.raises(InputError, match=message):
        run_command([*words, *network, *more])
