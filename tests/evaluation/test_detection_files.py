"""Detections in files of every kind: what is written is read, classes and frames, and errors."""

import csv
import json
import re

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from wend.errors import InputError
from wend.evaluation.detections import load_detections, write_detections
from wend.formats.coco import load_coco
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

SUFFIXES = ("json", "csv", "parquet")


def images(ids=(7, 8, 9), class_ids=(0, 1, 2), size=(200, 100)):
    return DataSet.from_records(
        ImageRecord(i, f"c/{i}.jpg", *size, class_id=c, gt_boxes=[[0, 0, 50, 50]])
        for i, c in zip(ids, class_ids, strict=True)
    )


def detections(class_ids=None):
    boxes = [[[0, 0, 50, 50], [1.5, 2, 3, 4]], [], [[100, 20, 200, 100]]]
    return BoxTable.from_lists(boxes, [[0.1, 0.9], [], [0.5]], class_ids=class_ids)


def written(path, rows, names=("image_id", "x0", "y0", "x1", "y1", "score")):
    """Rows as CSV, Parquet or COCO results (x, y, w, h; the last name is a category)."""
    if path.suffix == ".csv":
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([names, *rows])
    elif path.suffix == ".parquet":
        parquet.write_table(pa.table(dict(zip(names, zip(*rows, strict=True), strict=True))), path)
    else:
        keys = ("image_id", "bbox", "score", "category_id")
        path.write_text(json.dumps([
            dict(zip(keys, (r[0], [r[1], r[2], r[3] - r[1], r[4] - r[2]], *r[5:]), strict=False))
            for r in rows
        ]))  # fmt: skip
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("ids", [(7, 8, 9), ("a/7", "a/8,x", 'a/"9"'), ("07", "8", "-9")])
@pytest.mark.parametrize("classes", [None, [[2, 0], [], [1]]])
def test_what_is_written_is_read(tmp_path, suffix, ids, classes):
    data_set, table = images(ids), detections(classes)
    path = tmp_path / f"detections.{suffix}"
    write_detections(path, data_set, table)
    choice = None if classes is None else "use"
    back, counts = load_detections(path, data_set, box_classes=choice)
    np.testing.assert_array_equal(back.offsets, table.offsets)
    np.testing.assert_array_equal(back.boxes, table.boxes)
    np.testing.assert_array_equal(back.scores, table.scores)
    if classes is not None:
        np.testing.assert_array_equal(back.class_ids, table.class_ids)
        assert counts["images_without_true_class"] == 1  # the last, of class 2
    assert counts["box_frame"] == "original"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("ids", [(7, 8, 9), ("a", "b", "c")])
def test_no_detections_are_written_and_read(tmp_path, suffix, ids):
    path = tmp_path / f"detections.{suffix}"
    write_detections(path, images(ids), BoxTable.from_lists([[]] * 3, [[]] * 3))
    assert load_detections(path, images(ids))[0].counts.tolist() == [0, 0, 0]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_ids_that_are_paths_find_their_images_whatever_their_root(tmp_path, suffix, caplog):
    data_set = images(("c/7.jpg", "c/8.jpg", "d/9.jpg"))
    ids = ["/data/val/c/7.jpg", "C:\\val\\c\\8.JPG", "d/9", "d/9"]
    rows = [(i, 0, 0, 5 + n, 5, 0.5) for n, i in enumerate(ids)]
    if suffix == "json":
        rows = [(*row, 1) for row in rows]
    with caplog.at_level("INFO", logger="wend"):
        table, _ = load_detections(written(tmp_path / f"d.{suffix}", rows), data_set)
    assert table.counts.tolist() == [1, 1, 2]
    assert "3 image_ids are not those of the ground truth but paths of its images" in caplog.text
    rows[1] = ("c/7.jpg", *rows[1][1:])
    with pytest.raises(InputError, match=r"2 image_ids mean the image 'c/7\.jpg' \('/data/val/c/7"):
        load_detections(written(tmp_path / f"d.{suffix}", rows), data_set)
    rows[1] = ("9.jpg/x", *rows[1][1:])
    with pytest.raises(InputError, match=r"1: image_id '9\.jpg/x' is not in the data set"):
        load_detections(written(tmp_path / f"d.{suffix}", rows), data_set)


