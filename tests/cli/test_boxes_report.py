"""``wend boxes report``: its numbers against hand-derived ones, its files, its errors."""

import json
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from wend.cli.parser import main
from wend.pseudo_boxes import PseudoBoxes, join_boxes
from wend.reports.boxes_numbers import agreement, describe, shape_numbers
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

DATA_SET = DataSet.from_records(
    [
        ImageRecord(1, "c/a", 100, 50, gt_boxes=[[0, 0, 50, 50]]),
        ImageRecord(2, "c/b", 100, 100, gt_boxes=[[0, 0, 10, 10], [50, 50, 100, 100]]),
        ImageRecord(3, "c/c", 10, 10, gt_boxes=[[0, 0, 10, 10]]),
        ImageRecord(4, "c/d", 10, 10),  # no truth
    ]
)


def boxes(values):
    source = PseudoBoxes.from_dict(values, "pixel", source="s")
    return join_boxes(DATA_SET.keys, DATA_SET.sizes, source)


A = {"c/a": [0, 0, 50, 40], "c/b": [[0, 0, 50, 50], [50, 50, 90, 100]], "c/d": [0, 0, 5, 10]}
B = {"c/a": [0, 0, 50, 20], "c/b": [50, 50, 90, 100], "c/c": [0, 0, 10, 10]}


def test_shapes_are_shares_of_the_image_and_width_by_height():
    shapes = shape_numbers(boxes(A)[0], DATA_SET.sizes)
    np.testing.assert_allclose(shapes["area / image"], [0.4, 0.25, 0.2, 0.5])
    np.testing.assert_allclose(shapes["width / height"], [1.25, 1, 0.8, 0.5])


def test_agreement_of_the_first_boxes_and_of_the_nearest():
    both = agreement(boxes(A)[0], boxes(B)[0])
    # c/a: 50x20 of 50x40; c/b: the first boxes touch in a point, the second one is B's
    np.testing.assert_allclose(both["first boxes"], [0.5, 0])
    np.testing.assert_allclose(both["nearest boxes"], [0.5, 1])


def test_numbers_of_coverage_truth_and_both_sources():
    found = describe(DATA_SET, *boxes(A), ["original"], boxes(B))
    assert found["coverage"] == 75
    # truth known of a, b, c: IoU of the first box 0.8, 0.04 (100 of 2500), none
    truth = found["truth"]["original"]
    assert truth["images"] == 3
    assert truth["gt_known_loc"] == pytest.approx(100 / 3)
    assert truth["gt_known_loc_any_box"] == pytest.approx(200 / 3)  # b's second: 2000 / 2500
    assert truth["mean_iou"] == pytest.approx((0.8 + 0.04) / 3)
    other = found["other"]
    assert (other["only_first"], other["only_other"]) == (1, 1)
    assert other["agreement"]["nearest boxes"]["share_above_half"] == 50  # 0.5 is not above
    assert other["truth"]["original"]["gt_known_loc"] == pytest.approx(200 / 3)
    assert found["histograms"]["area / image"]["numbers"][8] == 1  # 0.4 of 20 bins
    assert sum(found["histograms"]["IoU with the truth"]["numbers"]) == 3


@pytest.fixture
def data(tmp_path):
    """A COCO JSON of four images, and a CSV of boxes."""
    images = [
        {"id": r.image_id, "file_name": r.key, "width": r.width, "height": r.height}
        for r in DATA_SET
    ]
    rows = []
    for r in DATA_SET[:3]:
        for x0, y0, x1, y1 in r.gt_boxes.tolist():
            box = [x0, y0, x1 - x0, y1 - y0]
            rows.append({"id": len(rows), "image_id": r.image_id, "bbox": box, "category_id": 1})
    (tmp_path / "truth.json").write_text(
        json.dumps(
            {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "x"}]}
            | {"info": {}}
        )
    )
    lines = [f"/r/{key},{','.join(map(str, box))}" for key, box in B.items()]
    (tmp_path / "b.csv").write_text("\n".join(["name,x0,y0,x1,y1", *lines, "c/x,0,0,9,9\n"]))
    return tmp_path


