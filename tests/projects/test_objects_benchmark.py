"""projects/benchmark/objects: scenes whose boxes are known, and numbers derived by hand."""

import importlib.util
import json
import math

import numpy as np
import pytest
from engine_runs import REPOSITORY
from PIL import Image

from wend.errors import InputError


def load(name):
    path = REPOSITORY / f"projects/benchmark/objects/{name}.py"
    spec = importlib.util.spec_from_file_location(f"objects_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


scenes, scores = load("scenes"), load("scores")


def test_auroc_is_the_share_of_pairs_in_order_and_half_of_the_ties():
    """Pairs: 3 > 1, 3 > 2, 2 > 1 and 2 = 2, so 3.5 of 4."""
    assert scores.auroc(np.array([3.0, 2.0]), np.array([1.0, 2.0])) == 3.5 / 4
    assert scores.auroc(np.array([1.0]), np.array([2.0])) == 0
    assert math.isnan(scores.auroc(np.array([]), np.array([2.0])))


TRUTH = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]])


def test_a_true_box_is_hit_once():
    same = np.array([[0.0, 0, 10, 9], [0, 0, 10, 10], [21, 0, 30, 10], [50, 50, 60, 60]])
    assert scores.hits(TRUTH, same) == 2
    assert scores.hits(TRUTH, same[:2]) == 1
    assert scores.hits(TRUTH[:0], same) == scores.hits(TRUTH, same[:0]) == 0


def test_counts_above_a_threshold_by_hand():
    """Kept of two objects: one right, one wrong; of an image without one: one wrong."""
    boxes = np.array([[0.0, 0, 10, 10], [50, 50, 60, 60], [20, 0, 30, 10]])
    images = [(TRUTH, boxes, np.array([0.9, 0.8, 0.1])), (TRUTH[:0], boxes[:1], np.array([0.7]))]
    f1, precision, recall, error = scores.counts(images, 0.5)
    assert (f1, precision, recall, error) == (2 / 5, 1 / 3, 1 / 2, 1 / 2)


def test_a_window_beside_an_object_and_a_window_around_it():
    assert scenes.beside((70, 60, 90, 90), (100, 100)) == (0, 0, 70, 100)
    assert scenes.beside((10, 10, 90, 90), (100, 100)) is None
    draw = np.random.default_rng(0)
    for _ in range(20):
        x0, y0, x1, y1 = scenes.around((60, 60, 90, 90), (40, 35), (100, 100), draw)
        assert (x1 - x0, y1 - y0) == (40, 35)
        assert all(0 <= low <= 60 for low in (x0, y0))
        assert all(90 <= high <= 100 for high in (x1, y1))
    assert scenes.around((0, 0, 50, 10), (40, 35), (100, 100), draw) is None


def red_square(size, box):
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[box[1] : box[3], box[0] : box[2], 0] = 255
    return Image.fromarray(pixels)


def test_the_boxes_of_a_mosaic_lie_where_its_objects_do():
    part, box = scenes.surroundings(red_square((100, 80), (40, 30, 60, 50)), (40, 30, 60, 50))
    assert part.size == (32, 32)
    assert box == (6, 6, 26, 26)
    empty = Image.new("RGB", (50, 60))
    kind, whole, boxes = scenes.mosaic([(part, box), (empty, None), (empty, None), (part, box)])
    assert (kind, whole.size, len(boxes)) == ("mosaic", (448, 448), 2)
    red = np.asarray(whole)[..., 0] > 127
    for (x0, y0, x1, y1), at in zip(boxes, (0, 224), strict=True):
        ys, xs = np.nonzero(red[at : at + 224, at : at + 224])
        assert (x0, y0) == pytest.approx((at + xs.min(), at + ys.min()), abs=1)
        assert (x1, y1) == pytest.approx((at + xs.max() + 1, at + ys.max() + 1), abs=1)


def test_scenes_are_written_as_a_data_set_that_boxes_are_compared_with(tmp_path):
    made = [("one", red_square((40, 30), (5, 5, 15, 20)), [(5, 5, 15, 20)])]
    made += [("sky", Image.new("RGB", (32, 32)), [])]
    scenes.write(tmp_path, iter(made))
    data_set = scenes.DataSets().get(str(tmp_path / "scenes.yaml"))
    assert [data_set.truth[i].tolist() for i in range(2)] == [[[5, 5, 15, 20]], []]
    content = json.loads((tmp_path / "truth.json").read_text())
    content["annotations"][0]["score"] = 0.25
    boxes = tmp_path / "pseudo_boxes.json"
    boxes.write_text(json.dumps(content))
    rows = scores.read_scenes(tmp_path / "truth.json", boxes)
    assert {name: row[2].tolist() for name, row in rows.items()} == {
        "one/0000.png": [0.25],
        "sky/0000.png": [],
    }
    row = dict(zip(scores.HEADER, scores.row_of("own", rows), strict=True))
    assert (row["one / none"], row["right"], row["several / none"]) == ("1.00", "100", "nan")
    content["images"].pop()
    boxes.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"has no boxes of sky/0000\.png"):
        scores.read_scenes(tmp_path / "truth.json", boxes)
