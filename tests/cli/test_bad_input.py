"""Input that was once let through, or ended in a traceback; each test names what should happen."""

import re

import pytest

from wend.config import merge_config
from wend.datasets.catalog import DataSets
from wend.errors import InputError
from wend.formats.coco import records_to_coco
from wend.formats.cub import load_cub
from wend.pseudo_boxes import read_c2am
from wend.structures.checks import as_boxes
from wend.structures.records import ImageRecord
from wend.tv.config import get_cfg

# ---- tests/data/test_pseudo_boxes.py ----


def c2am(tmp_path, text):
    (tmp_path / "0_0_bbox.json").write_text(text)
    return read_c2am(tmp_path)


@pytest.mark.parametrize("digits", [400, 5000])
def test_integer_too_large_for_a_float_is_named(tmp_path, digits):
    """OverflowError from math.isfinite; ValueError from json.loads over 4300 digits."""
    with pytest.raises(InputError, match=r"0_0_bbox\.json"):
        c2am(tmp_path, f'{{"c/a": [1{"0" * digits}, 0, 1, 1]}}')


def test_empty_object_may_have_spaces(tmp_path):
    assert len(c2am(tmp_path, "{ }")) == 0


def test_two_dots_inside_a_file_name_are_no_parent_folder(tmp_path):
    assert set(c2am(tmp_path, '{"001.A/x..jpg": [0, 0, 1, 1]}').keys) == {"001.A/x..jpg"}


def test_file_directly_under_the_root_has_no_class_folder(tmp_path):
    """Today it becomes the key "//x.jpg"."""
    with pytest.raises(InputError, match="expected a path"):
        c2am(tmp_path, '{"/x.jpg": [0, 0, 1, 1]}')


# ---- tests/data/test_coco.py ----

RECORDS = [ImageRecord(1, "f", 10, 10, key="c/a"), ImageRecord(0, "g", 10, 10, key="c/b")]


def test_truth_has_the_info_that_pycocotools_2_0_9_and_2_0_10_ask_for():
    """There loadRes ends in KeyError: 'info' (pytorch/vision#9092; mended in 2.0.11)."""
    assert "info" in records_to_coco(RECORDS)


# ---- tests/data/test_cub.py ----


def test_space_at_the_end_of_a_line_does_not_matter(tmp_path, write_cub):
    """Today: "expected a number from 1, got '1 '"."""
    root = write_cub(tmp_path)
    for name in ("image_class_labels.txt", "images.txt"):
        (root / name).write_text((root / name).read_text().replace("\n", " \n"))
    assert len(load_cub(root, "train")) == 2


def test_the_wrong_box_of_several_is_the_one_that_is_shown(tmp_path, write_cub):
    root = write_cub(tmp_path)
    (root / "bounding_boxes.txt").write_text("3 0 0 5 5\n3 9 9 0 5\n1 0 0 1 1\n7 0 0 1 1\n")
    with pytest.raises(InputError, match=re.escape("got '9 9 0 5'")):
        load_cub(root, "train")


@pytest.fixture
def write_cub():
    from PIL import Image

    def write(root):
        for name, lines in {
            "images.txt": "3 A/a.png\n1 A/b.png\n7 A/c.png\n",
            "image_class_labels.txt": "3 1\n1 1\n7 1\n",
            "train_test_split.txt": "3 1\n1 0\n7 1\n",
            "bounding_boxes.txt": "3 0 0 1 1\n1 0 0 1 1\n7 0 0 1 1\n",
        }.items():
            (root / name).write_text(lines)
        (root / "images/A").mkdir(parents=True)
        for name in "abc":
            Image.new("RGB", (9, 9)).save(root / f"images/A/{name}.png")
        return root

    return write


# ---- tests/data/test_catalog.py ----


def test_unknown_name_without_a_near_one_reads_as_two_sentences():
    with pytest.raises(InputError, match=r"'zzz'[.;] Known"):
        DataSets().get("zzz")


# ---- tests/test_records.py ----


@pytest.mark.parametrize("box", [["1", "2", "3", "4"], [False, False, True, True]])
def test_strings_and_bools_are_no_coordinates(box):
    with pytest.raises(InputError, match="four"):
        as_boxes([box], "x")


def test_empty_rows_are_no_boxes():
    """Three rows of nothing become "no boxes"; so does an array of shape (0, 5)."""
    with pytest.raises(InputError, match=r"\(N, 4\)"):
        as_boxes([[], [], []], "x")


# ---- tests/test_config.py ----


def merge(tmp_path, text=None, *opts):
    cfg = get_cfg()
    (tmp_path / "c.yaml").write_text(text or "")
    merge_config(cfg, str(tmp_path / "c.yaml") if text is not None else "", opts, "THE HINT")


@pytest.mark.parametrize("name", ["EPOCHS", "MAX_BOXES", "HEAD_LR_FACTOR", "RESIZE", "PROTOCOLS"])
def test_entry_without_a_value_is_named(tmp_path, name):
    """``EPOCHS:`` with nothing behind it is None, which fvcore lets through: a TypeError."""
    with pytest.raises(InputError, match=f"WEND.{name}"):
        merge(tmp_path, f"WEND:\n  {name}:\n")


def test_yaml_that_is_its_own_base_is_named(tmp_path):
    """RecursionError."""
    with pytest.raises(InputError, match=r"c\.yaml"):
        merge(tmp_path, "_BASE_: c.yaml\n")


def test_empty_yaml_is_told_so_in_words(tmp_path):
    """Today "argument of type 'NoneType' is not iterable", for a list and a number alike."""
    with pytest.raises(InputError, match=r"c\.yaml: .*(empty|mapping)"):
        merge(tmp_path, "# nothing\n")


def test_unknown_key_in_the_overrides_gets_the_hint(tmp_path):
    """merge_from_list raises AssertionError, not KeyError, so the hint for YAMLs is lost."""
    with pytest.raises(InputError, match="THE HINT"):
        merge(tmp_path, None, "WEND.GAMA", "1.0")


def test_unknown_protocol_is_named_with_its_entry(tmp_path):
    with pytest.raises(InputError, match=r"WEND\.PROTOCOLS"):
        merge(tmp_path, None, "WEND.PROTOCOLS", "('imagenet',)")


@pytest.mark.parametrize(
    "value", ["[['original']]", "('original', 'original')"], ids=["unhashable", "twice"]
)
def test_protocols_that_are_no_distinct_names_are_named(tmp_path, value):
    """TypeError for a list; a protocol named twice passes."""
    with pytest.raises(InputError, match=r"WEND\.PROTOCOLS"):
        merge(tmp_path, None, "WEND.PROTOCOLS", value)


@pytest.mark.parametrize("value", ["('a',)", "(32, 'a')", "(32.5,)"])
def test_channels_that_are_no_whole_numbers_are_named(tmp_path, value):
    """TypeError for strings; 32.5 passes."""
    with pytest.raises(InputError, match=r"WEND\.SMALL_CNN\.CHANNELS"):
        merge(tmp_path, None, "WEND.SMALL_CNN.CHANNELS", value)


@pytest.mark.parametrize(
    "name", ["WEND.HEAD_LR_FACTOR", "WEND.FCOS.FOCAL_LOSS_GAMMA", "SOLVER.BASE_LR"]
)
def test_infinite_value_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=re.escape(name)):
        merge(tmp_path, None, name, "1e999")
