"""Boxes as labelling tools and detectors write them: YOLO's text, VOC's XML, Open Images' CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from wend.errors import InputError, shown
from wend.formats.openimages_csv import read_openimages
from wend.formats.voc import load_voc
from wend.formats.yolo import read_yolo
from wend.pseudo_boxes.keys import path_key
from wend.pseudo_boxes.registry import box_source
from wend.pseudo_boxes.source_boxes import PseudoBoxes
from wend.pseudo_boxes.sources.tables import from_rows
from wend.structures.arrow import strings

VOC_PIXELS = {"edges": (0, 0, 0, 0), "inclusive": (-1, -1, 0, 0)}  # what the corners are moved by


@box_source("yolo")
def read_yolo_boxes(path: str | Path) -> PseudoBoxes:
    """Read YOLO's folder of text files; see :mod:`wend.formats.yolo`.

    Frame: fractions. The sixth number of a line, and the one behind a polygon, is the score; all
    lines have one, or none.
    """
    labels = read_yolo(path, scored_polygons=True)
    unscored = np.isnan(labels.scores)
    if unscored.any() and not unscored.all():
        raise InputError(
            f"{path}, {labels.names[int(np.argmax(unscored))]}.txt: expected a confidence in each "
            f"line, as others have"
        )
    scores = None if unscored.all() else labels.scores
    return _of_names(path, labels.names, labels.boxes, scores)


@box_source("voc")
def read_voc_boxes(path: str | Path, pixels: str = "edges") -> PseudoBoxes:
    """Read a folder of VOC's XML files; see :mod:`wend.formats.voc`.

    Frame: pixels of the size that the XML states for the image, which may be of a resized copy; of
    the original image where no XML states one.

    Args:
        pixels: "edges": numbers are taken as they stand; "inclusive": they are pixels counted from
            1 with the last one included, as VOC's own are, and reach from ``xmin - 1`` to ``xmax``.
    """
    if not isinstance(pixels, str) or pixels not in VOC_PIXELS:
        raise InputError(
            f"{path}: pixels must be one of {', '.join(VOC_PIXELS)}, got {shown(pixels)}"
        )
    data_set = load_voc(path)
    keys = [path_key(name, f"{path}: {name}.xml") for name in data_set.file_names]
    table, sizes = data_set.truth, data_set.sizes.astype(np.float64)
    table = replace(table, boxes=table.boxes + VOC_PIXELS[pixels])
    stated = sizes[:, 0] > 0
    if stated.any() and not stated.all():
        raise InputError(
            f"{path}, {keys[int(np.argmin(stated))]}.xml: expected <size> with width and height, "
            f"as others have"
        )
    if not stated.any():
        return PseudoBoxes.from_entries(str(path), "pixel", keys, table.counts, table.boxes)
    boxes = table.boxes / np.tile(sizes, 2)[table.owner]
    return PseudoBoxes.from_entries(str(path), "fraction", keys, table.counts, boxes, None, sizes)


@box_source("openimages")
def read_openimages_boxes(path: str | Path, groups: str = "drop") -> PseudoBoxes:
    """Read Open Images' CSV of boxes; see :mod:`wend.formats.openimages_csv`.

    Frame: fractions. ``Confidence`` is the score where it differs between boxes; people's boxes
    all have 1.

    Args:
        groups: "drop" or "keep" boxes around groups of objects.
    """
    rows = read_openimages(path, groups)
    varied = rows.scores is not None and len(np.unique(rows.scores)) > 1
    return _of_names(path, rows.names, rows.boxes, rows.scores if varied else None)


def _of_names(
    path: str | Path, names: Sequence[str], boxes: np.ndarray, scores: np.ndarray | None
) -> PseudoBoxes:
    """Boxes (N, 4) in fractions by the names (N) of their images."""
    return from_rows(str(path), "fraction", strings(names), boxes, scores)
