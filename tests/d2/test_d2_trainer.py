import json
import math

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from engine_runs import CONFIGS, d2_config, without_memory
from torch import nn

from wend.config import add_wend_config, merge_config
from wend.d2 import Trainer, loaders
from wend.d2.guard import guard_losses
from wend.errors import NonFiniteLossError
from wend.loading.box_counts import BoxCounts
from wend.loading.first_epoch import FirstEpoch

pytestmark = pytest.mark.detectron2


def _groups(optimizer):
    """id of a parameter -> its group; fails if one is in two groups."""
    owner = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert id(parameter) not in owner
            owner[id(parameter)] = group
    return owner


def test_the_pyramid_counts_as_head():
    cfg = get_cfg()
    add_wend_config(cfg)
    path = CONFIGS / "CUB" / "fcos_R50_FPN_we.yaml"
    merge_config(cfg, str(path), ["MODEL.DEVICE", "meta"], "")
    with without_memory():
        model = build_model(cfg)
    owner = _groups(Trainer.build_optimizer(cfg, model))
    bottom_up = {id(p) for p in model.backbone.bottom_up.parameters()}
    pyramid = [p for p in model.backbone.parameters() if id(p) not in bottom_up]
    assert len(bottom_up) == 159  # ResNet50: 53 convolutions and 53 norms of two
    assert len(pyramid) == 16  # 3 lateral, 3 output and 2 extra (P6, P7) convolutions with bias
    assert {owner[i]["lr"] for i in bottom_up} == {0.004}
    assert {owner[id(p)]["lr"] for p in pyramid} == {0.008}
    assert {owner[id(p)]["lr"] for p in model.head.parameters()} == {0.008}


def test_learning_rate_warms_up_into_a_cosine():
    # f(i) = (1 + cos(pi i / 8)) / 2; warm-up: a straight line from f(0) / 1000 to f(3)
    changes = {"SOLVER.BASE_LR": "0.5", "SOLVER.WARMUP_ITERS": "3", "WEND.EPOCHS": "0"}
    cfg = d2_config("fcos", {**changes, "SOLVER.MAX_ITER": "8"})
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 1.0})
    scheduler = Trainer.build_lr_scheduler(cfg, optimizer)
    cosine = [(1 + math.cos(math.pi * i / 8)) / 2 for i in range(9)]
    line = [0.001 + (cosine[3] - 0.001) * i / 3 for i in range(3)]
    for expected in [*line, *cosine[3:8]]:
        backbone, head = (group["lr"] for group in optimizer.param_groups)
        assert backbone == pytest.approx(0.5 * expected)
        assert head == pytest.approx(expected)
        optimizer.step()
        scheduler.step()


def test_a_run_leaves_detectron2s_files_and_what_its_trainer_continues_from(finished):
    output_dir = finished("detectron2")
    lines = (output_dir / "metrics.json").read_text().splitlines()
    assert any("data/lost_boxes" in json.loads(line) for line in lines)
    assert (output_dir / "log.txt").is_file()
    final = torch.load(output_dir / "model_final.pth", weights_only=False)
    assert set(final["trainer"]) >= {"iteration", "hooks", "_trainer"}


def test_the_last_line_of_a_short_training_has_detectron2s_numbers_of_an_rcnn(finished):
    lines = (finished("detectron2", "rcnn") / "metrics.json").read_text().splitlines()
    (last,) = [each for each in map(json.loads, lines) if "total_loss" in each]
    assert last["iteration"] == 5
    assert last["rpn/num_pos_anchors"] + last["rpn/num_neg_anchors"] > 0
    assert last["roi_head/num_fg_samples"] + last["roi_head/num_bg_samples"] > 0
    assert 0 <= last["fast_rcnn/cls_accuracy"] <= 1


def test_loader_counts_boxes_also_of_a_mapper_that_does_not(monkeypatch):
    seen, first_epoch = {}, FirstEpoch(names="x", num_boxes=9, steps=5, max_lost=1.0)

    class Storage:
        def put_scalar(self, name, value):
            seen.setdefault(name, []).append(value)

    monkeypatch.setattr(loaders, "get_event_storage", Storage)
    counts = [BoxCounts(1, boxes=3, cut=1), BoxCounts(1, boxes=2, emptied=1, thin=2)]
    batches = [[{"box_counts": counts[0]}], [{"box_counts": counts[1]}, {"instances": [0, 0]}, {}]]
    assert list(loaders.CountedLoader(batches, first_epoch)) == batches
    first_epoch.after_step(last=True)
    total = BoxCounts(images=4, without_box=1, emptied=1, boxes=7, cut=1, thin=2)
    assert first_epoch.counts == total
    assert seen == {"data/lost_boxes": [1, 2]}


class _Detector(nn.Module):
    """Puts out the losses that its batch holds."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, batch):
        if batch[0]["loss"] is None:
            raise FloatingPointError("Predicted boxes contain Inf/NaN.")
        return {"loss_cls": torch.tensor(1.0), "loss_box": torch.tensor(batch[0]["loss"])}


@pytest.mark.usefixtures("_event_storage")
@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (math.nan, "process 0: loss_box is nan on the images 8, 3;"),
        (-math.inf, "process 0: loss_box is -inf on the images 8, 3;"),
        (None, "FloatingPointError in the losses (Predicted boxes contain Inf/NaN.) on the images"),
    ],
)
def test_guard_names_the_term_and_the_images(loss, said):
    model = _Detector()
    guard_losses(model)
    assert model([{"image_id": 8, "loss": 0.5}])["loss_box"] == 0.5
    with pytest.raises(NonFiniteLossError) as error:
        model([{"image_id": 8, "loss": loss}, {"image_id": 3, "loss": 0.0}])
    assert said in str(error.value)
    if loss is not None:
        assert not math.isfinite(model.eval()([{"image_id": 8, "loss": loss}])["loss_box"])


@pytest.mark.usefixtures("_event_storage")
def test_a_model_may_return_one_loss_as_detectron2s_trainer_allows():
    model = nn.Linear(2, 1)
    model.forward = lambda batch: model.weight.sum()
    guard_losses(model)
    assert torch.equal(model([{"image_id": 8}])["total_loss"], model.weight.sum())
