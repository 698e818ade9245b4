"""Binary Faster R-CNN: Detectron2's, with one foreground class and L_unsup on the R-CNN classifier.

The RPN carries no L_unsup (paper, appendix A); η of eq. (4) multiplies its losses too, as they are
part of L_sup.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, ciou_loss, diou_loss
from detectron2.modeling import (
    META_ARCH_REGISTRY,
    ROI_HEADS_REGISTRY,
    GeneralizedRCNN,
    build_backbone,
)
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import FastRCNNOutputLayers, StandardROIHeads
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage, has_event_storage
from fvcore.nn import giou_loss
from torch import Tensor, nn

from wend.config import check_binary, localization_loss
from wend.d2.features import chosen_features
from wend.d2.frames import Batch, OwnCrops
from wend.d2.image_list import image_list
from wend.d2.instances import (
    Truth,
    instances_of,
    proposals_of,
    sampled_instances,
    samples_of,
)
from wend.d2.joint_loss import JointLoss
from wend.d2.log_window import is_line_due
from wend.d2.rpn import BatchedRPN, encoder
from wend.errors import InputError
from wend.losses import (
    OF_IMAGES,
    LocalizationLoss,
    WeighedOutputs,
    check_areas,
    scale_gradient,
    share_of_mean,
)
from wend.modeling.hooks import check_hooks
from wend.modeling.layers.box_batch import BoxBatch
from wend.modeling.layers.box_choice import Choice, borders, chosen
from wend.modeling.rcnn.head_boxes import head_candidates
from wend.modeling.rcnn.head_losses import (
    accuracy_counts,
    class_cross_entropy,
    class_sigmoid_cross_entropy,
    delta_loss,
    overlap_loss,
)
from wend.modeling.rcnn.pooling import pooled, regions_of
from wend.modeling.rcnn.proposals import Proposals
from wend.modeling.rcnn.region_samples import RegionSamples, Sampling, sample_regions

Predictions = tuple[Tensor, ...]  # scores (B, C + 1), box deltas (B, 4 C or 4); more in subclasses
OVERLAP_LOSSES = MappingProxyType({"giou": giou_loss, "diou": diou_loss, "ciou": ciou_loss})
# Detectron2's methods that go image by image, by what stands for them
REPLACED_IN_PREDICTOR = {
    "supervised": ("box_reg_loss", "sigmoid_cross_entropy_loss"),
    "decoded": ("predict_boxes",),
    "foreground_scores": ("predict_probs", "inference"),
}
REPLACED_IN_HEADS = {
    "label_and_sample_proposals": ("_sample_proposals",),
    "head": ("_forward_box",),
}
REPLACED_IN_DETECTOR = {"predicted": ("inference", "_postprocess")}


class BinaryOutputLayers(FastRCNNOutputLayers):
    """R-CNN's classifier and box regressor; the classifier carries the unsupervised loss.

    Shape letters: B = proposals of all images, C = foreground classes.

    Args:
        input_shape: shape of the box head's output.
        localization_loss: L_unsup.
        fast_rcnn: arguments of Detectron2's ``FastRCNNOutputLayers``.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        check_hooks(cls, BinaryOutputLayers, REPLACED_IN_PREDICTOR)

    @configurable
    def __init__(
        self, input_shape: ShapeSpec, *, localization_loss: LocalizationLoss, **fast_rcnn: Any
    ) -> None:
        super().__init__(input_shape, **fast_rcnn)
        check_binary("MODEL.ROI_HEADS.NUM_CLASSES", self.num_classes, localization_loss)
        known = ["smooth_l1", *OVERLAP_LOSSES]
        if self.box_reg_loss_type not in known:
            raise InputError(
                f"config entry MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE: expected one of "
                f"{', '.join(known)}, got {self.box_reg_loss_type!r}"
            )
        self.localization_loss = localization_loss

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Detectron2's entries and ``WEND``'s loss."""
        arguments = super().from_config(cfg, input_shape)
        return {**arguments, "localization_loss": localization_loss(cfg)}

    def forward(self, x: Tensor) -> Predictions:
        """Features of proposals (B, ...) -> predictions, in float32.

        Log-odds are differences of scores, which half precision would round away.
        """
        return tuple(each.float() for each in super().forward(x))

    def losses(
        self, predictions: Predictions, proposals: RegionSamples | Sequence[Instances]
    ) -> dict[str, Tensor]:
        """Detectron2's losses as chosen and weighed, and L_unsup on the sampled proposals.

        Args:
            predictions: of the sampled proposals of all images.
            proposals: the samples; or Detectron2's, of each image.
        """
        samples = samples_of(proposals, self.num_classes)
        loss, scores = self.localization_loss, predictions[0]
        self._log(scores, samples)
        context = loss.context(
            self.log_odds(scores),
            labels=(samples.classes >= 0).long(),
            image_index=samples.image_index,
            sample_boxes=samples.boxes,
            box_index=samples.box_index,
        )
        weights = loss.weights(context)
        weighed = tuple(scale_gradient(each, weights) for each in predictions)
        share = share_of_mean(len(samples), scores.device)
        losses = {name: share * term for name, term in self.supervised(weighed, samples).items()}
        scale = share * self.loss_weight.get("loss_cls", 1.0) / max(len(samples), 1)
        losses["loss_cls"] = loss.classification(losses["loss_cls"], context, weights, scale)
        unsupervised = loss.unsupervised_of(context, supervised=losses["loss_cls"], shared=[scores])
        return {**losses, **unsupervised}

    def supervised(self, predictions: Predictions, samples: RegionSamples) -> dict[str, Tensor]:
        """L_sup of the samples; a subclass has further terms. See :meth:`losses`."""
        scores, deltas = predictions[:2]
        losses = {
            "loss_cls": self._classification(scores, samples.classes),
            "loss_box_reg": self._regression(deltas.unflatten(1, (-1, 4)), samples),
        }
        return {name: self.loss_weight.get(name, 1.0) * term for name, term in losses.items()}

    def _classification(self, scores: Tensor, classes: Tensor) -> Tensor:
        if self.use_fed_loss:  # which classes it has depends on the samples: waits for the device
            return self.sigmoid_cross_entropy_loss(scores, self._labels(classes))
        if self.use_sigmoid_ce:
            return class_sigmoid_cross_entropy(scores[:, :-1], classes)
        return class_cross_entropy(scores, self._labels(classes))

    def _labels(self, classes: Tensor) -> Tensor:
        """Detectron2's classes, with the background as the last one."""
        return torch.where(classes < 0, self.num_classes, classes)

    def _regression(self, deltas: Tensor, samples: RegionSamples) -> Tensor:
        boxes, truth, classes = samples.boxes, samples.truth, samples.classes
        coder = self.box2box_transform
        if self.box_reg_loss_type == "smooth_l1":
            return delta_loss(deltas, boxes, truth, classes, encoder(coder), self.smooth_l1_beta)
        loss = partial(OVERLAP_LOSSES[self.box_reg_loss_type], reduction="none")
        return overlap_loss(deltas, boxes, truth, classes, coder.apply_deltas, loss)

    def _log(self, scores: Tensor, samples: RegionSamples) -> None:
        """Detectron2's numbers of the classifier and its samples, where a line is written."""
        if not (has_event_storage() and is_line_due(get_event_storage())):
            return
        counts = accuracy_counts(scores, self._labels(samples.classes), self.num_classes)
        right, foreground, right_foreground, missed = counts.tolist()
        images, number = len(samples.matched), len(samples)
        numbers = {
            "roi_head/num_fg_samples": foreground / images,
            "roi_head/num_bg_samples": (number - foreground) / images,
        }
        if number:
            numbers["fast_rcnn/cls_accuracy"] = right / number
        if foreground:
            numbers["fast_rcnn/fg_cls_accuracy"] = right_foreground / foreground
            numbers["fast_rcnn/false_negative"] = missed / foreground
        get_event_storage().put_scalars(**numbers)

    def log_odds(self, scores: Tensor) -> Tensor:
        """Foreground log-odds (B,) of class scores (B, 2)."""
        # a softmax over two scores is a sigmoid of their difference
        return scores[:, 0] if self.use_sigmoid_ce else scores[:, 0] - scores[:, 1]

    def decoded(self, predictions: Predictions, boxes: Tensor) -> Tensor:
        """Boxes (B, C, 4) of proposals (B, 4), or (B, 1, 4) where all classes have the same."""
        return self.box2box_transform.apply_deltas(predictions[1], boxes).unflatten(1, (-1, 4))

    def foreground_scores(self, predictions: Predictions, objectness: Tensor) -> Tensor:
        """The score (B, C) of each proposal's box for each class.

        Args:
            predictions: of the proposals.
            objectness: log-odds (B,) of the proposals, which a subclass may use.
        """
        scores = predictions[0]
        probabilities = scores.sigmoid() if self.use_sigmoid_ce else scores.softmax(-1)
        return probabilities[:, :-1]


