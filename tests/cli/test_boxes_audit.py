"""``wend boxes audit``: files, answers, estimate, what comes of them, and odd input."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from wend.cli.parser import main
from wend.loading.bad_images import read_quarantine
from wend.pseudo_boxes import read_coco

BOXES = {  # several boxes on one image, none on another
    "a ü.png": [[10, 10, 40, 40], [50, 50, 90, 90]],
    "b.png": [[5, 5, 95, 95]],
    "c.png": [],
    "d.png": [[20, 30, 60, 70]],
    "e.png": [[20, 30, 61, 70]],
}


def coco(path, boxes, scores=False):
    rows = [(image, box) for image, name in enumerate(boxes, 1) for box in boxes[name]]
    annotations = [
        {"id": i, "image_id": image, "category_id": 1, "bbox": [a, b, c - a, d - b], "iscrowd": 0}
        | ({"score": 1 / i} if scores else {})
        for i, (image, (a, b, c, d)) in enumerate(rows, 1)
    ]
    images = [
        {"id": i, "file_name": name, "width": 100, "height": 100} for i, name in enumerate(boxes, 1)
    ]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A declared data set of five images, and other boxes of them."""
    folder = tmp_path_factory.mktemp("photos of ü")
    for name in BOXES:
        Image.new("RGB", (100, 100), (90, 120, 40)).save(folder / name)
    coco(folder / "truth.json", {name: [] for name in BOXES})
    coco(folder / "boxes.json", BOXES)
    others = BOXES | {"b.png": [[0, 0, 30, 30]], "d.png": [], "c.png": [[0, 0, 9, 9]]}
    coco(folder / "others.json", others, scores=True)
    declared = "{name: photos, format: coco, images: ./, annotations: ./truth.json, classes: none}"
    (folder / "photos.yaml").write_text(declared)
    return folder


def words(photos, output, *more):
    source = ("coco", str(photos / "boxes.json"), "--dataset", str(photos / "photos.yaml"))
    others = ("--other", "coco", str(photos / "others.json"))
    return ["boxes", "audit", *source, *others, "--output", str(output), *more]


@pytest.fixture(scope="module")
def made(photos, tmp_path_factory):
    """A finished audit; not to be written to."""
    folder = tmp_path_factory.mktemp("made") / "an audit"
    assert main(words(photos, folder)) == 0
    return folder


