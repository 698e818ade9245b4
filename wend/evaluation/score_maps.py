"""Score maps: one array for each image, checked, and in the one size and range that are scored.

A map says how strongly each pixel belongs to the object; methods of the CAM family give one. The
layout, and what a map must be, are wsolevaluation's (96f4b88): a NumPy file for each image, called
after it (evaluation.py:176-178, README "Prepare heatmaps"), of shape (height, width) with values in
0..1 (util.py:48-63). Maps of another size are resized and normalised as its inference does
(inference.py:38-52,86-88) before it writes them.

Shape letters: I = images, H, W = a map's height and width, S = :data:`SIDE`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import numpy as np

from wend.errors import InputError, MissingFileError, some
from wend.structures.data_set import DataSet
from wend.structures.frame import BoxFrame
from wend.structures.names import clean_path, match_names, without_ending

SIDE = 224  # of the maps that are scored (evaluation.py:41)
FRAME = BoxFrame(SIDE, SIDE)  # in which their boxes are
SUFFIX = ".npy"
MAX_PIXELS = 1 << 26  # of a map as it is stored; a header may promise any number


class ScoreMap(NamedTuple):
    """A map as it is scored.

    Attributes:
        values: (S, S) float64 in 0..1.
        was_resized: whether it came in another size.
        is_constant: whether all its values were the same.
    """

    values: np.ndarray
    was_resized: bool
    is_constant: bool


class ScoreMaps(Protocol):
    """The maps of a data set's images, by the same index; read when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray:
        """The map (H, W) of an image as it is stored."""

    def describe(self, index: int) -> str:
        """The name of an image's map in messages."""


class MapFolder:
    """A folder of ``.npy`` files, each called after its image.

    ``val2/995/0.jpeg`` has its map in ``val2/995/0.jpeg.npy`` or ``val2/995/0.npy``, at the same
    path below the folder or with fewer or more folders in front. An image's id serves, too.

    Attributes:
        folder: where they lie.
        paths: I of them, of the images of the data set.
        others: how many further maps there are, of no image of the data set.

    Raises:
        MissingFileError: no such folder, or an image has no map in it.
        InputError: two maps are of the same image, or one may be of several.
    """

    def __init__(self, folder: str | Path, data_set: DataSet) -> None:
        self.folder = Path(folder)
        files = sorted(_npy_files(self.folder))
        names = [clean_path(file[: -len(SUFFIX)]) for file in files]
        image = _images_of(names, data_set, f"--score-maps {folder}")
        self.paths = [
            str(self.folder / files[row]) for row in _rows(image, files, data_set, folder)
        ]
        self.others = int((image < 0).sum())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return read_map(self.paths[index])

    def describe(self, index: int) -> str:
        """The file's path."""
        return self.paths[index]


class MapArrays:
    """Maps that are held, or made, by the caller.

    Args:
        maps: for each image by its index (H, W): a list, an array (I, H, W), or whatever has a
            length and gives ``maps[i]``; it is asked for each map twice.
        data_set: the images.

    Raises:
        InputError: there are more or fewer maps than images.
    """

    def __init__(self, maps: Sequence[np.ndarray] | np.ndarray, data_set: DataSet) -> None:
        if len(maps) != len(data_set):
            raise InputError(
                f"score maps: expected one of each of the {len(data_set)} images of "
                f"{data_set.name or 'the data set'}, got {len(maps)}"
            )
        self.maps, self.image_ids = maps, data_set.image_ids

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index: int) -> np.ndarray:
        try:
            return np.asarray(self.maps[index])
        except (ValueError, TypeError, RuntimeError) as error:  # ragged; on a device; with gradient
            raise InputError(f"{self.describe(index)}: cannot become an array ({error})") from error

    def describe(self, index: int) -> str:
        """The image's id."""
        return f"score map of image {self.image_ids[index]!r}"


