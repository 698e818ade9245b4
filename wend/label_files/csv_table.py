"""CSV: ``boxes.csv``, a row for each box, edges in pixels from 0, not rounded.

``wend evaluate`` finds images by ``image_id``, the box source ``csv`` by ``image``. Images without
boxes have no row.
"""

from __future__ import annotations

import csv
from pathlib import Path

from wend.files import atomic_write
from wend.label_files.labelled_boxes import LabelledBoxes
from wend.label_files.registry import label_writer

COLUMNS = ("image_id", "image", "width", "height", "label", "x0", "y0", "x1", "y1", "score")


@label_writer("csv")
def write_csv(labelled: LabelledBoxes, folder: Path) -> None:
    """Write ``boxes.csv``.

    Its columns are :data:`COLUMNS`, and ``class_id`` where boxes have one. The score of boxes
    without scores is 1.
    """
    has_classes = labelled.table.class_ids is not None
    scored = LabelledBoxes(labelled.images, labelled.table.scored(), labelled.labels)
    with atomic_write(folder / "boxes.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*COLUMNS, "class_id") if has_classes else COLUMNS)
        for image in scored:
            about = (image.image_id, image.name, image.width, image.height)
            assert image.scores is not None
            columns = (image.labels, image.boxes.tolist(), image.scores.tolist())
            classes = image.label_ids.tolist()
            for (label, corners, score), class_id in zip(
                zip(*columns, strict=True), classes, strict=True
            ):
                row = (*about, label, *corners, score)
                writer.writerow((*row, class_id) if has_classes else row)
