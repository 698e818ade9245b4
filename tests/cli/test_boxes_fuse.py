"""``wend boxes fuse``: sources of any kind in, a COCO JSON that the source coco reads back out."""

import json

import numpy as np
import pytest
from PIL import Image

from wend.cli.parser import main
from wend.datasets.catalog import DataSets
from wend.pseudo_boxes import join_boxes, read_boxes

SIDE = 40
A = {"bird ä.png": [0, 0, 10, 10], "b.png": [5, 5, 20, 20], "c.png": [0, 0, 8, 8]}  # x, y, w, h
B = {"bird ä.png": [2, 0, 10, 10], "b.png": [5, 5, 20, 20]}


def results(boxes, score=None, ids=None):
    return [
        {"image_id": name if ids is None else ids[name], "category_id": 1, "bbox": box}
        | ({} if score is None else {"score": score})
        for name, box in boxes.items()
    ]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Photos with truth, b.png's found by A and B; boxes as a results file and as another's CSV."""
    root = tmp_path / "my photos"
    root.mkdir()
    for name in A:
        Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(root / name)
    ids = {name: number for number, name in enumerate(A, 1)}
    truth = {
        "images": [
            {"id": i, "file_name": name, "width": SIDE, "height": SIDE} for name, i in ids.items()
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": box, "iscrowd": 0}
            for i, box in zip(
                ids.values(), ([20, 20, 9, 9], [5, 5, 20, 20], [0, 0, 8, 8]), strict=True
            )
        ],
        "categories": [{"id": 1, "name": "bird"}],
    }
    (root / "truth.json").write_text(json.dumps(truth))
    (root / "photos.yaml").write_text(
        "name: photos\nformat: coco\nimages: ./\nannotations: ./truth.json\n"
    )
    (root / "a.json").write_text(json.dumps(results(A)))
    rows = [f"{name},{x},{y},{x + w},{y + h}" for name, (x, y, w, h) in B.items()]
    (root / "b.txt").write_text("\n".join(["image,x0,y0,x1,y1", *rows]))
    (root / "detections.json").write_text(json.dumps(results(B, 0.5, ids)))
    monkeypatch.chdir(root)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    return root


def fuse(*words, output="fused.json"):
    return main(["boxes", "fuse", *words, "--dataset", "photos.yaml", "--output", output])


def read_back(path="fused.json", **options):
    data_set = DataSets().get("photos.yaml")
    boxes = read_boxes({"source": "coco", "path": path, **options})
    return join_boxes(data_set.keys, data_set.frame_sizes, boxes)[0]


def test_sources_are_fused_into_a_file_that_is_read_back(root, capsys):
    assert fuse("coco", "a.json", "csv", "b.txt") == 0
    table = read_back(str(root / "fused.json"))
    assert [boxes.tolist() for boxes in table] == [
        [pytest.approx([1, 0, 11, 10])],
        [pytest.approx([5, 5, 25, 25])],
        [pytest.approx([0, 0, 8, 8])],
    ]
    assert table.scores.tolist() == [pytest.approx(8 / 12), 1.0, 0.0]
    content = json.loads((root / "fused.json").read_text())
    assert [image["agreement"] for image in content["images"]] == table.scores.tolist()
    assert [box["members"] for box in content["annotations"]] == [2, 2, 1]
    assert content["info"]["sources"] == ["coco a.json", "csv b.txt"]
    said = capsys.readouterr().out
    assert "of 3 images 2 have boxes of all sources, 1 of some, 0 of none; 1 have boxes w" in said
    # right: b.png and c.png; wrong: the first, whose agreement lies between theirs
    assert "area under the ROC curve of the agreement as a sign of a right first box: 0.500" in said
    fused_row = next(line for line in said.splitlines() if "| " in line and " fused |" in line)
    assert [cell.strip() for cell in fused_row.split("|")[2:6]] == ["3", "3", "0.556", "66.67"]


def test_agreement_drops_boxes_and_orders_them_through_the_source_coco(root):
    assert fuse("coco", "a.json", "csv", "b.txt") == 0
    kept = read_back(str(root / "fused.json"), min_score=0.7)
    assert kept.counts.tolist() == [0, 1, 0]


@pytest.mark.parametrize("second", ["detections.json", "a_run"])
def test_detections_of_a_detector_are_a_source(root, second):
    """By the data set's numbers, as a run's evaluation writes them."""
    folder = root / "a_run" / "inference" / "photos"
    folder.mkdir(parents=True)
    (folder / "detections.json").write_text((root / "detections.json").read_text())
    assert fuse("a.json", second, "--method", "medoid", "--weights", "1", "2") == 0
    table = read_back(str(root / "fused.json"))
    assert table.scores.tolist() == [pytest.approx(8 / 12), 1.0, 0.0]
    assert table[0].tolist() == [pytest.approx([0, 0, 10, 10])]


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_classes_of_detections_are_not_looked_at_and_that_is_said(root, capsys, kind):
    """Two classes' boxes in the same place are one box, as in boxes without a class."""
    ids = {name: number for number, name in enumerate(A, 1)}
    found = results(B, 0.5, ids) + [row | {"category_id": 2} for row in results(B, 0.2, ids)]
    if kind == "json":
        (root / "two.json").write_text(json.dumps(found))
    else:
        rows = [
            f"{row['image_id']},{x},{y},{x + w},{y + h},{row['score']},{row['category_id']}"
            for row in found
            for x, y, w, h in [row["bbox"]]
        ]
        head = "image_id,x0,y0,x1,y1,score,class_id"
        (root / "two.csv").write_text("\n".join([head, *rows]) + "\n")
    assert fuse("a.json", f"two.{kind}") == 0
    assert f"two.{kind}: boxes of 2 classes count whatever their class" in capsys.readouterr().out
    assert fuse("a.json", "detections.json", output="of one.json") == 0
    two, alone = read_back(str(root / "fused.json")), read_back(str(root / "of one.json"))
    assert two.boxes.tolist() == alone.boxes.tolist()
    assert two.scores.tolist() == alone.scores.tolist()


