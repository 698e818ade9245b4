"""What is looked at in a truth before anything is scored against it, at every door."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from wend.cli.parser import main
from wend.datasets.catalog import DataSets
from wend.datasets.plausible_truth import check_plausible, look_at_truth
from wend.errors import InputError
from wend.formats.wsoleval import load_wsoleval
from wend.images.stated_sizes import compare_with_headers
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

BOX = [210, 30, 290, 170]  # of an image of 300 x 200 pixels


def truth(boxes=None, size=(300, 200), number=20, file="{}.png"):
    return DataSet.from_records(
        [
            ImageRecord(i, str(file).format(i), *size, gt_boxes=[BOX] if boxes is None else boxes)
            for i in range(number)
        ],
        "t",
    )


def kinds(data_set):
    return [(f.kind, f.number, f.certain) for f in look_at_truth(data_set)]


def test_a_good_truth_has_no_finding_and_a_pixel_is_tolerated():
    assert kinds(truth()) == []
    assert kinds(truth([[0, 0, 301, 200]])) == []
    assert kinds(truth([[0, 0, 301.5, 200]])) == [("outside", 20, True)]


def test_exchanged_sizes_are_named_with_list_image_box_and_cause():
    with pytest.raises(InputError) as error:
        check_plausible(truth(size=(200, 300)))
    said = str(error.value)
    assert said.startswith("ground truth t: 20 of 20 true boxes reach out of their image")
    assert "[210, 30, 290, 170] of image 0 (200 x 300 pixels)" in said
    assert "width and height of the images swapped" in said
    assert "--implausible count" in said


def test_one_box_outside_among_many_is_an_error_and_a_count_is_returned(caplog):
    records = [*truth(), ImageRecord(99, "x.png", 300, 200, gt_boxes=[[0, 0, 400, 100]])]
    data_set = DataSet.from_records(records, "t")
    with pytest.raises(InputError, match=r"1 of 21 true boxes reach out .* of image 99"):
        check_plausible(data_set)
    (finding,) = check_plausible(data_set, "count")
    assert (finding.kind, finding.number) == ("outside", 1)
    assert "ground truth t: 1 of 21 true boxes reach out" in caplog.text


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([[10, 10, 10, 50]], ("zero_area", 20, True)),
        ([[10, 10, 11, 50]], ("thin", 20, False)),
        ([BOX, BOX], ("copies", 20, True)),
        ([BOX, BOX, [0, 0, 50, 50]], ("copies", 20, False)),
        ([[0.2, 0.3, 0.7, 0.9]], ("fractions", 20, True)),
    ],
)
def test_kinds_of_single_boxes(boxes, expected):
    assert expected in kinds(truth(boxes))


def test_the_real_lists_have_nothing_that_is_an_error(shared):
    for folder, number in (("CUB/test", 5794), ("CUB/train", 5994), ("ILSVRC/test", 50000)):
        real = load_wsoleval(shared / "data/wsol_metadata" / folder)
        assert len(real) == number
        assert look_at_truth(real) == []


def picture(path, size=(30, 20), orientation=None):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.new("RGB", size, "red").save(path, exif=exif)


def test_sizes_are_compared_with_the_headers_of_some_or_all_files(tmp_path):
    for i in range(10):
        picture(tmp_path / f"{i}.jpg")
    names = [str(tmp_path / f"{i}.jpg") for i in range(12)]  # two are not there
    sizes = np.tile([[30, 20]], (12, 1))
    sizes[3], sizes[4], sizes[11] = (20, 30), (0, 0), (1, 1)
    other = compare_with_headers(names, sizes, "ignore")
    assert (other.looked_at, other.images.tolist()) == (9, [3])
    assert other.stored.tolist() == [[30, 20]]
    assert compare_with_headers(names[:10], np.ones((10, 2), int), "ignore", most=4).looked_at == 4


def test_a_single_other_size_is_a_warning_and_more_are_an_error_with_the_cause(tmp_path):
    for i in range(4):
        picture(tmp_path / f"{i}.jpg")
    good = truth([[0, 0, 10, 10]], (30, 20), 3, tmp_path / "{}.jpg")
    bad = ImageRecord(3, str(tmp_path / "3.jpg"), 20, 30, gt_boxes=[[0, 0, 10, 10]])
    (finding,) = look_at_truth(DataSet.from_records([*good, bad], "t"))
    assert (finding.kind, finding.number, finding.certain) == ("other_size", 1, False)
    swapped = truth([[0, 0, 10, 10]], (20, 30), 4, tmp_path / "{}.jpg")
    with pytest.raises(InputError, match=r"4 of 4 images .* stated as 20 x 30 .* 30 x 20 .*swap"):
        check_plausible(swapped)
    copy = truth([[0, 0, 10, 10]], (224, 224), 4, tmp_path / "{}.jpg")
    with pytest.raises(InputError, match="of another copy of the images"):
        check_plausible(copy)


@pytest.mark.parametrize(
    ("turned", "exif", "expected"),
    [(3, "ignore", ["turned"]), (2, "ignore", []), (20, "apply", []), (20, "ignore", ["turned"])],
)
def test_many_images_that_exif_would_turn_are_a_warning(tmp_path, turned, exif, expected):
    for i in range(20):
        picture(tmp_path / f"{i}.jpg", orientation=3 if i < turned else None)
    good = truth(size=(30, 20), boxes=[[3, 2, 20, 15]], file=str(tmp_path / "{}.jpg"))
    findings = look_at_truth(replace(good, exif=exif))
    assert [finding.kind for finding in findings] == expected
    assert not any(finding.certain for finding in findings)


def test_a_box_outside_images_that_exif_would_turn_names_the_cause(tmp_path):
    for i in range(20):
        picture(tmp_path / f"{i}.jpg", orientation=6)
    upright = truth(size=(30, 20), boxes=[[3, 2, 18, 28]], file=str(tmp_path / "{}.jpg"))
    with pytest.raises(
        InputError, match=r"reach out of their image.*20 of 20 images .*exif: apply"
    ):
        check_plausible(upright)


def test_sizes_after_turning_by_exif_name_the_policy(tmp_path):
    for i in range(4):
        picture(tmp_path / f"{i}.jpg", orientation=6)
    stated = truth([[0, 0, 10, 10]], (20, 30), 4, tmp_path / "{}.jpg")
    with pytest.raises(InputError, match="'exif: apply'"):
        check_plausible(stated)


@pytest.fixture
def swapped(tmp_path, monkeypatch):
    """wsolevaluation's lists with width and height exchanged, their images, and detections."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "p").mkdir()
    names = [f"{i}.png" for i in range(8)]
    for name in names:
        picture(tmp_path / "p" / name, (300, 200))
    lines = {
        "image_ids": [*names],
        "class_labels": [f"{name},0" for name in names],
        "image_sizes": [f"{name},200,300" for name in names],
        "localization": [f"{name},210,30,290,170" for name in names],
    }
    for file, rows in lines.items():
        (tmp_path / "lists" / f"{file}.txt").write_text("\n".join(rows) + "\n")
    (tmp_path / "set.yaml").write_text("format: wsoleval\nimages: p\nlists: lists\n")
    rows = [
        {"image_id": name, "category_id": 1, "bbox": [210, 30, 80, 140], "score": 1}
        for name in names
    ]
    for name in ("d.json", "other.json"):
        (tmp_path / name).write_text(json.dumps(rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return tmp_path


EVALUATE = ["--detections", "d.json", "--output", "o"]


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "--ground-truth", "lists", *EVALUATE],
        ["evaluate", "--ground-truth", "set", *EVALUATE],
        ["compare", "d.json", "other.json", "--ground-truth", "lists"],
        ["data", "import", "set"],
    ],
)
def test_every_door_names_it_and_counts_on_request(swapped, capsys, command):
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "8 of 8 true boxes reach out of their image" in said
    assert ("the stated size of 8 of 8 images" in said) == ("set" in command)
    assert "width and height" in said
    assert main([*command, "--implausible", "count"]) == 0
    if command[0] == "evaluate":
        notes = (swapped / "o/results.md").read_text()
        assert "- 8 of 8 true boxes reach out of their image" in notes


