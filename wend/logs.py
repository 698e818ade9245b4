"""Where the commands' messages go: to standard output, with the time. Imports no tensor library."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

# what PyTorch says of how libraries call it, which no user of theirs can change
LIBRARY_WARNINGS = (r"`torch\.jit\.\w+` is deprecated", r"torch\.meshgrid: in an upcoming release")
LOGGERS = ("wend", "fvcore", "fvcore.common.checkpoint", "detectron2")


class StdoutHandler(logging.StreamHandler):
    """This package's own handler, which Detectron2's replace."""


def setup_logging() -> None:
    """Print this package's messages, and fvcore's on checkpoints, to standard output."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may be no Unicode
            stream.reconfigure(errors="backslashreplace")
    for message in LIBRARY_WARNINGS:
        warnings.filterwarnings("ignore", message)
    for name in ("wend", "fvcore.common.checkpoint"):
        target = logging.getLogger(name)
        target.setLevel(logging.INFO)
        target.propagate = False
        if not target.handlers:
            handler = StdoutHandler(sys.stdout)
            handler.setFormatter(
                logging.Formatter("[%(asctime)s %(name)s] %(message)s", "%H:%M:%S")
            )
            target.addHandler(handler)


def let_files_fail() -> None:
    """Raise the system's error where a line cannot be written to a log file, and name the file.

    The standard library prints a traceback to standard error for each line, and goes on.
    """
    for logger in map(logging.getLogger, LOGGERS):
        for handler in logger.handlers:
            stream = getattr(handler, "stream", None)
            if isinstance(stream, io.TextIOWrapper) and not stream.name.startswith("<"):
                handler.handleError = partial(_fail, stream)  # type: ignore[method-assign]


def _fail(stream: io.TextIOWrapper, record: logging.LogRecord) -> None:
    error = sys.exc_info()[1]
    for logger in map(logging.getLogger, LOGGERS):
        logger.handlers[:] = [h for h in logger.handlers if getattr(h, "stream", None) != stream]
    if isinstance(error, OSError):
        with suppress(OSError):  # of what is in its buffer; else it comes again at the end
            stream.close()
        raise OSError(error.errno, error.strerror, stream.name) from error
    assert error is not None
    raise error


@contextmanager
def kept_logging() -> Iterator[None]:
    """Take back what a run inside does to the loggers, whose lines would else come twice."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    try:
        yield
    finally:
        for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
            logger.handlers[:] = handlers
            logger.propagate = propagate
            logger.setLevel(level)
