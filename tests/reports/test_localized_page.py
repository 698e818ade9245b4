"""The page of wend pseudo-boxes: what it says of boxes that are hardly an object's, by hand."""

import re

import numpy as np
from PIL import Image

from wend.localize.cost import Cost
from wend.localize.next_steps import NextStep
from wend.reports.bars import histogram
from wend.reports.localized_page import localized_page
from wend.reports.page import render
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord


def test_doubtful_boxes_are_counted_first_and_what_to_do_is_said(tmp_path):
    boxes = {
        "whole": ([0, 0, 100, 50], 0.0),  # nothing found
        "large": ([0, 0, 98, 48], 0.9),  # 94 % of the image, at two borders
        "small": ([50, 20, 54, 28], 0.5),  # 0.64 %
        "half": ([0, 0, 50, 50], 0.4),  # at three borders
        "good": ([20, 10, 80, 40], 0.7),  # near the median
        "other": ([20, 10, 80, 42], 0.7),
        "unread": (None, 0.0),
    }
    records = []
    for name in boxes:
        Image.new("RGB", (100, 50)).save(tmp_path / f"{name}.png")
        file = str(tmp_path / f"{name}.png")
        records.append(ImageRecord(name, file, width=100, height=50, key=f"{name}.png"))
    table = BoxTable.from_lists(
        [[] if box is None else [box] for box, _ in boxes.values()],
        scores=[[] if box is None else [score] for box, score in boxes.values()],
    )
    steps = [NextStep("train", ["auto", "my photos", "--output", "it's"])]
    page = localized_page(
        *(DataSet.from_records(records), table, {"method": "<mine>"}, Cost(7, 1, 2, 7), 3),
        steps=steps,
    )
    assert [section.title for section in page.sections][:3] == ["At a glance", "Images", "Next"]
    rows = page.sections[0].parts[0].rows
    # median box: x 10, y 5, to 80, 45 in pixels, that is sides of 70 and 40
    assert [row[1] for row in rows] == ["1", "1", "1", "1", "0", "1"]
    html = render(page)
    assert "wend auto &#39;my photos&#39; --output &#34;it&#39;s&#34;" in html
    assert "<mine>" not in html


def test_boxes_that_are_everywhere_the_same_are_counted(tmp_path):
    records = [
        ImageRecord(i, f"{i}.png", width=w, height=40, key=f"{i}")
        for i, w in enumerate((40, 80, 20))
    ]
    table = BoxTable.from_lists(
        [[[10, 10, 30, 30]], [[20, 10, 60, 31]], [[5, 0, 10, 10]]], scores=[[0.5], [0.4], [0.3]]
    )
    page = localized_page(DataSet.from_records(records), table, {"method": "lost"}, None, 3)
    (row,) = [row for row in page.sections[0].parts[0].rows if "median" in row[0]]
    assert row[1:] == ["2", "66.7 %"]  # sides of a quarter to three, but for 31 instead of 30


def test_bars_are_as_high_as_the_numbers():
    figure = histogram("scores", np.array([0, 0.1, 0.3, 0.9, 1.0]), np.array([0, 0.5, 1]), (0, 1))
    heights = [float(height) for height in re.findall(r'height="([\d.]+)"', figure.svg)]
    assert heights == [118.0, 78.7]  # three values and two, 118 * 2 / 3
    assert "0 to 0.5: 3" in figure.svg
    assert "0.5 to 1: 2" in figure.svg
    assert figure.alt == "scores: 5 values, median 0.3."
