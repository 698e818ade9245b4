"""wend.pseudo_boxes: C2AM's fractions end up on the right image in pixels, all is counted."""

import json
import logging
import re

import numpy as np
import pytest
import torch
from torchvision.ops import box_convert

from wend.errors import InputError, MissingFileError
from wend.pseudo_boxes import PseudoBoxes, attach_pseudo_boxes, image_key, read_c2am
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

KEY = "/data1/somebody/CUB_200_2011/train/001.Wren/a.jpg"


def record(key: str, width: int = 100, height: int = 50, image_id: int = 1) -> ImageRecord:
    return ImageRecord(image_id, f"/images/{key}", width, height, key=key)


def attach(records: list[ImageRecord], boxes: PseudoBoxes):
    return attach_pseudo_boxes(DataSet.from_records(records), boxes)


def numbers(found: PseudoBoxes) -> tuple[int, ...]:
    """Boxes without area, duplicates that agree, duplicates that do not."""
    return tuple(found.counts[kind].number for kind in ("zero_area", "repeated", "conflicting"))


@pytest.mark.parametrize(
    "path",
    [
        "001.Wren/a.jpg",
        "/data1/x/train/001.Wren/a.jpg",
        "data//train//001.Wren//a.jpg",
        "../../train/001.Wren/a.jpg",
        r"C:\Users\x\train\001.Wren\a.jpg",
        r"D:/mixed\train/001.Wren\a.jpg",
        "./001.Wren/./a.jpg",
    ],
)
def test_key_is_class_folder_and_file_name_whatever_the_root(path):
    assert image_key(path) == "001.Wren/a.jpg"


def test_boxes_are_the_fractions_as_corners(tmp_path, write_c2am):
    values = {
        f"r/train/c/{i}.jpg": v for i, v in enumerate([[0.125, 0.25, 0.5, 0.375], [0, 0, 1, 1]])
    }
    found = read_c2am(write_c2am(tmp_path / "boxes", values))
    assert list(found.keys) == ["c/0.jpg", "c/1.jpg"]
    expected = box_convert(torch.tensor([*values.values()], dtype=torch.float64), "xywh", "xyxy")
    np.testing.assert_array_equal(found.table.boxes, expected.numpy())
    assert found.table.offsets.tolist() == [0, 1, 2]
    assert (found.source, found.frame) == (str(tmp_path / "boxes"), "fraction")
    assert numbers(found) == (0, 0, 0)


def test_all_files_are_merged_and_an_empty_object_is_a_file_without_boxes(tmp_path, write_c2am):
    folder = write_c2am(tmp_path, {"c/a": [0, 0, 1, 1]}, {}, {"c/b": [0, 0, 1, 1]})
    (folder / "notes.txt").write_text("not JSON, not C2AM's")
    assert set(read_c2am(folder).keys) == {"c/a", "c/b"}


def test_boxes_without_area_are_dropped_and_counted(tmp_path, write_c2am):
    nothing_found = [1 / 30, 1 / 30, 0, 0]  # C2AM writes this where its map is empty
    found = read_c2am(
        write_c2am(
            tmp_path,
            {"c/a": nothing_found, "c/b": [0.1, 0.1, 0, 0.5], "c/c": [0.1, 0.1, 0.5, 0]},
            {"c/d": [0.1, 0.1, 0.5, 0.5]},
        )
    )
    assert set(found.keys) == {"c/d"}
    assert numbers(found) == (3, 0, 0)
    assert found.counts["zero_area"].examples == ("c/a", "c/b", "c/c")


def test_dropped_box_does_not_displace_a_good_one(tmp_path, write_c2am):
    found = read_c2am(
        write_c2am(tmp_path, {"c/a": [0.25, 0.25, 0.5, 0.5]}, {"c/a": [0.1, 0.1, 0, 0]})
    )
    assert found["c/a"].tolist() == [[0.25, 0.25, 0.75, 0.75]]
    assert numbers(found) == (1, 0, 0)


