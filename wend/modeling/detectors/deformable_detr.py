"""Binary Deformable DETR, with L_unsup on the classifier of every decoder layer.

One foreground class, no box refinement and no second stage. Images of different sizes are padded;
the padding is masked and boxes are fractions of each image, as in the official code.

Shape letters: D = layers of the decoder, N = images, Q = queries, P = boxes of an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor

from wend.errors import InputError
from wend.losses import scale_gradient
from wend.modeling.backbones.feature_maps import check_feature_maps
from wend.modeling.detectors.base import DETECTORS, Detector, Size, frame_sides
from wend.modeling.layers.box_matching import centre_to_corners, corners_to_centre
from wend.modeling.layers.box_selection import take
from wend.modeling.layers.deformable_transformer import DeformableDETRHead
from wend.modeling.layers.detr_losses import DETRLosses


@DETECTORS.register()
class DeformableDETR(Detector):
    """Deformable DETR.

    Args:
        head: log-odds and boxes of each decoder layer.
        supervised: L_sup.
        max_detections_per_image: how many of an image's Q boxes are kept, the best.
        detector: arguments of :class:`Detector`.
    """

    def __init__(
        self,
        *,
        head: DeformableDETRHead,
        supervised: DETRLosses,
        max_detections_per_image: int = 100,
        **detector: Any,
    ) -> None:
        super().__init__(**detector)
        self.head = head
        self.supervised = supervised
        self.max_detections_per_image = max_detections_per_image

    @classmethod
    def own_arguments(
        cls, cfg: CfgNode, channels: Mapping[str, int], strides: Mapping[str, int]
    ) -> dict[str, Any]:
        """``WEND.DETR``'s; see :meth:`Detector.arguments`."""
        detr = cfg.WEND.DETR
        check_feature_maps(cfg, "WEND.DETR.IN_FEATURES", detr.IN_FEATURES, strides)
        _check(cfg, strides[detr.IN_FEATURES[-1]])
        head = DeformableDETRHead(
            [channels[name] for name in detr.IN_FEATURES],
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
        supervised = DETRLosses(
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
            "in_features": detr.IN_FEATURES,
            "head": head,
            "supervised": supervised,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
        }

    def predict(self, features: list[Tensor], padding: Tensor | None) -> tuple[Tensor, Tensor]:
        """Foreground log-odds (D, N, Q) and boxes (D, N, Q, 4): centre x, y, width and height in
        fractions of the image.
        """
        return self.head(features, padding)

    def losses(
        self,
        predictions: tuple[Tensor, Tensor],
        boxes: Sequence[Tensor],
        sizes: Sequence[Size],
    ) -> dict[str, Tensor]:
        """Matching losses as chosen and weighed, and L_unsup of all queries, for each layer d.

        Returns:
            See :class:`wend.modeling.layers.detr_losses.DETRLosses`; and ``loss_unsup_d``.
        """
        logits, predicted = predictions
        loss = self.localization_loss
        padded = loss.images.padded
        sides = frame_sides(sizes, padded.boxes).repeat(1, 2)[:, None]
        targets = replace(padded, boxes=corners_to_centre(padded.boxes / sides))
        matches = self.supervised.match(logits, predicted, targets)
        num_boxes = matches.num_boxes
        loss.count_positives(matches.box_index[-1])
        contexts = [
            loss.context(  # weights have no gradient
                layer_logits.detach(),
                labels=layer_labels,
                num_positives=num_boxes,
                num_boxes=num_boxes,
                sample_boxes=partial(_in_pixels, layer_boxes, sizes),
                box_index=layer_index,
            )
            for layer_logits, layer_labels, layer_boxes, layer_index in zip(
                logits, matches.labels, predicted, matches.box_index, strict=True
            )
        ]
        weights = [loss.weights(context) for context in contexts]
        known = [each for each in weights if each is not None]  # all or none
        by_layer = torch.stack(known).view(logits.shape) if known else None
        losses = self.supervised.losses(
            scale_gradient(logits, by_layer), scale_gradient(predicted, by_layer), matches
        )
        scale = self.supervised.class_weight / num_boxes
        for layer, layer_logits in enumerate(logits):
            name, of_layer = f"loss_cls_{layer}", weights[layer]
            context = contexts[layer].changed(logits=layer_logits.flatten())
            losses[name] = loss.classification(losses[name], context, of_layer, scale)
            terms = loss.unsupervised_of(context, supervised=losses[name], shared=[logits])
            losses.update({f"{name}_{layer}": term for name, term in terms.items()})
        return losses

    def best_boxes(
        self, predictions: tuple[Tensor, Tensor], frames: Sequence[Size]
    ) -> tuple[Tensor, Tensor]:
        """The best boxes of the last decoder layer."""
        logits, boxes = (layers[-1] for layers in predictions)
        logits, order = logits.float().sort(dim=1, descending=True, stable=True)
        kept = order[:, : self.max_detections_per_image]
        scores = logits[:, : kept.shape[1]].sigmoid()
        corners = take(centre_to_corners(boxes.float()).clamp(0, 1), kept)
        return corners * frame_sides(frames, corners).repeat(1, 2)[:, None], scores


@torch.no_grad()
def _in_pixels(boxes: Tensor, sizes: Sequence[Size]) -> Tensor:
    """Centre x, y, width and height in fractions (N, Q, 4) -> xyxy in pixels (N·Q, 4)."""
    corners = centre_to_corners(boxes.float())
    return (corners * frame_sides(sizes, corners).repeat(1, 2)[:, None]).flatten(0, 1)


def _check(cfg: CfgNode, stride: int) -> None:
    """Raise InputError unless ``WEND.DETR`` fits the coarsest chosen map and the crop.

    Args:
        stride: pixels per cell of that map.
    """
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
    stride *= 2**further
    if cfg.WEND.CROP < stride:
        raise InputError(
            f"config entry WEND.CROP: the coarsest level of the transformer has one cell for "
            f"{stride} pixels, more than the crop's {cfg.WEND.CROP}; take a larger crop, fewer "
            f"WEND.DETR.NUM_FEATURE_LEVELS or finer WEND.DETR.IN_FEATURES"
        )
