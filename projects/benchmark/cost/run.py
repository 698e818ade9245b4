"""What each detector costs beside SCR and the backbone alone: parameters, step, memory, images/s.

    OMP_NUM_THREADS=1 python projects/benchmark/cost/run.py --output OUTPUT_DIR

All models live side by side and take turns, round after round, so that what else the machine does
falls on all of them; ratios are medians of the rounds' ratios. Peak memory is measured in a fresh
process a model. ``--models`` takes parts of names (SCR and the backbone always run). ``--goals``
measures what the goals are about, at several batches in float32 and bfloat16, within 10 minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

import goals  # noqa: E402
import measure  # noqa: E402
from models import MODELS  # noqa: E402
from rows import BASES, machine, prepare, prepared, row, turns_of  # noqa: E402

HEADER = (
    "| model | parameters, M | trained, M | step, s | / SCR | / backbone | peak, MiB | / SCR "
    "| images/s | / backbone |\n|---|---|---|---|---|---|---|---|---|---|\n"
)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--models", nargs="*", default=[], help="parts of names; all by default")
    add("--batch", type=int, default=8, help="images a training step")
    add("--test-batch", type=int, default=32, help="images a test batch")
    add("--crop", type=int, default=224)
    add("--rounds", type=int, default=5)
    add(
        "--clock",
        choices=("wall", "processor"),
        default="wall",
        help="processor: this process's time on the CPU, for one thread of a busy machine",
    )
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--threads", type=int, default=0, help="of PyTorch; 0: OMP_NUM_THREADS")
    add("--channels-last", action="store_true")
    add("--precision", choices=list(measure.PRECISIONS), default="float32")
    add("--calls", type=int, default=0, help="steps of a turn; 0: 1 on a CPU, 5 on a GPU")
    add("--compile", action="store_true", help="torch.compile the backbone")
    add("--no-memory", action="store_true", help="leave out peak memory")
    add("--output", type=Path, help="folder for cost.json and cost.md")
    add("--goals", action="store_true", help="the table of goals, at each of --batches")
    add("--batches", type=int, nargs="*", default=[64, 256], help="of --goals")
    add("--seconds", type=float, default=540.0, help="that --goals may take, about")
    add("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = [part for part in args.models if not any(part in name for name in MODELS)]
    if unknown:
        parser.error(f"--models: no name holds {', '.join(unknown)}; there are: {list(MODELS)}")
    if min(args.batch, args.test_batch, args.rounds, args.crop) < 1:
        parser.error("--batch, --test-batch, --rounds and --crop must be at least 1")
    if args.clock == "processor" and args.device != "cpu":
        parser.error("--clock processor sees nothing of what a GPU does; leave it out")
    calls = args.calls or (5 if args.device.startswith("cuda") else 1)
    args.how = measure.How(args.device, args.precision, args.clock, calls)
    args.until = math.inf
    return args


def memory(name: str) -> float | None:
    """Peak memory of a model in a process of its own, with this command's options."""
    command = [sys.executable, "-W", "ignore", *sys.argv, "--memory-of", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(f"{name}: memory not measured: {done.stderr.strip()[-300:]}\n")
        return None
    return float(done.stdout.split()[-1])


def measured(args: argparse.Namespace) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Rows by name, and why the others are missing."""
    chosen = [
        name
        for name in MODELS
        if name in BASES or not args.models or any(part in name for part in args.models)
    ]
    subjects, missing = prepared(chosen, args)
    turns = turns_of(subjects, missing, args)
    rows = {name: row(subjects[name], turns, args) for name in subjects}
    alone = [name for name, subject in subjects.items() if subject.scale != (1.0, 1.0)]
    for name, subject in subjects.items():
        if not name.endswith("frozen"):
            rows[name]["we"] = measure.share_of_we(subject, args.how, args.rounds)
    subjects.clear()
    for name in rows:
        rows[name]["fed_one_by_one"] = name in alone  # its memory would be that of one image
        skip = args.no_memory or name in alone
        rows[name]["memory_mib"] = None if skip else memory(name)
    return rows, missing


def markdown(
    rows: dict[str, dict[str, Any]], missing: dict[str, str], args: argparse.Namespace
) -> str:
    """The table, the share of WE, what is missing and where it was measured."""
    base = rows["SCR"]["memory_mib"]
    text = HEADER
    for name, one in rows.items():
        peak = one["memory_mib"]
        memory_cells = f"{peak:.0f} | {peak / base:.2f}" if peak and base else " | "
        text += (
            f"| {name}{' (1)' * one['fed_one_by_one']} | "
            f"{one['parameters'] / 1e6:.2f} | {one['trained'] / 1e6:.2f} | "
            f"{one['step_s']:.3f} | {one['step_to_scr'][1]:.3f} | "
            f"{one['step_to_backbone'][1]:.3f} | {memory_cells} | {one['images_per_s']:.1f} | "
            f"{one['throughput_to_backbone'][1]:.3f} |\n"
        )
    if any(one["fed_one_by_one"] for one in rows.values()):
        text += "\n(1) fed image by image, its time multiplied by the batch\n"
    shares = {name: one["we"] for name, one in rows.items() if one.get("we")}
    if shares:
        text += "\n| WE's share of a step | log-odds | alone | paired (quartiles) |\n"
        text += "|---|---|---|---|\n"
    for name, we in shares.items():
        text += (
            f"| {name} | {we['log_odds']} | {we['alone']:.3%} | {we['paired']:+.2%} "
            f"({we['paired_low']:+.2%} to {we['paired_high']:+.2%}) |\n"
        )
    text += "".join(f"\nmissing: {name}: {why}\n" for name, why in missing.items())
    return f"{text}\n{machine(args)}"


def main() -> None:
    """Parse, measure, print."""
    args = options()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.memory_of:
        peak = measure.peak_memory(lambda: prepare(args.memory_of, args), args.how)
        sys.stdout.write(f"{peak}\n")
        return
    if args.goals:
        goals.measure_all(args)
        return
    rows, missing = measured(args)
    text = markdown(rows, missing, args)
    sys.stdout.write(text)
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        (args.output / "cost.md").write_text(text, encoding="utf-8")
        result = {"machine": machine(args), "rows": rows, "missing": missing}
        (args.output / "cost.json").write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