def test_scores_that_are_no_shares_are_said(root, capsys):
    (root / "a.json").write_text(json.dumps(results(A, 70)))
    said = "coco a.json: scores of boxes go from 70 to 70; as weights, which are in [0, 1], each"
    assert fuse("coco", "a.json", "csv", "b.txt") == 0
    assert said in capsys.readouterr().out
    assert fuse("coco", "a.json", "csv", "b.txt", "--ignore-scores") == 0
    assert fuse("coco", "a.json", "score_unit=percent", "csv", "b.txt") == 0
    assert "scores of boxes" not in capsys.readouterr().out


def test_options_belong_to_the_source_before_them(root, capsys):
    (root / "a.json").write_text(json.dumps(results(A, 0.25)))
    assert fuse("coco", "a.json", "min_score=0.5", "csv", "b.txt") == 2
    assert "a.json: holds no box that is not left out (below_min_score: 3)" in (
        capsys.readouterr().err
    )


@pytest.mark.slow  # figures
def test_the_page_of_the_report_is_written(root, capsys):
    assert fuse("coco", "a.json", "csv", "b.txt", "--report", "a page") == 0
    assert (root / "a page" / "report.html").is_file()
    assert "coco fused.json" in capsys.readouterr().out


def test_a_second_run_replaces_its_file_with_the_same_bytes(root):
    assert fuse("coco", "a.json", "csv", "b.txt") == 0
    before = (root / "fused.json").read_bytes()
    assert fuse("coco", "a.json", "csv", "b.txt") == 0
    assert (root / "fused.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "output", "message"),
    [
        (["coco", "a.json"], "f.json", "expected two sources or more, got 1"),
        (["coco", "a.json", "coco", "a.json"], "f.json", "coco a.json: is named twice"),
        (["coco", "a.json", "csv"], "f.json", "box source 'csv': expected its PATH behind it"),
        (["min_score=1", "coco", "a.json"], "f.json", "expected a source before its options"),
        (["coco", "a.json", "csv", "b.txt"], "a.json", "is one of the sources"),
        (["coco", "a.json", "csv", "b.txt"], "truth.json", "not written by wend boxes fuse"),
        (["coco", "a.json", "csv", "b.txt"], "f.csv", "expected a file that ends in .json"),
        (["coco", "a.json", "nowhere.json"], "f.json", "nowhere.json"),
        (["coco", "a.json", "detections.json", "x=1"], "f.json", "detections have no option"),
        (["coco", "a.json", "csv", "b.txt", "--weights", "1"], "f.json", "expected 2 numbers"),
        (["coco", "a.json", "csv", "b.txt", "--iou", "1.5"], "f.json", "IoU threshold"),
        (["coco", "a.json", "photos.yaml"], "f.json", "has no pseudo boxes"),
    ],
)
def test_wrong_words_are_one_line_and_write_nothing(root, capsys, words, output, message):
    before = {path.name: path.read_bytes() for path in root.iterdir() if path.is_file()}
    assert fuse(*words, output=output) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    after = {path.name: path.read_bytes() for path in root.iterdir() if path.is_file()}
    assert after == before
