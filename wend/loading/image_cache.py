"""Images resized to RESIZE², each decoded once: a memory-mapped file that processes share.

A cache is a folder ``<data set>-<RESIZE>`` with

- ``pixels.bin``: (rows, RESIZE, RESIZE, 3) uint8 RGB, exactly what reading the image file gives:
  squashed, or (``-pad`` in the folder's name) fitted with black around;
- ``state.bin``: (rows, 5) int64: the image file's bytes and time of change (ns), its width and
  height, and 1 + the CRC-32 of the row's pixels; 0 as long as the row is empty. Written after the
  pixels, so an interrupted filling goes on where it stopped;
- ``index.npy``: (2, rows) uint64: hashes of the image files' names below the data sets' folder,
  sorted, and the row of each;
- ``cache.json``: format, RESIZE, whether padded, the policy on EXIF, the decoder
  (:mod:`wend.loading.decoders`; not ``pillow``: it stands in the folder's name) and the libraries.

A row whose image file has another size or time of change is stale and made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import mmap
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from wend.errors import InputError
from wend.files import atomic_write, read_json, write_json, writing
from wend.loading.decoders import PILLOW, read_square, versions
from wend.structures.data_set import DataSet
from wend.structures.records import EXIF, MAX_MEGAPIXELS

FORMAT = 1
STATE, FIELDS = np.dtype(np.int64), 5
logger = logging.getLogger(__name__)


class ImageCache:
    """One data set's cache. Pickles as its path; rows are read and made in any process.

    Args:
        folder: of the cache, as :func:`prepare` leaves it.
        root: folder of the data sets, below which images are found again if it moves.
        fill: write the rows that are made; it stops, with a warning, where the disk is full.
        max_megapixels: an image file that states more pixels, in millions, is not decoded.

    Raises:
        MissingFileError, InputError: there is none, it is of another format, or not whole.
    """

    def __init__(
        self, folder: Path, root: str, *, fill: bool, max_megapixels: float = MAX_MEGAPIXELS
    ) -> None:
        self.folder, self.root, self.fill = folder, root, fill
        self.max_megapixels = max_megapixels
        self.info = read_json(folder / "cache.json", "the description of a cache of images")
        if not isinstance(self.info, dict) or self.info.get("format") != FORMAT:
            raise InputError(f"{folder}: is no cache of this version of WEND; remove the folder")
        self.resize = self.info["resize"]
        self.padded = self.info.get("padded", False)
        self.exif = self.info.get("exif", EXIF[0])
        self.decoder = self.info.get("decoder", PILLOW)
        try:
            self._hashes, self._rows = np.asarray(
                np.load(folder / "index.npy", mmap_mode="r", allow_pickle=False)
            )
            self._pixels = self._map("pixels.bin", np.uint8, self.resize, self.resize, 3)
            self._state = self._map("state.bin", STATE, FIELDS)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{folder}: is no whole cache ({error}); remove the folder, it is made again"
            ) from error
        self._row_bytes = self.resize**2 * 3
        # rows whose CRC was checked; processes that are forked from this one share it
        self._seen = np.frombuffer(mmap.mmap(-1, max(1, len(self._rows))), dtype=bool)
        self._files: tuple[int, int] | None = None
        self.stale = 0

    def _map(self, name: str, kind: np.dtype | type, *shape: int) -> np.ndarray:
        shape = (len(self._rows), *shape)
        return np.asarray(np.memmap(self.folder / name, kind, "r", shape=shape))

    def __reduce__(self) -> tuple:
        return _reopen, (self.folder, self.root, self.fill, self.max_megapixels)

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, file_name: str) -> int | None:
        """The row of an image file, or None if it is not in the cache."""
        wanted = np.uint64(name_hash(file_name, self.root))
        index = int(np.searchsorted(self._hashes, wanted))
        if index == len(self._hashes) or self._hashes[index] != wanted:
            return None
        return int(self._rows[index])

    def row_of(self, file_name: str) -> int:
        """The row of an image file that the cache was prepared for."""
        row = self.row(file_name)
        assert row is not None  # prepare() gave each image of the data set a row
        return row

    def num_filled(self) -> int:
        """Rows that are not empty."""
        return int(np.count_nonzero(self._state[:, -1]))

    def is_fresh(self, row: int, file_name: str) -> bool:
        """Whether the row holds the image file as it is now."""
        state = self._state[row].tolist()
        try:
            stat = os.stat(file_name)
        except OSError:
            return False
        if not state[-1]:
            return False
        if state[:2] == [stat.st_size, stat.st_mtime_ns]:
            return True
        self.stale += 1
        if self.stale == 1:
            logger.warning(
                "%s: %s has changed since; such images are read anew", self.folder, file_name
            )
        return False

    def check_view(self, resize: int, padded: bool, decoder: str = PILLOW) -> None:
        """Raise InputError unless its images were resized and decoded as asked."""
        here, asked = (self.resize, self.padded, self.decoder), (resize, padded, decoder)
        if here != asked:
            said, wanted = (
                f"images {'fitted and padded' if pad else 'squashed'} to {side}x{side}"
                + (f" by {name}" if self.decoder != decoder else "")
                for side, pad, name in (here, asked)
            )
            raise InputError(
                f"{self.folder}: holds {said}, and WEND.VIEW, WEND.RESIZE and WEND.DATA.DECODER "
                f"ask for {wanted}; remove the folder, or name another (WEND.DATA.CACHE)"
            )

    def resized(self, file_name: str) -> tuple[np.ndarray, tuple[int, int]] | None:
        """The image (RESIZE, RESIZE, 3) uint8 and its original width and height.

        None for an image that the cache has no row for; an empty or stale row is made.

        Raises:
            BadImageError: the image cannot be read.
        """
        row = self.row(file_name)
        if row is None:
            return None
        if self.is_fresh(row, file_name):
            pixels, state = self._pixels[row], self._state[row].tolist()
            if self._seen[row] or _checksum(pixels) == state[-1]:
                self._seen[row] = True
                return pixels, (state[2], state[3])
            logger.warning("%s: row %d is damaged; read anew", self.folder, row)
        pixels, state = self.make(file_name)
        if self.fill:
            try:
                self.write_pixels(row, pixels)
                self.write_state(row, state)
            except OSError as error:
                self.fill = False
                logger.warning(
                    "%s: cannot be written (%s); what is in it is used, it is not filled further",
                    *(self.folder, error.strerror or error),
                )
        return pixels, (state[2], state[3])

    def make(self, file_name: str) -> tuple[np.ndarray, list[int]]:
        """A row's pixels and state, from the image file.

        Raises:
            BadImageError: the image cannot be read.
        """
        try:
            stat = os.stat(file_name)  # before reading: a change meanwhile makes the row stale
            size, time = stat.st_size, stat.st_mtime_ns
        except OSError:  # which read_image tells
            size = time = -1
        pixels, sides = read_square(
            file_name, self.resize, self.padded, self.decoder, self.exif, self.max_megapixels
        )
        return pixels, [size, time, *sides, _checksum(pixels)]

    def _open(self) -> tuple[int, int]:
        if self._files is None:
            pixels, state = (self.folder / name for name in ("pixels.bin", "state.bin"))
            self._files = os.open(pixels, os.O_WRONLY), os.open(state, os.O_WRONLY)
        return self._files

    def write_pixels(self, row: int, pixels: np.ndarray) -> None:
        """Write a row's pixels; it is empty until its state is written, too."""
        if self._state[row, -1]:
            self.write_state(row, [0] * FIELDS)
        self._seen[row] = False
        with writing(self.folder / "pixels.bin"):
            _write_at(self._open()[0], pixels.tobytes(), row * self._row_bytes)

    def write_state(self, row: int, state: list[int]) -> None:
        """Write a row's state."""
        content = np.array(state, STATE).tobytes()
        with writing(self.folder / "state.bin"):
            _write_at(self._open()[1], content, row * len(content))

    def sync(self) -> None:
        """Wait until the pixels are on the disk."""
        with writing(self.folder / "pixels.bin"):
            os.fsync(self._open()[0])


