"""A list whose items are made when somebody reads or changes it, all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

Item = TypeVar("Item")


class LateList(list[Item]):
    """A list of N items that are not made yet, for libraries that take nothing but lists.

    Copied or pickled it is a plain list.

    Args:
        number: N.

    Attributes:
        is_made: whether anybody has asked for an item.
    """

    def __init__(self, number: int) -> None:
        super().__init__([None] * number)  # type: ignore[list-item]
        self.is_made = False

    def make(self) -> Iterable[Item]:
        """The N items; called once, or never."""
        raise NotImplementedError

    def __radd__(self, other: list[Item]) -> list[Item]:
        """A list with these items behind its own; list's own way would see what is not made."""
        return [*other, *self]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return list, ([*self],)

    def _items(self) -> list[Item]:
        if not self.is_made:
            self.is_made = True
            list.__init__(self, self.make())
        return self


def _of_made_items(name: str) -> Callable[..., Any]:
    method = getattr(list, name)

    @wraps(method)
    def of_made_items(self: LateList, *arguments: Any, **named: Any) -> Any:
        made = (each._items() if isinstance(each, LateList) else each for each in arguments)
        return method(self._items(), *made, **named)

    return of_made_items


_COMPARED = ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__contains__")
_READ = ("__getitem__", "__iter__", "__reversed__", "__repr__", "copy", "count", "index")
_JOINED = ("__add__", "__iadd__", "__mul__", "__rmul__", "__imul__", "append", "extend", "insert")
_CHANGED = ("__setitem__", "__delitem__", "clear", "pop", "remove", "reverse", "sort")
for _name in (*_COMPARED, *_READ, *_JOINED, *_CHANGED):
    setattr(LateList, _name, _of_made_items(_name))
