"""SCR, single-class regression: one box from the pooled feature map, the baseline of WSOL.

Head and loss are PSOL's (tzzcl/PSOL ddecfce, ``models/models.py`` 47-52; ``PSOL_training.py`` 144,
162, 202), which C2AM's repository keeps (CVI-SZU/CCAM e6a46c9, ``WSOL/PSOL/training_CUB.py`` 111,
138, 176). Boxes are the top-left corner, width and height in fractions of the crop
(``loader/imagenet_loader.py`` 164-185).

Shape letters: N = images, C = channels, P = pseudo boxes of an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from wend.errors import InputError
from wend.losses import CLS, NO_LOSS, OF_IMAGES, OF_SAMPLES, share_of_mean
from wend.losses.padded_boxes import PaddedBoxes
from wend.modeling.backbones.feature_maps import check_feature_maps
from wend.modeling.detectors.base import DETECTORS, Detector, Size, frame_sides

SMOOTH_L1_BETA = 0.1  # of the crop; with PyTorch's 1 smooth L1 of fractions would be L2, halved


@DETECTORS.register()
class SCR(Detector):
    """One box of score 1 for each image.

    Args:
        head: x, y, w, h from the one feature map.
        loss: "l2", "l1" or "smooth_l1".
        loss_weight: weight of the loss; 50 in PSOL.
        detector: arguments of :class:`Detector`, with one feature map; L_unsup must be "none".

    Raises:
        InputError: there is an L_unsup, another L_cls or a weight of samples, and no classifier
            that it could act on.
    """

    def __init__(
        self, *, head: SCRHead, loss: str = "l2", loss_weight: float = 50.0, **detector: Any
    ) -> None:
        super().__init__(**detector)
        name, asked = self.localization_loss.name, self.localization_loss.asked
        if name != NO_LOSS:
            raise InputError(
                f"config entry WEND.LOSS: expected none with SCR, which has no classifier that "
                f"{name} could act on, got {name!r}; set WEND.LOSS none"
            )
        if CLS in asked:
            raise InputError(
                f"config entry {CLS}: expected own with SCR, which has no classifier, got "
                f"{asked[CLS]!r}; set it so"
            )
        if OF_SAMPLES in asked:
            raise InputError(
                f"config entry {OF_SAMPLES}: expected none with SCR, which classifies no samples, "
                f"got {asked[OF_SAMPLES]}; set it to (), or weigh whole images: {OF_IMAGES}"
            )
        self.head = head
        self.loss = loss
        self.loss_weight = loss_weight

    @classmethod
    def own_arguments(
        cls, cfg: CfgNode, channels: Mapping[str, int], strides: Mapping[str, int]
    ) -> dict[str, Any]:
        """``WEND.SCR``'s; see :meth:`Detector.arguments`."""
        scr = cfg.WEND.SCR
        check_feature_maps(cfg, "WEND.SCR.IN_FEATURE", [scr.IN_FEATURE], strides)
        return {
            "in_features": [scr.IN_FEATURE],
            "head": SCRHead(channels[scr.IN_FEATURE], scr.HIDDEN_DIM),
            "loss": scr.LOSS,
            "loss_weight": scr.LOSS_WEIGHT,
        }

    def predict(self, features: list[Tensor], padding: Tensor | None) -> Tensor:
        """x, y, w, h in fractions (N, 4)."""
        return self.head(features)

    def losses(
        self, predictions: Tensor, boxes: Sequence[Tensor], sizes: Sequence[Size]
    ) -> dict[str, Tensor]:
        """The one supervised term, ``loss_box_reg``."""
        padded = self.localization_loss.images.padded
        targets = scr_targets(padded, sizes)
        # the one output has one target: a single positive, whichever box is the largest
        has_box = padded.is_box.any(1, keepdim=True)
        self.localization_loss.count_positives(has_box.long() - 1)
        weighed = self.localization_loss.weigh_images(predictions)
        known = (~targets.isnan()).sum()  # which scr_loss is a mean over
        share = share_of_mean(known, targets.device)
        return {"loss_box_reg": share * self.loss_weight * scr_loss(weighed, targets, self.loss)}

    def best_boxes(self, predictions: Tensor, frames: Sequence[Size]) -> tuple[Tensor, Tensor]:
        """One box (N, 1, 4) and its score 1 (N, 1) for each image."""
        boxes = scr_boxes(predictions, frames)[:, None]
        return boxes, boxes.new_ones(boxes.shape[:2])


