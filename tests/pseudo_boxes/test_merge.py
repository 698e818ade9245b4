"""Entries of one image: the columns' way against one entry after the other."""

from itertools import chain

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wend.pseudo_boxes import PseudoBoxes, attach_pseudo_boxes
from wend.pseudo_boxes.join import join_boxes
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

corners = st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(1, 2), st.integers(1, 2))
boxes = st.lists(corners.map(lambda box: [10 * side for side in box]), max_size=3)
entries = st.lists(st.tuples(st.sampled_from("abcd"), boxes), max_size=8)


def one_by_one(entries, scores):
    """Key -> boxes, best first; numbers of boxes without area, of repetitions, of conflicts."""
    merged, zero_area, repeated, conflicting = {}, 0, 0, 0
    for (key, rows), marks in zip(entries, scores, strict=True):
        own = []
        for _, row in sorted(zip(marks, rows, strict=True), key=lambda pair: -pair[0]):
            if row[2] == row[0] or row[3] == row[1]:
                zero_area += 1
            elif row in own:
                repeated += 1
            else:
                own.append(row)
        if own:
            if key in merged:
                same = sorted(own) == sorted(merged[key])
                repeated, conflicting = repeated + same, conflicting + (not same)
            merged[key] = own
    return merged, (zero_area, repeated, conflicting)


def numbers(counts):
    return tuple(counts[kind].number for kind in ("zero_area", "repeated", "conflicting"))


@settings(max_examples=300, deadline=None)
@given(entries=entries, data=st.data())
def test_entries_of_an_image_are_merged_as_one_after_the_other(entries, data):
    scored = data.draw(st.booleans())
    draw = st.integers(0, 2) if scored else st.just(0)
    scores = [data.draw(st.lists(draw, min_size=len(e[1]), max_size=len(e[1]))) for e in entries]
    flat = [row for _, rows in entries for row in rows]
    pseudo = PseudoBoxes.from_entries(
        "s",
        "pixel",
        [key for key, _ in entries],
        np.array([len(rows) for _, rows in entries], dtype=np.int64),
        np.array(flat, dtype=float).reshape(-1, 4),
        np.array(list(chain(*scores)), dtype=float) if scored else None,
    )
    merged, counts = one_by_one(entries, scores)
    assert {key: pseudo[key].tolist() for key in pseudo.keys} == merged
    assert numbers(pseudo.counts) == counts
    assert (pseudo.table.scores is not None) == scored


@settings(max_examples=200, deadline=None)
@given(entries=entries, data=st.data())
def test_paths_of_several_roots_are_merged_as_entries_of_one_key_are(entries, data):
    """Several roots: the last entry's boxes, and as many duplicates, as if written alike."""
    roots = [data.draw(st.sampled_from(["", "x/", "y/z/"])) for _ in entries]
    keys = [f"{key}/i" for key in "abc"]  # of d there is no image

    def joined(names):
        pseudo = PseudoBoxes.from_entries(
            "s",
            "pixel",
            names,
            np.array([len(rows) for _, rows in entries], dtype=np.int64),
            np.array([row for _, rows in entries for row in rows], dtype=float).reshape(-1, 4),
        )
        table, report = join_boxes(keys, np.full((3, 2), 100), pseudo)
        return [each.tolist() for each in table], report.number("repeated") + report.number(
            "conflicting"
        )

    has_area = [any(x1 > x0 and y1 > y0 for x0, y0, x1, y1 in rows) for _, rows in entries]
    assume(any(has and key != "d" for has, (key, _) in zip(has_area, entries, strict=True)))
    # d's paths are left alike: images that the data set lacks are compared by their paths
    names = [
        ("" if key == "d" else root) + f"{key}/i"
        for root, (key, _) in zip(roots, entries, strict=True)
    ]
    assert joined(names) == joined([f"{key}/i" for key, _ in entries])


def test_scores_stay_with_the_data_set_and_boxes_of_unknown_sizes_are_fractions():
    records = [ImageRecord(i, f"c/{i}", 100, 50) for i in range(3)]
    data_set = DataSet.from_records(records)
    data_set.sizes[1] = 0
    source = PseudoBoxes.from_dict(
        {f"c/{i}": [[0, 0, 0.5, 1], [0, 0, 1, 0.5]] for i in range(3)},
        "fraction",
        scores={f"c/{i}": [0.25, 0.75] for i in range(3)},
    )
    attached, report = attach_pseudo_boxes(data_set, source)
    assert attached.pseudo_boxes.counts.tolist() == [2, 2, 2]
    assert attached.pseudo_boxes[1].tolist() == [[0, 0, 1, 0.5], [0, 0, 0.5, 1]]
    assert attached.pseudo_boxes[2].tolist() == [[0, 0, 100, 25], [0, 0, 50, 50]]
    assert attached.pseudo_boxes.scores.tolist() == [0.75, 0.25] * 3
    assert not any(count.number for count in report.counts.values())
    assert len(data_set.pseudo_boxes.boxes) == 0  # the given one stays as it was