def test_the_command_prints_tables_and_writes_the_same_as_json(data, capsys):
    boxes = ["csv", str(data / "b.csv"), "columns={image: name}"]
    out = data / "out"
    call = ["boxes", "report", *boxes, "--dataset", str(data / "truth.json"), "--output", str(out)]
    assert main(call) == 0
    printed = capsys.readouterr().out
    assert re.search(r"images matched +3  of 4", printed)
    assert "coverage: 75.00 % of the images" in printed
    # a: 50x20 of 50x50 is 0.4; b: its second true box, 2000 of 2500; c is exact
    row = next(line for line in printed.splitlines() if "| " in line and "original" in line)
    assert [cell.strip() for cell in row.split("|")[3:7]] == ["3", "66.67", "66.67", "0.733"]
    found = json.loads((out / "report.json").read_text())
    assert found["counts"]["counts"]["surplus"] == 1
    assert found["truth"]["original"]["mean_iou"] == pytest.approx((0.4 + 0.8 + 1) / 3)
    assert (out / "report.md").read_text().strip() in printed
    assert cv2.imread(str(out / "histograms.png")).shape[2] == 3
    assert not (out / "samples.png").exists()  # the images are not there
    assert "no sample pictures: 3 of 3 images are not there" in printed
    assert main([*call, "--strict"]) == 2
    assert "strict: 1 images without a box (c/d)" in capsys.readouterr().err


def test_sample_pictures_show_both_sources_in_their_colours(toy_root, tmp_path, capsys):
    root = ["--datasets-root", str(toy_root.parent)]
    path = str(toy_root / "c2am_boxes/train/pseudo_boxes")
    call = ["boxes", "report", "toy_train_c2am", "--other", "c2am", path, "--images", "4"]
    assert main([*call, *root, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "100.00 |  1.000" in printed  # a source agrees with itself
    sheet = cv2.imread(str(tmp_path / "samples.png"))[:, :, ::-1]
    assert sheet.shape == (2 * 240 + 24, 2 * 240, 3)
    assert (np.abs(sheet[24:].astype(int) - (30, 200, 60)).sum(-1) < 60).sum() > 100  # green


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["c2am", "nowhere"], "name the images that the boxes are of: --dataset NAME"),
        (["c2am", "--dataset", "toy_train"], "box source 'c2am': expected its PATH behind it"),
        (["toy_train"], "toy_train: has no pseudo boxes; name a data set with some"),
        (["toy_trian"], "unknown data set 'toy_trian'. Did you mean 'toy_train'?"),
        (["csv", "x", "frame", "--dataset", "toy_train"], "expected OPTION=VALUE, got 'frame'"),
        (["c2an", "x", "--dataset", "toy_train"], "Did you mean 'c2am'?"),
    ],
)
def test_wrong_words_say_what_was_expected(toy_root, capsys, words, said):
    assert main(["boxes", "report", *words, "--datasets-root", str(toy_root.parent)]) == 2
    assert said in capsys.readouterr().err


def test_image_files_that_are_there_are_drawn(data):
    from wend.reports.boxes_pictures import draw_samples

    (data / "i").mkdir()
    Image.new("RGB", (100, 50)).save(data / "i/a.png")
    data_set = DataSet.from_records([ImageRecord(1, str(data / "i/a.png"), 100, 50)])
    table = BoxTable.from_lists([[[10, 10, 90, 40]]])
    assert draw_samples(data / "s.png", data_set, [("s", table)], 16)
    sheet = cv2.imread(str(data / "s.png"))[:, :, ::-1].astype(int)
    blue = np.argwhere(np.abs(sheet[24:] - (40, 90, 255)).sum(-1) < 40)
    # one image of 100x50 at 240x120: the box is 24, 24, 216, 96, its line two pixels
    np.testing.assert_allclose([*blue.min(0), *blue.max(0)], [24, 24, 96, 216], atol=2)
