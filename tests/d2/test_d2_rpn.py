"""BatchedRPN against Detectron2's RPN with the same weights: labels, losses and proposals."""

import pytest
import torch
from region_proposals import (
    COUNTS,
    LEVELS,
    SIZES,
    anchor_sides,
    boxes_to_learn,
    features_of,
    with_spread_outputs,
)

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_proposal_generator
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage

from wend.d2 import add_wend_config
from wend.d2.instances import Truth
from wend.d2.rpn import BatchedRPN, ProposedInstances

pytestmark = pytest.mark.detectron2
EVERY_ANCHOR = {"BATCH_SIZE_PER_IMAGE": 100_000, "POSITIVE_FRACTION": 1.0}


def rpns(strides, **changes):
    """Detectron2's RPN and ours, with the same weights, in training."""
    cfg = get_cfg()
    add_wend_config(cfg)
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = anchor_sides(strides)
    cfg.MODEL.RPN.IN_FEATURES = [f"p{stride}" for stride in strides]
    for name, value in {**EVERY_ANCHOR, **changes}.items():
        cfg.MODEL.RPN[name] = value
    shapes = {f"p{stride}": ShapeSpec(channels=8, stride=stride) for stride in strides}
    made = []
    for name in ("RPN", "BatchedRPN"):
        cfg.MODEL.PROPOSAL_GENERATOR.NAME = name
        torch.manual_seed(0)
        rpn = build_proposal_generator(cfg, shapes)
        with_spread_outputs([rpn.rpn_head.objectness_logits, rpn.rpn_head.anchor_deltas])
        made.append(rpn.train())
    assert type(made[1]) is BatchedRPN
    return made


def batch_of(counts=COUNTS):
    """Images of different sizes, and their boxes."""
    instances = [
        Instances(
            size, gt_boxes=Boxes(boxes), gt_classes=torch.zeros(len(boxes), dtype=torch.int64)
        )
        for size, boxes in zip(SIZES, boxes_to_learn(counts), strict=True)
    ]
    return ImageList(torch.zeros(len(SIZES), 3, 96, 128), [*SIZES]), instances


def run(rpn, strides):
    images, instances = batch_of()
    with EventStorage(19) as storage:
        proposals, losses = rpn(images, features_of(strides), instances)
    return proposals, losses, storage


def assert_same_proposals(ours, theirs):
    assert isinstance(ours, ProposedInstances)
    assert len(ours) == len(theirs)
    for own, other in zip(ours, theirs, strict=True):
        assert own.image_size == other.image_size
        assert torch.equal(own.proposal_boxes.tensor, other.proposal_boxes.tensor)
        assert torch.equal(own.objectness_logits, other.objectness_logits)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"BBOX_REG_LOSS_TYPE": "giou", "LOSS_WEIGHT": 0.5, "BBOX_REG_LOSS_WEIGHT": 3.0},
        {"SMOOTH_L1_BETA": 0.5, "BBOX_REG_WEIGHTS": (10.0, 10.0, 5.0, 5.0)},
        {"BOUNDARY_THRESH": 8},
        {"IOU_THRESHOLDS": [0.2], "IOU_LABELS": [0, 1]},
    ],
    ids=["defaults", "giou", "smooth", "inside only", "one threshold"],
)
def test_losses_and_gradients_are_detectron2s(levels, changes):
    strides = LEVELS[levels]
    gradients = []
    outputs = []
    for rpn in rpns(strides, **changes):
        _, losses, storage = run(rpn, strides)
        sum(losses.values()).backward()
        gradients.append([each.grad for each in rpn.parameters()])
        outputs.append((losses, storage.latest()))
    (theirs, logged), (ours, own_logged) = outputs
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert value > 0
        torch.testing.assert_close(ours[name], value, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)
    assert {name: value for name, (value, _) in own_logged.items()} == pytest.approx(
        {name: value for name, (value, _) in logged.items()}
    )


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("counts", [COUNTS, (0, 0, 0, 0, 0)], ids=["boxes", "no boxes"])
def test_labels_and_matched_boxes_are_detectron2s(levels, counts):
    strides = LEVELS[levels]
    theirs, ours = rpns(strides)
    _, instances = batch_of(counts)
    anchors = theirs.anchor_generator([*features_of(strides, 1).values()])
    labels, boxes = theirs.label_and_sample_anchors(anchors, instances)
    own_labels, own_boxes = ours.label_and_sample_anchors(anchors, instances)
    for label, own_label, box, own_box in zip(labels, own_labels, boxes, own_boxes, strict=True):
        assert own_label.tolist() == label.tolist()
        assert torch.equal(own_box, box)


