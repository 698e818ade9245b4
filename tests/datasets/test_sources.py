"""Ground truth, wsolevaluation's lists, detections: from files, and bad ones."""

import hashlib
import json
import logging
import struct

import numpy as np
import pytest
from reference import read_metadata

from wend.datasets.catalog import DataSets
from wend.datasets.ground_truth import check_truth, load_source
from wend.errors import InputError, MissingFileError
from wend.evaluation.detections import load_detections, write_detections
from wend.evaluation.score_files import truth_entry, truth_sha256
from wend.files import write_json
from wend.formats.coco import load_coco, records_to_coco
from wend.formats.wsoleval import load_wsoleval
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

RECORDS = [
    ImageRecord(1, "c/a.jpg", 500, 400, class_id=3, gt_boxes=[[10, 5, 40, 45], [50, 0, 100, 50]]),
    ImageRecord(7, "c/b.jpg", 600, 480, class_id=0, gt_boxes=[[0, 0, 600, 480]]),
]
DATA_SET = DataSet.from_records(RECORDS, "truth")
BOXES = BoxTable.from_lists([[[1, 2, 300, 4.5], [3, 3, 9, 9]], []], [[0.9, 0.5], []])


def write_lists(folder, **changes):
    lists = {
        "image_ids": "v/a.jpg\nv/b,b.jpg\n",
        "class_labels": "v/a.jpg,3\nv/b,b.jpg,0\n",
        "image_sizes": "v/b,b.jpg,600,480\nv/a.jpg,500,400\n",
        "localization": "v/a.jpg,1,2,3,4\nv/b,b.jpg,0,0,600,480\nv/a.jpg,5,6,7,8.5\n",
    }
    folder.mkdir()
    for name, text in {**lists, **changes}.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def test_wsolevaluation_lists_become_records(tmp_path):
    a, b = load_wsoleval(write_lists(tmp_path / "m"))
    assert (a.image_id, a.width, a.height, a.class_id) == ("v/a.jpg", 500, 400, 3)
    assert a.gt_boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8.5]]
    assert (b.image_id, b.width, b.height, b.class_id) == ("v/b,b.jpg", 600, 480, 0)


def test_lists_of_masks_are_no_truth_of_boxes(tmp_path):
    folder = write_lists(tmp_path / "m", localization="v/a.jpg,v/a_m.png,\n")
    with pytest.raises(InputError, match=r"m: holds masks, not boxes; is it OpenImages' folder"):
        load_wsoleval(folder)


@pytest.mark.parametrize("name", ["image_sizes", "localization"])
def test_a_missing_list_is_named(tmp_path, name):
    folder = write_lists(tmp_path / "m")
    (folder / f"{name}.txt").unlink()
    with pytest.raises(MissingFileError, match=rf"{name}\.txt: there is no such file"):
        load_wsoleval(folder)


