"""The ROI heads of a whole batch against Detectron2's own, part by part, and parts of others."""

import pytest
import torch
from engine_runs import CROP, build, d2_config, d2_inputs, random_crops, untrained

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.layers import ShapeSpec
from detectron2.modeling import PROPOSAL_GENERATOR_REGISTRY, ROI_HEADS_REGISTRY
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from wend.d2.faster_rcnn import BinaryOutputLayers, BinaryROIHeads
from wend.d2.instances import Truth, instances_of, proposals_of
from wend.losses import LocalizationLoss

pytestmark = pytest.mark.detectron2
SIZES = [(60, 80), (80, 50), (70, 70)]
PLAIN = {"WEND.LOSS": "none", "WEND.ETA": "1.0"}


def predictor_of(classes, cls=BinaryOutputLayers, **arguments):
    torch.manual_seed(0)
    shape = ShapeSpec(channels=8, height=1, width=1)
    if cls is BinaryOutputLayers:
        arguments["localization_loss"] = LocalizationLoss("none")
    return cls(
        shape,
        box2box_transform=Box2BoxTransform((10.0, 10.0, 5.0, 5.0)),
        num_classes=classes,
        **arguments,
    )


def drawn_boxes(count, generator, side=50):
    corner = torch.rand(count, 2, generator=generator) * 30
    return torch.cat([corner, corner + 2 + torch.rand(count, 2, generator=generator) * side], 1)


def sampled(classes, counts=(12, 0, 20), without_truth=2):
    """Instances as Detectron2's heads sample them; one image has no box to learn."""
    generator = torch.Generator().manual_seed(1)
    images = []
    for index, (size, count) in enumerate(zip(SIZES, counts, strict=True)):
        image = Instances(size, proposal_boxes=Boxes(drawn_boxes(count, generator)))
        if index == without_truth:
            image.gt_classes = torch.full((count,), classes)
        else:
            image.gt_classes = torch.randint(0, classes + 1, (count,), generator=generator)
            image.gt_boxes = Boxes(drawn_boxes(count, generator))
        images.append(image)
    return images


def predictions_of(count, classes, regressors):
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(count, classes + 1, generator=generator)
    deltas = torch.randn(count, 4 * regressors, generator=generator)
    return scores.requires_grad_(), deltas.requires_grad_()


@pytest.mark.parametrize("kind", ["smooth_l1", "giou", "diou", "ciou"])
@pytest.mark.parametrize(
    ("classes", "agnostic", "sigmoid", "beta"),
    [(1, False, False, 0.0), (1, False, True, 0.5), (5, False, False, 0.0), (5, True, True, 0.5)],
)
def test_losses_and_gradients_are_detectron2s(kind, classes, agnostic, sigmoid, beta):
    predictor = predictor_of(
        classes,
        cls_agnostic_bbox_reg=agnostic,
        use_sigmoid_ce=sigmoid,
        box_reg_loss_type=kind,
        smooth_l1_beta=beta,
        loss_weight={"loss_box_reg": 2.0},
    )
    samples = sampled(classes)
    predictions = predictions_of(32, classes, 1 if agnostic else classes)
    with EventStorage():
        ours = predictor.losses(predictions, samples)
        theirs = FastRCNNOutputLayers.losses(predictor, predictions, samples)
    assert ours.keys() == theirs.keys()
    for name, loss in theirs.items():
        assert loss > 0
        torch.testing.assert_close(ours[name], loss, rtol=1e-6, atol=0)
        gradients = [
            torch.autograd.grad(each[name], predictions, allow_unused=True, retain_graph=True)
            for each in (ours, theirs)
        ]
        for own, stock in zip(*gradients, strict=True):
            if stock is None:
                assert own is None or not own.any()
            else:
                torch.testing.assert_close(own, stock, rtol=1e-5, atol=1e-8)


class InCentimetres(Box2BoxTransform):
    """A user's transform, with deltas of its own."""

    def get_deltas(self, src_boxes, target_boxes):
        return super().get_deltas(src_boxes, target_boxes) / 2.54


def test_a_transform_of_the_users_is_asked_for_its_deltas():
    predictor = predictor_of(1)
    predictor.box2box_transform = InCentimetres((10.0, 10.0, 5.0, 5.0))
    samples, predictions = sampled(1), predictions_of(32, 1, 1)
    with EventStorage():
        ours = predictor.losses(predictions, samples)
        theirs = FastRCNNOutputLayers.losses(predictor, predictions, samples)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["smooth_l1", "giou"])
def test_losses_without_a_sample_are_0(kind):
    predictor = predictor_of(1, box_reg_loss_type=kind)
    samples = sampled(1, counts=(0, 0, 0))
    losses = predictor.losses(predictions_of(0, 1, 1), samples)
    assert {name: loss.item() for name, loss in losses.items()} == {
        "loss_cls": 0,
        "loss_box_reg": 0,
    }