def as_score_maps(maps: object, data_set: DataSet) -> ScoreMaps:
    """Maps of a data set's images from whatever holds them.

    Args:
        maps: a folder's path, arrays by image id, or arrays in the order of the images
            (:class:`MapArrays`).

    Raises:
        InputError: none of these, or not of these images.
    """
    if isinstance(maps, (str, Path)):
        return MapFolder(maps, data_set)
    if isinstance(maps, (MapFolder, MapArrays)):
        return maps
    if isinstance(maps, Mapping):
        missing = [image_id for image_id in data_set.image_ids if image_id not in maps]
        if missing:
            raise InputError(
                f"score maps: {len(missing)} of {len(data_set)} images have none ({some(missing)})"
            )
        return MapArrays([maps[image_id] for image_id in data_set.image_ids], data_set)
    if not (hasattr(maps, "__getitem__") and hasattr(maps, "__len__")):
        raise InputError(
            f"score maps: expected a folder, a mapping from image ids, or a sequence of arrays in "
            f"the order of the images, got {type(maps).__name__}; maps are read twice, so that an "
            f"iterator would be empty the second time"
        )
    return MapArrays(cast("Sequence[np.ndarray]", maps), data_set)


def _npy_files(folder: Path) -> Iterator[str]:
    """Paths below a folder of the NumPy files in it, with forward slashes."""
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: there is no such folder; expected {SUFFIX} score maps")
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        if (place := os.path.realpath(parent)) in seen:  # a link back
            folders.clear()
            continue
        seen.add(place)
        folders.sort()
        for file in files:
            if file.lower().endswith(SUFFIX):
                yield Path(parent, file).relative_to(folder).as_posix()


def _images_of(names: list[str], data_set: DataSet, source: str) -> np.ndarray:
    """Index (N,) of the image that each map is of, or -1.

    A map is matched with the images' listed names; with their keys and ids, it is given to an image
    that has none yet.
    """
    listed = [clean_path(name) for name in data_set.file_names]
    index = match_names(names, listed, source)
    by_id = {str(image_id): i for i, image_id in enumerate(data_set.image_ids)}
    for match in (
        lambda rest: match_names(rest, list(data_set.keys), source),
        lambda rest: np.array([by_id.get(name, -1) for name in rest], dtype=np.int64),
    ):
        rows = np.flatnonzero(index < 0)
        taken = np.zeros(len(data_set) + 1, dtype=bool)
        taken[index] = True  # the last place is that of -1
        if not len(rows) or taken[:-1].all():
            break
        more = match([names[row] for row in rows])
        index[rows] = np.where(taken[more], -1, more)
    return _with_second_maps(index, names, listed)


def _with_second_maps(index: np.ndarray, names: list[str], listed: list[str]) -> np.ndarray:
    """The index (N,), with ``x.npy`` of an image ``x.jpg`` that has ``x.jpg.npy`` already."""
    of_stem = {without_ending(listed[image]): image for image in index[index >= 0].tolist()}
    for row in np.flatnonzero(index < 0).tolist():
        parts = names[row].split("/")
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        index[row] = next((of_stem[end] for end in ends if end in of_stem), -1)
    return index


def _rows(
    image: np.ndarray, files: Sequence[str], data_set: DataSet, folder: str | Path
) -> np.ndarray:
    """Row (I,) of each image's map among the files; InputError unless each has exactly one."""
    rows = np.flatnonzero(image >= 0)
    count = np.bincount(image[rows], minlength=len(data_set))
    if several := np.flatnonzero(count > 1).tolist():
        first = [files[row] for row in rows.tolist() if image[row] == several[0]]
        raise InputError(
            f"{folder}: {len(several)} images have several maps, "
            f"{data_set.file_names[several[0]]} has {some(first)}; keep one map of each image, or "
            f"name the folder that has only one"
        )
    if missing := np.flatnonzero(count == 0).tolist():
        absent = some(data_set.file_names[i] for i in missing)
        there = f"there are {len(files)} {SUFFIX} files ({some(files)})"
        there = there if files else f"there is no {SUFFIX} file in it"
        raise MissingFileError(
            f"{folder}: {len(missing)} of {len(data_set)} images have no map ({absent}); {there}. "
            f"Each image of {data_set.name} needs one, called after it: <image>{SUFFIX}, with or "
            f"without the image's own ending; none may be left out, since that would change what "
            f"the numbers are of"
        )
    return rows[np.argsort(image[rows], kind="stable")]


