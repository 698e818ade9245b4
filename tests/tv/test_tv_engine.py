import csv
import json
import pickle
import shutil

import pytest
import torch
import torchvision
from engine_runs import CONFIGS, EVALUATION_FILES, assert_refused, run, tv_config
from reference import iou
from torch import nn

import wend.tv.engine
from wend.config import merge_config
from wend.datasets.catalog import DataSets
from wend.errors import InputError
from wend.run import resolve
from wend.tv.config import get_cfg
from wend.tv.engine import Trainer, TVCheckpointer, build_optimizer
from wend.tv.models import build_model

ENGINE = "torchvision"


def _files(output_dir):
    folder = output_dir / "inference" / "toy_test"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _curve(output_dir):
    with open(output_dir / "curve.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("detector", ["fcos", "rcnn"])
def test_the_head_learns_at_twice_the_backbones_rate(detector):
    changes = {"SOLVER.BASE_LR": "0.25", "SOLVER.WEIGHT_DECAY_NORM": "0.5"}
    cfg = tv_config(detector, {**changes, "SOLVER.WEIGHT_DECAY": "0.125"})
    model = build_model(cfg)
    optimizer = build_optimizer(cfg, model)
    owner = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert id(parameter) not in owner
            owner[id(parameter)] = group
    backbone = {id(p) for p in model.backbone.parameters()}
    norms = (nn.BatchNorm2d, nn.GroupNorm)
    normal = {id(p) for m in model.modules() if isinstance(m, norms) for p in m.parameters()}
    for name, parameter in model.named_parameters():
        group = owner.pop(id(parameter))
        assert group["lr"] == (0.25 if id(parameter) in backbone else 0.5), name
        assert group["weight_decay"] == (0.5 if id(parameter) in normal else 0.125), name
        assert group["momentum"] == 0.9
    assert not owner


def test_optimizer_groups_are_detectron2s():
    pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    from detectron2.modeling import build_model as build_theirs
    from engine_runs import d2_config

    from wend.d2 import Trainer as D2Trainer

    def summary(optimizer):
        counts = {}
        for group in optimizer.param_groups:
            key = (group["lr"], group["weight_decay"], group["momentum"])
            counts[key] = counts.get(key, 0) + sum(p.numel() for p in group["params"])
        return counts

    changes = {"SOLVER.WEIGHT_DECAY_NORM": "0.5"}
    ours, theirs = tv_config("fcos", changes), d2_config("fcos", changes)
    assert summary(build_optimizer(ours, build_model(ours))) == summary(
        D2Trainer.build_optimizer(theirs, build_theirs(theirs))
    )


def test_a_run_leaves_its_files_and_two_checkpoints(tv_run):
    names = {path.name for path in tv_run.iterdir()}
    assert {"config.yaml", "metrics.json", "last_checkpoint", "curve.csv", "inference"} <= names
    checkpoints = {name for name in names if name.endswith(".pth")}
    assert checkpoints == {"model_0000002.pth", "model_0000005.pth", "model_final.pth"}
    logged = json.loads((tv_run / "metrics.json").read_text().splitlines()[-1])
    assert logged["iteration"] == 5
    terms = {"classification", "bbox_regression", "bbox_ctrness", "loss_unsup"}
    assert logged["total_loss"] == pytest.approx(sum(logged[name] for name in terms), rel=1e-5)


def test_curve_has_a_row_for_each_epoch_protocol_and_metric(tv_run):
    rows = _curve(tv_run)
    assert {(row["iteration"], row["epoch"]) for row in rows} == {("3", "1"), ("6", "2")}
    assert len(rows) == 2 * 2 * 3
    written = json.loads((tv_run / "inference" / "toy_test" / "metrics.json").read_text())
    for row in rows[6:]:
        assert float(row["value"]) == pytest.approx(
            written[row["protocol"]][row["metric"]], abs=1e-6
        )


def test_training_changes_every_parameter(tv_run):
    early = torch.load(tv_run / "model_0000002.pth")["model"]
    final = torch.load(tv_run / "model_final.pth")["model"]
    same = [n for n in final if n.endswith(("weight", "bias")) and torch.equal(early[n], final[n])]
    assert not same


def test_evaluating_the_final_checkpoint_gives_the_last_evaluation_exactly(tv_run, tmp_path):
    changes = {"MODEL.WEIGHTS": str(tv_run / "model_final.pth")}
    assert run(ENGINE, tmp_path / "out", "--eval-only", changes=changes) == 0
    ours = _files(tmp_path / "out")
    assert set(ours) == EVALUATION_FILES
    assert ours == _files(tv_run)


def test_evaluating_an_earlier_checkpoint_gives_other_detections(tv_run, tmp_path):
    changes = {"MODEL.WEIGHTS": str(tv_run / "model_0000002.pth")}
    assert run(ENGINE, tmp_path / "out", "--eval-only", changes=changes) == 0
    assert _files(tmp_path / "out")["detections.json"] != _files(tv_run)["detections.json"]


def test_the_same_seed_gives_the_same_run(tv_run, tmp_path):
    assert run(ENGINE, tmp_path / "out") == 0
    assert _files(tmp_path / "out") == _files(tv_run)


def test_faster_rcnn_trains_and_evaluates(tmp_path):
    changes = {"WEND.EPOCHS": "1"}
    assert run(ENGINE, tmp_path / "out", detector="rcnn", changes=changes) == 0
    changes = {"MODEL.WEIGHTS": str(tmp_path / "out" / "model_final.pth")}
    assert run(ENGINE, tmp_path / "x", "--eval-only", detector="rcnn", changes=changes) == 0
    assert _files(tmp_path / "x") == _files(tmp_path / "out")


def test_interrupted_training_resumes_after_its_last_checkpoint(tmp_path, monkeypatch):
    started, steps = [], []
    train, step = Trainer.train, Trainer._step

    def watched(self):
        momentum = len(self.optimizer.state_dict()["state"])
        started.append((self.start_iter, self.scheduler.last_epoch, momentum))
        return train(self)

    def interrupted(self, *arguments):
        if len(steps) == 4:
            raise KeyboardInterrupt
        steps.append(1)
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "train", watched)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(ENGINE, tmp_path / "out")
    assert (tmp_path / "out" / "last_checkpoint").read_text() == "model_0000002.pth"
    assert run(ENGINE, tmp_path / "out", "--resume") == 0
    fresh, resumed = started
    assert fresh == (0, 0, 0)
    assert resumed[:2] == (3, 3)
    assert resumed[2] > 0
    assert torch.load(tmp_path / "out" / "model_final.pth")["iteration"] == 5
    rows = _curve(tmp_path / "out")
    assert {(row["iteration"], row["epoch"]) for row in rows} == {("3", "1"), ("6", "2")}
    assert len(rows) == 12


