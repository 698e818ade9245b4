"""Label files read back by the libraries and the readers whose formats they are: IoU 1."""

import contextlib
import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from label_images import FLAT, NESTED, SIZES, make_images, make_table, read_xml
from PIL import Image

from wend.evaluation.detections import load_detections
from wend.formats.coco import load_coco
from wend.formats.folder import load_folder
from wend.formats.yolo import read_yolo
from wend.label_files import write
from wend.pseudo_boxes import join_boxes, read_boxes
from wend.structures.boxes import paired_iou

FLOAT32 = 1e-5  # supervision's boxes are float32
LABELS = ("Käfer & Co", "bird")


@pytest.fixture
def images(tmp_path):
    return make_images(tmp_path / "photos")


@pytest.fixture
def table():
    return make_table()


def require_equal(boxes, expected, tolerance=1e-9):
    """The same boxes in the same order: IoU 1."""
    assert np.shape(boxes) == expected.shape
    np.testing.assert_allclose(paired_iou(np.asarray(boxes), expected), 1, atol=tolerance)


def as_own_source(spec, images, table, tolerance=1e-9, scored=True):
    """Boxes as the project's own reader of pseudo boxes finds them."""
    joined, _ = join_boxes(images.keys, images.sizes, read_boxes(spec))
    np.testing.assert_array_equal(joined.counts, table.counts)
    require_equal(joined.boxes, table.boxes, tolerance)
    if scored:
        np.testing.assert_array_equal(joined.scores, table.scores)


def test_coco_by_pycocotools(tmp_path, images, table):
    coco = pytest.importorskip("pycocotools.coco")
    table = replace(table, class_ids=np.arange(7) % 2)
    folder = write("coco", table, images, tmp_path, labels=LABELS)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(str(folder / "annotations.json"))
        results = truth.loadRes(str(folder / "results.json"))
    assert [truth.imgs[i]["file_name"] for i in truth.getImgIds()] == list(NESTED)
    assert [(i["width"], i["height"]) for i in truth.loadImgs(truth.getImgIds())] == list(SIZES)
    for read in (truth, results):
        rows = read.loadAnns(read.getAnnIds())
        xywh = np.array([row["bbox"] for row in rows])
        require_equal(np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]), table.boxes)
        names = [truth.cats[row["category_id"]]["name"] for row in rows]
        assert names == [LABELS[number % 2] for number in range(7)]
        assert [row["image_id"] for row in rows] == [1, 1, 2, 3, 3, 3, 5]
        assert [row["score"] for row in rows] == table.scores.tolist()
    np.testing.assert_allclose([row["area"] for row in truth.anns.values()], table.areas())


def test_coco_by_our_readers(tmp_path, images, table):
    folder = write("coco", table, images, tmp_path)
    truth = load_coco(folder / "annotations.json")
    assert truth.file_names == list(NESTED)
    np.testing.assert_array_equal(truth.truth.counts, table.counts)
    require_equal(truth.truth.boxes, table.boxes)
    as_own_source({"source": "coco", "path": folder / "annotations.json"}, images, table)
    results = {"source": "coco", "path": folder / "results.json"}
    as_own_source(results | {"images": folder / "annotations.json"}, images, table)


def test_coco_keeps_the_numbers_of_images_that_have_some(tmp_path, images, table):
    numbered = replace(images, image_ids=[7, 3, 9, 1, 12])
    folder = write("coco", table, numbered, tmp_path)
    read, _ = load_detections(folder / "results.json", numbered)
    require_equal(read.boxes, table.boxes)
    np.testing.assert_array_equal(read.offsets, table.offsets)


def supervised(read, *paths):
    """Boxes and labels of each image, as supervision reads a folder."""
    data_set = read(*map(str, paths))
    return {
        Path(path).name: (
            found.xyxy.astype(np.float64),
            [data_set.classes[number] for number in found.class_id],
        )
        for path, _, found in data_set
    }


@pytest.mark.parametrize("label_format", ["coco", "voc", "yolo", "yolo with scores"])
def test_by_supervision(tmp_path, label_format):
    sv = pytest.importorskip("supervision")
    photos = tmp_path / "photos"
    images, table = make_images(photos, FLAT), replace(make_table(), class_ids=np.arange(7) % 2)
    name, options = label_format.split(" ")[0], {}
    if "scores" in label_format:
        options = {"scores": True}
    folder = write(name, table, images, tmp_path, labels=LABELS, **options)
    if name == "coco":
        read = supervised(sv.DetectionDataset.from_coco, photos, folder / "annotations.json")
    elif name == "voc":
        read = supervised(sv.DetectionDataset.from_pascal_voc, photos, folder / "Annotations")
    else:
        paths = (photos, folder / "labels", folder / "data.yaml")
        read = supervised(sv.DetectionDataset.from_yolo, *paths)
    assert set(read) == set(FLAT)
    for index, name in enumerate(FLAT):
        boxes, labels = read[name]
        require_equal(boxes.reshape(-1, 4), table[index], FLOAT32)
        rows = range(table.offsets[index], table.offsets[index + 1])
        assert labels == [LABELS[row % 2] for row in rows]


