"""Objects by name: losses, schedules, detectors, box sources, tables of config entries.

A thing is registered by a decorator, ours in the same way as the user's::

    LOSSES: Registry[Loss] = Registry("loss")

    @LOSSES.register("mine")
    def my_loss(context): ...

and is asked for by that name, or without any registration as ``module:name`` or
``./file.py:name``.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from wend.errors import InputError, shown
from wend.user_code import load_module

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one kind by name.

    Args:
        kind: what they are, for messages: "loss".
        is_thing: whether an object of a module may be one; by default whether it can be called.
    """

    def __init__(self, kind: str, is_thing: Callable[[object], bool] = callable) -> None:
        self.kind = kind
        self.is_thing = is_thing
        self._things: dict[str, T] = {}

    def register(self, name: str | None = None) -> Callable[[T], T]:
        """Decorator: make a thing known under a name, by default its own.

        The same definition may come again, as when a file is run twice.

        Raises:
            InputError: another one has the name.
        """

        def add(thing: T) -> T:
            key = thing.__name__ if name is None else name
            if key in self._things and not _are_same(self._things[key], thing):
                raise InputError(
                    f"{self.kind} {key!r} is registered already{_where(self._things[key])}; choose "
                    f"another name"
                )
            self._things[key] = thing
            return thing

        return add

    def get(self, name: object, base: Path | None = None) -> T:
        """The thing of a registered name, of ``module:name`` or of ``./file.py:name``.

        Args:
            name: one of these.
            base: folder that a relative ``.py`` starts from; the working directory by default.

        Raises:
            InputError: there is none; lists the known names and the nearest.
        """
        if not isinstance(name, str):
            raise InputError(f"{self.kind}: expected a name or module:name, got {shown(name)}")
        if name in self._things:
            return self._things[name]
        module_name, colon, attribute = name.rpartition(":")
        if not colon:
            near = difflib.get_close_matches(name, self._things, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InputError(
                f"unknown {self.kind} {name!r}.{hint} Known: {', '.join(self.names())}, or your "
                f"own as module:name or ./file.py:name"
            )
        try:
            module = load_module(module_name, base)
        except InputError as error:
            raise type(error)(f"{self.kind} {name!r}: {error}") from error
        thing = getattr(module, attribute, None)
        if not self.is_thing(thing):
            own = [
                key
                for key, value in vars(module).items()
                if getattr(value, "__module__", None) == module.__name__ and self.is_thing(value)
            ]
            raise InputError(
                f"{self.kind} {name!r}: there is no {attribute!r} in {module_name}; it has: "
                f"{', '.join(own) or 'none'}"
            )
        return thing

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted(self._things)

    def __contains__(self, name: object) -> bool:
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    @contextmanager
    def temporary(self) -> Iterator[None]:
        """Forget at the end what was registered inside: for tests and notebooks."""
        before = dict(self._things)
        try:
            yield
        finally:
            self._things = before


def _where(thing: object) -> str:
    place = _place(thing)
    return f" ({place[0]})" if place else ""


def _place(thing: object) -> tuple[str, str] | None:
    """File and name of a definition; None for what is no function or class."""
    if not inspect.isfunction(thing) and not inspect.isclass(thing):
        return None
    try:
        return inspect.getsourcefile(thing) or "", thing.__qualname__
    except TypeError:  # a class of an interactive session
        return "", thing.__qualname__


def _are_same(known: object, new: object) -> bool:
    return (
        known is new or known == new or (_place(new) is not None and _place(known) == _place(new))
    )
