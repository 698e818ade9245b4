"""wend.reports.miss_pictures: the worst of each kind are drawn, with their boxes."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageColor

from wend import cli
from wend.evaluation.per_image import score
from wend.evaluation.protocols import get_protocol
from wend.files import write_json
from wend.formats.coco import records_to_coco
from wend.reports.miss_pictures import draw_misses, worst_misses
from wend.reports.roles import OURS
from wend.reports.roles import TRUTH as TRUE
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

TRUTH = [20, 20, 60, 60]
# By hand: inside the truth (IoU 0.25, 0.0625, 0.25), around it (0.16), elsewhere, nothing, a hit
BOXES = [
    [[20, 20, 40, 40]], [[20, 20, 30, 30]], [[40, 40, 60, 60]],
    [[0, 0, 100, 100]], [[70, 60, 90, 78]], [], [[20, 20, 60, 60]],
]  # fmt: skip
SCORES = [[0.5], [0.1], [0.7], [0.5], [0.5], [], [0.9]]
EXPECTED = {"part": [1, 2, 0], "whole": [3], "place": [4], "none": [5]}


@pytest.fixture
def records(tmp_path):
    (tmp_path / "images/c").mkdir(parents=True)
    for i in range(len(BOXES)):
        Image.new("RGB", (100, 80), (90, 90, 90)).save(tmp_path / f"images/c/{i}.png")
    return [
        ImageRecord(i, str(tmp_path / f"images/c/{i}.png"), 100, 80, class_id=0, gt_boxes=[TRUTH])
        for i in range(len(BOXES))
    ]


@pytest.fixture
def per_image(records):
    detections = BoxTable.from_lists(BOXES, SCORES)
    return score(DataSet.from_records(records), detections, get_protocol("original"))


def test_the_worst_of_each_kind_are_those_of_lowest_iou_then_of_highest_score(per_image):
    there = np.ones(len(BOXES), dtype=bool)
    chosen = worst_misses(per_image, 10, there)
    assert {kind: images.tolist() for kind, (images, _) in chosen.items()} == EXPECTED
    images, total = worst_misses(per_image, 2, there)["part"]
    assert (images.tolist(), total) == ([1, 2], 3)
    there[[1, 3]] = False
    chosen = worst_misses(per_image, 10, there)
    assert {kind: (i.tolist(), n) for kind, (i, n) in chosen.items()} == {
        "part": ([2, 0], 3), "place": ([4], 1), "none": ([5], 1)
    }  # fmt: skip


def colors(path):
    """Number of pixels of the truth's and the best box's colour below the legend."""
    pixels = np.asarray(Image.open(path).convert("RGB"))[68:]
    colors = [ImageColor.getrgb(role.color) for role in (TRUE, OURS)]
    return [int((pixels == color).all(-1).sum()) for color in colors]


def test_a_sheet_for_each_kind_shows_truth_and_best_box(tmp_path, per_image):
    there = np.ones(len(BOXES), dtype=bool)
    written = draw_misses(tmp_path / "out", per_image, 3, per_image.data_set, there)
    assert sorted(path.name for path in written) == sorted(f"misses_{k}.png" for k in EXPECTED)
    truth, best = colors(tmp_path / "out/misses_place.png")
    # 240 pixels show 100: the truth's sides are 96 long, 3 wide, strokes are 2 of 3; the other's
    # sides are 48 and 43
    assert truth == pytest.approx(4 * 96 * 3 * 2 / 3, rel=0.25)
    assert best == pytest.approx(2 * (48 + 43) * 3, rel=0.1)
    assert colors(tmp_path / "out/misses_none.png")[1] == 0
    sizes = [Image.open(path).size for path in written]
    assert len({*sizes}) == 1


def test_the_command_draws_them_and_says_which_images_are_absent(tmp_path, records, capsys):
    listed = [
        ImageRecord(r.image_id, f"c/{r.image_id}.png", 100, 80, class_id=0, gt_boxes=[TRUTH])
        for r in records
    ]
    write_json(tmp_path / "truth.json", records_to_coco(listed))
    rows = [
        {"image_id": i, "category_id": 1, "bbox": [x, y, v - x, w - y], "score": s}
        for i, (boxes, scores) in enumerate(zip(BOXES, SCORES, strict=True))
        for (x, y, v, w), s in zip(boxes, scores, strict=True)
    ]
    write_json(tmp_path / "d.json", rows)
    arguments = ["evaluate", "--ground-truth", str(tmp_path / "truth.json"), "--detections"]
    arguments += [str(tmp_path / "d.json"), "--output", str(tmp_path / "out")]
    plain = [*arguments, "--protocol", "original"]
    arguments = [*plain, "--images", "2"]
    assert cli.main(arguments) == 2
    assert "none of the 7 images of truth.json is there" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    root = ["--image-root", str(tmp_path / "images")]
    assert cli.main([*arguments, *root, "--plots"]) == 0
    names = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert names == {"recall.png", "iou_histogram.png", *(f"misses_{k}.png" for k in EXPECTED)}
    (tmp_path / "images/c/4.png").unlink()
    assert cli.main([*arguments, *root]) == 0
    said = "1 of 7 images are not there (c/4.png); misses are drawn of the others"
    assert said in capsys.readouterr().out
    for wrong, message in (
        (["--images", "-1"], "--images must be >= 0, got -1"),
        (["--images", "2", "--image-root", str(tmp_path / "x")], "x: there is no such folder"),
        (root, "--image-root is the folder of the images of --images N"),
    ):
        assert cli.main([*plain, *wrong]) == 2
        assert message in capsys.readouterr().err


def test_a_plain_evaluation_imports_neither_templates_nor_matplotlib(tmp_path, records):
    """And --page writes a page whether the images are there or not."""
    listed = [
        ImageRecord(r.image_id, f"c/{r.image_id}.png", 100, 80, gt_boxes=[TRUTH]) for r in records
    ]
    write_json(tmp_path / "truth.json", records_to_coco(listed))
    box = {"image_id": 0, "category_id": 1, "bbox": [20, 20, 40, 40], "score": 0.5}
    write_json(tmp_path / "d <b>.json", [box])
    words = ["evaluate", "--ground-truth", "truth.json", "--detections", "d <b>.json"]
    code = (
        "import sys; from wend.cli.parser import main\n"
        f"status = main({[*words, '--output', 'plain']!r})\n"
        "print(status, [m for m in ('jinja2', 'matplotlib', 'torch') if m in sys.modules])"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
    assert not (tmp_path / "plain/report.html").exists()
    words[2], words[4] = (str(tmp_path / words[i]) for i in (2, 4))
    for root, images in ((["--image-root", str(tmp_path / "images")], True), ([], False)):
        assert cli.main([*words, *root, "--page", "--output", str(tmp_path / "out")]) == 0
        page = (tmp_path / "out/report.html").read_text()
        assert ("<img" in page) == images
        assert ("images: none of those that were looked for is there" in page) != images
        assert "Evaluation of d &lt;b&gt;.json" in page
        assert "right in 14.3 % of 7 images" in page