def test_repeated_boxes_are_counted_and_conflicting_ones_end_in_the_last(tmp_path, write_c2am):
    found = read_c2am(
        write_c2am(
            tmp_path,
            {"x/train/c/a": [0, 0, 0.5, 0.5], "c/b": [0, 0, 0.5, 0.5]},
            {"y/train/c/a": [0, 0, 0.5, 0.5], "c/b": [0.25, 0, 0.5, 0.5]},  # same; other
            {"c/b": [0.5, 0, 0.5, 0.5]},  # other again
        )
    )
    assert numbers(found) == (0, 1, 2)
    assert found["c/b"].tolist() == [[0.5, 0, 1, 0.5]]
    assert found["c/a"].shape == (1, 4)


@pytest.mark.parametrize("second", ["c/a", r"c/\u0061", r"c\/a", "./c/a"])
def test_a_key_twice_in_one_file_is_counted_not_lost(tmp_path, second):
    text = f'{{"c/a": [0, 0, 1, 1], "{second}": [0, 0, 0.5, 1]}}'
    (tmp_path / "0_0_bbox.json").write_text(text)
    found = read_c2am(tmp_path)
    assert numbers(found) == (0, 0, 1)
    assert found["c/a"].tolist() == [[0, 0, 0.5, 1]]


def test_the_last_file_is_the_last_by_number_not_by_letter(tmp_path):
    for number, width in ((10, 0.25), (9, 0.5), (2, 0.75)):  # by letter 9_0 would be the last
        (tmp_path / f"{number}_0_bbox.json").write_text(json.dumps({"c/a": [0, 0, width, 1]}))
    assert read_c2am(tmp_path)["c/a"].tolist() == [[0, 0, 0.25, 1]]


def test_rounding_of_the_writer_is_clipped_to_the_image(tmp_path, write_c2am):
    found = read_c2am(write_c2am(tmp_path, {"c/a": [-0.000009, 0.5, 0.5, 0.500009]}))
    (box,) = found["c/a"]
    assert box[0] == 0.0
    assert box[3] == 1.0


@pytest.mark.parametrize(
    "value",
    [
        [-0.001, 0, 0.5, 0.5],
        [0, -0.001, 0.5, 0.5],
        [0.6, 0, 0.5, 0.5],
        [0, 0.6, 0.5, 0.5],
        [0.5, 0.5, -0.2, 0.2],
        [0.5, 0.5, 0.2, -0.2],
        [60, 27, 325, 304],
    ],
)
def test_box_outside_the_image_is_named_with_file_and_key(tmp_path, write_c2am, value):
    folder = write_c2am(tmp_path, {KEY: value})
    shown = re.escape(str([float(v) for v in value]))
    message = rf"0_0_bbox\.json: key '{re.escape(KEY)}': .*= {shown} leaves 0\.\.1"
    with pytest.raises(InputError, match=message):
        read_c2am(folder)


@pytest.mark.parametrize(
    "value",
    [
        "[0, 0, 1]",
        "[0, 0, 1, 1, 1]",
        "[]",
        "[[0, 0, 1, 1]]",
        "[0, 0, 1, NaN]",
        "[0, 0, Infinity, 1]",
        "[0, 0, 1e999, 1]",
        '["0", "0", "1", "1"]',
        "[0, 0, true, true]",
        "[0, 0, 1, null]",
        "null",
        "0.5",
        '"0 0 1 1"',
        '{"x": 0, "y": 0, "w": 1, "h": 1}',
    ],
)
def test_value_that_is_not_four_finite_numbers_is_named_with_file_and_key(tmp_path, value):
    file = tmp_path / "0_0_bbox.json"
    file.write_text(f'{{"{KEY}": {value}}}')
    message = f"{file}: key '{KEY}': expected four finite numbers [x, y, w, h], got "
    with pytest.raises(InputError, match=re.escape(message)) as error:
        read_c2am(tmp_path)
    assert str(error.value).split("got ")[1]  # says what came


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"c/a": [0, 0, 1, 1], "c/b": [0, 0',
        b'{"c/a": [0, 0, 1, 1]} {"c/b": [0, 0, 1, 1]}',
        b"{'c/a': [0, 0, 1, 1]}",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=["empty", "cut", "two values", "python", "deep lists", "deep objects"],
)
def test_file_that_is_not_one_whole_json_value_is_named(tmp_path, content):
    file = tmp_path / "3_0_bbox.json"
    file.write_bytes(content)
    message = f"{file}: not a whole JSON value (.*expected an object .*x, y, w, h"
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        read_c2am(tmp_path)


