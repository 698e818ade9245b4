"""wend.reports.score_figures: what is plotted is what evaluation computed, and can be read."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from wend.evaluation.fixed_boxes import FixedBoxes
from wend.evaluation.numbers import recall_curve
from wend.evaluation.protocols import get_protocol
from wend.evaluation.scoring import score_all
from wend.reports import figures, score_figures
from wend.reports.score_figures import iou_figure, recall_figure
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

NAMES = ["psol-crop224", "original", "wsoleval-v2", "bas-crop224"]
IMAGES = 30


def scored(names, most_boxes=12, with_fixed=True):
    rng = np.random.default_rng(0)
    records, boxes, scores = [], [], []
    for i in range(IMAGES):
        truth = np.array([20, 20, 20 + rng.integers(20, 170), 20 + rng.integers(20, 170)])
        records.append(ImageRecord(i, "x", 200, 200, class_id=i % 3, gt_boxes=[truth]))
        number = rng.integers(0, most_boxes + 1) if i else most_boxes
        boxes.append(truth * rng.uniform(0.6, 1.0, (number, 1)))
        scores.append(rng.random(number))
    fixed = FixedBoxes.from_boxes([[0.1, 0.1, 0.6, 0.6], [0.1, 0.1, 0.9, 0.9]], "fixed.json")
    protocols = [get_protocol(name) for name in names]
    table = BoxTable.from_lists(boxes, scores)
    baseline = fixed if with_fixed else None
    return score_all(DataSet.from_records(records), table, protocols, [2], baseline=baseline)


@pytest.fixture
def shown():
    """Keeps figures, drawn, until the test's end."""
    kept = []

    def show(figure):
        figure.canvas.draw()
        kept.append(figure)
        return figure

    yield show
    for figure in kept:
        figures.load_pyplot().close(figure)


def check_nothing_overlaps(figure):
    """Titles, axes' names, legend and panels are inside the figure and none is on another."""
    renderer = figure.canvas.get_renderer()
    texts = [axes.title for axes in figure.axes]
    texts += [figure._supxlabel, figure._supylabel, *figure.legends]
    extents = [text.get_window_extent(renderer) for text in texts]
    extents += [axes.get_window_extent(renderer) for axes in figure.axes]
    for i, box in enumerate(extents):
        assert min(box.x0, box.y0) >= -1
        assert max(box.x1 - figure.bbox.width, box.y1 - figure.bbox.height) <= 1
        assert not any(box.overlaps(other) for other in extents[i + 1 :])


@pytest.mark.parametrize("names", [NAMES[:1], NAMES[:2], NAMES])
def test_recall_is_the_curve_of_each_protocol_and_of_the_fixed_boxes(shown, names):
    scores = scored(names)
    figure = shown(recall_figure(scores))
    for axes, (name, result) in zip(figure.axes, scores.items(), strict=True):
        detections, fixed = axes.lines
        assert axes.get_title().startswith(f"{name}\n")
        assert np.array_equal(detections.get_ydata(), recall_curve(result.per_image, 12))
        assert np.array_equal(fixed.get_ydata(), recall_curve(result.fixed, 2))
        assert detections.get_xdata().tolist() == list(range(1, 13))
        for look in ("get_color", "get_linestyle", "get_marker"):
            assert getattr(detections, look)() != getattr(fixed, look)()
    check_nothing_overlaps(figure)
    assert {text.get_text() for text in figure.legends[0].texts} == {"detections", "fixed boxes"}


@pytest.mark.parametrize("names", [NAMES[:1], NAMES[2:3], NAMES])
def test_bars_are_shares_of_images_and_those_right_of_the_threshold_are_hits(shown, names):
    scores = scored(names)
    figure = shown(iou_figure(scores))
    for axes, (name, result) in zip(figure.axes, scores.items(), strict=True):
        bars = [bar for group in axes.containers for bar in group]
        assert sum(bar.get_height() for bar in bars) == pytest.approx(100)
        hits = [bar for group in axes.containers if group.get_label() == "hits" for bar in group]
        share = 100 * np.mean(result.per_image.top_iou >= max(result.protocol.thresholds))
        assert sum(bar.get_height() for bar in hits) == pytest.approx(share)
        assert name in axes.get_title()
    check_nothing_overlaps(figure)


def test_one_box_per_image_without_fixed_boxes_can_be_drawn(shown):
    scores = scored(NAMES[:1], most_boxes=1, with_fixed=False)
    recall = shown(recall_figure(scores))
    assert len(recall.axes[0].lines) == 1
    for figure in (recall, shown(iou_figure(scores))):
        check_nothing_overlaps(figure)


def test_the_files_are_pictures_and_the_same_bytes_again(tmp_path):
    scores = scored(NAMES[:2])
    for name in ("a", "b"):
        written = score_figures.draw_score_figures(tmp_path / name, scores)
        assert [path.name for path in written] == ["recall.png", "iou_histogram.png"]
    for path in written:
        assert Image.open(path).width > 400
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()
    assert not figures.load_pyplot().get_fignums()


def test_lines_of_many_numbers_differ_in_more_than_colour():
    styles = [tuple(figures.line_style(i).values())[:3] for i in range(28)]
    assert len({*styles}) == len(styles)
    assert all(a[1:] != b[1:] for a, b in pairwise(styles))
