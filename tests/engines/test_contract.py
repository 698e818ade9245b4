"""Both engines keep one contract: from the same YAML the same files, in the same form."""

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
from engine_runs import CONFIG_FILES, CONFIGS, EVALUATION_FILES, TWO_TESTS, run
from PIL import ImageColor

from wend.cli.parser import main as wend
from wend.datasets.catalog import DataSets
from wend.reports.roles import OURS, TRUTH

TEST_SET = "toy_test"


@pytest.fixture(params=["fcos", "rcnn"])
def output_dir(request, engine, finished):
    return finished(engine, request.param)


def _structure(value):
    """Keys and types of JSON without the values."""
    if isinstance(value, dict):
        return {key: _structure(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return [_structure(item) for item in value]
    return type(value).__name__


def test_evaluation_leaves_the_same_files_for_each_data_set(output_dir):
    folders = {path.name: path for path in (output_dir / "inference").iterdir()}
    assert set(folders) == {"toy_test", "toy_test_c2am"}
    for folder in folders.values():
        assert {path.name for path in folder.iterdir()} == EVALUATION_FILES


def test_detections_are_coco_results_in_original_pixels(output_dir):
    rows = json.loads((output_dir / "inference" / TEST_SET / "detections.json").read_text())
    records = {record.image_id: record for record in DataSets().get(TEST_SET)}
    assert {row["image_id"] for row in rows} <= set(records)
    order = [row["image_id"] for row in rows]
    assert sorted(order, key=list(records).index) == order
    for row in rows:
        assert list(row) == ["image_id", "category_id", "bbox", "score"]
        assert type(row["image_id"]) is int
        assert row["category_id"] == 1
        assert [type(value) for value in row["bbox"]] == [float] * 4
        assert type(row["score"]) is float
        assert 0 <= row["score"] <= 1
        x, y, w, h = row["bbox"]
        record = records[row["image_id"]]
        assert x >= -1e-3
        assert y >= -1e-3
        assert w > 0
        assert h > 0
        assert x + w <= record.width + 1e-3
        assert y + h <= record.height + 1e-3
    for image_id in records:
        scores = [row["score"] for row in rows if row["image_id"] == image_id]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) <= 10  # TEST.DETECTIONS_PER_IMAGE


def test_detections_lie_in_what_the_crop_shows_of_the_image(output_dir):
    # 56 of the squash's 64 pixels: 4/64 of the image is cut off at each side
    rows = json.loads((output_dir / "inference" / TEST_SET / "detections.json").read_text())
    records = {record.image_id: record for record in DataSets().get(TEST_SET)}
    for row in rows:
        record = records[row["image_id"]]
        x, y, w, h = row["bbox"]
        for low, high, side in ((x, x + w, record.width), (y, y + h, record.height)):
            assert 4 / 64 - 1e-4 <= low / side <= high / side <= 60 / 64 + 1e-4


def test_metrics_have_one_structure(output_dir):
    metrics = json.loads((output_dir / "inference" / TEST_SET / "metrics.json").read_text())
    assert set(metrics) == {"psol-crop224", "original"}
    for name, result in metrics.items():
        assert set(result) == {
            *("gt_known_loc", "gt_known_loc_multi", "max_boxes", "mean_boxes", "num_images"),
            *("max_box_acc_30", "max_box_acc_50", "max_box_acc_70", "mean_iou"),
            *(
                "missing",
                "view",
                "protocol",
                "dataset",
                "versions",
                "num_excluded",
                "counts",
                "inputs",
            ),
            *("multi", "recall_at_k", "max_box_acc", "mean_top_iou", "mean_best_iou"),
            *("iou_histogram", "intervals", "interval_kinds", "level", "baseline"),
        }
        assert list(result["multi"]) == ["5", "1", "10", "all"]  # WEND.MAX_BOXES first
        assert result["level"] == 0.95
        assert 0 < result["baseline"]["gt_known_loc_multi@10"] <= 100
        assert result["protocol"]["name"] == name
        assert result["dataset"] == TEST_SET
        assert result["num_images"] == 12
        assert result["max_boxes"] == 5
        assert 0 <= result["gt_known_loc"] <= result["gt_known_loc_multi"] <= 100


def test_the_command_writes_the_same_bytes_from_the_detections_alone(output_dir, tmp_path):
    for name in ("toy_test", "toy_test_c2am"):
        folder = output_dir / "inference" / name
        arguments = ["--ground-truth", name, "--detections", folder / "detections.json"]
        arguments += ["--baseline-boxes", "toy_train_c2am", "--max-boxes", 5, 1, 10, "all"]
        arguments += ["--view", "crop56-of-64", "--output", tmp_path / name]
        assert wend(["evaluate", *map(str, arguments)]) == 0
        written = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        assert set(written) == EVALUATION_FILES - {"detections.json"}
        for file, content in written.items():
            assert (folder / file).read_bytes() == content, file


def test_curve_has_the_columns_and_a_block_for_each_epoch_and_data_set(output_dir):
    with open(output_dir / "curve.csv", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert reader.fieldnames == ["iteration", "epoch", "dataset", "protocol", "metric", "value"]
    places = {(row["iteration"], row["epoch"], row["dataset"]) for row in rows}
    assert places == {
        (iteration, epoch, name)
        for iteration, epoch in (("3", "1"), ("6", "2"))
        for name in ("toy_test", "toy_test_c2am")
    }
    assert len(rows) == 4 * 2 * 7  # two protocols, six metrics and K
    for row in rows[len(rows) // 2 :]:  # the last evaluation's
        written = json.loads((output_dir / f"inference/{row['dataset']}/metrics.json").read_text())
        value = written[row["protocol"]][row["metric"]]
        assert float(row["value"]) == pytest.approx(value, abs=1e-6)


@pytest.mark.detectron2
@pytest.mark.parametrize("detector", ["fcos", "rcnn"])
def test_engines_write_the_same_structure(finished, detector):
    d2, tv = finished("detectron2", detector), finished("torchvision", detector)
    for name in ("toy_test", "toy_test_c2am"):
        ours, theirs = (
            _structure(json.loads((path / "inference" / name / "metrics.json").read_text()))
            for path in (d2, tv)
        )
        assert ours == theirs
    ours, theirs = ([line.split(",")[:5] for line in open(p / "curve.csv")] for p in (d2, tv))
    assert ours == theirs


@pytest.mark.detectron2
def test_engines_read_the_same_settings_from_the_same_yaml(finished):
    from fvcore.common.config import CfgNode

    d2, tv = (
        CfgNode.load_yaml_with_base(str(finished(engine, "rcnn") / "config.yaml"))
        for engine in ("detectron2", "torchvision")
    )

    def differences(ours, theirs, path=""):
        for key, value in ours.items():
            if isinstance(value, dict):
                yield from differences(value, theirs[key], f"{path}{key}.")
            elif key != "OUTPUT_DIR" and theirs[key] != value:
                yield f"{path}{key}: {value} and {theirs[key]}"

    assert list(differences(tv, d2)) == []


def _read_png(path):
    image = cv2.imread(str(path))
    assert image is not None, f"{path} is no picture"
    return image[:, :, ::-1].astype(int)


def _share_on_border(picture, box, role):
    """Share of a box's border (x0, y0, x1, y1) that has the role's colour, give or take a pixel."""
    color = ImageColor.getrgb(role.color)
    near = np.abs(picture - color).max(2) <= 30
    near = cv2.dilate(near.astype(np.uint8), np.ones((3, 3))) > 0
    x0, y0, x1, y1 = (round(float(value)) for value in box)
    height, width = near.shape
    border = [(x, y) for x in range(x0, x1 + 1) for y in (y0, y1)]
    border += [(x, y) for y in range(y0, y1 + 1) for x in (x0, x1)]
    inside = [(x, y) for x, y in border if 0 <= x < width and 0 <= y < height]
    return sum(near[y, x] for x, y in inside) / len(inside)


@pytest.mark.parametrize(
    "output_dir", ["fcos", pytest.param("rcnn", marks=pytest.mark.slow)], indirect=True
)
def test_report_writes_a_table_and_pictures_with_boxes_in_their_places(
    output_dir, toy_root, capsys
):
    flags = ["--datasets-root", str(toy_root.parent), "--num-images", "5"]
    assert wend(["report", str(output_dir), *flags]) == 0
    printed = capsys.readouterr().out
    table = (output_dir / "report.md").read_text()
    assert table.strip() in printed
    for label in (
        "pseudo boxes trained on (toy_train_c2am)",
        "detector (toy_test)",
        "pseudo boxes of the test images (toy_test_c2am)",
        "detector (toy_test_c2am)",
    ):
        # under each of the two protocols GT-known Loc, MaxBoxAcc 0.3 and 0.7, mean IoU, and of
        # detections, which are several of an image, GT-known Loc multi
        assert table.count(f" {label} |") == 2 * (4 + label.startswith("detector")), label
    assert "pseudo boxes of the test images (toy_test) |" not in table
    pictures = ("boxes", "recall", "iou_histogram")
    drawn_of = [f"{kind}_{name}.png" for kind in pictures for name in ("toy_test", "toy_test_c2am")]
    for name in ("report.md", "report.html", "curve.png", *drawn_of):
        assert f"written: {output_dir / name}" in printed

    # 5 images in 3 columns and 2 rows of 240 pixels, below a legend of 24
    picture = _read_png(output_dir / "boxes_toy_test.png")
    assert picture.shape == (2 * 240 + 24, 3 * 240, 3)
    records = DataSets().get("toy_test")
    rows = json.loads((output_dir / "inference" / "toy_test" / "detections.json").read_text())
    ours = []
    several = [i for i, record in enumerate(records) if len(record.gt_boxes) > 1]
    single = [i for i in range(len(records)) if i not in several]
    # two of the 5 have several objects, the other three are evenly spread over those with one
    picks = [several[0], several[-1], single[0], single[round((len(single) - 1) / 2)], single[-1]]
    for place, pick in enumerate(sorted(picks)):
        record = records[pick]
        top, left = 24 + place // 3 * 240, place % 3 * 240
        tile = picture[top : top + 240, left : left + 240]
        scale = 240 / max(record.width, record.height)
        drawn = tile[: round(record.height * scale), : round(record.width * scale)]
        assert (tile[drawn.shape[0] :] == 255).all()  # the rest is paper
        assert (tile[:, drawn.shape[1] :] == 255).all()
        for box in record.gt_boxes:
            assert _share_on_border(drawn, box * scale, TRUTH) > 0.5  # of strokes and gaps 2 to 1
        x, y, w, h = next(row["bbox"] for row in rows if row["image_id"] == record.image_id)
        best = np.array([x, y, x + w, y + h]) * scale
        ours.append(_share_on_border(drawn, best, OURS))
    assert min(ours) > 0.9  # our best box is drawn last

    curve = _read_png(output_dir / "curve.png")
    assert curve.shape == (480, 720, 3)  # 6 x 4 inches at 120 dots an inch
    assert len(np.unique(curve.reshape(-1, 3), axis=0)) > 10


def test_report_names_the_file_that_is_not_there(tmp_path, capsys):
    assert wend(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'config.yaml'}: there is no such file; expected the OUTPUT_DIR of a "
        f"training\n"
    )


def test_report_on_a_run_that_was_ended_early_says_what_is_missing(
    finished, toy_root, tmp_path, capsys
):
    run_folder = finished("torchvision", "fcos")
    (tmp_path / "config.yaml").write_text((run_folder / "config.yaml").read_text())
    log = (run_folder / "metrics.json").read_text()
    (tmp_path / "metrics.json").write_text(log + '{"iteration": 5, "total')
    assert wend(["report", str(tmp_path), "--datasets-root", str(toy_root.parent)]) == 0
    printed = capsys.readouterr().out
    file = tmp_path / "inference" / "toy_test" / "detections.json"
    assert f"boxes on toy_test: there is no {file} (no evaluation has ended yet)" in printed
    page = (tmp_path / "report.html").read_text()
    assert "It has not been evaluated yet: the log ends at iteration 6 of 6." in page
    assert "the last line of metrics.json: it is cut off" in page
    assert "Pseudo boxes" in page
    assert "not recorded" in page  # by a run of an earlier version: no machine.json, no versions


def test_report_of_a_run_whose_data_set_has_gone_shows_what_it_wrote(finished, tmp_path, capsys):
    run_folder = finished("torchvision", "fcos")
    page_file = tmp_path / "page.html"
    words = ["report", str(run_folder), "--datasets-root", str(tmp_path / "gone")]
    assert wend([*words, "--output", str(page_file)]) == 0
    assert "not in the report: images, truth and galleries of toy_test" in capsys.readouterr().out
    page = page_file.read_text()
    stored = json.loads((run_folder / "inference/toy_test/metrics.json").read_text())
    value = stored["psol-crop224"]["gt_known_loc"]
    assert f"The best box was right in {value:.1f} % of 12 images of toy_test" in page
    assert page.count("as its evaluation wrote it") == 2
    assert "<img" not in page


def test_a_page_never_calls_pseudo_boxes_the_truth(finished, toy_root, tmp_path):
    shutil.copytree(finished("torchvision", "fcos"), tmp_path / "run")
    said = dict.fromkeys(("toy_test", "toy_test_c2am"), "held-out pseudo boxes")
    (tmp_path / "run/reference.json").write_text(json.dumps(said))
    assert wend(["report", str(tmp_path / "run"), "--datasets-root", str(toy_root.parent)]) == 0
    page = (tmp_path / "run/report.html").read_text()
    assert "On toy_test the best box agrees with held-out pseudo boxes in " in page
    assert "how often boxes are right is not known" in page
    assert page.count("Scored against held-out pseudo boxes, not against the truth.") == 2
    assert "the best box is right" not in page


def test_report_of_two_runs_is_one_page_and_writes_no_other_file(
    finished, toy_root, tmp_path, monkeypatch, capsys
):
    run_folder = finished("torchvision", "fcos")
    shutil.copytree(run_folder, tmp_path / "other ü")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "other ü").iterdir()}
    monkeypatch.chdir(tmp_path)
    both = ["report", str(run_folder), "other ü", "--datasets-root", str(toy_root.parent)]
    assert wend(both) == 0
    assert "written: report.html" in capsys.readouterr().out
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "other ü").iterdir()}
    assert after == before
    page = (tmp_path / "report.html").read_text()
    assert "Asked: 2 runs beside each other: run, other ü." in page
    assert "On toy_test the best box is right: run " in page
    assert page.count("A row for each image, a column for each run: run, other ü.") == 4
    assert "The configs do not differ." in page
    assert wend(["report", "other ü", "other ü"]) == 2
    assert "is named twice; name each run once" in capsys.readouterr().err


def test_report_works_on_an_evaluation(engine, finished, tmp_path):
    weights = finished(engine, "fcos") / "model_final.pth"
    changes = {**TWO_TESTS, "MODEL.WEIGHTS": str(weights)}
    assert run(engine, tmp_path / "out", "--eval-only", changes=changes) == 0
    assert wend(["report", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.md").is_file()


@pytest.mark.parametrize("path", CONFIG_FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_config_says_in_twelve_lines_what_differs(path):
    lines = path.read_text().splitlines()
    # own photos: a detector of its own, as the study of photographs chose it, entry by entry
    assert path.name in ("Base-WEND.yaml", "photos.yaml") or len(lines) <= 12
    assert path.name == "Base-WEND.yaml" or any(line.startswith("_BASE_:") for line in lines)