def level_of(pooler: ROIPooler) -> Callable[[Tensor], Tensor]:
    """Detectron2's ``assign_boxes_to_levels`` of one tensor of boxes (B, 4)."""

    def levels(boxes: Tensor) -> Tensor:
        sides = boxes[:, 2:] - boxes[:, :2]
        size = (sides[:, 0] * sides[:, 1]).sqrt() / pooler.canonical_box_size
        level = torch.floor(pooler.canonical_level + torch.log2(size + 1e-8))
        return level.clamp(min=pooler.min_level, max=pooler.max_level).long() - pooler.min_level

    return levels


@ROI_HEADS_REGISTRY.register()
class BinaryROIHeads(StandardROIHeads):
    """Detectron2's ``StandardROIHeads`` with :class:`BinaryOutputLayers` as its predictor.

    All images of a batch are sampled, pooled and chosen from at once. Proposals and targets may be
    Detectron2's lists of ``Instances`` all the same.

    Args:
        exact_ratio: the positives are exactly ``positive_fraction`` of a batch's samples, not at
            most that of an image's (``WEND.RCNN.RATIO``).
        heads: arguments of Detectron2's ``StandardROIHeads``.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        check_hooks(cls, BinaryROIHeads, REPLACED_IN_HEADS)

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

    @property
    def predicts_boxes_alone(self) -> bool:
        """Whether there are no heads of masks or keypoints."""
        return not (self.mask_on or self.keypoint_on)

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: Proposals | Sequence[Instances],
        targets: Sequence[Instances] | None = None,
    ) -> tuple[Any, dict[str, Tensor]]:
        """Losses in training, else ``Instances`` of each image; see Detectron2's."""
        if not self.training:
            batch = self.predicted(features, proposals_of(proposals))
            instances = instances_of(batch, images.image_sizes)
            return self.forward_with_given_boxes(features, instances), {}
        assert targets is not None
        truth = Truth.of(targets)
        samples = samples_of(self.label_and_sample_proposals(proposals, truth), self.num_classes)
        predictions = self.head(features, samples.regions)
        losses = self.box_predictor.losses(predictions, samples)
        if not self.predicts_boxes_alone:
            sizes = images.image_sizes
            of_images = sampled_instances(samples, truth, sizes, self.num_classes)
            losses |= self._forward_mask(features, of_images)
            losses |= self._forward_keypoint(features, of_images)
        return proposals, losses

    def label_and_sample_proposals(
        self, proposals: Proposals | Sequence[Instances], targets: Sequence[Instances]
    ) -> RegionSamples:
        """Match the proposals of a batch with the boxes to learn, and draw samples."""
        truth, matcher = Truth.of(targets), self.proposal_matcher
        sampling = Sampling(
            thresholds=matcher.thresholds[1:-1],  # Detectron2 puts -inf and inf around them
            labels=matcher.labels,
            number=self.batch_size_per_image,
            fraction=self.positive_fraction,
            exact=self.exact_ratio,
            append_truth=self.proposal_append_gt,
        )
        classes = truth.classes if self.num_classes > 1 else None
        samples = sample_regions(proposals_of(proposals), truth.boxes, sampling, classes)
        self.box_predictor.localization_loss.count_positives(samples.matched)
        return samples

    def head(self, features: dict[str, Tensor], regions: Tensor) -> Predictions:
        """The predictor's output for regions (B, 5): index of the image in the batch, and box."""
        maps = [features[name] for name in self.box_in_features]
        pooler = self.box_pooler
        crops = pooled(maps, [*pooler.level_poolers], regions, level_of(pooler))
        return self.box_predictor(self.box_head(crops))

    def predicted(self, features: dict[str, Tensor], proposals: Proposals) -> BoxBatch:
        """The boxes of a batch, in pixels of its images; some may have no area.

        Args:
            features: feature maps by name.
            proposals: of the RPN.
        """
        predictor = self.box_predictor
        places, regions = regions_of(proposals.boxes, proposals.is_proposal)
        predictions = self.head(features, regions)
        ends = borders(proposals.sizes, proposals.boxes)
        candidates = head_candidates(
            predictor.decoded(predictions, regions[:, 1:]),
            predictor.foreground_scores(predictions, proposals.logits.flatten()[places]),
            places,
            proposals.is_proposal.shape,
            ends,
        )
        return chosen(candidates.boxes, candidates.scores, self.choice, classes=candidates.classes)

    @property
    def choice(self) -> Choice:
        """How boxes are chosen among the candidates.

        Those without an area are dropped later, by ``detector_postprocess`` of Detectron2's and in
        :mod:`wend.d2.frames`.
        """
        predictor = self.box_predictor
        most = predictor.test_topk_per_image
        return Choice(
            above=predictor.test_score_thresh,
            max_iou=predictor.test_nms_thresh,
            most=None if most < 0 else most,  # < 0: all, in Detectron2
        )


