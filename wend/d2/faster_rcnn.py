"""Binary Faster R-CNN: Detectron2's, with one foreground class and L_unsup on the R-CNN classifier.

The RPN carries no L_unsup (paper, appendix A); η of eq. (4) multiplies its losses too, as they are
part of L_sup.
"""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, cat
from detectron2.modeling import (
    META_ARCH_REGISTRY,
    ROI_HEADS_REGISTRY,
    GeneralizedRCNN,
    build_backbone,
)
from detectron2.modeling.roi_heads import FastRCNNOutputLayers, StandardROIHeads
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage, get_event_storage
from torch import Tensor, nn

from wend.config import check_binary, localization_loss
from wend.d2.features import chosen_features
from wend.d2.frames import OwnCrops
from wend.d2.joint_loss import JointLoss
from wend.d2.rpn import BatchedRPN
from wend.errors import InputError
from wend.losses import (
    OF_IMAGES,
    LocalizationLoss,
    WeighedOutputs,
    image_indices,
    scale_gradient,
    share_of_mean,
)
from wend.modeling.sampling import keep_exact_ratio


class BinaryOutputLayers(FastRCNNOutputLayers):
    """R-CNN's classifier and box regressor; the classifier carries the unsupervised loss.

    Args:
        input_shape: shape of the box head's output.
        localization_loss: L_unsup.
        fast_rcnn: arguments of Detectron2's ``FastRCNNOutputLayers``.
    """

    @configurable
    def __init__(
        self, input_shape: ShapeSpec, *, localization_loss: LocalizationLoss, **fast_rcnn: Any
    ) -> None:
        super().__init__(input_shape, **fast_rcnn)
        check_binary("MODEL.ROI_HEADS.NUM_CLASSES", self.num_classes, localization_loss)
        self.localization_loss = localization_loss

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Detectron2's entries and ``WEND``'s loss."""
        arguments = super().from_config(cfg, input_shape)
        return {**arguments, "localization_loss": localization_loss(cfg)}

    def losses(
        self, predictions: tuple[Tensor, ...], proposals: list[Instances]
    ) -> dict[str, Tensor]:
        """Detectron2's losses as chosen and weighed, and L_unsup on the sampled proposals.

        Args:
            predictions: class scores (N, 2), foreground first, and box deltas (N, 4), of the N
                sampled proposals of all images; more in subclasses.
            proposals: see Detectron2's.
        """
        loss, scores = self.localization_loss, predictions[0]
        classes = cat([sampled.gt_classes for sampled in proposals])  # 0, or 1 for the background
        context = loss.context(
            self.log_odds(scores),
            labels=(classes == 0).long(),
            image_index=image_indices([len(sampled) for sampled in proposals], scores.device),
            sample_boxes=lambda: cat([sampled.proposal_boxes.tensor for sampled in proposals]),
        )
        weights = loss.weights(context)
        weighed = tuple(scale_gradient(each, weights) for each in predictions)
        share = share_of_mean(len(classes), scores.device)
        losses = {name: share * term for name, term in self.supervised(weighed, proposals).items()}
        scale = share * self.loss_weight.get("loss_cls", 1.0) / max(len(classes), 1)
        losses["loss_cls"] = loss.classification(losses["loss_cls"], context, weights, scale)
        unsupervised = loss.unsupervised_of(context, supervised=losses["loss_cls"], shared=[scores])
        return {**losses, **unsupervised}

    def supervised(
        self, predictions: tuple[Tensor, ...], proposals: list[Instances]
    ) -> dict[str, Tensor]:
        """L_sup of the proposals; a subclass has further terms. See :meth:`losses`."""
        return super().losses(predictions, proposals)

    def log_odds(self, scores: Tensor) -> Tensor:
        """Foreground log-odds (N,) of class scores (N, 2)."""
        # a softmax over two scores is a sigmoid of their difference
        return scores[:, 0] if self.use_sigmoid_ce else scores[:, 0] - scores[:, 1]

    def foreground_scores(self, predictions: tuple[Tensor, ...], objectness: Tensor) -> Tensor:
        """The score (N,) of each proposal's box, as :meth:`predict_probs` has it.

        Args:
            predictions: see :meth:`losses`.
            objectness: log-odds (N,) of the proposals, which a subclass may use.
        """
        scores = predictions[0]
        probabilities = scores.sigmoid() if self.use_sigmoid_ce else scores.softmax(-1)
        return probabilities[:, 0]


@ROI_HEADS_REGISTRY.register()
class BinaryROIHeads(StandardROIHeads):
    """Detectron2's ``StandardROIHeads`` with :class:`BinaryOutputLayers` as its predictor.

    Args:
        exact_ratio: the positives are exactly ``positive_fraction`` of a batch's samples, not at
            most that of an image's (``WEND.RCNN.RATIO``).
        heads: arguments of Detectron2's ``StandardROIHeads``.
    """

    @configurable
    def __init__(self, *, exact_ratio: bool = False, **heads: Any) -> None:
        super().__init__(**heads)
        self.exact_ratio = exact_ratio

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Detectron2's entries and ``WEND.RCNN.RATIO``."""
        arguments = super().from_config(cfg, input_shape)
        return {**arguments, "exact_ratio": cfg.WEND.RCNN.RATIO == "exact"}

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        arguments = super()._init_box_head(cfg, input_shape)
        predictor = BinaryOutputLayers(cfg, arguments["box_head"].output_shape)
        return {**arguments, "box_predictor": predictor}

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> list[Instances]:
        """Detectron2's; the sampled proposals know the index of their box, as ``gt_index``."""
        for boxes in targets:
            boxes.gt_index = torch.arange(len(boxes), device=boxes.gt_classes.device)
        if self.exact_ratio:
            with EventStorage():  # Detectron2 logs what it sampled, not what is kept
                sampled = super().label_and_sample_proposals(proposals, targets)
            sampled = self._keep_exact_ratio(sampled)
        else:
            sampled = super().label_and_sample_proposals(proposals, targets)
        matched = [
            image.gt_index.masked_fill(image.gt_classes == self.num_classes, -1)
            if len(boxes)
            else image.gt_classes.new_full((len(image),), -1)
            for image, boxes in zip(sampled, targets, strict=True)
        ]
        self.box_predictor.localization_loss.count_positives(matched, [*map(len, targets)])
        return sampled

    def _keep_exact_ratio(self, sampled: list[Instances]) -> list[Instances]:
        is_positive = [image.gt_classes != self.num_classes for image in sampled]
        masks = keep_exact_ratio(is_positive, self.positive_fraction)
        kept = [image[mask] for image, mask in zip(sampled, masks, strict=True)]
        positives = sum(
            int(each[mask].sum()) for each, mask in zip(is_positive, masks, strict=True)
        )
        negatives = sum(map(len, kept)) - positives
        for name, number in (("num_fg_samples", positives), ("num_bg_samples", negatives)):
            get_event_storage().put_scalar(f"roi_head/{name}", number / max(len(kept), 1))
        return kept


