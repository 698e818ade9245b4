"""COCO's JSON: a data set of images and boxes, and the same boxes as results.

``annotations.json`` is a data set, in which a box with a score has it as ``score`` (FiftyOne takes
it as confidence, others ignore it); ``results.json`` are COCO results, which pycocotools'
``COCO.loadRes`` takes. Boxes are ``[x, y, width, height]`` in pixels, from the image's left upper
corner, not rounded, and may reach out of the image.
"""

from __future__ import annotations

from pathlib import Path

from wend.files import write_json
from wend.label_files.labelled_boxes import LabelledBoxes
from wend.label_files.registry import label_writer
from wend.structures.boxes import xyxy_to_xywh

INFO = {"description": "boxes written by WEND"}  # some pycocotools want an "info"


@label_writer("coco")
def write_coco(labelled: LabelledBoxes, folder: Path) -> None:
    """Write ``annotations.json`` and ``results.json``.

    Images have their data set's ids where these are whole numbers, as tools expect, else 1 to I;
    categories are numbered from 1. Results of boxes without scores have the score 1.
    """
    ids = list(labelled.images.image_ids)
    if not all(isinstance(image_id, int) for image_id in ids):
        ids = list(range(1, len(labelled) + 1))
    table = labelled.table
    columns = (table.owner, labelled.label_ids + 1, xyxy_to_xywh(table.boxes), table.areas())
    annotations = [
        {
            "id": number,
            "image_id": ids[image],
            "category_id": category,
            "bbox": xywh,
            "area": area,
            "iscrowd": 0,
            "segmentation": [],
        }
        for number, (image, category, xywh, area) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True), 1
        )
    ]
    scores = table.scored().scores
    assert scores is not None
    results = [
        {key: row[key] for key in ("image_id", "category_id", "bbox")} | {"score": score}
        for row, score in zip(annotations, scores.tolist(), strict=True)
    ]
    if table.scores is not None:
        annotations = [
            row | {"score": result["score"]}
            for row, result in zip(annotations, results, strict=True)
        ]
    images = [
        {"id": image_id, "file_name": name, "width": width, "height": height}
        for image_id, name, (width, height) in zip(
            ids, labelled.names, labelled.images.sizes.tolist(), strict=True
        )
    ]
    categories = [
        {"id": number, "name": label, "supercategory": ""}
        for number, label in enumerate(labelled.labels, 1)
    ]
    write_json(
        folder / "annotations.json",
        {
            "info": INFO,
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": categories,
        },
    )
    write_json(folder / "results.json", results)
