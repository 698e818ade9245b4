"""A config entry as data: name, default, meaning and range; a detector's entries are one table.

A table is a tuple of :class:`Entry`. :func:`add_entries` makes a node of it, :func:`check_entries`
checks a node against it: who adds a detector writes a table and no check.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fvcore.common.config import CfgNode

from wend.errors import InputError


@dataclass(frozen=True)
class Range:
    """The values that an entry may have.

    Attributes:
        text: what the error says was expected.
        holds: whether a value is among them.
    """

    text: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Entry:
    """One entry of a config.

    Attributes:
        name: its name in the node.
        default: its value where a YAML is silent; its type is the only one a YAML may give.
        meaning: a sentence with the paper's symbol and the unit.
        range: the values it may have; None where a check of its own looks at it, or any will do.
    """

    name: str
    default: Any
    meaning: str
    range: Range | None = None


POSITIVE = Range("finite and > 0", lambda x: 0 < x < math.inf)
NOT_NEGATIVE = Range("finite and >= 0", lambda x: 0 <= x < math.inf)
SHARE = Range("in [0, 1]", lambda x: 0 <= x <= 1)
PROBABILITY = Range("in (0, 1)", lambda x: 0 < x < 1)
NAMES = Range("at least one name, all distinct", lambda x: len(x) > 0 and len(set(x)) == len(x))


def at_least(least: int) -> Range:
    """Whole numbers from ``least``."""
    return Range(f">= {least}", lambda x: x >= least)


def one_of(*values: Any) -> Range:
    """One of the values."""
    return Range(f"one of {values}", lambda x: x in values)


def add_entries(node: CfgNode, entries: Sequence[Entry]) -> None:
    """Add entries with their defaults to a node."""
    for entry in entries:
        node[entry.name] = entry.default


def require(name: str, value: object, expected: str, ok: bool) -> None:
    """Raise InputError, which names the entry, unless ``ok``."""
    if not ok:
        raise InputError(f"config entry {name}: expected {expected}, got {value!r}")


def check_entries(prefix: str, node: CfgNode, entries: Sequence[Entry]) -> None:
    """Raise InputError, which names the entry, unless each is in its range.

    Args:
        prefix: the node's name in the config, such as "WEND.FCOS".
        node: the node.
        entries: its table.
    """
    for entry in entries:
        if entry.range is not None:
            value = node[entry.name]
            require(f"{prefix}.{entry.name}", value, entry.range.text, entry.range.holds(value))
