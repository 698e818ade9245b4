"""Ends the process it is loaded into at a chosen moment; Python imports it at every start.

``WEND_FAULT`` holds JSON: ``record`` (a folder), ``folder`` (of the run), ``test_images`` (names),
and perhaps ``at``: kind, number, delay, role, signal, whom. Without the variable nothing happens.

Moments are counted by Python's audit events, which come before what they announce, and by the steps
of optimizers, so that a moment is the same on a slow machine and a fast one:

======== =====================================================================================
import   the nth module is imported
data     the nth training image is opened
evaluate the nth test image is opened
file     the nth file of the run's folder is opened to write, renamed, removed, ...
write    the nth checkpoint is being written: ``delay`` seconds after its file was opened
step     in the nth step, between the gradients and the new weights
======== =====================================================================================

``record`` gets a file for each process: a line for each moment where no ``at`` is given, and always
a byte for each finished step, which is how lost work is counted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHECKPOINTS = (".pth", ".safetensors")


class Moments:
    """Counts the moments of this process, and ends it at the one that was asked for."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.record = Path(settings["record"])
        self.folder = settings["folder"]
        self.test_images = frozenset(settings["test_images"])
        self.at = settings.get("at")
        self.pid = self.steps = self.lines = -1
        self.busy = self.hooked = False
        self.counts: dict[str, int] = {}

    def audit(self, event: str, arguments: tuple) -> None:
        """Is called by Python before each of its events."""
        if self.busy or sys.is_finalizing():
            return
        self.busy = True
        try:
            if not self.hooked:
                self._hook_steps()
            if event == "import":
                self._count("import", str(arguments[0]))
            elif event == "open":
                self._opened(arguments)
            elif event in CHANGES:
                names = [os.fsdecode(each) for each in arguments[:2] if not isinstance(each, int)]
                if any(name.startswith(self.folder) for name in names):
                    self._count("file", f"{event} {' '.join(map(self._short, names))}")
        finally:
            self.busy = False

    def _opened(self, arguments: tuple) -> None:
        path, _, flags = arguments
        if isinstance(path, int) or path is None:
            return
        path = os.fsdecode(path)
        if path.startswith(self.folder) and (flags or 0) & WRITES:
            short = self._short(path)
            if any(ending in short for ending in CHECKPOINTS):
                self._count("write", short)
            self._count("file", f"open {short}")
        elif path.endswith((".jpg", ".png")):
            name = path.rsplit("/", 1)[-1]
            self._count("evaluate" if name in self.test_images else "data", name)

    def _short(self, path: str) -> str:
        return path.removeprefix(self.folder).strip("/") or "."

    def _hook_steps(self) -> None:
        optimizer = sys.modules.get("torch.optim.optimizer")
        if not hasattr(optimizer, "register_optimizer_step_post_hook"):
            return
        self.hooked = True
        optimizer.register_optimizer_step_pre_hook(lambda *_: self._before_step())
        optimizer.register_optimizer_step_post_hook(lambda *_: self._after_step())

    def _before_step(self) -> None:
        self._count("step", "")

    def _after_step(self) -> None:
        self._open()
        os.write(self.steps, b".")

    def _open(self) -> None:
        """Files of this process; a forked one has its own."""
        if self.pid == os.getpid():
            return
        was_busy, self.busy = self.busy, True
        self.pid, self.counts = os.getpid(), {}
        for name in ("steps", "lines"):
            path = self.record / f"{name}.{self.pid}"
            setattr(self, name, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        self.busy = was_busy

    def _count(self, kind: str, name: str) -> None:
        self._open()
        if self.at is None:
            os.write(self.lines, f"{kind}\t{role()}\t{name}\n".encode())
            return
        if kind != self.at["kind"] or role() != self.at["role"]:
            return
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.counts[kind] == self.at["number"] and not (self.record / "ended").exists():
            (self.record / "ended").write_text(f"{name}\n", encoding="utf-8")
            self._end()

    def _end(self) -> None:
        delay = self.at["delay"]
        if delay:
            sys.setswitchinterval(1e-4)
            threading.Thread(target=self._send, args=(delay,), daemon=True).start()
        else:
            self._send(0)

    def _send(self, delay: float) -> None:
        time.sleep(delay)
        number = signal.Signals[self.at["signal"]]
        if self.at["whom"] == "group":
            os.killpg(os.getpgrp(), number)
        else:
            os.kill(os.getpid(), number)


def role() -> str:
    """``worker`` in a process that loads images, ``rank0``, ``rank1``, ... in the others."""
    worker = sys.modules.get("torch.utils.data._utils.worker")
    if getattr(worker, "_worker_info", None) is not None:
        return "worker"
    rank = os.environ.get("RANK")
    distributed = sys.modules.get("torch.distributed.distributed_c10d")
    if rank is None and getattr(distributed, "is_initialized", bool)():
        rank = distributed.get_rank()  # type: ignore[union-attr]
    return f"rank{rank or 0}"


if "WEND_FAULT" in os.environ:
    sys.addaudithook(Moments(json.loads(os.environ["WEND_FAULT"])).audit)
