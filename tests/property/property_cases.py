"""What all property tests share: how many cases, where files go, what counts as an answer.

``WEND_PROPERTY_EXAMPLES=1000 pytest tests/property`` tries more than the default, and others every
time; with ``WEND_PROPERTY_SHRINK=1`` a failing case is made small, which takes minutes.
"""

import contextlib
import functools
import os
import shutil
import signal
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

from wend.errors import InputError
from wend.images.sizes import SizeReader

CHOSEN = os.environ.get("WEND_PROPERTY_EXAMPLES")
MAX_EXAMPLES = int(CHOSEN or 25)
PHASES = (
    Phase.explicit,
    Phase.generate,
    *([Phase.shrink] if "WEND_PROPERTY_SHRINK" in os.environ else []),
)
SECONDS = 60  # a case that takes longer hangs (the machine may be busy)
CASES: Counter = Counter()


def cases(times=1, **strategies):
    """``given`` with MAX_EXAMPLES (times so many) cases, which are counted."""

    def decorate(test):
        @functools.wraps(test)
        def counted(*args, **kwargs):
            CASES[f"{Path(test.__code__.co_filename).stem}::{test.__name__}"] += 1
            with _limited():
                return test(*args, **kwargs)

        checked = settings(
            max_examples=int(MAX_EXAMPLES * times),
            deadline=None,
            database=None,
            derandomize=CHOSEN is None,  # the usual tests try the same cases every time
            phases=PHASES,
            report_multiple_bugs=False,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )
        return checked(given(**strategies)(counted))

    return decorate


class Hang(BaseException):
    """A case took longer than SECONDS; no Exception, so that no reader can catch it."""


@contextlib.contextmanager
def _limited():
    def stop(number, frame):
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def scratch():
    """A new folder, removed afterwards; in memory where that is possible."""
    memory = Path("/dev/shm")  # noqa: S108  # each case has a new folder there
    folder = Path(tempfile.mkdtemp(prefix="wend-", dir=memory if memory.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def known_sizes(sizes):
    """Images need not be images: their sizes are looked up by path."""
    return SizeReader(lambda path, exif: sizes.get(str(path)))


def answer(read, *named):
    """What ``read()`` returns, or None where it refuses in one line that names one of ``named``.

    Any other exception passes, and so fails the test.
    """
    try:
        return read()
    except InputError as error:
        message = str(error)
        assert "\n" not in message, message
        assert any(str(name) in message for name in named), message
        assert len(message) < 6000, f"{len(message)} characters: {message[:300]}"
        return None
