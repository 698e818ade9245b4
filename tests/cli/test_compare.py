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
    first = read(files / "out/comparison.csv")[0]
    assert (first["metric"], first["pair"]) == ("GT-known Loc", "A - B")
    assert (first["A"], first["B"], first["A - B"]) == ("60.00", "30.00", "30.00")
    # images 5..11 only A, image 19 only B
    assert (first["only A"], first["only B"]) == ("7", "1")
    exact = 2 * (comb(8, 0) + comb(8, 1)) / 2**8  # two-sided binomial test of 1 in 8
    assert float(first["p McNemar"]) == pytest.approx(exact, rel=1e-2)
    assert float(first["mid-p McNemar"]) == pytest.approx(exact - comb(8, 1) / 2**8, rel=1e-2)
    # Agresti and Min: (7 - 1) / 22 -/+ 1.96 sqrt(9 - 36 / 22) / 22, and 20/19 of the seen variance
    low, high = (100 * (6 + sign * 1.96 * 7.364**0.5) / 22 for sign in (-1, 1))
    assert float(first["low"]) == pytest.approx(low, abs=0.7)
    assert float(first["high"]) == pytest.approx(high, abs=0.7)
    assert 0.02 < float(first["p images"]) < 0.05
    assert (first["p seeds"], first["p Holm"]) == ("", first["p images"])  # one pair alone
    printed = capsys.readouterr().out
    assert f"A: {files / 'a.json'}; B: {files / 'b.json'}; 20 images" in printed
    assert "p seeds" not in printed
    assert "| method " not in printed  # the pairs say it all
    assert "the same by definition: GT-known Loc = MaxBoxAcc 0.5, GT-known Loc multi K 1" in printed


def test_methods_with_seeds_have_mean_spread_and_tests_over_both(files, capsys):
    # right: 12, 14, 13 of 20; 6, 8; the same 9 twice
    runs = {"WE": (12, 14, 13), "BCD": (6, 8), "the old_one": (9, 9)}
    arguments = []
    for name, counts in runs.items():
        paths = [files / f"{name}{seed}.json" for seed in range(len(counts))]
        for path, right in zip(paths, counts, strict=True):
            write_json(path, rows(range(right)))
        arguments += ["--method", name, *paths]
    more = ["--protocol", "original", "--max-boxes", "1", "--output", files / "out"]
    run = ["compare", *arguments, "--ground-truth", files / "truth.json", *more]
    assert cli.main(list(map(str, run))) == 0
    methods = [row for row in read(files / "out/methods.csv") if row["metric"] == "GT-known Loc"]
    assert [(row["method"], row["seeds"], row["mean"], row["sd"]) for row in methods] == [
        ("WE", "3", "65.00", "5.00"),  # 60, 70, 65
        ("BCD", "2", "35.00", f"{50**0.5:.2f}"),  # 30, 40
        ("the old_one", "2", "45.00", "0.00"),
    ]
    assert (methods[0]["lowest"], methods[0]["highest"]) == ("60.00", "70.00")
    pairs = [row for row in read(files / "out/comparison.csv") if row["metric"] == "GT-known Loc"]
    assert [(row["pair"], row["A - B"]) for row in pairs] == [
        ("WE - BCD", "30.00"), ("WE - the old_one", "20.00"), ("BCD - the old_one", "-10.00"),
    ]  # fmt: skip
    for row in pairs:
        assert float(row["low"]) < float(row["A - B"]) < float(row["high"])
        assert float(row["p images"]) <= float(row["p seeds"]) <= float(row["p Holm"])
        assert row["p McNemar"] == row["only A"] == ""  # of one seed each alone
    p = sorted(float(row["p seeds"]) for row in pairs)
    corrected = [min(1, 3 * p[0]), min(1, max(3 * p[0], 2 * p[1]))]
    assert sorted(float(row["p Holm"]) for row in pairs)[:2] == pytest.approx(corrected, rel=0.02)
    printed = capsys.readouterr().out
    assert (
        "corrected by Holm's method for the pairs of methods of a protocol, metric and K (3)"
        in (printed)
    )
    assert "seeds of two methods are not paired" in printed
    text = (files / "out/comparison.tex").read_text()
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert r"the old\_one" in text
    images = read(files / "out/images.csv")
    # WE: three of three, BCD one of two, the old one both
    row = next(row for row in images if row["image"] == "c/7.jpg")
    assert (row["hit WE"], row["hit BCD"], row["hit the old_one"]) == ("1", "0.5", "1")
    # against one method: two pairs, and all tests of the table as one family
    run += ["--against", "BCD", "--family", "table"]
    assert cli.main(list(map(str, run))) == 0
    against = [row for row in read(files / "out/comparison.csv") if row["metric"] == "GT-known Loc"]
    assert [row["pair"] for row in against] == ["WE - BCD", "the old_one - BCD"]
    assert float(against[0]["p Holm"]) > float(pairs[0]["p Holm"])


