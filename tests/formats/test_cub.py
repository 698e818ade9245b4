"""wend.formats.cub: the index files' numbers reach the records; every wrong file is named."""

import re

import numpy as np
import pytest
from PIL import Image

from wend.errors import InputError, MissingFileError
from wend.formats.cub import load_cub
from wend.images.sizes import SizeReader

INDEX_FILES = (
    "images.txt",
    "image_class_labels.txt",
    "train_test_split.txt",
    "bounding_boxes.txt",
)


def test_training_records_hold_what_the_index_files_say_in_the_order_of_images_txt(
    tmp_path, write_cub
):
    root = write_cub(tmp_path)
    first, second = load_cub(root, "train")
    assert (first.image_id, second.image_id) == (3, 7)
    assert first.file_name == str(root / "images" / "001.Wren/wren_a.png")
    assert (first.width, first.height) == (20, 10)
    assert first.key == "001.Wren/wren_a.png"
    assert (first.class_id, second.class_id) == (0, 1)  # classes 1 and 2, counted from 0
    # x y width height -> x, y, x + width, y + height (no "- 1")
    assert first.gt_boxes.tolist() == [[2, 1, 10, 6]]
    assert second.gt_boxes.tolist() == [[1.5, 2.25, 4.5, 6.75]]
    assert len(first.pseudo_boxes) == 0


def test_the_test_split_is_the_images_flagged_0(tmp_path, write_cub):
    (record,) = load_cub(write_cub(tmp_path), "test")
    assert (record.image_id, record.width, record.height) == (1, 12, 30)


def test_the_order_is_that_of_images_txt_not_of_the_other_files(tmp_path, write_cub):
    root = write_cub(tmp_path)
    expected = [record.image_id for record in load_cub(root, "train")]
    for name in INDEX_FILES[1:]:
        lines = (root / name).read_text().splitlines()
        (root / name).write_text("\n".join(reversed(lines)))
    assert [record.image_id for record in load_cub(root, "train")] == expected == [3, 7]


def test_several_box_lines_of_one_image_are_several_boxes(tmp_path, write_cub):
    root = write_cub(tmp_path)
    with (root / "bounding_boxes.txt").open("a") as file:
        file.write("3 11 2 4 3\n")
    record = load_cub(root, "train")[0]
    np.testing.assert_array_equal(record.gt_boxes, [[2, 1, 10, 6], [11, 2, 15, 5]])


def test_blank_lines_windows_line_ends_and_spaces_in_file_names_are_read(tmp_path, write_cub):
    rows = [(1, "001.A b/my bird.png", 1, 1, (6, 4), "0 0 3 2")]
    root = write_cub(tmp_path, rows)
    for name in INDEX_FILES:
        text = (root / name).read_text().replace("\n", "\r\n")
        (root / name).write_bytes((text + "\r\n\r\n").encode())
    (record,) = load_cub(root, "train")
    assert record.key == "001.A b/my bird.png"
    assert record.gt_boxes.tolist() == [[0, 0, 3, 2]]


def test_sizes_are_read_as_stored_even_if_exif_says_rotate(tmp_path, write_cub):
    root = write_cub(tmp_path, [(1, "001.A/a.jpg", 1, 1, (30, 20), "0 0 3 2")])
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90 degrees
    Image.new("RGB", (30, 20)).save(root / "images/001.A/a.jpg", exif=exif)
    (record,) = load_cub(root, "train")
    assert (record.width, record.height) == (30, 20)


def test_missing_root_is_named_with_the_way_to_set_it(tmp_path):
    root = tmp_path / "nowhere"
    with pytest.raises(
        MissingFileError, match=rf"{re.escape(str(root))}: .*no such folder.*DETECTRON2_DATASETS"
    ):
        load_cub(root, "train")


@pytest.mark.parametrize("name", INDEX_FILES)
def test_missing_index_file_is_named(tmp_path, write_cub, name):
    root = write_cub(tmp_path)
    (root / name).unlink()
    with pytest.raises(MissingFileError, match=re.escape(f"{root / name}: there is no such file")):
        load_cub(root, "train")


