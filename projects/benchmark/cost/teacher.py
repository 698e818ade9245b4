"""What the average of the weights and its lessons add to a training step, for each detector.

    OMP_NUM_THREADS=1 python projects/benchmark/cost/teacher.py --batch 4 --crop 128 --rounds 5

A round is a step, an update of the average, and the teacher's boxes and refinement of the same
batch (``WEND.REFINE average``); ratios to the step are medians of the rounds' ratios. Detectors,
batches and clock are those of ``run.py``.
"""

# ruff: noqa: T201 (a script)
from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

import measure  # noqa: E402
from models import OURS, MissingModelError, Sizes, build  # noqa: E402

DEFAULT = [name for name in OURS if not any(word in name for word in ("backbone", "classes"))]


def ratios(name: str, sizes: Sizes, how: measure.How, rounds: int) -> tuple[float, float]:
    """Update / step and lesson / step of a detector."""
    from wend.d2.teaching import build_teacher, taught
    from wend.teaching.ema import WeightAverage
    from wend.teaching.refine import Refinement
    from wend.teaching.teacher import Teaching

    subject = build(name, sizes, how.device)
    subject.model.train()
    average = WeightAverage(subject.model, 0.99)
    teacher = build_teacher(average, Teaching(Refinement("average")))
    pairs = []
    for _ in range(rounds + 1):  # the first warms up
        step = measure.seconds(lambda: measure.train_step(subject, how), how)
        update = measure.seconds(average.update, how)
        lesson = measure.seconds(lambda: taught(teacher, *subject.train_inputs), how)
        pairs.append((update / step, lesson / step))
    updates, lessons = zip(*pairs[1:], strict=True)
    return statistics.median(updates), statistics.median(lessons)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="*", default=DEFAULT, choices=list(OURS))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall")
    arguments = parser.parse_args()
    how = measure.How(arguments.device, clock=arguments.clock)
    print("| model | update / step | lesson / step |\n|---|---|---|")
    for name in arguments.models:
        try:
            sizes = Sizes(arguments.batch, 1, arguments.crop)
            update, lesson = ratios(name, sizes, how, arguments.rounds)
            print(f"| {name} | {update:.3f} | {lesson:.2f} |", flush=True)
        except MissingModelError as error:
            print(f"| {name} | {error} | |")


if __name__ == "__main__":
    main()
