"""Commands as processes: each has a time limit, and nothing of it outlives its test."""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wend

HERE = Path(__file__).resolve().parent
WEND = Path(wend.__file__).resolve().parents[1]  # what Python finds here is what is tried
SET_CHILD_SUBREAPER = 36  # of <linux/prctl.h>
GRACE = 10.0  # seconds for what is just ending, on a machine that others use


def adopt_orphans() -> None:
    """Make this process the parent of whatever its children leave behind, so that it is found."""
    ctypes.CDLL(None, use_errno=True).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def parent_of(pid: int) -> int | None:
    """The parent of a living process; None where it is gone or only waits to be reaped."""
    try:
        state, parent = (
            (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[:2]
        )
    except (OSError, ValueError):
        return None
    return None if state == "Z" else int(parent)


def descendants(root: int) -> list[int]:
    """Living processes below another, whatever session they are in."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := parent_of(int(entry.name))) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    below, waiting = [], [root]
    while waiting:
        below += (own := children.get(waiting.pop(), []))
        waiting += own
    return below


def end_all() -> None:
    """End every process below this one."""
    for pid in descendants(os.getpid()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@dataclass
class Ended:
    """How a command ended.

    Attributes:
        status: exit status; -n where the signal n ended it; None: it had to be ended at its limit.
        output: what it printed.
        seconds: how long it took.
        left: processes it left behind, ``GRACE`` seconds after its end.
        steps: finished steps of the optimizer, of the process that made most.
        moments: (kind, role, name) in order, where no moment was asked for.
        ended_at: the name of the moment at which it was ended.
    """

    status: int | None
    output: str
    seconds: float
    left: int = 0
    steps: int = 0
    moments: list[tuple[str, str, str]] = field(default_factory=list)
    ended_at: str = ""

    @property
    def error(self) -> str:
        """The line by which it says why it could not go on; empty where there is none."""
        lines = [line for line in self.output.splitlines() if line.startswith("error: ")]
        return lines[-1].removeprefix("error: ") if lines else ""

    @property
    def traceback(self) -> bool:
        """Whether it printed a traceback."""
        return "Traceback (most recent call last)" in self.output

    def said(self) -> str:
        """How it ended, in a few words."""
        if self.status is None:
            return "hung"
        text = f"signal {signal.Signals(-self.status).name}" if self.status < 0 else ""
        text = text or f"exit {self.status}"
        if self.traceback:
            text += ", traceback"
        return text + (f", {self.left} processes left" if self.left else "")


@dataclass
class Started:
    """A running command; :meth:`wait` for it."""

    process: subprocess.Popen
    log: Path
    record: Path
    began: float
    limit: float

    def steps(self) -> int:
        """Finished steps so far."""
        return max((path.stat().st_size for path in self.record.glob("steps.*")), default=0)

    def wait_until(self, condition: Callable[[], Any], limit: float | None = None) -> bool:
        """Wait for a condition while the command runs; whether it came true."""
        end = time.monotonic() + (limit or self.limit)
        while time.monotonic() < end:
            if condition():
                return True
            if self.process.poll() is not None:
                return bool(condition())
            time.sleep(0.005)
        return False

    def signal(self, number: int, *, group: bool = True) -> None:
        """Send a signal to the command, or to it and all that it started."""
        (os.killpg if group else os.kill)(self.process.pid, number)

    def wait(self, limit: float | None = None) -> Ended:
        """Wait for the end, end it at its limit, and end what it leaves behind."""
        try:
            status = self.process.wait(limit or self.limit)
        except subprocess.TimeoutExpired:
            status = None
        seconds = time.monotonic() - self.began
        below = descendants(self.process.pid) if status is None else []
        left = 0 if status is None else len(self._stay(GRACE))
        self.end(below)
        lines = [line for path in sorted(self.record.glob("lines.*")) for line in _lines(path)]
        moments = [tuple(line.split("\t", 2)) for line in lines]
        ended = self.record / "ended"
        return Ended(
            status=status,
            output=self.log.read_text(encoding="utf-8", errors="replace"),
            seconds=seconds,
            left=left,
            steps=self.steps(),
            moments=moments,  # type: ignore[arg-type]
            ended_at=ended.read_text(encoding="utf-8").strip() if ended.exists() else "",
        )

    def _mine(self) -> list[int]:
        """Processes of this command alone: they carry its record in their environment."""
        mark = os.fsencode(str(self.record))
        return [pid for pid in descendants(os.getpid()) if mark in _environment(pid)]

    def _stay(self, seconds: float) -> list[int]:
        end = time.monotonic() + seconds
        while (pids := self._mine()) and time.monotonic() < end:
            reap_adopted(self.process.pid)
            time.sleep(0.05)
        return pids

    def end(self, also: Sequence[int] = ()) -> None:
        """End the command and all that it started."""
        for pid in {*self._mine(), *also, self.process.pid}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._stay(GRACE)


def _environment(pid: int) -> bytes:
    try:
        return (Path("/proc") / str(pid) / "environ").read_bytes()
    except OSError:
        return b""


def reap_adopted(but: int) -> None:
    """Take leave of adopted children that have ended; a command's own status is its waiter's."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != but:
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] == "Z" and int(fields[1]) == os.getpid():
                    os.waitpid(int(entry.name), os.WNOHANG)
            except (OSError, ValueError):
                pass


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


@dataclass(frozen=True)
class Machine:
    """Where commands run.

    Args:
        work: the folder of everything that is written.
        datasets_root: ``DETECTRON2_DATASETS`` of the commands.
        test_images: names of the test images, which tell evaluating from training.
        limit: seconds that a command may take.
        random: makes all choices.
    """

    work: Path
    datasets_root: Path
    test_images: tuple[str, ...]
    limit: float
    random: random.Random

    def start(
        self,
        arguments: Sequence[str],
        *,
        folder: Path | None = None,
        at: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        python: Sequence[str] = ("-m", "wend"),
        before: Callable[[], None] | None = None,
        limit: float | None = None,
    ) -> Started:
        """Start ``python -m wend ...``.

        Args:
            folder: the folder of the run, whose files are watched.
            at: the moment to end it at, see ``moments/sitecustomize.py``; None: note all moments.
            environment: further variables.
            python: what comes before the arguments.
            before: runs in the new process before the command does.
            limit: instead of the machine's.
        """
        record = self.work / "records" / f"{time.monotonic_ns():x}"
        record.mkdir(parents=True)
        fault = {
            "record": str(record),
            "folder": str(folder or self.work / "nowhere"),
            "test_images": self.test_images,
            "at": at
            and {"role": "rank0", "delay": 0.0, "signal": "SIGKILL", "whom": "group", **at},
        }
        paths = [str(HERE / "moments"), str(WEND), os.environ.get("PYTHONPATH", "")]
        log = record / "output"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *python, *arguments],
                cwd=self.work,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=before,
                env={
                    **kept,
                    "DETECTRON2_DATASETS": str(self.datasets_root),
                    "OMP_NUM_THREADS": "1",
                    "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                    "CUDA_VISIBLE_DEVICES": "",
                    "WEND_FAULT": json.dumps(fault),
                    **(environment or {}),
                },
            )
        return Started(process, log, record, time.monotonic(), limit or self.limit)

    def run(self, arguments: Sequence[str], **options: Any) -> Ended:
        """Start a command, see :meth:`start`, and wait for its end."""
        return self.start(arguments, **options).wait()
