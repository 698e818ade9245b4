"""The methods of ``wend pseudo-boxes`` that look at one image alone, by name.

A method is a function from the descriptors of an image's patches, (h·w, C) float32, and their grid
(h, w), to the masks (h, w) of its objects, each with at least one patch, the most certain first.
Its keyword-only parameters are its options. One of your own is ``./file.py:function``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from wend.errors import InputError, did_you_mean, shown
from wend.localize.patches.background import not_background
from wend.localize.patches.lost import lost
from wend.localize.patches.mask_cut import mask_cut
from wend.localize.patches.token_cut import token_cut
from wend.registry import FunctionRegistry

ImageMethod = Callable[..., list[np.ndarray]]
METHODS: FunctionRegistry[ImageMethod] = FunctionRegistry("method", ("descriptors", "shape"))
METHODS.register("token-cut")(token_cut)
METHODS.register("mask-cut")(mask_cut)
METHODS.register("lost")(lost)
METHODS.register("background")(not_background)


def options_of(method: Callable[..., Any]) -> dict[str, Any]:
    """A method's options with their defaults."""
    parameters = inspect.signature(method).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def with_options(
    name: str,
    method: Callable[..., Any],
    given: Mapping[str, str],
    flags: tuple[str, str] = ("--method", "--option"),
) -> dict[str, Any]:
    """A method's options as given, of the types of their defaults.

    Args:
        flags: of the command, that name the method and its options.

    Raises:
        InputError: it has no such option, or the value is of another type; or an option of one's
            own method has no default that says its type.
    """
    options = options_of(method)
    named, flag = flags
    for key, default in options.items():
        if not isinstance(default, bool | int | float | str):
            has = "none" if default is inspect.Parameter.empty else shown(default)
            raise InputError(
                f"{named} {name}: expected a default of its option {key} that says the type: a "
                f"number, a text, True or False; it has {has}"
            )
    for key, text in given.items():
        if key not in options:
            has = ", ".join(f"{k} ({v})" for k, v in options.items()) or "none"
            raise InputError(
                f"{flag} {key}: {named} {name} has no such option.{did_you_mean(key, options)} "
                f"It has: {has}"
            )
        options[key] = _value(f"{flag} {key}", text, options[key])
    return options


def _value(flag: str, text: str, default: object) -> Any:
    kind: Callable[[str], Any] = type(default)
    words = {"true": True, "false": False}
    try:
        return words[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        expected = "true or false" if kind is bool else f"a value such as {default}"
        raise InputError(f"{flag}: expected {expected}, got {text!r}") from None
