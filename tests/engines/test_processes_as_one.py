"""The gradients of two processes are those of one on the same images, whatever each of them has."""

from importlib.util import find_spec

import pytest
import torch
from engine_runs import BUILDABLE, ENGINES, ONE_ANCHOR, build, config, losses, random_crops
from torch import distributed as dist
from torch import nn
from two_processes import in_two_processes

EVERY_SAMPLE = {  # none is drawn, so that both have the same
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": "100000",
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "100000",
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": "20",
    "WEND.DETR.DROPOUT": "0.0",
}
BOXES = (1, 3, 0, 2, 1, 1, 0, 4)  # of each image; the first process has 2 of 12, the other 10


def _model(engine, detector, changes):
    cfg = config(engine, detector, {**EVERY_SAMPLE, **changes})
    model = build(engine, cfg)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()  # its statistics are those of a process's images
    # Whose attention rounds by more than 1e-6 in float32; the others' losses are never in float64
    return model.double() if detector == "detr" else model


def _gradients(engine, detector, changes, rank, processes, steps):
    """The gradients of each step, averaged over the processes as DistributedDataParallel does."""
    model = _model(engine, detector, changes)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    crops = random_crops(len(BOXES), BOXES)
    result = []
    for _ in range(steps):
        optimizer.zero_grad()
        sum(losses(engine, model, crops[rank::processes]).values()).backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        for gradient in gradients.values():
            if processes > 1:
                dist.all_reduce(gradient)
                gradient /= processes
        result.append({name: gradient.clone() for name, gradient in gradients.items()})
        optimizer.step()
    return result


def _work(rank, folder, cases):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    results = [_gradients(*case, rank, 2, 3) for case in cases]
    if rank == 0:
        torch.save(results, f"{folder}/gradients.pt")
    dist.destroy_process_group()


def _compare(cases, folder):
    in_two_processes(_work, str(folder), cases)
    of_two = torch.load(folder / "gradients.pt", weights_only=True)
    for case, two in zip(cases, of_two, strict=True):
        one = _gradients(*case, 0, 1, 3)
        for step in range(3):
            worst = {n: (two[step][n] - one[step][n]).abs().max().item() for n in one[step]}
            limit = 1e-6 if case[1] != "detr" else 1e-10
            assert max(worst.values()) < limit, (case, step, worst)
        assert max(gradient.abs().max() for gradient in one[2].values()) > 1e-3


READINGS = [
    {"WEND.WE.NORMALIZER": normalizer, "WEND.WE.SAMPLES": samples}
    for normalizer in ("samples", "positives", "boxes")
    for samples in ("all", "unassigned")
]


@pytest.mark.early
def test_two_processes_are_as_one(tmp_path):
    """Both engines in the same two processes, which take longer to start than to compute."""
    installed = [engine for engine in ENGINES if engine != "detectron2" or find_spec(engine)]
    _compare([(engine, "fcos", READINGS[0]) for engine in installed], tmp_path)


@pytest.mark.slow
def test_two_processes_are_as_one_with_every_detector_and_reading(engine, tmp_path):
    cases = []
    for detector in (name for made, name in BUILDABLE if made == engine):
        changes = ONE_ANCHOR if detector == "cln" else {}
        readings = [{}] if detector == "scr" else READINGS
        cases += [(engine, detector, {**changes, **reading}) for reading in readings]
    _compare(cases, tmp_path)
