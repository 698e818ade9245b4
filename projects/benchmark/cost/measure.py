"""Timing of the cost benchmark: a step, a test batch, what WE adds to a step, peak memory."""

# ruff: noqa: TID251 (a comparison of both engines imports both)
from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from models import Subject

from wend.losses import LocalizationLoss, LossContext

MIB = 2**20
PAPER = {"gamma": 6.0, "alpha": 0.1, "tau1": 0.3, "tau2": 0.3}


@dataclass(frozen=True)
class How:
    """How to run and time: device, bfloat16 or float32, and the clock.

    ``clock`` "processor" counts this process's processor time, all threads together: on one thread
    of a busy CPU it is what "wall" would be on a quiet one. It sees nothing of a GPU.
    """

    device: str
    autocast: bool = False
    clock: str = "wall"

    @property
    def on_cuda(self) -> bool:
        """Whether calls return before the device has finished."""
        return torch.device(self.device).type == "cuda"


@contextmanager
def setting(how: How, *, train: bool) -> Iterator[None]:
    """What surrounds a timed call: Detectron2's event storage, no gradients in tests, bfloat16."""
    with ExitStack() as stack:
        try:
            from detectron2.utils.events import EventStorage

            stack.enter_context(EventStorage())
        except ImportError:
            pass
        if not train:
            stack.enter_context(torch.no_grad())
        if how.autocast:
            stack.enter_context(torch.autocast(torch.device(how.device).type, torch.bfloat16))
        yield


def seconds(work: Callable[[], object], how: How) -> float:
    """Time of one call, to the end of what it started on the device."""
    now = time.process_time if how.clock == "processor" else time.perf_counter
    if how.on_cuda:
        torch.cuda.synchronize()
    start = now()
    work()
    if how.on_cuda:
        torch.cuda.synchronize()
    return now() - start


def train_step(subject: Subject, how: How) -> None:
    """Forward, backward and the optimizer's step."""
    with setting(how, train=True):
        total = sum(subject.model(*subject.train_inputs).values())
    subject.optimizer.zero_grad()
    total.backward()
    subject.optimizer.step()


def test_batch(subject: Subject, how: How) -> None:
    """Detections of one batch."""
    with setting(how, train=False):
        subject.model(*subject.test_inputs)


def release(subject: Subject) -> None:
    """Give back gradients and momentum, so that many models fit into memory side by side."""
    subject.optimizer.zero_grad()
    subject.optimizer.state.clear()
    gc.collect()


def turn(subject: Subject, how: How) -> tuple[float, float]:
    """Seconds of a step and of a test batch, each after one to warm up (not where it is slow)."""
    warm_ups = 1 if subject.scale == (1.0, 1.0) else 0
    subject.model.train()
    for _ in range(warm_ups):
        train_step(subject, how)
    step = seconds(lambda: train_step(subject, how), how)
    release(subject)
    subject.model.eval()
    for _ in range(warm_ups):
        test_batch(subject, how)
    test = seconds(lambda: test_batch(subject, how), how)
    return step * subject.scale[0], test * subject.scale[1]


# ---- memory ----


def _status(field: str) -> int:
    """VmHWM or VmRSS of this process in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def peak_memory(build: Callable[[], Subject], how: How) -> float:
    """MiB of a model, two training steps' activations, gradients and momentum; a fresh process.

    On a GPU what PyTorch allocated at most; on a CPU the process's VmHWM less its VmRSS before
    the model was built.
    """
    before = 0 if how.on_cuda else _status("VmRSS")
    subject = build()
    subject.model.train()
    for _ in range(2):
        train_step(subject, how)
    peak = torch.cuda.max_memory_allocated() if how.on_cuda else _status("VmHWM")
    return (peak - before) / MIB


# ---- the weighted entropy's share ----


def share_of_we(subject: Subject, how: How, rounds: int) -> dict[str, float] | None:
    """What WE adds to a training step.

    ``alone``: L_unsup forward and backward on log-odds of the step's own shape, over the step.
    ``paired``: median of (step with WE) / (step with LOSS none) - 1, in turns of the same model,
    with its quartiles: on a busy machine far coarser than ``alone``. None where the model was
    built without.
    """
    holders = [m for m in subject.model.modules() if "localization_loss" in vars(m)]
    if all(holder.localization_loss.name == "none" for holder in holders):
        return None  # a peer, or a detector of many classes
    shapes: list[torch.Size] = []
    plain = LocalizationLoss(name="none")

    class Recorder(LocalizationLoss):
        def context(self, logits: torch.Tensor, **samples: Any) -> LossContext:
            shapes.append(logits.shape)
            return super().context(logits, **samples)

    we = Recorder("weighted_entropy", parameters=PAPER)
    shapes.clear()  # it was tried on no samples

    def step(loss: LocalizationLoss) -> float:
        for holder in holders:
            holder.localization_loss = loss
        return seconds(lambda: train_step(subject, how), how)

    subject.model.train()
    step(we)
    calls = list(shapes)
    ratios, steps = [], []
    for index in range(rounds):
        order = (we, plain) if index % 2 else (plain, we)
        times = {loss.name: step(loss) for loss in order}
        ratios.append(times["weighted_entropy"] / times["none"] - 1)
        steps.append(times["none"])
    release(subject)

    def alone() -> None:
        for shape in calls:
            logits = torch.randn(shape, device=how.device, requires_grad=True)
            we.unsupervised(logits)["loss_unsup"].backward()

    alone()
    cost = statistics.median(seconds(alone, how) for _ in range(30))
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {
        "log_odds": sum(shape.numel() for shape in calls),
        "alone": cost / statistics.median(steps),
        "paired": statistics.median(ratios),
        "paired_low": low,
        "paired_high": high,
    }