def test_data_check_says_what_is_wrong_with_the_whole_set(swapped, capsys):
    assert main(["data", "check", "set", "--output", "problems.jsonl"]) == 1
    printed = capsys.readouterr().out
    assert "the stated size of 8 of 8 images whose files were looked at" in printed
    assert "width and height of the images swapped" in printed


def test_data_check_says_that_pseudo_boxes_are_fractions(swapped, capsys):
    (swapped / "b.csv").write_text("image,x0,y0,x1,y1\n0.png,0.1,0.1,0.6,0.7\n")
    text = "format: folder\nimages: p\npseudo_boxes: {source: csv, path: b.csv, frame: fraction}\n"
    (swapped / "good.yaml").write_text(text)
    (swapped / "bad.yaml").write_text(text.replace(", frame: fraction", ""))
    for name, status in (("good", 0), ("bad", 1)):
        assert main(["data", "check", name, "--output", "problems.jsonl"]) == status
        assert ("fraction" in capsys.readouterr().out) == bool(status)


def test_pseudo_boxes_registered_by_code_are_looked_at(tmp_path, register):
    records = [
        ImageRecord(i, f"{i}.png", 300, 200, pseudo_boxes=[[0.2, 0.3, 0.7, 0.9]]) for i in range(3)
    ]
    register("coded", lambda: records)
    with pytest.raises(InputError, match="data set coded: 3 of 3 pseudo boxes lie within 0"):
        DataSets(tmp_path).get("coded")
    assert len(DataSets(tmp_path).get("coded", implausible="count")) == 3


