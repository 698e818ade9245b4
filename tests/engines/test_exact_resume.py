"""A training that was killed and goes on ends in the same bits as one that was not."""

import json
import shutil
import subprocess
import sys
from operator import itemgetter

import pytest
import safetensors
import torch
import yaml
from engine_runs import BUILDABLE, DETECTORS, ONE_ANCHOR, go_on, options, run

CLOCKS = {"time", "data_time", "eta_seconds", "rank_data_time"}
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
    """Entries of checkpoints that differ; ``wend`` names OUTPUT_DIR, the log has evaluations."""
    for checkpoint in (a, b):
        checkpoint["training"].pop("log", None)
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
    assert _logged(tmp_path / "resumed") == _logged(tmp_path / "whole")


def _logged(folder):
    """What a run logged, without what clocks say; Detectron2's losses are medians of all six."""
    rows = map(json.loads, (folder / "metrics.json").read_text().splitlines())
    rows = ({key: row[key] for key in row.keys() - CLOCKS} for row in rows)
    return sorted(rows, key=itemgetter("iteration"))


def _tensors(path):
    """Metadata and bytes; the order of metadata in the file is by chance."""
    with safetensors.safe_open(path, "pt") as file:
        names = sorted(file.keys())
        return file.metadata(), {n: file.get_tensor(n).numpy().tobytes() for n in names}


def test_a_finished_run_stays_as_it_is(engine, finished, tmp_path):
    """Also what the last evaluation logged, which is after all iterations on Detectron2."""
    folder = shutil.copytree(finished(engine), tmp_path / "run")
    names = ("metrics.json", "curve.csv", "model_final.pth")
    before = {name: (folder / name).read_bytes() for name in names}
    events = {path.name for path in folder.glob("events*")}
    assert run(engine, folder, "--resume") == 0
    assert {name: (folder / name).read_bytes() for name in names} == before
    assert {path.name for path in folder.glob("events*")} == events
    # killed between its last two files, and while it wrote the last of them
    final, tensors = folder / "model_final.pth", folder / "model_final.safetensors"
    weights = _tensors(tensors)
    whole = max(folder.glob("model_0*.pth")).read_bytes()
    tensors.unlink()
    final.write_bytes(before["model_final.pth"][:1000])
    assert run(engine, folder, "--resume") == 0
    assert (final.read_bytes(), _tensors(tensors)) == (whole, weights)
    tensors.unlink()
    assert run(engine, folder, "--resume") == 0
    assert (final.read_bytes(), _tensors(tensors)) == (whole, weights)


def test_without_a_seed_one_is_drawn_and_kept(engine, tmp_path):
    changes = {"SEED": "-1", "WEND.EPOCHS": "1", "SOLVER.WARMUP_ITERS": "0"}
    assert run(engine, tmp_path / "other", changes=changes) == 0
    changes["WEND.EPOCHS"] = "2"
    resumed, whole = _resumed_and_whole(engine, tmp_path, changes=changes)
    assert not _differences(resumed, whole)
    seeds = {
        name: yaml.safe_load((tmp_path / name / "config.yaml").read_text())["SEED"]
        for name in ("other", "whole", "resumed")
    }
    assert seeds["whole"] == seeds["resumed"] == whole["training"]["seed"] != seeds["other"]
    other = torch.load(tmp_path / "other" / HALF, weights_only=True)
    half = torch.load(tmp_path / "whole" / HALF, weights_only=True)
    assert not _same(other["model"], half["model"])


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "detector"), BUILDABLE)
@pytest.mark.parametrize("workers", ["0", "2"])
def test_every_detector_resumed_is_uninterrupted(engine, detector, workers, tmp_path):
    changes = {"DATALOADER.NUM_WORKERS": workers, "WEND.DETR.DROPOUT": "0.1"}
    assert not _differences(*_resumed_and_whole(engine, tmp_path, detector, changes))


def _in_a_process(engine, folder, *flags):
    command = [sys.executable, "-m", "wend", "train", "--engine", engine, *flags]
    changes = {"OUTPUT_DIR": str(folder), "WEND.HELD_OUT": "0.25"}
    command += ["--config-file", str(DETECTORS["fcos"]), *options(changes)]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)


@pytest.mark.slow
def test_a_process_of_its_own_goes_on_in_the_same_bits(engine, tmp_path):
    """TorchScript, say, computes otherwise in the first calls of a process than later."""
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    for folder in (whole, resumed):
        folder.mkdir()
    _in_a_process(engine, whole)
    (resumed / HALF).write_bytes((whole / HALF).read_bytes())
    (resumed / "last_checkpoint").write_text(HALF)
    _in_a_process(engine, resumed, "--resume")
    assert not _differences(
        *(torch.load(path / "model_final.pth", weights_only=True) for path in (resumed, whole))
    )
    assert (resumed / "curve.csv").read_text() == (whole / "curve.csv").read_text()
