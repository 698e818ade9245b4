"""``wend evaluate``: from files to numbers, against hand values, pycocotools and the metrics."""

import contextlib
import csv
import io
import json
import math
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import parquet
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from wend import cli
from wend.classes.predictions import write_class_predictions
from wend.evaluation.evaluation import Evaluation
from wend.evaluation.fixed_boxes import fixed_box_table
from wend.evaluation.metrics import METRICS
from wend.evaluation.protocols import get_protocol
from wend.evaluation.scoring import score_all
from wend.files import read_json, sha256, write_json
from wend.formats.coco import records_to_coco
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

TRUTH = [[10, 10, 110, 110]]
RECORDS = [
    ImageRecord(i, f"c/{i}.jpg", 400, 400, class_id=i % 2, gt_boxes=TRUTH) for i in (1, 2, 3, 4)
]
DATA_SET = DataSet.from_records(RECORDS, "truth.json")
# image 1: the best box is the truth; 2: the third is; 3: no box is; 4: no box at all
RIGHT, WRONG = [10, 10, 100, 100], [200, 200, 150, 150]
BOXES = {1: [RIGHT, WRONG], 2: [WRONG, WRONG, RIGHT], 3: [WRONG]}
DETECTIONS = BoxTable.from_lists(
    [[[x, y, x + w, y + h] for x, y, w, h in BOXES.get(i, [])] for i in (1, 2, 3, 4)],
    [[0.9 - 0.1 * n for n in range(len(BOXES.get(i, [])))] for i in (1, 2, 3, 4)],
)
ROWS = [
    {"image_id": i, "category_id": 1, "bbox": box, "score": 0.9 - 0.1 * n}
    for i, boxes in BOXES.items()
    for n, box in enumerate(boxes)
]


@pytest.fixture
def files(tmp_path):
    write_json(tmp_path / "truth.json", records_to_coco(RECORDS))
    write_json(tmp_path / "d.json", ROWS)
    # true classes 1, 0, 1, 0: right in first place, in fifth, in first, not at all
    ranks = {1: [1, 0, 2, 3, 4], 2: [4, 3, 2, 1, 0], 3: [1, 0, 2, 3, 4], 4: [9, 8, 7, 6, 5]}
    write_class_predictions(tmp_path / "c.json", {f"c/{i}.jpg": c for i, c in ranks.items()})
    return tmp_path


def evaluate(files, *more, output="out", detections="d.json", expect=0):
    arguments = ["--ground-truth", files / "truth.json", "--detections", files / detections]
    arguments += ["--output", files / output, *more]
    assert cli.main(["evaluate", *map(str, arguments)]) == expect
    return files / output


def test_numbers_are_those_counted_by_hand(files, capsys):
    out = evaluate(
        files, "--protocol", "original", "--class-predictions", files / "c.json",
        "--max-boxes", "1", "3", "all",
    )  # fmt: skip
    (entry,) = json.loads((out / "metrics.json").read_text()).values()
    assert entry["gt_known_loc"] == 25  # image 1
    assert entry["top1_loc"] == 25
    assert entry["top5_loc"] == 25
    assert {k: v["gt_known_loc_multi"] for k, v in entry["multi"].items()} == {
        "1": 25, "3": 50, "all": 50,
    }  # fmt: skip
    assert entry["multi"]["3"]["top5_loc_multi"] == 50
    assert entry["multi"]["3"]["mean_boxes"] == (2 + 3 + 1 + 0) / 4
    assert entry["multi"]["all"]["min_score"] == pytest.approx(0.7)
    assert (entry["max_boxes"], entry["num_images"], entry["missing"]) == (1, 4, {})
    assert entry["counts"]["images_without_detections"] == 1
    assert entry["counts"]["rows"] == entry["counts"]["boxes_scored"] == 6
    assert entry["inputs"]["detections"] == {
        "name": "d.json",
        "sha256": sha256(files / "d.json"),
    }
    assert entry["protocol"]["iou_threshold"] == 0.5
    printed = capsys.readouterr().out
    assert "GT-known Loc multi |   3" in printed
    assert "GT-known Loc multi K 3 = K all" in printed  # no image has four
    assert "1 images without detection are misses" in printed


