"""Where the commands' messages go: to standard output, with the time. Imports no tensor library."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

# what PyTorch says of how libraries call it, which no user of theirs can change
LIBRARY_WARNINGS = (
    r"`torch\.jit\.\w+` is deprecated",
    r"torch\.meshgrid: in an upcoming release",
    r"`broadcast_buffers` is deprecated",  # its new name is not in the lowest version
)

LOGGERS = ("wend", "fvcore.common.checkpoint")  # whose messages users see
LOG_FILE = "log.txt"  # of a run, as Detectron2 calls it


class StdoutHandler(logging.StreamHandler):
    """This package's own handler, which Detectron2's replace."""


def setup_logging(rank: int = 0) -> None:
    """Print this package's messages, and fvcore's on checkpoints, to standard output.

    Args:
        rank: of several processes, which one this is; only the first one prints.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may be no Unicode
            stream.reconfigure(errors="backslashreplace")
    for message in LIBRARY_WARNINGS:
        warnings.filterwarnings("ignore", message)
    if rank:
        warnings.simplefilter("ignore")
    for name in LOGGERS:
        target = logging.getLogger(name)
        target.setLevel(logging.INFO)
        target.propagate = False
        if not target.handlers:
            handler = StdoutHandler(sys.stdout)
            handler.setLevel(logging.CRITICAL + 1 if rank else logging.NOTSET)
            handler.setFormatter(
                logging.Formatter("[%(asctime)s %(name)s] %(message)s", "%H:%M:%S")
            )
            target.addHandler(handler)


def let_files_fail() -> None:
    """Raise the system's error where a line cannot be written to a log file, and name the file.

    The standard library prints a traceback to standard error for each line, and goes on.
    """
    for handler in _handlers():
        name = getattr(handler.stream, "name", None)
        if isinstance(name, str) and not name.startswith("<"):  # a file, not <stdout>
            handler.handleError = partial(_fail, handler.stream)  # type: ignore[method-assign]


def _handlers() -> list[logging.StreamHandler]:
    """The handlers with a stream of this package's loggers and of Detectron2's."""
    loggers = [logging.getLogger(name) for name in (*LOGGERS, "fvcore", "detectron2")]
    handlers = {id(handler): handler for logger in loggers for handler in logger.handlers}
    return [each for each in handlers.values() if isinstance(each, logging.StreamHandler)]


def _fail(stream: io.TextIOWrapper, record: logging.LogRecord) -> None:
    error = sys.exc_info()[1]
    assert error is not None
    for handler in _handlers():
        if handler.stream is stream:  # so that the end of the program does not say it again
            handler.stream = io.StringIO()
    if not isinstance(error, OSError):
        raise error
    try:
        stream.close()
    except OSError:  # of what is in its buffer
        pass
    raise OSError(error.errno, error.strerror, stream.name) from error


@contextmanager
def logged_to(folder: str | Path, rank: int = 0) -> Iterator[None]:
    """Write this package's messages to ``log.txt`` as well, those of further processes beside it.

    Args:
        folder: of a run; it is there.
        rank: as of :func:`setup_logging`.
    """
    name = f"{LOG_FILE}.rank{rank}" if rank else LOG_FILE
    handler = logging.FileHandler(Path(folder) / name, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(
        logging.Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s", "%m/%d %H:%M:%S")
    )
    targets = [logging.getLogger(name) for name in LOGGERS]
    for target in targets:
        target.addHandler(handler)
    let_files_fail()
    try:
        yield
    finally:
        for target in targets:
            target.removeHandler(handler)
        handler.close()


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