def test_more_than_two_files_are_called_a_to_z(files, capsys):
    write_json(files / "c.json", rows(range(9)))
    run = ["compare", *(files / f"{name}.json" for name in "abc"), "--max-boxes", "1"]
    run += ["--ground-truth", files / "truth.json", "--protocol", "original"]
    assert cli.main(list(map(str, run))) == 0
    printed = capsys.readouterr().out
    for pair in ("A - B", "A - C", "B - C"):
        assert f"| {pair} |" in " ".join(printed.split())
    assert "McNemar" in printed


def test_unequal_seeds_are_allowed_and_said(files, capsys):
    write_json(files / "a1.json", rows(range(13)))
    names = [
        "--method",
        "a",
        files / "a.json",
        files / "a1.json",
        "--method",
        "b",
        files / "b.json",
    ]
    run = ["compare", *names, "--ground-truth", files / "truth.json", "--protocol", "original"]
    assert cli.main(list(map(str, run))) == 0
    printed = capsys.readouterr().out
    assert "one seed alone tells nothing of the spread over seeds: b" in printed
    assert "| p images |" in " ".join(printed.split())
    assert "| p seeds |" not in " ".join(printed.split())


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
        assert float(row["A - B"]) == 0
        assert float(row["low"]) == -float(row["high"]) < 0  # 20 images could have hidden that
        assert row["p images"] == row["p Holm"] == "1"
        single = row["metric"] != "Mean IoU (0..1)" and (
            row["protocol"] != "wsoleval-v2" or row["metric"].startswith("MaxBoxAcc")
        )
        assert row["p McNemar"] == row["mid-p McNemar"] == ("1" if single else "")
    assert read(files / "out/images.csv") == []


def test_metrics_of_any_form_are_compared(files, capsys):
    (files / "mine.py").write_text(
        "from wend.evaluation.metrics import register_metric\n\n"
        "@register_metric('Overlap', unit='IoU', digits=3)\n"
        "def overlap(per_image):\n    return per_image.best_iou\n\n"
        "@register_metric('Lack', unit='IoU', digits=3, scale=-1.0)\n"
        "def lack(per_image):\n    return per_image.best_iou\n"
    )
    own = [f"{files / 'mine.py'}:{name}" for name in ("overlap", "lack")]
    with METRICS.temporary():
        compare(files, "--protocol", "original", "--max-boxes", "1", "--output", files / "out",
                "--metrics", *own, "corloc", "ar1")  # fmt: skip
    rows = {row["metric"]: row for row in read(files / "out/comparison.csv")}
    assert rows["CorLoc"] == {**rows["GT-known Loc"], "metric": "CorLoc"}
    # A: twelve boxes right and one of IoU 0.4; B: six right. A mean has no hits to test
    overlap = rows["Overlap (IoU)"]
    assert (overlap["A"], overlap["B"], overlap["A - B"]) == ("0.620", "0.300", "0.320")
    assert float(overlap["low"]) < 0.32 < float(overlap["high"])
    assert (overlap["p McNemar"], overlap["only A"]) == ("", "")
    lack = rows["Lack (IoU)"]  # by a negative scale low and high change places
    assert (lack["low"], lack["high"]) == (f"-{overlap['high']}", f"-{overlap['low']}")
    recall = rows["AR@1"]  # no average over images: nothing to resample
    assert (recall["A"], recall["B"], recall["low"]) == ("60.00", "30.00", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.json", "b.json", "--images", "-1"], "--images must be >= 0"),
        (["a.json"], "expected two or more methods to compare, got A; give two files, or --method"),
        ([], "expected two or more methods to compare, got none"),
        (["a.json", "a.json"], "a.json is given twice (A and B)"),
        (["a.json", "./a.json"], "a.json is given twice (A and B)"),
        (["--method", "x", "a.json", "a.json", "--method", "y", "b.json"], "given twice (x and x)"),
        (["--method", "x", "a.json", "--method", "x", "b.json"],
         "--method x is given twice; give all its files at once: --method x a.json b.json"),
        (["--method", "x", "--method", "y", "b.json"],
         "--method x: expected a name and one or more files, got no file"),
        (["--method", "a.json", "b.json", "--method", "b.json", "a.json"],
         "--method 'a.json': expected a name for the method before its files, got a file"),
        (["--method", " ", "b.json", "--method", "b", "a.json"], "files, got no plain text"),
        (["a.json", "--method", "y", "b.json"], "got both (a.json stands alone)"),
        (["a.json", "b.json", "--against", "z"], "there is no such method; there are: A, B"),
        (["a.json", "b.json", "--level", "0"], "--level must be in (0, 1)"),
    ],
)  # fmt: skip
def test_wrong_arguments_end_in_one_line(files, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    assert cli.main(["compare", *arguments, "--ground-truth", "truth.json"]) == 2
    assert message in capsys.readouterr().err


def test_files_of_other_images_are_named(files, capsys):
    write_json(files / "b.json", [*rows([]), {**rows([])[0], "image_id": 77}])
    compare(files, expect=2)
    assert "b.json, entry 20: image_id 77 is not in the data set" in capsys.readouterr().err
    write_json(files / "b.json", rows([])[:15])
    compare(files)
    assert "b.json: 5 images without detection are misses" in capsys.readouterr().out
