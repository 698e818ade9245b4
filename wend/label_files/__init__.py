"""Label files: boxes of images in the formats of the tools in which people label and look.

A writer takes :class:`LabelledBoxes` and fills an empty folder, which :func:`write` then moves to
where it belongs, whole or not at all. May import ``structures``, ``images`` and what is below them.

One more format is a function with the decorator ``label_writer``, in a module that is imported
here, or in a user's own file; ``docs/label_files.md`` says what the formats hold.
"""

from wend.label_files import coco, csv_table, cvat, label_studio, voc, yolo  # noqa: F401  # register
from wend.label_files.labelled_boxes import FOREGROUND, ImageBoxes, LabelledBoxes
from wend.label_files.registry import WRITERS, label_writer
from wend.label_files.writing import write, write_all

__all__ = [
    "FOREGROUND",
    "ImageBoxes",
    "LabelledBoxes",
    "WRITERS",
    "label_writer",
    "write",
    "write_all",
]
