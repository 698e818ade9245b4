"""Do to trainings what machines and people do to them, and look whether the promises are kept.

python projects/faults/faults.py                                all of it
python projects/faults/faults.py --only kill --kills 50         the kills
python projects/faults/faults.py --engine torchvision --short   a few of each kind

Linux only. docs/trust.md says what is promised; this folder's README.md holds the table.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from cases import CASES, ENGINES, Case, write_data
from commands import commands
from damage import damages
from disks import full_disks
from folders import sharing
from kills import DoesNotTrainError, References, controls, kills
from launchers import launchers
from malice import malice
from outcomes import Outcome, Table
from running import Machine, adopt_orphans, end_all

from wend import __version__


@dataclass(frozen=True)
class Plan:
    """What a group needs to know.

    Args:
        machine: where commands run.
        references: uninterrupted runs.
        cases: the trainings.
        kills: how many.
        short: whether few of a kind are enough.
    """

    machine: Machine
    references: References
    cases: list[Case]
    kills: int
    short: bool


def _all_at(plan: Plan, group: Callable[..., Iterator[Outcome]]) -> Iterator[Outcome]:
    """A group of many faults: on the first training of each engine."""
    first = {case.engine: case for case in reversed(plan.cases)}
    return group(plan.machine, plan.references, list(first.values()), short=plan.short)


GROUPS: dict[str, Callable[[Plan], Iterator[Outcome]]] = {
    "control": lambda plan: controls(plan.machine, plan.references, plan.cases),
    "kill": lambda plan: kills(plan.machine, plan.references, plan.cases, plan.kills),
    "damage": lambda plan: _all_at(plan, damages),
    "disk": lambda plan: _all_at(plan, full_disks),
    "folder": lambda plan: _all_at(plan, sharing),
    "launch": lambda plan: _all_at(plan, launchers),
    "command": lambda plan: commands(
        plan.machine, plan.references, plan.cases, 6, short=plan.short
    ),
    "malice": lambda plan: _all_at(plan, malice),
}


def main() -> int:
    """Run the groups that were asked for; 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--only", nargs="+", choices=GROUPS, default=list(GROUPS), metavar="GROUP",
        help=f"of {', '.join(GROUPS)} (default: all)")  # fmt: skip
    add("--engine", choices=ENGINES, help="only its trainings (default: both engines')")
    add("--detector", help="only trainings of this detector, such as fcos")
    add("--kills", type=int, default=50, help="trainings to kill (default: 50)")
    add("--seed", type=int, default=0, help="of the moments (default: 0)")
    add("--short", action="store_true", help="a few faults of each kind, on one training")
    add("--limit", type=float, default=300, help="seconds that a command may take (default: 300)")
    add("--output", type=Path, help="Markdown file of the table, JSON beside it")
    add("--keep", type=Path, help="work in this new folder, and keep it")
    args = parser.parse_args()
    cases = [
        case
        for case in CASES
        if args.engine in (None, case.engine) and args.detector in (None, case.detector)
    ]
    if not cases:
        parser.error("no training is of this engine and detector")
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    work = args.keep or Path(tempfile.mkdtemp(prefix="faults-"))
    work = work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    table, began = Table(), time.monotonic()
    try:
        tests = write_data(work / "root")
        machine = Machine(work, work / "root", tests, args.limit, random.Random(args.seed))  # noqa: S311
        if args.short:
            cases, args.kills = cases[:1], min(args.kills, 2)
        plan = Plan(machine, References(machine), cases, args.kills, args.short)
        for name in args.only:
            try:
                for outcome in GROUPS[name](plan):
                    table.add(outcome)
            except DoesNotTrainError as error:
                table.add(Outcome(name, "none", error.case, "", "trains", str(error), kept=False))
    finally:
        end_all()
        if not args.keep:
            shutil.rmtree(work, ignore_errors=True)
        if args.output:
            minutes = (time.monotonic() - began) / 60
            table.write(args.output, f"Faults: wend {__version__}, {minutes:.0f} minutes")
    sys.stdout.write(f"\n{table.summary()}\n")
    return int(table.failures() > 0)


if __name__ == "__main__":
    sys.exit(main())
