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
    assert sheet.shape[0] == 2 * 240 + 24
    assert (sheet[24:, :480] == 0).all(-1).sum() > 100  # black, of the other source


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
    white = np.argwhere(
        (sheet[24:, :240] == 255).all(-1) & (np.arange(len(sheet) - 24) < 120)[:, None]
    )
    # one image of 100x50 at 240x120: the box is 24, 24, 216, 96, its line three pixels
    np.testing.assert_allclose([*white.min(0), *white.max(0)], [24, 24, 96, 216], atol=2)


def coco_set(folder, boxes, size=(120, 90), truth=None):
    """A declared folder of images whose pseudo boxes are a COCO JSON's, and a truth if any."""
    (folder / "p").mkdir()
    names = [f"{i}.png" for i in range(len(boxes))]
    for name in names:
        Image.new("RGB", size, "navy").save(folder / "p" / name)
    images = [
        {"id": i, "file_name": name, "width": size[0], "height": size[1]}
        for i, name in enumerate(names)
    ]

    def write(path, rows):
        annotations = [
            {"id": i, "image_id": i, "bbox": row, "category_id": 1} for i, row in enumerate(rows)
        ]
        content = {"images": images, "annotations": annotations, "categories": [{"id": 1}]}
        path.write_text(json.dumps(content))

    write(folder / "boxes.json", boxes)
    text = "format: folder\nimages: p\npseudo_boxes: {source: coco, path: boxes.json}\n"
    if truth is not None:
        write(folder / "truth.json", truth)
        text += "annotations: truth.json\n"
    (folder / "mine.yaml").write_text(text)


NATURAL = [[25 + 2 * i, 20 + i, 50 + i, 40 + i] for i in range(10)]  # x, y, width, height
CORNERS = [[x, y, x + w, y + h] for x, y, w, h in NATURAL]
NUM_OUTSIDE = sum(2 * x + w > 120 or 2 * y + h > 90 for x, y, w, h in NATURAL)


def report(root, capsys, *more):
    status = main(["boxes", "report", *more, "--datasets-root", str(root)])
    return status, *capsys.readouterr()


def test_a_name_is_reported_as_its_files_hold_it_and_as_the_file_itself_is(tmp_path, capsys):
    coco_set(tmp_path, CORNERS, truth=NATURAL)
    name = ["mine", "--output", str(tmp_path / "a")]
    file = ["coco", str(tmp_path / "boxes.json"), "--dataset", "mine"]
    for words in (name, [*file, "--output", str(tmp_path / "b")]):
        status, printed, error = report(tmp_path, capsys, *words)
        assert status == 2
        assert "corners x1, y1 that were written where width and height" in error
        assert re.search(rf"boxes that leave the image, clipped +{NUM_OUTSIDE} ", printed)
        assert "probably wrong: " in printed
        assert report(tmp_path, capsys, *words, "--implausible", "count")[0] == 0
    a, b = (json.loads((tmp_path / x / "report.json").read_text())["counts"] for x in "ab")
    assert a["counts"] == b["counts"]
    assert a["counts"]["outside"] == NUM_OUTSIDE > 5


@pytest.mark.parametrize("side", [1, 100])
def test_fractions_and_per_cent_end_in_an_error_after_the_report(tmp_path, capsys, side):
    boxes = [[0.3 * side, 0.3 * side, 0.5 * side, 0.4 * side]] * 20
    coco_set(tmp_path, boxes, size=(400, 300))
    status, printed, error = report(tmp_path, capsys, "mine")
    assert status == 2
    assert ("fractions" if side == 1 else "per cent") in error
    assert "images matched" in printed


def test_a_wrong_truth_is_named_beside_the_boxes(tmp_path, capsys):
    coco_set(tmp_path, NATURAL, truth=CORNERS)
    status, printed, error = report(tmp_path, capsys, "mine")
    assert status == 2
    assert "ground truth mine: " in error
    assert "true boxes reach out of their image" in printed


def test_a_row_for_exif(tmp_path, capsys):
    coco_set(tmp_path, NATURAL)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (120, 90)).save(tmp_path / "p/0.png", exif=exif)
    _, printed, _ = report(tmp_path, capsys, "mine")
    row = next(line for line in printed.splitlines() if "looked at" in line)
    assert re.search(r"1 +of 10 looked at; exif: ignore \(orientation 3: 1\)", row)


def test_boxes_that_never_look_at_the_image_stand_beside_the_sources(tmp_path, capsys):
    full, half = [0, 0, 120, 90], [0, 0, 60, 90]
    coco_set(tmp_path, [half] * 4, truth=[full, full, half, half])
    _, printed, _ = report(tmp_path, capsys, "mine")
    cells = {
        row[1].strip(): [cell.strip() for cell in row[4:7]]
        for row in (line.split("|") for line in printed.splitlines())
        if len(row) > 6 and row[2].strip() == "original"
    }
    # IoU 0.5 is not above 0.5; the centre box is 0.49 of the image, and 0.35 x 0.7 of a half
    assert cells["mine"] == ["50.00", "50.00", "0.750"]
    assert cells["whole image"] == ["50.00", "50.00", "0.750"]
    centre = (0.49 + 0.245 / (0.49 + 0.5 - 0.245)) / 2
    assert cells["centre box (0.7 of each side)"] == ["0.00", "0.00", f"{centre:.3f}"]
    # each half holds one full and one half truth: one of them is chosen, which hits one of two
    assert cells["best fixed box of the other half"][0] == "50.00"


def test_samples_are_of_each_kind_and_the_page_needs_no_other_file(tmp_path, capsys):
    boxes = [*NATURAL[:7], [0, 0, 2, 2], [0, 0, 119, 89], [60, 40, 100, 20]]
    coco_set(tmp_path, boxes, truth=[[30, 20, 60, 50]] * 10)
    out = tmp_path / "out"
    assert report(tmp_path, capsys, "mine", "--output", str(out), "--images", "2")[0] == 0
    page = (out / "report.html").read_text()
    sections = {part.partition("<")[0]: part for part in page.split("<h3>")[1:]}
    shown = {t: re.findall(r"<span>(?:p/)?(\d)\.png</span>", part) for t, part in sections.items()}
    assert shown["Smallest first box"][0] == "7"
    assert shown["Largest first box"][0] == "8"
    assert shown["Boxes that reach out of their image"] == ["9"]
    assert shown["Least overlap with the truth"][0] == "7"
    assert len(shown["Drawn by chance"]) == 2
    assert "Most boxes" not in shown  # none has several
    assert "mine has a box for 100.0 % of the images; the first box is right in" in page
    assert page.count('src="data:image/jpeg;base64,') == sum(map(len, shown.values()))
    assert "src=" not in page.replace('src="data:', "")


def test_an_image_that_cannot_be_read_is_said_on_the_page(tmp_path, capsys):
    coco_set(tmp_path, NATURAL)
    content = (tmp_path / "p/3.png").read_bytes()
    (tmp_path / "p/3.png").write_bytes(content[:60])
    status, printed, _ = report(tmp_path, capsys, "mine", "--output", str(tmp_path / "o"))
    assert status == 0, printed
    assert "3.png: cannot be read as an image" in (tmp_path / "o/report.html").read_text()
