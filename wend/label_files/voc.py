"""PASCAL VOC's XML: ``Annotations/<path of the image without its ending>.xml``.

VOC counts pixels from 1 and includes the last one: a box over the whole image is ``1, 1, width,
height``. That is (x0 + 1, y0 + 1, x1, y1) of a box here, which VOC's own code, Detectron2 and
supervision take back; a box narrower than a pixel becomes one pixel wide. Others read the numbers
as they stand (CVAT, labelImg, and this package where it is not told): for them there is
``pixels="edges"``. Numbers are not rounded unless it is asked for. Boxes are cut at the image's
border, and are of the upright image.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from wend.errors import InputError, shown
from wend.label_files.labelled_boxes import ImageBoxes, LabelledBoxes
from wend.label_files.registry import label_writer
from wend.label_files.xml_text import add, write_xml
from wend.label_files.yolo import distinct_stems

SHIFTS = {"inclusive": (1, 1, 0, 0), "edges": (0, 0, 0, 0)}
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@label_writer("voc")
def write_voc(
    labelled: LabelledBoxes, folder: Path, pixels: str = "inclusive", whole: bool = False
) -> None:
    """Write ``Annotations/`` and ``ImageSets/Main/default.txt``, the list of the images.

    A score is ``<confidence>`` of its object.

    Args:
        pixels: "inclusive": counted from 1, the last one included, as VOC; "edges": the box's
            edges from 0.
        whole: round to whole pixels, for readers that take no others.

    Raises:
        InputError: images whose names differ in their endings only.
    """
    if pixels not in SHIFTS:
        raise InputError(f"voc: pixels must be one of {', '.join(SHIFTS)}, got {shown(pixels)}")
    if whole is not True and whole is not False:
        raise InputError(f"voc: whole must be true or false, got {shown(whole)}")
    labelled = labelled.upright().inside("voc")
    stems = distinct_stems(labelled, "voc")
    for image, stem in zip(labelled, stems, strict=True):
        corners = image.boxes + SHIFTS[pixels]
        if whole:
            corners = np.round(corners).astype(np.int64)
        corners[:, :2] = np.minimum(corners[:, :2], corners[:, 2:])
        write_xml(folder / "Annotations" / f"{stem}.xml", _annotation(image, corners))
    listing = folder / "ImageSets" / "Main" / "default.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")


def _annotation(image: ImageBoxes, corners: np.ndarray) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    parent, _, name = image.name.rpartition("/")
    add(root, "folder", parent)
    add(root, "filename", name)
    add(add(root, "source", ""), "database", "WEND")
    size = add(root, "size", "")
    for tag, value in (("width", image.width), ("height", image.height), ("depth", 3)):
        add(size, tag, value)
    add(root, "segmented", 0)
    scores = [None] * len(corners) if image.scores is None else image.scores.tolist()
    for label, box, score in zip(image.labels, corners.tolist(), scores, strict=True):
        element = add(root, "object", "")
        add(element, "name", label)
        for tag, text in (("pose", "Unspecified"), ("truncated", "0"), ("difficult", "0")):
            add(element, tag, text)
        if score is not None:
            add(element, "confidence", score)
        bndbox = add(element, "bndbox", "")
        for tag, value in zip(CORNERS, box, strict=True):
            add(bndbox, tag, value)
    return root
