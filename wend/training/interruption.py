"""A signal to end is a wish: the step is finished, saved, and only then the training ends.

Ctrl-C, SIGTERM (``kill``, ``torchrun``), SIGUSR1 (``sbatch --signal``) and SIGHUP are noted, and
the trainer asks after each step. Several processes agree on the step, so that all of them end at
the same iteration. A second signal ends at once.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wend.errors import InputError, Interrupted
from wend.files import is_refusal, writing
from wend.loader_workers import told_of_memory
from wend.processes import is_main, wait_for_all, world_size
from wend.run_files import noted_checkpoint
from wend.stop_signals import handled

# seconds in which a signal that comes again is the same one
ECHO = 0.05  # timeout(1) tells the command, and then its group once more
GROUP_ECHO = 1.0  # a launcher hands on what the terminal has told its processes already


@contextmanager
def telling_what_is_kept(output_dir: str | Path) -> Iterator[None]:
    """Let what ends the training inside say which checkpoint it can go on from.

    Raises:
        Interrupted: a signal.
        InputError: the system does not let a file be written: the disk is full, for example.
    """
    try:
        with writing(output_dir), told_of_memory("DATALOADER.NUM_WORKERS"):
            yield
    except KeyboardInterrupt as error:
        number = getattr(error, "signal", signal.SIGINT)
        raise Interrupted(number, _kept(output_dir), is_told=not is_main()) from None
    except OSError as error:
        if isinstance(error, InputError) or not is_refusal(error):
            raise
        kept = _kept(output_dir)
        raise InputError(f"{error.filename}: {error.strerror}; {kept}") from error


def _kept(output_dir: str | Path) -> str:
    newest = noted_checkpoint(output_dir)
    if newest is None:
        return "no checkpoint was saved yet"
    return f"{newest} is saved{_iterations(newest.name)}"


def _iterations(checkpoint: str) -> str:
    """How many iterations a checkpoint's name says are done, in brackets; empty of the last one."""
    match = re.fullmatch(r"model_(\d+)\.pth", checkpoint)
    return f" ({int(match[1]) + 1} iterations are done)" if match else ""


class Interruption:
    """Whether the training was asked to end.

    The trainer trains inside :meth:`listening`, says :meth:`begin_step` once it has a batch, and
    asks at :meth:`end_if_asked` after each step; what may end at once it does inside
    :meth:`at_once`.

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
        """Note signals instead of ending; in the main thread only, elsewhere nothing changes.

        Until the first step begins there is nothing to save, and a signal ends at once; but not one
        of several processes, on which the others would wait.
        """
        self.noted = self.agreed = 0
        self._at_once = world_size() == 1
        try:
            with handled(self._note):
                yield
        except RuntimeError as error:  # a process that the signal ended was needed
            if not self.noted:
                raise
            raise Interrupted(self.noted) from error

    def begin_step(self) -> None:
        """From here on a signal is a wish; called at each step, once its batch is there."""
        self._at_once = False

    def agree(self, number: int) -> None:
        """Let the training end after this step.

        Args:
            number: the largest :attr:`noted` of all processes; 0 where no signal came.
        """
        self.agreed = self.agreed or number

    def is_asked(self) -> bool:
        """Whether a signal came: to this process alone or, of several, when all have agreed."""
        return bool(self.agreed or (self.noted and world_size() == 1))

    @property
    def signal(self) -> int:
        """The signal's number, 0 if none came."""
        return self.agreed or self.noted

    def end_if_asked(self, save: Callable[[], None]) -> None:
        """Save and raise :class:`wend.errors.Interrupted` if the training was asked to end.

        Args:
            save: saves a checkpoint of the step that is done, unless there is one; called on all
                processes.
        """
        if self.is_asked():
            save()
            wait_for_all()  # a launcher ends the others as soon as one has ended
            raise Interrupted(self.signal)

    @contextmanager
    def at_once(self, save: Callable[[], None]) -> Iterator[None]:
        """Let a signal end what is done inside at once, such as an evaluation.

        Args:
            save: as of :meth:`end_if_asked`. One process calls it when a signal comes; of several
                each may be the first to end, so they call it before.
        """
        self.end_if_asked(save)
        if world_size() > 1:
            save()
            wait_for_all()
        self._at_once = True
        try:
            yield
        except KeyboardInterrupt:
            self._at_once = False  # saving is not ended by the same signal's echo
            if world_size() == 1:
                save()
            raise
        finally:
            self._at_once = False

    def _note(self, number: int) -> None:
        echo = GROUP_ECHO if world_size() > 1 else ECHO
        if self.noted == number and time.monotonic() - self._since < echo:
            return
        is_second, self.noted, self._since = bool(self.noted), number, time.monotonic()
        if is_second or self._at_once:
            raise Interrupted(number)
