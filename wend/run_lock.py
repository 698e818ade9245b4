"""One run per folder: whoever writes into a folder, or makes a file, holds its lock while it does.

The lock is the system's (``flock``), on a hidden file that says who holds it. It is gone with the
process, however that ends; the file that a killed one leaves is no lock and is used again.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wend.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".wend-lock"  # in a folder; of a file beside it, .NAME.wend-lock
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
_held: dict[str, int] = {}  # lock files of this process -> how often they are held
_descriptors: set[int] = set()
_guard = threading.RLock()
logger = logging.getLogger(__name__)


def _close_in_child() -> None:
    """A forked loader worker that outlives its killed parent must not hold the parent's locks."""
    for descriptor in _descriptors:
        os.close(descriptor)
    _descriptors.clear()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def locked(folder: str | os.PathLike[str], *, doing: str) -> Iterator[None]:
    """Hold a folder as the only process that writes into it.

    A folder that is not there is made, and removed again at the end if nothing was written into it.
    The same process may hold it several times. On a file system without locks the log says so once,
    and nothing is held.

    Args:
        folder: is written into.
        doing: what is done there, such as ``wend train``, for the message of a second process.

    Raises:
        InputError: another process holds it; the message says which. Or it is no folder.
        OSError: the folder cannot be written into; names it.
    """
    with _held_lock(Path(folder), Path(folder) / LOCK_FILE, Path(folder), doing):
        yield


@contextmanager
def locked_file(
    path: str | os.PathLike[str], *, doing: str, shared: bool = False
) -> Iterator[None]:
    """Hold a file, or a folder that is made as a whole, by a lock beside it; see :func:`locked`.

    Args:
        path: is made or replaced.
        doing: what makes it.
        shared: others who share it may hold it, too, but none who wants it alone.
    """
    path = Path(os.path.abspath(path))
    beside = path.with_name(f".{path.name[:200]}{LOCK_FILE}")
    with _held_lock(path, beside, path.parent, doing, shared):
        yield


@contextmanager
def _held_lock(
    held: Path, lock_file: Path, folder: Path, doing: str, shared: bool = False
) -> Iterator[None]:
    made = _make(folder)
    key = os.path.realpath(lock_file)
    with _guard:
        first = not _held.get(key)
        descriptor = _acquire(held, lock_file, doing, shared) if first else None
        _held[key] = _held.get(key, 0) + 1
        if descriptor is not None:
            _descriptors.add(descriptor)
    try:
        yield
    finally:
        with _guard:
            if key in _held:  # not in a forked child, which holds nothing
                _held[key] -= 1
                if descriptor in _descriptors:
                    _descriptors.discard(descriptor)
                    if not shared or _is_last(descriptor):
                        lock_file.unlink(missing_ok=True)  # while it is held: see _acquire
                    os.close(descriptor)
                if not _held[key]:
                    del _held[key]
        for path in made:
            try:
                path.rmdir()
            except OSError:  # something was written
                break


def _make(folder: Path) -> list[Path]:
    """Make a folder and those that it lies in; returns the new ones, the innermost first."""
    new = []
    for path in (folder, *folder.parents):
        if path.exists():
            break
        new.append(path)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; expected a folder to write to")
    folder.mkdir(parents=True, exist_ok=True)
    return new


def _is_last(descriptor: int) -> bool:
    """Whether nobody else holds the file of a shared lock; it is then held alone."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _acquire(held: Path, lock_file: Path, doing: str, shared: bool = False) -> int | None:
    """The descriptor of the locked file; None where the file system has no locks."""
    if fcntl is None:
        return None
    while True:
        try:
            descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:  # what cannot be written is the place, not its lock
            raise OSError(error.errno, error.strerror, str(held)) from error
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if _is_still(lock_file, descriptor):  # not removed by who held it, between both lines
                about = {"pid": os.getpid(), "host": socket.gethostname(), "doing": doing}
                about["since"] = time.strftime("%Y-%m-%d %H:%M:%S")
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(about).encode(), 0)
                return descriptor
            os.close(descriptor)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise InputError(
                f"{held}: {holder} writes here now; wait until it ends, end it, or name another "
                f"place"
            ) from None
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _NO_LOCKS:
                raise OSError(error.errno, error.strerror, str(lock_file)) from error
            lock_file.unlink(missing_ok=True)
            logger.warning(
                "%s: its file system has no locks (%s); see to it that no second run writes there",
                *(held, error.strerror),
            )
            return None


def _is_still(lock_file: Path, descriptor: int) -> bool:
    """Whether the file of this name is the one that was opened."""
    try:
        return os.path.samestat(os.stat(lock_file), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    """Who holds a lock, in words."""
    try:
        about = json.loads(os.pread(descriptor, 4096, 0))
        text = f"{about['doing']} (process {about['pid']} on {about['host']}"
        return f"{text}, since {about['since']})"
    except (OSError, ValueError, KeyError, TypeError):  # it is about to write it
        return "another process"
