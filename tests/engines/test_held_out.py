"""Images that are held out: their losses change nothing of a training, on either engine."""

import math

import numpy as np
import pytest
import torch
from engine_runs import BUILDABLE, ONE_ANCHOR, assert_refused, config, run
from torch import nn

from wend.datasets.catalog import DataSets
from wend.evaluation.curve import read_results
from wend.randomness import sample_numbers
from wend.run import resolve_training
from wend.training.held_out import held_out_losses, untouched

SHORT = {
    "WEND.EPOCHS": "0",
    "SOLVER.MAX_ITER": "3",
    "TEST.EVAL_PERIOD": "1",
    "SOLVER.CHECKPOINT_PERIOD": "2",
    "SOLVER.IMS_PER_BATCH": "4",
}


@pytest.fixture(autouse=True)
def _toy(toy_root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))


def _weights(folder):
    return torch.load(folder / "model_final.pth", weights_only=True)["model"]


def _assert_same_training(engine, tmp_path, detector, more=None):
    """With images held out, and with the same images in quarantine."""
    changes = {**SHORT, **(ONE_ANCHOR if detector == "cln" else {}), **(more or {})}
    cfg = config(engine, detector, {**changes, "WEND.HELD_OUT": "0.3"})
    training = resolve_training(cfg, DataSets())
    held_out = training.held_out
    quarantine = tmp_path / "held out.txt"
    quarantine.write_text("\n".join(held_out.file_names))
    on, off = tmp_path / "on", tmp_path / "off"
    assert run(engine, on, detector=detector, changes={**changes, "WEND.HELD_OUT": "0.3"}) == 0
    out = {**changes, "WEND.DATA.QUARANTINE": str(quarantine)}
    assert run(engine, off, detector=detector, changes=out) == 0
    theirs = _weights(off)
    for name, value in _weights(on).items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=0, equal_nan=True)
    curves = [read_results(folder / "curve.csv") for folder in (on, off)]
    losses = [results.pop("held_out")[""] for results in curves[0].values()]
    assert curves[0] == curves[1]
    assert [*curves[0]] == [1, 2, 3]
    for terms in losses:
        assert terms["total_loss"] > 0
        assert terms.pop("total_loss") == pytest.approx(sum(terms.values()), abs=1e-5)


def test_a_training_is_the_same_to_the_last_bit(engine, tmp_path):
    _assert_same_training(engine, tmp_path, "fcos", {"WEND.EMA.DECAY": "0.9"})


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "detector"), BUILDABLE)
def test_so_is_that_of_every_detector(engine, detector, tmp_path):
    more = {"WEND.DETR.DROPOUT": "0.1"} if detector == "detr" else {}
    _assert_same_training(engine, tmp_path, detector, more)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("WEND.HELD_OUT 1.0", "WEND.HELD_OUT: expected in [0, 1), got 1.0"),
        ("WEND.HELD_OUT -0.1", "WEND.HELD_OUT: expected in [0, 1), got -0.1"),
    ],
)
def test_a_share_that_is_none_is_refused(engine, override, message, tmp_path, capsys):
    assert_refused(engine, override, message, tmp_path / "run", capsys)


class Odd(nn.Module):
    """A detector that keeps counts, draws numbers, and depends on its mode."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.drop = nn.Dropout(0.5)
        self.loss_normalizer = 7.0
        self.steps = 0

    def forward(self, batch):
        assert self.training
        self.steps += 1
        self.loss_normalizer = getattr(self, "loss_normalizer", 1.0)
        value = self.drop(self.norm(torch.stack(batch))).sum() + torch.rand(())
        return {"loss": value / self.loss_normalizer, "own": torch.tensor(1.0)}


def test_a_detector_is_left_as_it_was_and_repeats_its_losses():
    torch.manual_seed(3)
    model = Odd().eval()
    batches = [[torch.rand(2) for _ in range(n)] for n in (3, 3, 1)]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first = held_out_losses(model, batches, model, 4, 10)["held_out"][""]
    assert held_out_losses(model, batches, model, 5, 10)["held_out"][""] == first
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == np.random.get_state()[1].tolist()
    assert (model.steps, model.loss_normalizer, model.training) == (0, 7.0, False)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.norm.training
    # with running statistics of mean 0 and variance 1 a norm passes what it gets, dropout all
    drawn = []
    for i in range(3):
        with sample_numbers(0, i):
            drawn.append(torch.rand(()).item())
    sums = [torch.stack(b).sum().item() / math.sqrt(1 + 1e-5) for b in batches]
    expected = sum(n * (s + d) for n, s, d in zip((3, 3, 1), sums, drawn, strict=True)) / 7
    assert first["loss"] == pytest.approx(expected, rel=1e-6)
    assert list(first) == ["total_loss", "loss", "own"]
    assert first["own"] == 1
    with pytest.raises(RuntimeError), untouched(model):
        raise RuntimeError
    assert not model.training


def test_a_loss_that_is_not_finite_is_said_and_ends_nothing():
    model = Odd()

    def fails(batch):
        raise FloatingPointError("NaN")

    def is_nan(batch):
        return {"loss": torch.tensor(math.nan)}

    for losses in (fails, is_nan):
        values = held_out_losses(model, [[1]], losses, 1, 2)["held_out"][""]
        assert math.isnan(values["total_loss"])
