"""Trainings that are killed at random moments and go on: are they what they would have been?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cases import STEPS, Case
from comparing import differences, half_written
from outcomes import Outcome
from running import Ended, Machine

SAME = "as uninterrupted, bit for bit"
STATUS = {"SIGKILL": -9, "SIGTERM": 128 + 15, "SIGINT": 128 + 2}
# kind of moment -> its share of the kills, in words
KINDS = {
    "step": (8, "in a step"),
    "write": (6, "while saving"),
    "file": (8, "between file operations"),
    "evaluate": (6, "while evaluating"),
    "data": (4, "while loading"),
    "import": (2, "while starting"),
}
SIGNALS = {"SIGKILL": 6, "SIGTERM": 2, "SIGINT": 1}
DELAYS = {"step": 0.02, "write": 0.002, "evaluate": 0.01, "data": 0.005}  # seconds at most


class DoesNotTrainError(Exception):
    """A training to which nothing was done did not come to its end."""

    def __init__(self, case: Case, ended: Ended) -> None:
        super().__init__(f"{ended.said()}: {ended.error or last_line(ended)}")
        self.case = str(case)


class References:
    """Uninterrupted runs, each made once; they tell which moments there are."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._known: dict[str, tuple[Path, Ended]] = {}

    def of(self, case: Case) -> tuple[Path, Ended]:
        """The folder of a case's uninterrupted run, and how that ended."""
        name = str(case).replace(" ", "_")
        if name not in self._known:
            folder = self.machine.work / "references" / name
            ended = self.machine.run(case.arguments(folder), folder=folder)
            if ended.status != 0:
                raise DoesNotTrainError(case, ended)
            self._known[name] = folder, ended
        return self._known[name]


def moment(machine: Machine, kind: str, role: str, reference: Ended) -> dict[str, Any] | None:
    """A moment of a kind, drawn from those that an uninterrupted run had; None: it had none."""
    number = sum((k, r) == (kind, role) for k, r, _ in reference.moments)
    number //= 2 if role == "worker" else 1  # each of the two counts its own
    if not number:
        return None
    drawn = machine.random.randrange(number) + 1
    delay = machine.random.random() * DELAYS.get(kind, 0)
    return {"kind": kind, "number": drawn, "delay": delay, "role": role}


def controls(machine: Machine, references: References, cases: list[Case]) -> Iterator[Outcome]:
    """The same command twice: what the comparison finds where nothing happened."""
    for case in cases:
        reference, _ = references.of(case)
        folder = machine.work / "controls" / reference.name
        ended = machine.run(case.arguments(folder), folder=folder)
        different = differences(folder, reference)
        outcome = "; ".join(different) or "the same"
        kept = ended.status == 0 and not different
        yield Outcome("control", "none", str(case), "", "the same again", outcome, kept=kept)


def kills(
    machine: Machine, references: References, cases: list[Case], number: int
) -> Iterator[Outcome]:
    """Kill a training once, at so many random moments, and go on with it."""
    kinds, weights = list(KINDS), [share for share, _ in KINDS.values()]
    for index in range(number):
        case = cases[index % len(cases)]
        _, reference = references.of(case)
        signal = machine.random.choices(list(SIGNALS), list(SIGNALS.values()))[0]
        role, at = "rank0", None
        if "DATALOADER.NUM_WORKERS" in case.changes and machine.random.random() < 0.3:
            role, signal = "worker", "SIGKILL"  # a worker alone, as the kernel does without memory
            at = moment(machine, "data", role, reference)
        while at is None:
            role = "rank0"
            at = moment(machine, machine.random.choices(kinds, weights)[0], role, reference)
        whom = "self" if role == "worker" or signal == "SIGTERM" else "group"
        at = {**at, "signal": signal, "whom": whom}
        yield killed(machine, references, case, at, machine.work / "kills" / f"{index:03d}")


def killed(
    machine: Machine, references: References, case: Case, at: dict[str, Any], folder: Path
) -> Outcome:
    """Kill a training at a moment, go on with it, and compare."""
    reference, _ = references.of(case)
    first = machine.run(case.arguments(folder), folder=folder, at=at)
    problems = list(_ended_wrong(first, at))
    problems += [f"half written: {name}" for name in half_written(folder)]
    second = machine.run(case.arguments(folder, "--resume"), folder=folder)
    lost = first.steps + second.steps - STEPS
    if second.status != 0:
        problems.append(f"resuming: {second.said()} {second.error or last_line(second)}")
    else:
        problems += differences(folder, reference)
    if at["signal"] != "SIGKILL" and first.steps and lost:
        problems.append("steps were lost")
    asked = at["signal"] != "SIGKILL"
    words = KINDS[at["kind"]][1]
    name = f" ({without_chance(first.ended_at)})" if first.ended_at else f" ({at['number']})"
    return Outcome(
        "kill",
        f"{at['signal']} of {'a worker' if at['role'] == 'worker' else at['whom']}",
        str(case),
        f"{words}{name}, {first.steps} steps done",
        SAME + (", no step lost" if asked else ""),
        "; ".join(problems) or "the same",
        lost,
        kept=not problems,
    )


def _ended_wrong(ended: Ended, at: dict[str, Any]) -> Iterator[str]:
    """What is not as it should be in the end of a run that was killed."""
    if ended.left:
        yield f"{ended.left} processes left"
    if at["role"] == "worker":
        if ended.status in (0, None) and ended.ended_at:
            yield f"the run without its worker: {ended.said()}"
        return
    expected = STATUS[at["signal"]]
    if ended.status == 0 and ended.steps == STEPS:
        return  # the signal came when all was done
    if ended.status != expected:
        yield f"{ended.said()} instead of {expected}"
    elif at["signal"] != "SIGKILL":
        if ended.traceback:
            yield "traceback"
        if ended.steps and "--resume" not in ended.output:
            yield "does not say how to go on"


def last_line(ended: Ended) -> str:
    """The last line that a command printed."""
    lines = [line for line in ended.output.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def without_chance(name: str) -> str:
    """A temporary file's name without the part that differs each time."""
    return re.sub(r"(/?\.[\w.]+)\.[a-z0-9_]{8}\b", r"\1.*", name)
