"""Box sources by name, the user's own among them, and the one function that reads any."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wend.errors import InputError
from wend.images.paths import resolve_path
from wend.pseudo_boxes.source_boxes import PseudoBoxes
from wend.registry import Registry
from wend.user_code import own_errors

BoxSource = Callable[..., PseudoBoxes]  # read(path, **options)
SOURCES: Registry[BoxSource] = Registry("box source")
box_source = SOURCES.register
POLICIES = ("strict", "allow_contamination", "implausible")  # which the join obeys
COMMON = ("source", "path", "min_score", "max_boxes", "score_unit", *POLICIES)
FILES = ("images",)  # options of readers that are paths, too


def _path(value: object, entry: str, base: Path | None, root: Path | None) -> Path:
    """A path of a spec, as of :func:`.resolve_path`."""
    if not isinstance(value, str | Path) or not str(value):
        raise InputError(f"{entry}: expected a path, got {value!r}")
    return resolve_path(value, base, root)


def _check_options(function: BoxSource, name: str, options: Mapping[str, object]) -> None:
    try:
        inspect.signature(function).bind(Path(), **options)
    except TypeError as error:
        known = [*list(inspect.signature(function).parameters)[1:], *COMMON[1:]]
        raise InputError(
            f"box source {name!r}: {error}; it has the options {', '.join(known)}"
        ) from error


def read_boxes(
    spec: Mapping[str, Any], base: Path | None = None, root: Path | None = None
) -> PseudoBoxes:
    """Read the boxes that a spec describes.

    Args:
        spec: ``source`` (as :meth:`wend.registry.Registry.get` takes it) and ``path``; for
            every source also ``min_score``, ``max_boxes`` (the best per image), ``score_unit``
            (see :meth:`.PseudoBoxes.in_unit`; ``min_score`` is in it, too), and what the join
            obeys: ``strict`` (true, or a list of kinds of findings), ``allow_contamination`` and
            ``implausible`` (error or count). Further entries are the source's own options.
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
    function = SOURCES.get(name, base)
    path = _path(spec["path"], f"box source {name!r}: path", base, root)
    options = {key: value for key, value in spec.items() if key not in COMMON}
    for key in FILES:
        if key in options:
            options[key] = _path(options[key], f"box source {name!r}: {key}", base, root)
    _check_options(function, str(name), options)
    with own_errors(function, f"box source {name!r} failed on {path}"):
        boxes = function(path, **options)
    if not isinstance(boxes, PseudoBoxes):
        raise InputError(
            f"box source {name!r}: the function returned {type(boxes).__name__}; return "
            f"PseudoBoxes.from_dict({{path: [[x0, y0, x1, y1], ...]}}, frame='pixel') of "
            f"wend.pseudo_boxes"
        )
    boxes = boxes.select(spec.get("min_score"), spec.get("max_boxes"))
    if spec.get("score_unit") is not None:
        boxes = boxes.in_unit(spec["score_unit"])
    policy = {key: spec[key] for key in POLICIES if key in spec}
    return replace(boxes, **policy) if policy else boxes