@pytest.mark.parametrize("name", INDEX_FILES)
def test_empty_index_file_is_named(tmp_path, write_cub, name):
    root = write_cub(tmp_path)
    (root / name).write_text("\n\n")
    message = re.escape(f"{root / name}: is empty; expected lines '<image id> <")
    with pytest.raises(InputError, match=message):
        load_cub(root, "train")


def test_index_file_in_another_encoding_is_named(tmp_path, write_cub):
    root = write_cub(tmp_path)
    (root / "images.txt").write_bytes("1 001.A/café.png\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"images\.txt: not UTF-8 text.*'<image id> <path>'"):
        load_cub(root, "train")


@pytest.mark.parametrize(
    ("name", "line", "columns"),
    [
        ("images.txt", "9", "<image id> <path>"),
        ("images.txt", "one 001.A/a.png", "<image id> <path>"),
        ("image_class_labels.txt", "-1 2", "<image id> <class id>"),
        ("bounding_boxes.txt", "3 1 2 3", "<image id> <x> <y> <width> <height>"),
    ],
)
def test_malformed_line_is_named_with_its_number_and_text(tmp_path, write_cub, name, line, columns):
    root = write_cub(tmp_path)
    with (root / name).open("a") as file:
        file.write(f"{line}\n")  # after three good lines
    message = f"{root / name}, line 4: expected '{columns}', got '{line}'"
    with pytest.raises(InputError, match=re.escape(message)):
        load_cub(root, "train")


@pytest.mark.parametrize("name", INDEX_FILES[:3])
def test_image_id_that_stands_twice_is_named(tmp_path, write_cub, name):
    root = write_cub(tmp_path)
    with (root / name).open("a") as file:
        file.write((root / name).read_text().splitlines()[2] + "\n")
    message = f"{root / name}: 1 image ids stand there twice (7)"
    with pytest.raises(InputError, match=re.escape(message)):
        load_cub(root, "train")


@pytest.mark.parametrize("name", INDEX_FILES[1:])
def test_image_id_that_another_index_file_lacks_is_named(tmp_path, write_cub, name):
    root = write_cub(tmp_path)
    lines = (root / name).read_text().splitlines()
    (root / name).write_text("\n".join(lines[:-1]))
    message = f"{root}: 1 image ids are in images.txt but not in {name} (7)"
    with pytest.raises(InputError, match=re.escape(message)):
        load_cub(root, "train")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("image_class_labels.txt", "99 1"),
        ("train_test_split.txt", "99 1"),
        ("bounding_boxes.txt", "99 0 0 1 1"),
    ],
)
def test_image_id_that_images_txt_lacks_is_named(tmp_path, write_cub, name, line):
    root = write_cub(tmp_path)
    with (root / name).open("a") as file:
        file.write(f"{line}\n")
    message = f"{root}: 1 image ids are in {name} but not in images.txt (99)"
    with pytest.raises(InputError, match=re.escape(message)):
        load_cub(root, "train")


@pytest.mark.parametrize("value", ["0", "1.5", "-2", "wren"])
def test_class_that_is_no_number_from_1_is_named(tmp_path, write_cub, value):
    root = write_cub(tmp_path)
    (root / "image_class_labels.txt").write_text(f"3 1\n1 2\n7 {value}\n")
    message = f"{root / 'image_class_labels.txt'}: image 7: expected a number from 1, got '{value}'"
    with pytest.raises(InputError, match=re.escape(message)):
        load_cub(root, "train")


@pytest.mark.parametrize("value", ["2", "-1", "train"])
def test_split_that_is_neither_0_nor_1_is_named(tmp_path, write_cub, value):
    root = write_cub(tmp_path)
    (root / "train_test_split.txt").write_text(f"3 1\n1 {value}\n7 1\n")
    message = f"train_test_split.txt: image 1: expected a number from 0 to 1, got '{value}'"
    with pytest.raises(InputError, match=re.escape(message)):
        load_cub(root, "train")


