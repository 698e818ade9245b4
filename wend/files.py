"""Reading and writing files so that an error names them and nothing is left half-written."""

from __future__ import annotations

import codecs
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

from wend.errors import InputError, MissingFileError, shown

_STARTS = {  # how files begin that are no UTF-8 -> what to do
    b"\x1f\x8b": "compressed by gzip; unpack it first",
    b"PK\x03\x04": "a ZIP archive; unpack it first",
    codecs.BOM_UTF16_LE: "text in UTF-16, as Windows writes it; save it as UTF-8",
    codecs.BOM_UTF16_BE: "text in UTF-16, as Windows writes it; save it as UTF-8",
    b"PAR1": "a Parquet file; its name should end in .parquet",
}
# why the system does not write or open a file: the disk, a quota, a limit, missing rights
REFUSALS = frozenset(
    getattr(errno, name)
    for name in "EACCES EDQUOT EFBIG EIO EMFILE ENFILE ENOSPC EPERM EROFS".split()
    if hasattr(errno, name)  # Windows has no EDQUOT
)
MAX_NUMBER = 1e100  # areas and sums of what is smaller are finite, too


def expand_user(path: str | os.PathLike[str]) -> Path:
    """The path with a leading ``~`` as the user's folder; as it is where there is no such user."""
    return Path(os.path.expanduser(path))


def real_path(path: str | Path) -> Path:
    """The path without links; those in a circle stay, and whoever opens it says so."""
    return Path(os.path.realpath(path))


def is_plain_name(name: str) -> bool:
    """Whether it names something in a folder itself: no path, and neither the folder nor above."""
    return name not in ("", ".", "..") and "\0" not in name and Path(name).name == name


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Let an error of the system name the file that is written inside.

    A full disk, a quota or a limit on a file's size comes from a ``write`` that knows no name, and
    PyTorch hides it behind an error of its own.

    Raises:
        OSError: with the path as its ``filename``.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        refused = _refusal(error)
        if refused is None:
            raise
        raise OSError(refused.errno, refused.strerror, str(path)) from error


def _refusal(error: BaseException | None) -> OSError | None:
    """The system's error without a name that another one was raised for; None if there is none."""
    while error is not None and not isinstance(error, InputError):
        if isinstance(error, OSError):
            return error if error.filename is None and error.errno in REFUSALS else None
        error = error.__cause__ or error.__context__
    return None


def is_refusal(error: BaseException | None) -> bool:
    """Whether the system refused a file, which a line says better than a traceback."""
    return (isinstance(error, OSError) and error.filename is not None) or bool(_refusal(error))


