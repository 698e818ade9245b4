"""Class activation maps: the cells of the last map that speak for a class.

Zhou et al., *Learning Deep Features for Discriminative Localization*, CVPR 2016: of a classifier
whose head is global average pooling and one linear layer, the map of a class is its weights times
the last feature map. The box is that of the largest region above a share of the map's maximum.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from wend.errors import InputError
from wend.localize import image_run
from wend.localize.boxes import Refine, boxes_of_map, share_of_magnitude
from wend.localize.found import Boxes
from wend.localize.method_options import cam
from wend.localize.network_pass import NetworkPass
from wend.parts import Parts
from wend.structures.data_set import DataSet

CLASSES = ("predicted", "label")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CamOptions:
    """The options of a run.

    Attributes:
        of: one of :data:`CLASSES`: whose map an image has.
        parameters: as of :func:`wend.localize.method_options.cam`.
        batch_size: images at a time.
        number: boxes per image at most, at least 1.
    """

    of: str = CLASSES[0]
    parameters: dict[str, Any] = field(default_factory=cam)
    batch_size: int = 32
    number: int = 1


def check_labels(data_set: DataSet, classes: int) -> None:
    """Raise InputError unless all images have a class that a classifier of so many knows."""
    ids = data_set.class_ids
    unknown = np.flatnonzero(ids < 0)
    if len(unknown):
        raise InputError(
            f"--cam-class label: {len(unknown)} images have no class, such as "
            f"{data_set.keys[unknown[0]]}; use --cam-class predicted"
        )
    named = int(ids.max()) + 1
    if named > classes:
        raise InputError(
            f"--cam-class label: the data set has {named} classes, the classifier {classes}; it "
            f"has to be one of the data set's classes, in their order. Use --cam-class predicted"
        )
    if named < classes:
        logger.warning(
            "--cam-class label: the highest class of an image is %d, and the classifier has %d "
            "classes; it has to be one of the data set's classes, in their order",
            *(named - 1, classes),
        )


def maps_of_classes(maps: Tensor, bias: Tensor, labels: Tensor | None) -> np.ndarray:
    """Each image's map (N, h, w) of one class.

    Args:
        maps: (N, K, h, w) of all classes.
        bias: (K,) of the linear layer.
        labels: (N,) the classes; None for those predicted.
    """
    if labels is None:
        labels = (maps.mean((2, 3)) + bias.to(maps.device)).argmax(1)
    return maps[torch.arange(len(maps)), labels.to(maps.device)].float().cpu().numpy()


def boxes_of_cam(
    activation: np.ndarray,
    side: int,
    number: int = 1,
    *,
    threshold: float = 0.2,
    from_minimum: bool = False,
    refine: Refine | None = None,
) -> Boxes:
    """The boxes of a class activation map (h, w), resized to ``side``² first.

    Args:
        refine: as of :func:`wend.localize.boxes.boxes_of_map`.

    Returns:
        The score is the first region's share of the map's whole magnitude.
    """
    values = cv2.resize(activation, (side, side), interpolation=cv2.INTER_LINEAR)
    if from_minimum:
        values = values - values.min()
    least = max(0.0, threshold * values.max())
    return boxes_of_map(values, least, number, share_of_magnitude, refine)


def localize(network: NetworkPass, bias: Tensor, parts: Parts, options: CamOptions) -> str:
    """Find the boxes of this process's share of the images; ``parts`` notes them.

    Args:
        network: whose maps are of all classes (:func:`wend.localize.classifiers.build_classifier`).
        bias: of its linear layer.

    Raises:
        InputError: an image cannot be read (unless skipped), or maps are not finite.
    """
    class_ids = network.data_set.class_ids

    def boxes_of(
        images: Sequence[int], maps: Tensor, refine: Sequence[Refine | None]
    ) -> list[Boxes]:
        labels = None
        if options.of == "label":
            labels = torch.from_numpy(class_ids[np.asarray(images)].astype(np.int64))
        return [
            boxes_of_cam(values, network.side, options.number, **options.parameters, refine=each)
            for values, each in zip(maps_of_classes(maps, bias, labels), refine, strict=True)
        ]

    return image_run.localize(network, parts, "CAM", options.batch_size, boxes_of)
