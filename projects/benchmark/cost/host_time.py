"""Where the host's time of a step and of a test batch goes, by ``torch.profiler``, without a GPU.

    OMP_NUM_THREADS=1 python projects/benchmark/cost/host_time.py [NAME ...] --batch 8 --crop 64

For each part of a model: operations, the time inside of them (on a CPU with their arithmetic), the
time between them, which is Python's, and what their dispatch alone costs: their number times the
time of an addition of one number. On a GPU the host has Python and dispatch to do, and the
arithmetic is the GPU's; the profiler itself makes Python slower.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

import measure  # noqa: E402
from models import MODELS, MissingModelError, Sizes, Subject, build  # noqa: E402

DEFAULT = ("SCR", "BCD-FCOS lean", "Faster R-CNN lean", "CLN", "Deformable DETR")
PARTS = ("backbone", "head", "proposal_generator", "rpn", "roi_heads")  # modules, by their names
OPERATIONS = ("aten::", "torchvision::")
WHOLE = {"step": ("forward, the rest", "backward", "optimizer"), "test": ("forward, the rest",)}


def dispatch_microseconds() -> float:
    """Of the smallest operation, with a graph: the least of some rounds."""
    one = torch.ones(1, requires_grad=True)
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(2000):
            one + 1
        rounds.append((time.perf_counter() - start) / 2000)
    return 1e6 * min(rounds)


def name_parts(model: nn.Module) -> list[str]:
    """Let the profiler know when a model's parts run; their names."""
    named = []
    for name in PARTS:
        part = getattr(model, name, None)
        if isinstance(part, nn.Module):
            part.forward = _recorded(name, part.forward)  # type: ignore[method-assign]
            named.append(name)
    return named


def _recorded(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    def recorded(*args: Any, **kwargs: Any) -> Any:
        with record_function(name):
            return work(*args, **kwargs)

    return recorded


def profiled(subject: Subject, how: measure.How, *, train: bool) -> Any:
    """The profile of a step, or of a test batch, after two that warm up."""
    subject.model.train(train)

    def work() -> None:
        with measure.setting(how, train=train), record_function("forward, the rest"):
            inputs = subject.train_inputs if train else subject.test_inputs
            outputs = subject.model(*inputs)
        if train:
            subject.optimizer.zero_grad()
            with record_function("backward"):
                sum(outputs.values()).backward()
            with record_function("optimizer"):
                subject.optimizer.step()

    for _ in range(2):
        work()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    return profiler


def rows_of(profiler: Any, parts: list[str], dispatch: float) -> list[tuple[str, int, float, ...]]:
    """Of each part: its name, operations, and ms in them, between them and of their dispatch."""
    events = sorted(profiler.events(), key=lambda event: event.time_range.start)
    ranges = [event for event in events if event.name in parts]
    sums = {part: [0, 0.0, 0.0] for part in parts}
    for part in ranges:
        sums[part.name][2] += part.self_cpu_time_total / 1000
    for event in events:
        parent = event.cpu_parent
        if not event.name.startswith(OPERATIONS) or parent is None:
            continue
        if parent.name.startswith(OPERATIONS):  # a part of one
            continue
        inside = [part for part in ranges if _holds(part, event)]
        if not inside:
            continue
        part = min(inside, key=lambda each: each.time_range.elapsed_us())
        sums[part.name][0] += 1
        sums[part.name][1] += event.cpu_time_total / 1000
    return [(p, n, within, python, n * dispatch / 1000) for p, (n, within, python) in sums.items()]


def _holds(part: Any, event: Any) -> bool:
    ours, its = part.time_range, event.time_range
    return ours.start <= its.start and its.end <= ours.end


def main() -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", choices=list(MODELS), help=", ".join(DEFAULT))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--top", type=int, default=8, help="operations that are listed")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    how, dispatch = measure.How("cpu"), dispatch_microseconds()
    out = sys.stdout.write
    out(f"batch {args.batch}, crop {args.crop}; an operation's dispatch: {dispatch:.1f} us\n")
    for name in args.names or DEFAULT:
        try:
            subject = build(name, Sizes(args.batch, args.batch, args.crop), "cpu")
        except MissingModelError as error:
            out(f"\n{name}: missing: {error}\n")
            continue
        parts = name_parts(subject.model)
        for kind, whole in WHOLE.items():
            profiler = profiled(subject, how, train=kind == "step")
            out(f"\n| {name}, {kind} | operations | in them, ms | Python, ms | dispatch, ms |\n")
            out("|---|---|---|---|---|\n")
            for part, number, within, python, dispatched in rows_of(
                profiler, [*parts, *whole], dispatch
            ):
                out(f"| {part} | {number} | {within:.1f} | {python:.1f} | {dispatched:.1f} |\n")
            most = sorted(profiler.key_averages(), key=lambda each: -each.count)
            named = [each for each in most if each.key.startswith("aten::")][: args.top]
            out("most often: " + ", ".join(f"{e.key[6:]} {e.count}" for e in named) + "\n")
        measure.release(subject)


if __name__ == "__main__":
    main()
