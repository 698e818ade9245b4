"""Images with wsolevaluation's lists: CUB, ImageNet, and OpenImages30k, whose truth are masks.

The lists are those of :mod:`wend.formats.wsoleval`; where there is no list of sizes they come from
the images' headers. A mask becomes the tight box of its pixels.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from PIL import Image

from wend.errors import BadImageError, InputError, MissingFileError, some
from wend.formats.wsoleval import BOXES, IDS, LABELS, read_lists, read_names
from wend.images.paths import check_relative, require_folder
from wend.images.sizes import SizeReader, missing_files
from wend.images.threads import map_in_threads
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

logger = logging.getLogger(__name__)


def mask_box(path: str | Path, width: int, height: int) -> np.ndarray:
    """The tight box (1, 4) of a mask's pixels above 0 in an image of this size; (0, 4) if none.

    Open Images' masks are smaller than their images: the box is scaled from the mask's frame.

    Raises:
        MissingFileError, InputError: no such file, or no image.
    """
    try:
        with Image.open(path) as image:
            mask = np.asarray(image.convert("L") if image.mode != "I;16" else image) > 0
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{path}: there is no such mask; unpack wsolevaluation's OpenImages annotations, and "
            f"name the folder that the list's paths start from as 'masks'"
        ) from error
    except Exception as error:  # decoders raise struct.error, IndexError, ... on damaged files
        raise InputError(f"{path}: cannot be read as a mask image ({error})") from error
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(xs):
        return np.zeros((0, 4))
    box = np.array([[xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]], dtype=np.float64)
    return box * np.tile([width / mask.shape[1], height / mask.shape[0]], 2)


def _boxes_of_masks(masks: list[list[str]], masks_root: Path, sizes: np.ndarray) -> BoxTable:
    Image.init()
    jobs = [(i, masks_root / name, *sizes[i]) for i, names in enumerate(masks) for name in names]
    boxes = list(map_in_threads(lambda job: mask_box(*job[1:]), jobs, "boxes of masks", "mask"))
    counts = np.array([len(box) for box in boxes], dtype=np.int64)
    empty = int((counts == 0).sum())
    logger.info("%s: %d masks, %d of them empty (no box)", masks_root, len(jobs), empty)
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
    if content.masks is not None:
        truth = _boxes_of_masks(content.masks, Path(masks or root), image_sizes)
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
    )


def _require_files(root: Path, paths: list[str]) -> None:
    absent = [paths[i] for i in missing_files(paths, f"{root.name}: images")]
    if absent:
        raise MissingFileError(
            f"{root}: {len(absent)} of {len(paths)} listed images are not there ({some(absent)}); "
            f"unpack the data set's images again, or name the folder that the listed names start "
            f"from as 'images'"
        )