def test_numbers_are_those_of_the_metrics_under_every_protocol(files):
    names = ["psol-crop224", "original", "tscam-squash224", "wsoleval-v1", "wsoleval-v2"]
    out = evaluate(files, "--protocol", *names, "--max-boxes", "2")
    written = json.loads((out / "metrics.json").read_text())
    assert list(written) == names
    protocols = [get_protocol(name) for name in names]
    for name, scores in score_all(DATA_SET, DETECTIONS, protocols, [2]).items():
        for metric, value in scores.numbers.items():
            assert written[name][metric] == pytest.approx(value, abs=1e-9)


def test_images_without_class_are_scored_by_the_default_protocols_that_need_none(files, capsys):
    truth = records_to_coco([replace(record, class_id=None) for record in RECORDS])
    write_json(files / "truth.json", truth)
    assert set(read_json(evaluate(files) / "metrics.json", "numbers")) == {"original"}
    said = "4 of 4 images have no class; of the default protocols psol-crop224"
    assert said in capsys.readouterr().out
    evaluate(files, "--protocol", "psol-crop224", "original", expect=2)
    assert "psol-crop224 averages over classes, and 4 images" in capsys.readouterr().err


def test_intervals_hold_the_value_at_any_level(files):
    (entry,) = json.loads(
        (evaluate(files, "--protocol", "original") / "metrics.json").read_text()
    ).values()
    low, high = entry["intervals"]["gt_known_loc"]
    assert 0 <= low <= entry["gt_known_loc"] <= high <= 100
    assert high > low
    assert entry["interval_kinds"]["gt_known_loc"] == "wilson"
    assert entry["level"] == 0.95
    # one of four hits: 0.05 = P(Poisson(4 low) >= 1), and of three misses P(Poisson(m) >= 3)
    # with m = 0.8177, 1 - m / 4, which is above Wilson's end
    assert (low, high) == pytest.approx((-25 * math.log(0.95), 79.56), abs=0.01)
    out = evaluate(files, "--level", "0.5", output="half")
    lower, higher = json.loads((out / "metrics.json").read_text())["original"]["intervals"][
        "gt_known_loc"
    ]
    assert low < lower < 25 < higher < high
    assert "50 % confidence interval" in (out / "results.md").read_text()


def test_files_are_the_same_bytes_for_any_order_of_images(files):
    shuffled = list(BOXES)
    random.Random(3).shuffle(shuffled)
    write_json(files / "other/d.json", [r for i in shuffled for r in ROWS if r["image_id"] == i])
    exports = ("--export", "coco", "csv", "parquet")
    first = evaluate(files, *exports)
    again = evaluate(files, *exports, output="again")
    other = evaluate(files, *exports, output="shuffled", detections="other/d.json")
    names = {path.name for path in first.iterdir()}
    assert names == {
        "metrics.json", "per_image.parquet", "results.md", "results.csv", "results.tex",
        "recall_curve.csv",
        "ground_truth.json", "detections.json", "detections.csv", "detections.parquet",
    }  # fmt: skip
    for name in names:
        assert (first / name).read_bytes() == (again / name).read_bytes(), name
        if name != "metrics.json":  # which holds the file's hash
            assert (first / name).read_bytes() == (other / name).read_bytes(), name


def test_per_image_values_average_to_the_metrics(files):
    out = evaluate(files, "--protocol", "original", "wsoleval-v2", "--max-boxes", "3")
    table = parquet.read_table(out / "per_image.parquet").to_pydict()
    assert table["image_id"] == [1, 2, 3, 4]
    assert table["boxes"] == [2, 3, 1, 0]
    assert table["original:first_hit"] == [0, 2, None, None]
    assert table["original:gt_known_loc_multi@3"] == [1, 1, 0, 0]
    written = json.loads((out / "metrics.json").read_text())
    for name in written:
        assert 100 * np.mean(table[f"{name}:gt_known_loc"]) == pytest.approx(
            written[name]["gt_known_loc"]
        )


