"""How strongly each reading of the weighted entropy would pull, for each detector, on the toy data.

    python projects/reproduce/force.py --jobs 4

A line is a short training of a ``*_we.yaml`` at the scale of toy.yaml, in batches of 16. Every 20
steps each reading is measured on the very samples of that step: Σ |∂L_unsup/∂z| over
Σ |∂(η · L_cls)/∂z| of all log-odds z, which is the ``unsup_to_cls`` that a run logs of its own.
Finished trainings are not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from plan import CONFIGS, DATA, HERE, Row, Run, as_toy, plan_runs, with_overrides
from runs import run_all, train_in_child
from tabulate import tabulate

from wend.cli.strict_parser import StrictParser
from wend.datasets.toy import ToyConfig, write_toy
from wend.errors import InputError
from wend.losses import (
    LOSSES,
    NORMALIZERS,
    WEIGHT_GRADIENTS,
    LocalizationLoss,
    UnsupervisedForce,
)
from wend.yaml_files import read_yaml

DETECTORS = {
    "FCOS": "fcos_R50_we",
    "Faster R-CNN": "faster_rcnn_R50_we",
    "CLN": "cln_R50_we",
    "Deformable DETR": "deformable_detr_R50_we",
}
READINGS: dict[str, tuple[str, dict[str, str]]] = {  # name -> loss, its parameters
    **{
        f"{normalizer}, {way}": (
            "weighted_entropy",
            {"normalizer": normalizer, "weight_gradient": way},
        )
        for way in WEIGHT_GRADIENTS
        for normalizer in NORMALIZERS
    },
    "entropy": ("entropy", {"normalizer": "samples"}),
}
BATCH = 16
TEST_IMAGES = 32  # they are not looked at
FORCES = "forces.json"


class MeasuredLoss:
    """Takes the place of ``LocalizationLoss.unsupervised_of``, and measures every reading there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.original = LocalizationLoss.unsupervised_of
        self.forces: dict[int, dict[str, UnsupervisedForce]] = {}  # by iteration

    def __call__(self, loss: LocalizationLoss, context: Any, **own: Any) -> dict[str, Any]:
        """``loss.unsupervised_of(context, ...)``."""
        supervised, shared = own.get("supervised"), own.get("shared")
        if loss.force is not None and supervised is not None and context.logits.requires_grad:
            of_step = self.forces.setdefault(loss.progress.iteration, {})
            for name, (loss_name, parameters) in READINGS.items():
                chosen = {**(loss.parameters if loss_name == loss.name else {}), **parameters}
                value = LOSSES.get(loss_name)(context, **chosen)
                force = of_step.setdefault(name, UnsupervisedForce())
                force.add(value, supervised, context.logits, shared or [context.logits])
            self.write(loss)
        return self.original(loss, context, **own)

    def write(self, loss: LocalizationLoss) -> None:
        """What was measured so far; Deformable DETR adds to a step layer by layer."""
        eta = loss.eta.at(loss.progress)
        ratios = {
            iteration: {
                name: force.scalars(eta, 1.0).get("unsup_to_cls", 0.0)
                for name, force in forces.items()
            }
            for iteration, forces in self.forces.items()
        }
        self.path.write_text(json.dumps(ratios), encoding="utf-8")


def measure_in_child(arguments: list[str], log: str, threads: int) -> None:
    """A child's whole work: a training in which every reading is measured."""
    measured = MeasuredLoss(Path(log).with_name(FORCES))
    LocalizationLoss.unsupervised_of = lambda loss, context, **own: measured(loss, context, **own)
    train_in_child(arguments, log, threads)


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


def rows(args: argparse.Namespace, toy: dict[str, Any]) -> dict[tuple[str, str], Row]:
    """Detector and data of the setting -> the row of its training."""
    root = args.output / "data"
    root.mkdir(parents=True, exist_ok=True)
    write_toy(root / "toy", ToyConfig(num_train=toy["train_images"], num_test=TEST_IMAGES))
    changes = {"SOLVER.MAX_ITER": args.iterations, "SOLVER.IMS_PER_BATCH": BATCH}
    return {
        (label, data): with_overrides(
            as_toy(Row(label, "", data, CONFIGS / data / f"{DETECTORS[label]}.yaml"), toy, root),
            changes,
        )
        for label in args.detectors
        for data in args.data
    }


def line(label: str, data: str, run: Run) -> list[str]:
    """A line of the table: the median over the steps that were measured, but for the first."""
    ratios = json.loads((run.folder / FORCES).read_text(encoding="utf-8"))
    steps = list(ratios.values())
    steps = steps[1:] or steps
    return [label, data, *(f"{100 * median(s[name] for s in steps):.3g} %" for name in READINGS)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print; 1: a run failed, 2: the user's input is wrong."""
    args = parse(argv)
    toy = read_yaml(HERE / "toy.yaml", "a plan")
    try:
        planned = rows(args, toy)
        plan = plan_runs(list(planned.values()), [args.seed], args.output, engine=args.engine)
        runs = {names: plan[row][0] for names, row in planned.items()}
        failures = run_all(list(runs.values()), args.jobs, args.threads, target=measure_in_child)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for failure in failures:
        print(f"\n{failure.run.command()}\nended with {failure.status}:\n{failure.tail}")
    if not failures:
        body = [line(*names, run) for names, run in runs.items()]
        header = ["detector", "γ, α, τ, η of", *READINGS]
        print(tabulate(body, header, tablefmt="github", disable_numparse=True))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
