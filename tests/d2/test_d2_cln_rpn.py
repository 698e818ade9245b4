import math

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from cln_models import (
    ANCHOR,
    CELLS,
    STRIDE,
    batch_of,
    build,
    config,
    iou,
    losses_of,
    sigmoid,
    values,
    watch,
)
from detectron2.modeling import build_model
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.structures import Boxes

from wend.errors import InputError
from wend.modeling.rcnn.rpn_losses import centreness

pytestmark = [pytest.mark.detectron2, pytest.mark.usefixtures("_event_storage")]


def test_centreness_by_hand():
    distances = torch.tensor(
        [
            [2.0, 3.0, 2.0, 3.0],  # the centre
            [8.0, 16.0, 16.0, 32.0],  # sqrt(8/16 · 16/32)
            [1.0, 4.0, 4.0, 4.0],  # sqrt(1/4 · 1)
            [0.0, 1.0, 3.0, 1.0],  # on the left side
            [-1.0, 1.0, 3.0, 1.0],  # outside
            [-1.0, -1.0, -2.0, -2.0],  # never a box's, but no NaN
        ]
    )
    assert centreness(distances).tolist() == pytest.approx([1, 0.5, 0.5, 0, 0, 0])
    assert centreness(distances[:0]).shape == (0,)


def test_centreness_is_detectron2s_fcos_inside_of_the_box():
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(50, 2, generator=generator) * 40
    anchors = Boxes(torch.cat([centres - 4, centres + 4], 1))
    reach = 1 + torch.rand(50, 4, generator=generator) * 30
    boxes = torch.cat([centres - reach[:, :2], centres + reach[:, 2:]], 1)
    fcos = FCOS.__new__(FCOS)
    torch.nn.Module.__init__(fcos)
    fcos.box2box_transform = build().proposal_generator.box2box_transform
    theirs = fcos.compute_ctrness_targets([anchors], [boxes])[0]
    torch.testing.assert_close(centreness(reach), theirs)


def test_rpn_losses_by_hand():
    """Anchors of side 32 at (0, 0), one box (8, 0, 32, 48)."""
    rpn = build().proposal_generator
    rpn.batch_size_per_image = 4
    anchors = Boxes(torch.tensor([[0.0, 0.0, 32.0, 32.0]]).expand(3, -1).clone())
    anchors.tensor[2] += torch.tensor([32.0, 0.0, 32.0, 0.0])  # centre (48, 16): outside of the box
    logits = torch.tensor([[math.log(3), 7.0, 0.0]])  # sigmoid 0.75, -, 0.5
    deltas = torch.full((1, 3, 4), 0.5)  # the boxes are the anchors
    labels = torch.tensor([1, -1, 1], dtype=torch.int8)
    boxes = torch.tensor([[8.0, 0.0, 32.0, 48.0]]).expand(3, -1)
    losses = rpn.losses([anchors], [logits], [labels], [deltas], [boxes])
    # centreness sqrt(8/16 · 16/32) = 0.5 and 0: |0.75 - 0.5| + |0.5 - 0|, over 4 samples of 1 image
    assert losses["loss_rpn_ctr"].item() == pytest.approx(0.75 / 4)
    # IoU 24·32 / (32·32 + 24·48 - 24·32) = 768 / 1408; weight 10
    assert losses["loss_rpn_loc"].item() == pytest.approx(10 * (1 - 768 / 1408) / 4)


def _rpn_losses_in_plain_python(logits, distances, boxes_of_images):
    """Sums over a batch: logits (N, 1, 7, 7), distances (N, 4, 7, 7)."""
    centre_sum = box_sum = count = 0
    for image, boxes in enumerate(boxes_of_images):
        grid = [(x, y) for y in range(CELLS) for x in range(CELLS)]
        half = ANCHOR / 2
        anchors = [
            (x * STRIDE - half, y * STRIDE - half, x * STRIDE + half, y * STRIDE + half)
            for x, y in grid
        ]
        overlap = [[iou(anchor, box) for box in boxes] for anchor in anchors]
        best = [max(column) for column in zip(*overlap, strict=True)]
        for (x, y), row in zip(grid, overlap, strict=True):
            if not row or (max(row) < 0.3 and not any(map(float.__ge__, row, best))):
                continue
            count += 1
            left, top, right, bottom = boxes[row.index(max(row))]
            px, py = x * STRIDE, y * STRIDE
            lr, tb = (px - left, right - px), (py - top, bottom - py)
            target = 0
            if min(*lr, *tb) > 0:
                target = math.sqrt(min(lr) / max(lr) * min(tb) / max(tb))
                dl, dt, dr, db = [max(d, 0) * ANCHOR for d in distances[image, :, y, x].tolist()]
                predicted = (px - dl, py - dt, px + dr, py + db)
                box_sum += 1 - iou(predicted, (left, top, right, bottom))
            centre_sum += abs(sigmoid(logits[image, 0, y, x].item()) - target)
    return centre_sum, box_sum, count


