"""A signal to end is a wish: the step is finished, saved, and only then the training ends.

Ctrl-C, SIGTERM (``kill``, ``torchrun``), SIGUSR1 (``sbatch --signal``) and SIGHUP are noted, and
the trainer asks after each step. Several processes agree on the step, so that all of them end at
the same iteration. A second signal ends at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from wend.errors import Interrupted
from wend.processes import world_size
from wend.stop_signals import handled

ECHO = 1.0  # seconds: a launcher hands Ctrl-C on to processes that the terminal has told already


class Interruption:
    """Whether the training was asked to end.

    Attributes:
        noted: the number of the signal that came to this process, 0 if none came.
        agreed: the number of the signal for which all processes end after this step, or 0.
    """

    def __init__(self) -> None:
        self.noted = self.agreed = 0
        self._since = 0.0
        self._at_once = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note signals instead of ending; in the main thread only, elsewhere nothing changes."""
        self.noted = self.agreed = 0
        with handled(self._note):
            yield

    def is_asked(self) -> bool:
        """Whether a signal came: to this process alone or, of several, when all have agreed."""
        return bool(self.agreed or (self.noted and world_size() == 1))

    @property
    def signal(self) -> int:
        """The signal's number, 0 if none came."""
        return self.agreed or self.noted

    def check(self) -> None:
        """Raise :class:`wend.errors.Interrupted` if the training was asked to end."""
        if self.is_asked():
            raise Interrupted(self.signal)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal end what is done inside at once, such as an evaluation."""
        self.check()
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def _note(self, number: int) -> None:
        if self.noted and world_size() > 1 and time.monotonic() - self._since < ECHO:
            return
        is_second, self.noted, self._since = bool(self.noted), number, time.monotonic()
        if is_second or self._at_once:
            raise Interrupted(number)
