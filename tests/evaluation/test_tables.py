"""wend.evaluation.tables: what a person reads."""

from wend.evaluation.protocols import get_protocol
from wend.evaluation.scoring import score_all
from wend.evaluation.tables import format_table, labelled_table
from wend.structures.box_table import BoxTable
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
        ["detector (d)", "1", "original", "GT-known Loc multi", "3", "3.00", "0.2", "0.00"],
        ["truth", "1", "original", "GT-known Loc", "1", "1.00", "1", "100.00"],
        ["truth", "1", "original", "GT-known Loc multi", "3", "1.00", "1", "100.00"],
    ]
    assert labelled_table(rows).split("\n\n")[1].splitlines() == [
        "- per cent; original: original pixels; IoU > 0.5; mean over images",
        "- Top-1 Loc, Top-5 Loc, Top-5 Loc multi: needs class predictions "
        "(--class-predictions, or WEND.CLASS_PREDICTIONS)",
    ]


def test_latex_escapes_what_latex_reads_as_its_own():
    text = format_table(["a_b"], [["5 %"]], ["of 50 %"], "latex")
    assert text.startswith("% of 50 %\n")
    assert "a\\_b" in text
    assert "5 \\%" in text
