"""Boxes of many images as one table, against plain lists of arrays."""

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wend.errors import InputError
from wend.structures.box_table import BoxTable, GivenBoxes
from wend.structures.data_set import DataSet
from wend.structures.frame import BoxFrame
from wend.structures.records import ImageRecord

COUNTS = st.lists(st.integers(0, 4), min_size=1, max_size=6)


def lists(counts, seed=0):
    """Random boxes and scores with ties of each image."""
    rng = np.random.default_rng(seed)
    boxes = [np.sort(rng.random((n, 2, 2)), axis=1).reshape(n, 4) for n in counts]
    return boxes, [rng.integers(0, 3, n).astype(float) for n in counts]


@given(COUNTS)
def test_a_table_gives_back_each_images_boxes_best_first(counts):
    boxes, scores = lists(counts)
    table = BoxTable.from_lists(boxes, scores)
    assert table.counts.tolist() == counts
    for i, (each, marks) in enumerate(zip(boxes, scores, strict=True)):
        order = sorted(range(len(each)), key=lambda j: -marks[j])  # stable
        np.testing.assert_array_equal(table[i], each[order])
        np.testing.assert_array_equal(table.scores_of(i), marks[order])


@given(COUNTS, st.data())
def test_rows_in_any_order_make_the_same_table(counts, data):
    boxes, _ = lists(counts)
    owner = np.repeat(np.arange(len(counts)), counts)
    scores = np.random.default_rng(1).permutation(len(owner)).astype(float)  # no ties
    order = np.array(data.draw(st.permutations(range(len(owner)))), dtype=int)
    joined = np.concatenate([np.zeros((0, 4)), *boxes])
    straight = BoxTable.from_rows(owner, joined, scores, len(counts))
    mixed = BoxTable.from_rows(owner[order], joined[order], scores[order], len(counts))
    for name in ("offsets", "boxes", "scores"):
        np.testing.assert_array_equal(getattr(straight, name), getattr(mixed, name))


@given(COUNTS, st.data())
def test_take_keep_first_and_concatenate_are_those_of_lists(counts, data):
    boxes, scores = lists(counts)
    table = BoxTable.from_lists(boxes, scores)
    images = data.draw(st.lists(st.integers(0, len(counts) - 1), max_size=5))
    taken = table.take(images)
    assert [each.tolist() for each in taken] == [table[i].tolist() for i in images]
    kept = table.keep(table.scores >= 1)
    assert [each.tolist() for each in kept.without_empty()] == [b.tolist() for b in kept if len(b)]
    rows = np.flatnonzero(table.scores < 1)
    assert [each.tolist() for each in table.without(rows)] == [each.tolist() for each in kept]
    np.testing.assert_array_equal(table.images_of(rows), table.owner[rows])
    np.testing.assert_array_equal(table.boxes[table.rows(images)], table.take(images).boxes)
    counted = BoxTable.from_counts(counts, np.concatenate([np.zeros((0, 4)), *boxes]))
    assert [each.tolist() for each in counted] == [each.tolist() for each in boxes]
    assert table.rank.tolist() == [rank for each in table for rank in range(len(each))]
    for i in range(len(table)):
        assert kept[i].tolist() == table[i][table.scores_of(i) >= 1].tolist()
        assert table.first(2)[i].tolist() == table[i][:2].tolist()
    twice = BoxTable.concatenate([table, taken])
    assert [each.tolist() for each in twice] == [each.tolist() for each in (*table, *taken)]
    assert twice.scores is not None
    assert BoxTable.concatenate([table, BoxTable.empty(1)]).scores is None


def test_arrays_that_do_not_fit_and_boxes_that_are_none_are_refused():
    with pytest.raises(InputError, match=r"boxes of shape \(2, 4\) do not fit offsets"):
        BoxTable(np.array([0, 1]), np.zeros((2, 4)))
    with pytest.raises(InputError, match=r"1 boxes but scores of shape \(2,\)"):
        BoxTable(np.array([0, 1]), np.zeros((1, 4)), np.zeros(2))
    with pytest.raises(InputError, match=r"1 boxes but class_ids of shape \(2,\)"):
        BoxTable(np.array([0, 1]), np.zeros((1, 4)), None, np.zeros(2))
    given_boxes = GivenBoxes(BoxFrame(224, 224), np.zeros((2, 4)))
    with pytest.raises(InputError, match=r"1 boxes but given boxes of shape \(2, 4\)"):
        BoxTable(np.array([0, 1]), np.zeros((1, 4)), given=given_boxes)
    with pytest.raises(InputError, match=r"photo 1: box .* ends before it starts"):
        BoxTable.from_lists([[], [[2, 0, 1, 1]]], describe="photo {}".format)
    with pytest.raises(InputError, match="image 0: 1 boxes but 2 scores"):
        BoxTable.from_lists([[[0, 0, 1, 1]]], [[1, 2]])


