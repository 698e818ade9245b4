"""Damaged protocols, detections and class predictions, and files that are none: never a traceback.

Kinds that a fuzzer of the commands found: columns of Parquet twice or of any type, text where a
number or list is meant, half characters, NUL, links in circles, folders in the place of files.
"""

import json
import os
import re
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
import yaml
from damage import damaged_bytes, damaged_json
from hypothesis import strategies as st
from property_cases import answer, cases, scratch
from pyarrow import parquet

from wend.classes.imports import import_class_predictions
from wend.classes.predictions import read_predictions_file
from wend.cli.parser import main
from wend.datasets.declared import read_declaration
from wend.errors import InputError
from wend.evaluation.detections import load_detections
from wend.evaluation.protocols import EvalProtocol, load_protocol
from wend.files import read_json
from wend.formats.coco import load_coco
from wend.formats.voc import load_voc
from wend.images.paths import find_files, find_images
from wend.pseudo_boxes import read_boxes
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

KEYS = ["a/0.jpg", "a/1.jpg", "b/2.jpg"]
BOX = [100.0, 100.0, 380.0, 390.0]
DATA_SET = DataSet.from_records(
    [ImageRecord(i, f"/r/{key}", 400, 400, class_id=i // 2, gt_boxes=[BOX])
     for i, key in enumerate(KEYS)]
)  # fmt: skip
DETECTIONS = [
    {"image_id": i, "category_id": 1, "bbox": [100.0, 100.0, 280.0, 290.0], "score": 0.5}
    for i in range(3)
]
TRUTH = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 400, "height": 400}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [99, 99, 280, 290], "iscrowd": 0}
    ],
    "categories": [{"id": 1, "name": "a"}],
}
PROTOCOL = {
    "base": "psol-crop224",
    "iou_threshold": [0.3, 0.5],
    "resize": 256,
    "crop": 224,
    "clip": "frame",
    "clip_truth": "frame",
    "strict": True,
    "average": "class",
    "blacklist": ["a/0.jpg"],
}
CLASSES = {
    "format": "wend-class-predictions-1",
    "num_classes": 6,
    "predictions": {key: [0, 1, 2, 3, 4] for key in KEYS},
    "scores": {key: [0.5, 0.2, 0.1, 0.1, 0.05] for key in KEYS},
}
SCORES = {key: {"pred_scores": [0.1, 0.2, 0.3, 0.05, 0.15, 0.2]} for key in KEYS}
TIMM = "filename,index,label,prob\n" + "".join(
    f"{key},[0 1 2 3 4],\"['a' 'b' 'c' 'd' 'e']\",[0.5 0.2 0.1 0.1 0.05]\n" for key in KEYS
)


def write_text(path, text):
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return path


@cases(times=0.4, data=st.data())  # PyYAML is slow where a value is nested deeply
def test_protocols_with_a_wrong_value(data):
    with scratch() as folder:
        text, _ = data.draw(damaged_json(PROTOCOL))  # JSON is YAML
        path = write_text(folder / "p.yaml", text)
        protocol = answer(lambda: load_protocol(path), path)
        if protocol is not None:
            assert isinstance(protocol, EvalProtocol)
            protocol.describe()
            json.dumps(protocol.to_dict()).encode()


@pytest.mark.parametrize(
    "change",
    [
        {"base": ["original"]},
        {"base": {}},
        {"clip": {}},
        {"clip": []},
        {"name": ["x"]},
        {"average": {"a": 1}},
        {"iou_threshold": {}},
        {"iou_threshold": int("1" * 400)},
        {"resize": int("1" * 400)},
        {"blacklist": {}},
        {"blacklist": [["a"]]},
        {"source": 3},
    ],
)
def test_values_of_another_type_in_a_protocol_are_named(tmp_path, change):
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({**PROTOCOL, **change}))
    with pytest.raises(InputError, match=rf"p\.yaml: .*{next(iter(change))}"):
        load_protocol(path)


@cases(times=2, data=st.data())
def test_detections_with_wrong_values(data):
    with scratch() as folder:
        text, _ = data.draw(damaged_json(DETECTIONS))
        path = write_text(folder / "d.json", text)
        answer(lambda: load_detections(path, DATA_SET), path)


@cases(times=2, data=st.data())
def test_class_predictions_with_wrong_values(data):
    with scratch() as folder:
        text, _ = data.draw(damaged_json(CLASSES))
        path = write_text(folder / "c.json", text)
        answer(lambda: read_predictions_file(path).for_data_set(DATA_SET), path)


@cases(times=2, data=st.data())
def test_scores_of_others_with_wrong_values(data):
    with scratch() as folder:
        text, _ = data.draw(damaged_json(SCORES))
        path = write_text(folder / "c.json", text)
        answer(lambda: import_class_predictions(path, DATA_SET).for_data_set(DATA_SET), path)