@pytest.mark.parametrize("normalize", ["True", "False"])
def test_rpn_losses_of_a_batch_in_plain_python(normalize):
    changes = {"WEND.CLN.NORMALIZE_FEATURES": normalize, "WEND.ETA": "1.0"}
    model = build(changes)
    head = model.proposal_generator.rpn_head
    torch.nn.init.normal_(head.anchor_deltas.weight, std=0.3)
    seen = []
    head.register_forward_hook(lambda module, inputs, outputs: seen.append((inputs, outputs)))
    batch = batch_of((1, 3, 0))
    small = torch.tensor([[20.0, 20.0, 30.0, 30.0]])  # IoU at most 100 / 576: its best anchors
    batch[0]["instances"].gt_boxes = Boxes(small)
    losses = values(losses_of(model, batch))
    ((features,), (logits, distances)) = seen[0]
    hidden = torch.relu(torch.nn.functional.conv2d(features[0], *head.conv.parameters(), padding=1))
    if normalize == "True":
        hidden = hidden / hidden.square().sum(1, keepdim=True).sqrt()
    weight, bias = head.objectness_logits.parameters()
    expected = (hidden * weight.view(1, -1, 1, 1)).sum(1, keepdim=True) + bias
    torch.testing.assert_close(logits[0], expected)

    boxes = [example["instances"].gt_boxes.tensor.tolist() for example in batch]
    centre_sum, box_sum, count = _rpn_losses_in_plain_python(logits[0], distances[0], boxes)
    assert 8 <= count < 3 * CELLS**2
    assert losses["loss_rpn_ctr"] == pytest.approx(centre_sum / (49 * 3), rel=1e-4)
    assert losses["loss_rpn_loc"] == pytest.approx(10 * box_sum / (49 * 3), rel=1e-4)


def test_at_most_so_many_anchors_are_sampled_and_none_is_negative():
    model = build({"MODEL.RPN.BATCH_SIZE_PER_IMAGE": "2"})
    seen = watch(model.proposal_generator, "label_and_sample_anchors")
    losses_of(model)
    labels, _ = seen[0][1]
    assert [(label == 1).sum().item() for label in labels] == [2, 2, 0]
    assert all(set(label.tolist()) <= {-1, 1} for label in labels)


def test_boxes_start_at_the_anchors_and_every_distance_can_learn():
    torch.manual_seed(0)
    model = build_model(config()).train()
    head = model.proposal_generator.rpn_head
    distances = head([torch.randn(2, 32, CELLS, CELLS)])[1][0]
    torch.testing.assert_close(distances, torch.full_like(distances, 0.5), atol=0.05, rtol=0)
    losses_of(model)["loss_rpn_loc"].backward()
    assert (head.anchor_deltas.bias.grad != 0).all()


def test_more_than_one_anchor_a_location_is_an_error():
    with pytest.raises(InputError, match=r"MODEL\.ANCHOR_GENERATOR\.SIZES .* got 3; set SIZES"):
        build({"MODEL.ANCHOR_GENERATOR.SIZES": "[[16, 24, 32]]"})


def test_autocast_gives_float32_proposals():
    """Half precision tells pixels over 128 (float16) to an eighth, over 64 (bfloat16) to a half."""
    head = build().proposal_generator.rpn_head
    width = head.conv.in_channels
    with torch.autocast("cpu", torch.bfloat16):
        outputs = head([torch.rand(1, width, 2, 2)])
    assert {feature.dtype for maps in outputs for feature in maps} == {torch.float32}