def test_baseline_is_that_of_the_fixed_boxes_given(files):
    fractions = [[0.5, 0.5, 0.9, 0.9], [0.0, 0.0, 0.3, 0.3]]
    write_json(files / "fixed.json", fractions)
    more = ("--baseline-boxes", files / "fixed.json", "--max-boxes", "1", "2")
    entry = json.loads((evaluate(files, *more) / "metrics.json").read_text())["original"]
    fixed = fixed_box_table(DATA_SET, np.array(fractions))
    expected = score_all(DATA_SET, fixed, [get_protocol("original")], [1, 2])["original"]
    assert entry["baseline"] == {column.label: c.value for column, c in expected.cells.items()}
    # the second box, 120 x 120, holds the truth, 100 x 100: IoU 0.69
    assert entry["baseline"]["gt_known_loc_multi@2"] == 100
    assert entry["baseline"]["gt_known_loc_multi@1"] == 0
    # how many there are is said: a larger K has no more
    assert entry["inputs"]["baseline_boxes"]["name"] == "the 2 given in fixed.json"


def test_baseline_never_looks_at_the_images_that_are_scored(files, capsys):
    evaluate(files, "--baseline-boxes", files / "truth.json", expect=2)
    assert "4 of its images are scored" in capsys.readouterr().err
    train = [ImageRecord(f"t{i}", f"t/{i}.jpg", 400, 400, gt_boxes=TRUTH) for i in range(9)]
    write_json(files / "train.json", records_to_coco(train))
    out = evaluate(files, "--baseline-boxes", files / "train.json", "--max-boxes", "1")
    entry = json.loads((out / "metrics.json").read_text())["original"]
    assert entry["baseline"]["gt_known_loc"] == 100  # every image has the training boxes' truth
    name = entry["inputs"]["baseline_boxes"]["name"]
    assert name == "chosen on the true boxes of train.json"


def test_low_scores_can_be_left_out(files):
    out = evaluate(files, "--score-threshold", "0.75", "--max-boxes", "3")
    entry = json.loads((out / "metrics.json").read_text())["original"]
    assert entry["multi"]["3"]["gt_known_loc_multi"] == 25  # image 2's third box scores 0.7
    assert entry["counts"]["boxes_scored"] == 5
    assert entry["counts"]["score_threshold"] == 0.75


def test_exports_give_pycocotools_what_the_inputs_give(files):
    out = evaluate(files, "--export", "coco")
    found = []
    for truth, results in (
        ("truth.json", "d.json"),
        ("out/ground_truth.json", "out/detections.json"),
    ):
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(files / truth))
            evaluation = COCOeval(coco, coco.loadRes(str(files / results)), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        found.append(evaluation.stats)
    np.testing.assert_array_equal(*found)
    assert found[0][1] > 0
    assert json.loads((out / "ground_truth.json").read_text()) == records_to_coco(RECORDS)


def test_tables_hold_the_same_numbers_in_three_formats(files):
    out = evaluate(files, "--protocol", "original", "--max-boxes", "3")
    with open(out / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["metric"], r["K"], r["value"]) for r in rows] == [
        ("GT-known Loc", "1", "25.00"),
        ("MaxBoxAcc 0.3", "1", "25.00"),
        ("MaxBoxAcc 0.7", "1", "25.00"),
        ("GT-known Loc multi", "3", "50.00"),
        ("Mean IoU (0..1)", "1", "0.2500"),
    ]
    assert rows[0]["fixed boxes"] == ""
    latex = (out / "results.tex").read_text()
    assert latex.startswith("% per cent; original: original pixels; IoU > 0.5")
    assert "\\toprule" in latex
    assert "50.00" in latex
    assert "| 50.00 |" in " ".join((out / "results.md").read_text().split())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--protocol", "best"], "unknown evaluation protocol 'best'"),
        (["--protocol", "original", "original"], "a protocol is named twice"),
        (["--max-boxes", "0"], "expected a number from 1 or 'all', got '0'"),
        (["--level", "95"], "--level must be in (0, 1), such as 0.95 for 95 %, got 95"),
        (["--class-predictions", "nowhere.json"], "nowhere.json: there is no such file"),
    ],
)
def test_wrong_arguments_end_in_one_line(files, capsys, more, message):
    evaluate(files, *more, expect=2)
    assert message in capsys.readouterr().err
    assert not (files / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--score-threshold", "nan"], "argument --score-threshold: expected a finite number"),
        (["--level", "0_9"], "argument --level: expected a finite number"),
        (["--ground-truth", "nowhere.json"], "argument --ground-truth: is given twice"),
    ],
)
def test_wrong_flags_end_as_argparse_says(files, capsys, more, message):
    with pytest.raises(SystemExit):
        evaluate(files, *more)
    assert message in capsys.readouterr().err
    assert not (files / "out").exists()


