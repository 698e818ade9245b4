import csv
import json
import math
import shutil

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from engine_runs import CONFIGS, d2_config, run
from torch import nn

import wend.d2.trainer
from wend.config import add_wend_config, merge_config
from wend.d2 import Trainer
from wend.datasets.catalog import DataSets
from wend.errors import NonFiniteLossError
from wend.run import resolve_schedule


def _groups(optimizer):
    """id of a parameter -> its group; fails if one is in two groups."""
    owner = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert id(parameter) not in owner
            owner[id(parameter)] = group
    return owner


def _is_norm_parameter(model):
    norms = (nn.BatchNorm2d, nn.GroupNorm)
    return {id(p) for m in model.modules() if isinstance(m, norms) for p in m.parameters()}


@pytest.mark.parametrize("detector", ["fcos", "rcnn"])
def test_the_head_learns_at_twice_the_backbones_rate(detector):
    changes = {"SOLVER.BASE_LR": "0.25", "SOLVER.WEIGHT_DECAY_NORM": "0.5"}
    changes["SOLVER.WEIGHT_DECAY"] = "0.125"
    cfg = d2_config(detector, changes)
    model = build_model(cfg)
    optimizer = Trainer.build_optimizer(cfg, model)
    owner = _groups(optimizer)
    backbone = {id(p) for p in model.backbone.parameters()}
    norms = _is_norm_parameter(model)
    for name, parameter in model.named_parameters():
        group = owner.pop(id(parameter))
        assert group["lr"] == (0.25 if id(parameter) in backbone else 0.5), name
        assert group["weight_decay"] == (0.5 if id(parameter) in norms else 0.125), name
        assert group["momentum"] == 0.9
    assert not owner
    assert isinstance(optimizer, torch.optim.SGD)


def test_the_papers_solver_is_the_configs_default():
    cfg = get_cfg()
    add_wend_config(cfg)
    merge_config(cfg, str(CONFIGS / "CUB" / "fcos_R50.yaml"), ["MODEL.DEVICE", "meta"], "")
    with torch.device("meta"):
        model = build_model(cfg)
    groups = Trainer.build_optimizer(cfg, model).param_groups
    assert {group["lr"] for group in groups} == {0.004, 0.008}
    assert {group["weight_decay"] for group in groups} == {1e-4}
    assert {group["momentum"] for group in groups} == {0.9}
    assert {group["nesterov"] for group in groups} == {False}
    assert cfg.SOLVER.IMS_PER_BATCH == 256
    assert cfg.WEND.EPOCHS == 50


def test_the_pyramid_counts_as_head():
    cfg = get_cfg()
    add_wend_config(cfg)
    path = CONFIGS / "CUB" / "fcos_R50_FPN_we.yaml"
    merge_config(cfg, str(path), ["MODEL.DEVICE", "meta"], "")
    with torch.device("meta"):
        model = build_model(cfg)
    owner = _groups(Trainer.build_optimizer(cfg, model))
    bottom_up = {id(p) for p in model.backbone.bottom_up.parameters()}
    pyramid = [p for p in model.backbone.parameters() if id(p) not in bottom_up]
    assert len(bottom_up) == 159  # ResNet50: 53 convolutions and 53 norms of two
    assert len(pyramid) == 16  # 3 lateral, 3 output and 2 extra (P6, P7) convolutions with bias
    assert {owner[i]["lr"] for i in bottom_up} == {0.004}
    assert {owner[id(p)]["lr"] for p in pyramid} == {0.008}
    assert {owner[id(p)]["lr"] for p in model.head.parameters()} == {0.008}


def test_frozen_layers_are_not_in_the_optimizer():
    cfg = get_cfg()
    add_wend_config(cfg)
    changes = ["MODEL.DEVICE", "meta", "MODEL.BACKBONE.FREEZE_AT", "5"]
    merge_config(cfg, str(CONFIGS / "CUB" / "fcos_R50.yaml"), changes, "")
    with torch.device("meta"):
        model = build_model(cfg)
    owner = _groups(Trainer.build_optimizer(cfg, model))
    assert set(owner) == {id(p) for p in model.head.parameters()}


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


