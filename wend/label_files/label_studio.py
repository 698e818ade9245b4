"""Label Studio's JSON: ``tasks.json``, a task for each image, and ``labels.xml``, its interface.

Boxes are predictions, which people accept or correct: ``x, y, width, height`` in per cent of the
upright image. Boxes are cut at the image's border.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np

from wend.errors import InputError, shown
from wend.files import write_json
from wend.label_files.labelled_boxes import ImageBoxes, LabelledBoxes
from wend.label_files.registry import label_writer
from wend.label_files.xml_text import write_xml
from wend.structures.boxes import xyxy_to_xywh

LOCAL_FILES = "/data/local-files/?d="  # as Label Studio serves LOCAL_FILES_DOCUMENT_ROOT
FROM_NAME, TO_NAME = "label", "image"


@label_writer("label_studio")
def write_label_studio(
    labelled: LabelledBoxes,
    folder: Path,
    root: str | Path | None = None,
    url: str | None = None,
    model_version: str = "wend",
) -> None:
    """Write ``tasks.json``, for the import of a project whose interface is ``labels.xml``.

    Args:
        root: Label Studio's LOCAL_FILES_DOCUMENT_ROOT, the folder from which it serves the images;
            by default names are taken as paths below it.
        url: instead, where the images are on the web: the name of an image is added to it.
        model_version: what the predictions are called.

    Raises:
        InputError: root and url together, or an image that does not lie below the root.
    """
    if root is not None and url is not None:
        raise InputError(f"label_studio: expected root or url, got both: {root} and {url}")
    for name, value in (("root", root), ("url", url), ("model_version", model_version)):
        if value is not None and (not isinstance(value, str | Path) or not str(value)):
            raise InputError(f"label_studio: {name}: expected a text, got {shown(value)}")
    labelled = labelled.upright().inside("label_studio")
    tasks = []
    for image in labelled:
        result = _result(image)
        prediction: dict = {"model_version": model_version, "result": result}
        if image.scores is not None and len(image.scores):
            prediction["score"] = float(image.scores.max())
        address = f"{url.rstrip('/')}/{quote(image.name)}" if url else _local(image, root)
        tasks.append({"data": {TO_NAME: address}, "predictions": [prediction]})
    write_json(folder / "tasks.json", tasks)
    write_xml(folder / "labels.xml", _interface(labelled.labels))


def _local(image: ImageBoxes, root: str | Path | None) -> str:
    """Address of an image that Label Studio serves from its own disk."""
    path = image.name
    if root is not None:
        path = os.path.relpath(os.path.abspath(image.file), os.path.abspath(root))
        path = path.replace(os.sep, "/")
        if path.startswith("../"):
            raise InputError(
                f"label_studio: {image.file} does not lie below the root {root}; name the folder "
                f"that LOCAL_FILES_DOCUMENT_ROOT is set to"
            )
    return LOCAL_FILES + quote(path)


def _result(image: ImageBoxes) -> list[dict]:
    sides = np.tile([image.width, image.height], 2)
    rows = []
    for rank, percent in enumerate((100 * xyxy_to_xywh(image.boxes) / sides).tolist()):
        value = dict(zip(("x", "y", "width", "height"), percent, strict=True))
        row = {
            "id": f"{image.index}-{rank}",
            "type": "rectanglelabels",
            "from_name": FROM_NAME,
            "to_name": TO_NAME,
            "original_width": image.width,
            "original_height": image.height,
            "image_rotation": 0,
            "value": {**value, "rotation": 0, "rectanglelabels": [image.labels[rank]]},
        }
        if image.scores is not None:
            row["score"] = float(image.scores[rank])
        rows.append(row)
    return rows


def _interface(labels: tuple[str, ...]) -> ElementTree.Element:
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name=TO_NAME, value=f"${TO_NAME}")
    rectangles = ElementTree.SubElement(view, "RectangleLabels", name=FROM_NAME, toName=TO_NAME)
    for label in labels:
        ElementTree.SubElement(rectangles, "Label", value=label)
    return view
