"""How strongly the weighted entropy pulls in each detector and reading, on the toy data.

    python projects/reproduce/force.py --jobs 2

A row is a short training of a ``*_we.yaml`` at the scale of toy.yaml, in batches of 16.
``unsup_to_cls`` is the ratio that both engines log: Σ |∂(f · L_unsup)/∂z| over Σ |∂(η · L_cls)/∂z|
of all log-odds z of a batch. Finished trainings are not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from plan import CONFIGS, DATA, HERE, Row, Run, as_toy, plan_runs, with_overrides, with_readings
from runs import run_all, unique
from tabulate import tabulate

from wend.cli.strict_parser import StrictParser
from wend.datasets.toy import ToyConfig, write_toy
from wend.errors import InputError
from wend.run_files import LOSSES_FILE
from wend.yaml_files import read_yaml

DETECTORS = {
    "FCOS": "fcos_R50_we",
    "Faster R-CNN": "faster_rcnn_R50_we",
    "CLN": "cln_R50_we",
    "Deformable DETR": "deformable_detr_R50_we",
}
BATCH = 16
TEST_IMAGES = 32  # they are not looked at
HEADER = ("detector", "γ, α, τ, η of", "reading", "first", "median", "last", "touched")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = StrictParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectors", nargs="+", choices=DETECTORS, default=list(DETECTORS))
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("output/force"))
    parser.add_argument("--engine", default="auto", choices=["auto", "detectron2", "torchvision"])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    return parser.parse_args(argv)


def rows(
    args: argparse.Namespace, readings: Mapping[str, Any], toy: Mapping[str, Any]
) -> Iterator[tuple[str, str, str, Row]]:
    """Detector, data of the setting, reading, and the row of each training."""
    root = args.output / "data"
    root.mkdir(parents=True, exist_ok=True)
    write_toy(root / "toy", ToyConfig(num_train=toy["train_images"], num_test=TEST_IMAGES))
    changes = {"SOLVER.MAX_ITER": args.iterations, "SOLVER.IMS_PER_BATCH": BATCH}
    for label in args.detectors:
        for data in args.data:
            row = Row(label, "", data, CONFIGS / data / f"{DETECTORS[label]}.yaml")
            for reading in readings:
                (read,) = with_readings([row], [reading], readings)
                yield label, data, reading, with_overrides(as_toy(read, toy, root), changes)


def measured(run: Run) -> dict[str, list[float]]:
    """``unsup_to_cls`` and ``unsup_touched`` of a run, each time that they were logged."""
    lines = (run.folder / LOSSES_FILE).read_text(encoding="utf-8").splitlines()
    numbers = [line for line in map(json.loads, lines) if "unsup_to_cls" in line]
    return {key: [line[key] for line in numbers] for key in ("unsup_to_cls", "unsup_touched")}


def line(label: str, data: str, reading: str, run: Run) -> list[str]:
    """A line of the table."""
    values = measured(run)
    ratios = values["unsup_to_cls"]
    middle = sorted(ratios)[len(ratios) // 2]
    shown = (f"{100 * ratio:.2g} %" for ratio in (ratios[0], middle, ratios[-1]))
    return [label, data, reading, *shown, f"{100 * fmean(values['unsup_touched']):.0f} %"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print; 1: a run failed, 2: the user's input is wrong."""
    args = parse(argv)
    tables, toy = (read_yaml(HERE / name, "a plan") for name in ("tables.yaml", "toy.yaml"))
    try:
        planned = list(rows(args, tables["readings"], toy))
        plan = plan_runs([row for *_, row in planned], [args.seed], args.output, engine=args.engine)
        runs = unique(run for each in plan.values() for run in each)
        failures = run_all(runs, args.jobs, args.threads)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for failure in failures:
        print(f"\n{failure.run.command()}\nended with {failure.status}:\n{failure.tail}")
    if not failures:
        body = [line(*names, plan[row][0]) for *names, row in planned]
        print(tabulate(body, HEADER, tablefmt="github", disable_numparse=True))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