@pytest.mark.parametrize("data", ["CUB/test", "ILSVRC/test"])
def test_the_real_lists_hold_what_a_second_reader_finds(shared, data):
    folder = shared / "data/wsol_metadata" / data
    expected = read_metadata(folder)
    records = load_wsoleval(folder)
    assert len(records) == len(expected)
    for record, image in zip(records[::50], expected[::50], strict=True):
        assert record.image_id == image["image_id"]
        assert (record.width, record.height) == (image["width"], image["height"])
        assert record.class_id == image["class_id"]
        assert record.gt_boxes.tolist() == image["gt_boxes"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_ids": "v/a.jpg\nv/a.jpg\n"}, r"image_ids\.txt: several lines for 1 images \(v/a"),
        ({"image_ids": ""}, r"image_ids\.txt: is empty"),
        ({"image_sizes": "v/a.jpg,500,400\n"}, r"image_sizes\.txt: no line for 1 images \(v/b,b"),
        ({"image_sizes": "v/a.jpg,500\n"}, r"image_sizes\.txt, line 1: expected '<image id>,<wid"),
        ({"class_labels": "v/a.jpg,x\n"}, r"class_labels\.txt, line 1"),
        ({"class_labels": "v/a.jpg,-1\nv/b,b.jpg,0\n"}, r"image v/a\.jpg: expected class from 0"),
        ({"localization": "v/z.jpg,1,2,3,4\n"}, r"localization\.txt: 1 lines are of images that"),
        ({"localization": "v/a.jpg,1,2,nan,4\n"}, r"localization\.txt, line 1"),
        ({"localization": "v/a.jpg,9,2,3,4\n"}, r"image v/a\.jpg: box .* ends before it starts"),
    ],
)
def test_wrong_lists_are_named(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        load_wsoleval(write_lists(tmp_path / "m", **changes))


def test_truth_without_boxes_is_named_before_scoring(tmp_path):
    source = load_source(
        str(write_lists(tmp_path / "m", localization="v/a.jpg,1,2,3,4\n")), DataSets()
    )
    with pytest.raises(InputError, match=r"1 of 2 images have no true box \(v/b,b\.jpg\)"):
        check_truth(source)


def test_coco_truth_is_read_as_it_was_written(tmp_path):
    write_json(tmp_path / "t.json", records_to_coco(RECORDS))
    source = load_source(str(tmp_path / "t.json"), DataSets())
    assert source.name == "t.json"
    hashes = truth_entry(source)["sha256"]
    assert hashes.keys() == {"t.json", "records"}
    assert hashes["records"] == truth_sha256(DataSet.from_records(RECORDS))
    assert hashes["records"] != truth_sha256(DataSet.from_records(RECORDS[:1]))


def test_the_digest_of_truth_is_that_of_the_rows_as_json_and_of_the_boxes_bytes():
    """It stands in result files of earlier versions, which are compared with new ones."""
    heads = [[1, 500, 400, 3, 2], [7, 600, 480, 0, 1]]
    digest = hashlib.sha256(json.dumps(heads).encode())
    digest.update(struct.pack("<12d", 10, 5, 40, 45, 50, 0, 100, 50, 0, 0, 600, 480))
    assert truth_sha256(DataSet.from_records(RECORDS)) == digest.hexdigest()
    names = [ImageRecord("v/a.jpg", "v/a.jpg", 5, 4)]  # without class and box
    expected = hashlib.sha256(b'[["v/a.jpg", 5, 4, null, 0]]').hexdigest()
    assert truth_sha256(DataSet.from_records(names)) == expected


def test_classes_of_a_coco_file_with_several_categories(tmp_path):
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 9, "height": 9} for i in (1, 2, 3)]
    pairs = [(1, 30), (1, 30), (2, 10), (2, 30), (3, 10)]
    annotations = [{"image_id": i, "category_id": c, "bbox": [0, 0, 1, 1]} for i, c in pairs]
    content = {"images": images, "annotations": annotations}
    write_json(tmp_path / "t.json", {**content, "categories": [{"id": 30}, {"id": 10}]})
    # 10 and 30 are classes 0 and 1; image 2 has boxes of both, so none
    assert [r.class_id for r in load_coco(tmp_path / "t.json")] == [1, None, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["images"][0].pop("width"), r"images\[0\]: expected width and height as whole"),
        (lambda c: c["images"][0].update(height=9.5), r"images\[0\]: expected width and height"),
        (lambda c: c["images"][0].update(class_id=-1), r'images\[0\]: expected "class_id": '),
        (lambda c: c["categories"].append({"id": 1}), r"entry categories: .* got \[1, 1\]"),
        (lambda c: c["categories"].append({"id": "2"}), r'categories\[1\]: expected "id"'),
        (
            lambda c: c.pop("annotations"),
            r"expected a COCO data set .* got an object without the list annotations",
        ),
    ],
)
def test_wrong_coco_truth_is_named(tmp_path, change, message):
    content = records_to_coco(RECORDS)
    change(content)
    write_json(tmp_path / "t.json", content)
    with pytest.raises(InputError, match=message):
        load_coco(tmp_path / "t.json")


@pytest.mark.parametrize("name", ["no/such/place", "nothing.json"])
def test_a_source_that_is_not_there_is_named(name):
    with pytest.raises(MissingFileError, match="expected a COCO JSON, a wsolevaluation"):
        load_source(name, DataSets())


def test_an_unknown_data_set_is_named_with_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'cub_test'"):
        load_source("cub_tset", DataSets())


@pytest.mark.parametrize("suffix", ["json", "parquet"])
def test_detections_come_back_as_they_were_written(tmp_path, suffix):
    write_detections(tmp_path / f"d.{suffix}", DATA_SET, BOXES)
    detections, counts = load_detections(tmp_path / f"d.{suffix}", DATA_SET)
    for name in ("offsets", "boxes", "scores"):
        np.testing.assert_array_equal(getattr(detections, name), getattr(BOXES, name))
    assert (counts["rows"], counts["images_without_detections"]) == (2, 1)


def test_csv_has_a_row_for_each_box(tmp_path):
    write_detections(tmp_path / "d.csv", DATA_SET, BOXES)
    rows = (tmp_path / "d.csv").read_text().splitlines()
    assert rows == [
        "image_id,x0,y0,x1,y1,score",
        "1,1.0,2.0,300.0,4.5,0.9",
        "1,3.0,3.0,9.0,9.0,0.5",
    ]


def row(image_id=1, box=(1, 2, 300, 4), score=0.5):
    return {"image_id": image_id, "category_id": 1, "bbox": [float(x) for x in box], "score": score}


def load(tmp_path, rows, **more):
    (tmp_path / "d.json").write_text(json.dumps(rows))
    return load_detections(tmp_path / "d.json", DATA_SET, **more)


def test_boxes_outside_are_counted_clipped_or_refused(tmp_path, caplog):
    rows = [row(box=(490, 0, 20, 30)), row(7)]  # ends at 510 in an image 500 wide
    detections, counts = load(tmp_path, rows)
    assert counts["boxes_outside"] == 1
    assert detections[0].tolist() == [[490, 0, 510, 30]]
    assert not caplog.text  # the tables say how many: SCR's boxes may reach out
    detections, counts = load(tmp_path, rows, outside="clip")
    assert (counts["boxes_outside"], counts["outside"]) == (1, "clip")
    assert detections[0].tolist() == [[490, 0, 500, 30]]
    with pytest.raises(InputError, match=r"entry 0 \(image 1\): box .* reaches out of its image"):
        load(tmp_path, rows, outside="error")


