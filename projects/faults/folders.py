"""Runs that share a folder, or go on in one with another command."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import yaml
from cases import Case
from comparing import FINAL, differences
from kills import SAME, References, last_line
from outcomes import Outcome
from running import Ended, Machine, Started

REFUSED = "second refused in one line, first undisturbed"
KILLED_AT = 15
SAVED = 12  # steps that the newest checkpoint then has


def sharing(
    machine: Machine, references: References, cases: list[Case], *, short: bool
) -> Iterator[Outcome]:
    """Two runs in one folder, a used folder, a resume with something else."""
    for case in cases:
        test = _Folders(machine, references, case)
        yield from test.two_at_once(short=short)
        yield from test.used()
        if not short:
            yield from test.changed()
            yield from test.other_ways()


class _Folders:
    def __init__(self, machine: Machine, references: References, case: Case) -> None:
        self.machine, self.case = machine, case
        self.reference, _ = references.of(case)
        self.place = machine.work / "folders" / self.reference.name
        self.killed = self.place / "killed"
        at = {"kind": "step", "number": KILLED_AT}
        machine.run(case.arguments(self.killed), folder=self.killed, at=at)

    def _outcome(
        self, group: str, fault: str, moment: str, expected: str, problems: list[str], said: str
    ) -> Outcome:
        outcome = "; ".join([*problems, said] if problems else [said])
        return Outcome(group, fault, str(self.case), moment, expected, outcome, kept=not problems)

    def two_at_once(self, *, short: bool) -> Iterator[Outcome]:
        """A second run begins while the first one trains."""
        final = str(self.reference / FINAL)
        seconds = {
            "fresh + fresh": ["--overwrite"],
            "fresh + resume": ["--resume"],
            "train + eval-only": ["--eval-only"],
        }
        for number, (name, flags) in enumerate(list(seconds.items())[: 1 if short else None]):
            folder = self.place / f"two-{number}"
            first = self.machine.start(self.case.arguments(folder), folder=folder)
            first.wait_until(lambda first=first: first.steps() >= 3)
            first.signal(signal.SIGSTOP)  # a training that takes long
            case = self.case.but(MODEL__WEIGHTS=final) if "--eval-only" in flags else self.case
            second = self.machine.run(case.arguments(folder, *flags), folder=self.place / "none")
            first.signal(signal.SIGCONT)
            yield self._two(name, "the first has begun to train", first, second, folder)
        if short:
            return
        folder = self.place / "together"
        pair = [self.machine.start(self.case.arguments(folder), folder=folder) for _ in range(2)]
        ends = [each.wait() for each in pair]
        winners = [end for end in ends if end.status == 0]
        loser = next((end for end in ends if end.status != 0), ends[0])
        problems = [] if len(winners) == 1 else [f"{len(winners)} of 2 finished"]
        problems += _not_refused(loser) + differences(folder, self.reference)
        yield self._outcome(
            "folder", "fresh + fresh", "in the same moment", REFUSED, problems, _words(loser)
        )

    def _two(self, name: str, moment: str, first: Started, second: Ended, folder: Path) -> Outcome:
        ended = first.wait()
        problems = _not_refused(second)
        if ended.status != 0:
            problems.append(f"the first: {ended.said()}")
        problems += differences(folder, self.reference)
        return self._outcome("folder", name, moment, REFUSED, problems, _words(second))

    def used(self) -> Iterator[Outcome]:
        """A fresh run into a folder in which one is."""
        folder = self.place / "used"
        shutil.copytree(self.killed, folder)
        before = _content(folder)
        ended = self.machine.run(self.case.arguments(folder), folder=folder)
        problems = _not_refused(ended)
        if _content(folder) != before:
            problems.append("the folder was changed")
        yield self._outcome(
            "folder", "fresh run", "into a used folder", "refused, folder untouched", problems,
            _words(ended),
        )  # fmt: skip
        ended = self.machine.run(self.case.arguments(folder, "--overwrite"), folder=folder)
        problems = [] if ended.status == 0 else [_words(ended)]
        problems += differences(folder, self.reference)
        yield self._outcome(
            "folder", "--overwrite", "into a used folder", SAME, problems,
            "" if problems else "the same",
        )  # fmt: skip

    def changed(self) -> Iterator[Outcome]:
        """A resume with another config, data or number of processes."""
        changes = {
            "batch": self.case.but(SOLVER__IMS_PER_BATCH="4"),
            "loss": self.case.but(WEND__ETA="0.75"),
            "rate": self.case.but(SOLVER__BASE_LR="0.02"),
            "data": self.case.but(DATASETS__TRAIN="('toy_test_c2am',)"),
            "seed": self.case.but(SEED="7"),
            "length": self.case.but(WEND__EPOCHS="6"),
            "crop": self.case.but(WEND__CROP="40"),
            "processes": Case(self.case.engine, self.case.detector, 2, self.case.changes),
        }
        for name, case in changes.items():
            folder = self.place / f"other-{name}"
            shutil.copytree(self.killed, folder)
            before = _content(folder)
            ended = self.machine.run(case.arguments(folder, "--resume"), folder=folder)
            problems = _not_refused(ended)
            if "--allow-changes" not in ended.error:
                problems.append("does not name --allow-changes")
            if _content(folder) != before:
                problems.append("the folder was changed")
            expected = "refused, names what differs and --allow-changes"
            yield self._outcome(
                "folder", f"resume with another {name}", "after 14 steps", expected, problems,
                _words(ended),
            )  # fmt: skip
            allowed = case.arguments(folder, "--resume", "--allow-changes")
            ended = self.machine.run(allowed, folder=folder)
            problems = [] if ended.status == 0 else [_words(ended)]
            if ended.status == 0 and ended.steps != (left := _max_iter(folder) - SAVED):
                problems.append(f"{left} steps were to be done")
            yield self._outcome(
                "folder", f"--allow-changes, another {name}", "after 14 steps",
                "goes on", problems, f"{ended.steps} more steps",
            )  # fmt: skip

    def other_ways(self) -> Iterator[Outcome]:
        """A resume by other words, from another place, with more or fewer workers."""
        flag = ["train", "--engine", self.case.engine, "--resume"]
        workers = "0" if self.case.changes.get("DATALOADER.NUM_WORKERS") else "2"
        for number, (name, words) in enumerate(
            {
                "without --config-file": lambda f: [*flag, "OUTPUT_DIR", str(f)],
                "with its own config.yaml": lambda f: [
                    *(*flag, "--config-file", str(f / "config.yaml")),
                    *("OUTPUT_DIR", str(f)),
                ],
                "in a copied folder, the old one gone": lambda f: self.case.arguments(
                    f, "--resume"
                ),
                f"with {workers} workers": lambda f: self.case.but(
                    **{"DATALOADER__NUM_WORKERS": workers}
                ).arguments(f, "--resume"),
                "twice: the run is finished": lambda f: self.case.arguments(f, "--resume"),
            }.items()
        ):
            folder = self.place / f"way {number} ä"
            shutil.copytree(self.reference if "twice" in name else self.killed, folder)
            ended = self.machine.run(words(folder), folder=folder)
            problems = [] if ended.status == 0 else [_words(ended)]
            problems += differences(folder, self.reference)
            yield self._outcome(
                "folder", f"resume {name}", "after 14 steps", SAME, problems,
                "" if problems else "the same",
            )  # fmt: skip
        folder = self.place / "way 0 ä"
        words = ["train", "--engine", self.case.engine, "--eval-only"]
        words += ["--config-file", str(folder / "config.yaml")]
        words += ["MODEL.WEIGHTS", str(folder / FINAL), "OUTPUT_DIR", str(self.place / "scored")]
        ended = self.machine.run(words, folder=folder)
        problems = [] if ended.status == 0 else [_words(ended)]
        name = "inference/toy_test_c2am/detections.json"
        own, expected = self.place / "scored" / name, self.reference / name
        if not own.is_file() or own.read_bytes() != expected.read_bytes():
            problems.append("other detections")
        yield self._outcome(
            "folder", "--eval-only with a run's config.yaml", "at the end",
            "the run's detections", problems, "" if problems else "the same",
        )  # fmt: skip


def _max_iter(folder: Path) -> int:
    """The steps of the run that a folder's config says."""
    return yaml.safe_load((folder / "config.yaml").read_text())["SOLVER"]["MAX_ITER"]


def _content(folder: Path) -> dict[str, bytes]:
    """All that a run wrote, without hidden files: a lock may stay."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def _not_refused(ended: Ended) -> list[str]:
    if ended.status == 2 and ended.error and not ended.traceback:
        return []
    return ["not refused"]


def _words(ended: Ended) -> str:
    return f"{ended.said()}: {ended.error or last_line(ended)}"
