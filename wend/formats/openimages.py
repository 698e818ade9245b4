"""Images with wsolevaluation's lists: CUB, ImageNet, and OpenImages30k, whose truth are masks.

The lists are those of :mod:`wend.formats.wsoleval`; where there is no list of sizes they come from
the images' headers. A mask becomes the tight box of its pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wend.errors import BadImageError, InputError, MissingFileError, some
from wend.files import real_path
from wend.formats.masks import read_mask
from wend.formats.wsoleval import BOXES, IDS, LABELS, SIZES, read_lists, read_names
from wend.images.paths import check_relative, require_folder
from wend.images.reading import read_image_size
from wend.images.sizes import SizeReader, missing_files
from wend.images.threads import map_in_threads
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.masks import MaskFiles
from wend.structures.records import image_key

logger = logging.getLogger(__name__)


def mask_box(path: str | Path, width: int, height: int) -> np.ndarray:
    """The tight box (1, 4) of a mask's pixels above 0 in an image of this size; (0, 4) if none.

    Open Images' masks are smaller than their images: the box is scaled from the mask's frame.

    Raises:
        MissingFileError, InputError: no such file, or no image.
    """
    mask = read_mask(path)
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(xs):
        return np.zeros((0, 4))
    box = np.array([[xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]], dtype=np.float64)
    return box * np.tile([width / mask.shape[1], height / mask.shape[0]], 2)


def _below(masks_root: Path, masks: Sequence[MaskFiles]) -> list[MaskFiles]:
    """Listed mask files as paths."""
    return [
        MaskFiles(
            tuple(str(masks_root / name) for name in each.objects),
            None if each.ignored is None else str(masks_root / each.ignored),
        )
        for each in masks
    ]


def _boxes_of_masks(masks: Sequence[MaskFiles], sizes: np.ndarray, source: Path) -> BoxTable:
    jobs = [(i, path, *sizes[i]) for i, each in enumerate(masks) for path in each.objects]
    boxes = list(map_in_threads(lambda job: mask_box(*job[1:]), jobs, "boxes of masks", "mask"))
    counts = np.array([len(box) for box in boxes], dtype=np.int64)
    empty = int((counts == 0).sum())
    logger.info("%s: %d masks, %d of them empty (no box)", source, len(jobs), empty)
    images = np.repeat(np.array([job[0] for job in jobs], dtype=np.int64), counts)
    return BoxTable.from_rows(images, np.concatenate([np.zeros((0, 4)), *boxes]), None, len(masks))


def load_lists(
    images: str | Path,
    lists: str | Path,
    masks: str | Path | None = None,
    sizes: SizeReader | None = None,
) -> DataSet:
    """Images below a root with a folder of wsolevaluation's lists (of boxes, or of masks).

    Args:
        images: folder that the listed names start from.
        lists: folder of the lists, such as ``metadata/OpenImages/test``.
        masks: folder that the listed masks start from; ``images`` by default.
        sizes: reads the headers, where the lists give no sizes.

    Returns:
        Images in the order of ``image_ids.txt``; ``image_id`` and ``key`` are the listed name.
        Without ``localization.txt`` the truth is unknown.

    Raises:
        MissingFileError, InputError: a list, an image or a mask is missing or malformed.
    """
    root = require_folder(images, "the images of the lists")
    folder = require_folder(lists, f"wsolevaluation's lists ({IDS}, {LABELS}, {BOXES}, ...)")
    listed = read_names(folder)
    names = [check_relative(name, f"{folder / IDS}, image {name!r}") for name in listed]
    paths = [str(root / name) for name in names]
    content = read_lists(folder, listed)
    unreadable: dict[int, BadImageError] = {}
    if content.sizes is None:
        reader = sizes or SizeReader()
        image_sizes, unreadable = reader.read(paths, f"{root.name}: image sizes")
    else:
        image_sizes = content.sizes
        _require_files(root, paths)
    files = None
    if content.masks is not None:
        files = _below(Path(masks or root), content.masks)
        truth = _boxes_of_masks(files, image_sizes, folder)
    elif content.boxes is not None:
        truth = content.boxes
    else:
        truth = BoxTable.empty(len(paths))
    without = len(paths) - len(truth.with_boxes)
    logger.info("%s: %d images, %d without a true box", lists, len(paths), without)
    return DataSet(
        name=str(lists),
        image_ids=names,
        file_names=paths,
        keys=names,
        sizes=image_sizes,
        class_ids=content.class_ids,
        truth=truth,
        pseudo_boxes=BoxTable.empty(len(paths)),
        unreadable=unreadable,
        masks=files,
    )


def load_mask_lists(lists: str | Path, masks: str | Path) -> DataSet:
    """The truth of a folder of wsolevaluation's lists of masks, without the images.

    Args:
        lists: folder of the lists, such as ``metadata/OpenImages/test``.
        masks: folder that the listed masks start from.

    Returns:
        Images as of :func:`load_lists`. Where the lists give no sizes, "original pixels" are those
        of each image's first mask.

    Raises:
        MissingFileError, InputError: a list or a mask is missing or malformed, or the lists are of
            boxes.
    """
    root, folder = require_folder(masks, "masks"), Path(lists)
    names = read_names(folder)
    content = read_lists(folder, names)
    if content.masks is None:
        raise InputError(
            f"{folder / BOXES}: expected lines of masks, not of boxes, with a folder of masks"
        )
    files = _below(root, content.masks)
    sizes = content.sizes
    if sizes is None:
        first = [each.objects[0] if each.objects else None for each in files]
        sizes = np.array(list(map_in_threads(_mask_size, first, "sizes of masks", "mask")))
    return DataSet(
        name="/".join(real_path(folder).parts[-2:]),
        image_ids=names,
        file_names=names,
        keys=[image_key(name) for name in names],
        sizes=sizes,
        class_ids=content.class_ids,
        truth=_boxes_of_masks(files, sizes, folder),
        pseudo_boxes=BoxTable.empty(len(names)),
        masks=files,
        files=tuple(
            path for file in (IDS, LABELS, SIZES, BOXES) if (path := folder / file).is_file()
        ),
    )


def _mask_size(path: str | None) -> tuple[int, int]:
    return (0, 0) if path is None else read_image_size(path)


def _require_files(root: Path, paths: list[str]) -> None:
    absent = [paths[i] for i in missing_files(paths, f"{root.name}: images")]
    if absent:
        raise MissingFileError(
            f"{root}: {len(absent)} of {len(paths)} listed images are not there ({some(absent)}); "
            f"unpack the data set's images again, or name the folder that the listed names start "
            f"from as 'images'"
        )
