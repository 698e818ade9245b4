"""The join: which image a path means, what is counted, what is refused; and the quick C2AM path."""

import json
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wend.errors import InputError
from wend.evaluation.metrics import accuracy
from wend.evaluation.per_image import score
from wend.evaluation.protocols import get_protocol
from wend.formats.cub import load_cub
from wend.pseudo_boxes import (
    KINDS,
    PseudoBoxes,
    attach_pseudo_boxes,
    join_boxes,
    read_boxes,
    read_c2am,
)
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord


def joined(boxes: dict, keys: list[str], frame: str = "pixel", **options):
    sizes = np.full((len(keys), 2), (100, 50))
    return join_boxes(keys, sizes, PseudoBoxes.from_dict(boxes, frame, source="s"), **options)


def test_paths_of_two_roots_that_mean_one_image_are_duplicates():
    boxes = {"/a/c/1": [0, 0, 9, 9], "/b/c/1": [0, 0, 9, 9], "/a/c/2": [0, 0, 9, 9]}
    table, report = joined({**boxes, "/b/c/2": [0, 0, 8, 8], "/b/c/3": []}, ["c/1", "c/2"])
    assert table.boxes.tolist() == [[0, 0, 9, 9], [0, 0, 8, 8]]
    assert (report.number("repeated"), report.number("conflicting")) == (1, 1)


@pytest.mark.parametrize("path", ["", "/", "..", "a/../b", "a\0b", "\ud800/a.jpg"])
def test_path_that_can_leave_the_root_or_is_none_is_refused(path):
    with pytest.raises(InputError, match=r"s: image .*: expected an image's path"):
        PseudoBoxes.from_dict({path: [0, 0, 9, 9]}, "pixel", source="s")


BOXES = {
    "c/ok": [10, 10, 20, 20],
    "c/out": [-10, 10, 20, 60],  # leaves 100x50: clipped to 0, 10, 20, 50
    "c/gone": [100, 0, 120, 50],  # beside it
    "c/whole": [0, 0, 100, 49.5],  # 99 %
    "c/nearly": [0, 0, 100, 49.4],
    "c/empty": [5, 5, 5, 9],
    "c/two": [[1, 1, 5, 5], [1, 1, 5, 5], [2, 2, 9, 9]],
    "x/ILSVRC2012_val_00000001.JPEG": [0, 0, 9, 9],
    "x/no_image": [0, 0, 9, 9],
}
IMAGES = ["c/ok", "c/out", "c/gone", "c/whole", "c/nearly", "c/empty", "c/two", "c/none"]


def test_every_kind_is_counted_with_its_first_keys(caplog):
    caplog.set_level("INFO", logger="wend")
    table, report = joined(BOXES, IMAGES, allow_contamination=True)
    expected = {
        "missing": (3, ("c/gone", "c/empty", "c/none")),
        "surplus": (2, ("x/ILSVRC2012_val_00000001.JPEG", "x/no_image")),
        "contaminated": (1, ("x/ILSVRC2012_val_00000001.JPEG",)),
        "repeated": (1, ("c/two",)),
        "conflicting": (0, ()),
        "zero_area": (1, ("c/empty",)),
        "outside": (1, ("c/out",)),
        "vanished": (1, ("c/gone",)),
        "whole_image": (1, ("c/whole",)),
        "other_shape": (0, ()),
    }
    assert {k: (c.number, c.examples) for k, c in report.counts.items()} == expected
    assert report.per_image == {0: 3, 1: 4, 2: 1}
    assert table.offsets.tolist() == [0, 1, 2, 2, 3, 4, 4, 6, 6]
    assert table.boxes[1].tolist() == [0, 10, 20, 50]
    assert table.boxes[4:].tolist() == [[1, 1, 5, 5], [2, 2, 9, 9]]
    for kind in ("missing", "outside", "whole_image"):
        assert re.search(re.escape(KINDS[kind]) + rf" +{report.number(kind)} ", caplog.text)
    assert "number: images = 0: 3, 1: 4, 2: 1" in caplog.text
    assert report.to_dict()["counts"]["vanished"] == 1


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("missing", "c/gone, c/empty, c/none"),
        ("surplus", "x/ILSVRC2012"),
        ("repeated", "c/two"),
        ("zero_area", "c/empty"),
        ("outside", "c/out"),
        ("vanished", "c/gone"),
        ("whole_image", "c/whole"),
    ],
)
def test_strict_turns_each_kind_into_an_error_that_names_the_first(kind, first):
    with pytest.raises(InputError, match=rf"s: strict: \d {re.escape(KINDS[kind])} \({first}"):
        joined(BOXES, IMAGES, strict=[kind], allow_contamination=True)
    joined(BOXES, IMAGES, strict=["conflicting"], allow_contamination=True)


