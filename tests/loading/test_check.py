"""``wend data check``: each kind of problem is found, the list is whole, a check goes on."""

import json
import logging
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import wend.cli.parser
from wend.datasets.catalog import DataSets
from wend.errors import InputError
from wend.loading import check
from wend.loading.bad_images import read_quarantine
from wend.loading.check import Problem, check_boxes, check_data_set, check_image
from wend.structures.records import ImageRecord


def noise(path, size=(20, 12), **options):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return str(path)


def test_a_good_image_has_no_problem(tmp_path):
    for name in ("a.jpg", "a.png", "a.JPEG", "a.bmp"):
        assert check_image(noise(tmp_path / name), 20, 12) == []


def test_each_kind_of_bad_image(tmp_path):
    empty = tmp_path / "e.jpg"
    empty.touch()
    assert check_image(str(empty), 20, 12) == [Problem("empty file", "0 bytes")]
    gone = check_image(str(tmp_path / "no.jpg"), 20, 12)
    assert gone == [Problem("missing", "there is no such file")]
    text = tmp_path / "t.jpg"
    text.write_text("no image")
    (problem,) = check_image(str(text), 20, 12)
    assert problem.kind == "unreadable"
    assert problem.detail.startswith("cannot be read as an image (it is of no known image format")
    cut = tmp_path / "c.jpg"
    noise(cut, (64, 64))
    cut.write_bytes(cut.read_bytes()[:-800])  # the header is whole
    (problem,) = check_image(str(cut), 64, 64)
    assert problem.kind == "unreadable"
    assert "truncated" in problem.detail
    png = noise(tmp_path / "n02105855_2933.JPEG", format="PNG")
    problem = Problem("other format than its name says", "is PNG, not JPEG")
    assert check_image(png, 20, 12) == [problem]
    size = Problem("other size than recorded", "is 20x12, not 12x20")
    assert check_image(png, 12, 20) == [problem, size]
    assert check_image(png, 1, 1, size_known=False) == [problem]


@pytest.mark.parametrize("value", [0, 130, 255])
def test_an_image_of_one_colour_is_named(tmp_path, value):
    Image.new("L", (8, 6), value).save(tmp_path / "a.png")
    assert check_image(str(tmp_path / "a.png"), 8, 6) == [
        Problem("one colour everywhere", f"every pixel is ({value}, {value}, {value})")
    ]


def test_several_pages_are_named(tmp_path):
    pages = [Image.linear_gradient("L"), Image.radial_gradient("L")]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert check_image(str(tmp_path / "a.tif"), 256, 256) == [
        Problem("several pages", "2 pages or frames; the first is read")
    ]


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ([1, 1, 5, 5], None),
        ([0, 0, 19, 9], None),  # one pixel misses on the right
        ([-1, -1, 21, 11], "box is the whole image"),  # a pixel more on each side is rounding
        ([0.5, 0, 20, 9.5], "box is the whole image"),
        ([-1.5, 0, 5, 5], "box reaches out"),
        ([0, 0, 20, 11.5], "box reaches out"),
        ([3, 3, 3, 8], "box without area"),
        ([20, 0, 25, 5], "box outside"),
        ([-5, 0, 0, 5], "box outside"),
        ([2, 10, 5, 12], "box outside"),
        ([np.nan, 0, 5, 5], "box not finite"),
        ([0, 0, np.inf, 5], "box not finite"),
    ],
)
def test_each_kind_of_bad_box_in_an_image_of_20x10(box, kind):
    problems = check_boxes(np.array([box], dtype=float), "pseudo box", 20, 10)
    assert [problem.kind for problem in problems] == ([kind] if kind else [])
    assert all(problem.detail.startswith("pseudo box [") for problem in problems)


@pytest.fixture
def birds(tmp_path, monkeypatch, register):
    """A data set of 10 images: 2 is empty, 5 cut off, 6 a PNG, 7 has a box outside."""
    records = []
    for i in range(10):
        path = noise(tmp_path / f"{i}.jpg", (64, 64), format="PNG" if i == 6 else "JPEG")
        box = [[70, 0, 80, 9]] if i == 7 else [[1, 1, 9, 9]]
        key = f"wren/{i} ü.jpg"
        records.append(ImageRecord(i, path, 64, 64, key, pseudo_boxes=box, gt_boxes=[[1, 1, 9, 9]]))
    (tmp_path / "2.jpg").write_bytes(b"")
    (tmp_path / "5.jpg").write_bytes((tmp_path / "5.jpg").read_bytes()[:900])
    monkeypatch.setattr(check, "CHUNK", 3)
    monkeypatch.setattr("wend.images.threads.CHUNK", 1)
    register("birds", lambda: records)
    return records


EXPECTED = [
    ("wren/2 ü.jpg", "empty file", True),
    ("wren/5 ü.jpg", "unreadable", True),
    ("wren/6 ü.jpg", "other format than its name says", False),
    ("wren/7 ü.jpg", "box outside", False),
]


def listed(path):
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(row["key"], row["problem"], row["leave_out"]) for row in rows]


