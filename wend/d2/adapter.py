"""The detectors of :mod:`wend.modeling.detectors` as Detectron2's meta-architectures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from wend.config import localization_loss
from wend.d2.frames import OwnCrops, PredictsOnCrops
from wend.d2.joint_loss import images_of
from wend.errors import InputError
from wend.losses import LocalizationLoss
from wend.modeling.detectors import DETECTORS, Detector


class BatchedInputs(nn.Module):
    """Mixed in before a detector: takes Detectron2's config and containers, and returns them.

    Args:
        own_crops, closer_look: see :class:`wend.d2.frames.PredictsOnCrops`.
        arguments: keyword arguments of the detector.

    Attributes:
        arguments, pixel_mean, localization_loss: of :class:`Detector`, which is behind it.
    """

    arguments: ClassVar[Callable[..., dict[str, Any]]]
    pixel_mean: Tensor
    localization_loss: LocalizationLoss

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

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Losses in training, else detections.

        Args:
            batched_inputs: dicts of Detectron2's or :class:`wend.d2.mapper.WSOLDatasetMapper`.

        Returns:
            A dict of loss terms, or for each image ``{"instances": Instances}`` in pixels of its
            ``height`` and ``width``, best first.
        """
        images = [entry["image"] for entry in batched_inputs]
        if self.training:
            device, progress = self.pixel_mean.device, self.localization_loss.progress
            return super().forward(images, images_of(batched_inputs, device, progress))
        frames = [
            (entry.get("height", image.shape[-2]), entry.get("width", image.shape[-1]))
            for entry, image in zip(batched_inputs, images, strict=True)
        ]
        return [
            {
                "instances": Instances(
                    frame,
                    pred_boxes=Boxes(boxes),
                    scores=scores,
                    pred_classes=scores.new_zeros(len(scores)).long(),
                )
            }
            for frame, (boxes, scores) in zip(
                frames, super().forward(images, frames=frames), strict=True
            )
        ]


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
    META_ARCH_REGISTRY.register(type(name, (PredictsOnCrops, BatchedInputs, detector), doc))


DETECTORS.follow(register)
