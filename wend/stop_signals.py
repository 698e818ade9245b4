"""What the signals do that ask a command to end: Ctrl-C, SIGTERM, SIGUSR1, a terminal's SIGHUP.

Without a word about them Python ends with a traceback (SIGINT) or without a clean-up (the others).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from wend.errors import Interrupted

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))

SAME_COMMAND = "the same command goes on where it stopped"


@contextmanager
def handled(handler: Callable[[int], None]) -> Iterator[None]:
    """Call a function with the number of each signal that comes; the handlers before come back.

    Only the main thread may set handlers: in another one nothing is changed. SIGHUP stays ignored
    under ``nohup``.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        handler(number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        may_be_ignored = getattr(signal, "SIGHUP", None)
        for number in SIGNALS:
            if number != may_be_ignored or signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)  # None: set by C code


def end_at_once(number: int) -> None:
    """Raise :class:`wend.errors.Interrupted` wherever the program is: it cleans up and ends."""
    raise Interrupted(number)


@contextmanager
def keeping(kept: str) -> Iterator[None]:
    """Let an interruption of what is done inside say what is kept of it and how to go on."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(getattr(error, "signal", signal.SIGINT), kept) from None


@contextmanager
def deaf_children() -> Iterator[None]:
    """Let processes that are started inside leave Ctrl-C to this one, from their first moment on.

    Else each of them would print a traceback. What a process ignores its children ignore, too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
