"""Reading and writing files so that an error names them and nothing is left half-written."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from wend.errors import InputError, MissingFileError

MAX_NUMBER = 1e300


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Open a temporary file beside ``path`` and move it there at the end, or remove it on error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoding = None if "b" in mode else "utf-8"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, mode, encoding=encoding) as file:
            yield file
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp makes files private
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: str | Path, value: Any, indent: int | None = None) -> None:
    """Write JSON atomically; NaN and infinities are an error, not invalid JSON."""
    with atomic_write(path) as file:
        json.dump(value, file, indent=indent, allow_nan=False)


def is_number(value: object) -> bool:
    """Whether a JSON value is a finite number that a float holds (true and false are not)."""
    return type(value) in (int, float) and -MAX_NUMBER < value < MAX_NUMBER


def read_text(path: str | Path, what: str) -> str:
    """The file's text.

    Args:
        what: what the file is, for the message.

    Raises:
        MissingFileError, InputError: not there, or not UTF-8 text.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such file; expected {what}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); expected {what}") from error


def read_json(
    path: str | Path, what: str, object_pairs_hook: Callable[[list], Any] | None = None
) -> Any:
    """The file's JSON value.

    Args:
        what: what the file should hold, for the message.
        object_pairs_hook: as of :func:`json.loads`.

    Raises:
        MissingFileError, InputError: not there, or no whole JSON value.
    """
    text = read_text(path, what)
    try:
        return json.loads(text, object_pairs_hook=object_pairs_hook)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of 5000 digits
        raise InputError(
            f"{path}: not a whole JSON value ({error}); expected {what}. Was its writing cut off? "
            f"Make or copy the file again"
        ) from error
