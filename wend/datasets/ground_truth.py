"""Ground truth by whatever names it: a data set's name, a COCO JSON or a wsolevaluation folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wend.datasets.catalog import DataSets
from wend.errors import InputError, MissingFileError, some
from wend.formats.coco import load_coco
from wend.formats.wsoleval import load_wsoleval
from wend.structures.data_set import DataSet


def load_source(source: str, data_sets: DataSets) -> DataSet:
    """Ground truth from a data set's name, a COCO JSON, or a wsolevaluation metadata folder.

    Args:
        source: a path where there is a ``/`` or an ending, or a file or folder of that name
            exists and no data set is called so.
        data_sets: where names are looked up.

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
    if not is_name and path.is_dir():
        data_set = load_wsoleval(path)
    elif not is_name and path.is_file():
        data_set = load_coco(path)
    elif not is_name and (path.suffix or "/" in source):
        raise MissingFileError(
            f"{source}: there is no such file or folder; expected a COCO JSON, a wsolevaluation "
            f"metadata folder, or a data set's name: {', '.join(names)}"
        )
    else:
        data_set = data_sets.get(source)
    if not len(data_set):
        raise InputError(f"{data_set.name}: holds no image")
    return data_set


def check_truth(data_set: DataSet) -> None:
    """Raise InputError unless every image has a true box, and the ids fit a column of results.

    Leaving images out changes the denominator, and no number would be comparable.
    """
    data_set.require_plain_ids()
    without = np.flatnonzero(data_set.truth.counts == 0).tolist()
    if without:
        raise InputError(
            f"{data_set.name}: {len(without)} of {len(data_set)} images have no true box "
            f"({some(data_set.image_ids[i] for i in without)}); they can be neither right nor "
            f"wrong. Take them out of the ground truth itself if they are not meant to count"
        )