@given(COUNTS, st.data())
def test_classes_and_given_boxes_go_with_their_boxes(counts, data):
    boxes, scores = lists(counts)
    owner = np.repeat(np.arange(len(counts)), counts)
    joined = np.concatenate([np.zeros((0, 4)), *boxes])
    marks = np.concatenate([np.zeros(0), *scores])
    order = np.array(data.draw(st.permutations(range(len(owner)))), dtype=int)
    table = BoxTable.from_rows(
        owner[order],
        joined[order],
        marks[order],
        len(counts),
        class_ids=np.arange(len(owner))[order],
        given=GivenBoxes(BoxFrame(224, 224), 100 * joined[order]),
    )
    images = data.draw(st.lists(st.integers(0, len(counts) - 1), max_size=5))
    made = [
        table,
        table.take(images),
        table[::-1],
        table.keep(table.scores >= 1),
        table.without(np.flatnonzero(table.scores < 1)),
        table.first(2),
        table.without_empty(),
        table.scored(),
        BoxTable.concatenate([table, table.take(images)]),
    ]
    for each in made:  # a class is the row from which its box came
        np.testing.assert_array_equal(each.boxes, joined[each.class_ids])
        np.testing.assert_array_equal(each.given.boxes, 100 * each.boxes)
        assert each.given.frame.name == "squash224"
    plain = BoxTable.from_lists(boxes, scores)
    assert BoxTable.concatenate([table, plain]).given is None
    assert BoxTable.concatenate([table, plain]).class_ids is None
    other = dataclasses.replace(table, given=GivenBoxes(BoxFrame(256, 224), table.boxes))
    assert BoxTable.concatenate([table, other]).given is None


def test_boxes_given_in_a_frame_are_taken_to_original_pixels_and_kept():
    # image 200x100: half of the 224 squash is 100x50; the crop starts at 16 of 256
    table = BoxTable.from_lists([[], [[0, 112, 112, 224]]])
    sizes = np.array([[10, 10], [200, 100]])
    squash = table.given_in("squash224", sizes)
    assert squash.boxes.tolist() == [[0, 50, 100, 100]]
    assert squash.given.boxes is table.boxes
    crop = table.given_in("crop224", sizes)
    assert crop.boxes.tolist() == [[200 / 16, 50, 100, 93.75]]
    fractions = BoxTable.from_lists([[[0.25, 0, 0.5, 1]]]).given_in("fractions", sizes[1:])
    assert fractions.boxes.tolist() == [[50, 0, 100, 100]]
    assert table.given_in("original", sizes) is table


def records():
    return [
        ImageRecord(7, "a/x.jpg", 10, 20, class_id=3, gt_boxes=[[0, 0, 5, 5]]),
        ImageRecord(2, "b/y.jpg", 30, 40, pseudo_boxes=[[1, 1, 2, 2], [0, 0, 3, 3]]),
    ]


def test_a_data_set_gives_back_its_rows_and_pickles():
    data_set = pickle.loads(pickle.dumps(DataSet.from_records(records(), "two")))  # noqa: S301
    assert (data_set.name, len(data_set)) == ("two", 2)
    for row, record in zip(data_set, records(), strict=True):
        for name in ("image_id", "file_name", "width", "height", "key", "class_id"):
            assert getattr(row, name) == getattr(record, name)
        for name in ("gt_boxes", "pseudo_boxes"):
            np.testing.assert_array_equal(getattr(row, name), getattr(record, name))
    assert data_set.index_of_id == {7: 0, 2: 1}
    assert data_set.index_of_key == {"a/x.jpg": 0, "b/y.jpg": 1}
    assert data_set.take([1])[0].image_id == 2
    assert data_set.training_boxes is data_set.pseudo_boxes
    assert [row.image_id for row in data_set[::-1]] == [2, 7]


def test_columns_of_other_lengths_and_ids_twice_are_named():
    data_set = DataSet.from_records(records(), "two")
    values = {name: getattr(data_set, name) for name in data_set.__dataclass_fields__}
    with pytest.raises(InputError, match="data set two: 2 image ids but 1 keys"):
        DataSet(**{**values, "keys": ["a"]})
    with pytest.raises(InputError, match="train_on must be one of"):
        DataSet(**{**values, "train_on": "boxes"})
    twice = DataSet.from_records([records()[0]] * 2, "twice")
    with pytest.raises(InputError, match="2 images but 1 different image ids"):
        twice.index_of_id  # noqa: B018
    assert twice.shared_keys() == ["a/x.jpg"]


def test_counts_are_of_one_type_whatever_the_offsets_are():
    """``per_image.parquet`` holds them: a list and a store give the same bytes."""
    for kind in (np.int32, np.int64):
        table = BoxTable(np.array([0, 1, 3], kind), np.zeros((3, 4)))
        assert table.counts.dtype == np.int64


@pytest.mark.parametrize(
    "order", ["as they are", "images mixed", "images falling", "scores rising"]
)
def test_rows_in_any_order_are_sorted_stably(order):
    rng = np.random.default_rng(3)
    image = np.sort(rng.integers(0, 9, 60))
    scores = rng.integers(0, 4, 60).astype(float)  # many ties
    by_score = np.lexsort((-scores, image))
    rows = {
        "as they are": by_score,
        "images mixed": rng.permutation(60),
        "images falling": by_score[::-1],
        "scores rising": np.arange(60),
    }[order]
    image, scores = image[rows], scores[rows]
    boxes = np.arange(60.0)[:, None] + [0, 0, 1, 1]
    table = BoxTable.from_rows(image, boxes, scores, 10)
    expected = sorted(range(60), key=lambda row: (image[row], -scores[row]))  # stable
    assert table.boxes[:, 0].tolist() == expected
    assert table.scores.tolist() == scores[expected].tolist()
    bare = BoxTable.from_rows(image, boxes, None, 10)
    assert bare.boxes[:, 0].tolist() == sorted(range(60), key=lambda row: image[row])
    for number in (1, 3, 60):
        kept = [box for i in range(10) for box in table[i][:number].tolist()]
        assert table.first(number).boxes.tolist() == kept
        assert table.first(number).counts.tolist() == [min(len(t), number) for t in table]