@contextmanager
def atomic_write(path: str | Path, mode: str = "w", *, durable: bool = False) -> Iterator[IO]:
    """Open a temporary file beside ``path`` and move it there at the end, or remove it on error.

    Args:
        durable: whether the file is on the disk before it gets its name, and the name before this
            ends, so that a machine that loses its power has the old file or the new one, whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoding = None if "b" in mode else "utf-8"
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:  # names the temporary file
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with writing(path), os.fdopen(handle, mode, encoding=encoding) as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp makes files private
        try:
            os.replace(name, path)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Let the names of a folder's files reach the disk, where its file system can do that."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


_TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}")  # as tempfile.mkstemp names them above


def leftovers(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """Temporary files that :func:`atomic_write` left in a folder where its process was killed.

    Args:
        patterns: of the names of the files that were to be written, such as ``model_*.pth``.
    """
    patterns = tuple(patterns)
    return [
        path
        for path in sorted(folder.glob(".*"))
        if (match := _TEMPORARY.fullmatch(path.name))
        and any(fnmatchcase(match[1], pattern) for pattern in patterns)
        and path.is_file()
        and not path.is_symlink()
    ]


def remove_unfinished(path: str | Path) -> None:
    """Remove what killed processes left of writing a file, which only this process writes now."""
    path = Path(path)
    for temporary in leftovers(path.parent, [glob.escape(path.name)]):
        temporary.unlink()


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder to fill, which becomes ``path`` at the end, or is removed on error."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    remove(unfinished)
    unfinished.mkdir(parents=True)
    try:
        with writing(path):
            yield unfinished
        unfinished.rename(path)
    finally:
        remove(unfinished)  # only there after a failure


def write_json(path: str | Path, value: Any, indent: int | None = None) -> None:
    """Write JSON atomically; NaN and infinities are an error, not invalid JSON."""
    with atomic_write(path) as file:
        json.dump(value, file, indent=indent, allow_nan=False)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits; MissingFileError if it is not there."""
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such file")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def state_digest(paths: Iterable[str]) -> str:
    """SHA-256 of files' paths, sizes and times of change, which tells whether any has changed.

    A file that cannot be looked at counts by its path: whoever reads it says what is wrong.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            state = ""
        digest.update(os.fsencode(f"{os.path.abspath(path)}\0{state}\n"))
    return digest.hexdigest()


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: file names and JSON may hold halves of characters."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_number(value: object) -> bool:
    """Whether a JSON value is a finite number that a float holds (true and false are not)."""
    return (type(value) is int or type(value) is float) and -MAX_NUMBER < value < MAX_NUMBER


@contextmanager
def open_bytes(path: str | Path, expected: str) -> Iterator[IO[bytes]]:
    """Open a file to read bytes.

    Args:
        expected: what the file should be, for the message.

    Raises:
        MissingFileError, InputError: not there, or the system does not let it be read.
    """
    try:
        if stat.S_ISFIFO(os.stat(path).st_mode):  # opening it would wait for who writes into it
            raise InputError(f"{path}: is a pipe, and no file; expected {expected}")
        with open(path, "rb") as file:
            if stat.S_ISCHR(os.fstat(file.fileno()).st_mode):  # /dev/zero never ends
                raise InputError(f"{path}: is a device, and no file; expected {expected}")
            yield file
    except InputError:  # of what is done with the file
        raise
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise MissingFileError(f"{path}: there is no such file; expected {expected}") from error
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); expected {expected}"
        ) from error


def read_utf8(path: str | Path, expected: str) -> bytes:
    """The bytes of a text file, without a byte order mark.

    Args:
        expected: what the file should be, for the message.

    Raises:
        MissingFileError, InputError: not there, or not UTF-8 text.
    """
    with open_bytes(path, expected) as file:
        data = file.read().removeprefix(codecs.BOM_UTF8)
    try:
        data.isascii() or data.decode()
    except UnicodeDecodeError as error:
        other = next((other for start, other in _STARTS.items() if data.startswith(start)), None)
        problem = f"but {other}" if other else f"({error})"
        raise InputError(f"{path}: not UTF-8 text {problem}; expected {expected}") from error
    return data


def read_text(path: str | Path, expected: str) -> str:
    """The text of a file, every line's end a plain newline; otherwise as :func:`read_utf8`."""
    text = read_utf8(path, expected).decode()
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def read_lines(path: str | Path, expected: str) -> list[str]:
    """The lines of a text file; arguments and errors as of :func:`read_text`.

    ``str.splitlines`` would also cut names at U+2028, U+0085 and other rare characters.
    """
    return read_text(path, expected).split("\n")


_SURROGATES = re.compile(r"(?<!\\)(?:\\\\)*(?:\\u[dD][89a-fA-F][0-9a-fA-F]{2})+")


class _RefusedError(ValueError):
    pass


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            break
        seen.add(key)
    raise _RefusedError(f"the key {shown(key)} stands twice in one object")


def read_json(
    path: str | Path, expected: str, object_pairs_hook: Callable[[list], Any] | None = None
) -> Any:
    """The file's JSON value.

    Args:
        expected: what the file should hold, for the message.
        object_pairs_hook: as of :func:`json.loads`; by default a key that stands in an object
            twice is an error, since no one knows which of its values is meant.

    Raises:
        MissingFileError, InputError: not there, or no whole JSON value.
    """
    return parse_json(read_utf8(path, expected), path, expected, object_pairs_hook)


def parse_json(
    data: bytes,
    path: str | Path,
    expected: str,
    object_pairs_hook: Callable[[list], Any] | None = None,
) -> Any:
    """The JSON value of a file's bytes; see :func:`read_json`."""
    try:
        text = data.decode()
        value = json.loads(text, object_pairs_hook=object_pairs_hook or _unique_keys)
        for match in _SURROGATES.finditer(text) if "\\u" in text else ():
            if not is_unicode(json.loads(f'"{match[0]}"')):
                raise _RefusedError(f"{match[0]} is half of a character (a lone surrogate)")
        return value
    except _RefusedError as error:
        raise InputError(f"{path}: {error}; expected {expected}") from error
    except (ValueError, RecursionError) as error:  # ValueError: also a number of 5000 digits
        raise InputError(
            f"{path}: not a whole JSON value ({error}); expected {expected}. Was its writing cut "
            f"off? Make or copy the file again"
        ) from error
