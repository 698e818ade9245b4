"""The boxes of a whole batch, against torchvision's, which go image by image."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from fcos_batches import LEVELS, SIDE, anchors, locations, output
from torchvision.models.detection._utils import BoxLinearCoder
from torchvision.models.detection.fcos import FCOS

from wend.modeling.fcos.boxes import candidates
from wend.modeling.layers.box_choice import Choice, borders, chosen, cut_at

SIZES = [(SIDE, SIDE), (40, 56), (33, 20)]


def stock(said, sizes, *, above, most_per_level, max_iou, most, levels=LEVELS):
    model = SimpleNamespace(
        score_thresh=above,
        topk_candidates=most_per_level,
        nms_thresh=max_iou,
        detections_per_img=most,
        box_coder=BoxLinearCoder(normalize_by_size=True),
    )
    per_level = anchors(levels)
    counts = [len(each) for each in per_level]
    parts = said.logits, said.distances, said.centreness[..., None]
    names = ("cls_logits", "bbox_regression", "bbox_ctrness")
    outputs = {name: part.split(counts, 1) for name, part in zip(names, parts, strict=True)}
    return FCOS.postprocess_detections(model, outputs, [per_level] * len(sizes), sizes)


def ours(said, sizes, *, above, most_per_level, max_iou, most, levels=LEVELS):
    boxes, scores, classes = candidates(
        said, locations(levels), most_per_level=most_per_level, above=above
    )
    choice = Choice(above, max_iou, most, clip=False, drop_empty=False)
    return chosen(cut_at(boxes, borders(sizes, boxes)), scores, choice, classes=classes)


HOW = {
    "best": {"above": 0.0, "most_per_level": 1000, "max_iou": 0.6, "most": 10},
    "many": {"above": 0.3, "most_per_level": 1000, "max_iou": 0.5, "most": 100},
    "few": {"above": 0.05, "most_per_level": 15, "max_iou": 0.3, "most": 300},
    "none": {"above": 0.99999, "most_per_level": 15, "max_iou": 0.3, "most": 100},
}
MANY_CLASSES = {(200, "level", "many"), (1000, "level", "best"), (1000, "levels", "few")}


@pytest.mark.parametrize(
    ("classes", "levels", "name"),
    [
        pytest.param(
            *case,
            marks=[] if case[0] < 200 or case in MANY_CLASSES else [pytest.mark.slow],
        )
        for case in itertools.product((1, 5, 200, 1000), ("levels", "level"), HOW)
    ],
)
@torch.no_grad()
def test_boxes_are_torchvisions(classes, levels, name):
    how, levels = HOW[name], LEVELS if levels == "levels" else LEVELS[:1]
    said = output(3, classes, levels)
    batch = ours(said, SIZES, **how, levels=levels)
    for index, expected in enumerate(stock(said, SIZES, **how, levels=levels)):
        kept = batch.kept[index]
        assert not batch.kept[index, kept.sum() :].any()
        assert torch.equal(batch.boxes[index][kept], expected["boxes"])
        torch.testing.assert_close(batch.scores[index][kept], expected["scores"], rtol=0, atol=1e-7)
        if classes > 1:
            assert torch.equal(batch.classes[index][kept], expected["labels"])
    assert batch.kept.any() == (name != "none")


@torch.no_grad()
def test_what_is_no_number_is_no_candidate():
    said = output(2)
    said.logits[0, :5] = torch.nan
    _, scores, _ = candidates(said, locations(), most_per_level=10)
    assert scores.isfinite().all()
    batch = ours(said, SIZES[:2], above=0.0, most_per_level=10, max_iou=0.6, most=10)
    assert batch.kept.any(1).all()