def test_protocols_of_two_flags_are_both_computed(files):
    out = evaluate(files, "--protocol", "original", "--protocol", "wsoleval-v1")
    assert list(json.loads((out / "metrics.json").read_text())) == ["original", "wsoleval-v1"]


def test_cut_detections_leave_no_file(files, capsys):
    (files / "cut.json").write_text((files / "d.json").read_text()[:-9])
    evaluate(files, detections="cut.json", expect=2)
    assert "cut.json: not a whole JSON value" in capsys.readouterr().err
    assert not (files / "out").exists()


def test_an_engine_writes_the_same_numbers(files):
    protocols = [get_protocol("psol-crop224"), get_protocol("original")]
    evaluation = Evaluation(DATA_SET, protocols, 1, more_ks=[1, 5, 10, None])
    evaluation.run(DETECTIONS, files / "engine")
    out = evaluate(files)
    for name in ("per_image.parquet", "results.csv"):
        assert (out / name).read_bytes() == (files / "engine" / name).read_bytes()


def test_metrics_are_added_by_name_and_from_a_file_of_ones_own(files, capsys):
    (files / "mine.py").write_text(
        "from wend.evaluation.metrics import register_metric\n\n"
        "@register_metric('Far misses', name='far')\n"
        "def share_of_far_misses(per_image):\n    return per_image.top_iou < 0.1\n"
    )
    own = f"{files / 'mine.py'}:share_of_far_misses"
    with METRICS.temporary():
        out = evaluate(files, "--metrics", "corloc", "mean_best_iou", "ap", own)
    plain = evaluate(files, output="plain")
    written = json.loads((out / "metrics.json").read_text())
    for name, entry in json.loads((plain / "metrics.json").read_text()).items():
        grown = ("intervals", "interval_kinds")
        assert entry.items() <= {**written[name], **{k: entry[k] for k in grown}}.items()
        assert entry["intervals"].items() <= written[name]["intervals"].items()
        assert (written[name]["corloc"], written[name]["far"]) == (25, 75)
        assert written[name]["mean_iou"] == written[name]["mean_top_iou"]
        assert 0 < written[name]["ap"] < 100
    rows = {tuple(row[:3]): row for row in read_csv(out / "results.csv")}
    assert rows["psol-crop224", "CorLoc", "1"][5] == "25.00"
    assert rows["original", "Far misses", "1"][5] == "75.00"
    assert rows["original", "Mean best IoU (0..1)", "all"][5] == "0.5000"
    assert [row for row in rows.values() if row[1] not in ADDED] == read_csv(plain / "results.csv")
    evaluate(files, "--metrics", "corlok", expect=2)
    assert "unknown metric 'corlok'. Did you mean 'corloc'?" in capsys.readouterr().err


