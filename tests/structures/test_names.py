"""wend.structures.names: which image a path means."""

import unicodedata

import pyarrow as pa
import pytest

from wend.errors import InputError
from wend.structures.names import clean_path, match_names

NFC, NFD = (unicodedata.normalize(form, "é/ü.jpg") for form in ("NFC", "NFD"))


def match(names, keys):
    names, keys = ([clean_path(path) for path in paths] for paths in (names, keys))
    return match_names(names, keys, "s").tolist()


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/data/x/train/c/a.jpg", "c/a.jpg"),
        (r"D:\train\c\a.jpg", "c/a.jpg"),
        ('../images/c/a b\'s "1".jpg', 'c/a b\'s "1".jpg'),
        ("./c//./a.jpg", "c/a.jpg"),
        ("/any/" + NFD, NFC),
        ("/any/" + NFC, NFD),
        ("c/a.jpg", "a.jpg"),  # a folder of images without classes
        ("/x/p/q/r.jpg", "p/q/r.jpg"),
        ("q/r.jpg", "p/q/r.jpg"),  # C2AM's two parts, a deeper folder
        ("r.jpg", "p/q/r.jpg"),
        ("c/a..b.jpg", "c/a..b.jpg"),
    ],
)
def test_a_path_finds_its_image_whatever_root_either_has(path, key):
    assert match([path], ["other/x.jpg", key]) == [1]


def test_only_whole_parts_match():
    assert match(["cc/a.jpg", "d/a.jpg", "x/c/b.jpg"], ["c/a.jpg", "c/b.jpg"]) == [-1, -1, 1]


def test_the_key_itself_comes_first_then_the_longest_that_the_path_ends_in():
    keys = ["b.jpg", "a/b.jpg", "x/a/b.jpg"]
    assert match(["b.jpg", "a/b.jpg", "y/a/b.jpg", "z/b.jpg"], keys) == [0, 1, 1, 0]


def test_a_path_that_is_the_end_of_two_keys_is_an_error():
    with pytest.raises(InputError, match=r"s: 1 of its paths are .* several .*\(q/r\.jpg\)"):
        match(["q/r.jpg", "z"], ["p/q/r.jpg", "o/q/r.jpg"])


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("https://host/bucket/c/a.jpg", "c/a.jpg"),
        ("s3://bucket/c/a.jpg?X-Amz-Date=2", "c/a.jpg"),
        ("file:///home/me/c/My%20bird.JPG", "c/My bird.jpg"),
        ("/data/local-files/?d=birds%2Fc/a%c3%bc.jpg&x=1", "c/a\u00fc.jpg"),
        ("https://f.googleapis.com/v0/b/x/o/c%2Fa.jpg?alt=media&token=1", "c/a.jpg"),
        ("C/A.jpg", "c/a.JPG"),
        ("c/a", "c/a.JPEG"),
        ("c/a.jpg", "c/a.tif"),
        ("c/v1.png", "c/v1"),
        ("train/wren_jpg.rf.0a1B2c3d4e5f60718293a4b5c6d7e8f9.jpg", "wren.jpg"),
        ("wren.png", "train/wren_png.rf.d41d8cd98f00b204e9800998ecf8427e.jpg"),
        ("/data/upload/3/1f2e3d4c-wren_1.jpg", "wren_1.jpg"),
        ("wren_1.jpg", "3/1f2e3d4c-wren_1.jpg"),
        ("my-wren-1_JPEG.rf.0a1B2c3d4e5f60718293a4b5c6d7e8f9.jpg", "My wren 1.jpeg"),
        ("1f2e3d4c-my_wren.jpg", "my wren.jpg"),
    ],
)
def test_urls_capitals_endings_and_names_of_labelling_tools_are_said_and_matched(path, key, caplog):
    with caplog.at_level("INFO", logger="wend"):
        assert match([path], ["other/x.jpg", key]) == [1]
    matched = [message for message in caplog.messages if "1 names matched" in message]
    assert len(matched) == (path != "https://host/bucket/c/a.jpg")


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("c/a%20b.jpg", "c/a%20b.jpg"),  # a name on disk may hold it
        ("c/a?d=1.jpg", "c/a?d=1.jpg"),
        ("c/a.rf.jpg", "c/a.rf.jpg"),
        ("c/1f2e3d4c-a.jpg", "c/1f2e3d4c-a.jpg"),
    ],
)
def test_a_name_that_is_there_as_it_stands_is_that_image(path, key, caplog):
    assert match([path], ["c/a b.jpg", "c/a", "c/a.jpg", key]) == [3]
    assert not caplog.messages


def test_endings_may_differ():
    keys = ["c/a.JPEG", "c/b.png", "d/b.jpg", "c/v1.5"]
    assert match(["c/a", "c/b.jpg", "b.jpg", "c/v1.png"], keys) == [0, 1, 2, -1]
    with pytest.raises(InputError, match=r"s: 1 of its paths are the end of several .*\(c/a\)"):
        match(["c/a"], ["c/a.jpg", "c/a.png"])


def test_a_key_that_one_name_means_is_no_other_names_by_a_later_rule():
    assert match(["c/a.jpg", "c/A.jpg", "c/a.png"], ["c/a.jpg"]) == [0, -1, -1]
    assert match(["c/a.jpg", "x/c/a.jpg"], ["c/a.jpg"]) == [0, 0]  # of two roots


def test_two_names_that_a_rule_makes_one_image_are_an_error():
    hashes = [f"c/wren_jpg.rf.{digit * 32}.jpg" for digit in "12"]
    with pytest.raises(
        InputError, match=r"s: c/wren_jpg\.rf\.1.* and c/wren_.*augmentations of one"
    ):
        match(hashes, ["c/wren.jpg"])
    assert match([hashes[0]] * 2, ["c/wren.jpg"]) == [0, 0]  # two boxes of one image


def test_arrow_strings_no_names_and_names_that_are_no_unicode():
    keys = pa.array(["c/a", "c/b"], pa.large_string())
    assert match_names(pa.array(["x/c/b"], pa.large_string()), keys, "s").tolist() == [1]
    assert match([], ["c/a"]) == match_names([], [], "s").tolist() == []
    assert match(["c/a"], []) == [-1]
    assert match(["c/\udcff.jpg", "c/a"], ["c/\udcff.jpg", "c/a"])[1] == 1
