"""wend.evaluation.tables: what a person reads."""

import re

import numpy as np
import pytest

from wend.errors import InputError
from wend.evaluation.protocols import get_protocol
from wend.evaluation.scoring import score_all
from wend.evaluation.tables import (
    format_table,
    labelled_table,
    score_notes,
    score_rows,
    score_table,
)
from wend.structures.box_table import BoxTable
from wend.structures.class_predictions import ClassPredictions
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord


def test_table_shows_numbers_k_protocols_and_what_is_missing():
    record = ImageRecord(1, "a.png", 100, 50, class_id=0, gt_boxes=[[10, 10, 30, 40]])
    data_set = DataSet.from_records([record])
    boxes = [[60, 10, 80, 30], [5, 5, 20, 20], [1, 1, 4, 4]]
    detections = BoxTable.from_lists([boxes], [[0.9, 0.6, 0.2]])
    rows = {
        "detector (d)": score_all(data_set, detections, [get_protocol("original")], [3]),
        "truth": score_all(data_set, data_set.truth.scored(), [get_protocol("original")], [3]),
    }
    header, _, *body = labelled_table(rows).split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (header, *body)]
    assert cells == [  # no interval, no fixed boxes
        ["", "images", "protocol", "metric", "K", "boxes/image", "lowest score", "value"],
        ["detector (d)", "1", "original", "GT-known Loc", "1", "1.00", "0.9", "0.00"],
        ["detector (d)", "1", "original", "MaxBoxAcc 0.3", "1", "1.00", "0.9", "0.00"],
        ["detector (d)", "1", "original", "MaxBoxAcc 0.7", "1", "1.00", "0.9", "0.00"],
        ["detector (d)", "1", "original", "GT-known Loc multi", "3", "3.00", "0.2", "0.00"],
        ["detector (d)", "1", "original", "Mean IoU (0..1)", "1", "1.00", "0.9", "0.0000"],
        ["truth", "1", "original", "GT-known Loc", "1", "1.00", "1", "100.00"],
        ["truth", "1", "original", "MaxBoxAcc 0.3", "1", "1.00", "1", "100.00"],
        ["truth", "1", "original", "MaxBoxAcc 0.7", "1", "1.00", "1", "100.00"],
        ["truth", "1", "original", "Mean IoU (0..1)", "1", "1.00", "1", "1.0000"],
    ]
    assert labelled_table(rows).split("\n\n")[1].splitlines() == [
        "- per cent; original: original pixels; IoU > 0.5; mean over images",
        "- Top-1 Cls, Top-5 Cls, Top-1 Loc, Top-5 Loc, Top-5 Loc multi: needs class predictions "
        "(--class-predictions, or WEND.CLASS_PREDICTIONS)",
        "- left out, the same by definition: GT-known Loc = MaxBoxAcc 0.5",
        "- left out, the same by definition: GT-known Loc = MaxBoxAcc 0.5, GT-known Loc multi K 3",
    ]


def scored(number=8, boxes=12, ks=(1, 5, 10, None), protocols=("original",), **more):
    rng = np.random.default_rng(0)
    truth = [[10, 10, 60, 60]]
    records = [
        ImageRecord(i, f"{i}.png", 100, 100, class_id=i % 2, gt_boxes=truth) for i in range(number)
    ]
    corners = np.sort(rng.uniform(0, 100, (number, boxes, 2, 2)), axis=2)
    lists = corners.reshape(number, boxes, 4), rng.random((number, boxes))
    data_set = DataSet.from_records(records, "birds_50%")
    protocols = [get_protocol(name) for name in protocols]
    return score_all(data_set, BoxTable.from_lists(*lists), protocols, list(ks), **more)


RANKINGS = [0, 1, 4, 5, 6, 7], [1, 7, 4, 5, 6, 0], [2, 1, 4, 5, 6, 0]
CLASSES = ClassPredictions({i: RANKINGS[i % 3] for i in range(8)})


def rows_of(scores):
    return [tuple(row[1:3]) for row in score_rows(scores)]


def test_a_row_that_is_another_by_definition_is_left_out_and_the_files_have_it():
    scores = scored(class_predictions=CLASSES)
    assert rows_of(scores) == [
        ("Top-1 Cls", "-"),
        ("Top-5 Cls", "-"),
        ("Top-1 Loc", "1"),
        ("Top-5 Loc", "1"),
        ("GT-known Loc", "1"),
        ("MaxBoxAcc 0.3", "1"),
        ("MaxBoxAcc 0.7", "1"),
        ("GT-known Loc multi", "5"),
        ("GT-known Loc multi", "10"),
        ("GT-known Loc multi", "all"),
        ("Top-5 Loc multi", "5"),
        ("Mean IoU (0..1)", "1"),
    ]
    entry = scores["original"].to_dict()
    assert list(entry["multi"]) == ["1", "5", "10", "all"]
    for k, of_k in entry["multi"].items():
        assert {"gt_known_loc_multi", "top5_loc_multi"} <= set(of_k)
        assert of_k["top5_loc_multi"] == entry["multi"]["5" if k != "1" else "1"]["top5_loc_multi"]
    assert entry["max_box_acc_50"] == entry["gt_known_loc"] == entry["max_box_acc"]["0.5"]
    # what a copy is of has the same number, and the same values
    per_image = scores["original"].per_image
    for copy, shown in scores["original"].copies.items():
        values = [column.metric.values(per_image, column.k) for column in (copy, shown)]
        np.testing.assert_array_equal(*values)