def read_map(path: str | Path) -> np.ndarray:
    """The array in a NumPy file, which must be a map (:func:`check_map`); never runs code.

    Raises:
        MissingFileError, InputError: no such file, no whole NumPy file, or no map.
    """
    try:
        # checks type and length by the header alone, and refuses pickled objects
        with np.errstate(over="ignore"):
            stored = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise MissingFileError(f"{path}: there is no such file; expected a score map") from None
    except Exception as error:  # damaged headers raise ValueError, SyntaxError, TokenError, ...
        raise InputError(
            f"{path}: is no whole NumPy file of numbers ({type(error).__name__}: {error}); "
            f"expected a score map of shape (height, width), as numpy.save writes it"
        ) from None
    check_map(stored, str(path))
    if more := os.path.getsize(path) - stored.offset - stored.nbytes:
        raise InputError(f"{path}: expected one array, got {more} bytes more behind it")
    return np.array(stored)


def check_map(values: np.ndarray, name: str) -> None:
    """Raise InputError unless an array is of shape (height, width) and of real numbers."""
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(
            f"{name}: expected a score map of shape (height, width), got shape {values.shape}"
        )
    if values.dtype.kind not in "buif":
        raise InputError(f"{name}: expected a score map of numbers, got {values.dtype}")
    if values.size > MAX_PIXELS:
        raise InputError(f"{name}: a score map of {values.shape} is larger than any image")


def prepare_map(values: np.ndarray, name: str, *, normalize: bool = False) -> ScoreMap:
    """A map as it is scored: of SIDE x SIDE values in 0..1.

    Args:
        values: (H, W) finite numbers. Of another size than SIDE x SIDE, they may be of any range:
            they are resized by cubic interpolation, the least becomes 0 and the largest 1, and a
            constant map 0, as wsolevaluation does before it writes maps. Of that size, they are
            taken as they stand and must be in 0..1.
        name: of the map in messages.
        normalize: the least and largest value become 0 and 1 whatever the size.

    Raises:
        InputError: another shape or type, NaN or infinity, or values outside 0..1.
    """
    check_map(values, name)
    pixels = np.array(values, dtype=np.float64)
    if not np.isfinite(pixels).all():
        raise InputError(f"{name}: the score map holds NaN or infinity")
    low, high = pixels.min(), pixels.max()
    is_constant = bool(low == high)
    was_resized = pixels.shape != (SIDE, SIDE)
    if was_resized or normalize:
        return ScoreMap(_normalized(_resized(pixels), name), was_resized, is_constant)
    if low < 0 or high > 1:
        raise InputError(
            f"{name}: expected a score map of values in 0..1, got {low:.9g}..{high:.9g}; "
            f"--normalize-maps (normalize=True) takes the least value of each map to 0 and the "
            f"largest to 1"
        )
    return ScoreMap(pixels, was_resized, is_constant)


def _resized(pixels: np.ndarray) -> np.ndarray:
    if pixels.shape == (SIDE, SIDE):
        return pixels
    import cv2

    resized: np.ndarray = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return resized


def _normalized(pixels: np.ndarray, name: str) -> np.ndarray:
    low, high = pixels.min(), pixels.max()
    if low == high:
        return np.zeros_like(pixels)
    with np.errstate(over="ignore", invalid="ignore"):
        pixels = pixels - low
        pixels /= pixels.max()
    if not np.isfinite(pixels).all():
        raise InputError(f"{name}: values from {low:g} to {high:g} are too far apart for a map")
    return pixels