def test_strict_names_all_kinds_together_and_unknown_ones():
    with pytest.raises(InputError) as error:
        joined(BOXES, IMAGES, strict=True, allow_contamination=True)
    assert str(error.value).count(";") == 6  # between the seven kinds
    with pytest.raises(
        InputError, match="strict: unknown mising; expected true or some of missing"
    ):
        joined(BOXES, IMAGES, strict=["mising"], allow_contamination=True)


def test_validation_images_are_an_error_unless_allowed_or_the_data_set_is_theirs():
    with pytest.raises(
        InputError, match=r"s: 1 of its images are ImageNet validation images \(x/IL"
    ):
        joined(BOXES, IMAGES)
    key = "n01/ILSVRC2012_val_00000001.JPEG"
    assert joined({key: [0, 0, 9, 9]}, [key])[1].number("contaminated") == 0
    stem = "n01/my_ILSVRC2012_val_1.JPEG"  # not at the start of the name
    assert joined({stem: [0, 0, 9, 9]}, [stem, "n01/b"])[1].number("contaminated") == 0


def test_the_spec_of_a_source_decides_unless_the_call_does(tmp_path, write_c2am):
    folder = write_c2am(tmp_path, {"c/a": [0, 0, 1, 1], "x/ILSVRC2012_val_1": [0, 0, 1, 1]})
    data_set = DataSet.from_records([ImageRecord(1, "c/a", 10, 10)])
    spec = {"source": "c2am", "path": folder, "allow_contamination": True}
    attach_pseudo_boxes(data_set, read_boxes(spec))
    with pytest.raises(InputError, match="validation images"):
        attach_pseudo_boxes(data_set, read_boxes(spec), allow_contamination=False)
    with pytest.raises(InputError, match=r"strict: .*whole image"):
        attach_pseudo_boxes(data_set, read_boxes({**spec, "strict": ["whole_image"]}))


def test_scores_and_boxes_of_shuffled_images_stay_together():
    rng = np.random.default_rng(0)
    keys = [f"c/{i}" for i in range(50)]
    boxes = {k: rng.uniform(1, 20, (rng.integers(1, 4), 2)).repeat(2, 1) for k in keys}
    boxes = {k: np.concatenate([b[:, ::2] * 0, b[:, ::2] + 2], 1) for k, b in boxes.items()}
    scores = {k: b[:, 2] for k, b in boxes.items()}  # so that the score is the box's x1
    order = rng.permutation(keys).tolist()
    source = PseudoBoxes.from_dict({k: boxes[k] for k in order}, "pixel", scores=scores)
    table, _ = join_boxes(keys, np.full((50, 2), 100), source)
    np.testing.assert_array_equal(table.boxes[:, 2], table.scores)
    for i, key in enumerate(keys):
        np.testing.assert_array_equal(table[i][:, 2], np.sort(boxes[key][:, 2])[::-1])


def test_from_dict_names_what_is_wrong():
    for boxes, frame, said in (
        ({"c/a": [0, 0, 1]}, "pixel", "s: image 'c/a': expected boxes of shape (N, 4)"),
        (
            {"c/a": ["a", 0, 1, 1]},
            "pixel",
            "s: image 'c/a': expected boxes as rows of four numbers",
        ),
        ({"c/a": [0, 0, 10, 10]}, "pixels", "frame must be one of ('fraction', 'pixel')"),
        ({"c/a": [0, 0, 10, 10]}, "fraction", "c/a: box [0.0, 0.0, 10.0, 10.0] is far outside"),
    ):
        with pytest.raises(InputError, match=re.escape(said)):
            PseudoBoxes.from_dict(boxes, frame, source="s")
    with pytest.raises(InputError, match="1 boxes but 2 scores"):
        PseudoBoxes.from_dict({"a": [0, 0, 9, 9]}, "pixel", scores={"a": [1, 2]})


# ---- C2AM: any file, against json ----

NAMES = st.text('ab./\\"é\u0301 {[:,', min_size=1, max_size=6)
ODD = st.sampled_from([0, 1, True, False, None, "1", 0.0, 1.0, -0.5, 2, 1e400])
VALUES = st.one_of(
    st.tuples(st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 0.5)).map(list),
    st.lists(ODD | st.floats(0, 1), min_size=3, max_size=5),
    st.tuples(st.just(0.0), st.floats(0, 2e-5), st.just(0.5), st.just(1.0)).map(list),
)
PAIRS = st.lists(st.tuples(NAMES.map(lambda s: f"r/train/c/{s}"), VALUES), max_size=6)


