"""wend.structures.data_set: a table of images whose rows are records; what is wrong is named."""

import pickle
from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wend.errors import BadImageError, InputError, MissingFileError, MissingImageError
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord, image_key

RECORDS = [
    ImageRecord(4, "/d/a/1.jpg", 9, 8, class_id=2, gt_boxes=[[0, 1, 2, 3], [4, 4, 5, 6]]),
    ImageRecord("x", "/d/a/2.jpg", 7, 6, pseudo_boxes=[[1, 1, 2, 2]]),
    ImageRecord(5, "/d/b/1.jpg", 5, 4, class_id=0),
]


def fields(record):
    boxes = record.gt_boxes.tolist(), record.pseudo_boxes.tolist()
    about = (record.file_name, record.width, record.height, record.key, record.class_id)
    return (record.image_id, *about, *boxes)


def test_rows_come_back_as_they_were():
    data_set = DataSet.from_records(RECORDS)
    assert [fields(row) for row in data_set] == [fields(record) for record in RECORDS]
    assert data_set.class_ids.tolist() == [2, -1, 0]
    assert [fields(row) for row in data_set.take([2, 0])] == [fields(RECORDS[i]) for i in (2, 0)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 2.5}, "width: expected whole numbers from 0 .*, got 2.5"),
        ({"height": 2**63}, f"height: expected whole numbers .*, got {2**63}"),
        ({"class_id": -1}, "class_id: expected whole numbers from 0 .*, got -1"),
        ({"class_id": True}, "class_id: expected whole numbers from 0 .*, got True"),
        ({"class_id": "wren"}, "class_id: expected whole numbers from 0 .*, got 'wren'"),
    ],
)
def test_a_size_or_class_that_is_no_whole_number_is_named(change, message):
    with pytest.raises(InputError, match=f"data set birds: {message}"):
        DataSet.from_records([*RECORDS, replace(RECORDS[0], **change)], "birds")


def with_errors(**errors):
    unreadable = {int(index[1:]): error for index, error in errors.items()}
    data_set = DataSet.from_records(RECORDS)
    sizes = data_set.sizes.copy()
    sizes[list(unreadable)] = 0
    return replace(data_set, sizes=sizes, unreadable=unreadable)


def test_images_that_cannot_be_read_are_counted_and_the_first_is_named():
    with_errors().require_readable()
    with pytest.raises(BadImageError, match=r"^/d/a/1\.jpg: is broken$"):
        with_errors(_0=BadImageError("/d/a/1.jpg: is broken")).require_readable()
    several = {"_1": BadImageError("/d/a/2.jpg: is cut"), "_2": BadImageError("/d/b/1.jpg: too")}
    with pytest.raises(BadImageError, match=r"^/d/a/2\.jpg: is cut \(2 of 3 images are so\)$"):
        with_errors(**several).require_readable()
    absent = MissingImageError("/d/b/1.jpg: there is no such image file")
    with pytest.raises(MissingFileError, match=r"^1 of 3 images are not there \(/d/b/1\.jpg\)"):
        with_errors(_0=BadImageError("/d/a/1.jpg: is broken"), _2=absent).require_readable()


def test_errors_stay_with_their_images():
    data_set = with_errors(_2=BadImageError("/d/b/1.jpg: is broken"))
    assert data_set.take([2, 0]).unreadable.keys() == {0}
    assert data_set.take([0, 1]).unreadable == {}
    sent = pickle.loads(pickle.dumps(data_set))  # noqa: S301
    assert str(sent.unreadable[2]) == "/d/b/1.jpg: is broken"


@given(st.text(st.sampled_from("/\\. ab\0é"), max_size=12))
def test_a_key_is_the_last_two_parts_of_a_path(path):
    plain = path.replace("\\", "/").lstrip("/")
    assert image_key(path) == "/".join(PurePosixPath(plain).parts[-2:])
