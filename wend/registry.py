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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from wend.errors import InputError, shown
from wend.user_code import UserCodeError, is_own, load_module, own_traceback

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])


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
        self._followers: list[Callable[[str, T], object]] = []

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
            is_new = key not in self._things
            self._things[key] = thing
            for follower in self._followers if is_new else ():
                follower(key, thing)
            return thing

        return add

    def follow(self, follower: Callable[[str, T], object]) -> None:
        """Call ``follower(name, thing)`` for each thing, now and whenever a new name comes."""
        self._followers.append(follower)
        for name in self.names():
            follower(name, self._things[name])

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


class FunctionRegistry(Registry[Function]):
    """Functions whose keyword-only parameters are config entries.

    Args:
        kind: what they are, for messages.
        arguments: names of the positional arguments that they are called with.
    """

    def __init__(self, kind: str, arguments: Sequence[str]) -> None:
        super().__init__(kind)
        self.arguments = tuple(arguments)

    def register(
        self, name: str | None = None, *, node: str = ""
    ) -> Callable[[Function], Function]:
        """Decorator: make a function known under a name, by default its own.

        Args:
            name: see :meth:`Registry.register`.
            node: the node of config entries that its keyword-only parameters come from: ``width``
                from ``WEND.<node>.WIDTH``; empty: from ``WEND.WIDTH``. A parameter without an entry
                keeps its default.

        Raises:
            InputError: another function has the name.
        """
        add = super().register(name)

        def add_with_node(function: Function) -> Function:
            function.config_node = node
            return add(function)

        return add_with_node

    @contextmanager
    def trial(self, name: str, parameters: Mapping[str, object]) -> Iterator[None]:
        """Around a first call: what goes wrong names the function and shows the user's code.

        Args:
            name: of the function that is called inside.
            parameters: what it is called with by keyword.

        Raises:
            InputError: it cannot be called so.
            UserCodeError: it is the user's and raised an error.
        """
        function = self.get(name)
        try:
            inspect.signature(function).bind(*self.arguments, **parameters)
        except TypeError as error:
            raise InputError(
                f"{self.kind} {name!r}: {error}; a {self.kind} is called with "
                f"({', '.join(self.arguments)}) and, by name, with the config entries that its "
                f"keyword-only parameters are called after"
            ) from None
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            if not is_own(function):
                raise
            raise UserCodeError(
                f"{self.kind} {name!r} failed where it is tried before the training; its own "
                f"traceback:\n{own_traceback(error)}"
            ) from error


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