@pytest.mark.parametrize(("batch", "epoch"), [(8, 3), (5, 5), (24, 1), (100, 1)])
def test_an_epoch_is_so_many_batches_that_each_image_comes_once(batch, epoch):
    changes = {"SOLVER.IMS_PER_BATCH": str(batch), "WEND.EPOCHS": "4"}
    cfg = resolve_schedule(d2_config("fcos", changes), num_images=24)
    assert cfg.SOLVER.MAX_ITER == 4 * epoch
    assert cfg.TEST.EVAL_PERIOD == epoch
    assert cfg.SOLVER.CHECKPOINT_PERIOD == epoch


def _curve(output_dir):
    with open(output_dir / "curve.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_curve_has_a_row_for_each_epoch_protocol_and_metric_and_ends_at_the_last_iteration(d2_run):
    # 24 images in batches of 8, 2 epochs: evaluated after 3 and after 6 iterations
    rows = _curve(d2_run)
    assert {(row["iteration"], row["epoch"]) for row in rows} == {("3", "1"), ("6", "2")}
    names = [(row["protocol"], row["metric"]) for row in rows if row["iteration"] == "3"]
    assert sorted(names) == sorted(
        (protocol, metric)
        for protocol in ("psol-crop224", "original")
        for metric in ("gt_known_loc", "gt_known_loc_multi", "max_boxes")
    )
    assert {row["dataset"] for row in rows} == {"toy_test"}
    written = json.loads((d2_run / "inference" / "toy_test" / "metrics.json").read_text())
    for row in rows[len(rows) // 2 :]:  # the last evaluation's
        assert float(row["value"]) == pytest.approx(
            written[row["protocol"]][row["metric"]], abs=1e-6
        )


def test_a_run_leaves_detectron2s_files_and_two_checkpoints(d2_run):
    names = {path.name for path in d2_run.iterdir()}
    assert {"config.yaml", "log.txt", "metrics.json", "last_checkpoint", "curve.csv"} <= names
    checkpoints = {name for name in names if name.endswith(".pth")}
    assert checkpoints == {"model_0000002.pth", "model_0000005.pth", "model_final.pth"}
    assert (d2_run / "last_checkpoint").read_text() == "model_final.pth"
    lines = [json.loads(line) for line in (d2_run / "metrics.json").read_text().splitlines()]
    logged = {"loss_unsup", "loss_fcos_cls", "total_loss", "lr", "data/lost_boxes"}
    assert any(logged <= set(line) for line in lines)


def test_the_last_checkpoint_holds_what_training_continues_from(d2_run):
    final = torch.load(d2_run / "model_final.pth", weights_only=False)
    assert final["iteration"] == 5
    assert set(final["trainer"]) >= {"iteration", "hooks", "_trainer"}
    assert len(final["trainer"]["_trainer"]["optimizer"]["state"]) > 0


def test_training_changes_every_parameter(d2_run):
    early = torch.load(d2_run / "model_0000002.pth", weights_only=False)["model"]
    final = torch.load(d2_run / "model_final.pth", weights_only=False)["model"]
    same = [n for n in final if n.endswith(("weight", "bias")) and torch.equal(early[n], final[n])]
    assert not same


@pytest.fixture
def started(monkeypatch):
    """What trainers are like when their loop starts."""
    seen = []
    train = Trainer.train

    def watched(self):
        state = self._trainer.optimizer.state_dict()["state"]
        seen.append((self.start_iter, self.scheduler.last_epoch, len(state)))
        return train(self)

    monkeypatch.setattr(Trainer, "train", watched)
    return seen


def test_interrupted_training_resumes_after_its_last_checkpoint(tmp_path, monkeypatch, started):
    with monkeypatch.context() as patch:
        step = Trainer.run_step

        def interrupted(self):
            if self.iter == 4:
                raise KeyboardInterrupt
            step(self)

        patch.setattr(Trainer, "run_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run("detectron2", tmp_path / "out")
    assert (tmp_path / "out" / "last_checkpoint").read_text() == "model_0000002.pth"
    assert not (tmp_path / "out" / "model_final.pth").exists()
    assert run("detectron2", tmp_path / "out", "--resume") == 0
    (fresh, resumed) = started
    assert fresh == (0, 0, 0)
    assert resumed[:2] == (3, 3)
    assert resumed[2] > 0  # momentum
    final = torch.load(tmp_path / "out" / "model_final.pth", weights_only=False)
    assert final["iteration"] == 5
    epochs = [row["epoch"] for row in _curve(tmp_path / "out")]
    assert sorted(set(epochs)) == ["1", "2"]
    assert len(epochs) == 12


def test_resuming_a_finished_training_repeats_its_evaluation_and_trains_no_more(d2_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(d2_run, copy)
    before = torch.load(copy / "model_final.pth", weights_only=False)["model"]
    curve = _curve(copy)
    assert run("detectron2", copy, "--resume") == 0
    after = torch.load(copy / "model_final.pth", weights_only=False)["model"]
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert _curve(copy) == curve


def test_loader_counts_the_boxes_that_crops_cut_off(monkeypatch):
    batches = [
        [{"num_lost_boxes": 1, "instances": [0, 0]}, {"num_lost_boxes": 0, "instances": [0]}],
        [{"num_lost_boxes": 2, "instances": []}],
    ]
    seen = {}

    class Storage:
        def put_scalar(self, name, value):
            seen.setdefault(name, []).append(value)

    monkeypatch.setattr(wend.d2.trainer, "get_event_storage", Storage)
    loader = wend.d2.trainer.LostBoxCounter(batches)
    assert list(loader) == batches
    assert (loader.num_lost, loader.num_boxes) == (3, 6)
    assert seen == {"data/lost_boxes": [1, 2]}


def test_training_crops_are_random_and_test_crops_central():
    cfg = d2_config("fcos")
    train = next(iter(Trainer.build_train_loader(cfg)))
    assert len(train) == 8
    assert len({(one["frame"].offset_x, one["frame"].offset_y) for one in train}) > 1
    test = list(Trainer.build_test_loader(cfg, "toy_test"))
    assert [len(batch) for batch in test] == [1] * 12  # WEND.TEST_BATCH
    assert [b[0]["image_id"] for b in test] == [r.image_id for r in DataSets().get("toy_test")]
    assert {(b[0]["frame"].offset_x, b[0]["frame"].offset_y) for b in test} == {(-4, -4)}


def test_loss_that_is_not_finite_ends_the_training_before_the_step(tmp_path, capsys):
    changes = {"SOLVER.BASE_LR": "1e30", "SOLVER.WARMUP_ITERS": "0"}
    assert run("detectron2", tmp_path / "out", changes=changes) == 2
    error = capsys.readouterr().err
    # one step at this rate, then the second batch's losses are no numbers
    assert error.startswith("error: iteration 1: process 0: ")
    assert "loss_fcos_cls is nan" in error or "AssertionError in the losses (bad box" in error
    assert "on the images " in error
    assert "the step was not taken. Lower SOLVER.BASE_LR" in error


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
    wend.d2.trainer.guard_losses(model)
    assert model([{"image_id": 8, "loss": 0.5}])["loss_box"] == 0.5
    with pytest.raises(NonFiniteLossError) as error:
        model([{"image_id": 8, "loss": loss}, {"image_id": 3, "loss": 0.0}])
    assert said in str(error.value)
    if loss is not None:
        assert not math.isfinite(model.eval()([{"image_id": 8, "loss": loss}])["loss_box"])
