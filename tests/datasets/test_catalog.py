"""wend.datasets.catalog: names stand for data sets, read once by each DataSets."""

import pickle

import numpy as np
import pytest

from wend.datasets.catalog import DataSets, register_records
from wend.errors import BadImageError, InputError, MissingFileError
from wend.images.sizes import SizeReader
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

PSEUDO = ImageRecord(1, "/a", 10, 10, key="c/a", pseudo_boxes=[[1, 2, 3, 4]])
TRUE = ImageRecord(2, "/b", 10, 10, key="c/b", gt_boxes=[[5, 6, 7, 8]])
BOTH = ImageRecord(3, "/c", 10, 10, key="c/c", gt_boxes=[[0, 0, 9, 9]], pseudo_boxes=[[1, 1, 2, 2]])


@pytest.fixture(autouse=True)
def _nothing_declared(monkeypatch, tmp_path_factory):
    monkeypatch.delenv("WEND_DATASETS", raising=False)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))  # not where datasets/*.yaml are


def test_the_data_sets_of_the_configs_are_known():
    assert DataSets().names() == [
        "cub_test",
        "cub_test_c2am",
        "cub_train",
        "cub_train_c2am",
        "toy_test",
        "toy_test_c2am",
        "toy_train",
        "toy_train_c2am",
    ]


