"""A row of 256x256 pixels from the cache, and from what could be in its place."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from timing import seconds_each, table

from wend.loading.image_cache import ImageCache

Row = Callable[[str], np.ndarray]
CROP = 224


def _lmdb(folder: Path, files: list[str], pixels: np.ndarray, stack: ExitStack) -> Row:
    import lmdb

    path = str(folder / "lmdb")
    with lmdb.open(path, map_size=2 * pixels.nbytes + 2**24) as made:
        with made.begin(write=True) as write:
            for file, square in zip(files, pixels, strict=True):
                write.put(file.encode(), square.tobytes())
    environment = stack.enter_context(lmdb.open(path, readonly=True, lock=False))
    read = stack.enter_context(environment.begin(buffers=True))
    shape = pixels.shape[1:]
    return lambda file: np.frombuffer(read.get(file.encode()), np.uint8).reshape(shape)


def _rows(cache: ImageCache, files: list[str], folder: Path, stack: ExitStack) -> dict[str, Row]:
    from tensordict import MemoryMappedTensor

    pixels = np.stack([cache.resized(file)[0] for file in files])
    index = {file: row for row, file in enumerate(files)}
    pixels.tofile(folder / "pixels.bin")
    np.save(folder / "pixels.npy", pixels)
    names = folder / "rows"
    names.mkdir()
    for row, square in enumerate(pixels):
        square.tofile(names / f"{row}.bin")
    shape = pixels.shape
    raw = np.asarray(np.memmap(folder / "pixels.bin", np.uint8, "r", shape=shape))
    npy = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
    kept = MemoryMappedTensor.from_tensor(
        torch.from_numpy(pixels), filename=str(folder / "tensor.memmap")
    )
    return {
        "WEND's cache": lambda file: cache.resized(file)[0],
        "np.memmap, row by name": lambda file: raw[index[file]],
        "np.load(mmap_mode='r')": lambda file: npy[index[file]],
        "tensordict's MemoryMappedTensor": lambda file: kept[index[file]].numpy(),
        "LMDB": _lmdb(folder, files, pixels, stack),
        "a raw file for each image": lambda file: np.fromfile(
            names / f"{index[file]}.bin", np.uint8
        ).reshape(shape[1:]),
    }


def measure(cache: ImageCache, files: list[str], folder: Path, rounds: int) -> str:
    """Microseconds to reach a row, and to copy a crop out of it, in random order."""
    order = [files[i] for i in np.random.default_rng(0).permutation(len(files)).tolist()] * 4
    with ExitStack() as stack:
        rows = _rows(cache, files, folder, stack)
        first = next(iter(rows.values()))
        for name, row in rows.items():
            assert all(np.array_equal(row(file), first(file)) for file in files), name
        reach = seconds_each(rows, order, rounds)
        crops = {
            name: lambda file, row=row: row(file)[16 : 16 + CROP, 9 : 9 + CROP].copy()
            for name, row in rows.items()
        }
        copy = seconds_each(crops, order, rounds)
    head = ("store", "us to reach a row", f"us with a copy of {CROP}x{CROP}")
    return table(head, ([name, *(f"{1e6 * t[name]:.1f}" for t in (reach, copy))] for name in rows))
