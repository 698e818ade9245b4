"""Ground truth by whatever names it: a data set's name, or files that tell boxes and sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wend.datasets.catalog import DataSets
from wend.datasets.plausible_truth import check_plausible
from wend.errors import InputError, MissingFileError, some
from wend.formats.coco import load_coco
from wend.formats.openimages import load_mask_lists
from wend.formats.voc import load_voc
from wend.formats.wsoleval import IDS, is_wsoleval, load_wsoleval
from wend.formats.yolo import find_yolo
from wend.images.paths import find_files
from wend.structures.data_set import DataSet
from wend.structures.plausibility import Finding

FILES = "a COCO JSON, a wsolevaluation metadata folder or a folder of VOC's XML files"
WITHOUT_SIZES = (".csv", ".txt")  # of files of boxes


def load_source(
    source: str, data_sets: DataSets, masks: str | None = None, implausible: str | None = None
) -> DataSet:
    """Ground truth from a data set's name, or from a file or folder (:data:`FILES`).

    Args:
        source: a path where there is a ``/`` or an ending, or a file or folder of that name
            exists and no data set is called so.
        data_sets: where names are looked up.
        masks: folder that the masks of a metadata folder's list start from; None for boxes.
        implausible: of a data set's pseudo boxes, as of :meth:`.catalog.DataSets.get`.

    Returns:
        The data set, called as the catalog calls it, or after the file or folder; its ``files``
        are those that were read.

    Raises:
        InputError: none of these; or what it names is not whole.
    """
    source = data_sets.own_name(source)
    path = Path(source)
    names = data_sets.names()
    is_name = source in names
    if masks is not None and (is_name or not path.is_dir()):
        raise InputError(
            f"{source}: a folder of masks is for a metadata folder of wsolevaluation, whose list "
            f"names masks without saying where they lie"
        )
    if not is_name and path.is_dir():
        data_set = _load_folder(path) if masks is None else load_mask_lists(path, masks)
    elif not is_name and path.is_file():
        if path.suffix.lower() in WITHOUT_SIZES:
            raise _without_sizes(path)
        data_set = load_coco(path)
    elif not is_name and (path.suffix or "/" in source):
        raise MissingFileError(
            f"{source}: there is no such file or folder; expected {FILES}, or a data set's name: "
            f"{', '.join(names)}"
        )
    else:
        data_set = data_sets.get(source, implausible=implausible)
    if not len(data_set):
        raise InputError(f"{data_set.name}: holds no image")
    return data_set


def _load_folder(path: Path) -> DataSet:
    if is_wsoleval(path):
        return load_wsoleval(path)
    if find_files(path, ".xml"):
        data_set = load_voc(path)
        unknown = np.flatnonzero(data_set.sizes[:, 0] == 0).tolist()
        if unknown:
            raise _without_sizes(
                f"{path}, {some(f'{data_set.file_names[i]}.xml' for i in unknown)}"
            )
        return data_set
    if find_yolo(path):
        raise _without_sizes(path)
    raise MissingFileError(f"{path}: expected {FILES}; it holds neither {IDS} nor *.xml")


def _without_sizes(source: str | Path) -> InputError:
    return InputError(
        f"{source}: states no width and height of its images, which boxes are scored in; declare a "
        f"data set with the images' folder and this as its annotations (docs/datasets.md), and "
        f"name that"
    )


def check_truth(data_set: DataSet, implausible: str | None = None) -> list[Finding]:
    """Refuse a truth that nothing can be scored against.

    Leaving images out changes the denominator, and no number would be comparable.

    Args:
        implausible: as of :func:`check_plausible`.

    Returns:
        What is implausible, for the record.

    Raises:
        InputError: an image has no true box, the ids fit no column of results, or the truth is
            implausible.
    """
    data_set.require_plain_ids()
    without = np.flatnonzero(data_set.truth.counts == 0).tolist()
    if without:
        raise InputError(
            f"{data_set.name}: {len(without)} of {len(data_set)} images have no true box "
            f"({some(data_set.keys[i] for i in without)}); they can be neither right nor "
            f"wrong. Take them out of the ground truth itself if they are not meant to count"
        )
    return check_plausible(data_set, implausible)
