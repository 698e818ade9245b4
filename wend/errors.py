"""The exceptions that bad user input ends in, and how their messages show values."""

from __future__ import annotations

import reprlib
import signal
from collections.abc import Iterable


class InputError(ValueError):
    """A file, key or config entry of the user's is wrong.

    The message names the thing, what was expected, what came and what to do. The command line
    prints it without a traceback.
    """


class ImplausibleError(InputError):
    """Boxes or image sizes cannot be what they should be (:mod:`wend.structures.plausibility`)."""


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder of the user's is not where it was expected."""

    def __str__(self) -> str:  # OSError would print a lone argument unchanged only by accident
        return str(self.args[0]) if self.args else ""


class NonFiniteLossError(InputError, FloatingPointError):
    """A loss became NaN or infinite; raised before the optimizer's step."""


class ToldError(InputError):
    """All processes of a group end, and another one of them tells the user why."""


class BadImageError(InputError):
    """An image file is not there, cannot be read, or is not the one that was recorded.

    Only of this kind are the errors that :mod:`wend.loading.bad_images` may skip.
    """


class MissingImageError(BadImageError, MissingFileError):
    """An image file is not there."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the work to end: Ctrl-C, a scheduler's SIGTERM or SIGUSR1.

    No :class:`Exception`, so that nothing that goes on after errors goes on after it.

    Args:
        number: the signal's, such as ``signal.SIGTERM``.
        kept: what of the work is kept and how to go on, for the user.
        is_told: whether another process of a group tells the user.
    """

    def __init__(self, number: int, kept: str = "", is_told: bool = False) -> None:
        super().__init__(number, kept, is_told)  # all, so that it can be pickled
        self.signal, self.kept, self.is_told = number, kept, is_told

    @property
    def exit_status(self) -> int:
        """What a shell says of a command that the signal ended."""
        return 128 + self.signal

    def __str__(self) -> str:
        name = "Ctrl-C" if self.signal == signal.SIGINT else signal.Signals(self.signal).name
        return f"interrupted by {name}; {self.kept or 'every file is either whole or as it was'}"


def shown(value: object, limit: int = 300) -> str:
    """``repr`` of a value from a file, cut to ``limit`` characters.

    Of a value that holds more than ``limit`` others only some are looked at: it may be nested too
    deeply for ``repr``, and YAML's anchors write 9^12 values in a few lines.
    """
    open_values, looked_at = [value], 0
    while open_values and looked_at < limit:
        item = open_values.pop()
        looked_at += 1
        if isinstance(item, dict | list | tuple):
            open_values += item.values() if isinstance(item, dict) else item
    text = reprlib.repr(value) if open_values else repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def brief(message: str, limit: int = 4000) -> str:
    """A message without its middle, where a text of the user's makes it longer than a screen."""
    half = limit // 2
    return message if len(message) <= limit else f"{message[:half]} [...] {message[-half:]}"


def some(items: Iterable[object], limit: int = 3) -> str:
    """Write the first ``limit`` items and how many more there are: ``a, b, c and 7 more``."""
    texts = [str(item) for item in items]
    more = len(texts) - limit
    first = (text if len(text) <= 300 else f"{text[:300]}..." for text in texts[:limit])
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like another, or None."""
    import difflib  # only where something is wrong

    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` Did you mean ...?`` with the known name that is nearest; empty if none is near."""
    near = nearest(name, known)
    return f" Did you mean {near!r}?" if near is not None else ""