def test_images_without_rows_are_misses_and_said(tmp_path, caplog):
    detections, counts = load(tmp_path, [])
    assert detections.counts.tolist() == [0, 0]
    assert counts["images_without_detections"] == 2
    assert "2 of 2 images have no detection (1, 7); each is scored as a miss" in caplog.text


def test_copies_are_counted_and_a_file_written_twice_is_refused(tmp_path, caplog):
    rows = [row(), row(score=0.4), row(), row(7)]
    _, counts = load(tmp_path, rows)
    assert counts["duplicate_rows"] == 1
    assert "1 of 4 rows repeat" in caplog.text
    with pytest.raises(InputError, match=r"d\.json: 4 of 8 rows repeat .* written or joined twice"):
        load(tmp_path, [row(), row(score=0.4), row(7), row(7, score=0.1)] * 2)


@pytest.mark.parametrize(("scale", "said"), [(224, "224 crop"), (1, "fractions of the image")])
def test_boxes_of_another_frame_are_a_warning_with_its_cause(tmp_path, caplog, scale, said):
    load(
        tmp_path,
        [row(box=np.array([0, 0, 1, 1]) * scale), row(7, np.array([0, 0, 0.5, 1]) * scale)],
    )
    assert f"look like {'pixels of a ' if scale > 1 else ''}{said}" in caplog.text


def test_boxes_of_original_pixels_are_no_warning(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    load(tmp_path, [row(), row(7)])
    assert caplog.text == ""


def test_an_id_that_is_a_file_name_is_explained(tmp_path):
    with pytest.raises(InputError, match=r"image_id 'c/b\.jpg' .* has the id 7"):
        load(tmp_path, [row(), row("c/b.jpg")])


def test_ids_of_truth_are_numbers_or_text_not_both(tmp_path):
    records = [ImageRecord(i, f"{i!r}.jpg", 5, 5, gt_boxes=[[0, 0, 1, 1]]) for i in (1, "1")]
    with pytest.raises(InputError, match=r"all numbers or all text, got 1, '1'"):
        check_truth(DataSet.from_records(records))
    write_json(tmp_path / "t.json", records_to_coco(records))
    with pytest.raises(InputError, match=r"images\[1\]: expected ids that are all numbers or all"):
        load_source(str(tmp_path / "t.json"), DataSets())
    for image_id in (2**63, -(2**63) - 1, 1.0, (1,), None, True, "a\ud800"):
        record = ImageRecord(image_id, "a.jpg", 5, 5, gt_boxes=[[0, 0, 1, 1]])
        with pytest.raises(
            InputError, match=r"expected ids .* from -2.63 to 2.63 - 1, or text, got"
        ):
            check_truth(DataSet.from_records([record]))


def test_a_missing_score_is_named(tmp_path):
    rows = [row(), row(7)]
    del rows[1]["score"]
    with pytest.raises(
        InputError, match=r'd\.json, entry 1: expected "score": a finite number .is it a ground'
    ):
        load(tmp_path, rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": None}, r"d\.parquet: has no column score"),
        ({"image_id": None}, r"d\.parquet: has no column image_id"),
        ({"image_id": [1.0, 7.0]}, r"image_id is of type double, expected whole numbers or text"),
        ({"image_id": [[1], [7]]}, r"image_id is of type list.*, expected whole numbers or text"),
        ({"score": [0.5, None]}, r"d\.parquet, row 1: column score is empty"),
        ({"x0": [0.0, float("nan")]}, r"row 1 \(image 7\): box \[nan, .* not four finite"),
        ({"x1": [5.0, -5.0]}, r"row 1 \(image 7\): box .* ends before it starts"),
        ({"image_id": [1, 8]}, r"row 1: image_id 8 is not in the data set"),
        ({"image_id": ["1", "7"]}, r"row 0: image_id '1' is not in .* has the id 1"),
        ({"score": ["a", "b"]}, r"column score is of type string"),
        ({"width": [500, 99], "height": [400, 99]}, r"row 1 \(image 7\): is of an image of \[99"),
    ],
)
def test_wrong_parquet_is_named(tmp_path, change, message):
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"image_id": [1, 7], **{c: [0.0, 1.0] for c in ("x0", "y0")}}
    columns |= {"x1": [300.0, 9.0], "y1": [9.0, 9.0], "score": [0.5, 0.6], **change}
    table = pa.table({name: column for name, column in columns.items() if column is not None})
    pq.write_table(table, tmp_path / "d.parquet")
    with pytest.raises(InputError, match=message):
        load_detections(tmp_path / "d.parquet", DATA_SET)


def test_cut_parquet_and_other_endings_are_named(tmp_path):
    (tmp_path / "d.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match="not a whole Parquet file"):
        load_detections(tmp_path / "d.parquet", DATA_SET)
    with pytest.raises(InputError, match="expected detections as COCO results"):
        load_detections(tmp_path / "d.txt", DATA_SET)