def test_the_command_writes_the_list_and_a_table_and_its_status_says_if_training_suffers(
    tmp_path, birds, caplog
):
    output = tmp_path / "list.jsonl"
    caplog.set_level(logging.INFO, "wend")
    logging.getLogger("wend").propagate = True
    assert wend.cli.parser.main(["data", "check", "birds", "--output", str(output)]) == 1
    assert listed(output) == EXPECTED
    assert read_quarantine(str(output)) == {"wren/2 ü.jpg", "wren/5 ü.jpg"}
    assert not list(tmp_path.glob("*.partial"))
    row = json.loads(output.read_text().splitlines()[3])
    assert row["file"] == birds[7].file_name
    assert row["detail"] == "pseudo box [70.0, 0.0, 80.0, 9.0] of 64x64"


def test_the_table_counts_every_kind(tmp_path, birds, caplog):
    caplog.set_level(logging.INFO, "wend")
    assert check_data_set(DataSets(), "birds", str(tmp_path / "list"), workers=2) == 1
    table = " ".join(caplog.text.split())
    for line in (
        "missing 0 0 ends the run",
        "empty file 1 1 ends the run wren/2 ü.jpg",
        "unreadable 1 1 ends the run wren/5 ü.jpg",
        "box outside 1 1 loses the box wren/7 ü.jpg",
        "other format than its name says 1 1 goes on wren/6 ü.jpg",
        f"WEND.DATA.QUARANTINE {tmp_path / 'list'} leaves 2 images out of training",
    ):
        assert line in table


def test_what_training_does_not_mind_is_listed_with_status_0(tmp_path, birds):
    del birds[7], birds[5], birds[2]
    assert check_data_set(DataSets(), "birds", str(tmp_path / "list")) == 0
    assert listed(tmp_path / "list") == [EXPECTED[2]]


def interrupt(monkeypatch, at, error):
    seen = []
    real = check.check_record

    def look(record, size_known=True):
        seen.append(record.image_id)
        if record.image_id == at:
            raise error
        return real(record, size_known)

    monkeypatch.setattr(check, "check_record", look)
    return seen


def test_an_interrupted_check_goes_on_where_it_stopped(tmp_path, birds, monkeypatch):
    output = tmp_path / "list.jsonl"
    output.write_text("an older list\n")
    with monkeypatch.context() as patch:
        interrupt(patch, 7, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            check_data_set(DataSets(), "birds", str(output), workers=1)
    assert output.read_text() == "an older list\n"
    partial = tmp_path / "list.jsonl.partial"
    with partial.open("a") as file:
        file.write('{"done": 9, "ro')  # and a line that was not finished
    with monkeypatch.context() as patch:
        seen = interrupt(patch, None, None)
        check_data_set(DataSets(), "birds", str(output), workers=1)
    assert seen == [6, 7, 8, 9]
    assert listed(output) == EXPECTED
    assert not partial.exists()


def test_a_check_of_another_data_set_is_not_gone_on_with(
    tmp_path, birds, monkeypatch, caplog, register
):
    with monkeypatch.context() as patch:
        interrupt(patch, 7, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            check_data_set(DataSets(), "birds", str(tmp_path / "list"), workers=1)
    register("gulls", lambda: birds[4:])
    check_data_set(DataSets(), "gulls", str(tmp_path / "list"))
    assert listed(tmp_path / "list") == EXPECTED[1:]
    assert "(data_set: 'birds', now 'gulls', images: 10, now 6); starting anew" in caplog.text


def test_a_list_that_cannot_be_written_leaves_the_old_one_and_what_was_found(
    tmp_path, birds, monkeypatch
):
    output = tmp_path / "list.jsonl"
    output.write_text("an older list\n")
    with monkeypatch.context() as patch:

        def full(path, mode="w"):
            if str(path) == str(output):
                raise OSError(28, "No space left on device")
            return check_atomic(path, mode)

        check_atomic = check.atomic_write
        patch.setattr(check, "atomic_write", full)
        with pytest.raises(InputError, match=r"list\.jsonl: cannot be written .*No space"):
            check_data_set(DataSets(), "birds", str(output))
    assert output.read_text() == "an older list\n"
    with monkeypatch.context() as patch:
        seen = interrupt(patch, None, None)
        check_data_set(DataSets(), "birds", str(output))
    assert seen == []  # nothing is read again
    assert listed(output) == EXPECTED


def test_a_header_that_cannot_be_read_is_listed_too(tmp_path, write_cub):
    root = write_cub(tmp_path)
    (root / "images" / "001.Wren" / "wren_a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"wren_a\.png"):
        DataSets(tmp_path).get("cub_train")
    assert check_data_set(DataSets(tmp_path), "cub_train", str(tmp_path / "list")) == 1
    assert listed(tmp_path / "list") == [
        ("001.Wren/wren_a.png", "empty file", True),
        ("002.Gull/gull_b.png", "one colour everywhere", False),
    ]


def test_a_second_check_into_the_same_list_is_refused_while_one_runs(tmp_path, birds, monkeypatch):
    refused = []

    def look(*_):
        words = [sys.executable, "-c", SECOND, str(tmp_path / "list")]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        refused.append(done.stdout)
        return []

    monkeypatch.setattr(check, "_check_rest", look)
    check_data_set(DataSets(), "birds", str(tmp_path / "list"))
    assert "list: wend data check (process " in refused[0]
    assert "writes here now" in refused[0]
    assert sorted(path.name for path in tmp_path.glob("*list*")) == ["list"]


SECOND = """
import sys
from wend.errors import InputError
from wend.run_lock import locked_file
try:
    with locked_file(sys.argv[1], doing="another"):
        print("may")
except InputError as error:
    print(error)
"""
