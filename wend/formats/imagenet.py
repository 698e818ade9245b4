"""ImageNet-1K (ILSVRC2012, CLS-LOC): folders or flat images, truth from XML or the peers' lists.

A class is the index among the sorted WordNet ids, as for torchvision and all peers: never the
order of a directory listing, never the devkit's ILSVRC2012_ID. All boxes of an image are kept.
An image's ``image_id`` is its file name and its ``key`` is ``<wnid>/<file name>``, in both layouts.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from wend.errors import BadImageError, InputError, MissingFileError, some
from wend.files import read_lines
from wend.formats.imagenet_truth import WNID, Truth, read_truth
from wend.images.paths import find_images, require_folder
from wend.images.sizes import SizeReader
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

logger = logging.getLogger(__name__)
NO_TRUTH = Truth()


def read_wnids(path: str | Path) -> list[str]:
    """The WordNet ids of a file, sorted, whatever order or numbers the file has.

    Args:
        path: one id per line, as its first or second word (``LOC_synset_mapping.txt``,
            ``map_clsloc.txt``, ...).

    Raises:
        MissingFileError, InputError: no such file, or a line without a WordNet id, or one twice.
    """
    path, wnids = Path(path), []
    for number, line in enumerate(read_lines(path, "a WordNet id per line"), 1):
        if not line.strip():
            continue
        wnid = [part for part in re.split(r"[\s,]+", line.strip())[:2] if WNID.fullmatch(part)]
        if len(wnid) != 1:
            raise InputError(
                f"{path}, line {number}: expected a WordNet id such as n01440764, got {line!r}"
            )
        wnids += wnid
    twice = len(wnids) - len(set(wnids))
    if not wnids or twice:
        raise InputError(
            f"{path}: {f'{twice} WordNet ids stand there twice' if twice else 'empty'}"
        )
    return sorted(wnids)


def _find(images: Path) -> tuple[list[str], bool]:
    """Relative paths of the images, and whether they lie in a folder for each WordNet id."""
    paths, others = find_images(images)
    if not paths:
        raise MissingFileError(f"{images}: holds no image; expected <wnid>/*.JPEG or *.JPEG there")
    if others:
        logger.info("%s: other files, not read: %s", images, dict(others))
    flat = [path for path in paths if "/" not in path]
    deep = [path for path in paths if "/" in path]
    strange = sorted({path.rsplit("/", 1)[0] for path in deep} - set(_folders(deep)))
    if flat and len(flat) < len(paths):
        raise InputError(
            f"{images}: {len(flat)} images lie beside folders of images ({some(flat)}); expected "
            f"all in folders <wnid>/, or all flat"
        )
    if strange:
        raise InputError(
            f"{images}: {len(strange)} folders of images have no WordNet id as name "
            f"({some(strange)}); expected <wnid>/*.JPEG, such as n01440764/. For other classes use "
            f"format: folder"
        )
    return paths, not flat


def _folders(paths: Sequence[str]) -> list[str]:
    return sorted({p.split("/", 1)[0] for p in paths if WNID.fullmatch(p.rsplit("/", 1)[0])})


def _stems(images: Path, paths: Sequence[str]) -> list[str]:
    stems = [path.rsplit("/", 1)[-1].rsplit(".", 1)[0] for path in paths]
    if len(set(stems)) < len(stems):
        first: dict[str, str] = {}
        twice = [
            (first[s], p) for s, p in zip(stems, paths, strict=True) if first.setdefault(s, p) != p
        ]
        raise InputError(
            f"{images}: {len(twice)} images have a name that another one has, such as "
            f"{' and '.join(twice[0])}; ImageNet's names are unique. Remove the copies"
        )
    return stems


class _Classes:
    """Class numbers of WordNet ids, checked against the numbers that lists state."""

    def __init__(self, images: Path, source: str, wnids: Sequence[str]) -> None:
        self.images = images
        self.source = source
        self.number_of = {wnid: number for number, wnid in enumerate(wnids)}

    def number(self, path: str, wnid: str | None, truth: Truth) -> int | None:
        """The image's class; InputError where folder, list and order do not agree."""
        if wnid is None:
            return truth.label
        if truth.wnid not in (None, wnid):
            raise InputError(
                f"{truth.where}: image {path} is of {truth.wnid} there, but lies in the folder "
                f"{wnid} of {self.images}"
            )
        if wnid not in self.number_of:
            raise InputError(f"{self.source}: does not hold {wnid}, the class of image {path}")
        number = self.number_of[wnid]
        if truth.label not in (None, number):
            raise InputError(
                f"{truth.where}: image {path} is of class {truth.label} there, but its {wnid} is "
                f"number {number} of the {len(self.number_of)} sorted WordNet ids of "
                f"{self.source}. Is the list in the devkit's order? Where only some of the 1000 "
                f"classes are there, name a file of all WordNet ids as 'classes'"
            )
        return number


