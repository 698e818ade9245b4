"""Opening the caches of resized images for a training, and filling one (``wend data cache``)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from wend.errors import BadImageError, InputError, some
from wend.images.threads import map_in_threads
from wend.loading.decoders import PILLOW, require_decoder
from wend.loading.image_cache import ImageCache, cache_folder, prepare
from wend.structures.data_set import DataSet

LOOKED_UP = 1000  # images that are looked for at a training's start, instead of all
CHUNK = 256  # images between two notes of what is done
logger = logging.getLogger(__name__)


def open_caches(
    folder: str,
    data_sets: Sequence[DataSet],
    resize: int,
    root: Path,
    *,
    padded: bool = False,
    decoder: str = PILLOW,
) -> tuple[ImageCache, ...]:
    """The caches of data sets, made where there is none; none at all if ``folder`` is empty.

    Args:
        folder: ``WEND.DATA.CACHE``.
        resize: side in pixels, ``WEND.RESIZE``.
        root: folder of the data sets, below which images are found again if it moves.
        padded: for a view that pads (:attr:`wend.structures.view.View.pads`).
        decoder: ``WEND.DATA.DECODER``.

    Raises:
        InputError: a cache that is not whole, a disk that is too small.
    """
    if not folder:
        return ()
    return tuple(
        _open(folder, data_set, resize, str(root), padded, decoder) for data_set in data_sets
    )


def _open(
    folder: str, data_set: DataSet, resize: int, root: str, padded: bool, decoder: str
) -> ImageCache:
    path = cache_folder(folder, data_set, resize, padded=padded, decoder=decoder)
    others = sorted(p.name for p in path.parent.glob("*") if p.name.startswith(f"{data_set.name}-"))
    if not path.is_dir() and others:
        logger.warning(
            "%s: no cache of %s for WEND.RESIZE %d%s%s yet; there are: %s",
            *(folder, data_set.name, resize, " and WEND.VIEW pad" * padded),
            *(f" and WEND.DATA.DECODER {decoder}" * (decoder != PILLOW), some(others)),
        )
    if (path / "index.npy").is_file():
        cache = ImageCache(path, root, fill=True, max_megapixels=data_set.max_megapixels)
        cache.check_view(resize, padded, decoder)
        step = max(1, len(data_set) // LOOKED_UP)
        looked_up = (data_set.file_names[i] for i in range(0, len(data_set), step))
        if all(cache.row(file_name) is not None for file_name in looked_up):
            logger.info("%s: %d of %d rows are filled", path, cache.num_filled(), len(cache))
            return cache
    return prepare(path, data_set, resize, root, fill=True, padded=padded, decoder=decoder)


def fill_cache(
    data_set: DataSet,
    folder: str,
    resize: int,
    root: Path,
    workers: int | None = None,
    *,
    padded: bool = False,
    decoder: str = PILLOW,
) -> list[str]:
    """Fill a data set's cache; goes on where an earlier filling stopped, remakes stale rows.

    Args:
        data_set: whose images; unreadable ones end in errors of their rows.
        folder: of caches.
        resize: side in pixels.
        root: folder of the data sets.
        workers: threads; by default more than there are cores.
        padded, decoder: see :func:`open_caches`.

    Returns:
        A message for each image that cannot be read; its row stays empty.

    Raises:
        InputError: the disk is full: what is filled by then stays and counts.
    """
    require_decoder(decoder)
    path = cache_folder(folder, data_set, resize, padded=padded, decoder=decoder)
    cache = prepare(path, data_set, resize, str(root), fill=False, padded=padded, decoder=decoder)
    files = list(data_set.file_names)
    filled_before = cache.num_filled()
    todo = [file for file in files if not cache.is_fresh(cache.row_of(file), file)]
    logger.info(
        "%s: %d of %d images are there, %d are to be read, %d of them since their file changed",
        *(path, len(files) - len(todo), len(files), len(todo), cache.stale),
    )
    bad: list[str] = []
    try:
        _fill(cache, todo, data_set.name, workers, bad)
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); the {cache.num_filled()} rows "
            f"that are filled stay and count. Free the disk and run the same command again"
        ) from error
    logger.info(
        "%s: %d rows filled, %d before; %d images cannot be read",
        *(path, cache.num_filled(), filled_before, len(bad)),
    )
    return bad


def _fill(
    cache: ImageCache, todo: list[str], name: str, workers: int | None, bad: list[str]
) -> None:
    """Make rows in threads; the states of a chunk are written when its pixels are on the disk."""

    def make(file_name: str) -> tuple[int, list[int]] | BadImageError:
        try:
            pixels, state = cache.make(file_name)
        except BadImageError as error:
            return error
        row = cache.row_of(file_name)
        cache.write_pixels(row, pixels)
        return row, state

    for chunk in _chunks(map_in_threads(make, todo, f"{name}: cache", "image", workers)):
        cache.sync()
        for result in chunk:
            if isinstance(result, BadImageError):
                bad.append(str(result))
            else:
                cache.write_state(*result)


def _chunks(results: Iterator) -> Iterator[list]:
    chunk = []
    for result in results:
        chunk.append(result)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    yield chunk
