"""wend.reports.comparison_figure: the numbers of a comparison, where its table has them."""

import numpy as np
import pytest
from PIL import Image

from wend.evaluation.comparison import compare_methods
from wend.evaluation.protocols import get_protocol
from wend.evaluation.scoring import score_all
from wend.reports import comparison_figure, figures
from wend.reports.figures import MARKERS
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

PROTOCOLS = ["original", "wsoleval-v2"]  # of which one alone has MaxBoxAcc 0.5


def runs(share, seeds):
    """Scores of seeds that hit about a share of 60 images."""
    truth = [20, 20, 80, 80]
    data_set = DataSet.from_records(
        [ImageRecord(i, "x", 100, 100, class_id=i % 4, gt_boxes=[truth]) for i in range(60)]
    )
    scores = []
    for seed in range(seeds):
        hit = np.random.default_rng(seed).random(60) < share
        boxes = [[[20, 20, 80, 80 if h else 30], truth] for h in hit]
        table = BoxTable.from_lists(boxes, [[0.9, 0.1]] * 60)
        protocols = [get_protocol(name) for name in PROTOCOLS]
        scores.append(score_all(data_set, table, protocols, [1, 2]))
    return scores


@pytest.mark.parametrize("names", [["A", "B"], ["ours", "C2AM", "a method of a longer name"]])
def test_points_are_the_means_and_differences_of_the_table(tmp_path, monkeypatch, names):
    shares = (0.9, 0.4, 0.5)
    methods = {name: runs(share, 3 - i) for i, (name, share) in enumerate(zip(names, shares))}  # noqa: B905
    comparison = compare_methods(methods)
    kept = []
    monkeypatch.setattr(comparison_figure, "save_figure", lambda figure, path: kept.append(figure))
    comparison_figure.draw_comparison(tmp_path / "c.png", comparison)
    (figure,) = kept
    figure.canvas.draw()
    assert len(figure.axes) == 2 * len(PROTOCOLS)
    for (left, right), protocol in zip(np.reshape(figure.axes, (2, 2)), PROTOCOLS, strict=True):
        assert left.get_title(loc="left") == protocol
        points = [line.get_xdata()[0] for line in left.lines if line.get_marker() in MARKERS]
        means = [
            number.mean
            for number in comparison.methods
            if number.protocol == protocol and number.column.metric.unit == "%"
        ]
        assert sorted(points) == pytest.approx(sorted(means))
        titles = [text.get_text() for text in left.get_yticklabels()]  # no row without a point
        assert len(titles) * len(names) == len(means)
        assert ("MaxBoxAcc 0.5" in titles) == (protocol == "wsoleval-v2")
        points = [line.get_xdata()[0] for line in right.lines if line.get_marker() in MARKERS]
        mine = [
            pair
            for pair in comparison.pairs
            if pair.a.protocol == protocol and pair.a.column.metric.unit == "%"
        ]
        differences = [pair.test.difference for pair in mine]
        assert sorted(points) == pytest.approx(sorted(differences))
        filled = [line for line in right.lines if line.get_markerfacecolor() != "white"]
        sure = [pair for pair in mine if pair.p_holm is not None and pair.p_holm < 0.05]
        assert len([line for line in filled if line.get_marker() != "None"]) == len(sure)
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.texts]
    assert labels[: len(names)] == names
    assert f"{names[0]} - {names[1]}" in labels
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert not any(axes.get_window_extent().overlaps(box) for axes in figure.axes)
    figures.save_figure(figure, tmp_path / "c.png")
    assert Image.open(tmp_path / "c.png").width > 900