def test_resuming_a_finished_training_is_no_error_and_changes_nothing(tv_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(tv_run, copy)
    expected = _files(copy), _curve(copy)
    assert run(ENGINE, copy, "--resume") == 0
    assert (_files(copy), _curve(copy)) == expected


def test_detections_in_the_crop_become_coco_results_in_original_pixels(tmp_path):
    # The centre 56 x 56 of the 64 x 64 squash: x of the crop is (x + 4) / 64 of the image's width
    class Detector(nn.Module):
        def forward(self, images):
            assert [tuple(image.shape) for image in images] == [(3, 56, 56)]
            boxes = torch.tensor([[0.0, 0, 56, 56], [12, 28, 44, 52]])
            return [{"boxes": boxes, "scores": torch.tensor([0.25, 0.75])}]

    run = resolve(tv_config("fcos", {"OUTPUT_DIR": str(tmp_path)}), DataSets(), train=False)
    results = wend.tv.engine.evaluate(run, Detector())
    rows = json.loads((tmp_path / "inference" / "toy_test" / "detections.json").read_text())
    records = DataSets().get("toy_test")
    assert len(rows) == 24
    for best, other, record in zip(rows[::2], rows[1::2], records, strict=True):
        w, h = record.width / 64, record.height / 64
        assert best["image_id"] == other["image_id"] == record.image_id
        assert (best["score"], other["score"]) == (0.75, 0.25)
        assert best["bbox"] == pytest.approx([16 * w, 32 * h, 32 * w, 24 * h], abs=1e-4)
        assert other["bbox"] == pytest.approx([4 * w, 4 * h, 56 * w, 56 * h], abs=1e-4)
    hits = 0
    for best, record in zip(rows[::2], records, strict=True):
        x, y, w, h = best["bbox"]
        hits += any(iou([x, y, x + w, y + h], list(box)) > 0.5 for box in record.gt_boxes)
    assert results["toy_test"]["original"]["gt_known_loc"] == pytest.approx(100 * hits / 12)


def test_loss_that_is_not_finite_ends_the_training_before_the_step(tmp_path, capsys):
    changes = {"SOLVER.BASE_LR": "1e30", "SOLVER.WARMUP_ITERS": "0"}
    assert run(ENGINE, tmp_path / "out", changes=changes) == 2
    error = capsys.readouterr().err
    # one step at this rate, then the second batch's losses are no numbers
    assert error.startswith("error: iteration 1: process 0: ")
    assert "classification is nan" in error or "bbox_regression is" in error
    assert "on the images " in error
    assert "the step was not taken. Lower SOLVER.BASE_LR" in error


def _resnet50(*changes):
    cfg = get_cfg()
    small = ["MODEL.DEVICE", "cpu", "MODEL.ROI_BOX_HEAD.FC_DIM", "8"]
    path = CONFIGS / "CUB" / "faster_rcnn_R50.yaml"
    merge_config(cfg, str(path), [*small, *changes], "")
    return build_model(cfg)


def _filled_resnet50():
    model = torchvision.models.resnet50(weights=None)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape))
    return model


