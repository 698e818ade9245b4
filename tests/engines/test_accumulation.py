"""A step in micro-batches is that of one large batch, and goes on as it would."""

import json
import math
import re
import subprocess
import sys
from functools import partial
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from engine_runs import (
    BUILDABLE,
    DETECTORS,
    ONE_ANCHOR,
    REPOSITORY,
    build,
    config,
    go_on,
    losses,
    options,
    random_crops,
    run,
    tv_config,
)
from torch import nn

from wend.errors import InputError
from wend.losses import LocalizationLoss, counts_per_process
from wend.losses.process_counts import MicroBatchCounts, micro_batch
from wend.modeling.backbones import small_cnn
from wend.training.accumulation import Accumulation

# Adam divides gradients by their size, also those that are rounding and nothing else
SGD = {"WEND.OPTIMIZER": "SGD"}
EVERY_SAMPLE = {  # none is drawn, so that each micro-batch has those of the large batch
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": "100000",
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "100000",
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": "20",
}
NORMS = """
from functools import partial
from types import SimpleNamespace
from torch import nn
from wend.modeling.backbones import small_cnn
small_cnn.nn = SimpleNamespace(**{**vars(nn), "BatchNorm2d": partial(nn.GroupNorm, 8)})
"""
BOXES = (1, 3, 0, 2, 1, 1, 0, 4)  # of each image: of four micro-batches one has none
READINGS = [
    {"WEND.WE.NORMALIZER": normalizer, "WEND.WE.SAMPLES": samples}
    for normalizer in ("samples", "positives", "boxes")
    for samples in ("all", "unassigned")
]


def three_steps(engine, detector, number, changes):
    """The gradients of each of three steps, the logged losses, and the weights at the end."""
    cfg = config(engine, detector, {**EVERY_SAMPLE, **changes})
    model = build(engine, cfg)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()  # its statistics are those of a micro-batch
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    accumulation = Accumulation(model, number)
    crops = random_crops(len(BOXES), BOXES)
    steps = []
    for iteration in range(3):
        optimizer.zero_grad()
        terms = accumulation.step(
            accumulation.parts(crops),
            at=(1, iteration),
            count=lambda part: losses(engine, model, part),
            losses=lambda part: losses(engine, model, part),
            backward=torch.Tensor.backward,
        )
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        steps.append({**gradients, **{f"logged {name}": term for name, term in terms.items()}})
        optimizer.step()
    return [*steps, {name: p.detach() for name, p in model.named_parameters()}]


def assert_as_one(engine, detector, changes):
    whole = three_steps(engine, detector, 1, changes)
    assert max(value.abs().max() for value in whole[2].values()) > 1e-3
    for number in (2, 4):
        for step, (one, parts) in enumerate(
            zip(whole, three_steps(engine, detector, number, changes), strict=True)
        ):
            assert one.keys() == parts.keys()
            largest = max(1.0, *(value.abs().max().item() for value in one.values()))
            off = {n: (parts[n] - value).abs().max().item() for n, value in one.items()}
            assert max(off.values()) < 1e-6 * largest, (
                engine,
                detector,
                changes,
                number,
                step,
                off,
            )


def _difference(value, expected):
    """Absolute, of numbers above 1 relative."""
    return ((value - expected).abs() / expected.abs().clamp(min=1)).max().item()


@pytest.mark.parametrize("engine", ["torchvision"])
def test_gradients_losses_and_weights_are_those_of_one_large_batch(engine):
    assert_as_one(engine, "fcos", {"WEND.WE.NORMALIZER": "positives"})


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "detector"), BUILDABLE)
def test_so_they_are_with_every_detector_and_reading(engine, detector):
    changes = ONE_ANCHOR if detector == "cln" else {}
    for reading in [{}] if detector == "scr" else READINGS:
        assert_as_one(engine, detector, {**changes, **reading})


@pytest.fixture
def without_batch_norm(monkeypatch):
    """The small CNN has norms of single images, so that a batch can be cut into parts."""
    norms = SimpleNamespace(**{**vars(nn), "BatchNorm2d": partial(nn.GroupNorm, 8)})
    monkeypatch.setattr(small_cnn, "nn", norms)