def test_byte_order_mark_does_no_harm(tmp_path):
    (tmp_path / "3_0_bbox.json").write_bytes(b'\xef\xbb\xbf{"c/a": [0, 0, 1, 1]}')
    assert read_c2am(tmp_path)["c/a"].tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize(
    "content", ['{"c/é": [0, 0, 1, 1]}'.encode("latin-1"), '{"c/a": 1}'.encode("utf-16")]
)
def test_file_that_is_not_utf_8_is_named(tmp_path, content):
    (tmp_path / "3_0_bbox.json").write_bytes(content)
    with pytest.raises(InputError, match=r"3_0_bbox\.json: not UTF-8 text .*expected an object"):
        read_c2am(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["[]", "3", "null", "true", '"c/a"', '[["c/a", [0, 0, 1, 1]]]', '[{"c/a": [0, 0, 1, 1]}]'],
)
def test_json_that_is_not_an_object_is_named(tmp_path, content):
    file = tmp_path / "0_0_bbox.json"
    file.write_text(content)
    with pytest.raises(InputError, match=re.escape(f"{file}: expected an object {{")):
        read_c2am(tmp_path)


@pytest.mark.parametrize("key", ["a.jpg", "", "001.Wren/..", "../a.jpg", "001.Wren/../a.jpg"])
def test_key_without_class_folder_or_with_dots_in_it_is_an_error(tmp_path, write_c2am, key):
    folder = write_c2am(tmp_path, {key: [0, 0, 1, 1]})
    message = f"0_0_bbox.json: key {key!r}: expected a path .../<class>/<image>"
    with pytest.raises(InputError, match=re.escape(message)):
        read_c2am(folder)


def test_missing_folder_is_named(tmp_path):
    folder = tmp_path / "pseudo_boxes"
    with pytest.raises(MissingFileError, match=rf"{re.escape(str(folder))}: .*no such folder"):
        read_c2am(folder)


def test_folder_without_json_is_named(tmp_path):
    (tmp_path / "readme.txt").write_text("boxes go here")
    with pytest.raises(MissingFileError, match=rf"{re.escape(str(tmp_path))}: holds no \*\.json"):
        read_c2am(tmp_path)


def test_attached_boxes_are_in_pixels_of_each_image():
    boxes = {"c/a": np.array([[0.1, 0.2, 0.5, 1.0]]), "c/b": np.array([[0.25, 0.5, 0.75, 0.75]])}
    records = [record("c/a", 200, 50, 1), record("c/b", 40, 80, 2)]
    attached, _ = attach(records, PseudoBoxes.from_dict(boxes, "fraction", source="s"))
    # x · width, y · height
    np.testing.assert_allclose(attached[0].pseudo_boxes, [[20, 10, 100, 50]], rtol=1e-15)
    np.testing.assert_allclose(attached[1].pseudo_boxes, [[10, 40, 30, 60]], rtol=1e-15)
    assert [r.image_id for r in attached] == [1, 2]
    assert len(records[0].pseudo_boxes) == 0  # the given records stay as they were