def _as_detectron2(name):
    """Torchvision's name of a ResNet weight in Detectron2, spelled out part by part."""
    parts = name.split(".")
    norms = {"bn1": "conv1", "bn2": "conv2", "bn3": "conv3"}
    if parts[0] == "conv1":
        return "stem.conv1.weight"
    if parts[0] == "bn1":
        return f"stem.conv1.norm.{parts[-1]}"
    head = f"res{int(parts[0][5:]) + 1}.{parts[1]}"
    if parts[2] == "downsample":
        return f"{head}.shortcut.{'norm.' if parts[3] == '1' else ''}{parts[-1]}"
    if parts[2] in norms:
        return f"{head}.{norms[parts[2]]}.norm.{parts[-1]}"
    return f"{head}.{parts[2]}.{parts[-1]}"


@pytest.mark.parametrize("kind", ["torchvision", "detectron2"])
def test_resnet50_weights_are_loaded_name_by_name(tmp_path, kind):
    source = _filled_resnet50().state_dict()
    if kind == "torchvision":
        path = tmp_path / "resnet50.pth"
        torch.save(source, path)
    else:
        path = tmp_path / "R-50.pkl"
        state = {
            _as_detectron2(name): value.numpy()
            for name, value in source.items()
            if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
        }
        content = {"model": state, "__author__": "test", "matching_heuristics": True}
        path.write_bytes(pickle.dumps(content))
    model = _resnet50()
    TVCheckpointer(model).resume_or_load(str(path), resume=False)
    loaded = model.backbone.body.state_dict()
    names = [name for name in loaded if not name.endswith("num_batches_tracked")]
    assert len(names) == 53 * 5
    for name in names:
        assert torch.equal(loaded[name], source[name]), name