def _reopen(folder: Path, root: str, fill: bool, max_megapixels: float) -> ImageCache:
    return ImageCache(folder, root, fill=fill, max_megapixels=max_megapixels)


def _checksum(pixels: np.ndarray) -> int:
    """1 + the CRC-32 of a row's pixels, so that 0 means an empty row."""
    return zlib.crc32(pixels.data) + 1


def _write_at(handle: int, content: bytes, start: int) -> None:
    """Write bytes at a position of a file.

    Not through the mapping, where a full disk ends the process instead of raising an error.
    """
    view = memoryview(content)
    while view:
        written = os.pwrite(handle, view, start)
        view, start = view[written:], start + written


def name_hash(file_name: str, root: str) -> int:
    """The hash, of 64 bits, of a file name below the data sets' folder."""
    prefix = f"{root}/"
    name = file_name[len(prefix) :] if file_name.startswith(prefix) else file_name
    return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=8).digest(), "little")


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the lock of a cache; other processes that prepare it wait."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cache_folder(
    folder: str | Path,
    data_set: DataSet,
    resize: int,
    *,
    padded: bool = False,
    decoder: str = PILLOW,
) -> Path:
    """The folder of a data set's cache in a folder of caches."""
    turned = "" if data_set.exif == "ignore" else "-upright"
    by = "" if decoder == PILLOW else f"-{decoder}"
    return Path(folder) / f"{data_set.name}-{resize}{'-pad' * padded}{turned}{by}"


