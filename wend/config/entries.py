"""A config entry as data: name, default, meaning and range; a detector's entries are one table.

A table is a tuple of :class:`Entry`. :func:`config_entries` makes it the node ``WEND.<node>`` of
every config, which :func:`check_entries` checks: whoever adds a detector or a loss, also from
outside the package, writes a table and no check.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fvcore.common.config import CfgNode

from wend.errors import InputError, shown
from wend.registry import Registry


@dataclass(frozen=True)
class Range:
    """The values that an entry may have.

    Attributes:
        text: the range in words, for the error.
        holds: whether a value is in the range.
        schema: the same as keywords of a JSON schema, as far as those can say it.
    """

    text: str
    holds: Callable[[Any], bool] = field(compare=False)
    schema: Mapping[str, Any] = field(compare=False, default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One entry of a config.

    Attributes:
        name: its name in the node.
        default: its value where a YAML is silent; its type is the only one a YAML may give.
        meaning: a sentence with the paper's symbol and the unit.
        range: the values it may have; None where another check looks at it, or any will do.
    """

    name: str
    default: Any
    meaning: str
    range: Range | None = None


Table = tuple[Entry, ...]


def _is_table(thing: object) -> bool:
    return isinstance(thing, tuple) and all(isinstance(entry, Entry) for entry in thing)


NODES: Registry[Table] = Registry("config node", _is_table)  # name of WEND.<name> -> its entries


def config_entries(node: str, entries: Sequence[Entry]) -> None:
    """Give the configs that are made or read from now on a node ``WEND.<node>`` of entries.

    Args:
        node: upper case, such as "FCOS".
        entries: its table; names in upper case.

    Raises:
        InputError: the node has other entries already, a name is not in upper case or comes twice.
    """
    table = tuple(entries)
    if not _is_table(table):
        raise InputError(f"config node {node!r}: expected entries of wend.config.Entry")
    for name in (node, *(entry.name for entry in table)):
        if not name.isidentifier() or name != name.upper():
            raise InputError(f"config node {node!r}: expected names in upper case, got {name!r}")
    names = [entry.name for entry in table]
    if len(set(names)) < len(names):
        raise InputError(f"config node {node!r}: two entries have the same name: {names}")
    NODES.register(node)(table)


POSITIVE = Range("finite and > 0", lambda x: 0 < x < math.inf, {"exclusiveMinimum": 0})
NOT_NEGATIVE = Range("finite and >= 0", lambda x: 0 <= x < math.inf, {"minimum": 0})
SHARE = Range("in [0, 1]", lambda x: 0 <= x <= 1, {"minimum": 0, "maximum": 1})
PROBABILITY = Range(
    "in (0, 1)", lambda x: 0 < x < 1, {"exclusiveMinimum": 0, "exclusiveMaximum": 1}
)
UP_TO_1 = Range("in (0, 1]", lambda x: 0 < x <= 1, {"exclusiveMinimum": 0, "maximum": 1})
BELOW_1 = Range("in [0, 1)", lambda x: 0 <= x < 1, {"minimum": 0, "exclusiveMaximum": 1})
NAMES = Range(
    "at least one name, all distinct",
    lambda x: len(x) > 0 and len(set(x)) == len(x),
    {"minItems": 1, "uniqueItems": True},
)


CLOSER = Range(
    "0, or > 1 and finite",
    lambda x: x == 0 or 1 < x < math.inf,
    {"anyOf": [{"const": 0}, {"exclusiveMinimum": 1}]},
)


def at_least(least: int) -> Range:
    """Numbers from ``least``."""
    return Range(f">= {least}", lambda x: x >= least, {"minimum": least})


def one_of(*values: Any) -> Range:
    """Values that equal one of these."""
    return Range(f"one of {values}", lambda x: x in values, {"enum": list(values)})


def add_entries(node: CfgNode, entries: Sequence[Entry]) -> None:
    """Add entries with their defaults to a node."""
    for entry in entries:
        node[entry.name] = entry.default


def require(name: str, value: object, expected: str, ok: bool) -> None:
    """Raise InputError, which names the entry, unless ``ok``."""
    if not ok:
        raise InputError(f"config entry {name}: expected {expected}, got {shown(value)}")


def check_entries(prefix: str, node: CfgNode, entries: Sequence[Entry]) -> None:
    """Raise InputError, which names the entry, unless each is in its range.

    Args:
        prefix: the node's name in the config, such as "WEND.FCOS"; empty for the config itself.
        node: the node.
        entries: its table.
    """
    for entry in entries:
        if entry.range is not None:
            value = node[entry.name]
            name = f"{prefix}.{entry.name}" if prefix else entry.name
            require(name, value, entry.range.text, entry.range.holds(value))
