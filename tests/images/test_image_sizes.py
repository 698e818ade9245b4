"""wend.images.sizes and image_paths: many files at once, and names that stay below a root."""

import numpy as np
import pytest
from PIL import Image

from wend.errors import InputError, MissingFileError, MissingImageError
from wend.images.paths import check_relative, find_images
from wend.images.sizes import SizeReader
from wend.images.threads import CHUNK, map_in_threads


@pytest.fixture
def images(tmp_path):
    paths = []
    for number in range(7):
        paths.append(tmp_path / f"{number}.png")
        Image.new("L", (number + 1, 2 * number + 3)).save(paths[-1])
    return paths


def test_sizes_are_in_the_order_of_the_paths(images):
    shuffled = [images[i] for i in (4, 0, 6, 2)]
    sizes, unreadable = SizeReader().read(shuffled, workers=3)
    assert sizes.dtype == np.int64
    assert sizes.tolist() == [[5, 11], [1, 3], [7, 15], [3, 7]]
    assert unreadable == {}


def test_no_paths_are_no_sizes():
    assert SizeReader().read([])[0].shape == (0, 2)


def test_missing_images_are_counted_and_named(images):
    images[2].unlink()
    images[5].unlink()
    with pytest.raises(
        MissingFileError, match=r"^2 of 7 images are not there \(.*2\.png, .*5\.png\)"
    ):
        SizeReader().read(images)


def test_unreadable_images_are_named_and_counted(images):
    for place in (1, 3, 4):
        images[place].write_bytes(b"no picture")
    with pytest.raises(
        InputError, match=r"1\.png: cannot be read as an image .* \(3 of 7 images are so\)"
    ):
        SizeReader().read(images)


def test_unreadable_and_missing_images_are_kept_if_asked_for(images):
    images[1].write_bytes(b"no picture")
    images[4].unlink()
    sizes, unreadable = SizeReader(keep_unreadable=True).read(images)
    assert sizes.tolist() == [[1, 3], [0, 0], [3, 7], [4, 9], [0, 0], [6, 13], [7, 15]]
    assert unreadable.keys() == {1, 4}
    assert str(unreadable[1]).startswith(f"{images[1]}: cannot be read as an image")
    assert isinstance(unreadable[4], MissingImageError)


def test_known_sizes_are_not_read_again_and_are_counted(images):
    images[3].write_bytes(b"no picture")
    reader = SizeReader(lambda path, exif: {images[3]: (30, 40), images[0]: (10, 20)}.get(path))
    assert reader.read(images[:2])[0].tolist() == [[10, 20], [2, 5]]
    assert reader.read(images[2:4])[0].tolist() == [[3, 7], [30, 40]]
    assert (reader.asked, reader.reused) == (4, 2)


def test_only_headers_are_read(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:1500])  # the pixels are gone
    assert SizeReader().read([path])[0].tolist() == [[400, 300]]


def test_threads_keep_the_order_over_many_tasks_and_pass_errors_on():
    items = list(range(3 * CHUNK + 5))
    assert list(map_in_threads(lambda i: i * i, items, "x")) == [i * i for i in items]
    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(lambda i: 1 // (i - CHUNK), items, "x"))


@pytest.mark.parametrize(
    "name",
    ["../a.jpg", "a/../../b.jpg", "a/..", "..", "/etc/a.jpg", "\\a.jpg", "..\\a.jpg", "a\\..\\b",
     "C:/a.jpg", "c:a.jpg", "", "a\0b.jpg"],
)  # fmt: skip
def test_names_that_leave_the_root_are_refused(name):
    with pytest.raises(
        InputError, match=r"^list\.txt, line 7: image name .* leaves the images' root"
    ):
        check_relative(name, "list.txt, line 7")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a.jpg", "a.jpg"),
        ("c/a b.jpg", "c/a b.jpg"),
        ("./c//a.jpg", "c/a.jpg"),
        ("c/ä'\"..jpg", "c/ä'\"..jpg"),
        ("..c/...jpg", "..c/...jpg"),
    ],
)
def test_names_below_the_root_are_kept(name, path):
    assert check_relative(name, "x") == path


def test_images_are_found_by_ending_in_order_and_the_others_are_counted(tmp_path):
    for name in ("b/2.JPEG", "b/10.png", "a/é ü.jpg", "a/x.txt", "a/.hidden.jpg", ".git/z.png",
                 "README", "c/deep/1.webp", "a-/1.gif"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found, others = find_images(tmp_path)
    # by folder and name: "a" before "a-", though "a-/" sorts before "a/" as text
    assert found == ["a/é ü.jpg", "a-/1.gif", "b/10.png", "b/2.JPEG", "c/deep/1.webp"]
    assert others == {".txt": 1, "hidden": 2, "no ending": 1}


def test_a_link_in_a_circle_ends(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.jpg").touch()
    (tmp_path / "a/up").symlink_to(tmp_path)
    assert find_images(tmp_path)[0] == ["a/1.jpg"]
