"""``wend compare``: the numbers against hand counts and the tests computed directly."""

import csv
from math import comb

import pytest

from wend import cli
from wend.evaluation.metrics import METRICS
from wend.files import write_json
from wend.formats.coco import records_to_coco
from wend.structures.records import ImageRecord

NUMBER = 20
RECORDS = [
    ImageRecord(i, f"c/{i}.jpg", 400, 400, class_id=0, gt_boxes=[[10, 10, 110, 110]])
    for i in range(NUMBER)
]


def rows(right, near=()):
    """One box an image: the truth, a near miss, or far away."""
    boxes = {True: [10, 10, 100, 100], False: [200, 200, 100, 100]}
    return [
        {"image_id": i, "category_id": 1, "score": 0.5,
         "bbox": [10, 10, 100, 40] if i in near else boxes[i in right]}
        for i in range(NUMBER)
    ]  # fmt: skip


@pytest.fixture
def files(tmp_path):
    write_json(tmp_path / "truth.json", records_to_coco(RECORDS))
    write_json(tmp_path / "a.json", rows(range(12), near=[15]))  # 12 right
    write_json(tmp_path / "b.json", rows([*range(5), 19]))  # 6 right
    return tmp_path


def compare(files, *more, expect=0):
    names = [files / "a.json", files / "b.json", "--ground-truth", files / "truth.json", *more]
    assert cli.main(["compare", *map(str, names)]) == expect


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_differences_and_tests_are_those_of_hand(files, capsys):
    compare(files, "--protocol", "original", "--max-boxes", "1", "--output", files / "out")
    first, _ = read(files / "out/comparison.csv")
    assert (first["A"], first["B"], first["A - B"]) == ("60.00", "30.00", "30.00")
    # images 5..11 only A, image 19 only B
    assert (first["only A"], first["only B"]) == ("7", "1")
    exact = 2 * (comb(8, 0) + comb(8, 1)) / 2**8  # two-sided binomial test of 1 in 8
    assert float(first["p McNemar"]) == pytest.approx(exact, rel=1e-2)
    assert float(first["low"]) < 30 < float(first["high"])
    assert 0 < float(first["p bootstrap"]) < 0.05
    names = f"A: {files / 'a.json'}; B: {files / 'b.json'}; 20 images"
    assert names in capsys.readouterr().out


def test_images_that_differ_most_come_first(files, capsys):
    compare(files, "--output", files / "out", "--protocol", "original", "--images", "1")
    images = read(files / "out/images.csv")
    assert [row["image"] for row in images] == [f"c/{i}.jpg" for i in (*range(5, 12), 19, 15)]
    # image 15: A's box covers 40 of the truth's 100 rows, a miss with IoU 0.4
    assert images[-1] == {
        "image": "c/15.jpg", "IoU A": "0.400", "IoU B": "0.000", "hit A": "0", "hit B": "0",
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert "c/5.jpg" in printed
    assert "c/6.jpg" not in printed


def test_a_file_against_itself_differs_nowhere(files, capsys):
    (files / "b.json").write_bytes((files / "a.json").read_bytes())
    compare(files, "--output", files / "out", "--protocol", "original", "wsoleval-v2")
    for row in read(files / "out/comparison.csv"):
        assert (row["A - B"], row["low"], row["high"]) == ("0.00", "0.00", "0.00")
        assert row["p McNemar"] == ("" if row["protocol"] == "wsoleval-v2" else "1")
    assert read(files / "out/images.csv") == []


def test_metrics_of_any_form_are_compared(files, capsys):
    (files / "mine.py").write_text(
        "from wend.evaluation.metrics import register_metric\n\n"
        "@register_metric('Overlap', unit='IoU', digits=3)\n"
        "def overlap(per_image):\n    return per_image.best_iou\n"
    )
    own = f"{files / 'mine.py'}:overlap"
    with METRICS.temporary():
        compare(files, "--protocol", "original", "--max-boxes", "1", "--output", files / "out",
                "--metrics", own, "corloc", "ar1")  # fmt: skip
    rows = {row["metric"]: row for row in read(files / "out/comparison.csv")}
    assert rows["CorLoc"] == {**rows["GT-known Loc"], "metric": "CorLoc"}
    # A: twelve boxes right and one of IoU 0.4; B: six right. A mean has no hits to test
    overlap = rows["Overlap (IoU)"]
    assert (overlap["A"], overlap["B"], overlap["A - B"]) == ("0.620", "0.300", "0.320")
    assert float(overlap["low"]) < 0.32 < float(overlap["high"])
    assert (overlap["p McNemar"], overlap["only A"]) == ("", "")
    recall = rows["AR@1"]  # no average over images: nothing to resample
    assert (recall["A"], recall["B"], recall["low"]) == ("60.00", "30.00", "")


def test_wrong_input_ends_in_one_line(files, capsys):
    compare(files, "--images", "-1", expect=2)
    assert "--images must be >= 0" in capsys.readouterr().err
    write_json(files / "b.json", [*rows([]), {**rows([])[0], "image_id": 77}])
    compare(files, expect=2)
    assert "b.json, entry 20: image_id 77 is not in the data set" in capsys.readouterr().err
