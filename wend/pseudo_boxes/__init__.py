"""Pseudo boxes: the files of a method that finds boxes without box labels -> a data set's boxes.

A source's reader returns :class:`PseudoBoxes`, in the frame that its files use, by the images'
paths; :func:`attach_pseudo_boxes` finds their images in a data set, maps them to original pixels
and counts the findings. May import ``formats``, ``images`` and what is below them.

One more source is a function with the decorator ``box_source``, in a module of ``sources/`` that is
imported here, or in a user's own file; ``docs/pseudo_boxes.md`` shows both. One more kind of
finding is a row of ``report.KINDS``.
"""

from wend.pseudo_boxes.join import attach_pseudo_boxes, join_boxes
from wend.pseudo_boxes.keys import Keys
from wend.pseudo_boxes.registry import SOURCES, box_source, read_boxes
from wend.pseudo_boxes.report import KINDS, AttachReport, Count
from wend.pseudo_boxes.source_boxes import PseudoBoxes
from wend.pseudo_boxes.sources.coco import read_coco
from wend.pseudo_boxes.sources.cvat import read_cvat
from wend.pseudo_boxes.sources.detectron2_dicts import read_dataset_dicts
from wend.pseudo_boxes.sources.fiftyone import read_fiftyone
from wend.pseudo_boxes.sources.fractions import read_c2am, read_psol
from wend.pseudo_boxes.sources.hugging_face import read_hugging_face
from wend.pseudo_boxes.sources.label_studio import read_label_studio
from wend.pseudo_boxes.sources.labelme import read_labelme
from wend.pseudo_boxes.sources.labels import (
    read_openimages_boxes,
    read_voc_boxes,
    read_yolo_boxes,
)
from wend.pseudo_boxes.sources.pickled import read_predictions
from wend.pseudo_boxes.sources.sam import read_sam
from wend.pseudo_boxes.sources.supervision import read_autodistill, read_supervision
from wend.pseudo_boxes.sources.tables import read_csv, read_localization, read_parquet
from wend.structures.records import image_key

__all__ = [
    "AttachReport",
    "Count",
    "KINDS",
    "Keys",
    "PseudoBoxes",
    "SOURCES",
    "attach_pseudo_boxes",
    "box_source",
    "image_key",
    "join_boxes",
    "read_autodistill",
    "read_boxes",
    "read_c2am",
    "read_coco",
    "read_csv",
    "read_cvat",
    "read_dataset_dicts",
    "read_fiftyone",
    "read_hugging_face",
    "read_label_studio",
    "read_labelme",
    "read_localization",
    "read_openimages_boxes",
    "read_parquet",
    "read_predictions",
    "read_psol",
    "read_sam",
    "read_supervision",
    "read_voc_boxes",
    "read_yolo_boxes",
]