ADDED = {"CorLoc", "Far misses", "Mean best IoU (0..1)", "AP"}


def test_the_documented_metrics_work(files):
    docs = (Path(__file__).parents[2] / "docs/evaluate.md").read_text()
    (files / "my_metrics.py").write_text(
        docs.split("```python\n# my_metrics.py\n")[1].split("```")[0]
    )
    names = [
        f"{files}/my_metrics.py:{name}" for name in ("loc70", "boxes_until_right", "small_found")
    ]
    with METRICS.temporary():
        more = ("--protocol", "original", "wsoleval-v2", "--max-boxes", "1", "3")
        out = evaluate(files, "--metrics", *names, *more)
    entries = json.loads((out / "metrics.json").read_text())
    for entry in entries.values():  # the same under a protocol with several thresholds
        for at_k in entry["multi"].values():
            assert at_k["small_found"] == at_k["gt_known_loc_multi"]
    entry = entries["original"]
    assert entry["loc70"] == 25
    assert entry["boxes_until_right"] == (1 + 3 + 1 + 0) / 4
    # each image's truth is 100 x 100 of 400 x 400
    assert [entry["multi"][k]["small_found"] for k in ("1", "3")] == [25, 50]


def test_no_tensor_library_is_imported(files):
    arguments = ["--ground-truth", "truth.json", "--detections", "d.json", "--output", "out"]
    code = (
        "import sys; from wend.cli.parser import main\n"
        f"status = main(['evaluate', *{arguments}, '--metrics', 'ap', '--analysis'])\n"
        "heavy = {'torch', 'torchvision', 'cv2', 'matplotlib'} & set(sys.modules)\n"
        "print(status, heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=files, capture_output=True, text=True)
    assert done.stdout.endswith("\n0 set()\n"), done.stderr
    versions = json.loads((files / "out/metrics.json").read_text())["original"]["versions"]
    assert versions["torch"] == torch.__version__


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_recall_curve_goes_to_the_last_box_and_has_the_fixed_boxes_beside_it(files, capsys):
    write_json(files / "fixed.json", [[0.5, 0.5, 0.9, 0.9], [0.0, 0.0, 0.3, 0.3]])
    more = ("--baseline-boxes", files / "fixed.json", "--max-boxes", "2", "--protocol", "original")
    out = evaluate(files, *more)
    assert read_csv(out / "recall_curve.csv") == [
        ["protocol", "K", "detections", "fixed boxes"],
        ["original", "1", "25.0000", "0.0000"],
        ["original", "2", "25.0000", "100.0000"],
        ["original", "3", "50.0000", ""],
    ]
    printed = capsys.readouterr().out
    said = "detections / fixed boxes, by K: 1: 25.00 / 0.00; 2: 25.00 / 100.00; 3: 50.00 / -"
    assert said in printed
    write_json(files / "fixed.json", 5 * [[0.5, 0.5, 0.9, 0.9]])  # more than any image's boxes
    out = evaluate(files, *more[:2], "--max-boxes", "5", output="five")
    rows = read_csv(out / "recall_curve.csv")
    assert [row[2:] for row in rows if row[0] == "original"][3:] == 2 * [["50.0000", "0.0000"]]


def test_ap_is_opt_in_and_stands_in_the_notes_and_the_file(files, capsys):
    out = evaluate(files)
    assert "coco" not in json.loads((out / "metrics.json").read_text())["original"]
    assert "AP50" not in capsys.readouterr().out
    out = evaluate(files, "--ap", output="ap")
    written = json.loads((out / "metrics.json").read_text())
    # by score: right (0.9), 2 wrong (0.9), 2 wrong (0.8), right (0.7): image 1's and image 2's
    # truth of 4 are found
    for entry in written.values():
        assert entry["coco"] == {**written["original"]["coco"]}
        assert entry["coco"]["ar1"] == 25
        assert entry["coco"]["ar10"] == entry["coco"]["ar100"] == 50
        assert 25 < entry["coco"]["ap50"] < 50
    pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    fast = evaluate(files, "--ap", "--ap-backend", "faster-coco-eval", output="fast")
    assert json.loads((fast / "metrics.json").read_text())["original"]["coco"] == pytest.approx(
        written["original"]["coco"], abs=1e-9
    )
    note = "AR@1 25.00, AR@10 50.00, AR@100 50.00"
    assert note in capsys.readouterr().out
    assert note in (out / "results.md").read_text()


def sections(text):
    """Protocol name -> first cell of each row -> the others."""
    found = {}
    for part in text.split("\n## ")[1:]:
        rows = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")]
        cells = [[cell.strip() for cell in row] for row in rows]
        found[part.split("\n")[0]] = {row[0]: row[1:] for row in cells}
    return found


def test_analysis_counts_hits_and_errors(files, capsys):
    out = evaluate(files, "--analysis")
    text = (out / "analysis.md").read_text()
    assert text.strip() in capsys.readouterr().out
    found = sections(text)
    assert list(found) == ["psol-crop224", "original"]
    for rows in found.values():
        assert rows["1"] == ["4", "25.00"]  # each image has one true box
        assert rows["5-10 %"] == ["4", "25.00"]  # 100 x 100 of 400 x 400 is 6.25 %
        assert rows["0 c"] == ["2", "0.00"]
        assert rows["1 c"] == ["2", "50.00"]
        # images 2 and 3: elsewhere; image 4: no box
        assert rows["place"][1:] == ["2", "66.67"]
        assert rows["none"][1:] == ["1", "33.33"]
        assert rows["part"][1:] == rows["whole"][1:] == rows["merged"][1:] == ["0", "0.00"]


def test_errors_are_told_in_the_frame_of_the_protocol(files):
    # truth fills the left 20 %; the crop hides the left 1/16 of it, so that the box 8/400..40/400,
    # a part in the image, begins at the frame's border
    record = ImageRecord(1, "c/1.jpg", 400, 400, class_id=0, gt_boxes=[[0, 0, 24, 400]])
    write_json(files / "truth.json", records_to_coco([record]))
    row = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 24, 160], "score": 0.5}
    write_json(files / "d.json", [row])
    found = sections((evaluate(files, "--analysis") / "analysis.md").read_text())
    assert found["original"]["part"][1:] == ["1", "100.00"]  # 160 of 400 rows
    # all of truth and box is left of the crop (400 / 16 = 25): no area, nothing to lie in
    assert found["psol-crop224"]["place"][1:] == ["1", "100.00"]


