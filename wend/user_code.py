"""The user's own modules: imported by name or from a file, in every process that needs them.

A file is written ``./losses/mine.py`` and needs no package around it, no installation and no
``PYTHONPATH``. What it registers (losses, detectors, box sources, config entries) is known from
then on. It runs with the user's rights: only name files that you trust.

Whoever calls :func:`load_module` says that the user named the module: on the command line
(``--import``, ``KEY VALUE``), or in the YAML of ``--config-file``. Other files that name code
(a run folder's config, a checkpoint's, a data set's declaration) may be anybody's:
:func:`require_named` lets them name only what the user named before.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from wend.errors import InputError, MissingFileError

_named: set[str] = set()  # names of the modules that the user named, as of sys.modules
LIBRARIES = ("wend", "detectron2", "fvcore", "torch", "torchvision")


class UserCodeError(InputError):
    """The user's own code raised an error; the message ends in the traceback of that code."""


def load_module(reference: str, base: Path | None = None) -> ModuleType:
    """Import a module by its name, such as ``my_package.losses``, or a file such as ``./mine.py``.

    A file is run once per process, however often and from wherever it is named.

    Args:
        reference: a module's name, or a file's path, which ends in ``.py``.
        base: folder that a relative file starts from; the working directory by default.

    Raises:
        MissingFileError, InputError: there is no such file or module, or it is Python's own.
        UserCodeError: it raised an error.
    """
    name, file = _module_name(reference, base)
    if not file.is_file() and name != reference:
        raise MissingFileError(f"{file}: there is no such file; expected Python code of yours")
    if name.partition(".")[0] in sys.stdlib_module_names:
        raise InputError(f"{reference}: is a module of Python's own; expected code of yours")
    module = _import(name, reference, file)
    _named.add(name)
    return module


def _module_name(reference: str, base: Path | None) -> tuple[str, Path]:
    """The name in ``sys.modules`` of a reference, and its file, where it is one."""
    if not reference.endswith(".py"):
        return reference, Path()
    file = Path(os.path.realpath((base or Path()) / os.path.expanduser(reference)))
    return f"wend_user_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}", file


def is_named(reference: str, base: Path | None = None) -> bool:
    """Whether the user named a module, so that it is imported; arguments as of ``load_module``."""
    name, _ = _module_name(reference, base)
    return name in _named and name in sys.modules


def require_named(references: Iterable[str], where: str, base: Path | None = None) -> None:
    """Raise InputError for code that a file names and the user did not.

    Args:
        references: of :func:`load_module`.
        where: the file, for the message.
        base: as of :func:`load_module`.
    """
    for reference in references:
        if not is_named(reference, base):
            option = reference
            if reference.endswith(".py"):
                option = os.path.relpath((base or Path()) / os.path.expanduser(reference))
            raise InputError(
                f"{where}: names the code {reference}, and a file that may be anybody's starts "
                f"none. If it is yours or you know it, name it: --import {option} (in Python "
                f"wend.user_code.load_module({option!r}))"
            )


def _import(name: str, reference: str, file: Path) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    try:
        return importlib.import_module(name) if name == reference else _run_file(name, file)
    except InputError as error:  # what a registry says, for example
        raise type(error)(f"{reference}: {error}") from error
    except Exception as error:
        parents = [name.rsplit(".", depth)[0] for depth in range(name.count(".") + 1)]
        if isinstance(error, ModuleNotFoundError) and error.name in parents:
            raise InputError(
                f"there is no module {name!r}; write a file as ./{name.split('.')[-1]}.py, or put "
                f"the module's folder on PYTHONPATH"
            ) from error
        hint = ""
        if isinstance(error, ModuleNotFoundError) and name != reference:
            beside = file.with_name(f"{error.name}.py")
            hint = f"\n{beside} is found with PYTHONPATH={file.parent}" if beside.is_file() else ""
        raise UserCodeError(
            f"{reference}: it could not be imported; its own traceback:\n"
            f"{own_traceback(error)}{hint}"
        ) from error


def _run_file(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None  # the file ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs, so that dataclasses and pickle work in it
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def own_traceback(error: BaseException) -> str:
    """The traceback of an error from the first line on that is neither ours nor the importer's."""
    frames = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame.f_globals.get("__name__", "")):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()


def _is_ours(module: str) -> bool:
    return module.split(".")[0] in ("wend", "importlib", "_frozen_importlib")


@contextmanager
def own_errors(function: object, about: str) -> Iterator[None]:
    """Errors of the user's function that is called inside show its code, and none of ours.

    Args:
        function: the function; nothing is done for one of ours.
        about: what failed, for the message.

    Raises:
        UserCodeError: it is the user's and raised an error.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if not is_own(getattr(function, "func", function)):  # a partial has the module functools
            raise
        raise UserCodeError(f"{about}; its own traceback:\n{own_traceback(error)}") from error


def is_own(thing: object) -> bool:
    """Whether a function or class is the user's: of none of :data:`LIBRARIES`."""
    return getattr(thing, "__module__", "").split(".")[0] not in LIBRARIES


def code_of_own(thing: object) -> dict[str, str]:
    """What says which code of the user's a function or class is, for an output's notes.

    Returns:
        "code_sha256": of the file that defines it; nothing for one of :data:`LIBRARIES`, or for one
        that no file defines, as in a notebook.
    """
    thing = getattr(thing, "func", thing)  # a partial has the module functools
    module = sys.modules.get(getattr(thing, "__module__", ""))
    file = getattr(module, "__file__", None)
    if not (file and is_own(thing)):
        return {}
    return {"code_sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest()}


def is_raised_by_own(error: BaseException) -> bool:
    """Whether the line that raised an error is the user's."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    module = frames.tb_frame.f_globals.get("__name__", "") if frames is not None else ""
    return module.split(".")[0] not in LIBRARIES


class UserModules(tuple[str, ...]):
    """References of :func:`load_module`; unpickled, in another process, they are imported there.

    An object that holds them before its other attributes is unpickled with their classes known.
    """

    def __reduce__(self) -> tuple:
        return load_modules, (tuple(self),)


def load_modules(references: Iterable[str]) -> UserModules:
    """Import all modules in their order; see :func:`load_module`."""
    modules = UserModules(references)
    for reference in modules:
        load_module(reference)
    return modules
