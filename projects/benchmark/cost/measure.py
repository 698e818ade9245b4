"""Timing of the cost benchmark: a step, a test batch, what WE adds to a step, peak memory."""

# ruff: noqa: TID251 (a comparison of both engines imports both)
from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from models import Subject

from wend.losses import LocalizationLoss, LossContext

MIB = 2**20
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PAPER = {"gamma": 6.0, "alpha": 0.1, "tau1": 0.3, "tau2": 0.3}


@dataclass(frozen=True)
class How:
    """How to run and time: device, precision, and the clock.

    Attributes:
        device: of the models.
        precision: one of :data:`PRECISIONS`; others than float32 by autocast.
        clock: "wall", or "processor", this process's processor time, all threads together: on one
            thread of a busy CPU it is what "wall" would be on a quiet one. It sees nothing of a
            GPU.
        calls: steps, or test batches, of a turn, which are timed as one: a GPU then has the next
            one to begin with while the host is ahead.
    """

    device: str
    precision: str = "float32"
    clock: str = "wall"
    calls: int = 1

    @property
    def on_cuda(self) -> bool:
        """Whether calls return before the device has finished."""
        return torch.device(self.device).type == "cuda"


@contextmanager
def setting(how: How, *, train: bool) -> Iterator[None]:
    """What surrounds a timed call: Detectron2's event storage, no gradients in tests, precision."""
    with ExitStack() as stack:
        try:
            from detectron2.utils.events import EventStorage

            stack.enter_context(EventStorage())
        except ImportError:
            pass
        if not train:
            stack.enter_context(torch.no_grad())
        dtype = PRECISIONS[how.precision]
        if dtype != torch.float32:
            stack.enter_context(torch.autocast(torch.device(how.device).type, dtype))
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
    warm_up = subject.scale == (1.0, 1.0)
    subject.model.train()
    step = _mean_seconds(partial(train_step, subject, how), how, warm_up=warm_up)
    release(subject)
    subject.model.eval()
    test = _mean_seconds(partial(test_batch, subject, how), how, warm_up=warm_up)
    return step * subject.scale[0], test * subject.scale[1]


def _mean_seconds(work: Callable[[], object], how: How, *, warm_up: bool) -> float:
    """Time of one of ``how.calls`` calls."""
    if warm_up:
        work()

    def calls() -> None:
        for _ in range(how.calls):
            work()

    return seconds(calls, how) / how.calls


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


class Recorder(LocalizationLoss):
    """WE with the paper's setting, which notes the shapes of the log-odds of each context."""

    def __init__(self) -> None:
        self.shapes: list[torch.Size] = []
        super().__init__("weighted_entropy", parameters=PAPER)
        self.shapes.clear()  # it was tried on no samples

    def context(self, logits: torch.Tensor, **samples: Any) -> LossContext:
        """:meth:`LocalizationLoss.context`."""
        self.shapes.append(logits.shape)
        return super().context(logits, **samples)


def holders_of_loss(subject: Subject) -> list[Any]:
    """The modules that hold a model's loss; empty where it has none, or no L_unsup."""
    holders = [m for m in subject.model.modules() if "localization_loss" in vars(m)]
    return [] if all(holder.localization_loss.is_none for holder in holders) else holders


def seconds_of_we(shapes: Iterable[torch.Size], how: How) -> float:
    """L_unsup forward and backward on log-odds of these shapes; median of 30 times."""
    we = LocalizationLoss("weighted_entropy", parameters=PAPER)
    inputs = [torch.randn(shape, device=how.device, requires_grad=True) for shape in shapes]

    def work() -> None:
        for logits in inputs:
            we.unsupervised(logits)["loss_unsup"].backward()

    work()
    return statistics.median(seconds(work, how) for _ in range(30))


def share_of_we_alone(subject: Subject, how: How, step: float) -> float:
    """What of a step L_unsup is, forward and backward; 0 without.

    Args:
        step: seconds of a step.
    """
    holders = holders_of_loss(subject)
    if not holders:
        return 0.0
    recorder, own = Recorder(), [holder.localization_loss for holder in holders]
    for holder in holders:
        holder.localization_loss = recorder
    subject.model.train()
    train_step(subject, how)
    for holder, loss in zip(holders, own, strict=True):
        holder.localization_loss = loss
    release(subject)
    return seconds_of_we(recorder.shapes, how) / step


def share_of_we(subject: Subject, how: How, rounds: int) -> dict[str, float] | None:
    """What WE adds to a training step.

    ``alone``: L_unsup forward and backward on log-odds of the step's own shape, over the step.
    ``paired``: median of (step with WE) / (step with LOSS none) - 1, in turns of the same model,
    with its quartiles: on a busy machine far coarser than ``alone``. None where the model was
    built without.
    """
    holders = holders_of_loss(subject)
    if not holders:
        return None  # a peer, or a detector of many classes
    plain, we = LocalizationLoss(name="none"), Recorder()

    def step(loss: LocalizationLoss) -> float:
        for holder in holders:
            holder.localization_loss = loss
        return seconds(lambda: train_step(subject, how), how)

    subject.model.train()
    step(we)
    calls = list(we.shapes)
    ratios, steps = [], []
    for index in range(rounds):
        order = (we, plain) if index % 2 else (plain, we)
        times = {loss.name: step(loss) for loss in order}
        ratios.append(times["weighted_entropy"] / times["none"] - 1)
        steps.append(times["none"])
    release(subject)
    cost = seconds_of_we(calls, how)
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {
        "log_odds": sum(shape.numel() for shape in calls),
        "alone": cost / statistics.median(steps),
        "paired": statistics.median(ratios),
        "paired_low": low,
        "paired_high": high,
    }