def test_many_classes_are_shown_from_both_ends(files):
    records = [
        ImageRecord(i, f"k{i:02}/a.jpg", 400, 400, class_id=i, gt_boxes=TRUTH) for i in range(25)
    ]
    write_json(files / "truth.json", records_to_coco(records))
    rows = [{"image_id": i, "category_id": 1, "bbox": RIGHT, "score": 0.5} for i in range(12)]
    write_json(files / "d.json", rows)
    more = ("--analysis", "--protocol", "original")
    text = (evaluate(files, *more) / "analysis.md").read_text()
    assert "worst 10 of 25 classes" in text
    worst, best = text.split("worst 10 of 25")[1].split("best 10 of 25")
    assert worst.count(" 0.00 |") == 10
    assert best.split("miss at IoU")[0].count("100.00 |") == 10


def test_a_blacklist_and_first_boxes_are_followed_by_the_analysis(files):
    two = [*TRUTH, [200, 200, 350, 350]]
    records = [ImageRecord(i, f"c/{i}.jpg", 400, 400, class_id=0, gt_boxes=two) for i in (1, 2)]
    write_json(files / "truth.json", records_to_coco(records))
    write_json(files / "d.json", [{**ROWS[0], "image_id": i, "bbox": WRONG} for i in (1, 2)])
    (files / "own.yaml").write_text("name: own\ntruth: first\nblacklist: [c/2.jpg]\n")
    out = evaluate(files, "--analysis", "--protocol", "original", files / "own.yaml")
    found = sections((out / "analysis.md").read_text())
    assert found["original"]["2"] == ["2", "100.00"]  # WRONG is the second true box
    assert found["own"]["2"] == ["1", "0.00"]
    assert found["own"]["place"][1:] == ["1", "100.00"]


