"""Where the commands' messages go: to standard output, with the time. Imports no tensor library."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# what PyTorch says of how libraries call it, which no user of theirs can change
LIBRARY_WARNINGS = (r"`torch\.jit\.\w+` is deprecated", r"torch\.meshgrid: in an upcoming release")


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


@contextmanager
def kept_logging() -> Iterator[None]:
    """Take back what a run inside does to the loggers, whose lines would else come twice."""
    names = ("wend", "fvcore", "fvcore.common.checkpoint", "detectron2")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    try:
        yield
    finally:
        for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
            logger.handlers[:] = handlers
            logger.propagate = propagate
            logger.setLevel(level)