@pytest.fixture
def audit(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy of ä")


def rows(folder):
    with (folder / "audit.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def type_in(folder, answers, separator=","):
    """Type answers (box -> answer) into the table, as a spreadsheet would save it."""
    table = rows(folder)
    for row in table:
        row["answer"] = answers.get(int(row["box"]), "")
        if separator == ";":  # where the comma is the point
            row |= {name: row[name].replace(".", ",") for name in ("x0", "suspicion", "area")}
    with (folder / "audit.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, table[0], delimiter=separator)
        writer.writeheader()
        writer.writerows(sorted(table, key=lambda row: row["key"]))  # sorted by the user


def answers_file(folder, answers, path=None, **changes):
    path = path or folder.parent / "answers.json"
    info = json.loads((folder / "audit.json").read_text())
    content = {"format": "wend boxes audit answers 1", "audit": info["audit"], "answers": answers}
    path.write_text(json.dumps(content | changes))
    return str(path)


def estimate(folder):
    return json.loads((folder / "estimate.json").read_text())


def fails(command, capsys, *said):
    assert main([str(word) for word in command]) == 2
    error = capsys.readouterr().err
    for part in said:
        assert part in error
    assert "Traceback" not in error


def test_boxes_are_ranked_with_every_signal_beside(made):
    table = rows(made)
    assert [int(row["box"]) for row in table] != sorted(int(row["box"]) for row in table)
    assert sorted(int(row["box"]) for row in table) == [0, 1, 2, 3, 4]
    marks = [float(row["suspicion"]) for row in table]
    assert marks == sorted(marks, reverse=True)
    assert all(0 <= mark <= 1 for mark in marks)
    (other,) = (name for name in table[0] if name.startswith("other:"))
    of_box = {int(row["box"]): row for row in table}
    assert of_box[2]["key"].endswith("b.png")
    assert float(of_box[2][other]) == pytest.approx(1 - 625 / (8100 + 900 - 625))
    assert of_box[3][other] == ""  # the other source has no box there
    assert {"area", "aspect", "border", "centre"} < set(table[0])
    assert sorted(int(row["draw"]) for row in table) == [1, 2, 3, 4, 5]
    assert {row["inclusion_probability"] for row in table} == {"1.0"}
    info = json.loads((made / "audit.json").read_text())
    assert (info["boxes"], info["images"], info["images_without_box"]) == (5, 5, 1)
    assert "1 of 5 images have no box" in info["limits"][0]


def test_boxes_alone_are_said_to_tell_little(photos, tmp_path, capsys):
    command = words(photos, tmp_path / "out")
    del command[command.index("--other") : command.index("--output")]
    assert main(command) == 0
    assert "tells little of single boxes" in capsys.readouterr().out
    assert "tells little of single boxes" in (tmp_path / "out/audit.html").read_text()


def test_all_answered_is_exact(audit, capsys):
    answers = {str(box): "right" if box < 3 else "wrong" for box in range(5)}
    assert main(["boxes", "audit", str(audit), "--answers", answers_file(audit, answers)]) == 0
    assert "60.0 % (95 % interval 60.0 to 60.0)" in capsys.readouterr().out
    got = estimate(audit)
    assert [got["accuracy"][end] for end in ("value", "low", "high")] == pytest.approx([0.6] * 3)
    assert (got["right"], got["wrong"], got["unsure"]) == (3, 2, 0)
    assert got["if_unsure_are_wrong"] is None


def test_answers_typed_into_the_table_are_the_same(audit, capsys):
    answers = {0: "right", 1: " Wrong", 2: "u", 3: "R", 4: "w"}
    type_in(audit, answers, separator=";")
    assert main(["boxes", "audit", str(audit)]) == 0
    out = capsys.readouterr().out
    assert "2 right, 2 wrong, 1 unsure, 0 not answered" in out
    got = estimate(audit)
    assert got["accuracy"]["value"] == pytest.approx(0.5)
    assert got["if_unsure_are_wrong"]["value"] == pytest.approx(0.4)
    assert got["if_unsure_are_right"]["value"] == pytest.approx(0.6)


def test_what_is_written_can_be_trained_with(audit):
    answers = {"0": "right", "1": "wrong", "2": "wrong", "3": "right"}
    assert main(["boxes", "audit", str(audit), "--answers", answers_file(audit, answers)]) == 0
    assert read_quarantine(str(audit / "wrong.jsonl")) == {_key(audit, 1), _key(audit, 2)}
    boxes = read_coco(audit / "scored_boxes.json")
    assert boxes.table.scores is not None
    scored = dict(zip(boxes.keys, zip(boxes.table, range(len(boxes)), strict=True), strict=True))
    both, image = scored[_key(audit, 0)]
    np.testing.assert_allclose(both, np.array(BOXES["a ü.png"]) / 100)  # the right one first
    assert boxes.table.scores_of(image).tolist() == [1, 0]
    (_, image) = scored[_key(audit, 4)]
    assert 0 < boxes.table.scores_of(image)[0] < 1
    assert sorted(scored) == sorted({row["key"] for row in rows(audit)})


def _key(folder, box):
    return next(row["key"] for row in rows(folder) if row["box"] == str(box))


def test_scores_fall_with_the_suspicion(audit):
    """Where nothing is answered for a box, its score is 1 - the calibrated suspicion."""
    table = sorted(rows(audit), key=lambda row: int(row["draw"]))
    first = {row["box"]: "wrong" if float(row["suspicion"]) > 0.5 else "right" for row in table[:3]}
    assert main(["boxes", "audit", str(audit), "--answers", answers_file(audit, first)]) == 0
    got = estimate(audit)["calibration"]
    want = 1 / (1 + np.exp(got["intercept"] + got["slope"] * float(table[4]["suspicion"])))
    boxes = read_coco(audit / "scored_boxes.json")
    assert np.isclose(boxes.table.scores, want).any()


def test_results_go_to_another_folder(audit, tmp_path):
    answers = answers_file(audit, {"0": "right"})
    output = tmp_path / "elsewhere ö"
    before = sorted(path.name for path in audit.iterdir())
    command = ["boxes", "audit", str(audit), "--answers", answers, "--output", str(output)]
    assert main(command) == 0
    names = ["estimate.json", "scored_boxes.json", "wrong.jsonl"]
    assert sorted(path.name for path in output.iterdir()) == names
    assert sorted(path.name for path in audit.iterdir()) == before


def test_boxes_left_out_between_are_told(audit, capsys):
    last = max(rows(audit), key=lambda row: int(row["draw"]))["box"]
    answers = answers_file(audit, {last: "right"})
    assert main(["boxes", "audit", str(audit), "--answers", answers]) == 0
    assert "4 boxes were left out between answered ones" in capsys.readouterr().out


def test_answers_of_boxes_that_were_not_drawn_do_not_count(photos, tmp_path, capsys):
    folder = tmp_path / "out"
    assert main(words(photos, folder, "--sample", "2")) == 0
    drawn = {row["box"]: bool(row["draw"]) for row in rows(folder)}
    answers = {box: "right" if is_drawn else "wrong" for box, is_drawn in drawn.items()}
    assert main(["boxes", "audit", str(folder), "--answers", answers_file(folder, answers)]) == 0
    assert "3 answers about boxes that were not drawn" in capsys.readouterr().out
    assert estimate(folder)["accuracy"]["value"] == 1
    assert estimate(folder)["accuracy"]["high"] == 1
    assert len(read_quarantine(str(folder / "wrong.jsonl"))) >= 2  # but they are wrong


def test_widths_and_levels(audit, capsys):
    answers = answers_file(audit, {"0": "right", "1": "wrong", "2": "right"})
    more = ["--width", "0.3", "0.4", "--level", "0.5"]
    assert main(["boxes", "audit", str(audit), "--answers", answers, *more]) == 0
    assert "50 % interval" in capsys.readouterr().out
    assert sorted(estimate(audit)["boxes_for_width"]) == ["0.3", "0.4"]


def test_the_same_command_keeps_the_answers_and_other_boxes_do_not(photos, tmp_path, capsys):
    folder = tmp_path / "out"
    assert main(words(photos, folder, "--sample", "3")) == 0
    drawn = {row["box"] for row in rows(folder) if row["draw"]}
    type_in(folder, {int(box): "right" for box in drawn})
    assert main(words(photos, folder, "--sample", "5")) == 0  # the larger one holds the smaller
    table = rows(folder)
    assert {row["box"] for row in table if row["answer"]} == drawn
    assert all(row["draw"] for row in table)
    assert 'data-answer="right"' in (folder / "audit.html").read_text()
    other = words(photos, folder, "--seed", "1")
    fails(other, capsys, "audit.csv: holds answers about another audit", "--overwrite")
    assert main([*other, "--overwrite"]) == 0
    assert not any(row["answer"] for row in rows(folder))


def test_answers_twice_agree_or_are_refused(audit, capsys):
    type_in(audit, {0: "right", 1: "unsure"})
    same = answers_file(audit, {"0": "right", "3": "wrong"}, audit.parent / "same.json")
    again = answers_file(audit, {"3": "wrong", "4": ""}, audit.parent / "again.json")
    command = ["boxes", "audit", str(audit), "--answers"]
    assert main([*command, same, again]) == 0
    assert (estimate(audit)["right"], estimate(audit)["wrong"]) == (1, 1)
    other = answers_file(audit, {"3": "right"}, audit.parent / "other.json")
    fails([*command, same, other], capsys, "box 3", "answered right, and wrong in", "same.json")
    copy = audit.parent / "copy.csv"
    shutil.copy(audit / "audit.csv", copy)
    assert main([*command, str(copy)]) == 0


BAD_ANSWERS = {
    "no answers": ({}, {}, "none of the 5 drawn boxes is answered"),
    "a box by two names": ({"1": "right", "01": "wrong"}, {}, "none of the audit's 5 ('01')"),
    "a long number": ({"9" * 5000: "right"}, {}, "none of the audit's 5"),
    "unsure alone": ({"0": "unsure"}, {}, "none of the 5 drawn boxes is answered"),
    "another audit": ({"0": "right"}, {"audit": "0" * 64}, "page of another audit"),
    "another word": ({"0": "yes"}, {}, "expected right, wrong, unsure or nothing, got 'yes'"),
    "a number": ({"0": 1}, {}, "answer of box 0: expected right, wrong or unsure, got 1"),
    "an unknown box": ({"7": "right"}, {}, "1 boxes are none of the audit's 5 ('7')"),
    "no box": ({"-1": "right"}, {}, "none of the audit's 5"),
    "a superscript": ({"²": "right"}, {}, "none of the audit's 5"),
    "a list": ([], {}, "expected an object answers, got []"),
    "another file": ({}, {"format": "x"}, "expected answers.json"),
}


@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_answers_that_are_none(case, audit, capsys):
    answers, changes, said = BAD_ANSWERS[case]
    path = answers_file(audit, answers, **changes)
    fails(["boxes", "audit", audit, "--answers", path], capsys, said)
    assert not (audit / "estimate.json").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": ', "not a whole JSON value"),
        ('{"answers": {"0": "right", "0": "wrong"}}', "stands twice"),
        ("[]", "expected answers.json"),
    ],
)
def test_files_that_are_no_answers(content, said, audit, capsys):
    path = audit.parent / "answers.json"
    path.write_text(content)
    fails(["boxes", "audit", audit, "--answers", path], capsys, said)


def test_answers_that_are_not_there(audit, capsys):
    fails(["boxes", "audit", audit, "--answers", audit / "no.json"], capsys, "there is no such")


def _edit(old, new):
    def edit(folder):
        path = folder / "audit.csv"
        path.write_text(path.read_text().replace(old, new))

    return edit


def _cut(folder):
    path = folder / "audit.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


DAMAGE = {
    "a row less": (_cut, "expected a row for each of 5 boxes"),
    "no column": (_edit("suspicion", "sus"), "lacks suspicion"),
    "no table": (lambda folder: (folder / "audit.csv").unlink(), "there is no such file"),
    "an empty table": (lambda folder: (folder / "audit.csv").write_text(""), "lacks box"),
    "cells less": (lambda folder: _append(folder, "1,2\n"), "cells, got 2"),
    "no info": (lambda folder: (folder / "audit.json").write_text("{}"), "audit.json: expected"),
    "digits": (_edit("\n0,", f"\n{'9' * 5000},"), "column box: expected a whole number"),
    "a word": (_edit(",100,100,", ",wide,100,"), "column width: expected a number, got 'wide'"),
    "binary": (lambda folder: (folder / "audit.csv").write_bytes(b"\xff\xfe\x00"), "UTF-16"),
}


def _append(folder, line):
    with (folder / "audit.csv").open("a") as file:
        file.write(line)


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_audits_are_named(case, audit, capsys):
    damage, said = DAMAGE[case]
    damage(audit)
    fails(["boxes", "audit", audit], capsys, said)


def test_copies_of_another_table_are_refused(audit, photos, tmp_path, capsys):
    copy = tmp_path / "copy.csv"
    _edit("b.png", "q.png")(audit)
    shutil.copy(audit / "audit.csv", copy)
    _edit("q.png", "b.png")(audit)
    fails(["boxes", "audit", audit, "--answers", copy], capsys, "is none of the audit in")


def test_words_that_do_not_go_together(audit, photos, tmp_path, capsys):
    boxes = ["boxes", "audit"]
    fails([*boxes, audit, "--other", "x"], capsys, "--other belongs to the making of an audit")
    fails([*boxes, tmp_path, "--answers", "a.json"], capsys, "is no folder of one")
    fails([*boxes, "coco", photos / "boxes.json"], capsys, "--dataset NAME")
    fails(words(photos, tmp_path)[:-2], capsys, "--output DIR")
    fails(words(photos, tmp_path, "--sample", "0"), capsys, "--sample: expected at least 1")
    fails(words(photos, tmp_path, "--seed", "-1"), capsys, "--seed")
    fails(words(photos, tmp_path, "--images", "-1"), capsys, "--images: expected a number from 0")
    for option in (["--sample", "7"], ["--seed", "0"], ["--images", "0"], ["--overwrite"]):
        fails([*boxes, audit, *option], capsys, f"{option[0]} belongs to the making of an audit")
    fails([*boxes, audit, "--width", "5"], capsys, "--width: expected shares in (0, 1)")


def test_sources_without_boxes_are_errors(photos, tmp_path, capsys):
    empty = ["coco", str(coco(tmp_path / "other.json", {"x.png": [[0, 0, 9, 9]]}))]
    command = ["boxes", "audit", *empty, "--dataset", str(photos / "photos.yaml")]
    fails([*command, "--output", tmp_path / "out"], capsys, "one of the data set's 5")
    others = words(photos, tmp_path / "out", "--other", *empty)
    fails(others, capsys, "one of the data set's 5")
    twice = words(photos, tmp_path / "out", "--other", "coco", str(photos / "others.json"))
    fails(twice, capsys, "comes twice")
    assert not (tmp_path / "out").exists()


def test_another_file_in_the_pages_place_stays(photos, tmp_path, capsys):
    (tmp_path / "audit.html").write_text("mine")
    fails(words(photos, tmp_path), capsys, "audit.html: is no page of this program")
    assert (tmp_path / "audit.html").read_text() == "mine"


def test_detections_of_a_file_judge_too(photos, tmp_path, capsys):
    path = tmp_path / "detections.json"
    rows_ = [(1, [10, 10, 30, 30], 0.9), (2, [0, 0, 50, 50], 0.8), (5, [20, 30, 41, 40], 0.3)]
    made = [{"image_id": i, "category_id": 1, "bbox": b, "score": s} for i, b, s in rows_]
    path.write_text(json.dumps(made))
    folder = tmp_path / "out"
    assert main(words(photos, folder, "--detector", str(path))) == 0
    of_box = {int(row["box"]): row for row in rows(folder)}
    assert [float(of_box[box]["detector"]) for box in (0, 1, 3)] == pytest.approx([0, 1, 1])
    assert float(of_box[4]["detector_score"]) == pytest.approx(0.7)
    assert "flips" not in of_box[0]
    assert "no independent judge" in capsys.readouterr().out
    path.write_text(json.dumps([row | {"category_id": i} for i, row in enumerate(made)]))
    assert main(words(photos, tmp_path / "of classes", "--detector", str(path))) == 0
    assert "boxes of 3 classes count whatever their class" in capsys.readouterr().out
    assert rows(tmp_path / "of classes") == rows(folder)


def test_missing_images_are_told_on_the_page(photos, tmp_path):
    moved = shutil.copytree(photos, tmp_path / "moved")
    (moved / "b.png").write_bytes(b"no image")
    assert main(words(moved, tmp_path / "out")) == 0
    text = (tmp_path / "out/audit.html").read_text()
    assert "1 images of the sample cannot be read" in text
    assert text.count('class="question"') == 2 * 4


@pytest.mark.slow
def test_a_trained_detector_judges_the_boxes_it_learned(
    engine, finished, toy_root, tmp_path, capsys
):
    folder = tmp_path / "out"
    command = ["boxes", "audit", "toy_train_c2am", "--datasets-root", str(toy_root.parent)]
    command += ["--output", str(folder), "--detector", str(finished(engine)), "--sample", "10"]
    assert main(command) == 0
    assert "was trained on these very boxes" in capsys.readouterr().out
    assert {"detector", "detector_score", "flips"} < set(rows(folder)[0])
    first = (folder / "audit.csv").read_bytes()
    lines = (folder / "predictions.jsonl").read_text().splitlines(keepends=True)
    (folder / "predictions.jsonl").write_text("".join(lines[:9]) + lines[9][:20])  # interrupted
    assert main(command) == 0
    assert (folder / "audit.csv").read_bytes() == first
    assert (folder / "predictions.jsonl").read_text().splitlines(keepends=True) == lines