@pytest.mark.detectron2
def test_voc_by_detectron2(tmp_path):
    pascal_voc = pytest.importorskip("detectron2.data.datasets.pascal_voc")
    names = [name.replace(" ", "_") for name in FLAT]  # it reads the list by words
    images, table = make_images(tmp_path / "photos", names), make_table()
    folder = write("voc", table, images, tmp_path)
    dicts = pascal_voc.load_voc_instances(str(folder), "default", ["foreground"])
    assert [Path(entry["file_name"]).stem for entry in dicts] == [Path(n).stem for n in names]
    assert [(entry["width"], entry["height"]) for entry in dicts] == list(SIZES)
    for index, entry in enumerate(dicts):
        boxes = np.array([a["bbox"] for a in entry["annotations"]]).reshape(-1, 4)
        require_equal(boxes, table[index])


@pytest.mark.parametrize("pixels", ["inclusive", "edges"])
def test_voc_by_our_readers(tmp_path, images, table, pixels):
    folder = write("voc", table, images, tmp_path, pixels=pixels)
    spec = {"source": "voc", "path": folder / "Annotations", "pixels": pixels}
    as_own_source(spec, images, table, scored=False)


def test_voc_is_truth_of_a_folder(tmp_path, images, table):
    folder = write("voc", table, images, tmp_path, pixels="edges")
    data_set = load_folder(tmp_path / "photos", folder / "Annotations", classes="none")
    order = [data_set.keys.index(name) for name in NESTED]
    require_equal(data_set.truth.take(order).boxes, table.boxes)


def test_voc_in_whole_pixels_is_off_by_half_a_pixel_at_most(tmp_path, images, table):
    folder = write("voc", table, images, tmp_path, whole=True)
    texts = [
        [int(element.text) for element in box]
        for name in NESTED
        for box in read_xml(folder / "Annotations" / f"{Path(name).with_suffix('.xml')}").iterfind(
            "object/bndbox"
        )
    ]
    off = np.array(texts) - (1, 1, 0, 0) - table.boxes
    assert 0 < np.abs(off).max() <= 0.5


def test_a_box_narrower_than_a_pixel_is_a_pixel_wide_in_voc(tmp_path, images):
    boxes = make_table(scored=False)
    narrow = boxes.boxes.copy()
    narrow[1] = (10.25, 5, 10.5, 9)
    folder = write("voc", replace(boxes, boxes=narrow), images, tmp_path)
    spec = {"source": "voc", "path": folder / "Annotations", "pixels": "inclusive"}
    joined, _ = join_boxes(images.keys, images.sizes, read_boxes(spec))
    np.testing.assert_allclose(joined.boxes[1], (9.5, 5, 10.5, 9))


def test_yolo_by_our_reader(tmp_path, images, table):
    folder = write("yolo", table, images, tmp_path, scores=True, labels=("bird", "other"))
    as_own_source({"source": "yolo", "path": folder / "labels"}, images, table)
    assert (folder / "labels/b/nothing here.txt").read_text() == ""
    data = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))
    assert data == {"train": "images", "val": "images", "names": {0: "bird", 1: "other"}}


def test_yolo_in_ultralytics_layout(tmp_path, images, table):
    """Labels are where ultralytics looks: images/ -> labels/, ending -> .txt."""
    folder = write("yolo", table, images, tmp_path, link_images=True)
    data = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))
    paths = sorted(p for p in (folder / data["train"]).rglob("*") if p.is_file())
    assert len(paths) == len(NESTED)
    before, after = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
    for path in paths:
        label = after.join(str(path).rsplit(before, 1)).rsplit(".", 1)[0] + ".txt"
        index = NESTED.index(path.relative_to(folder / "images").as_posix())
        assert Image.open(path).size == SIZES[index]
        lines = Path(label).read_text().splitlines()
        rows = np.array([line.split() for line in lines], dtype=np.float64).reshape(-1, 5)
        cx, cy, w, h = (rows[:, 1:] * np.tile(SIZES[index], 2)).T
        corners = np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 1)
        require_equal(corners, table[index])
        assert ((rows[:, 1:] >= 0) & (rows[:, 1:] <= 1)).all()  # ultralytics refuses others
    read = read_yolo(folder / "labels")
    assert (read.class_ids == 0).all()


