"""A folder of one's own images: class = sub-folder, or no class; the truth, if any, in a file.

An image's key is its path below the folder.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wend.errors import InputError, MissingFileError, some
from wend.formats.listed_files import match_files, require_different
from wend.formats.listed_truth import read_listed_truth
from wend.images.orientation import explain_size
from wend.images.paths import find_images, require_folder
from wend.images.sizes import SizeReader
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageId

logger = logging.getLogger(__name__)
CLASSES = ("auto", "folder", "none", "annotations")


def _class_ids(root: Path, paths: Sequence[str], classes: str) -> np.ndarray:
    """Classes (I,) of the images, -1 where they have none."""
    if classes not in CLASSES:
        raise InputError(f"classes must be one of {', '.join(CLASSES)}, got {classes!r}")
    flat = [path for path in paths if "/" not in path]
    if classes in ("none", "annotations") or (classes == "auto" and len(flat) == len(paths)):
        return np.full(len(paths), -1, dtype=np.int64)
    if flat:
        raise InputError(
            f"{root}: {len(flat)} of {len(paths)} images lie beside the class folders "
            f"({some(flat)}); move them into one, or set classes: none, for images without class"
        )
    folders = [path.split("/", 1)[0] for path in paths]
    number = {name: i for i, name in enumerate(sorted(set(folders)))}
    logger.info("%s: %d classes, the sorted names of its folders", root, len(number))
    return np.array([number[folder] for folder in folders], dtype=np.int64)


def _of_images(listed: BoxTable, image: np.ndarray, num_images: int) -> BoxTable:
    """The boxes of those listed images that are at an index (L,), not at -1, of the folder's."""
    owner = image[listed.owner]
    here = owner >= 0
    return BoxTable.from_rows(owner[here], listed.boxes[here], None, num_images)


def _image_ids(
    source: str | Path, ids: Sequence[ImageId], image: np.ndarray, paths: Sequence[str]
) -> list[ImageId]:
    """Ids (I) of the images: the listed ones, and for images that are not listed their path.

    Where ids are numbers, these images get numbers below 0 and below all listed ones, which no
    list or file of detections means.

    Args:
        ids: L listed ids.
        image: (L,) index of each in the paths (I), or -1.
    """
    image_ids: list[ImageId] = list(paths)
    for listed_id, index in zip(ids, image.tolist(), strict=True):
        if index >= 0:
            image_ids[index] = listed_id
    numbers = [listed_id for listed_id in ids if isinstance(listed_id, int)]
    unlisted = np.setdiff1d(np.arange(len(paths)), image).tolist()
    if numbers and unlisted:
        lowest = min(0, *numbers)
        for number, index in enumerate(unlisted, 1):
            image_ids[index] = lowest - number
        logger.info(
            "%s: lists %d of %d images; the others (%s) have the ids %d to %d",
            *(source, len(paths) - len(unlisted), len(paths), some(paths[i] for i in unlisted)),
            *(lowest - 1, lowest - len(unlisted)),
        )
    return image_ids


def _say(source: str | Path, matched: int, images: int, surplus: int) -> None:
    logger.info(
        "%s: truth of %d images, none of %d; %d listed images are not there",
        *(source, matched, images - matched, surplus),
    )


def load_folder(
    images: str | Path,
    annotations: str | Path | None = None,
    classes: str = "auto",
    groups: str = "drop",
    sizes: SizeReader | None = None,
    paths: Sequence[str] | None = None,
) -> DataSet:
    """Read the images below a folder.

    Args:
        images: the folder.
        annotations: the truth, as :func:`.read_listed_truth` takes it; a COCO JSON's ids become
            ``image_id`` (-1, -2, ... of images that it lacks). None: it is unknown.
        classes: "folder": the sorted names of the first sub-folders are the classes; "none": no
            classes; "auto": "none" if all images lie in the folder itself, else "folder";
            "annotations": an image's class is that of its boxes, if they have only one.
        groups: of Open Images' CSV: "drop" or "keep" boxes around groups of objects.
        sizes: reads the images' headers.
        paths: the images, below the folder; by default all that are there.

    Returns:
        Images sorted by path, or in the order of ``paths``; ``image_id`` and ``key`` are the path
        below the folder.

    Raises:
        MissingFileError, InputError: no image, an unreadable one, a truth of other images, ...
    """
    root = require_folder(images, "images")
    others: Counter[str] = Counter()
    if paths is None:
        paths, others = find_images(root)
    if not paths:
        raise MissingFileError(f"{root}: holds no image (other files: {dict(others) or 'none'})")
    if others:
        logger.info("%s: other files, not read: %s", root, dict(others))
    class_ids = _class_ids(root, paths, classes)
    image_ids: list[ImageId] = list(paths)
    stated = np.zeros((len(paths), 2), dtype=np.int64)
    truth, is_fraction = BoxTable.empty(len(paths)), False
    if annotations is not None:
        listed = read_listed_truth(annotations, groups)
        image = match_files(annotations, listed.names, root, paths)
        require_different(annotations, listed.names, image, paths)
        here = np.flatnonzero(image >= 0)
        _say(annotations, len(here), len(paths), len(listed.names) - len(here))
        if listed.image_ids is not None:
            image_ids = _image_ids(annotations, listed.image_ids, image, paths)
        stated[image[here]] = listed.sizes[here]
        if classes == "annotations":
            class_ids[image[here]] = listed.class_ids[here]
        truth, is_fraction = _of_images(listed.truth, image, len(paths)), listed.is_fraction
    elif classes == "annotations":
        raise InputError(f"{root}: classes: annotations needs the key annotations")
    files = [str(root / path) for path in paths]
    image_sizes, unreadable = (sizes or SizeReader()).read(files, f"{root.name}: image sizes")
    if is_fraction:
        truth = BoxTable(truth.offsets, truth.boxes * np.tile(image_sizes, 2)[truth.owner])
    both_known = (stated > 0).all(1) & (image_sizes > 0).all(1)
    wrong = np.flatnonzero(both_known & (stated != image_sizes).any(1))
    if len(wrong):
        (width, height), (w, h) = stated[wrong[0]], image_sizes[wrong[0]]
        reader = sizes or SizeReader()
        why = explain_size(files[wrong[0]], (width, height), reader.exif)
        if not why and (stated[wrong] == image_sizes[wrong][:, ::-1]).all():
            why = "width and height swapped? Correct the sizes, or take them out"
        raise InputError(
            f"{annotations}: image {paths[wrong[0]]} is {width}x{height} there, but its file is "
            f"{w}x{h}; {why or 'are the boxes of another copy?'}"
        )
    logger.info("%s: %d images", root, len(paths))
    return DataSet(
        name=root.name,
        image_ids=image_ids,
        file_names=files,
        keys=list(paths),
        sizes=image_sizes,
        class_ids=class_ids,
        truth=truth,
        pseudo_boxes=BoxTable.empty(len(paths)),
        unreadable=unreadable,
    )