@pytest.fixture
def train(toy_root, monkeypatch, tmp_path):
    """Train on one of the engines -> the state of the last checkpoint and the folder."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))
    names = (tmp_path / f"run{number}" for number in count())

    def train(engine, number, detector="fcos", flags=(), **changes):
        folder = next(names)
        entries = {"WEND.EPOCHS": "1", **EVERY_SAMPLE, **SGD, "WEND.ACCUMULATE": str(number)}
        entries |= changes
        assert run(engine, folder, *flags, detector=detector, changes=entries) == 0
        return torch.load(folder / "model_final.pth", weights_only=True), folder

    return train


def parts_of(run):
    """Processes times micro-batches of a training."""
    number = re.search(r"ACCUMULATE: (\d+)", (run[1] / "config.yaml").read_text())[1]
    return run[0]["training"]["world_size"] * int(number)


def assert_same_training(whole, parts, tolerance=1e-6):
    (one, folder), (other, other_folder) = whole, parts
    assert one["model"].keys() == other["model"].keys()
    off = {name: _difference(other["model"][name], value) for name, value in one["model"].items()}
    assert max(off.values()) <= tolerance, off
    assert other.get("scheduler") == one.get("scheduler")
    told, ours = one["training"], other["training"]
    assert ours["first_epoch"] == told["first_epoch"]
    # as for processes, a normalizer is the mean of what each part of the batch counts
    scale = parts_of(whole) / parts_of(parts)
    normalizers = {name: scale * value for name, value in told["normalizers"].items()}
    assert ours["normalizers"] == pytest.approx(normalizers, rel=1e-6)
    force, expected = ours["force"][0], told["force"][0]
    assert force["latest"] == pytest.approx(expected["latest"], rel=1e-5)
    assert force["positive_shares"] == expected["positive_shares"]
    for ours, theirs in zip(_logged(other_folder), _logged(folder), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)


def _logged(folder):
    lines = map(json.loads, (folder / "metrics.json").read_text().splitlines())
    # shares of a micro-batch's samples, such as fast_rcnn/fg_cls_accuracy, have a mean of their own
    return [{name: value for name, value in line.items() if "loss" in name} for line in lines]


@pytest.mark.parametrize("engine", ["detectron2"])
def test_a_training_is_that_of_one_large_batch(engine, train, without_batch_norm):
    assert_same_training(train(engine, 1), train(engine, 4))


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "detector"), BUILDABLE)
def test_so_it_is_with_every_detector(engine, detector, train, without_batch_norm):
    changes = ONE_ANCHOR if detector == "cln" else {}
    whole = train(engine, 1, detector, **changes)
    for number in (2, 4):
        assert_same_training(whole, train(engine, number, detector, **changes))


TAUGHT = {"WEND.EMA.DECAY": "0.9", "WEND.REFINE": "average", "WEND.TEACHER.START": "0.2"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("detector", "more"),
    [("fcos", {}), ("fcos", TAUGHT), ("rcnn", {})],
    ids=["fcos", "taught", "rcnn"],
)
def test_a_training_goes_on_bit_for_bit(engine, detector, more, train, tmp_path):
    """Also where samples are drawn, and with the batch norm of the small CNN."""
    changes = {"WEND.EPOCHS": "2", "MODEL.RPN.BATCH_SIZE_PER_IMAGE": "16", **more}
    whole, folder = train(engine, 2, detector, **changes)
    first = folder / "model_0000002.pth"
    changes = {**EVERY_SAMPLE, **SGD, "WEND.ACCUMULATE": "2", **changes}
    assert go_on(engine, first, tmp_path / "on", detector=detector, changes=changes) == 0
    on = torch.load(tmp_path / "on" / "model_final.pth", weights_only=True)
    assert_same_training((whole, folder), (on, tmp_path / "on"), tolerance=0)


@pytest.mark.slow
def test_two_processes_with_micro_batches_are_one(engine, train, without_batch_norm, tmp_path):
    """Both compute what one process does in twice as many, to the last bits."""
    one, _ = train(engine, 1)
    norms = tmp_path / "norms.py"
    norms.write_text(NORMS)
    entries = options({"WEND.EPOCHS": "1", **EVERY_SAMPLE, **SGD, "WEND.ACCUMULATE": "2"})
    entries += ["OUTPUT_DIR", str(tmp_path / "two"), "WEND.IMPORTS", f"('{norms}',)"]
    command = [sys.executable, "-m", "wend", "train", "--engine", engine, "--num-gpus", "2"]
    command += ["--config-file", str(DETECTORS["fcos"]), *entries]
    subprocess.run(command, check=True, capture_output=True, cwd=REPOSITORY)
    two = torch.load(tmp_path / "two" / "model_final.pth", weights_only=True)
    assert two["training"]["world_size"] == 2
    for name, value in one["model"].items():
        assert (two["model"][name] - value).abs().max() < 1e-6, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"WEND.SAMPLE_WEIGHTS": "('small_loss',)"}, "WEND.SAMPLE_WEIGHTS: expected no small_loss"),
        ({"WEND.RCNN.RATIO": "exact"}, "WEND.RCNN.RATIO: expected cap with WEND.ACCUMULATE 2"),
        ({"WEND.TEACHER.SCORE_QUANTILE": "0.5"}, "WEND.TEACHER.SCORE_QUANTILE: expected 0.0 with"),
    ],
    ids=["small_loss", "ratio", "quantile"],
)
def test_what_compares_the_images_of_a_batch_is_refused(changes, message):
    tv_config(changes=changes)
    with pytest.raises(InputError, match=re.escape(message)):
        tv_config(changes={"WEND.ACCUMULATE": "2", **changes})


def test_a_loss_that_counts_otherwise_in_its_second_pass_is_named():
    counts = MicroBatchCounts(2)
    cpu = torch.device("cpu")
    for index in range(2):
        with counts.counting(index):
            counts_per_process(index, 3, device=cpu)
    counts.exchange(cpu)
    with counts.of_micro_batch(0):
        assert counts_per_process(0, 3, device=cpu).tolist() == [0.5, 3]  # (0 + 1) / 2
    with pytest.raises(InputError, match="asked for different counts"), counts.of_micro_batch(1):
        counts_per_process(1, device=cpu)
    with pytest.raises(InputError, match="asked for different counts"), counts.of_micro_batch(1):
        pass
    assert counts_per_process(7, device=cpu).tolist() == [7]  # outside there is one part


@pytest.mark.parametrize(
    "engine", ["torchvision", pytest.param("detectron2", marks=pytest.mark.slow)]
)
def test_numbers_that_are_not_finite_end_it_before_the_weights_change(engine, train, capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalizationLoss, "joint", _not_finite_in_the_last_part)
        with pytest.raises(AssertionError):
            train(engine, 2)
    error = capsys.readouterr().err
    assert "iteration 0" in error
    assert "loss_" in error


def _not_finite_in_the_last_part(loss, terms):
    return {name: term * (math.nan if micro_batch() == 1 else 1) for name, term in terms.items()}