class SCRHead(nn.Module):
    """Average over all cells, Linear, ReLU, Linear, sigmoid.

    Args:
        in_channels: C of the feature map.
        hidden_dim: outputs of the first linear layer.
    """

    def __init__(self, in_channels: int, hidden_dim: int = 512) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_channels, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, 4)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """One feature map (N, C, H, W) -> x, y, w, h in fractions of the crop (N, 4), float32."""
        (feature,) = features
        pooled = feature.mean((2, 3))
        return self.fc2(self.fc1(pooled).relu()).float().sigmoid()


def scr_targets(boxes: PaddedBoxes, sizes: Sequence[Size]) -> Tensor:
    """The head's targets: the largest pseudo box of each image.

    PSOL and C2AM have one box per image; where there are several, the largest (the first of equals)
    covers most of what they mark.

    Args:
        boxes: boxes of each image, xyxy in pixels of the crop.
        sizes: height and width of each crop.

    Returns:
        x, y, w, h in fractions of the crop (N, 4); NaN for an image without a box that has an area.
    """
    padded = F.pad(boxes.boxes, (0, 0, 0, 1))  # (N, P + 1, 4)
    extents = padded[..., 2:] - padded[..., :2]
    largest = extents.prod(2).argmax(1)[:, None, None].expand(-1, -1, 4)
    chosen = torch.cat([padded[..., :2], extents], 2).gather(1, largest)[:, 0]
    has_box = chosen[:, 2:].prod(1, keepdim=True) > 0
    return torch.where(has_box, chosen / frame_sides(sizes, chosen).repeat(1, 2), float("nan"))


def scr_loss(predicted: Tensor, targets: Tensor, kind: str = "l2") -> Tensor:
    """Mean distance over the coordinates of the images that have a box.

    Args:
        predicted: output of :class:`SCRHead` (N, 4).
        targets: targets of :func:`scr_targets` (N, 4).
        kind: "l2" (mean squared error, PSOL's), "l1" or "smooth_l1".

    Returns:
        The loss; 0 with a gradient where no image has a box.

    Raises:
        ValueError: unknown ``kind``.
    """
    targets = targets.to(predicted.dtype)
    known = ~targets.isnan()
    targets = torch.where(known, targets, predicted.detach())  # their difference is 0
    if kind == "l2":
        distance = F.mse_loss(predicted, targets, reduction="sum")
    elif kind == "l1":
        distance = F.l1_loss(predicted, targets, reduction="sum")
    elif kind == "smooth_l1":
        distance = F.smooth_l1_loss(predicted, targets, reduction="sum", beta=SMOOTH_L1_BETA)
    else:
        raise ValueError(f"kind must be l2, l1 or smooth_l1, got {kind!r}")
    return distance / known.sum().clamp(min=1)


def scr_boxes(predicted: Tensor, sizes: Sequence[Size]) -> Tensor:
    """x, y, w, h in fractions -> boxes in pixels of the crop.

    They are not clipped and may reach out of the crop, to its right and below it, as PSOL and C2AM
    evaluate them (``PSOL_inference.py`` 157-160; ``WSOL/PSOL/inference_CUB.py`` 158-161).

    Args:
        predicted: (N, 4) in [0, 1].
        sizes: height and width of each crop, or of all.

    Returns:
        (N, 4), xyxy.
    """
    size = frame_sides(sizes, predicted)
    corner = predicted[:, :2] * size
    return torch.cat([corner, corner + predicted[:, 2:] * size], 1)