@pytest.mark.parametrize(
    "box", ["nan 0 1 1", "0 inf 1 1", "0 0 0 1", "0 0 1 0", "0 0 -1 1", "a b c d", "0 0 1 1 1"]
)
def test_true_box_that_is_not_finite_or_has_no_area_is_named(tmp_path, write_cub, box):
    root = write_cub(tmp_path)
    (root / "bounding_boxes.txt").write_text(f"3 {box}\n1 0 0 1 1\n7 0 0 1 1\n")
    message = (
        rf"bounding_boxes\.txt: image 3: expected finite x y width height with width and height "
        rf"> 0, got '{re.escape(box)}'"
    )
    with pytest.raises(InputError, match=message):
        load_cub(root, "train")


def test_missing_images_are_counted_and_named(tmp_path, write_cub):
    root = write_cub(tmp_path)
    gone = root / "images/002.Gull/gull_b.png"
    gone.unlink()
    message = f"{root / 'images'}: 1 of 2 images of images.txt are not there ({gone})"
    with pytest.raises(MissingFileError, match=re.escape(message)):
        load_cub(root, "train")
    assert len(load_cub(root, "test")) == 1  # the other split does not need it


def test_image_that_is_no_image_is_named(tmp_path, write_cub):
    root = write_cub(tmp_path)
    broken = root / "images/001.Wren/wren_a.png"
    broken.write_text("not a picture")
    with pytest.raises(InputError, match=re.escape(f"{broken}: cannot be read as an image")):
        load_cub(root, "train")


def test_unreadable_images_are_kept_if_asked_for(tmp_path, write_cub):
    root = write_cub(tmp_path)
    broken = root / "images/002.Gull/gull_b.png"
    broken.write_text("not a picture")
    data_set = load_cub(root, "train", SizeReader(keep_unreadable=True))
    assert data_set.sizes.tolist() == [[20, 10], [0, 0]]
    assert str(data_set.unreadable[1]).startswith(f"{broken}: cannot be read as an image")
    assert data_set.truth[1].tolist() == [[1.5, 2.25, 4.5, 6.75]]


def test_split_without_images_is_an_error(tmp_path, write_cub):
    root = write_cub(tmp_path, [(1, "001.A/a.png", 1, 1, (6, 4), "0 0 3 2")])
    with pytest.raises(InputError, match=r"train_test_split\.txt: no image is of the test split"):
        load_cub(root, "test")


def test_unknown_split_is_an_error_that_lists_the_splits(tmp_path, write_cub):
    root = write_cub(tmp_path)
    with pytest.raises(InputError, match=r"split must be one of .*train.*test.*got 'val'"):
        load_cub(root, "val")


@pytest.mark.parametrize("split", ["train", "test"])
def test_pre_split_copy_holds_the_same_records(tmp_path, write_cub, split):
    """PSOL's and C2AM's copy: train/<class>/ and test/<class>/ beside the index files."""
    whole = load_cub(write_cub(tmp_path / "whole"), split)
    root = write_cub(tmp_path / "split")
    flags = dict(line.split() for line in (root / "train_test_split.txt").read_text().splitlines())
    for line in (root / "images.txt").read_text().splitlines():
        image_id, name = line.split(maxsplit=1)
        place = root / ("train" if flags[image_id] == "1" else "test") / name
        place.parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / name).rename(place)
    for folder in (root / "images").iterdir():
        folder.rmdir()
    (root / "images").rmdir()
    records = load_cub(root, split)
    assert [r.file_name for r in records] == [str(root / split / r.key) for r in whole]
    for before, after in zip(whole, records, strict=True):
        for name in ("image_id", "width", "height", "key", "class_id"):
            assert getattr(after, name) == getattr(before, name)
        np.testing.assert_array_equal(after.gt_boxes, before.gt_boxes)


@pytest.mark.parametrize(
    "name", ["../../etc/a.png", "/etc/a.png", "001.A/../../a.png", "C:\\a.png"]
)
def test_name_that_leaves_the_root_is_named_with_file_and_line(tmp_path, write_cub, name):
    root = write_cub(tmp_path)
    lines = (root / "images.txt").read_text().splitlines()
    (root / "images.txt").write_text(f"{lines[0]}\n{lines[1].split()[0]} {name}\n{lines[2]}\n")
    with pytest.raises(
        InputError, match=rf"images\.txt, line 2: image name {re.escape(repr(name))} leaves"
    ):
        load_cub(root, "train")