# --- boxes in a frame, and with classes


def test_a_networks_box_of_the_crop_is_scored_as_psol_scores_it(tmp_path, capsys):
    # docs/protocols.md's smallest case: x = y = 0.5, w = h = 0.9 of the crop; IoU 110^2 / 201.6^2
    record = ImageRecord(1, "c/1.jpg", 256, 256, class_id=0, gt_boxes=[[130, 130, 256, 256]])
    write_json(tmp_path / "truth.json", records_to_coco([record]))
    row = {"image_id": 1, "category_id": 1, "bbox": [112, 112, 201.6, 201.6], "score": 1}
    write_json(tmp_path / "d.json", [row])
    more = ("--protocol", "psol-crop224", "original", "--metrics", "mean_iou")
    out = evaluate(tmp_path, *more, "--box-frame", "crop224")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["psol-crop224"]["mean_iou"] == pytest.approx(110**2 / 201.6**2)
    assert metrics["psol-crop224"]["counts"]["box_frame"] == "crop224"
    printed = capsys.readouterr().out
    assert "1 boxes reach out of their image (kept)" in printed
    assert "boxes are given in the frame crop224" in printed
    evaluate(tmp_path, "--box-frame", "crop", expect=2)
    assert "there are: original, fractions, squash224, crop224, sq" in capsys.readouterr().err


def test_pairs_of_class_and_box_are_asked_for(files, capsys):
    # classes of the images: 1, 0, 1, 0; image 1 is right by its first pair, 2 by its third
    rows = [dict(row, category_id=c) for row, c in zip(ROWS, (1, 0, 2, 1, 0, 0), strict=True)]
    write_json(files / "pairs.json", rows)
    evaluate(files, detections="pairs.json", expect=2)
    assert "category_id has 3 values" in capsys.readouterr().err
    more = ("--protocol", "original", "--box-classes")
    exports = ("--export", "parquet", "coco", "--ap")
    out = evaluate(files, *more, "use", *exports, detections="pairs.json")
    (entry,) = json.loads((out / "metrics.json").read_text()).values()
    assert [entry[name] for name in ("top1_loc", "top5_loc", "gt_known_loc")] == [25, 50, 50]
    assert entry["counts"]["images_without_true_class"] == 1  # image 3
    assert "1 images have boxes, but none of their own class" in capsys.readouterr().out
    again = evaluate(files, *more, "use", output="again", detections="out/detections.parquet")
    (other,) = json.loads((again / "metrics.json").read_text()).values()
    assert other["multi"] == entry["multi"]
    pair = files / "pair"  # the exported truth and detections belong together
    pair.mkdir()
    (out / "ground_truth.json").rename(pair / "truth.json")
    (out / "detections.json").rename(pair / "d.json")
    (again,) = json.loads((evaluate(pair, *more, "use") / "metrics.json").read_text()).values()
    assert again["multi"] == entry["multi"]
    assert again["top5_loc"] == entry["top5_loc"]
    out = evaluate(files, *more, "ignore", "--ap", detections="pairs.json")
    (ignored,) = json.loads((out / "metrics.json").read_text()).values()
    assert ignored["gt_known_loc"] == 25
    assert ignored["coco"] == entry["coco"]  # AP is class-agnostic
    classes = ("--class-predictions", files / "c.json")
    evaluate(files, *more, "use", *classes, detections="pairs.json", expect=2)
    assert "there are class predictions, too" in capsys.readouterr().err
