"""Disks that are full or must not be written to, and files in the place of folders."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from cases import STEPS, Case
from comparing import differences, half_written
from kills import SAME, References, last_line
from outcomes import Outcome
from running import Ended, Machine

LINE = "exit 2, one line with the path; resumed: " + SAME


def can_mount(place: Path) -> bool:
    """Whether this process may mount a small disk in memory."""
    place.mkdir(parents=True, exist_ok=True)
    if not shutil.which("mount") or _mount(place, "size=1m"):
        return False
    return not subprocess.run(["umount", str(place)], capture_output=True).returncode


def _mount(place: Path, options: str) -> int:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    return subprocess.run(command, capture_output=True).returncode


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[None]:
    """A disk in memory of so many bytes at a folder."""
    place.mkdir(parents=True, exist_ok=True)
    if _mount(place, f"size={size // 4096 * 4096}"):
        raise RuntimeError(f"{place}: cannot be mounted")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], capture_output=True)


def _remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


def full_disks(
    machine: Machine, references: References, cases: list[Case], *, short: bool
) -> Iterator[Outcome]:
    """Runs on disks of random sizes, all too small, which are then enlarged."""
    mounts = can_mount(machine.work / "disk")
    for case in cases:
        reference, _ = references.of(case)
        size = sum(path.stat().st_size for path in reference.rglob("*") if path.is_file())
        largest = max(path.stat().st_size for path in reference.glob("*.pth"))
        place = machine.work / "disk" / reference.name
        for number in range(1 if short else 4):
            if mounts and not short:
                share = machine.random.uniform(0.02, 0.95)
                place_now = place.with_name(f"{place.name}-{number}")
                with small_disk(place_now, max(int(share * size), 8192)):
                    yield _filled(machine, case, place_now / "run", reference, place_now, share)
            limit = int(machine.random.uniform(0.001, 0.95) * largest)
            folder = place.with_name(f"{place.name}-quota-{number}")
            yield _limited(machine, case, folder, reference, limit)
        if short:
            continue
        if mounts:
            yield from _read_only(machine, case, place.with_name(f"{place.name}-ro"))
        elif os.getuid():
            yield from _no_rights(machine, case, place.with_name(f"{place.name}-ro"))
        yield from _in_the_way(machine, case, place.with_name(f"{place.name}-way"))


def _filled(
    machine: Machine, case: Case, folder: Path, reference: Path, disk: Path, share: float
) -> Outcome:
    first = machine.run(case.arguments(folder), folder=folder)
    problems = list(_not_one_line(first, folder))
    problems += half_written(folder)
    _remount(disk, "size=64m")
    fault = f"disk of {share:.0%} of what is needed (tmpfs)"
    return _then_more(machine, case, folder, reference, first, problems, fault)


def _limited(machine: Machine, case: Case, folder: Path, reference: Path, limit: int) -> Outcome:
    def before() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    first = machine.run(case.arguments(folder), folder=folder, before=before)
    problems = list(_not_one_line(first, folder)) + half_written(folder)
    fault = f"files of {limit // 1000} kB at most (RLIMIT_FSIZE)"
    return _then_more(machine, case, folder, reference, first, problems, fault)


def _then_more(
    machine: Machine,
    case: Case,
    folder: Path,
    reference: Path,
    first: Ended,
    problems: list[str],
    fault: str,
) -> Outcome:
    second = machine.run(case.arguments(folder, "--resume"), folder=folder)
    if second.status != 0:
        problems.append(f"resuming: {second.said()} {second.error or last_line(second)}")
    else:
        problems += differences(folder, reference)
    lost = first.steps + second.steps - STEPS
    outcome = "; ".join(problems) or f"{first.said()}: {first.error}; then the same"
    moment = f"after {first.steps} steps"
    return Outcome("disk", fault, str(case), moment, LINE, outcome, lost, kept=not problems)


def _read_only(machine: Machine, case: Case, disk: Path) -> Iterator[Outcome]:
    with small_disk(disk, 1 << 26):
        folder = disk / "run"
        at = {"kind": "step", "number": 15}
        machine.run(case.arguments(folder), folder=folder, at=at)
        _remount(disk, "ro")
        for name, flags in (("fresh", ["--overwrite"]), ("resume", ["--resume"])):
            ended = machine.run(case.arguments(folder, *flags), folder=folder)
            yield _refusal(case, f"read-only disk, {name}", ended, folder)
        ended = machine.run(case.arguments(disk / "new"), folder=disk / "new")
        yield _refusal(case, "read-only disk, new folder", ended, disk)


def _no_rights(machine: Machine, case: Case, place: Path) -> Iterator[Outcome]:
    place.mkdir(parents=True)
    place.chmod(0o555)
    ended = machine.run(case.arguments(place / "run"), folder=place)
    yield _refusal(case, "folder without the right to write", ended, place)


def _in_the_way(machine: Machine, case: Case, place: Path) -> Iterator[Outcome]:
    ways: dict[str, Callable[[Path], None]] = {
        "a file in the place of OUTPUT_DIR": partial(_file, name=""),
        "a file in the place of inference/": partial(_file, name="inference"),
        "a folder in the place of a checkpoint": partial(_folder, name="model_0000011.pth"),
        "a folder in the place of metrics.json": partial(_folder, name="metrics.json"),
        "a folder in the place of curve.csv": partial(_folder, name="curve.csv"),
        "a folder in the place of config.yaml": partial(_folder, name="config.yaml"),
        "a link to nowhere in the place of OUTPUT_DIR": _link,
    }
    for number, (name, prepare) in enumerate(ways.items()):
        folder = place.with_name(f"{place.name}-{number}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        prepare(folder)
        ended = machine.run(case.arguments(folder), folder=folder)
        if ended.status == 0 and name.startswith("a link"):
            yield Outcome("disk", name, str(case), "", "one line, or trains", "trains")
        else:
            yield _refusal(case, name, ended, folder)


def _file(folder: Path, name: str) -> None:
    path = folder / name if name else folder
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("no folder\n")


def _folder(folder: Path, name: str) -> None:
    (folder / name / "x").mkdir(parents=True)


def _link(folder: Path) -> None:
    folder.symlink_to(folder.with_name("nowhere") / "at" / "all")


def _refusal(case: Case, fault: str, ended: Ended, folder: Path) -> Outcome:
    problems = list(_not_one_line(ended, folder))
    said = f"{ended.said()}: {ended.error or last_line(ended)}"
    outcome = "; ".join([*problems, said] if problems else [said])
    expected = "exit 2, one line with the path"
    return Outcome(
        "disk", fault, str(case), f"after {ended.steps} steps", expected, outcome,
        kept=not problems,
    )  # fmt: skip


def _not_one_line(ended: Ended, folder: Path) -> Iterator[str]:
    if ended.status != 2:
        yield f"{ended.said()} instead of exit 2"
    if ended.traceback:
        yield "traceback"
    if str(folder) not in ended.error:
        yield f"does not name the path: {ended.error or last_line(ended)}"