def _wnid(path: str, truth: Truth, in_folders: bool, classes: _Classes) -> str | None:
    if in_folders:
        return path.split("/", 1)[0]
    if truth.wnid is None and truth.label is not None and classes.number_of:
        wnids = list(classes.number_of)
        if truth.label >= len(wnids):
            raise InputError(
                f"{truth.where}: image {path} is of class {truth.label} there, but "
                f"{classes.source} holds {len(wnids)} classes; expected 0..{len(wnids) - 1}"
            )
        return wnids[truth.label]
    return truth.wnid


def _class_table(
    images: Path, folders: Sequence[str], truth: Mapping[str, Truth], classes: str | Path | None
) -> _Classes:
    if classes is not None:
        return _Classes(images, str(classes), read_wnids(classes))
    if folders:
        return _Classes(images, str(images), folders)
    wnids = sorted({each.wnid for each in truth.values() if each.wnid is not None})
    return _Classes(images, "the truth", wnids)


def _sizes(
    images: Path, files: Sequence[str], truths: Sequence[Truth], reader: SizeReader
) -> tuple[np.ndarray, dict[int, BadImageError]]:
    """Sizes (I, 2), and the images that have none."""
    sizes = np.array([truth.size or (0, 0) for truth in truths], dtype=np.int64).reshape(-1, 2)
    unknown = np.flatnonzero(sizes[:, 0] == 0).tolist()
    read, unreadable = reader.read([files[i] for i in unknown], f"{images.name}: image sizes")
    sizes[unknown] = read
    return sizes, {unknown[i]: error for i, error in unreadable.items()}


def load_imagenet(
    images: str | Path,
    annotations: str | Path | None = None,
    classes: str | Path | None = None,
    sizes: SizeReader | None = None,
) -> DataSet:
    """Read ImageNet-1K's training or validation images.

    Args:
        images: folder with ``<wnid>/*.JPEG``, or with the images themselves (then ``annotations``
            must tell the classes).
        annotations: a folder of VOC XML files (flat or by wnid), a folder of wsolevaluation's
            lists, or a file: Kaggle's ``LOC_*_solution.csv``, TS-CAM's ``val_folder_new.txt``,
            BAS's ``val_gt.txt`` or C2AM's ``val.txt``. None: the truth is unknown.
        classes: file of all WordNet ids, where the folders or lists hold only some of them.
        sizes: reads the headers, where the truth gives no sizes.

    Returns:
        Images sorted by path. Sizes are the truth's; where it gives none, the image header's.

    Raises:
        MissingFileError, InputError: what is missing or malformed, a class that folder, list and
            sorted order do not agree on, an image without a class.
    """
    images = require_folder(images, "ImageNet's images (<wnid>/*.JPEG, or flat)")
    paths, in_folders = _find(images)
    stems = _stems(images, paths)
    by_stem = read_truth(annotations) if annotations is not None else {}
    truths = [by_stem.get(stem, NO_TRUTH) for stem in stems]
    matched = sum(truth is not NO_TRUTH for truth in truths)
    if by_stem and not matched:
        raise InputError(
            f"{annotations}: none of its {len(by_stem)} images ({some(by_stem, 2)}) is one of the "
            f"{len(stems)} of {images} ({some(stems, 2)}); are they of another split?"
        )
    table = _class_table(images, _folders(paths) if in_folders else (), by_stem, classes)
    wnids = [_wnid(p, t, in_folders, table) for p, t in zip(paths, truths, strict=True)]
    numbers = [table.number(*args) for args in zip(paths, wnids, truths, strict=True)]
    unknown = [path for path, number in zip(paths, numbers, strict=True) if number is None]
    if unknown:
        raise InputError(
            f"{images}: {len(unknown)} of {len(paths)} images have no class ({some(unknown)}): "
            f"they lie flat and {annotations or 'no annotations'} tell it; name a list or XML of "
            f"all images as 'annotations', or use format: folder for images without classes"
        )
    logger.info(
        "%s: %d images of %d classes (%s), %d with true boxes; truth of %d more images is not used",
        images,
        len(paths),
        len(set(numbers)),
        table.source,
        sum(len(truth.boxes) > 0 for truth in truths),
        len(by_stem) - matched,
    )
    names = [path.rsplit("/", 1)[-1] for path in paths]
    files = [str(images / path) for path in paths]
    image_sizes, unreadable = _sizes(images, files, truths, sizes or SizeReader())
    return DataSet(
        name=str(images),
        image_ids=names,
        file_names=files,
        keys=[f"{wnid}/{name}" if wnid else name for wnid, name in zip(wnids, names, strict=True)],
        sizes=image_sizes,
        class_ids=np.array(numbers, dtype=np.int64),
        truth=BoxTable.from_arrays([truth.boxes for truth in truths]),
        pseudo_boxes=BoxTable.empty(len(names)),
        unreadable=unreadable,
    )