def test_a_parquet_file_of_no_rows_needs_no_types(tmp_path):
    names = ("image_id", "x0", "y0", "x1", "y1", "score")
    parquet.write_table(pa.table({name: [] for name in names}), tmp_path / "d.parquet")
    assert load_detections(tmp_path / "d.parquet", images())[0].counts.tolist() == [0, 0, 0]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_boxes_in_a_frame_come_to_original_pixels_and_stay_as_they_are(tmp_path, suffix):
    # 200x100: 56 and 112 of the 224 squash are 50 and 100 of the width; the crop begins at 16
    path = written(tmp_path / f"d.{suffix}", [(7, 56, 0, 112, 224, 0.5), (9, 0, 0, 224, 224, 0.5)])
    table, counts = load_detections(path, images(), box_frame="squash224")
    assert table.boxes.tolist() == [[50, 0, 100, 100], [0, 0, 200, 100]]
    assert table.given.boxes.tolist() == [[56, 0, 112, 224], [0, 0, 224, 224]]
    assert (table.given.frame.name, counts["box_frame"]) == ("squash224", "squash224")
    assert counts["boxes_outside"] == 0
    table, _ = load_detections(path, images(), box_frame="crop224")
    assert table.boxes[1].tolist() == [200 / 16, 100 / 16, 200 * 15 / 16, 100 * 15 / 16]
    with pytest.raises(InputError, match="unknown frame of boxes '224'; there are: original"):
        load_detections(path, images(), box_frame="224")


def test_boxes_that_reach_out_of_their_image_are_cut_in_both_frames(tmp_path, caplog):
    path = written(tmp_path / "d.csv", [(7, 100, 100, 250, 200, 0.5), (8, 0, 0, 224, 224, 0.5)])
    table, counts = load_detections(path, images(), "clip", box_frame="crop224")
    assert counts["boxes_outside"] == 1
    # the image ends at 240 of the crop
    assert table.given.boxes[0].tolist() == [100, 100, 240, 200]
    assert table.boxes[0].tolist() == [116 / 256 * 200, 116 / 256 * 100, 200, 216 / 256 * 100]
    with pytest.raises(InputError, match="in the frame crop224"):
        load_detections(path, images(), "error", box_frame="crop224")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_several_classes_need_a_word_and_one_does_not(tmp_path, suffix):
    name = "category_id" if suffix == "json" else "class_id"
    names = ("image_id", "x0", "y0", "x1", "y1", "score", name)
    rows = [(7, 0, 0, 9, 9, 0.5, 0), (7, 0, 0, 8, 8, 0.4, 2), (8, 0, 0, 9, 9, 0.5, 5)]
    path = written(tmp_path / f"several.{suffix}", rows, names)
    message = rf"several.{suffix}: {name} has 3 values \(0, 2, 5\); say what .*--box-classes use"
    with pytest.raises(InputError, match=message):
        load_detections(path, images())
    assert load_detections(path, images(), box_classes="ignore")[0].class_ids is None
    table, counts = load_detections(path, images(), box_classes="use")
    assert table.class_ids.tolist() == [0, 2, 5]
    assert counts["images_without_true_class"] == 1
    alike = written(tmp_path / f"alike.{suffix}", [(*row[:6], 17) for row in rows], names)
    assert load_detections(alike, images())[0].class_ids is None
    without = written(tmp_path / f"without.{suffix}", [row[:6] for row in rows])
    assert load_detections(without, images())[0].counts.tolist() == [2, 1, 0]
    if suffix != "json":
        with pytest.raises(InputError, match="has no column class_id"):
            load_detections(without, images(), box_classes="use")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_classes_that_the_data_set_cannot_have_are_named(tmp_path, suffix, caplog):
    name = "category_id" if suffix == "json" else "class_id"
    names = ("image_id", "x0", "y0", "x1", "y1", "score", name)

    def read(*classes):
        rows = [(7, 0, 0, 9, 9 - i, 0.5, c) for i, c in enumerate(classes)]
        path = written(tmp_path / f"d.{suffix}", rows, names)
        return load_detections(path, images(), box_classes="use")[0].class_ids

    with pytest.raises(InputError, match=r"1 to 3, those of .* 0 to 2; are they counted from 1\?"):
        read(1, 3, 2)
    with pytest.raises(InputError, match=rf"1 \(image 7\): expected as {name} .*from 0, got -1"):
        read(0, -1)
    assert read(1, 2, 7).tolist() == [1, 2, 7]
    assert "1 of 3 boxes are of classes that no image of  has (7)" in caplog.text
    with pytest.raises(InputError, match=r"3 of 3 images have none"):
        load_detections(tmp_path / f"d.{suffix}", images(class_ids=[None] * 3), box_classes="use")


