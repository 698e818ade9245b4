"""Objects by name: losses, schedules, detectors, box sources, tables of config entries.

A thing is registered by a decorator, the project's own in the same way as the user's::

    LOSSES: Registry[Loss] = Registry("loss")

    @LOSSES.register("mine")
    def my_loss(context): ...

and is asked for by that name, or without any registration as ``module:name`` or
``./file.py:name``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from wend.errors import InputError, did_you_mean, shown
from wend.user_code import load_module, own_errors

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])


class Registry(Generic[T]):
    """Things of one kind by name.

    Args:
        kind: the kind, for messages: "loss".
        is_thing: whether an object is of the kind; by default whether it can be called.
    """

    def __init__(self, kind: str, is_thing: Callable[[object], bool] = callable) -> None:
        self.kind = kind
        self.is_thing = is_thing
        self._things: dict[str, T] = {}
        self._followers: list[Callable[[str, T], object]] = []

    def register(self, name: str | None = None) -> Callable[[T], T]:
        """Decorator: make a thing known under a name, by default its own.

        The same definition may come again, as when a file or a notebook's cell is run twice.

        Raises:
            InputError: another thing has the name, or this one has none of its own.
        """

        def add(thing: T) -> T:
            key = getattr(thing, "__name__", None) if name is None else name
            if key is None:
                raise InputError(f"{self.kind} {shown(thing)} has no name of its own; give it one")
            if key in self._things and not _are_same(self._things[key], thing):
                raise InputError(
                    f"{self.kind} {key!r} is registered already{_where(self._things[key])}; choose "
                    f"another name"
                )
            self._things[key] = thing
            for follower in self._followers:
                follower(key, thing)
            return thing

        return add

    def follow(self, follower: Callable[[str, T], object]) -> None:
        """Call ``follower(name, thing)`` for each thing, now and whenever one comes (again)."""
        self._followers.append(follower)
        for name in self.names():
            follower(name, self._things[name])

    def get(self, name: object, base: Path | None = None) -> T:
        """The thing of a registered name, of ``module:name`` or of ``./file.py:name``.

        Args:
            name: a name in one of these three forms.
            base: folder that a relative ``.py`` starts from; the working directory by default.

        Raises:
            InputError: nothing has that name; the message lists the known names and the nearest.
        """
        if not isinstance(name, str):
            raise InputError(f"{self.kind}: expected a name or module:name, got {shown(name)}")
        if name in self._things:
            return self._things[name]
        module_name, colon, attribute = name.rpartition(":")
        if not colon:
            raise InputError(
                f"unknown {self.kind} {name!r}.{did_you_mean(name, self._things)} Known: "
                f"{', '.join(self.names())}, or your own as module:name or ./file.py:name"
            )
        try:
            module = load_module(module_name, base)
        except InputError as error:
            raise type(error)(f"{self.kind} {name!r}: {error}") from error
        thing: Any = getattr(module, attribute, None)
        if not self.is_thing(thing):
            own = [
                key
                for key, value in vars(module).items()
                if self.is_thing(value) and _module(value) == module.__name__
            ]
            is_there = hasattr(module, attribute)
            wrong = f"{attribute!r} is no {self.kind}" if is_there else f"there is no {attribute!r}"
            raise InputError(
                f"{self.kind} {name!r}: {wrong} in {module_name}; it has: "
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
        kind: the kind, for messages.
        arguments: names of the positional arguments that they are called with.
    """

    def __init__(self, kind: str, arguments: Sequence[str]) -> None:
        super().__init__(kind)
        self.arguments = tuple(arguments)
        self._nodes: dict[Callable[..., Any], tuple[str, ...]] = {}

    def register(
        self, name: str | None = None, *, node: str | Sequence[str] = ""
    ) -> Callable[[Function], Function]:
        """Decorator: make a function known under a name, by default its own.

        Args:
            name: see :meth:`Registry.register`.
            node: the node of config entries that its keyword-only parameters come from: ``width``
                from ``WEND.<node>.WIDTH``; empty: from ``WEND.WIDTH``. Of several nodes, from the
                first that has the entry. A parameter without an entry keeps its default.

        Raises:
            InputError: another function has the name.
        """
        add = super().register(name)

        def add_with_node(function: Function) -> Function:
            self._nodes[function] = (node,) if isinstance(node, str) else tuple(node)
            return add(function)

        return add_with_node

    def nodes(self, function: Callable[..., Any]) -> tuple[str, ...]:
        """The nodes that a function was registered with; one that was not has the empty one."""
        return self._nodes.get(function, ("",))

    @contextmanager
    def trial(self, name: str, parameters: Mapping[str, object]) -> Iterator[None]:
        """Make errors of a first call, inside this context, name the function and show its code.

        Args:
            name: the name of the function that is called inside.
            parameters: its arguments by keyword.

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
        about = f"{self.kind} {name!r} failed where it is tried before the training"
        with own_errors(function, about):
            yield


def _where(thing: object) -> str:
    definition = _definition(thing)
    return f" ({definition[0]})" if definition else ""


def _module(thing: object) -> str:
    """The module that defines a function or class, perhaps wrapped."""
    return getattr(inspect.unwrap(thing), "__module__", "")  # type: ignore[arg-type]


def _definition(thing: object) -> tuple[str, str] | None:
    """File and name of a function or class, perhaps wrapped; None for another object."""
    thing = inspect.unwrap(thing)  # type: ignore[arg-type]
    if not inspect.isfunction(thing) and not inspect.isclass(thing):
        return None
    if thing.__module__ == "__main__":  # each cell of a notebook is a file of its own
        return "__main__", thing.__qualname__
    try:
        return inspect.getsourcefile(thing) or "", thing.__qualname__
    except TypeError:  # a class of a module without a file
        return "", thing.__qualname__


def _are_same(known: object, new: object) -> bool:
    return (
        known is new
        or known == new
        or (_definition(new) is not None and _definition(known) == _definition(new))
    )