def test_k_that_no_image_has_boxes_for_is_one_row():
    assert ("GT-known Loc multi", "5") in rows_of(scored(boxes=5))
    assert not {("GT-known Loc multi", k) for k in ("10", "all")} & set(rows_of(scored(boxes=5)))
    assert ("GT-known Loc multi", "all") in rows_of(scored(boxes=6, ks=(1, 5, None)))
    single = [metric for metric, _ in rows_of(scored(boxes=1))]
    assert "GT-known Loc multi" not in single
    # a K that no image has boxes for is "all", where that is asked for
    assert ("GT-known Loc multi", "all") in rows_of(scored(boxes=7))
    assert ("GT-known Loc multi", "10") not in rows_of(scored(boxes=7))
    assert [k for title, k in rows_of(scored(boxes=3)) if title.endswith("multi")] == ["all"]
    assert ("GT-known Loc multi", "5") in rows_of(scored(boxes=3, ks=(5, 10)))
    # else the first of equal ones is shown, whatever the order
    assert ("GT-known Loc multi", "all") in rows_of(scored(boxes=4, ks=(None, 10, 5)))
    assert ("GT-known Loc multi", "10") not in rows_of(scored(boxes=4, ks=(None, 10, 5)))


def test_max_box_acc_at_the_protocols_threshold_is_a_copy_and_else_none():
    both = scored(protocols=("wsoleval-v1", "wsoleval-v2"))
    titles = {name: [row[1] for row in score_rows({name: both[name]})] for name in both}
    assert "MaxBoxAcc 0.5" not in titles["wsoleval-v1"]
    assert "MaxBoxAcc 0.5" in titles["wsoleval-v2"]
    three = [both["wsoleval-v2"].numbers[f"max_box_acc_{t}"] for t in (30, 50, 70)]
    assert both["wsoleval-v2"].numbers["gt_known_loc"] == pytest.approx(np.mean(three))
    (note,) = [note for note in score_notes(both) if note.startswith("left out")]
    assert "GT-known Loc = MaxBoxAcc 0.5, GT-known Loc multi K 1 (wsoleval-v1)" in note


def test_classification_accuracy_looks_at_no_box():
    scores = scored(class_predictions=CLASSES)["original"]
    # image i has class i % 2: the first of its ranking is right for images 0, 1, 6 and 7, one of
    # the first five for all but 2 and 4
    assert scores.numbers["top1_cls"] == 50
    assert scores.numbers["top5_cls"] == 75
    row = next(row for row in score_rows({"original": scores}) if row[1] == "Top-1 Cls")
    assert row[2:6] == ["-", "-", "-", "50.00"]
    assert not any("-" in name for name in scores.scalars())  # Detectron2's printer drops those


def test_intervals_and_their_kinds_are_said():
    scores = scored(class_predictions=CLASSES, level=0.9, protocols=("original", "psol-crop224"))
    notes = [note for note in score_notes(scores) if note.startswith("low, high")]
    assert notes == [
        "low, high: 90 % confidence interval (Wilson's score interval for hits over images; "
        "Wilson's score interval with an effective number of images for means over classes and of "
        "IoU and other numbers within bounds)"
    ]
    entry = scores["psol-crop224"].to_dict()
    assert entry["level"] == 0.9
    assert set(entry["interval_kinds"].values()) == {"wilson-effective-n"}
    low, high = entry["intervals"]["top1_cls"]
    assert 0 <= low < entry["top1_cls"] < high <= 100
    assert scored()["original"].to_dict()["intervals"] == {}
    with pytest.raises(InputError, match=r"level of the intervals: expected a number in \(0, 1\)"):
        scored(level=95)


def braces(text):
    """Depth of braces at each end of a line, escaped ones left out."""
    plain = re.sub(r"\\.", "", text)
    return plain.count("{") - plain.count("}")


def test_latex_is_a_table_that_compiles():
    scores = scored(class_predictions=CLASSES, protocols=("original", "psol-crop224"), level=0.95)
    text = score_table(scores, ["50 % of\nall"], "latex")
    comments = [line for line in text.splitlines() if line.startswith("%")]
    assert comments[-1] == "% 50 % of all"
    lines = text.splitlines()[len(comments) :]
    assert lines[:4] == [
        r"\begin{table}",
        r"\centering",
        r"\caption{Localization on birds\_50\%, protocols original, psol-crop224.}",
        r"\label{tab:birds-50-original-psol-crop224}",
    ]
    assert lines[4] == r"\begin{tabular}{llrrrrrrr}"  # numbers stand right
    assert lines[5] == r"\toprule"
    assert lines[7] == r"\midrule"
    assert lines[-3:] == [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    assert all(braces(line) == 0 for line in lines)
    for line in (lines[6], *lines[8:-3]):
        assert line.endswith(r" \\")
        assert len(re.split(r"(?<!\\)&", line)) == 9
        assert not re.search(r"(?<!\\)[%#$_]", line)


def test_latex_escapes_what_latex_reads_as_its_own():
    text = format_table(
        ["a_b", "x"], [["5 % & \\{#}~^", "-"], ["all", "-1.5"]], ["of 50 %"], "latex"
    )
    assert text.startswith("% of 50 %\n")
    assert "a\\_b & x" in text
    assert r"5 \% \& \textbackslash{}\{\#\}\textasciitilde{}\textasciicircum{} & - \\" in text
    assert r"\begin{tabular}{lr}" in text
    assert "caption" not in text


def test_a_bar_in_a_cell_does_not_cut_markdowns_row():
    assert r"a\|b" in format_table(["x"], [["a|b"]])
