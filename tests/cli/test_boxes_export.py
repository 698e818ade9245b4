"""``wend boxes export``: which boxes are written, and what is refused."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from wend.cli.parser import main
from wend.datasets.catalog import DataSets

BOXES = {"c/a 1.png": [[1, 2, 11, 22], [3, 4, 8, 9]], "d/a 1.png": [[0, 0, 20, 10]]}
SCORES = {"c/a 1.png": [0.25, 0.75], "d/a 1.png": [0.5]}


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A declared data set of two photos, whose boxes are in a CSV."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEND_DATASETS", "")
    rows = ["image,x0,y0,x1,y1,score"]
    for name, boxes in BOXES.items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(tmp_path / "photos" / name)
        rows += [
            f"{name},{','.join(map(str, box))},{score}"
            for box, score in zip(boxes, SCORES[name], strict=True)
        ]
    (tmp_path / "boxes.csv").write_text("\n".join(rows))
    declaration = {
        "name": "mine",
        "format": "folder",
        "images": "./photos",
        "pseudo_boxes": {"source": "csv", "path": "./boxes.csv"},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(declaration))
    return tmp_path


def export(*words, output="out"):
    return main(["boxes", "export", "mine.yaml", *words, "--output", output])


def written(folder="out"):
    content = json.loads((folder / "coco/annotations.json").read_text())
    return content, [row["bbox"] for row in content["annotations"]]


def test_the_data_sets_own_pseudo_boxes(photos, capsys):
    assert export("--format", "coco,yolo", "voc", "--option", "link_images=true") == 0
    content, boxes = written(photos / "out")
    assert boxes == [[3, 4, 5, 5], [1, 2, 10, 20], [0, 0, 20, 10]]  # best first
    assert [row["score"] for row in content["annotations"]] == [0.75, 0.25, 0.5]
    assert [row["file_name"] for row in content["images"]] == [*BOXES]
    assert (photos / "out/yolo/images/d/a 1.png").is_file()
    assert "written: out/voc" in capsys.readouterr().out


def test_other_boxes_and_fewer_of_them(photos):
    words = ("--boxes", "csv", "boxes.csv", "max_boxes=2", "--min-score", "0.3", "--format", "coco")
    assert export(*words, "--max-boxes", "1", "--labels", "bird") == 0
    content, boxes = written(photos / "out")
    assert boxes == [[3, 4, 5, 5], [0, 0, 20, 10]]
    assert content["categories"] == [{"id": 1, "name": "bird", "supercategory": ""}]


@pytest.mark.parametrize("named", ["file", "run"])
def test_detections_of_a_run(photos, named):
    rows = [
        {"image_id": "d/a 1.png", "category_id": 1, "bbox": [-1.5, 2, 9, 9], "score": 0.125},
        {"image_id": "c/a 1.png", "category_id": 1, "bbox": [5, 6, 7, 8], "score": 0.5},
    ]
    file = photos / "run/inference/mine/detections.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(rows))
    assert export("--boxes", "run" if named == "run" else str(file), "--format", "coco") == 0
    assert written(photos / "out")[1] == [[5, 6, 7, 8], [-1.5, 2, 9, 9]]


def test_detections_of_several_classes_need_a_word(photos, capsys):
    rows = [
        {"image_id": "c/a 1.png", "category_id": i, "bbox": [5, 6, 7 + i, 8], "score": 0.5}
        for i in range(2)
    ]
    (photos / "two.json").write_text(json.dumps(rows))
    assert export("--boxes", "two.json", "--format", "coco") == 2
    assert "say what they are: --box-classes use" in capsys.readouterr().err
    assert export("--boxes", "two.json", "--format", "coco", "--box-classes", "ignore") == 0
    assert len(written(photos / "out")[1]) == 2
    assert export("--format", "coco", "--box-classes", "use") == 2
    assert "--box-classes: is about detections of a run" in capsys.readouterr().err


def test_true_boxes_with_the_classes_of_their_images(photos):
    """Written as VOC's XML, declared as truth, and written again."""
    assert export("--format", "voc", "--option", "pixels=edges", output="first") == 0
    declared = yaml.safe_load((photos / "mine.yaml").read_text())
    truth = {"annotations": "./first/voc/Annotations"}
    (photos / "mine.yaml").write_text(yaml.safe_dump(declared | truth))
    words = ("--truth", "--image-classes", "--labels", "wren", "gull")
    assert export(*words, "--format", "coco") == 0
    content, boxes = written(photos / "out")
    assert boxes == [[3, 4, 5, 5], [1, 2, 10, 20], [0, 0, 20, 10]]
    assert [row["category_id"] for row in content["annotations"]] == [1, 1, 2]
    assert [row["name"] for row in content["categories"]] == ["wren", "gull"]
    assert not any("score" in row for row in content["annotations"])


def test_toy_boxes_are_those_that_training_gets(toy_root, tmp_path, capsys):
    words = ["boxes", "export", "toy_test_c2am", "--datasets-root", str(toy_root.parent)]
    assert main([*words, "--format", "csv", "--output", str(tmp_path)]) == 0
    rows = np.genfromtxt(tmp_path / "csv/boxes.csv", delimiter=",", names=True, dtype=None)
    boxes = np.stack([rows[name] for name in ("x0", "y0", "x1", "y1")], 1)
    data_set = DataSets(toy_root.parent).get("toy_test_c2am")
    np.testing.assert_array_equal(boxes, data_set.pseudo_boxes.boxes)
    np.testing.assert_array_equal(rows["image_id"], data_set.image_ids)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--format: expected some of coco, csv, cvat, label_studio, voc, yolo"),
        (("--format", ","), "--format: expected some of coco"),
        (("--format", "coco,coco"), "label files: expected different formats, got coco, coco"),
        (("--format", "json"), "unknown label format 'json'"),
        (("--format", "coco", "--option", "x"), "--option: expected OPTION=VALUE, got 'x'"),
        (("--format", "coco", "--option", "x=1"), "label files: no option x"),
        (("--format", "coco", "--truth"), "data set mine: has no true boxes"),
        (("--format", "coco", "--max-boxes", "0"), "--max-boxes: expected a number from 1, got 0"),
        (("--format", "coco", "--boxes", "no.json"), "no.json: there is no such file"),
        (("--format", "coco", "--boxes", "photos"), "detections.json: there is no such file"),
        (("--format", "coco", "--boxes", "csv"), "box source 'csv': expected its PATH behind it"),
        (("--format", "coco", "--image-classes", "--labels", "a"), "classes up to 1, but there"),
    ],
)
def test_what_is_refused(photos, capsys, words, message):
    assert export(*words) == 2
    assert message in capsys.readouterr().err
    assert not (photos / "out").exists()


def test_min_score_needs_scores(photos, capsys):
    (photos / "boxes.csv").write_text("image,x0,y0,x1,y1\nc/a 1.png,1,2,3,4\n")
    assert export("--format", "coco", "--min-score", "0.5") == 2
    assert "--min-score: the boxes have no scores" in capsys.readouterr().err


def test_a_second_run_needs_overwrite(photos, capsys):
    assert export("--format", "coco") == 0
    assert export("--format", "csv,coco") == 2
    assert "out/coco: is there already" in capsys.readouterr().err
    assert not (photos / "out/csv").exists()  # all is checked before
    assert export("--format", "coco", "--overwrite", "--max-boxes", "1") == 0
    assert len(written(photos / "out")[1]) == 2