def test_an_unknown_loss_of_boxes_is_an_error_that_names_the_entry():
    from wend.errors import InputError

    with pytest.raises(InputError, match="BBOX_REG_LOSS_TYPE: expected one of smooth_l1, giou"):
        predictor_of(1, box_reg_loss_type="l3")


def test_the_numbers_that_detectron2_logs_are_its_own():
    predictor, samples = predictor_of(5), sampled(5)
    predictions = predictions_of(32, 5, 5)
    logged = []
    for losses in (predictor.losses, lambda *a: FastRCNNOutputLayers.losses(predictor, *a)):
        with EventStorage(19) as storage:
            losses(predictions, samples)
        logged.append({name: value for name, (value, _) in storage.latest().items()})
    ours, theirs = logged
    foreground = sum((image.gt_classes < 5).sum().item() for image in samples)
    assert ours["roi_head/num_fg_samples"] == pytest.approx(foreground / 3)
    assert ours["roi_head/num_bg_samples"] == pytest.approx((32 - foreground) / 3)
    assert theirs.keys() == {
        f"fast_rcnn/{name}" for name in ("cls_accuracy", "fg_cls_accuracy", "false_negative")
    }
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs)


def test_they_are_asked_for_where_a_line_is_written_and_not_without_a_storage():
    predictor, samples = predictor_of(1), sampled(1)
    seen = []
    for iteration in (0, 1, 18, 19, 39):
        with EventStorage(iteration) as storage:
            predictor.losses(predictions_of(32, 1, 1), samples)
        seen.append("roi_head/num_fg_samples" in storage.histories())
    assert seen == [False, False, False, True, True]
    predictor.losses(predictions_of(32, 1, 1), samples)


# ---- inference ----


def heads_of(predictor, **choice):
    """ROI heads of a predictor whose output is given."""
    for name, value in choice.items():
        setattr(predictor, name, value)
    heads = BinaryROIHeads.__new__(BinaryROIHeads)
    torch.nn.Module.__init__(heads)
    heads.box_predictor = predictor
    return heads


def proposed(counts=(40, 0, 25)):
    generator = torch.Generator().manual_seed(3)
    images = []
    for size, count in zip(SIZES, counts, strict=True):
        image = Instances(size, proposal_boxes=Boxes(drawn_boxes(count, generator)))
        image.objectness_logits = torch.randn(count, generator=generator)
        images.append(image)
    return images


@pytest.mark.parametrize(
    ("classes", "agnostic", "sigmoid"),
    [(1, False, False), (1, False, True), (6, False, False), (6, True, True)],
)
@pytest.mark.parametrize(
    ("threshold", "max_iou", "most"), [(0.0, 0.5, 100), (0.2, 0.3, 7), (0.05, 0.5, -1)]
)
def test_boxes_are_detectron2s(classes, agnostic, sigmoid, threshold, max_iou, most):
    predictor = predictor_of(classes, cls_agnostic_bbox_reg=agnostic, use_sigmoid_ce=sigmoid)
    choice = {
        "test_score_thresh": threshold,
        "test_nms_thresh": max_iou,
        "test_topk_per_image": most,
    }
    heads, images = heads_of(predictor, **choice), proposed()
    with torch.no_grad():
        scores, deltas = predictions_of(65, classes, 1 if agnostic else classes)
        scores = scores.round()  # ties
        deltas = deltas * 3  # some boxes have no area once they are cut
        scores[4], deltas[9] = torch.nan, torch.inf
    heads.head = lambda features, regions: (scores, deltas)
    with torch.no_grad():
        batch = heads.predicted({}, proposals_of(images))
        stock, _ = predictor.inference((scores, deltas), images)
    ours = instances_of(batch, SIZES)
    assert sum(map(len, stock)) > 10
    for own, theirs, size in zip(ours, stock, SIZES, strict=True):
        assert torch.equal(own.pred_boxes.tensor, theirs.pred_boxes.tensor)
        assert torch.equal(own.scores, theirs.scores)
        assert torch.equal(own.pred_classes, theirs.pred_classes)
        assert len(detector_postprocess(own, *size)) == len(detector_postprocess(theirs, *size))


# ---- the whole detector, and parts of others ----


