"""Score maps as files and arrays: which image they are of, and what is refused by name."""

import pickle

import numpy as np
import pytest

from tests.map_peers import normalized
from wend.errors import InputError, MissingFileError
from wend.evaluation.score_maps import SIDE, MapFolder, as_score_maps, prepare_map, read_map
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

RNG = np.random.default_rng(0)
FULL = RNG.random((SIDE, SIDE))


def images(*names, ids=None):
    return DataSet.from_records(
        [
            ImageRecord(name if ids is None else ids[i], name, 40, 30, gt_boxes=[[0, 0, 9, 9]])
            for i, name in enumerate(names)
        ],
        "a set",
    )


def write(folder, *names):
    """A map for each name: of shape (1, its number from 1)."""
    for number, name in enumerate(names, 1):
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.zeros((1, number)))


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (("val2/0/0.jpeg", "val2/1/0.jpeg"), ("val2/0/0.jpeg", "val2/1/0.jpeg")),  # as it is saved
        (("val2/0/0.jpeg", "val2/1/0.jpeg"), ("val2/0/0", "val2/1/0")),  # as its README says
        (("val/x.JPEG", "val/y.JPEG"), ("x.JPEG", "y")),  # below the folder
        (("/data/images/a/x.jpg", "/data/images/b/x.jpg"), ("a/x.jpg", "b/x.jpg")),
        (("a/x.jpg", "b/x.jpg"), ("run 3/a/x", "run 3/b/x")),  # more folders in front
        (("x.jpg", "x.png"), ("x.jpg", "x.png")),  # only the ending tells them apart
        (("a/x.y.jpg", "a/x.jpg"), ("a/x.y", "a/x")),
    ],
)
def test_a_map_is_found_by_its_images_name(tmp_path, names, files):
    write(tmp_path, *files)
    maps = MapFolder(tmp_path, images(*names))
    assert [maps[i].shape for i in range(len(maps))] == [(1, 1), (1, 2)]
    assert maps.others == 0


def test_a_map_is_found_by_an_id_that_is_no_name(tmp_path):
    write(tmp_path, "17", "4")
    maps = MapFolder(tmp_path, images("a/one.jpg", "a/two.jpg", ids=[4, 17]))
    assert [maps[i].shape for i in range(2)] == [(1, 2), (1, 1)]


def test_maps_of_another_split_are_counted_and_do_not_disturb(tmp_path):
    write(tmp_path, "val2/0/0.jpeg", "val/0/0.jpeg", "val/0/7.jpeg")
    maps = MapFolder(tmp_path, images("val2/0/0.jpeg"))
    assert maps[0].shape == (1, 1)
    assert maps.others == 2


def test_every_image_needs_exactly_one_map(tmp_path):
    data_set = images("a/x.jpg", "a/y.jpg")
    with pytest.raises(MissingFileError, match="there is no such folder"):
        MapFolder(tmp_path / "none", data_set)
    with pytest.raises(MissingFileError, match=r"2 of 2 images have no map .*no .npy file in it"):
        MapFolder(tmp_path, data_set)
    write(tmp_path, "b/z", "a/x")
    with pytest.raises(MissingFileError, match=r"1 of 2 images have no map \(a/y.jpg\); .*b/z.npy"):
        MapFolder(tmp_path, data_set)
    write(tmp_path, "a/y.jpg", "1/a/x.jpg", "2/a/x.jpg")
    with pytest.raises(
        InputError, match=r"1 images have several maps, a/x.jpg has 1/a/x.jpg.npy, 2"
    ):
        MapFolder(tmp_path, data_set)


def test_maps_with_and_without_the_images_ending_are_two_of_one_image(tmp_path):
    write(tmp_path, "a/x.jpg", "a/y", "b/a/x.png", "b/y.jpg")
    data_set = images("a/x.jpg", "a/y.jpg")
    assert MapFolder(tmp_path, data_set).others == 2  # of no image's whole name
    write(tmp_path, "c/a/x")
    with pytest.raises(
        InputError, match=r"1 images have several maps, a/x.jpg has a/x.jpg.npy, c/a/x.npy"
    ):
        MapFolder(tmp_path, data_set)


def test_a_name_that_means_several_images_is_an_error(tmp_path):
    write(tmp_path, "x")
    with pytest.raises(InputError, match=r"--score-maps .*several images"):
        MapFolder(tmp_path, images("a/x.jpg", "b/x.jpg"))


