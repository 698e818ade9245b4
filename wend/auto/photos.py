"""What a folder of photos holds: sizes, orientations, unreadable ones, copies.

Every photo is decoded once, whole, since a file that is cut off has a good header. What was seen
is recorded photo by photo, so that an interrupted look goes on and a second one reads only the
photos that are new or have changed.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from wend.errors import BadImageError, InputError, MissingFileError, some
from wend.files import sha256
from wend.images.near_duplicates import SIDE, group, thumbnail
from wend.images.opening import open_image
from wend.images.orientation import UPRIGHT, orientation_of
from wend.images.paths import find_images, outside
from wend.images.reading import read_image
from wend.partial import PartialFile
from wend.structures.records import MAX_MEGAPIXELS

FORMAT = "wend-auto-photos-1"
_THREADS = min(8, os.cpu_count() or 1)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Photo:
    """A photo as it was seen.

    Attributes:
        path: below the folder of the photos, with forward slashes.
        state: bytes and time of change (ns) of the file, by which a later look knows it.
        width, height: in pixels, turned by EXIF where the policy says so; 0 if unreadable.
        orientation: EXIF's, 1 to 8.
        file_digest: SHA-256 of the file.
        pixel_digest: of size and pixels; empty if unreadable.
        thumbnail: 512 hexadecimal digits, :func:`wend.images.near_duplicates.thumbnail`.
        problem: why it cannot be read; empty if it can.
    """

    path: str
    state: tuple[int, int]
    width: int = 0
    height: int = 0
    orientation: int = UPRIGHT
    file_digest: str = ""
    pixel_digest: str = ""
    thumbnail: str = ""
    problem: str = ""


def _state(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:  # a link to nothing: the look says so
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _look(root: Path, path: str, exif: str, max_megapixels: float) -> Photo:
    file = root / path
    state = _state(file)
    try:
        image = read_image(file, exif, max_megapixels)
        with open_image(file) as opened:
            orientation = orientation_of(opened)
        digest = sha256(file)
    except BadImageError as error:
        return Photo(path, state, problem=str(error).removeprefix(f"{file}: ").split(";")[0])
    pixels = hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()
    small = thumbnail(image).tobytes().hex()
    return Photo(path, state, *image.size, orientation, digest, pixels, small)


def _from_row(row: dict[str, Any]) -> Photo:
    return Photo(**{**row, "state": tuple(row["state"])})


@dataclass(frozen=True)
class Photos:
    """The photos of a folder.

    Attributes:
        root: the folder, absolute.
        exif: "apply" or "ignore", the policy of the sizes.
        photos: all files that should be photos, sorted by folder and name.
        others: how many other files there are, by their ending.
    """

    root: Path
    exif: str
    photos: tuple[Photo, ...]
    others: Counter[str]

    @cached_property
    def readable(self) -> tuple[Photo, ...]:
        """Those that can be read."""
        return tuple(photo for photo in self.photos if not photo.problem)

    @cached_property
    def groups(self) -> np.ndarray:
        """Numbers (N,) of the readable ones' groups of near duplicates."""
        rows = [np.frombuffer(bytes.fromhex(p.thumbnail), np.uint8) for p in self.readable]
        thumbnails = np.array(rows, dtype=np.uint8).reshape(-1, SIDE, SIDE)
        return group(thumbnails, [photo.pixel_digest for photo in self.readable])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names and content of the readable ones."""
        lines = (f"{photo.path}\t{photo.file_digest}\n" for photo in self.readable)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def shallowest(self, output: Path) -> list[str]:
        """The fewest files and folders that hold the photos, and not the output folder.

        The folder of the photos where the output does not lie in it.
        """
        if not output.resolve().is_relative_to(self.root):
            return [str(self.root)]
        within = output.resolve().relative_to(self.root).parts
        chosen: dict[str, None] = {}
        for photo in self.readable:
            parts = photo.path.split("/")
            shared = 0
            while parts[shared] == within[shared]:
                shared += 1
            chosen[str(self.root.joinpath(*parts[: shared + 1]))] = None
        return list(chosen)

    def table(self, held_out: np.ndarray) -> str:
        """What was seen, for people.

        Args:
            held_out: (N,) bool of the readable ones.
        """
        readable = self.readable
        bad = [photo.path for photo in self.photos if photo.problem]
        sizes = np.array([(photo.width, photo.height) for photo in readable])
        by_file = Counter(photo.file_digest for photo in readable)
        by_pixels = Counter(photo.pixel_digest for photo in readable)
        same_file = len(readable) - len(by_file)
        same_pixels = len(readable) - len(by_pixels) - same_file
        members = np.bincount(self.groups, minlength=1)
        near = members[members > 1]
        turned = sum(photo.orientation != UPRIGHT for photo in readable)
        folders = len({photo.path.rpartition("/")[0] for photo in self.photos})
        policy = "turned upright" if self.exif == "apply" else "taken as stored"
        rows: list[tuple[str, int | str, str]] = [
            ("photos", len(self.photos), f"in {folders} folder{'s' * (folders > 1)}"),
            ("unreadable, left out", len(bad), some(bad) if bad else ""),
            ("with an orientation in EXIF", turned, policy if turned else ""),
            ("copies, byte by byte", same_file, ""),
            ("copies, by their pixels", same_pixels, ""),
            ("near duplicates", int(near.sum()), f"in {len(near)} groups" if len(near) else ""),
            ("for training", int((~held_out).sum()), ""),
            ("held out", int(held_out.sum()), "near duplicates stay on one side"),
            ("other files, not read", sum(self.others.values()), _counts(self.others)),
        ]
        if len(sizes):
            (w0, h0), (w1, h1) = sizes[sizes.prod(1).argmin()], sizes[sizes.prod(1).argmax()]
            w, h = np.median(sizes, 0).astype(int)
            rows.insert(1, ("sizes in pixels", f"{w}x{h}", f"median; {w0}x{h0} to {w1}x{h1}"))
        return tabulate(rows, tablefmt="plain", colalign=("left", "right", "left"))


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counter.most_common(5))


def look(
    root: Path, output: Path, record: Path, exif: str, max_megapixels: float = MAX_MEGAPIXELS
) -> Photos:
    """Look at all photos below a folder.

    Args:
        root: the folder.
        output: what lies in it is no photo.
        record: file of what was seen, JSON lines; made or gone on with.
        exif: "apply" or "ignore".
        max_megapixels: a photo of more pixels (in millions) counts as unreadable.

    Raises:
        InputError: there is no photo, or none that can be read.
    """
    root, output = root.resolve(), output.resolve()
    if not root.is_dir():
        there = "is a file" if root.exists() else "there is no such folder"
        raise MissingFileError(f"{root}: {there}; expected the folder of the photos")
    if root == output:
        raise InputError(
            f"--output {output}: is the folder of the photos; name a folder of its own, which may "
            f"lie in it, such as {output / 'out'}"
        )
    names, others = find_images(root)
    paths = outside(names, root, output)
    if not paths:
        more = f"; other files: {_counts(others)}" if others else ""
        raise MissingFileError(
            f"{root}: holds no photo (.jpg, .png, .webp, .tif, .bmp, .gif, .ppm){more}"
        )
    known_file: PartialFile[Photo] = PartialFile(
        record, FORMAT, {"exif": exif, "max_megapixels": max_megapixels}, _from_row
    )
    known = {photo.path: photo for photo in known_file.items}
    read = partial(_look, root, exif=exif, max_megapixels=max_megapixels)
    photos = _look_at_new(root, paths, read, known, known_file)
    seen = Photos(root, exif, tuple(photos), others)
    if not seen.readable:
        problems = some(f"{photo.path}: {photo.problem}" for photo in photos)
        raise InputError(f"{root}: none of {len(paths)} photos can be read ({problems})")
    return seen


def _look_at_new(
    root: Path,
    paths: Sequence[str],
    read: Callable[[str], Photo],
    known: dict[str, Photo],
    record: PartialFile[Photo],
) -> list[Photo]:
    """The photos of the paths; those that are new or have changed are read and recorded."""
    new = [path for path in paths if path not in known or known[path].state != _state(root / path)]
    pool = ThreadPoolExecutor(_THREADS)
    try:
        photos = pool.map(read, new)
        for photo in tqdm(photos, total=len(new), desc="photos", unit="photo", disable=None):
            record.add([vars(photo)])
            known[photo.path] = photo
    finally:
        pool.shutdown(cancel_futures=True)
    return [known[path] for path in paths]