@pytest.mark.parametrize(("number", "fraction"), [(24, 0.25), (24, 0.5), (1, 0.5)])
def test_as_many_anchors_are_sampled_as_detectron2_does(number, fraction):
    changes = {"BATCH_SIZE_PER_IMAGE": number, "POSITIVE_FRACTION": fraction}
    counts = []
    for rpn in rpns([16], **changes):
        anchors = rpn.anchor_generator([*features_of([16], 1).values()])
        labels, _ = rpn.label_and_sample_anchors(anchors, batch_of()[1])
        counts.append([[(label == value).sum().item() for value in (1, 0)] for label in labels])
    assert counts[0] == counts[1]


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"NMS_THRESH": 0.3, "POST_NMS_TOPK_TRAIN": 7, "POST_NMS_TOPK_TEST": 5},
        {"NMS_THRESH": 1.0, "PRE_NMS_TOPK_TRAIN": 20, "PRE_NMS_TOPK_TEST": 11},
        {"PRE_NMS_TOPK_TRAIN": 150, "PRE_NMS_TOPK_TEST": 200},  # levels are moved apart
    ],
    ids=["defaults", "few", "no suppression", "moved apart"],
)
def test_proposals_are_detectron2s_to_the_bit(levels, training, changes):
    strides = LEVELS[levels]
    results = [run(rpn.train(training), strides)[0] for rpn in rpns(strides, **changes)]
    assert_same_proposals(results[1], results[0])
    assert len(results[1][0]) > 2


def test_equal_scores_and_small_boxes():
    theirs, ours = rpns([16])
    for rpn in (theirs, ours):
        torch.nn.init.zeros_(rpn.rpn_head.objectness_logits.weight)  # all scores are equal
        rpn.min_box_size = 60.0
    results = [run(rpn, [16])[0] for rpn in (theirs, ours)]
    assert_same_proposals(results[1], results[0])
    assert 0 in [len(image) for image in results[1]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_predictions_that_are_not_finite(value):
    """An error in training; in evaluation they are no proposals."""
    results = []
    for rpn in rpns([16]):
        features = features_of([16])
        features["p16"][3, :, 2, 2] = value
        images, instances = batch_of()
        with EventStorage(), pytest.raises(FloatingPointError, match="Training has diverged"):
            rpn(images, features, instances)
        results.append(rpn.eval()(images, features)[0])
    assert_same_proposals(results[1], results[0])


def test_operations_do_not_grow_with_the_batch():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counter(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += 1
            return func(*args, **(kwargs or {}))

    _, rpn = rpns([16], NMS_THRESH=1.0)
    counts = []
    for images in (1, 2, 12):  # the first makes the anchors, too
        batch = ImageList(torch.zeros(images, 3, 96, 128), [(96, 128)] * images)
        instances = batch_of()[1][:1] * images
        features = features_of([16], images)
        with EventStorage(), Counter() as counter:
            _, losses = rpn(batch, features, Truth.of(instances))
            sum(losses.values()).backward()
        counts.append(counter.count)
    assert counts[1] == counts[2]


def test_anchors_of_a_size_are_made_once():
    _, rpn = rpns([16])
    made = []
    rpn.anchor_generator.register_forward_hook(lambda *_: made.append(1))
    for _ in range(2):
        run(rpn, [16])
    rpn.eval()(ImageList(torch.zeros(1, 3, 32, 32), [(32, 32)]), {"p16": torch.zeros(1, 8, 2, 2)})
    assert len(made) == 2
    with torch.inference_mode():
        run(rpn.eval(), [16])
    sum(run(rpn.train(), [16])[1].values()).backward()  # of other anchors


def test_overridden_methods_are_called_with_lists_of_images():
    """What a subclass of Detectron2's overrides, a subclass of ours may, too."""
    seen = {}

    class Mine(BatchedRPN):
        def label_and_sample_anchors(self, anchors, gt_instances):
            seen["boxes"] = [len(image.gt_boxes) for image in gt_instances]
            return super().label_and_sample_anchors(anchors, gt_instances)

        def losses(self, anchors, logits, gt_labels, deltas, gt_boxes):
            seen["labels"] = [label.shape for label in gt_labels]
            return super().losses(anchors, logits, gt_labels, deltas, gt_boxes)

    _, rpn = rpns([16])
    rpn.__class__ = Mine
    images, instances = batch_of()
    with EventStorage():
        rpn(images, features_of([16]), Truth.of(instances))
    assert seen["boxes"] == [*COUNTS]
    assert seen["labels"] == [(6 * 8 * 6,)] * 5