def test_cvat_as_its_format_is_documented(tmp_path, images, table):
    folder = write("cvat", table, images, tmp_path, labels=LABELS)
    root = read_xml(folder / "annotations.xml")
    assert (root.tag, root.findtext("version")) == ("annotations", "1.1")
    assert [e.text for e in root.iterfind("meta/task/labels/label/name")] == list(LABELS)
    elements = root.findall("image")
    assert [e.get("name") for e in elements] == list(NESTED)
    assert [(int(e.get("width")), int(e.get("height"))) for e in elements] == list(SIZES)
    boxes = list(root.iterfind("image/box"))
    corners = [[float(b.get(name)) for name in ("xtl", "ytl", "xbr", "ybr")] for b in boxes]
    require_equal(corners, table.boxes)
    assert [len(e.findall("box")) for e in elements] == table.counts.tolist()
    assert {(b.get("label"), b.get("occluded"), b.get("z_order")) for b in boxes} == {
        (LABELS[0], "0", "0")
    }
    scores = [float(b.find("attribute[@name='score']").text) for b in boxes]
    assert scores == table.scores.tolist()
    as_own_source({"source": "cvat", "path": folder}, images, table)


def test_label_studio_by_its_own_converter(tmp_path):
    """A prediction that a person accepts is an annotation, which the converter exports."""
    converter = pytest.importorskip("label_studio_sdk.converter")
    images = make_images(tmp_path / "photos", exif="apply")
    table = replace(make_table(), class_ids=np.arange(7) % 2)
    options = {"root": str(tmp_path), "labels": LABELS}
    folder = write("label_studio", table, images, tmp_path, **options)
    tasks = json.loads((folder / "tasks.json").read_text())
    for number, task in enumerate(tasks):
        task["annotations"] = task.pop("predictions")
        task["id"] = number
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    interface = (folder / "labels.xml").read_text(encoding="utf-8").split("?>", 1)[1]
    convert = converter.Converter(interface, str(tmp_path), download_resources=False)
    convert.convert_to_coco(str(tmp_path / "export.json"), str(tmp_path / "coco"), is_dir=False)
    result = json.loads((tmp_path / "coco/result.json").read_text())
    names = {row["id"]: row["name"] for row in result["categories"]}
    rows = result["annotations"]
    xywh = np.array([row["bbox"] for row in rows])
    require_equal(np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]), table.boxes)
    assert [names[row["category_id"]] for row in rows] == [LABELS[i % 2] for i in range(7)]


def test_label_studio_by_our_reader(tmp_path, images, table):
    folder = write("label_studio", table, images, tmp_path)
    as_own_source({"source": "label_studio", "path": folder / "tasks.json"}, images, table)


def test_label_studios_addresses_are_those_of_the_images(tmp_path, images, table):
    """As our match of names reads them, and as per cent of the image."""
    tasks = json.loads((write("label_studio", table, images, tmp_path) / "tasks.json").read_text())
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=a/bird%201.jpg"
    assert [len(t["predictions"][0]["result"]) for t in tasks] == table.counts.tolist()
    assert tasks[2]["predictions"][0]["score"] == table.scores_of(2).max()
    assert "score" not in tasks[3]["predictions"][0]
    value = tasks[4]["predictions"][0]["result"][0]["value"]
    width, height = SIZES[4]
    x0, y0, x1, _ = table[4][0]
    percent = (100 * x0 / width, 100 * y0 / height, 100 * (x1 - x0) / width)
    assert (value["x"], value["y"], value["width"]) == pytest.approx(percent)
    other = write("label_studio", table, images, tmp_path / "web", url="https://x.org/p/")
    tasks = json.loads((other / "tasks.json").read_text())
    assert tasks[1]["data"]["image"] == "https://x.org/p/b/bird%201.jpg"
    root = {"root": tmp_path}
    below = write("label_studio", table, images, tmp_path / "root", **root)
    tasks = json.loads((below / "tasks.json").read_text())
    assert tasks[1]["data"]["image"] == "/data/local-files/?d=photos/b/bird%201.jpg"


def test_csv_by_our_readers(tmp_path, images, table):
    path = write("csv", table, images, tmp_path) / "boxes.csv"
    as_own_source({"source": "csv", "path": path}, images, table)
    read, counts = load_detections(path, images)
    np.testing.assert_array_equal(read.boxes, table.boxes)
    np.testing.assert_array_equal(read.scores, table.scores)
    np.testing.assert_array_equal(read.offsets, table.offsets)
    assert counts["images_without_detections"] == 1
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["label"] == "foreground"
    assert (rows[-1]["width"], rows[-1]["height"]) == ("333", "77")


def test_csv_of_boxes_with_classes_is_read_with_them(tmp_path, images, table):
    classes = np.array([1, 0, 2, 2, 0, 1, 1])
    images = replace(images, class_ids=np.array([0, 1, 2, 0, 1]))
    table = replace(table, class_ids=classes)
    path = write("csv", table, images, tmp_path, labels=("a", "b, c", '"d"')) / "boxes.csv"
    read, _ = load_detections(path, images, box_classes="use")
    np.testing.assert_array_equal(read.class_ids, classes)