def _check_space(folder: Path, rows: int, filled: int, resize: int) -> None:
    """Log the space that the cache needs; InputError if the disk has less free."""
    row_bytes = resize**2 * 3
    need, free = (rows - filled) * row_bytes, shutil.disk_usage(folder).free
    logger.info(
        "%s: %d images x %d x %d x 3 bytes = %.1f MB, of which %.1f MB are still to be written; "
        "%.1f MB are free",
        *(folder, rows, resize, resize, rows * row_bytes / 1e6, need / 1e6, free / 1e6),
    )
    if need > free:
        raise InputError(
            f"{folder}: the cache needs {need / 1e6:.1f} MB more and the disk has "
            f"{free / 1e6:.1f} MB free; choose another folder, or none (WEND.DATA.CACHE '')"
        )


def prepare(
    folder: Path,
    data_set: DataSet,
    resize: int,
    root: str,
    *,
    fill: bool,
    padded: bool = False,
    decoder: str = PILLOW,
) -> ImageCache:
    """Open a data set's cache; made if there is none, with further rows for images not in it.

    Args:
        folder: of :func:`cache_folder`.
        resize: side in pixels.
        root: folder of the data sets.
        fill: write the rows that are made.
        padded: fitted with black around (:func:`wend.images.reading.fit`), not squashed.
        decoder: see :mod:`wend.loading.decoders`.

    Raises:
        InputError: the disk has not enough room, or what lies there is no whole cache.
    """
    try:
        with _only_one(folder):
            return _prepare(folder, data_set, resize, root, fill, padded, decoder)
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{folder}: the cache cannot be written ({error.strerror or error}); choose another "
            f"folder, or none"
        ) from error


def _prepare(
    folder: Path,
    data_set: DataSet,
    resize: int,
    root: str,
    fill: bool,
    padded: bool,
    decoder: str,
) -> ImageCache:
    libraries = versions(decoder)
    index, filled = np.zeros((2, 0), np.uint64), 0
    if (folder / "index.npy").is_file():
        cache = ImageCache(folder, root, fill=fill, max_megapixels=data_set.max_megapixels)
        cache.check_view(resize, padded, decoder)
        if cache.exif != data_set.exif:
            raise InputError(f"{folder}: was made with exif: {cache.exif}; remove the folder")
        if cache.info["libraries"] != libraries:
            logger.warning(
                "%s: was filled by %s, here is %s; pixels may differ in the last bit. Remove the "
                "folder to have it made again",
                *(folder, cache.info["libraries"], libraries),
            )
        index, filled = np.load(folder / "index.npy", allow_pickle=False), cache.num_filled()
    wanted = np.array([name_hash(name, root) for name in data_set.file_names], np.uint64)
    new = np.setdiff1d(wanted, index[0])
    rows = index.shape[1] + len(new)
    if len(np.unique(wanted)) < len(wanted):
        raise InputError(f"{folder}: the data set names an image file twice; it cannot be cached")
    if len(new) or filled < rows:
        _check_space(folder, rows, filled, resize)
    if len(new):
        row_bytes = {"pixels.bin": resize**2 * 3, "state.bin": FIELDS * STATE.itemsize}
        for name, size in row_bytes.items():
            with writing(folder / name), open(folder / name, "ab") as file:
                file.truncate(rows * size)
        info = {
            "format": FORMAT,
            "resize": resize,
            "padded": padded,
            "exif": data_set.exif,
            "decoder": decoder,
            "libraries": libraries,
        }
        if not index.size:
            write_json(folder / "cache.json", info)
        added = np.stack([new, np.arange(index.shape[1], rows, dtype=np.uint64)])
        index = np.concatenate([index, added], 1)
        with atomic_write(folder / "index.npy", "wb") as file:
            np.save(file, np.ascontiguousarray(index[:, np.argsort(index[0])]))
    return ImageCache(folder, root, fill=fill, max_megapixels=data_set.max_megapixels)