BAD_FILES = {
    "text": (b"0.1 0.2", "no whole NumPy file"),
    "empty": (b"", "no whole NumPy file"),
    "an archive": (b"PK\x03\x04" + b"\0" * 60, "no whole NumPy file"),
    "pickle": (pickle.dumps(np.zeros((3, 3))), "no whole NumPy file"),
    "a broken header": (b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f8' (", "no whole NumPy file"),
}
BAD_ARRAYS = {
    "three axes": (np.zeros((1, 7, 7)), r"\(height, width\), got shape \(1, 7, 7\)"),
    "one axis": (np.zeros(7), r"got shape \(7,\)"),
    "no axis": (np.float64(1), r"got shape \(\)"),
    "no pixel": (np.zeros((0, 7)), "no whole NumPy file|got shape"),
    "complex numbers": (np.zeros((7, 7), complex), "numbers, got complex128"),
    "texts": (np.full((7, 7), "a"), "numbers, got <U1"),
    "times": (np.zeros((7, 7), "datetime64[s]"), "numbers, got datetime64"),
    "fields": (np.zeros((7, 7), [("a", float)]), "numbers, got"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_no_array_is_named(tmp_path, kind):
    content, message = BAD_FILES[kind]
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(InputError, match=rf"x.npy: .*{message}"):
        read_map(tmp_path / "x.npy")


@pytest.mark.parametrize("kind", BAD_ARRAYS)
def test_an_array_that_is_no_map_is_named(tmp_path, kind):
    values, message = BAD_ARRAYS[kind]
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(InputError, match=rf"x.npy: .*({message})"):
        read_map(tmp_path / "x.npy")


def test_a_cut_file_and_a_header_that_promises_too_much_are_named(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, FULL)
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    with pytest.raises(InputError, match="no whole NumPy file"):
        read_map(path)
    with open(path, "wb") as file:  # 8 TiB, which the file system stores as a hole
        header = {"descr": "<f8", "fortran_order": False, "shape": (1 << 20, 1 << 20)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate((1 << 43) + 128)
    with pytest.raises(InputError, match=r"larger than any image|no whole NumPy file"):
        read_map(path)


def test_a_second_array_in_a_file_is_not_ignored(tmp_path):
    with open(tmp_path / "x.npy", "wb") as file:
        np.save(file, FULL)
        np.save(file, np.zeros((1, 1)))
    with pytest.raises(InputError, match=r"x.npy: expected one array, got 136 bytes more"):
        read_map(tmp_path / "x.npy")


def test_links_are_followed_but_not_in_circles(tmp_path):
    write(tmp_path / "there", "a/x.jpg")
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps/a").symlink_to(tmp_path / "there/a")
    (tmp_path / "there/a/loop").symlink_to(tmp_path / "there")
    assert MapFolder(tmp_path / "maps", images("a/x.jpg")).others == 0


def test_a_file_never_runs_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    np.save(tmp_path / "x.npy", np.array([[Bomb()]], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="no whole NumPy file of numbers"):
        read_map(tmp_path / "x.npy")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["<f8", ">f8", "<f4", "<f2", "?", "<i2", "|u1", "<u8"])
def test_every_type_of_numbers_is_read_as_it_is(tmp_path, kind):
    stored = np.asfortranarray((FULL > 0.5).astype(kind))
    np.save(tmp_path / "x.npy", stored)
    prepared = prepare_map(read_map(tmp_path / "x.npy"), "x")
    assert np.array_equal(prepared.values, FULL > 0.5)
    assert prepared.values.dtype == np.float64


def test_a_map_of_the_scored_size_is_taken_as_it_stands():
    values = 0.2 + 0.5 * FULL
    prepared = prepare_map(values, "x")
    assert np.array_equal(prepared.values, values)
    assert not prepared.was_resized
    assert not prepared.is_constant
    assert prepare_map(np.full((SIDE, SIDE), 0.5), "x").is_constant


@pytest.mark.parametrize("shape", [(7, 7), (14, 10), (1, 1), (1, 9), (500, 333)])
def test_a_map_of_another_size_is_resized_and_normalised_as_the_peer_does(shape):
    cam = RNG.normal(size=shape) * 30 - 5  # a network's values, of any range
    prepared = prepare_map(cam, "x")
    assert prepared.was_resized
    assert np.array_equal(prepared.values, normalized(cam))


def test_values_outside_0_to_1_are_an_error_unless_they_are_to_be_normalised():
    cam = FULL * 9 - 4
    for wrong in (cam, FULL * 1.001 + 0.01, FULL - 0.01, FULL * 255):
        with pytest.raises(InputError, match=r"x: expected .* in 0..1, got .*--normalize-maps"):
            prepare_map(wrong, "x")
    assert np.allclose(prepare_map(cam, "x", normalize=True).values, normalized(cam), atol=1e-12)


def test_a_constant_map_has_no_pixel_above_0_once_it_is_normalised():
    for values in (np.full((7, 7), 3.0), np.zeros((9, 9))):
        prepared = prepare_map(values, "x")
        assert prepared.is_constant
        assert not prepared.values.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [7, SIDE])
def test_what_is_not_finite_is_named(bad, side):
    values = np.zeros((side, side))
    values[3, 4] = bad
    with pytest.raises(InputError, match="x: the score map holds NaN or infinity"):
        prepare_map(values, "x", normalize=True)


def test_values_too_far_apart_for_a_float_are_named():
    with pytest.raises(InputError, match="too far apart"):
        prepare_map(np.array([[-1.7e308, 1.7e308]] * 2), "x")


def test_maps_come_as_a_folder_a_list_an_array_or_by_id(tmp_path):
    data_set = images("x.jpg", "y.jpg")
    np.save(tmp_path / "x.npy", FULL)
    np.save(tmp_path / "y.npy", FULL * 0.5)
    arrays = [FULL, FULL * 0.5]
    for given in (
        *(tmp_path, str(tmp_path), arrays, np.stack(arrays)),
        {"y.jpg": arrays[1], "x.jpg": arrays[0], "z.jpg": None},
    ):
        maps = as_score_maps(given, data_set)
        assert [np.array_equal(maps[i], arrays[i]) for i in range(len(maps))] == [True, True]
        assert as_score_maps(maps, data_set) is maps
    with pytest.raises(InputError, match=r"1 of 2 images have none \(y.jpg\)"):
        as_score_maps({"x.jpg": FULL}, data_set)
    with pytest.raises(InputError, match="one of each of the 2 images of a set, got 1"):
        as_score_maps([FULL], data_set)
    with pytest.raises(InputError, match="got generator; maps are read twice"):
        as_score_maps((array for array in arrays), data_set)
    assert as_score_maps(arrays, data_set).describe(1) == "score map of image 'y.jpg'"


def test_what_is_no_array_is_named():
    maps = as_score_maps([[[1, 2], [3]]], images("x.jpg"))
    with pytest.raises(InputError, match=r"score map of image 'x.jpg': cannot become an array"):
        maps[0]
