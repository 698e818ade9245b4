"""wend.structures.names: which image a path means."""

import unicodedata

import pyarrow as pa
import pytest

from wend.errors import InputError
from wend.structures.names import clean_path, match_names

NFC, NFD = (unicodedata.normalize(form, "é/ü.jpg") for form in ("NFC", "NFD"))


def match(names, keys, **options):
    names, keys = ([clean_path(path) for path in paths] for paths in (names, keys))
    return match_names(names, keys, "s", **options).tolist()


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


def test_endings_may_differ_where_the_caller_says_so():
    keys = ["c/a.JPEG", "c/b.png", "d/b.jpg", "c/v1.5"]
    names = ["c/a", "c/b.jpg", "x/c/a.tif", "b.jpg", "c/v1.png"]
    assert match(names, keys) == [-1, -1, -1, 2, -1]
    assert match(names, keys, any_ending=True) == [0, 1, 0, 2, -1]
    with pytest.raises(InputError, match=r"s: 1 of its paths are the end of several .*\(c/a\)"):
        match(["c/a"], ["c/a.jpg", "c/a.png"], any_ending=True)


def test_arrow_strings_no_names_and_names_that_are_no_unicode():
    keys = pa.array(["c/a", "c/b"], pa.large_string())
    assert match_names(pa.array(["x/c/b"], pa.large_string()), keys, "s").tolist() == [1]
    assert match([], ["c/a"]) == match_names([], [], "s").tolist() == []
    assert match(["c/a"], []) == [-1]
    assert match(["c/\udcff.jpg", "c/a"], ["c/\udcff.jpg", "c/a"])[1] == 1
