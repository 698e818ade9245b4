"""What bfloat16 and channels_last gain: each way of computing against float32, within one run.

    OMP_NUM_THREADS=1 python projects/benchmark/cost/precision.py --clock processor

The ways take turns round after round on the same weights, so that what else the machine does falls
on all of them. Seconds are the least of the rounds, ratios those of the least.
"""

from __future__ import annotations

import argparse
import copy
import sys
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

import measure  # noqa: E402
from models import MODELS, Sizes, Subject, build  # noqa: E402
from run import machine  # noqa: E402

WAYS = {  # name -> precision, channels_last
    "float32": ("float32", False),
    "bfloat16": ("bfloat16", False),
    "float32, channels_last": ("float32", True),
    "bfloat16, channels_last": ("bfloat16", True),
}


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--models", nargs="*", default=["SCR", "BCD-FCOS lean", "Faster R-CNN lean"])
    add("--batch", type=int, default=4, help="images a training step")
    add("--test-batch", type=int, default=8, help="images a test batch")
    add("--crop", type=int, default=224)
    add("--rounds", type=int, default=3)
    add("--clock", choices=("wall", "processor"), default="wall")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    args = parser.parse_args()
    unknown = [name for name in args.models if name not in MODELS]
    if unknown:
        parser.error(f"--models: there is no {', '.join(unknown)}; there are: {list(MODELS)}")
    args.ways = list(dict.fromkeys(["float32", *args.ways]))
    args.threads = args.autocast = args.channels_last = args.compile = False
    args.precision, args.calls = "each way's", 1
    return args


def least_seconds(
    subjects: dict[bool, Subject], args: argparse.Namespace
) -> dict[str, tuple[float, float]]:
    """Least seconds of a training step and of a test batch of each way.

    Args:
        subjects: the model in the usual order of memory and, where a way asks for it, in the other.
    """
    turns: dict[str, list[tuple[float, float]]] = {way: [] for way in args.ways}
    how = measure.How(args.device, clock=args.clock)
    for index in range(args.rounds):
        for way in args.ways:
            sys.stderr.write(f"round {index + 1} of {args.rounds}: {way}\n")
            precision, last = WAYS[way]
            turns[way].append(measure.turn(subjects[last], replace(how, precision=precision)))
    return {
        way: (min(step for step, _ in each), min(test for _, test in each))
        for way, each in turns.items()
    }


def main() -> None:
    """Measure and print a table."""
    args = options()
    rows = "| model | computed in | step, s | / float32 | test batch, s | / float32 |\n"
    rows += "|---|---|---|---|---|---|\n"
    for name in args.models:
        sys.stderr.write(f"{name}\n")
        subject = build(name, Sizes(args.batch, args.test_batch, args.crop), args.device)
        subjects = {False: subject}
        if any(last for _, last in map(WAYS.__getitem__, args.ways)):
            subjects[True] = copy.deepcopy(subject)
            subjects[True].model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        seconds = least_seconds(subjects, args)
        step, test = seconds["float32"]
        for way, (own_step, own_test) in seconds.items():
            rows += f"| {name} | {way} | {own_step:.3f} | {own_step / step:.2f} | "
            rows += f"{own_test:.3f} | {own_test / test:.2f} |\n"
    sys.stdout.write(f"{rows}\n{machine(args)}")


if __name__ == "__main__":
    main()