def test_a_run_ends_before_its_first_step_unless_it_only_counts(swapped):
    from wend.run import resolve_tests
    from wend.tv.config import get_cfg

    cfg = get_cfg()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), ("set",)
    with pytest.raises(InputError, match="the stated size of 8 of 8 images"):
        resolve_tests(cfg, DataSets())
    cfg.WEND.DATA.IMPLAUSIBLE = "count"
    assert list(resolve_tests(cfg, DataSets())) == ["set"]


def test_arrays_with_height_before_width_are_refused(caplog):
    from wend.evaluation.arrays import wsol_scores
    from wend.evaluation.wsol_metric import WSOLMetric

    number = 6
    columns = ([[BOX]] * number, [[1.0]] * number, [[BOX]] * number)
    right = wsol_scores(*columns, [(300, 200)] * number, protocol="original")
    assert right.numbers["gt_known_loc"] == 100
    wrong = [(200, 300)] * number
    with pytest.raises(InputError, match=r"6 of 6 true boxes .* width and height .* swapped"):
        wsol_scores(*columns, wrong, protocol="original")
    wsol_scores(*columns, wrong, protocol="original", implausible="count")
    for implausible in (None, "count"):
        metric = WSOLMetric("original", implausible=implausible)
        preds = [{"boxes": [BOX], "scores": [1.0]}] * number
        target = [{"image_id": i, "size": (200, 300), "boxes": [BOX]} for i in range(number)]
        metric.update(preds, target)
        if implausible is None:
            with pytest.raises(InputError, match="swapped"):
                metric.compute()
        else:
            assert metric.compute()["gt_known_loc"] == 100
    with pytest.raises(InputError, match="WSOLMetric: implausible: expected one of error, count"):
        WSOLMetric("original", implausible="no")


@given(
    boxes=arrays(
        np.float64,
        st.tuples(st.integers(0, 12), st.just(4)),
        elements=st.floats(-1e99, 1e99) | st.floats(-1, 2) | st.sampled_from([0.0, 224.0, 500.0]),
    ),
    sizes=st.lists(st.tuples(*[st.sampled_from([0, 1, 5, 224, 500, 10**6])] * 2), min_size=1),
    seed=st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
def test_any_boxes_are_looked_at_without_a_traceback(boxes, sizes, seed):
    boxes = np.concatenate([boxes[:, :2], np.maximum(boxes[:, :2], boxes[:, 2:])], 1)
    owner = np.sort(np.random.default_rng(seed).integers(0, len(sizes), len(boxes)))
    table = BoxTable.from_rows(owner, boxes, None, len(sizes))
    columns = [list(range(len(sizes)))] + [list(map(str, range(len(sizes))))] * 2
    data_set = DataSet(
        "t",
        *columns,
        sizes=np.array(sizes, dtype=np.int64),
        class_ids=np.zeros(len(sizes), dtype=np.int64),
        truth=table,
        pseudo_boxes=BoxTable.empty(len(sizes)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        findings = look_at_truth(data_set)
    for finding in findings:
        assert 0 < finding.number <= max(len(boxes), len(sizes))
        assert "\n" not in finding.message