@cases(times=3, data=st.data())
def test_scores_of_others_with_wrong_bytes(data):
    with scratch() as folder:
        damaged, _ = data.draw(damaged_bytes(TIMM.encode()))
        path = folder / "c.csv"
        path.write_bytes(damaged)
        answer(lambda: import_class_predictions(path, DATA_SET), path)


CSV = "image_id,x0,y0,x1,y1,score,class\n" + "".join(
    f"{i},100.0,100.0,380.0,390.0,0.5,{i // 2}\n" for i in range(3)
)


@cases(times=3, data=st.data())
def test_detections_with_wrong_bytes(data):
    with scratch() as folder:
        damaged, _ = data.draw(damaged_bytes(CSV.encode()))
        path = folder / "d.csv"
        path.write_bytes(damaged)
        answer(lambda: load_detections(path, DATA_SET), path)


COLUMNS = {
    "decimal": pa.array([Decimal(1)] * 3, pa.decimal128(20, 6)),
    "list": pa.array([[1.0], [2.0], []]),
    "nested": pa.array([[[1]], [[2]], [[]]]),
    "struct": pa.array([{"a": 1}] * 3),
    "map": pa.array([[("a", 1)]] * 3, pa.map_(pa.string(), pa.int64())),
    "dictionary": pa.array(["a", "b", "a"]).dictionary_encode(),
    "dictionary of numbers": pa.array([1.0, 2.0, 1.0]).dictionary_encode(),
    "null": pa.nulls(3),
    "some null": pa.array([1.0, None, 2.0]),
    "bool": pa.array([True, False, True]),
    "time": pa.array([1, 2, 3], pa.timestamp("us")),
    "date": pa.array([1, 2, 3], pa.date32()),
    "duration": pa.array([1, 2, 3], pa.duration("s")),
    "binary": pa.array([b"a", b"\xff", b""]),
    "large text": pa.array(["a", "b", "c"], pa.large_string()),
    "half floats": pa.array(np.array([1, 2, 3], np.float16)),
    "unsigned": pa.array([2**64 - 1] * 3, pa.uint64()),
    "not finite": pa.array([float("nan"), float("inf"), 1e308]),
    "no UTF-8": pa.Array.from_buffers(pa.string(), 3, pa.array([b"\xff", b"b", b"c"]).buffers()),
}
GOOD = {
    "image_id": pa.array([0, 1, 2]),
    "image": pa.array(KEYS),
    "filename": pa.array(KEYS),
    "class": pa.array([0, 1, 2]),
    "prob": pa.array([0.1, 0.2, 0.3]),
    "score": pa.array([0.1, 0.2, 0.3]),
    **{n: pa.array([v] * 3) for n, v in zip(("x0", "y0", "x1", "y1"), BOX, strict=True)},
}  # fmt: skip
READERS = {
    "detections": (
        ("image_id", "x0", "y0", "x1", "y1", "score"),
        lambda path: load_detections(path, DATA_SET),
    ),
    "pseudo boxes": (
        ("image", "x0", "y0", "x1", "y1", "score"),
        lambda path: read_boxes({"source": "parquet", "path": str(path)}),
    ),
    "classes": (
        ("filename", "class", "prob"),
        lambda path: import_class_predictions(path, DATA_SET),
    ),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", [*COLUMNS, "twice", "gone", "no rows", "cut"])
def test_columns_of_any_type_in_any_parquet_file(tmp_path, reader, kind):
    names, read = READERS[reader]
    for name in names:
        columns = [(other, GOOD[other]) for other in names if kind != "gone" or other != name]
        if kind == "twice":
            columns.append((name, GOOD[name]))
        elif kind in COLUMNS:
            columns = [(n, COLUMNS[kind] if n == name else column) for n, column in columns]
        table = pa.Table.from_arrays([c for _, c in columns], names=[n for n, _ in columns])
        path = tmp_path / f"{name}.parquet"
        parquet.write_table(table.slice(0, 0) if kind == "no rows" else table, path)
        if kind == "cut":
            path.write_bytes(path.read_bytes()[:-20])
        result = answer(lambda path=path: read(path), path)
        refused = kind in ("twice", "cut") or (kind, name) == ("gone", names[1])
        assert result is None or not refused


PLACES = {
    ".json": [
        load_coco,
        read_predictions_file,
        lambda path: load_detections(path, DATA_SET),
        lambda path: import_class_predictions(path, DATA_SET),
        lambda path: read_boxes({"source": "coco", "path": str(path)}),
        lambda path: read_json(path, "anything"),
    ],
    ".csv": [
        lambda path: load_detections(path, DATA_SET),
        lambda path: import_class_predictions(path, DATA_SET),
        lambda path: read_boxes({"source": "csv", "path": str(path)}),
        lambda path: read_boxes({"source": "openimages", "path": str(path)}),
    ],
    ".parquet": [read for _, read in READERS.values()],
    ".yaml": [load_protocol, read_declaration],
    ".txt": [lambda path: read_boxes({"source": "localization", "path": str(path)})],
}


@pytest.mark.parametrize("ending", PLACES)
@pytest.mark.parametrize("kind", ["folder", "link", "circle", "below a file", "empty", "NULs"])
def test_what_is_no_file_is_named(tmp_path, ending, kind):
    path = tmp_path / f"f{ending}"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("nowhere")
    elif kind == "circle":
        path.symlink_to(path.name)
    elif kind == "below a file":
        (tmp_path / "file").touch()
        path = tmp_path / "file" / f"f{ending}"
    else:
        path.write_bytes(b"" if kind == "empty" else b"\0" * 20)
    for read in PLACES[ending]:
        assert answer(lambda read=read: read(path), path, path.parent) is None


HALF = '"\\ud800"'


@pytest.mark.parametrize("number", range(6))
def test_half_characters_in_json_are_named(tmp_path, number):
    texts = [
        json.dumps({"images": [], "annotations": [], "categories": [{"id": 1, "name": "HALF"}]}),
        json.dumps({**CLASSES, "class_names": ["HALF"] * 6}),
        json.dumps([{**DETECTIONS[0], "image_id": "HALF"}]),
        json.dumps({"HALF": SCORES[KEYS[0]]}),
        json.dumps([{**DETECTIONS[0], "file_name": "HALF"}]),
        json.dumps({"a": ["HALF"]}),
    ]
    path = tmp_path / "f.json"
    path.write_text(texts[number].replace('"HALF"', HALF))
    assert answer(lambda: PLACES[".json"][number](path), path) is None


def test_half_characters_and_nul_in_yaml_are_named(tmp_path):
    path = tmp_path / "f.yaml"
    for text in (f"name: {HALF}\n", 'images: "a\\0b"\n', f"format: folder\n{HALF}: 1\n"):
        path.write_text(text)
        for read in PLACES[".yaml"]:
            assert answer(lambda read=read: read(path), path) is None


def test_names_of_files_that_are_no_unicode_are_named(tmp_path):
    odd = os.fsdecode(b"\xff")
    (tmp_path / odd).mkdir()
    (tmp_path / odd / "a.jpg").touch()
    with pytest.raises(InputError, match="is no Unicode"):
        find_images(tmp_path)
    (tmp_path / odd / "a.xml").touch()
    with pytest.raises(InputError, match="is no Unicode"):
        find_files(tmp_path, ".xml")
    with pytest.raises(InputError, match="is no Unicode"):
        load_voc(tmp_path)


def test_links_in_circles_end_for_every_kind_of_files(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.txt").touch()
        for other in "abc":
            (tmp_path / name / other).symlink_to(tmp_path / other)
    assert len(find_files(tmp_path, ".txt")) == 3


def test_messages_of_odd_names_reach_the_screen(tmp_path, capfd):
    odd = os.fsdecode(b"\xff")
    assert main(["data", "check", f"{odd}.yaml", "--output", str(tmp_path / "list")]) == 2
    assert main(["boxes", "report", "c2am", str(tmp_path / odd), "--dataset", odd]) == 2
    captured = capfd.readouterr()
    assert "Traceback" not in captured.err + captured.out
    assert captured.err.count("error: ") == 2


@pytest.mark.parametrize("output", ["file", "file/below", "x" * 300, "circle"])
def test_what_the_system_refuses_is_said_in_a_line(tmp_path, capfd, output):
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "d.json").write_text(json.dumps([]))
    (tmp_path / "gt.json").write_text(json.dumps(TRUTH))
    files = ["--ground-truth", str(tmp_path / "gt.json"), "--detections", str(tmp_path / "d.json")]
    assert main(["evaluate", *files, "--output", str(tmp_path / output)]) == 2
    assert re.search(rf"^error: .*{output[:200]}", capfd.readouterr().err, re.MULTILINE)


@pytest.mark.parametrize("source", ["x" * 300, "x" * 100_000, "~nobody-is-called-so/x", "circle"])
def test_paths_that_are_too_long_are_said_in_a_line(tmp_path, capfd, source):
    (tmp_path / "circle").symlink_to("circle")
    source = str(tmp_path / source) if source == "circle" else source
    (tmp_path / "d.yaml").write_text(f"format: folder\nimages: {source}\n")
    output = ["--output", str(tmp_path / "out")]
    assert main(["data", "check", str(tmp_path / "d.yaml"), *output]) == 2
    files = ["--ground-truth", source, "--detections", "d.json"]
    assert main(["evaluate", *files, *output]) == 2
    files = ["--ground-truth", str(tmp_path / "d.yaml"), source, f"{source}.json"]
    assert main(["compare", *files]) == 2
    assert len(capfd.readouterr().err) < 10_000


def test_a_message_is_no_longer_than_a_screen(tmp_path, capsys):
    path = tmp_path / "d.json"
    path.write_text(json.dumps([{**DETECTIONS[0], "image_id": "x" * 200_000}]))
    (tmp_path / "gt.json").write_text(json.dumps(TRUTH))
    files = ["--ground-truth", str(tmp_path / "gt.json"), "--detections", str(path)]
    assert main(["evaluate", *files, "--output", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err) < 5000
