"""wend.formats.coco_json: one reader for truth, pseudo boxes and detections."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wend.errors import InputError
from wend.evaluation.coco_results import read_results
from wend.files import MAX_NUMBER
from wend.formats import coco_json
from wend.formats.coco import load_coco
from wend.formats.coco_json import BLOCK, CocoFile
from wend.pseudo_boxes import read_coco

IMAGE = '{"id": %s, "file_name": "c/%s.jpg", "width": 500, "height": 400}'
ROW = '{"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5}'
BOX = [1, 2, 31, 42]
USES = ("truth", "pseudo boxes", "detections")


def data_set(rows, images=(IMAGE % (1, "a"), IMAGE % (2, "b"))):
    """JSON text of a data set of rows of text."""
    lists = {"images": images, "annotations": rows, "categories": ['{"id": 1}']}
    inside = ", ".join(f'"{name}": [{", ".join(row)}]' for name, row in lists.items())
    return f"{{{inside}}}"


def read(use, path, rows, **more):
    """Boxes that a use of the reader takes from rows of JSON text, and where entries are."""
    text = data_set(rows, **more) if use != "detections" else f"[{', '.join(rows)}]"
    (path / "f.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    if use == "truth":
        return [box for record in load_coco(path / "f.json") for box in record.gt_boxes.tolist()]
    if use == "pseudo boxes":
        boxes = read_coco(path / "f.json")
        return (boxes.table.boxes * np.tile([500, 400], 2)).round(9).tolist()
    return read_results(path / "f.json").boxes.tolist()


def refused(use, path, rows, expected, number=0, **more):
    """That a use names the file, the entry, what was expected and what came."""
    place = f"{number}" if use == "detections" else rf"annotations\[{number}\]"
    with pytest.raises(InputError, match=rf"f\.json, entry {place}: {expected}"):
        read(use, path, rows, **more)


def changed(**fields):
    """The row as JSON text with other values, which are JSON text too."""
    row = {key: json.dumps(value) for key, value in json.loads(ROW).items()} | fields
    inside = ", ".join(f'"{key}": {value}' for key, value in row.items())
    return f"{{{inside}}}"


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("bbox", value) for value in ("[1, 2, 3]", "[1, 2, 3, 4, 5]", "[1, 2, -3, 4]", "null")),
        *(("bbox", f"[1, 2, 3, {value}]") for value in ("true", '"4"', "null", "NaN", "Infinity")),
        *(("bbox", f"[1, 2, 3, {value}]") for value in ("1e100", "1e400", "1" + "0" * 400)),
        *(("score", value) for value in ("NaN", "-Infinity", "true", '"0.5"', "-1e100", "1e400")),
        *(("image_id", value) for value in ("null", "true", "1.0", "[1]", str(2**63))),
        ("image_id", "1" + "0" * 400),
        *(("iscrowd", value) for value in ('"0"', '""', "2", "-1", "0.0", "[]")),
        *(("category_id", value) for value in ("true", "1.5", "[1]")),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_named_by_every_use(tmp_path, use, field, value):
    rows = [ROW, changed(**{field: value}), ROW]
    refused(use, tmp_path, rows, rf'expected "{field}": .*, got {{', number=1)


@pytest.mark.parametrize("use", USES)
def test_what_is_no_object_is_named(tmp_path, use):
    for row in ("3", "null", '"x"', "[1, 2]"):
        refused(use, tmp_path, [ROW, row], "expected an object", number=1)
    refused(use, tmp_path, ["{}"], 'expected "image_id": .*, got {}')


@pytest.mark.parametrize("use", USES)
def test_an_entry_of_a_later_block_has_its_number_in_the_file(tmp_path, use):
    rows = [ROW] * (2 * BLOCK + 7) + [changed(bbox="[1, 2, NaN, 4]")]
    refused(use, tmp_path, rows, 'expected "bbox"', number=2 * BLOCK + 7)
    rows[-1] = changed(bbox="[1, 2, -3, 4]")
    refused(use, tmp_path, rows, 'expected "bbox"', number=2 * BLOCK + 7)


@pytest.mark.parametrize("use", ["truth", "pseudo boxes"])
def test_iscrowd_is_0_or_1_true_or_false_and_0_where_it_is_absent_or_null(tmp_path, use):
    for value in ("0", "false", "null"):
        assert read(use, tmp_path, [changed(iscrowd=value)]) == [BOX]
    assert read(use, tmp_path, [ROW]) == [BOX]
    for value in ("1", "true"):
        rows = [changed(iscrowd=value), changed(bbox="[5, 5, 5, 5]")]
        assert read(use, tmp_path, rows) == [[5, 5, 10, 10]]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    "image_id", ["0", "-1", str(-(2**63)), str(2**63 - 1), '"a}, { 0, b"', '"1"']
)
def test_ids_are_numbers_of_64_bits_or_text(tmp_path, use, image_id):
    more = {} if use == "detections" else {"images": [IMAGE % (image_id, "a")]}
    assert read(use, tmp_path, [changed(image_id=image_id)], **more) == [BOX]


@pytest.mark.parametrize("use", ["truth", "pseudo boxes"])
@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (
            IMAGE % (2**63, "b"),
            r'expected "id": a whole number from -2\^63 to 2\^63 - 1 \(1, not 1.0',
        ),
        (IMAGE % ("1.0", "b"), 'expected "id": '),
        (IMAGE % (1, "b"), r"expected an id that no other image has \(images\[0\] has it\), got 1"),
        (IMAGE % ('"2"', "b"), "expected ids that are all numbers or all text, as 1, got '2'"),
        (IMAGE % (2, "a"), r"expected a file_name that no other image has \(images\[0\] has it\)"),
        ('{"id": 2, "file_name": "./c//a.jpg"}', "expected a file_name that no other image has"),
        ('{"id": 2, "width": 5, "height": 5}', 'expected "file_name": '),
        ('{"id": 2, "file_name": "", "width": 5, "height": 5}', 'expected "file_name": '),
        (
            '{"id": 2, "file_name": "b", "width": 0, "height": 5}',
            "expected width and height ",
        ),
        (
            '{"id": 2, "file_name": "b", "width": [5], "height": 5}',
            "expected width and height as n",
        ),
    ],
)
def test_an_image_that_does_not_fit_is_named(tmp_path, use, image, expected):
    with pytest.raises(InputError, match=rf"f\.json, entry images\[1\]: {expected}"):
        read(use, tmp_path, [ROW], images=[IMAGE % (1, "a"), image])


@pytest.mark.parametrize("use", ["truth", "pseudo boxes"])
def test_a_box_of_no_image_is_named(tmp_path, use):
    expected = 'expected "image_id" of one of the images, got 9'
    refused(use, tmp_path, [ROW, changed(image_id="9")], expected, number=1)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("field", ["image_id", "category_id", "bbox", "score", "iscrowd"])
@pytest.mark.parametrize("spelled", ["plain", "escaped"])
def test_a_field_that_stands_twice_is_refused_and_named(tmp_path, use, field, spelled):
    row = changed(iscrowd="0")
    name = field if spelled == "plain" else f"\\u{ord(field[0]):04x}{field[1:]}"
    value = json.dumps(json.loads(row)[field])
    place = "" if spelled == "escaped" else r", entry .*1\]?"
    with pytest.raises(InputError, match=rf"f\.json{place}: the key '{field}' stands twice"):
        read(use, tmp_path, [row, f'{row[:-1]}, "{name}": {value}}}'])


def test_a_field_of_an_image_or_a_whole_list_that_stands_twice_is_refused(tmp_path):
    for field in ("id", "file_name", "width", "height"):
        image = IMAGE % (1, "a")
        twice = f'{image[:-1]}, "{field}": {json.dumps(json.loads(image)[field])}}}'
        for use in ("truth", "pseudo boxes"):
            with pytest.raises(InputError, match=rf"entry images\[0\]: the key '{field}' stands"):
                read(use, tmp_path, [ROW], images=[twice])
    (tmp_path / "f.json").write_text(data_set([ROW])[:-1] + ', "images": []}')
    for reader in (load_coco, read_coco):
        with pytest.raises(InputError, match=r"f\.json: the key 'images' stands twice"):
            reader(tmp_path / "f.json")


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("more", "key"),
    [
        ('"area": 1, "area": 2', "area"),
        ('"area" : 1, "area":1', "area"),
        ('"rle": {"size": [4, 4], "size": [4, 5]}', "size"),
        ('"x": [1, {"y": {"z": 0, "z": 0}}]', "z"),
        ('"\\u0061rea": 3, "area": 3', "area"),
    ],
)
def test_a_key_that_is_not_read_stands_once_either(tmp_path, use, more, key):
    with pytest.raises(InputError, match=f"the key '{key}' stands twice in one object"):
        read(use, tmp_path, [ROW, f"{ROW[:-1]}, {more}}}"])


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    "more",
    [
        '"kind": "bbox"',
        '"note": {"image_id": 5, "bbox": []}',
        '"\\u0061rea": 3',
        '"area" : 1',
        '"rle": {"size": [4, 4], "counts": "a\\":b"}',
        '"a":"\\":\\":", "b": {"a": [{"a": 1}, {"a": 2}]}',
        '"area": NaN',
        '"text": "\\ud83d\\ude00"',
        '"segmentation": [[1.5, 2, 3]]',
    ],
)
def test_what_is_not_read_may_be_anything(tmp_path, use, more):
    assert read(use, tmp_path, [f"{ROW[:-1]}, {more}}}"]) == [BOX]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("more", ['"text": "\\ud800"', '"image_id": "\\udfff"'])
def test_half_a_character_is_refused_wherever_it_stands(tmp_path, use, more):
    row = ROW.replace('"image_id": 1', '"x": 1') if "image_id" in more else ROW
    with pytest.raises(InputError, match=r"f\.json.*: \\ud.* is half of a character"):
        read(use, tmp_path, [f"{row[:-1]}, {more}}}"])


numbers = st.floats(-MAX_NUMBER, MAX_NUMBER, exclude_min=True, exclude_max=True)
sides = st.floats(0, MAX_NUMBER, exclude_max=True)
corners = numbers | st.integers(-(10**30), 10**30)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(corners, corners, sides, sides)), st.booleans())
def test_numbers_are_those_that_json_reads(tmp_path_factory, boxes, exact):
    """To the last bit, by msgspec and by the way for unusual files."""
    rows = [{"image_id": 1, "bbox": box, **({"x": float("nan")} if exact else {})} for box in boxes]
    path = tmp_path_factory.mktemp("coco") / "f.json"
    path.write_text(json.dumps(rows))
    found = CocoFile.open(path, "boxes").boxes("")
    expected = [[float(value) for value in row["bbox"]] for row in json.loads(path.read_text())]
    assert found.xywh.tolist() == expected
    assert np.isnan(found.scores).all()
    assert list(found.category_ids) == [None] * len(boxes)


ODD_ROWS = [
    {"bbox": [0, 0, 1, 1], "image_id": "a}, {", "category_id": 1, "score": 0.5},
    {"segmentation": {"counts": "x}, {y"}, "image_id": "b", "bbox": [0, 0, 2, 2], "score": 1},
    {"image_id": "c", "bbox": [0, 0, 3, 3], "parts": [{"x": 1}, {"x": 2}], "score": 0},
    {"image_id": "\u00e9", "bbox": [0, 0, 4, 4], "score": 2, "last": {"image_id": {}}},
]


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" \n,\t", ": ")])
@pytest.mark.parametrize("in_ascii", [True, False])
def test_where_a_list_is_cut_while_it_is_read_changes_nothing(
    tmp_path, monkeypatch, separators, in_ascii
):
    text = json.dumps(ODD_ROWS * 2, separators=separators, ensure_ascii=in_ascii)
    (tmp_path / "f.json").write_text(text, encoding="utf-8")
    for size in (*range(1, 80), *range(80, len(text) + 2, 37)):
        monkeypatch.setattr(coco_json, "BLOCK_BYTES", size)
        boxes = CocoFile.open(tmp_path / "f.json", "boxes").boxes("")
        assert list(boxes.image_ids) == [row["image_id"] for row in ODD_ROWS * 2]
        assert boxes.xywh[:, 2].tolist() == [1, 2, 3, 4] * 2
        assert boxes.scores.tolist() == [0.5, 1, 0, 2] * 2


def test_a_plain_list_is_never_held_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(coco_json, "BLOCK_BYTES", 200)
    monkeypatch.setattr(CocoFile, "_whole", None)
    (tmp_path / "f.json").write_text(f"[{', '.join([ROW] * 50)}]")
    assert read_results(tmp_path / "f.json").boxes.tolist() == [BOX] * 50


@pytest.mark.parametrize("end", [",]", "", "] 3", "}]", ",", "]]", "\x00", "]\n}"])
def test_a_list_that_does_not_end_well_is_refused_wherever_it_is_cut(tmp_path, monkeypatch, end):
    (tmp_path / "f.json").write_text(f"[{ROW}, {ROW}{end}")
    for size in (7, 80, 10**6):
        monkeypatch.setattr(coco_json, "BLOCK_BYTES", size)
        with pytest.raises(InputError, match=r"f\.json: not a whole JSON value"):
            read_results(tmp_path / "f.json")


def test_a_box_of_an_id_of_another_kind_is_told_what_ids_look_like(tmp_path):
    expected = r'expected "image_id" of one of the images, whose ids look like 1, got \'1\''
    for use in ("truth", "pseudo boxes"):
        refused(use, tmp_path, [changed(image_id='"1"')], expected)


@pytest.mark.parametrize("use", ["truth", "pseudo boxes"])
def test_lvis_images_have_a_url_and_no_name(tmp_path, use):
    images = ['{"id": 1, "coco_url": "http://images.org/c/a.jpg", "width": 500, "height": 400.0, '
              '"neg_category_ids": [3], "not_exhaustive_category_ids": []}']  # fmt: skip
    assert read(use, tmp_path, [ROW], images=images) == [BOX]
    if use == "truth":
        (record,) = load_coco(tmp_path / "f.json")
        assert (record.key, record.width, record.height) == ("c/a.jpg", 500, 400)


CATEGORIES = {
    "none stated": ("[]", [-1, -1]),
    "one": ('[{"id": 5}]', [-1, -1]),
    "two": ('[{"id": 7}, {"id": 5}]', [0, 1]),
    "an empty one": ('[{"id": 0, "name": "x"}, {"id": 5}, {"id": 7}]', [1, 2]),
    "an empty parent": (
        '[{"id": 0, "name": "birds", "supercategory": "none"}, {"id": 5, "name": "a", '
        '"supercategory": "birds"}, {"id": 7, "name": "b", "supercategory": "birds"}]',
        [0, 1],
    ),
    "a parent of one": (
        '[{"id": 0, "name": "a", "supercategory": "none"}, {"id": 5, "name": "a", '
        '"supercategory": "a"}]',
        [-1, -1],
    ),
    "its own parent": ('[{"id": 5, "name": "a", "supercategory": "a"}, {"id": 7}]', [0, 1]),
}


@pytest.mark.parametrize("case", CATEGORIES)
def test_classes_are_the_categories_that_are_no_empty_parents(tmp_path, case):
    categories, expected = CATEGORIES[case]
    second = "5" if case == "a parent of one" else "7"
    rows = [changed(category_id="5"), changed(image_id="2", category_id=second)]
    text = data_set(rows).replace('[{"id": 1}]', categories)
    (tmp_path / "f.json").write_text(text)
    assert load_coco(tmp_path / "f.json").class_ids.tolist() == expected


def test_a_file_without_categories_has_no_classes_and_category_0_may_be_the_only_one(tmp_path):
    for categories in ("", ', "categories": [{"id": 0}]'):
        text = data_set([changed(category_id="0")]).replace(
            ', "categories": [{"id": 1}]', categories
        )
        (tmp_path / "f.json").write_text(text)
        assert load_coco(tmp_path / "f.json").class_ids.tolist() == [-1, -1]
        assert len(read_coco(tmp_path / "f.json").table.boxes) == 1


EXPORTS = {  # how tools write an image, a box and a category, with all their further keys
    "CVAT": (
        {"id": 1, "width": 500, "height": 400, "file_name": "c/a.jpg", "license": 0,
         "flickr_url": "", "coco_url": "", "date_captured": 0},
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [], "area": 1200.0,
         "bbox": [1.0, 2.0, 30.0, 40.0], "iscrowd": 0,
         "attributes": {"occluded": False, "rotation": 0.0}},
        {"id": 1, "name": "bird", "supercategory": ""},
    ),
    "Label Studio": (
        {"width": 500, "height": 400, "id": 0, "file_name": "images\\\\1f2e3d4c-a.jpg"},
        {"id": 0, "image_id": 0, "category_id": 0, "segmentation": [],
         "bbox": [1.0, 2.0, 30.0, 40.0], "ignore": 0, "iscrowd": 0, "area": 1200.0},
        {"id": 0, "name": "bird"},
    ),
    "Roboflow": (
        {"id": 0, "license": 1, "file_name": "a_jpg.rf.0a1b2c3d4e5f60718293a4b5c6d7e8f9.jpg",
         "height": 400, "width": 500, "date_captured": "2024-01-01T00:00:00+00:00",
         "extra": {"name": "a.jpg"}},
        {"id": 0, "image_id": 0, "category_id": 1, "bbox": [1, 2, 30, 40], "area": 1200,
         "segmentation": [], "iscrowd": 0},
        {"id": 1, "name": "bird", "supercategory": "birds"},
    ),
    "FiftyOne": (
        {"id": 1, "file_name": "a.jpg", "height": 400, "width": 500, "license": None,
         "coco_url": None},
        {"id": 1, "image_id": 1, "category_id": 0, "bbox": [1.0, 2.0, 30.0, 40.0],
         "area": 1200.0, "iscrowd": 0, "score": None},
        {"id": 0, "name": "bird", "supercategory": None},
    ),
    "supervision": (
        {"id": 1, "license": 1, "file_name": "a.jpg", "height": 400, "width": 500,
         "date_captured": "01/01/2024,00:00:00"},
        {"id": 1, "image_id": 1, "category_id": 0, "bbox": [1.0, 2.0, 30.0, 40.0],
         "area": 1200.0, "segmentation": [], "iscrowd": 0},
        {"id": 0, "name": "bird", "supercategory": "common-objects"},
    ),
    "VIA": (
        {"id": 1, "width": 500, "height": 400, "file_name": "a.jpg", "license": 0,
         "flickr_url": "a.jpg", "coco_url": "a.jpg", "date_captured": ""},
        {"id": 1, "image_id": "1", "category_id": 1, "segmentation": [1, 2, 31, 2, 31, 42, 1, 42],
         "area": 1200, "bbox": [1, 2, 30, 40], "iscrowd": 0},
        {"supercategory": "region", "id": 1, "name": "bird"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("tool", EXPORTS)
def test_what_tools_export_is_read_or_says_what_differs(tmp_path, tool):
    image, box, category = EXPORTS[tool]
    content = {"images": [image], "annotations": [box], "categories": [category]}
    (tmp_path / "f.json").write_text(json.dumps(content))
    if tool == "VIA":  # numbers here and text there: one is not the other
        with pytest.raises(InputError, match=r"annotations\[0\]: .*ids look like 1, got '1'"):
            load_coco(tmp_path / "f.json")
        return
    (record,) = load_coco(tmp_path / "f.json")
    assert (record.gt_boxes.tolist(), record.width, record.class_id) == ([BOX], 500, None)
    boxes = read_coco(tmp_path / "f.json")
    assert (boxes.table.boxes * np.tile([500, 400], 2)).round(9).tolist() == [BOX]
