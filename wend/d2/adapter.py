"""The detectors of :mod:`wend.modeling.detectors` as Detectron2's meta-architectures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from torch import Tensor

from wend.config import localization_loss
from wend.d2.frames import Batch, OwnCrops, PredictsOnCrops
from wend.d2.joint_loss import images_of
from wend.errors import InputError
from wend.losses import LocalizationLoss
from wend.modeling.detectors import DETECTORS, Detector
from wend.modeling.layers.box_batch import BoxBatch


class BatchedInputs(PredictsOnCrops):
    """Mixed in before a detector: takes Detectron2's config and containers, and returns them.

    Args:
        own_crops, closer_look: see :class:`wend.d2.frames.PredictsOnCrops`.
        arguments: keyword arguments of the detector.

    Attributes:
        arguments, box_batch, pixel_mean, localization_loss: of :class:`Detector`, which is behind
            it.
    """

    arguments: ClassVar[Callable[..., dict[str, Any]]]
    box_batch: Callable[[Sequence[Tensor]], BoxBatch]
    pixel_mean: Tensor
    localization_loss: LocalizationLoss
    cuts_boxes = False

    @configurable
    def __init__(
        self, *, own_crops: OwnCrops | None = None, closer_look: float = 0.0, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.own_crops = own_crops
        self.closer_look = closer_look

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The detector that the config describes, on Detectron2's backbone."""
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        channels = {name: shape.channels for name, shape in shapes.items()}
        strides = {name: shape.stride for name, shape in shapes.items()}
        arguments = cls.arguments(cfg, backbone, channels, strides, localization_loss(cfg))
        return {
            **arguments,
            "size_divisibility": backbone.size_divisibility,
            "own_crops": OwnCrops.of_config(cfg),
            "closer_look": cfg.WEND.CLOSER_LOOK,
        }

    def forward(self, batched_inputs: Batch) -> Any:
        """Losses in training, else predictions in original pixels, best first.

        Args:
            batched_inputs: dicts of Detectron2's or :class:`wend.d2.mapper.WSOLDatasetMapper`.
        """
        if not self.training:
            return super().forward(batched_inputs)
        images = [entry["image"] for entry in batched_inputs]
        device, progress = self.pixel_mean.device, self.localization_loss.progress
        learnt = images_of(batched_inputs, device, progress)
        return super(PredictsOnCrops, self).forward(images, learnt)  # the detector's

    def predicted(self, batched_inputs: Batch) -> BoxBatch:
        """The boxes of a batch, in pixels of its images."""
        return self.box_batch([entry["image"] for entry in batched_inputs])


def register(name: str, detector: type[Detector]) -> None:
    """Make a detector a ``MODEL.META_ARCHITECTURE`` of Detectron2.

    Raises:
        InputError: a detector of Detectron2 has the name.
    """
    doc = {"__doc__": detector.__doc__, "__module__": detector.__module__}
    if name in META_ARCH_REGISTRY:
        if not issubclass(META_ARCH_REGISTRY.get(name), BatchedInputs):
            raise InputError(
                f"detector {name!r} is registered with Detectron2 already; choose another name"
            )
        del META_ARCH_REGISTRY._obj_map[name]  # the same definition, which may have been edited
    META_ARCH_REGISTRY.register(type(name, (BatchedInputs, detector), doc))


DETECTORS.follow(register)