def test_names_of_detectron2_are_detectron2s():
    modeling = pytest.importorskip("detectron2.modeling", reason="Detectron2 is not installed")
    from engine_runs import d2_config

    changes = {"MODEL.BACKBONE.NAME": "build_resnet_backbone", "MODEL.DEVICE": "meta"}
    with torch.device("meta"):
        theirs = modeling.build_backbone(d2_config("fcos", changes)).state_dict()
        names = torchvision.models.resnet50(weights=None).state_dict()
    assert {_as_detectron2(name) for name in names if not name.startswith("fc.")} == set(theirs)


def test_weights_of_another_depth_are_refused(tmp_path):
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(InputError, match=r"resnet18\.pth: does not fit the backbone: "):
        TVCheckpointer(_resnet50()).resume_or_load(str(tmp_path / "resnet18.pth"), resume=False)


def test_checkpoint_of_another_detector_is_refused(tv_run, tmp_path, capsys):
    weights = tv_run / "model_final.pth"
    changes = {"MODEL.WEIGHTS": str(weights)}
    out = tmp_path / "out"
    assert run(ENGINE, out, "--eval-only", detector="rcnn", changes=changes) == 2
    error = capsys.readouterr().err
    assert f"error: {weights}: not a checkpoint of this detector: " in error
    assert not out.exists()


WRONG = {
    "MODEL.WEIGHTS /no/such.pth": "config entry MODEL.WEIGHTS: there is no file /no/such.pth",
    "WEND.GAMMA -1.0": "config entry WEND.GAMMA: expected finite and >= 0, got -1.0",
    "DATASETS.TEST ('toy_tset',)": "unknown data set 'toy_tset'. Did you mean 'toy_test'?",
    "DATASETS.TRAIN ('cub_train_c2am',)": "there is no",
    "MODEL.BACKBONE.NAME build_resnet_fpn_backbone": "others need --engine detectron2",
    "MODEL.META_ARCHITECTURE BinaryYOLO": "config entry MODEL.META_ARCHITECTURE: unknown detector",
    "WEND.FCOS.NUM_CLASSES 200": "or run with --engine detectron2",
}


@pytest.mark.parametrize("override", WRONG)
def test_wrong_input_ends_with_a_message_before_anything_is_written(override, tmp_path, capsys):
    assert_refused(ENGINE, override, WRONG[override], tmp_path / "out", capsys)


def test_channels_that_the_heads_cannot_take_end_with_a_message_that_names_the_entry(
    tmp_path, capsys
):
    changes = {"WEND.SMALL_CNN.CHANNELS": "(32, 32, 33)"}
    assert run(ENGINE, tmp_path / "out", changes=changes) == 2
    assert "WEND.SMALL_CNN.CHANNELS" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--num-gpus", "--num-machines"])
def test_several_processes_are_an_error_that_names_detectron2(tmp_path, capsys, flag):
    assert run(ENGINE, tmp_path / "out", flag, "2") == 2
    assert capsys.readouterr().err == (
        "error: --num-gpus, --num-machines: the torchvision engine runs one process; several need "
        "--engine detectron2\n"
    )
    assert not (tmp_path / "out").exists()


def test_unmet_expected_results_fail_the_run(tv_run, tmp_path, capsys):
    changes = {
        "MODEL.WEIGHTS": str(tv_run / "model_final.pth"),
        "TEST.EXPECTED_RESULTS": "[['original', 'max_boxes', 5.0, 0.0]]",
    }
    assert run(ENGINE, tmp_path / "out", "--eval-only", changes=changes) == 0
    changes["TEST.EXPECTED_RESULTS"] = "[['original', 'gt_known_loc', 101.0, 0.5]]"
    with pytest.raises(RuntimeError, match=r"original gt_known_loc is .*, expected 101\.0 ± 0\.5"):
        run(ENGINE, tmp_path / "out", "--eval-only", changes=changes)


def test_engine_needs_no_detectron2():
    assert "detectron2" not in vars(wend.tv.engine)
