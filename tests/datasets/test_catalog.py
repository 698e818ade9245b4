"""wend.datasets.catalog: names stand for records, read once for each root."""

import logging

import numpy as np
import pytest

from wend.datasets import catalog
from wend.errors import InputError, MissingFileError
from wend.structures.records import ImageRecord

PSEUDO = ImageRecord(1, "/a", 10, 10, key="c/a", pseudo_boxes=[[1, 2, 3, 4]])
TRUE = ImageRecord(2, "/b", 10, 10, key="c/b", gt_boxes=[[5, 6, 7, 8]])
BOTH = ImageRecord(3, "/c", 10, 10, key="c/c", gt_boxes=[[0, 0, 9, 9]], pseudo_boxes=[[1, 1, 2, 2]])


@pytest.fixture(autouse=True)
def _own_catalog(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(catalog, "_entries", dict(catalog._entries))
    for cache in ("_declared", "_given", "_loaded"):
        monkeypatch.setattr(catalog, cache, {})
    monkeypatch.delenv("WEND_DATASETS", raising=False)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))  # not where datasets/*.yaml are


def test_the_data_sets_of_the_configs_are_known():
    assert catalog.registered_names() == [
        "cub_test",
        "cub_test_c2am",
        "cub_train",
        "cub_train_c2am",
        "toy_test",
        "toy_test_c2am",
        "toy_train",
        "toy_train_c2am",
    ]


def test_root_is_the_environments_or_datasets(monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert catalog.datasets_root() == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DETECTRON2_DATASETS", "~/sets")
    assert catalog.datasets_root() == tmp_path / "sets"
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert str(catalog.datasets_root()) == "datasets"


@pytest.mark.parametrize(("data", "folder"), [("cub", "."), ("toy", "toy")])
def test_records_come_from_the_root_in_the_environment(
    monkeypatch, tmp_path, write_cub, write_c2am, data, folder
):
    write_cub(tmp_path / folder)
    write_c2am(
        tmp_path / folder / "c2am_boxes/train/pseudo_boxes",
        {"x/train/002.Gull/gull_b.png": [0.25, 0, 0.5, 1]},
    )
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert [r.image_id for r in catalog.get_records(f"{data}_train")] == [3, 7]
    assert [r.image_id for r in catalog.get_records(f"{data}_test")] == [1]
    plain, boxed = catalog.get_records(f"{data}_train"), catalog.get_records(f"{data}_train_c2am")
    assert [len(r.pseudo_boxes) for r in plain] == [0, 0]
    assert [len(r.pseudo_boxes) for r in boxed] == [0, 1]
    # an 8x8 image: 0.25·8, 0, 0.75·8, 8
    np.testing.assert_array_equal(boxed.training_boxes[1], [[2, 0, 6, 8]])
    np.testing.assert_array_equal(plain.training_boxes[1], [[1.5, 2.25, 4.5, 6.75]])


def test_every_call_returns_the_same_list_and_reads_once():
    calls = []
    catalog.register_records("mine", lambda: calls.append(1) or [PSEUDO])
    assert calls == []  # registering costs nothing
    first = catalog.get_records("mine")
    assert catalog.get_records("mine") is first
    assert calls == [1]


def test_another_root_is_read_anew(monkeypatch, tmp_path, write_cub):
    write_cub(tmp_path / "one")
    write_cub(tmp_path / "two", [(9, "001.A/a.png", 1, 1, (6, 4), "0 0 3 2")])
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "one"))
    one = catalog.get_records("cub_train")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "two"))
    assert [r.image_id for r in catalog.get_records("cub_train")] == [9]
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "one"))
    assert catalog.get_records("cub_train") is one


def test_missing_root_is_named_at_first_use(monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nowhere"))
    for name in ("cub_train", "toy_test_c2am"):
        with pytest.raises(MissingFileError, match=r"nowhere/.*CUB_200_2011: there is no such"):
            catalog.get_records(name)


def test_failed_reading_is_tried_again_at_the_next_call(monkeypatch, tmp_path, write_cub):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(MissingFileError, match="CUB_200_2011"):
        catalog.get_records("cub_train")
    write_cub(tmp_path)
    assert len(catalog.get_records("cub_train")) == 2


def test_unknown_name_suggests_the_nearest_and_lists_all():
    message = (
        r"unknown data set 'cub_trian_c2am'\. Did you mean 'cub_train_c2am'\?.*cub_test,.*toy_"
    )
    with pytest.raises(InputError, match=message):
        catalog.get_records("cub_trian_c2am")


def test_name_like_no_other_gets_no_suggestion():
    with pytest.raises(InputError, match=r"unknown data set 'zzz'.*Known: cub_test") as error:
        catalog.check_name("zzz")
    assert "did you mean" not in str(error.value).lower()


def test_taken_name_is_an_error_and_the_first_stays():
    catalog.register_records("mine", lambda: [PSEUDO])
    with pytest.raises(InputError, match="data set 'mine' is registered already"):
        catalog.register_records("mine", lambda: [])
    assert catalog.get_records("mine") == [PSEUDO]


def test_unknown_kind_of_boxes_is_an_error_and_registers_nothing():
    with pytest.raises(
        InputError, match=r"data set 'mine': train_on must be one of .*gt_boxes.*got 'boxes'"
    ):
        catalog.register_records("mine", lambda: [], train_on="boxes")
    assert "mine" not in catalog.registered_names()


def test_images_with_a_box_to_learn_from_are_counted_and_the_others_said(caplog):
    catalog.register_records("pseudo", lambda: [PSEUDO, TRUE, BOTH])
    catalog.register_records("true", lambda: [PSEUDO, BOTH], "gt_boxes")
    with caplog.at_level(logging.INFO, logger="wend"):
        # PSEUDO and BOTH have a pseudo box, only BOTH of the second set has a true one: 2 + 1
        assert catalog.count_training_images(["pseudo", "true"]) == 3
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("pseudo: training on the pseudo boxes of 2 images; 1 images without")
    assert second.startswith("true: training on the TRUE boxes")
    assert "of 1 images; 1 images without" in second


@pytest.mark.parametrize("names", [[], ["none"]])
def test_training_without_any_box_is_an_error_that_names_the_entry(names):
    catalog.register_records("none", lambda: [TRUE])
    said = "none" if names else "an empty list"
    with pytest.raises(
        InputError, match=rf"config entry DATASETS\.TRAIN: no image of {said} has a box to train on"
    ):
        catalog.count_training_images(names)
