"""Pseudo boxes: files of a method that finds boxes without box labels -> boxes of our records.

A source's reader returns :class:`PseudoBoxes`, in the frame that its files use, keyed by the
image's path; :func:`attach_pseudo_boxes` takes them to original pixels and counts what happened.
``docs/pseudo_boxes.md`` says how to use it and how to add a source.
"""

from wend.pseudo_boxes.columns import Keys, PseudoBoxes
from wend.pseudo_boxes.join import JoinedBoxes, attach_pseudo_boxes, join_boxes
from wend.pseudo_boxes.merge import Count
from wend.pseudo_boxes.registry import SOURCES, box_source, read_boxes
from wend.pseudo_boxes.report import KINDS, AttachReport
from wend.pseudo_boxes.sources.coco import read_coco
from wend.pseudo_boxes.sources.fractions import read_c2am, read_psol
from wend.pseudo_boxes.sources.tables import read_csv, read_localization, read_parquet
from wend.structures.records import image_key

__all__ = [
    "AttachReport",
    "Count",
    "JoinedBoxes",
    "KINDS",
    "Keys",
    "PseudoBoxes",
    "SOURCES",
    "attach_pseudo_boxes",
    "box_source",
    "image_key",
    "join_boxes",
    "read_boxes",
    "read_c2am",
    "read_coco",
    "read_csv",
    "read_localization",
    "read_parquet",
    "read_psol",
]
