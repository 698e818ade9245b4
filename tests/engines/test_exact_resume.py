"""A training that was killed and goes on ends in the same bits as one that was not."""

import pytest
import torch
from engine_runs import BUILDABLE, ONE_ANCHOR, go_on, run

HALF = "model_0000002.pth"  # after three of six iterations


def _same(a, b):
    """Whether nested containers of tensors and numbers are the same to the bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b


def _differences(a, b):
    """Entries of checkpoints that differ; ``wend`` names OUTPUT_DIR."""
    return [key for key in a.keys() | b.keys() if key != "wend" and not _same(a[key], b[key])]


def _resumed_and_whole(engine, tmp_path, detector="fcos", changes=None):
    """The last checkpoints of a run that goes on after its first half, and of one that is whole."""
    changes = {**(ONE_ANCHOR if detector == "cln" else {}), **(changes or {})}
    options = {"detector": detector, "changes": changes}
    assert run(engine, tmp_path / "whole", **options) == 0
    assert go_on(engine, tmp_path / "whole" / HALF, tmp_path / "resumed", **options) == 0
    return [
        torch.load(tmp_path / name / "model_final.pth", weights_only=True)
        for name in ("resumed", "whole")
    ]


def test_resumed_is_uninterrupted(engine, tmp_path):
    resumed, whole = _resumed_and_whole(engine, tmp_path)
    assert not _differences(resumed, whole)
    assert {"model", "optimizer" if engine == "torchvision" else "trainer", "training"} < set(whole)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "detector"), BUILDABLE)
@pytest.mark.parametrize("workers", ["0", "2"])
def test_every_detector_resumed_is_uninterrupted(engine, detector, workers, tmp_path):
    changes = {"DATALOADER.NUM_WORKERS": workers, "WEND.DETR.DROPOUT": "0.1"}
    assert not _differences(*_resumed_and_whole(engine, tmp_path, detector, changes))