@META_ARCH_REGISTRY.register()
class BinaryRCNN(JointLoss, GeneralizedRCNN):
    """``GeneralizedRCNN`` whose losses are weighted by eq. (4); use it with ``BinaryROIHeads``.

    Args:
        localization_loss: L_unsup and η of eq. (4); its ROI heads use the same.
        own_crops, closer_look: see :class:`wend.d2.frames.PredictsOnCrops`.
        rcnn: arguments of Detectron2's ``GeneralizedRCNN``.
    """

    classes_entry = "MODEL.ROI_HEADS.NUM_CLASSES"

    @configurable
    def __init__(
        self,
        *,
        localization_loss: LocalizationLoss,
        own_crops: OwnCrops | None = None,
        closer_look: float = 0.0,
        **rcnn: Any,
    ) -> None:
        super().__init__(**rcnn)
        self.own_crops = own_crops
        self.closer_look = closer_look
        asked = localization_loss.asks_for_samples or ", ".join(localization_loss.asked)
        if isinstance(self.roi_heads, BinaryROIHeads):
            self.roi_heads.box_predictor.localization_loss = localization_loss
        elif asked:
            raise InputError(
                f"config entry MODEL.ROI_HEADS.NAME: {asked} needs BinaryROIHeads, got "
                f"{type(self.roi_heads).__name__}; set it so or leave that out (WEND.LOSS none)"
            )
        self.localization_loss = localization_loss
        if isinstance(self.proposal_generator, nn.Module):
            self.proposal_generator.register_forward_hook(self._share_proposal_losses)
        head = getattr(self.proposal_generator, "rpn_head", None)
        if isinstance(head, nn.Module):
            head.register_forward_hook(WeighedOutputs(localization_loss.weigh_images))
        elif self.proposal_generator is not None and OF_IMAGES in localization_loss.asked:
            raise InputError(
                f"config entry MODEL.PROPOSAL_GENERATOR.NAME: {OF_IMAGES} needs an RPN with an "
                f"rpn_head, got {type(self.proposal_generator).__name__}; set it to RPN, or "
                f"{OF_IMAGES} to ()"
            )

    def _share_proposal_losses(self, module: nn.Module, arguments: Any, outputs: Any) -> Any:
        """The RPN's losses, which it divides by this process's images, over the mean of images."""
        proposals, losses = outputs
        share = self.localization_loss.images_share
        return proposals, {name: share * term for name, term in losses.items()}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Detectron2's entries and ``WEND``'s loss; InputError for feature maps that do not fit."""
        with torch.device("meta"):  # GeneralizedRCNN builds its own, and would end in a KeyError
            shapes = build_backbone(cfg).output_shape()
        for entry in ("RPN", "ROI_HEADS"):
            names = cfg.MODEL[entry].IN_FEATURES
            chosen_features(cfg, f"MODEL.{entry}.IN_FEATURES", names, shapes)
        if cfg.MODEL.PROPOSAL_GENERATOR.NAME == "RPN":  # Detectron2's, for a whole batch at once
            cfg = cfg.clone()
            cfg.defrost()
            cfg.MODEL.PROPOSAL_GENERATOR.NAME = BatchedRPN.__name__
        return {
            **super().from_config(cfg),
            "localization_loss": localization_loss(cfg),
            "own_crops": OwnCrops.of_config(cfg),
            "closer_look": cfg.WEND.CLOSER_LOOK,
        }
