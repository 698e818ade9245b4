"""Box sources by name, the user's own among them, and the one function that reads any."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from wend.errors import InputError, MissingFileError
from wend.pseudo_boxes.columns import PseudoBoxes

BoxSource = Callable[..., PseudoBoxes]
Function = TypeVar("Function", bound=BoxSource)
COMMON = ("source", "path", "min_score", "max_boxes", "strict", "allow_contamination")
FILES = ("images",)  # options of readers that are paths, too
_sources: dict[str, BoxSource] = {}


def box_source(name: str) -> Callable[[Function], Function]:
    """Decorator: make a function ``read(path, **options) -> PseudoBoxes`` known under a name.

    Raises:
        InputError: another function has the name.
    """

    def register(function: Function) -> Function:
        known = _sources.get(name)
        if known is not None and _place(known) != _place(function):
            raise InputError(f"box source {name!r} is registered already; choose another name")
        _sources[name] = function
        return function

    return register


def _place(function: BoxSource) -> tuple[str, str]:
    return inspect.getsourcefile(function) or "", function.__qualname__


def source_names() -> list[str]:
    """All known names, sorted."""
    return sorted(_sources)


def _load_module(name: str, base: Path) -> ModuleType:
    if not name.endswith(".py"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in (name, name.split(".")[0]):
                raise
            raise InputError(
                f"box source: there is no module {name!r}; write a file beside the YAML as "
                f"./{name.split('.')[-1]}.py:function, or put its folder on PYTHONPATH"
            ) from error
    file = (base / Path(name).expanduser()).resolve()
    if not file.is_file():
        raise MissingFileError(f"{file}: there is no such file; expected a box source's Python")
    unique = f"wend_box_source_{hashlib.sha256(str(file).encode()).hexdigest()[:16]}"
    if unique not in sys.modules:
        spec = importlib.util.spec_from_file_location(unique, file)
        module = importlib.util.module_from_spec(spec)
        sys.modules[unique] = module  # so that dataclasses and pickle in it work
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[unique]
            raise
    return sys.modules[unique]


def get_source(name: object, base: Path | None = None) -> BoxSource:
    """The function of a registered name, of ``module:function`` or of ``./file.py:function``.

    Args:
        base: folder that a relative ``.py`` starts from; the working directory by default.

    Raises:
        InputError: there is none; lists the known names and the nearest.
    """
    if not isinstance(name, str):
        raise InputError(f"box source: expected a name or module:function, got {name!r}")
    if ":" not in name:
        if name not in _sources:
            near = difflib.get_close_matches(name, _sources, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InputError(
                f"unknown box source {name!r}.{hint} Known: {', '.join(source_names())}, or your "
                f"own as module:function or ./file.py:function"
            )
        return _sources[name]
    module_name, _, function_name = name.rpartition(":")
    module = _load_module(module_name, base or Path())
    function = getattr(module, function_name, None)
    if not callable(function):
        own = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__
        ]
        raise InputError(
            f"box source {name!r}: there is no function {function_name!r} in {module_name}; it "
            f"has: {', '.join(own) or 'none'}"
        )
    return function


def resolve_path(value: object, what: str, base: Path | None, root: Path | None) -> Path:
    """A path of a spec: ``./`` is beside the YAML (base), other relative ones are below root."""
    if not isinstance(value, str | Path) or not str(value):
        raise InputError(f"{what}: expected a path, got {value!r}")
    path = Path(value).expanduser()
    if path.is_absolute():
        return path
    beside = str(value).startswith(("./", "../", ".\\")) or str(value) == "."
    start = base if beside else root
    return path if start is None else start / path


def _check_options(function: BoxSource, name: str, options: Mapping[str, object]) -> None:
    try:
        inspect.signature(function).bind(Path(), **options)
    except TypeError as error:
        known = [*list(inspect.signature(function).parameters)[1:], *COMMON[1:]]
        raise InputError(
            f"box source {name!r}: {error}; it has the options {', '.join(known)}"
        ) from error


def read_boxes(
    spec: Mapping[str, object], base: Path | None = None, root: Path | None = None
) -> PseudoBoxes:
    """Read the boxes that a spec describes.

    Args:
        spec: ``source`` (a name, ``module:function`` or ``./file.py:function``) and ``path``; of
            every source also ``min_score``, ``max_boxes`` (the best of an image), ``strict`` (true,
            or a list of kinds of findings) and ``allow_contamination``, which the join obeys;
            further entries are the source's own options.
        base: folder of the YAML, which paths with a leading ``./`` start from.
        root: folder that other relative paths start from.

    Raises:
        InputError: no such source or option, or what the source says of its files.
    """
    if not isinstance(spec, Mapping) or "source" not in spec or "path" not in spec:
        raise InputError(
            f"pseudo_boxes: expected source and path, such as {{source: c2am, path: "
            f"c2am_boxes/train/pseudo_boxes}}, got {spec!r}"
        )
    name = spec["source"]
    function = get_source(name, base)
    path = resolve_path(spec["path"], f"box source {name!r}: path", base, root)
    options = {key: value for key, value in spec.items() if key not in COMMON}
    for key in FILES:
        if key in options:
            options[key] = resolve_path(options[key], f"box source {name!r}: {key}", base, root)
    _check_options(function, str(name), options)
    boxes = function(path, **options)
    if not isinstance(boxes, PseudoBoxes):
        raise InputError(
            f"box source {name!r}: the function returned {type(boxes).__name__}; return "
            f"PseudoBoxes.from_dict({{path: [[x0, y0, x1, y1], ...]}}, frame='pixel') of "
            f"wend.pseudo_boxes"
        )
    boxes = boxes.select(spec.get("min_score"), spec.get("max_boxes"))
    policy = {key: spec[key] for key in ("strict", "allow_contamination") if key in spec}
    return replace(boxes, **policy) if policy else boxes