def test_root_is_the_argument_or_the_environments_or_datasets(monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert DataSets().root == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DETECTRON2_DATASETS", "~/sets")
    assert DataSets().root == tmp_path / "sets"
    assert DataSets("~/mine").root == tmp_path / "mine"
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert str(DataSets().root) == "datasets"


@pytest.mark.parametrize(("data", "folder"), [("cub", "."), ("toy", "toy")])
def test_data_sets_come_from_the_root(tmp_path, write_cub, write_c2am, data, folder):
    write_cub(tmp_path / folder)
    write_c2am(
        tmp_path / folder / "c2am_boxes/train/pseudo_boxes",
        {"x/train/002.Gull/gull_b.png": [0.25, 0, 0.5, 1]},
    )
    data_sets = DataSets(tmp_path)
    plain, boxed = data_sets.get(f"{data}_train"), data_sets.get(f"{data}_train_c2am")
    assert (plain.name, boxed.name) == (f"{data}_train", f"{data}_train_c2am")
    assert list(plain.image_ids) == [3, 7]
    assert list(data_sets.get(f"{data}_test").image_ids) == [1]
    assert plain.pseudo_boxes.counts.tolist() == [0, 0]
    assert boxed.pseudo_boxes.counts.tolist() == [0, 1]
    assert (plain.train_on, boxed.train_on) == ("gt_boxes", "pseudo_boxes")
    # an 8x8 image: 0.25·8, 0, 0.75·8, 8
    np.testing.assert_array_equal(boxed.training_boxes[1], [[2, 0, 6, 8]])
    np.testing.assert_array_equal(plain.training_boxes[1], [[1.5, 2.25, 4.5, 6.75]])


def test_every_call_returns_the_same_data_set_and_reads_once(register):
    calls = []
    register("mine", lambda: calls.append(1) or [PSEUDO])
    data_sets = DataSets()
    assert calls == []  # registering costs nothing
    first = data_sets.get("mine")
    assert data_sets.get("mine") is first
    assert calls == [1]
    assert DataSets().get("mine") is not first
    assert calls == [1, 1]


def test_a_registered_function_may_return_a_data_set(register):
    made = DataSet.from_records([PSEUDO, BOTH], "another name")
    register("mine", lambda: made, "gt_boxes")
    data_set = DataSets().get("mine")
    assert (data_set.name, data_set.train_on) == ("mine", "gt_boxes")
    assert data_set.truth is made.truth


def test_roots_are_apart(tmp_path, write_cub):
    write_cub(tmp_path / "one")
    write_cub(tmp_path / "two", [(9, "001.A/a.png", 1, 1, (6, 4), "0 0 3 2")])
    one, two = DataSets(tmp_path / "one"), DataSets(tmp_path / "two")
    assert list(one.get("cub_train").image_ids) == [3, 7]
    assert list(two.get("cub_train").image_ids) == [9]


def test_what_was_read_goes_along_to_another_process(tmp_path, write_cub):
    root = write_cub(tmp_path)
    data_sets = DataSets(tmp_path)
    data_set = data_sets.get("cub_train")
    (root / "images.txt").unlink()
    sent = pickle.loads(pickle.dumps(data_sets))  # noqa: S301
    assert sent.root == tmp_path
    assert list(sent.get("cub_train").file_names) == list(data_set.file_names)


def test_missing_root_is_named_at_first_use(tmp_path):
    for name in ("cub_train", "toy_test_c2am"):
        with pytest.raises(MissingFileError, match=r"nowhere/.*CUB_200_2011: there is no such"):
            DataSets(tmp_path / "nowhere").get(name)


def test_failed_reading_is_tried_again_at_the_next_call(tmp_path, write_cub):
    data_sets = DataSets(tmp_path)
    with pytest.raises(MissingFileError, match="CUB_200_2011"):
        data_sets.get("cub_train")
    root = write_cub(tmp_path)
    picture = root / "images/001.Wren/wren_a.png"
    whole = picture.read_bytes()
    picture.write_bytes(b"")
    with pytest.raises(BadImageError, match=r"wren_a\.png: cannot be read as an image"):
        data_sets.get("cub_train")
    picture.write_bytes(whole)
    assert len(data_sets.get("cub_train")) == 2


@pytest.fixture
def one_unreadable(tmp_path, write_cub, write_c2am):
    root = write_cub(tmp_path)
    (root / "images/002.Gull/gull_b.png").write_bytes(b"no picture")
    boxes = {"x/train/002.Gull/gull_b.png": [0.25, 0, 0.5, 1]}
    write_c2am(tmp_path / "c2am_boxes/train/pseudo_boxes", boxes)
    return DataSets(tmp_path)


def test_an_image_whose_header_cannot_be_read_is_kept_if_asked_for(one_unreadable):
    data_set = one_unreadable.get("cub_train_c2am", keep_unreadable=True)
    assert data_set.sizes.tolist() == [[20, 10], [0, 0]]
    (index,) = data_set.unreadable
    assert index == 1
    assert "gull_b.png: cannot be read as an image" in str(data_set.unreadable[1])
    # it is one of the images to train on, so that it is counted as a bad one
    assert data_set.training_boxes.with_boxes.tolist() == [1]
    with pytest.raises(BadImageError, match=r"gull_b\.png: cannot be read as an image"):
        one_unreadable.get("cub_train_c2am")


def test_without_the_store_it_is_an_error_unless_the_reader_keeps_it(one_unreadable):
    with pytest.raises(BadImageError, match=r"gull_b\.png: cannot be read as an image"):
        one_unreadable.read("cub_train")
    data_set = one_unreadable.read("cub_train", SizeReader(keep_unreadable=True))
    assert list(data_set.unreadable) == [1]


def test_all_unreadable_images_are_counted(tmp_path, write_cub):
    root = write_cub(tmp_path)
    for name in ("002.Gull/gull_b.png", "001.Wren/wren_a.png"):
        (root / "images" / name).write_bytes(b"no picture")
    with pytest.raises(BadImageError, match=r"wren_a\.png: .* \(2 of 2 images are so\)"):
        DataSets(tmp_path).get("cub_train")


def test_unknown_name_suggests_the_nearest_and_lists_all():
    message = (
        r"unknown data set 'cub_trian_c2am'\. Did you mean 'cub_train_c2am'\?.*cub_test,.*toy_"
    )
    for ask in (DataSets().get, DataSets().read, DataSets().sources):
        with pytest.raises(InputError, match=message):
            ask("cub_trian_c2am")


def test_name_like_no_other_gets_no_suggestion():
    with pytest.raises(InputError, match=r"unknown data set 'zzz'.*Known: cub_test") as error:
        DataSets().get("zzz")
    assert "did you mean" not in str(error.value).lower()


@pytest.mark.parametrize("name", ["mine", "cub_test"])
def test_taken_name_is_an_error_and_the_first_stays(register, name):
    register("mine", lambda: [PSEUDO])
    with pytest.raises(InputError, match=f"data set '{name}' is registered already"):
        register_records(name, lambda: [])
    assert list(DataSets().get("mine").image_ids) == [PSEUDO.image_id]


def test_unknown_kind_of_boxes_is_an_error_and_registers_nothing():
    with pytest.raises(
        InputError, match=r"data set 'mine': train_on must be one of .*gt_boxes.*got 'boxes'"
    ):
        register_records("mine", lambda: [], train_on="boxes")
    assert "mine" not in DataSets().names()