def test_categories_are_those_of_the_truths_coco_file(tmp_path):
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 9, "height": 9} for i in (1, 2)],
        "categories": [{"id": 18, "name": "dog"}, {"id": 17, "name": "cat"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": c, "bbox": [0, 0, 5, 5]}
            for i, c in ((1, 18), (2, 17))
        ],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    data_set = load_coco(tmp_path / "truth.json")
    assert data_set.category_ids == (17, 18)
    assert data_set.class_ids.tolist() == [1, 0]
    rows = [(1, 0, 0, 5, 5, 0.5, 18), (1, 0, 0, 4, 5, 0.4, 17), (2, 0, 0, 5, 5, 0.5, 17)]
    path = written(tmp_path / "d.json", rows)
    table, _ = load_detections(path, data_set, box_classes="use")
    assert table.class_ids.tolist() == [1, 0, 0]
    write_detections(tmp_path / "out.json", data_set, table)
    assert [row["category_id"] for row in json.loads((tmp_path / "out.json").read_text())] == [
        *(18, 17, 17)
    ]
    path = written(tmp_path / "d.json", [(1, 0, 0, 5, 5, 0.5, 3)])
    with pytest.raises(InputError, match=r"expected as category_id a category of .*17, 18.*got 3"):
        load_detections(path, data_set, box_classes="use")
    names = ("image_id", "x0", "y0", "x1", "y1", "score", "class_id")
    path = written(tmp_path / "d.csv", rows, names)
    with pytest.raises(InputError, match=r"boxes \(17, 18\) are ids of categories of truth.json"):
        load_detections(path, data_set, box_classes="use")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,x0,y0,x1,score\n7,0,0,1,1\n", r"has no column y1; expected image_id, x0"),
        ("image_id,x0,y0,x1,y1,score,x0\n7,0,0,1,1,1,0\n", r"each column once, got x0"),
        ("image_id,x0,y0,x1,y1,score\n7,0,0,1,1,\n", r"row 0: column score is empty"),
        ("image_id,x0,y0,x1,y1,score\n,0,0,1,1,1\n", r"row 0: column image_id is empty"),
        ("image_id,x0,y0,x1,y1,score\n7,0,0,1,b,1\n", r"not a CSV of detections .*'b'"),
        ("image_id,x0,y0,x1,y1,score\n7,0,0,1\n", r"not a CSV of detections .*Expected 6 columns"),
        ("image_id,x0,y0,x1,y1,score\n7,0,0,1,nan,1\n", r"row 0 .*is not four finite numbers"),
        ("image_id,x0,y0,x1,y1,score\n7,9,0,1,1,1\n", r"row 0 .*ends before it starts"),
        ("image_id,x0,y0,x1,y1,score\n07,0,0,1,1,1\n", r"image_id '07' is not in the data set"),
        ("image_id,x0,y0,x1,y1,score,class_id\n7,0,0,1,1,1,0.5\n", r"not a CSV .*'0.5'"),
        ("", r"not a CSV of detections .*[Ee]mpty"),
        ("image_id;x0;y0;x1;y1;score\n7;0;0;1;1;1\n", r"has no column image_id, x0"),
    ],
)
def test_a_csv_that_is_none_of_detections_says_why(tmp_path, text, message):
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "d.csv")) + ".*" + message):
        load_detections(tmp_path / "d.csv", images())


def test_a_csv_may_have_further_columns_a_byte_order_mark_and_any_order(tmp_path):
    text = "\ufeffscore,note,y1,x1,y0,x0,image_id\r\n0.5,a b,4,3,2,1,8\r\n"
    (tmp_path / "d.csv").write_bytes(text.encode())
    table, _ = load_detections(tmp_path / "d.csv", images())
    assert table.counts.tolist() == [0, 1, 0]
    assert table.boxes.tolist() == [[1, 2, 3, 4]]


def test_a_parquet_column_that_stands_twice_and_classes_that_are_no_numbers_are_named(tmp_path):
    names = ["image_id", "x0", "y0", "x1", "y1", "score"]
    columns = [pa.array([7]), *(pa.array([float(i)]) for i in range(5))]
    twice = pa.Table.from_arrays([*columns, columns[1]], names=[*names, "x0"])
    parquet.write_table(twice, tmp_path / "d.parquet")
    with pytest.raises(InputError, match="each column once, got x0 more than once"):
        load_detections(tmp_path / "d.parquet", images())
    classes = pa.Table.from_arrays([*columns, pa.array([0.5])], names=[*names, "class_id"])
    parquet.write_table(classes, tmp_path / "d.parquet")
    with pytest.raises(InputError, match="column class_id is of type double, expected whole"):
        load_detections(tmp_path / "d.parquet", images())