def is_fraction(value):
    """Whether it is a box x, y, w, h within 0..1, as JSON's own reader sees it.

    A side may end 1e-5 behind 1, as rounding of the writer's x + w makes it; it is cut there.
    """
    numbers = len(value) == 4 and all(type(v) in (int, float) for v in value)
    return numbers and min(value) >= 0 and max(value[0] + value[2], value[1] + value[3]) <= 1 + 1e-5


def class_key(path):
    """Class folder and file name of a path, or "" if it has none."""
    parts = unicodedata.normalize("NFC", path).replace("\\", "/").split("/")
    parts = [part for part in parts if part not in ("", ".")]
    return "" if len(parts) < 2 or ".." in parts[-2:] else "/".join(parts[-2:])


@settings(max_examples=150, deadline=None)
@given(st.lists(PAIRS, min_size=1, max_size=3))
@example([[("r/train/c/[:\\:", [0.0, 0.0, 0.5, 0.5])]])  # "[:" is a folder, no drive
@example([[("r/train/c/a:\\b", [0.0, 0.0, 0.5, 0.5]), ("r/train/c/b", [0.0, 0.0, 1, 1])]])
@example([[("r/train/c/:", [0, 1.192092896e-07, 0, 1])]])
def test_any_file_is_read_as_json_reads_it(tmp_path_factory, files):
    """Keys twice, quotes, dots, Unicode, true, null, huge numbers: its boxes, or an error."""
    folder = tmp_path_factory.mktemp("c2am")
    expected = {}
    for number, pairs in enumerate(files):
        body = ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs)
        (folder / f"{number}_0_bbox.json").write_text(f"{{{body}}}")
        for key, value in pairs:
            x, y, w, h = value if is_fraction(value) else (0, 0, 0, 0)
            right, bottom = min(x + w, 1), min(y + h, 1)
            if right > x and bottom > y:
                expected.pop(class_key(key), None)  # the last one counts, in its place
                expected[class_key(key)] = [[x, y, right, bottom]]
    if all(is_fraction(value) and class_key(key) for pairs in files for key, value in pairs):
        boxes = read_c2am(folder)
        assert {key: boxes[key].tolist() for key in boxes.keys} == expected
    else:
        with pytest.raises(InputError, match=r"\d_0_bbox\.json: key '"):
            read_c2am(folder)


def test_boxes_of_cub10_hit_as_often_as_published(shared):
    """shared/README.md: 76.4 % of all 543 have IoU > 0.5; the whole image as a box 24.1 %."""
    hits, whole, images = 0.0, 0.0, 0
    for split in ("train", "test"):
        records = load_cub(shared / "data/cub10/CUB_200_2011", split)
        spec = {"source": "c2am", "path": f"c2am_boxes/{split}/pseudo_boxes", "strict": True}
        boxes = read_boxes(spec, root=shared / "data/cub10")
        attached, report = attach_pseudo_boxes(records, boxes)
        assert report.matched == len(records)
        everything = PseudoBoxes.from_dict({r.key: [0, 0, 1, 1] for r in records}, "fraction")
        filled, report = attach_pseudo_boxes(records, everything)
        assert report.number("whole_image") == len(records)
        protocol = get_protocol("original")
        sets = [DataSet.from_records(each) for each in (attached, filled)]
        share = [
            accuracy(score(each, each.pseudo_boxes.scored(), protocol), "gt_known_loc")
            for each in sets
        ]
        hits, whole = hits + share[0] * len(records), whole + share[1] * len(records)
        images += len(records)
    assert images == 543
    assert round(hits / images, 1) == 76.4
    assert round(whole / images, 1) == 24.1


def test_wsolevaluation_lists_hit_themselves(shared):
    """Its own truth as a box source: every image of CUB's test split is matched and exact."""
    from wend.formats.wsoleval import load_wsoleval

    folder = shared / "data/wsol_metadata/CUB/test"
    records = load_wsoleval(folder)
    boxes = read_boxes({"source": "localization", "path": folder})
    attached, report = attach_pseudo_boxes(records, boxes)
    assert (len(records), report.matched, report.number("surplus")) == (5794, 5794, 0)
    same = [np.array_equal(r.pseudo_boxes, r.gt_boxes) for r in attached]
    assert len(same) - sum(same) == report.number("outside")
