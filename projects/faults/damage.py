"""Checkpoints that are damaged between the end of a run and its going on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from cases import STEPS, Case
from comparing import differences
from kills import SAME, References, last_line
from outcomes import Outcome
from running import Machine

KILLED_AT = 21  # steps: the checkpoints of steps 12 and 18 are there
Damage = Callable[[Path, Path, Random], str]  # newest checkpoint, folder -> what was done


def cut(share: float) -> Damage:
    """Leave only the first part of the newest checkpoint."""

    def damage(newest: Path, folder: Path, random: Random) -> str:
        content = newest.read_bytes()
        newest.write_bytes(content[: int(share * len(content))])
        return f"cut to {share:.0%}" if share else "emptied"

    return damage


def flip(newest: Path, folder: Path, random: Random) -> str:
    """Turn a bit of the newest checkpoint over."""
    content = bytearray(newest.read_bytes())
    position = random.randrange(len(content))
    content[position] ^= 1 << random.randrange(8)
    newest.write_bytes(content)
    return f"one bit of byte {position} of {len(content)} turned over"


def flip_weights(newest: Path, folder: Path, random: Random) -> str:
    """Turn a bit of a weight's number over: the archive stays readable."""
    content = bytearray(newest.read_bytes())
    middle = len(content) // 3 + random.randrange(len(content) // 8)
    content[middle] ^= 1 << random.randrange(8)
    newest.write_bytes(content)
    return "one bit of a weight turned over"


def foreign(newest: Path, folder: Path, random: Random) -> str:
    """Put a text in the newest checkpoint's place."""
    newest.write_text("this is no checkpoint\n" * 100)
    return "a text in its place"


def point(text: str, words: str) -> Damage:
    """Write something else into ``last_checkpoint``, where there is such a file."""

    def damage(newest: Path, folder: Path, random: Random) -> str:
        (folder / "last_checkpoint").write_text(text)
        return f"last_checkpoint {words}"

    return damage


def no_pointer(newest: Path, folder: Path, random: Random) -> str:
    """Remove ``last_checkpoint``."""
    (folder / "last_checkpoint").unlink(missing_ok=True)
    return "last_checkpoint gone"


def all_cut(newest: Path, folder: Path, random: Random) -> str:
    """Cut every checkpoint."""
    for path in folder.glob("model_*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return "all checkpoints cut to 50%"


def litter(newest: Path, folder: Path, random: Random) -> str:
    """Leave temporary files, as earlier versions and killed runs do."""
    for name in (".model_0000011.pth.abcdefgh", ".last_checkpoint.x1y2z3w4", ".curve.csv.aaaaaaaa"):
        (folder / name).write_bytes(b"half")
    return "temporary files of killed runs beside it"


NEWEST = (cut(0.6), cut(0.999), cut(0.0), flip, flip, flip, flip_weights, flip_weights, foreign)
POINTERS = (
    point("", "empty"),
    point("model_0099999.pth", "names nothing"),
    point("../elsewhere.pth", "names ../elsewhere.pth"),
    point("/etc/passwd", "names /etc/passwd"),
    no_pointer,
)


def damages(
    machine: Machine, references: References, cases: list[Case], *, short: bool
) -> Iterator[Outcome]:
    """Damage a run's checkpoints and go on with it."""
    for case in cases:
        reference, _ = references.of(case)
        killed = machine.work / "damage" / f"{reference.name}-killed"
        at = {"kind": "step", "number": KILLED_AT}
        machine.run(case.arguments(killed), folder=killed, at=at)
        chosen = (cut(0.6), flip_weights, POINTERS[0]) if short else (*NEWEST, litter, *POINTERS)
        for number, damage in enumerate(chosen):
            folder = machine.work / "damage" / f"{reference.name}-{number:02d}"
            shutil.copytree(killed, folder)
            (machine.work / "damage" / "elsewhere.pth").write_text("another's")
            newest = max(folder.glob("model_*.pth"))
            done = damage(newest, folder, machine.random)
            yield _gone_on(machine, case, folder, reference, done)
        folder = machine.work / "damage" / f"{reference.name}-all"
        shutil.copytree(killed, folder)
        yield _refused(machine, case, folder, all_cut(folder, folder, machine.random))


def _gone_on(machine: Machine, case: Case, folder: Path, reference: Path, done: str) -> Outcome:
    ended = machine.run(_elsewhere(case, folder), folder=folder)
    lost: int | None = KILLED_AT + ended.steps - STEPS - 1  # killed within the step
    if ended.status != 0:
        lost = None
        outcome, kept = f"{ended.said()}: {ended.error or last_line(ended)}", False
    else:
        different = differences(folder, reference)
        outcome, kept = "; ".join(different) or "the same", not different
        fell_back = lost is not None and lost > KILLED_AT % 6
        names_it = "model_0000017" in ended.output
        if fell_back and kept:
            outcome += ", from the checkpoint before"
            if not names_it:
                outcome, kept = f"{outcome}, without saying so", False
    return Outcome(
        "damage", done, str(case), f"after {KILLED_AT - 1} steps", SAME, outcome, lost, kept=kept
    )


def _refused(machine: Machine, case: Case, folder: Path, done: str) -> Outcome:
    before = {path: path.read_bytes() for path in folder.glob("model_*")}
    ended = machine.run(_elsewhere(case, folder), folder=folder)
    outcome = f"{ended.said()}: {ended.error or last_line(ended)}"
    kept = ended.status == 2 and "model_" in ended.error and not ended.traceback
    if any(not path.exists() or path.read_bytes() != old for path, old in before.items()):
        outcome, kept = f"{outcome}; checkpoints were changed", False
    expected = "exit 2, one line that names a checkpoint"
    return Outcome(
        "damage", done, str(case), f"after {KILLED_AT - 1} steps", expected, outcome, kept=kept
    )


def _elsewhere(case: Case, folder: Path) -> list[str]:
    return case.arguments(folder, "--resume")
