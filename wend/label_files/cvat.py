"""CVAT's XML "CVAT for images 1.1": ``annotations.xml``, for a task with the same images.

A ``<box>`` has its edges as ``xtl, ytl, xbr, ybr`` in pixels from 0, of the upright image; its
score is the attribute ``score``. Boxes are cut at the image's border.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from wend.label_files.labelled_boxes import LabelledBoxes
from wend.label_files.registry import label_writer
from wend.label_files.xml_text import add, write_xml

CORNERS = ("xtl", "ytl", "xbr", "ybr")


@label_writer("cvat")
def write_cvat(labelled: LabelledBoxes, folder: Path) -> None:
    """Write ``annotations.xml``; CVAT finds an image by its name below the task's root."""
    labelled = labelled.upright().inside("cvat")
    has_scores = labelled.table.scores is not None
    root = ElementTree.Element("annotations")
    add(root, "version", "1.1")
    task = add(add(root, "meta", ""), "task", "")
    add(task, "size", len(labelled))
    labels = add(task, "labels", "")
    for name in labelled.labels:
        label = add(labels, "label", "")
        add(label, "name", name)
        attributes = add(label, "attributes", "")
        if has_scores:
            attribute = add(attributes, "attribute", "")
            for tag, text in (
                ("name", "score"),
                ("mutable", "False"),
                ("input_type", "text"),
                ("default_value", ""),
                ("values", ""),
            ):
                add(attribute, tag, text)
    for image in labelled:
        element = ElementTree.SubElement(
            root,
            "image",
            id=str(image.index),
            name=image.name,
            width=str(image.width),
            height=str(image.height),
        )
        scores = [None] * len(image.boxes) if image.scores is None else image.scores.tolist()
        for label_name, corners, score in zip(
            image.labels, image.boxes.tolist(), scores, strict=True
        ):
            edges = dict(zip(CORNERS, map(str, corners), strict=True))
            about = {"label": label_name, "source": "auto", "occluded": "0"}
            box = ElementTree.SubElement(element, "box", {**about, **edges, "z_order": "0"})
            if score is not None:
                add(box, "attribute", score).set("name", "score")
    write_xml(folder / "annotations.xml", root)