@META_ARCH_REGISTRY.register()
class BinaryRCNN(JointLoss, GeneralizedRCNN):
    """``GeneralizedRCNN`` whose losses are weighted by eq. (4); use it with ``BinaryROIHeads``.

    Args:
        localization_loss: L_unsup and η of eq. (4); its ROI heads use the same.
        own_crops, closer_look: see :class:`wend.d2.frames.PredictsOnCrops`.
        rcnn: arguments of Detectron2's ``GeneralizedRCNN``.
    """

    classes_entry = "MODEL.ROI_HEADS.NUM_CLASSES"
    # a config's proposal generator -> the one that makes the same for a whole batch at once
    batched_generators: Mapping[str, str] = MappingProxyType({"RPN": BatchedRPN.__name__})
    # of Detectron2's, which has no types
    backbone: Any
    proposal_generator: Any
    roi_heads: Any
    vis_period: int
    inference: Callable[..., Batch]
    visualize_training: Callable[..., None]

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        check_hooks(cls, BinaryRCNN, REPLACED_IN_DETECTOR)

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

    def preprocess_image(self, batched_inputs: Batch) -> ImageList:
        """Normalized images of a batch, smaller ones padded."""
        return image_list(self, batched_inputs)

    def terms(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """The losses of the proposal generator and of the ROI heads, before η of eq. (4).

        Both get the boxes to learn as :class:`wend.d2.instances.Truth`, which one of Detectron2's
        or a user's own reads as a list of ``Instances``.

        Raises:
            InputError: a box without an area.
        """
        given = [entry["instances"] for entry in batched_inputs]
        ids = [entry.get("image_id") for entry in batched_inputs]
        check_areas([each.gt_boxes.tensor for each in given], ids)
        images = self.preprocess_image(batched_inputs)
        truth = Truth(given, self.localization_loss.images.padded)
        features = self.backbone(images.tensor)
        proposals, losses = self._proposals(batched_inputs, images, features, truth)
        _, of_heads = self.roi_heads(images, features, proposals, truth)
        if self.vis_period > 0 and get_event_storage().iter % self.vis_period == 0:
            self.visualize_training(batched_inputs, proposals)
        return {**of_heads, **losses}

    def predicted(self, batched_inputs: Batch) -> BoxBatch | Batch:
        """The boxes of a batch, in pixels of its images.

        Of ROI heads of Detectron2's or a user's own what they return, a dict for each image.
        """
        heads = self.roi_heads
        if not (isinstance(heads, BinaryROIHeads) and heads.predicts_boxes_alone):
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        proposals, _ = self._proposals(batched_inputs, images, features, None)
        return heads.predicted(features, proposals_of(proposals))

    def _proposals(
        self,
        batched_inputs: Batch,
        images: ImageList,
        features: dict[str, Tensor],
        truth: Truth | None,
    ) -> tuple[Any, dict[str, Tensor]]:
        if self.proposal_generator is not None:
            return self.proposal_generator(images, features, truth)
        return [entry["proposals"].to(self.device) for entry in batched_inputs], {}

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
        batched = cls.batched_generators.get(cfg.MODEL.PROPOSAL_GENERATOR.NAME)
        if batched:
            cfg = cfg.clone()
            cfg.defrost()
            cfg.MODEL.PROPOSAL_GENERATOR.NAME = batched
        return {
            **super().from_config(cfg),
            "localization_loss": localization_loss(cfg),
            "own_crops": OwnCrops.of_config(cfg),
            "closer_look": cfg.WEND.CLOSER_LOOK,
        }
