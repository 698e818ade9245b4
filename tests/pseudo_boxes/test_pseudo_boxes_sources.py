"""Readers of PSOL's, COCO's, wsolevaluation's, CSV and Parquet files, and the user's own."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from pyarrow import csv, parquet

from wend.errors import ImplausibleError, InputError, MissingFileError
from wend.pseudo_boxes import PseudoBoxes, attach_pseudo_boxes, box_source, read_boxes
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

pytestmark = pytest.mark.usefixtures("own_registries")
DOCS = Path(__file__).resolve().parents[2] / "docs/pseudo_boxes.md"


def write(path: Path, value: object) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def as_dict(found: PseudoBoxes) -> dict[str, list]:
    return {key: boxes.tolist() for key, boxes in zip(found.keys, found.table, strict=True)}


# ---- PSOL ----


def test_psol_reads_the_boxes_of_each_class_and_not_the_projections(tmp_path, caplog):
    caplog.set_level("INFO", logger="wend")
    write(tmp_path / "n01_bbox.json", {"/d/train/n01/n01_1.JPEG": [0, 0.5, 0.25, 0.5]})
    write(tmp_path / "n02_bbox.json", {"n02/train/n02/n02_1.JPEG": [0, 0, 1, 1]})
    write(tmp_path / "n01_trans.json", {"mean_matrix": [1.0], "trans_matrix": [[2.0]]})
    found = read_boxes({"source": "psol", "path": tmp_path})
    assert as_dict(found) == {
        "n01/n01_1.JPEG": [[0, 0.5, 0.25, 1]],
        "n02/n02_1.JPEG": [[0, 0, 1, 1]],
    }
    assert found.frame == "fraction"
    assert "2 *_bbox.json, 1 *_trans.json not read" in caplog.text


def test_psol_folder_with_only_projections_says_what_they_are(tmp_path):
    write(tmp_path / "n01_trans.json", {})
    message = "holds no <class>_bbox.json, only 1 <class>_trans.json, which are DDT's projections"
    with pytest.raises(MissingFileError, match=re.escape(message)):
        read_boxes({"source": "psol", "path": tmp_path})


# ---- COCO ----

IMAGES = [
    {"id": 7, "file_name": "n01/a b.JPEG", "width": 200, "height": 100},
    {"id": 3, "file_name": "n02/c.JPEG", "width": 50, "height": 50},
    {"id": 9, "file_name": "n02/none.JPEG", "width": 50, "height": 50},
]


def row(image_id, bbox, **more):
    return {"image_id": image_id, "category_id": 1, "bbox": bbox, **more}


def test_coco_boxes_are_fractions_of_the_stated_size_best_first(tmp_path):
    rows = [row(3, [5, 5, 10, 20], score=0.5), row(7, [20, 10, 100, 50], score=0.25)]
    rows += [row(7, [0, 0, 50, 100], score=0.75), row(3, [5, 5, 10, 20], score=0.25)]
    path = write(tmp_path / "m.json", {"images": IMAGES, "annotations": rows})
    found = read_boxes({"source": "coco", "path": path})
    assert as_dict(found) == {
        "n01/a b.JPEG": [[0, 0, 0.25, 1], [0.1, 0.1, 0.6, 0.6]],
        "n02/c.JPEG": [[0.1, 0.1, 0.3, 0.5]],
    }
    assert found.table.scores.tolist() == [0.75, 0.25, 0.5]
    assert found.counts["repeated"].number == 1
    # the file is twice as large as the JSON says: 200x100 -> 400x200
    record = ImageRecord(1, "/x/n01/a b.JPEG", 400, 200)
    ((attached,), report) = attach_pseudo_boxes(DataSet.from_records([record]), found)
    np.testing.assert_allclose(attached.pseudo_boxes, [[0, 0, 100, 200], [40, 20, 240, 120]])
    assert report.number("other_shape") == 0
    turned = DataSet.from_records([ImageRecord(1, "n01/a b.JPEG", 200, 400)])
    _, report = attach_pseudo_boxes(turned, found)
    assert report.counts["other_shape"].examples == ("n01/a b.JPEG",)


def test_exchanged_sizes_of_many_images_are_an_error_and_of_one_a_count(tmp_path):
    images = [
        {"id": i, "file_name": f"{i}.jpg", "width": 75 if i < 3 else 100, "height": 100}
        for i in range(20)
    ]
    rows = [row(i, [5, 5, 50, 50]) for i in range(20)]
    path = write(tmp_path / "m.json", {"images": images, "annotations": rows})
    boxes = read_boxes({"source": "coco", "path": path})
    real = [ImageRecord(i, f"{i}.jpg", 400 if i < 3 else 300, 300) for i in range(20)]
    message = r"3 of 20 images .* exchanged, such as 75 x 100 .* '0\.jpg' \(400 x 300 .*exif: apply"
    with pytest.raises(ImplausibleError, match=message):
        attach_pseudo_boxes(DataSet.from_records(real), boxes)
    _, report = attach_pseudo_boxes(DataSet.from_records(real), replace(boxes, implausible="count"))
    assert report.number("other_shape") == 3
    attach_pseudo_boxes(DataSet.from_records(real[2:]), boxes)  # one of 18


def test_a_source_without_boxes_is_said_to_have_none(tmp_path):
    rows = [row(7, [20, 10, 100, 50], iscrowd=1, score=1), row(7, [20, 10, 100, 50], score=0)]
    path = write(tmp_path / "m.json", {"images": IMAGES, "annotations": rows})
    boxes = read_boxes({"source": "coco", "path": path, "min_score": 0.5})
    record = ImageRecord(1, "n01/a b.JPEG", 200, 100)
    message = r"m\.json: holds no box that is not left out \(crowd: 1, below_min_score: 1\)"
    with pytest.raises(InputError, match=message):
        attach_pseudo_boxes(DataSet.from_records([record]), boxes)


def test_coco_results_need_their_images_unless_ids_are_paths(tmp_path):
    results = write(tmp_path / "r.json", [row(7, [20, 10, 100, 50], score=0.5)])
    with pytest.raises(InputError, match=r"r\.json: its image_id are numbers; name the COCO JSON"):
        read_boxes({"source": "coco", "path": results})
    write(tmp_path / "i.json", {"images": IMAGES})
    spec = {"source": "coco", "path": "r.json", "images": "./i.json"}
    found = read_boxes(spec, base=tmp_path, root=tmp_path)
    assert as_dict(found) == {"n01/a b.JPEG": [[0.1, 0.1, 0.6, 0.6]]}
    named = write(tmp_path / "n.json", [row("val/x.JPEG", [20, 10, 100, 50])])
    found = read_boxes({"source": "coco", "path": named})
    assert (found.frame, as_dict(found)) == ("pixel", {"val/x.JPEG": [[20, 10, 120, 60]]})
    assert found.table.scores is None


def test_coco_of_several_categories_asks_for_one(tmp_path):
    rows = [row(7, [0, 0, 9, 9]), {**row(3, [0, 0, 9, 9]), "category_id": 5}]
    path = write(tmp_path / "m.json", {"images": IMAGES, "annotations": rows})
    with pytest.raises(InputError, match=r"2 categories \(1, 5\).*category_id: all"):
        read_boxes({"source": "coco", "path": path})
    assert len(read_boxes({"source": "coco", "path": path, "category_id": "all"})) == 2
    for no_category in (9, "5"):
        with pytest.raises(
            InputError, match=rf"category_id {no_category!r}: no box .* are of 1, 5"
        ):
            read_boxes({"source": "coco", "path": path, "category_id": no_category})
    assert list(read_boxes({"source": "coco", "path": path, "category_id": 5}).keys) == [
        "n02/c.JPEG"
    ]


def test_best_few_and_scores_above_a_limit_are_counted(tmp_path):
    rows = [row(7, [0, 0, 9, 9 + i], score=i / 8) for i in range(8)] + [
        row(3, [0, 0, 9, 9], score=0)
    ]
    path = write(tmp_path / "m.json", {"images": IMAGES, "annotations": rows})
    found = read_boxes({"source": "coco", "path": path, "min_score": 0.25, "max_boxes": 2})
    assert found.table.scores.tolist() == [7 / 8, 6 / 8]
    assert list(found.keys) == ["n01/a b.JPEG"]
    assert found.counts["below_min_score"].number == 3  # 0, 1/8 and the other image's
    assert found.counts["beyond_max_boxes"].number == 4
    with pytest.raises(InputError, match="max_boxes must be a number from 1, got 0"):
        read_boxes({"source": "coco", "path": path, "max_boxes": 0})


@pytest.mark.parametrize(
    ("images", "rows", "said"),
    [
        (
            [{"id": 1, "file_name": "../a/../b.jpg"}],
            [],
            "images[0]: file_name: expected an image's",
        ),
        (
            [IMAGES[0], {"id": 1, "file_name": "b"}],
            [],
            "images[1]: expected width and height > 0, as other",
        ),
        (
            [IMAGES[0], {**IMAGES[0], "id": 9}],
            [],
            "images[1]: expected a file_name that no other image has (images[0] has it)",
        ),
        (
            IMAGES,
            [row(3, [0, 0, 9, 9], score=1), row(7, [0, 0, 9, 9])],
            'annotations[1]: expected "score"',
        ),
    ],
)
def test_coco_entry_that_is_wrong_is_named(tmp_path, images, rows, said):
    path = write(tmp_path / "m.json", {"images": images, "annotations": rows})
    with pytest.raises(InputError, match=re.escape(said)) as error:
        read_boxes({"source": "coco", "path": path})
    assert str(path) in str(error.value)


def test_coco_that_is_cut_off_is_named(tmp_path):
    path = write(tmp_path / "m.json", '{"images": [')
    with pytest.raises(InputError, match=r"m\.json: not a whole JSON value"):
        read_boxes({"source": "coco", "path": path})


# ---- tables ----


def test_localization_lines_are_pixels_and_several_boxes_stay(tmp_path):
    write(
        tmp_path / "localization.txt",
        "val/a,b.JPEG,1,2,30,40\nval/c.JPEG,0,0,0,0\nval/a,b.JPEG,5,5,9,9\n",
    )
    found = read_boxes({"source": "localization", "path": tmp_path})
    assert as_dict(found) == {"val/a,b.JPEG": [[1, 2, 30, 40], [5, 5, 9, 9]]}
    assert (found.frame, found.counts["zero_area"].examples) == ("pixel", ("val/c.JPEG",))
    write(tmp_path / "localization.txt", "val/a.JPEG,1,2,30\n")
    with pytest.raises(InputError, match="line 1: expected '<image id>,<x0>"):
        read_boxes({"source": "localization", "path": tmp_path})


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_named_columns_of_csv_and_parquet(tmp_path, kind):
    table = {"file": ["c/b.jpg", 'c/"a", é.jpg', "c/b.jpg"], "left": [1.0, 2, 3], "top": [1, 2, 3]}
    table |= {
        "w": [10, 20, 30.0],
        "h": [10.0, 20, 30],
        "conf": [0.1, 0.2, 0.3],
        "note": ["", "x", "y"],
    }
    path = tmp_path / f"boxes.{kind}"
    if kind == "parquet":
        parquet.write_table(pa.table(table), path)
    else:
        csv.write_csv(pa.table(table), path)
    columns = {"image": "file", "x": "left", "y": "top", "score": "conf"}
    found = read_boxes({"source": kind, "path": path, "columns": columns})
    assert as_dict(found) == {
        "c/b.jpg": [[3, 3, 33, 33], [1, 1, 11, 11]],  # best first
        'c/"a", é.jpg': [[2, 2, 22, 22]],
    }
    assert found.table.scores.tolist() == [0.3, 0.1, 0.2]
    with pytest.raises(
        InputError, match=r"expected the columns file, x0, y0, x1, y1; the file has"
    ):
        read_boxes({"source": kind, "path": path, "columns": {"image": "file"}})
    with pytest.raises(InputError, match="columns: expected names for some of image, x0"):
        read_boxes({"source": kind, "path": path, "columns": {"img": "file"}})


def test_csv_of_fractions_and_what_is_wrong_in_one(tmp_path):
    path = write(tmp_path / "b.csv", "image,x0,y0,x1,y1\nc/a.jpg,0.1,0.2,0.5,0.8\n")
    found = read_boxes({"source": "csv", "path": path, "frame": "fraction"})
    assert as_dict(found) == {"c/a.jpg": [[0.1, 0.2, 0.5, 0.8]]}
    as_pixels = read_boxes({"source": "csv", "path": path})
    data_set = DataSet.from_records([ImageRecord(1, "c/a.jpg", 400, 200)])
    with pytest.raises(InputError, match=r"1 of 1 boxes lie within 0\.\.1.*frame: fraction"):
        attach_pseudo_boxes(data_set, as_pixels)
    counted, report = attach_pseudo_boxes(data_set, as_pixels, implausible="count")
    assert counted.pseudo_boxes[0].tolist() == [[0.1, 0.2, 0.5, 0.8]]
    assert [finding.kind for finding in report.implausible] == ["fractions"]
    said_so = read_boxes({"source": "csv", "path": path, "implausible": "count"})
    assert len(attach_pseudo_boxes(data_set, said_so)[0].pseudo_boxes.boxes) == 1
    with pytest.raises(InputError, match="implausible: expected one of error, count, got 'no'"):
        read_boxes({"source": "csv", "path": path, "implausible": "no"})
    with pytest.raises(InputError, match=r"frame must be one of .*'fractions'"):
        read_boxes({"source": "csv", "path": path, "frame": "fractions"})
    for text, said in (
        ("c/a.jpg,1,2,3,\n", "column 'y1' has no value in row 1"),
        ("c/a.jpg,1,2,3,x\n", "cannot be read as CSV .*Row #2: .*'x'"),
        ("c/a.jpg,1,2,3\n", "cannot be read as CSV .*Expected 5 columns"),
        ("c/a.jpg,9,2,3,4\n", r"c/a\.jpg: box .* ends before it starts; are the last two width"),
        ("c/../../a.jpg,1,2,3,4\n", r"expected an image's path without '\.\.'"),
        ("c/a.jpg,1,2,3,nan\n", "not four finite numbers|has no value"),
    ):
        write(path, "image,x0,y0,x1,y1\n" + text)
        with pytest.raises(InputError, match=said) as error:
            read_boxes({"source": "csv", "path": path})
        assert str(path) in str(error.value)
    write(path, "image,x0,y0,x1,y1\nc/a.jpg,100,200,300,400\n")
    with pytest.raises(InputError, match=r"c/a\.jpg: .* far outside 0\.\.1 .*frame: pixel"):
        read_boxes({"source": "csv", "path": path, "frame": "fraction"})


# ---- the registry ----


def test_unknown_source_names_the_known_and_the_nearest(tmp_path):
    with pytest.raises(
        InputError,
        match=r"unknown box source 'c2an'\. Did you mean 'c2am'\? Known: autodistill, c2am",
    ):
        read_boxes({"source": "c2an", "path": tmp_path})
    with pytest.raises(
        InputError, match=r"unexpected keyword argument 'colums'.*columns, frame, path"
    ):
        read_boxes({"source": "csv", "path": tmp_path, "colums": {}})
    with pytest.raises(InputError, match="expected source and path, such as"):
        read_boxes({"source": "csv"})


def test_a_name_is_taken_once():
    with pytest.raises(InputError, match="box source 'c2am' is registered already"):
        box_source("c2am")(lambda path: None)


def test_own_function_that_is_missing_or_returns_something_else(tmp_path):
    write(tmp_path / "mine.py", "def read_mine(path):\n    return {'c/a': [0, 0, 1, 1]}\n")
    for source, said in (
        ("./mine.py:read_mine", "the function returned dict; return PseudoBoxes.from_dict("),
        ("./mine.py:other", "there is no 'other' in ./mine.py; it has: read_mine"),
        ("./yours.py:read", "yours.py: there is no such file; expected Python code of yours"),
        (
            "no_such_module:read",
            "there is no module 'no_such_module'; write a file as ./no_such_module.py",
        ),
    ):
        with pytest.raises(InputError, match=re.escape(said)):
            read_boxes({"source": source, "path": "x"}, base=tmp_path)


def test_own_function_that_fails_shows_its_code_and_none_of_ours(tmp_path):
    write(tmp_path / "mine.py", "def read_mine(path):\n    return {}['gone']\n")
    with pytest.raises(
        InputError, match=r"'\./mine\.py:read_mine' failed on .*x; its own"
    ) as error:
        read_boxes({"source": "./mine.py:read_mine", "path": "x"}, base=tmp_path)
    assert str(error.value).endswith("KeyError: 'gone'")
    assert "registry.py" not in str(error.value)


def test_importable_module_as_a_source(tmp_path, monkeypatch):
    write(
        tmp_path / "wend_test_source.py",
        "from wend.pseudo_boxes import PseudoBoxes\n"
        "def read(path, factor=1):\n"
        "    return PseudoBoxes.from_dict({'c/a': [0, 0, 2 * factor, 3]}, 'pixel')\n",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = read_boxes({"source": "wend_test_source:read", "path": "x", "factor": 5})
    assert as_dict(found) == {"c/a": [[0, 0, 10, 3]]}
    sys.modules.pop("wend_test_source")


def test_the_example_of_the_docs_is_a_source(tmp_path):
    """Its own code, its own YAML and its own file, taken out of docs/pseudo_boxes.md."""
    text = DOCS.read_text(encoding="utf-8").split("## A source of your own")[1]
    blocks = dict(re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL))
    assert sum(1 for line in blocks["python"].splitlines() if line) <= 10
    write(tmp_path / "my_source.py", blocks["python"])
    (tmp_path / "boxes").mkdir()
    write(tmp_path / "boxes/birds.txt", blocks["text"])
    spec = yaml.safe_load(blocks["yaml"])["pseudo_boxes"]
    found = read_boxes(spec, base=tmp_path, root=tmp_path / "boxes")
    assert as_dict(found) == {
        "home/me/photos/wrens/wren 1.jpg": [[10, 20, 110, 80], [5, 5, 30, 40]],
        "home/me/photos/gulls/gull_7.jpg": [[0, 12, 64, 60]],
    }
    assert found.strict == ["conflicting", "outside"]
    records = [ImageRecord(1, "/photos/wrens/wren 1.jpg", 120, 90)]
    ((attached,), report) = attach_pseudo_boxes(DataSet.from_records(records), found)
    assert attached.pseudo_boxes.tolist() == [[10, 20, 110, 80], [5, 5, 30, 40]]
    assert report.number("surplus") == 1
