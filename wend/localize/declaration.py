"""Images and the boxes that were made of them as a data set that every other command takes.

A YAML file of a declared data set (``docs/datasets.md``) beside the boxes, named after the images
and the method, such as ``photos_ddt.yaml``, and the list of the images with a box.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wend.datasets.declaring import declare
from wend.localize.writers import output_paths
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

LEAST_SCORE = 1e-9  # what has less is the whole image, because nothing was found in it


def declaration_path(output: str | Path, split: str, settings: Mapping[str, Any]) -> Path:
    """Where the data set is declared.

    Args:
        settings: how the boxes were made: ``method``, and ``dataset`` or ``images``.
    """
    images = settings.get("dataset") or settings.get("images") or ""
    method = settings["method"].rpartition(":")[2]
    name = "_".join((*re.findall(r"\w+", Path(images).stem), *re.findall(r"\w+", method)))
    return Path(output) / split / f"{name}.yaml"


def declare_boxes(
    output: str | Path, split: str, data_set: DataSet, boxes: BoxTable, settings: Mapping[str, Any]
) -> Path | None:
    """Declare the images that have a box, with their boxes but for those where nothing was found.

    Args:
        boxes: of the data set's images.
        settings: as of :func:`declaration_path`.

    Returns:
        The YAML; None where the images' keys are not their paths below one folder.
    """
    held = boxes.with_boxes
    shown = data_set.take(held)
    root = _root(shown.file_names, shown.keys)
    if root is None:
        return None
    path = declaration_path(output, split, settings)
    source = {
        "source": "coco",
        "path": f"./{output_paths(output, split)[1].name}",
        "min_score": LEAST_SCORE,
    }
    truth = shown.truth if len(shown.truth.boxes) else None
    declare(path, root, shown, truth=truth, source=source)
    return path


def _root(files: Sequence[str], keys: Sequence[str]) -> Path | None:
    """The folder below which the files have their keys as paths."""
    root = files[0][: -len(keys[0])]
    if all(file == root + key for file, key in zip(files, keys, strict=True)):
        return Path(root or ".").resolve()
    return None