def stock_of(model, changes):
    """Detectron2's own detector with the weights of ours."""
    names = {
        "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
        "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    }
    stock = build("detectron2", d2_config("rcnn", {**changes, **names}))
    stock.load_state_dict(model.state_dict(), strict=True)
    return stock.train(model.training)


LEVELS = {
    "MODEL.RPN.IN_FEATURES": "('stage2', 'stage3')",
    "MODEL.ROI_HEADS.IN_FEATURES": "('stage2', 'stage3')",
    "WEND.CROP_IN_MODEL": "False",
}


def of_different_sizes():
    crops = random_crops(4, (1, 2, 0, 30))
    cut = [(56, 56), (40, 56), (56, 33), (48, 48)]
    return [
        (image[:, :height, :width], boxes.clamp(max=min(height, width)))
        for (image, boxes), (height, width) in zip(crops, cut, strict=True)
    ]


@pytest.mark.parametrize("classes", ["1", "4"])
def test_images_of_different_sizes_levels_and_classes_are_detected_alike(classes):
    changes = {**PLAIN, **LEVELS, "MODEL.ROI_HEADS.NUM_CLASSES": classes}
    _, model = untrained("detectron2", "rcnn", changes)
    stock = stock_of(model, changes)
    batch = d2_inputs(of_different_sizes())
    for entry in batch[:2]:  # given larger than the image that the detector sees
        entry["height"], entry["width"] = 2 * entry["height"], 3 * entry["width"]
    with torch.no_grad():
        outputs, theirs = model(batch), stock(batch)
    assert sum(len(output["instances"]) for output in theirs) > 20
    for output, their in zip(outputs, theirs, strict=True):
        own, other = output["instances"], their["instances"]
        assert own.image_size == other.image_size
        torch.testing.assert_close(
            own.pred_boxes.tensor, other.pred_boxes.tensor, rtol=1e-6, atol=1e-4
        )
        torch.testing.assert_close(own.scores, other.scores, rtol=1e-6, atol=1e-6)
        assert torch.equal(own.pred_classes, other.pred_classes)


@pytest.mark.parametrize("append", ["True", "False"])
def test_images_of_different_sizes_levels_and_classes_are_learned_from_alike(append):
    changes = {
        **PLAIN,
        **LEVELS,
        "MODEL.ROI_HEADS.NUM_CLASSES": "4",
        "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT": append,
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "5000",
        "MODEL.RPN.BATCH_SIZE_PER_IMAGE": "5000",
    }
    model = build("detectron2", d2_config("rcnn", changes))
    batch = d2_inputs(of_different_sizes())
    for entry in batch:
        entry["instances"].gt_classes = torch.arange(len(entry["instances"])) % 4
    terms = []
    for detector in (model, stock_of(model, changes)):
        with EventStorage():
            terms.append({name: loss.item() for name, loss in detector(batch).items()})
    assert terms[0] == pytest.approx(terms[1], rel=1e-6)


@PROPOSAL_GENERATOR_REGISTRY.register()
class CornerProposals(torch.nn.Module):
    """A generator as a user's of Detectron2: lists of instances, here the corners of a grid."""

    def __init__(self, cfg, shapes):
        super().__init__()

    def forward(self, images, features, gt_instances=None):
        assert len(images) == len(images.image_sizes)
        assert gt_instances is None or [len(each) for each in gt_instances] == [1, 2, 0, 30]
        corner = torch.arange(0, 30, 10.0)
        boxes = torch.cat([torch.cartesian_prod(corner, corner)] * 2, 1)
        boxes[:, 2:] += 20
        proposals = [
            Instances(size, proposal_boxes=Boxes(boxes[: 5 + i]))
            for i, size in enumerate(images.image_sizes)
        ]
        for each in proposals:
            each.objectness_logits = torch.zeros(len(each))
        return proposals, {}


@ROI_HEADS_REGISTRY.register()
class OwnSamples(BinaryROIHeads):
    """Heads of a user's, which sample as Detectron2's do: lists of instances."""

    def label_and_sample_proposals(self, proposals, targets):
        samples = []
        for own, truth in zip(targets, targets, strict=True):
            image = Instances(own.image_size, proposal_boxes=truth.gt_boxes)
            image.gt_boxes, image.gt_classes = truth.gt_boxes, truth.gt_classes
            samples.append(image)
        return samples


OTHERS = {
    "a user's generator": {"MODEL.PROPOSAL_GENERATOR.NAME": "CornerProposals"},
    "Detectron2's RPN": {"MODEL.PROPOSAL_GENERATOR.NAME": "RPN"},
    "Detectron2's heads": {"MODEL.ROI_HEADS.NAME": "StandardROIHeads", **PLAIN},
    "all of Detectron2's": {
        "MODEL.PROPOSAL_GENERATOR.NAME": "RPN",
        "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
        **PLAIN,
    },
    "a user's samples": {"MODEL.ROI_HEADS.NAME": "OwnSamples"},
}


@pytest.mark.parametrize("name", OTHERS)
def test_parts_of_others_go_with_ours(name):
    changes = {**OTHERS[name], "WEND.CROP_IN_MODEL": "False"}
    model = build("detectron2", d2_config("rcnn", changes))
    batch = d2_inputs(of_different_sizes())
    with EventStorage():
        terms = model(batch)
    assert all(value.isfinite() for value in terms.values())
    assert ("loss_unsup" in terms) == ("WEND.LOSS" not in changes)
    sum(terms.values()).backward()
    assert model.roi_heads.box_predictor.cls_score.weight.grad.any()
    model.eval()
    with torch.no_grad():
        outputs = model(batch)
    assert all(1 <= len(output["instances"]) <= 10 for output in outputs)


def test_heads_of_our_own_sampling_learn_from_what_it_returns():
    changes = {"MODEL.ROI_HEADS.NAME": "OwnSamples", **PLAIN}
    model = build("detectron2", d2_config("rcnn", changes))
    seen = []
    predictor = model.roi_heads.box_predictor
    predictor.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs))
    batch = d2_inputs(random_crops(3, (1, 2, 0)))
    with EventStorage():
        terms = model(batch)
    scores, deltas = seen[0]
    assert len(scores) == 3  # the boxes to learn, which are their own proposals
    expected = torch.nn.functional.cross_entropy(scores, torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(terms["loss_cls"], expected)
    torch.testing.assert_close(terms["loss_box_reg"], deltas.abs().sum() / 3)


def test_the_truth_is_read_as_a_list_of_instances():
    given = [entry["instances"] for entry in d2_inputs(random_crops(3, (1, 2, 0)))]
    truth = Truth.of(given)
    assert Truth.of(truth) is truth
    assert [len(each) for each in truth] == [1, 2, 0]
    assert truth[-2].gt_boxes is not None
    assert len(truth[1:]) == 2
    assert truth[0] is truth[0]
    assert truth.classes.shape == (3, 2)


def test_heads_of_masks_get_the_samples_with_all_that_is_known_of_them():
    changes = {
        "MODEL.MASK_ON": "True",
        "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
        "MODEL.ROI_MASK_HEAD.NUM_CONV": "1",
        "MODEL.ROI_MASK_HEAD.CONV_DIM": "8",
        "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": "4",
        "WEND.CROP_IN_MODEL": "False",
    }
    from detectron2.structures import BitMasks

    model = build("detectron2", d2_config("rcnn", changes))
    batch = d2_inputs(of_different_sizes())
    for entry in batch:
        own = entry["instances"]
        own.gt_masks = BitMasks(torch.ones(len(own), *own.image_size, dtype=torch.bool))
    with EventStorage():
        terms = model(batch)
    assert terms["loss_mask"].isfinite()
    with torch.no_grad():
        outputs = model.eval()(batch)
    own = outputs[0]["instances"]
    assert own.pred_masks.shape == (len(own), CROP, CROP)


def test_test_time_augmentation_of_detectron2s():
    from detectron2.modeling import GeneralizedRCNNWithTTA

    cfg, model = untrained("detectron2", "rcnn", {"WEND.CROP_IN_MODEL": "False"})
    cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.MAX_SIZE = (CROP, 64), 100
    batch = d2_inputs(random_crops(2, (1, 2)))
    with torch.no_grad():
        outputs = GeneralizedRCNNWithTTA(cfg, model)(batch)
    assert all(len(output["instances"]) for output in outputs)


@pytest.mark.parametrize("name", ["rcnn", "cln"])
def test_half_precision_is_near_and_finite(name):
    changes = {"MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "2000"}
    _, model = untrained("detectron2", name, changes)
    batch = d2_inputs(random_crops(3, (1, 2, 0)))
    proposals = proposals_of(proposed_in_crop())
    features = {"stage3": torch.randn(3, 32, 7, 7)}
    with torch.no_grad():
        whole = model.roi_heads.predicted(features, proposals)
        with torch.autocast("cpu", torch.bfloat16):
            half = model.roi_heads.predicted(
                {k: v.bfloat16() for k, v in features.items()}, proposals
            )
    assert half.scores.dtype == half.boxes.dtype == torch.float32
    torch.testing.assert_close(half.scores[:, 0], whole.scores[:, 0], rtol=0.03, atol=0)
    model.train()
    with EventStorage(), torch.autocast("cpu", torch.bfloat16):
        terms = model(batch)
    assert all(value.dtype == torch.float32 and value.isfinite() for value in terms.values())
    sum(terms.values()).backward()


def proposed_in_crop():
    generator = torch.Generator().manual_seed(4)
    images = []
    for count in (20, 12, 15):
        boxes = drawn_boxes(count, generator, side=24)
        image = Instances((CROP, CROP), proposal_boxes=Boxes(boxes))
        image.objectness_logits = torch.randn(count, generator=generator)
        images.append(image)
    return images