def test_true_boxes_survive_attaching():
    one = ImageRecord(1, "f", 100, 50, key="c/a", class_id=4, gt_boxes=[[1, 2, 3, 4]])
    ((attached,), _) = attach(
        [one], PseudoBoxes.from_dict({"c/a": [0, 0, 1, 1]}, "fraction", source="s")
    )
    assert attached.gt_boxes.tolist() == [[1, 2, 3, 4]]
    assert attached.class_id == 4


def test_report_counts_matched_missing_and_surplus(tmp_path, write_c2am, caplog):
    folder = write_c2am(
        tmp_path,
        {
            "r/c/a": [0, 0, 1, 1],  # matched
            "r/c/b": [1 / 30, 1 / 30, 0, 0],  # nothing found: its image is missing
            "r/c/x": [0, 0, 1, 1],  # no such image
            "r/c/y": [0, 0, 1, 1],
        },
        {"r/c/x": [0, 0, 1, 1], "r/c/y": [0, 0, 1, 0.5]},  # repeated; conflicting
    )
    records = [record(f"c/{name}", image_id=i) for i, name in enumerate("abc")]
    with caplog.at_level(logging.INFO, logger="wend"):
        attached, report = attach(records, read_c2am(folder))
    assert [len(r.pseudo_boxes) for r in attached] == [1, 0, 0]
    counts = (report.matched, report.number("missing"), report.number("surplus"))
    assert counts == (1, 2, 2)
    assert (
        report.number("zero_area"),
        report.number("repeated"),
        report.number("conflicting"),
    ) == (1, 1, 1)
    assert str(folder) in caplog.text
    for title, number, first in (
        ("images matched", "1", "of 3"),
        ("images without a box", "2", "c/b, c/c"),
        ("images of the source that the data set lacks", "2", "c/x, c/y"),
        ("duplicates that agree, left out", "1", "c/x"),
        ("duplicates that disagree, the last one counts", "1", "c/y"),
        ("boxes of zero area (nothing found), left out", "1", "c/b"),
    ):
        (line,) = (line for line in caplog.text.splitlines() if line.startswith(title))
        assert line.removeprefix(title).split(maxsplit=1) == [number, first]


def test_a_join_that_has_nothing_to_tell_is_a_line(caplog):
    source = PseudoBoxes.from_dict({"c/a": [0, 0, 1, 0.5]}, "fraction", source="/boxes")
    with caplog.at_level(logging.INFO, logger="wend"):
        attach([record("c/a")], source)
    (said,) = (r.message for r in caplog.records if r.name == "wend.pseudo_boxes.join")
    assert said == "/boxes: boxes of all 1 images, 1.00 per image; none left out or changed"


def test_source_that_matches_no_image_is_an_error_with_an_example_of_each():
    source = PseudoBoxes.from_dict({"n01440764/x.JPEG": [0, 0, 1, 1]}, "fraction", source="/boxes")
    with pytest.raises(
        InputError,
        match=r"/boxes: none of its 1 images \(n01440764/x\.JPEG\).*data set's 1 \(c/a\)",
    ):
        attach([record("c/a")], source)
    with pytest.raises(InputError, match=r"/boxes: none of its 1 images .*data set's 0 "):
        attach([], source)


def test_images_that_share_class_folder_and_file_name_are_an_error():
    records = [record("c/a", image_id=1), record("c/a", image_id=2), record("c/b", image_id=3)]
    with pytest.raises(InputError, match="1 images share class folder and file name"):
        attach(records, PseudoBoxes.from_dict({"c/a": [0, 0, 1, 1]}, "fraction", source="s"))


def test_same_file_name_in_another_class_folder_is_not_a_match(tmp_path, write_c2am):
    folder = write_c2am(
        tmp_path, {"r/d/a": [0, 0, 1, 1], "r/cc/a": [0, 0, 1, 1], "c/b": [0, 0, 1, 1]}
    )
    attached, report = attach(
        [record("c/a", image_id=1), record("c/b", image_id=2)], read_c2am(folder)
    )
    assert [len(r.pseudo_boxes) for r in attached] == [0, 1]
    assert report.number("surplus") == 2
