"""Detectron2's dicts -> model inputs, through the engine-independent :mod:`wend.loading.crop`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import Boxes, BoxMode, Instances

from wend.config import crop_arguments
from wend.d2.features import number_of_classes
from wend.d2.frames import model_input
from wend.errors import InputError
from wend.formats.coco_json import is_crowd
from wend.loading.crop import CropMapper
from wend.loading.image_cache import ImageCache
from wend.structures.records import DECODERS, EXIF, MAX_MEGAPIXELS


def _score(annotation: Mapping[str, Any], where: str) -> float:
    """An annotation's score, 1 if it has none; InputError if it is not in [0, 1]."""
    score = annotation.get("score", 1.0)
    is_number = isinstance(score, int | float | np.number) and not isinstance(score, bool)
    if not is_number or not 0 <= score <= 1:
        raise InputError(f"{where}: score: expected a number from 0 to 1, got {score!r}")
    return float(score)


class WSOLDatasetMapper:
    """Squash to ``resize``², crop to ``crop``² (random with flip to train, central to test).

    Other views than the paper's: :class:`wend.structures.view.View`. Detectron2's own mapper keeps
    the aspect and always turns by EXIF; here the dict's ``exif`` says whether (as the data set
    does). Output dicts have ``image`` (3, side, side) uint8, the original ``height`` and ``width``,
    ``frame`` (the way from the crop to original pixels), ``problem`` if the image could not be read
    and is black, and, in training, ``instances`` and ``box_counts``, a
    :class:`wend.loading.box_counts.BoxCounts`. ``instances.gt_scores`` (P,) are the annotations'
    ``score``, in [0, 1]; 1 where they have none.

    Args:
        is_train: random crop and flip, and ``instances``.
        resize, crop: sides in pixels.
        image_format: "RGB" or "BGR", the order of ``image``'s channels.
        num_classes: 1 makes ``gt_classes`` 0, more make them the image's class.
        flip, caches, black_if_bad, view, fill, mirror, max_megapixels, decoder, views: see
            :class:`wend.loading.crop.CropMapper`.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        resize: int = 256,
        crop: int = 224,
        image_format: str = "RGB",
        num_classes: int = 1,
        flip: str = "horizontal",
        caches: Sequence[ImageCache] = (),
        black_if_bad: bool = False,
        view: str = "crop",
        fill: Sequence[int] = (0, 0, 0),
        mirror: bool = False,
        max_megapixels: float = MAX_MEGAPIXELS,
        decoder: str = DECODERS[0],
        views: int = 0,
    ) -> None:
        if image_format not in ("RGB", "BGR"):
            raise InputError(
                f"config entry INPUT.FORMAT: expected RGB or BGR, got {image_format!r}"
            )
        self.is_train = is_train
        self.image_format = image_format
        self.num_classes = num_classes
        self.crop_mapper = CropMapper(
            resize,
            crop,
            train=is_train,
            flip=flip,
            caches=caches,
            black_if_bad=black_if_bad,
            view=view,
            fill=fill,
            mirror=mirror,
            max_megapixels=max_megapixels,
            decoder=decoder,
            views=views,
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """:func:`wend.config.crop_arguments` and ``INPUT.FORMAT``."""
        return {
            "is_train": is_train,
            "image_format": cfg.INPUT.FORMAT,
            "num_classes": number_of_classes(cfg),
            **crop_arguments(cfg),
        }

    def _label(self, dataset_dict: dict[str, Any]) -> int:
        if self.num_classes == 1:
            return 0
        class_id = dataset_dict.get("class_id")
        if class_id is None or not 0 <= class_id < self.num_classes:
            raise InputError(
                f"{dataset_dict['file_name']}: class {class_id}, but the detector has the classes "
                f"0 to {self.num_classes - 1} (WEND.FCOS.NUM_CLASSES, MODEL.ROI_HEADS.NUM_CLASSES)"
            )
        return class_id

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Map a standard dict, which is unchanged; crowds are no boxes."""
        result = {k: v for k, v in dataset_dict.items() if k != "annotations"}
        where = f"{dataset_dict['file_name']}: an annotation"
        annotations = [
            annotation
            for annotation in dataset_dict.get("annotations", [])
            if not is_crowd(annotation.get("iscrowd"), where)
        ]
        boxes = [
            BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
            for annotation in annotations
        ]
        sample = self.crop_mapper(
            dataset_dict["file_name"],
            dataset_dict["width"],
            dataset_dict["height"],
            np.array(boxes, dtype=np.float64).reshape(-1, 4),
            dataset_dict.get("exif", EXIF[0]),
            np.array([_score(annotation, where) for annotation in annotations], dtype=np.float64),
        )
        result |= model_input(sample, self.image_format)
        if sample.problem:
            result["problem"] = sample.problem
        if self.is_train:
            label = self._label(dataset_dict)
            instances = Instances(sample.image.shape[:2])
            instances.gt_boxes = Boxes(torch.from_numpy(sample.boxes))
            instances.gt_scores = torch.from_numpy(sample.scores)
            instances.gt_classes = torch.full((len(sample.boxes),), label, dtype=torch.int64)
            result["instances"] = instances
            result["box_counts"] = sample.counts
        return result
