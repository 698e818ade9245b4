"""Binary Deformable DETR, with L_unsup on the classifier of every decoder layer.

Images of different sizes are padded; the padding is masked and the boxes are fractions of each
image, as in the official code.

Shape letters: D = layers of the decoder, N = images, Q = queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from wend.config import localization_loss
from wend.d2.features import chosen_features
from wend.errors import InputError
from wend.losses import LocalizationLoss
from wend.modeling.layers.box_matching import centre_to_corners, corners_to_centre
from wend.modeling.layers.deformable_transformer import DeformableDETRHead
from wend.modeling.layers.detr_losses import DETRLosses


@META_ARCH_REGISTRY.register()
class DeformableDETR(nn.Module):
    """Deformable DETR with one foreground class, no box refinement and no second stage.

    Args:
        backbone: feature maps.
        in_features: names of the maps that the head sees, finest first.
        head: log-odds and boxes of each decoder layer.
        losses: L_sup.
        localization_loss: L_unsup and η of eq. (4).
        pixel_mean, pixel_std: normalization of the image, a number a channel.
        max_detections_per_image: boxes put out, the best; at most Q come.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        in_features: Sequence[str],
        head: DeformableDETRHead,
        losses: DETRLosses,
        localization_loss: LocalizationLoss,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        max_detections_per_image: int = 100,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.in_features = list(in_features)
        self.head = head
        self.supervised = losses
        self.localization_loss = localization_loss
        self.max_detections_per_image = max_detections_per_image
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """``WEND.DETR``'s detector."""
        detr = cfg.WEND.DETR
        backbone = build_backbone(cfg)
        shapes = chosen_features(
            cfg, "WEND.DETR.IN_FEATURES", detr.IN_FEATURES, backbone.output_shape()
        )
        _check(cfg, shapes)
        head = DeformableDETRHead(
            [shape.channels for shape in shapes],
            width=detr.HIDDEN_DIM,
            queries=detr.NUM_QUERIES,
            levels=detr.NUM_FEATURE_LEVELS,
            heads=detr.NUM_HEADS,
            points=detr.NUM_POINTS,
            encoder_layers=detr.ENC_LAYERS,
            decoder_layers=detr.DEC_LAYERS,
            feed_forward=detr.FFN_DIM,
            dropout=detr.DROPOUT,
            prior_prob=detr.PRIOR_PROB,
        )
        losses = DETRLosses(
            class_cost=detr.CLASS_COST,
            l1_cost=detr.L1_COST,
            giou_cost=detr.GIOU_COST,
            class_weight=detr.CLASS_WEIGHT,
            l1_weight=detr.L1_WEIGHT,
            giou_weight=detr.GIOU_WEIGHT,
            alpha=detr.FOCAL_LOSS_ALPHA,
            gamma=detr.FOCAL_LOSS_GAMMA,
        )
        return {
            "backbone": backbone,
            "in_features": detr.IN_FEATURES,
            "head": head,
            "losses": losses,
            "localization_loss": localization_loss(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
        }

    @property
    def device(self) -> torch.device:
        """Where the images go."""
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Losses in training, else detections.

        Args:
            batched_inputs: of :class:`wend.d2.mapper.WSOLDatasetMapper`.

        Returns:
            A dict of loss terms, or for each image ``{"instances": Instances}`` in pixels of its
            ``height`` and ``width``, best first.
        """
        normalized = [
            (one["image"].to(self.device) - self.pixel_mean) / self.pixel_std
            for one in batched_inputs
        ]
        images = ImageList.from_tensors(normalized, self.backbone.size_divisibility)
        features = self.backbone(images.tensor)
        maps = [features[name] for name in self.in_features]
        logits, boxes = self.head(maps, padding_mask(images))
        if self.training:
            instances = [one["instances"] for one in batched_inputs]
            return self.losses(logits, boxes, [one.to(self.device) for one in instances])
        sizes = [
            (one.get("height", height), one.get("width", width))
            for one, (height, width) in zip(batched_inputs, images.image_sizes, strict=True)
        ]
        return self.detections(logits[-1], boxes[-1], sizes)

    def losses(
        self, logits: Tensor, boxes: Tensor, instances: Sequence[Instances]
    ) -> dict[str, Tensor]:
        """Eq. (4): matching losses times η, and L_unsup of all queries, for each decoder layer.

        Args:
            logits: foreground log-odds (D, N, Q).
            boxes: (D, N, Q, 4), centre x, y, width and height in fractions of the image.
            instances: the boxes to learn of each image.

        Returns:
            See :class:`wend.modeling.layers.detr_losses.DETRLosses`; and ``loss_unsup_d``.
        """
        targets = [
            corners_to_centre(one.gt_boxes.tensor / one.gt_boxes.tensor.new_tensor((w, h, w, h)))
            for one in instances
            for h, w in [one.image_size]
        ]
        losses = self.supervised(logits, boxes, targets)
        for layer, one in enumerate(logits):
            terms = self.localization_loss.unsupervised(one)
            losses.update({f"{name}_{layer}": term for name, term in terms.items()})
        return self.localization_loss.joint(losses)

    def detections(
        self, logits: Tensor, boxes: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> list[dict[str, Instances]]:
        """The best boxes of each image.

        Args:
            logits: foreground log-odds (N, Q).
            boxes: (N, Q, 4), see :meth:`losses`.
            sizes: height and width of each image's frame in pixels.
        """
        logits, order = logits.float().sort(dim=1, descending=True, stable=True)
        kept = order[:, : self.max_detections_per_image]
        corners = centre_to_corners(boxes.float()).clamp(0, 1)
        outputs = []
        for image, (height, width) in enumerate(sizes):
            found = Instances((height, width))
            size = corners.new_tensor((width, height, width, height))
            found.pred_boxes = Boxes(corners[image, kept[image]] * size)
            found.scores = logits[image, : kept.shape[1]].sigmoid()
            found.pred_classes = torch.zeros_like(kept[image])
            outputs.append({"instances": found})
        return outputs


def padding_mask(images: ImageList) -> Tensor | None:
    """Pixels (N, H, W) of a batch that belong to no image; None where there are none."""
    height, width = images.tensor.shape[-2:]
    if all(tuple(size) == (height, width) for size in images.image_sizes):
        return None
    sizes = images.tensor.new_tensor(images.image_sizes)
    y = torch.arange(height, device=sizes.device)[:, None] >= sizes[:, 0, None, None]
    x = torch.arange(width, device=sizes.device) >= sizes[:, 1, None, None]
    return y | x


def _check(cfg: CfgNode, shapes: list[ShapeSpec]) -> None:
    """Raise InputError unless ``WEND.DETR`` fits the chosen maps and the crop."""
    detr = cfg.WEND.DETR
    further = detr.NUM_FEATURE_LEVELS - len(detr.IN_FEATURES)
    if further < 0:
        raise InputError(
            f"config entry WEND.DETR.NUM_FEATURE_LEVELS: expected at least the "
            f"{len(detr.IN_FEATURES)} of WEND.DETR.IN_FEATURES, got {detr.NUM_FEATURE_LEVELS}"
        )
    if detr.HIDDEN_DIM % detr.NUM_HEADS:
        raise InputError(
            f"config entry WEND.DETR.HIDDEN_DIM: expected a multiple of WEND.DETR.NUM_HEADS "
            f"({detr.NUM_HEADS}), got {detr.HIDDEN_DIM}"
        )
    stride = shapes[-1].stride * 2**further
    if cfg.WEND.CROP < stride:
        raise InputError(
            f"config entry WEND.CROP: the coarsest level of the transformer has one cell for "
            f"{stride} pixels, more than the crop's {cfg.WEND.CROP}; take a larger crop, fewer "
            f"WEND.DETR.NUM_FEATURE_LEVELS or finer WEND.DETR.IN_FEATURES"
        )
