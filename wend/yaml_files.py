"""YAML as every reader of the package reads it: no key twice, no scalar that two YAMLs read apart.

PyYAML reads YAML 1.1 and keeps the last of equal keys without a word. There ``4_00`` is 400,
``1:30`` is 90, ``010`` is 8 and ``no`` is false; in YAML 1.2, and to most who write them, they are
not. Such a scalar without quotes is an error that says both readings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from wend.errors import InputError, shown
from wend.files import is_unicode, read_text

PROBLEMS = (yaml.YAMLError, RecursionError)
# PyYAML's own, of values such as "!!int ''" or a date of month 13
ODD_VALUES = (ValueError, LookupError, AttributeError, TypeError)
_ONLY_IN_1_1 = re.compile(
    r"(?P<truth>[yY]es|YES|[nN]o|NO|[oO]n|ON|[oO]ff|OFF)"
    r"|(?P<underscore>[-+]?[.0-9][0-9_.]*_[0-9_.]*(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?0x[0-9a-fA-F]*_[0-9a-fA-F_]*|[-+]?0b[01_]+)"
    r"|(?P<sixties>[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)"
    r"|(?P<octal>[-+]?0[0-7]+)"
    r"|(?P<date>[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?)"
)
_READINGS = {
    "truth": "true or false in YAML 1.1 and text in 1.2; write true or false",
    "underscore": "a number in YAML 1.1 and text in 1.2; write plain digits",
    "sixties": "a number of base 60 in YAML 1.1 and text in 1.2",
    "octal": "an octal number in YAML 1.1 and a decimal in 1.2; write it without the 0",
    "date": "a date in YAML 1.1 and text in 1.2",
}


MOST_VALUES = 100_000  # once aliases are written out; WEND's largest config has 400


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, and scalars that YAML 1.1 and 1.2 read apart.

    Both are seen where nodes are composed, so that values which are never constructed count, too.
    So are aliases of aliases, by which ten lines state 10^9 values: who walks or writes them would
    never end.
    """

    def get_single_node(self) -> yaml.Node | None:
        """The document, of so many values."""
        node = super().get_single_node()
        if node is not None and _values(node, {}) > MOST_VALUES:
            problem = f"its aliases (*name) state more than {MOST_VALUES} values"
            raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """A scalar, with its reading in YAML 1.1."""
        node = super().compose_scalar_node(anchor)
        if "\0" in node.value or not is_unicode(node.value):
            problem = f"{shown(node.value)} holds a NUL or half of a character"
            raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
        match = _ONLY_IN_1_1.fullmatch(node.value) if node.style is None else None
        if match and match.lastgroup and node.tag != "tag:yaml.org,2002:str":
            problem = f"{shown(node.value)} is {_READINGS[match.lastgroup]}, or put it in quotes"
            raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping of different keys; those that ``<<`` merges into it may be among its own."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in lines:
                    line = lines[key.tag, key.value]
                    problem = f"the key {shown(key.value)} stands already in line {line}"
                    raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
                lines[key.tag, key.value] = key.start_mark.line + 1
        return node


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node is with its aliases written out.

    Args:
        known: those of the nodes that were counted, by their id; 0 while one is.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 0
        children = node.value
        if isinstance(node, yaml.MappingNode):
            children = [child for pair in children for child in pair]
        known[id(node)] = 1 + sum(_values(child, known) for child in children)
    elif not known[id(node)]:
        problem = "an alias (*name) stands in the value that it means"
        raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
    return known[id(node)]


def yaml_error(error: Exception, where: str, expected: str) -> InputError:
    """The error for text that PyYAML could not read, which names the line where PyYAML does."""
    problem = " ".join(str(error).split())
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        where = f"{where}, line {error.problem_mark.line + 1}"
        problem = ", ".join(filter(None, (error.context, error.problem)))
    return InputError(f"{where}: cannot be read as YAML: {problem}; expected {expected}")


def parse_yaml(
    text: str, where: str, expected: str, loader: type[StrictLoader] = StrictLoader
) -> Any:
    """The value that a YAML document is.

    Args:
        where: the file, for messages.
        expected: what it should hold, for messages.

    Raises:
        InputError: not one YAML document, a key twice, or a scalar that is no value.
    """
    try:
        return yaml.load(text, Loader=loader)  # noqa: S506 (safe)
    except (*PROBLEMS, *ODD_VALUES) as error:
        raise yaml_error(error, where, expected) from error


def read_yaml(path: str | Path, expected: str) -> Any:
    """The value of a YAML file; MissingFileError or InputError as of :func:`parse_yaml`."""
    return parse_yaml(read_text(path, expected), str(path), expected)


def leaves(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of nested mappings, a config's too, with its whole name: ``SOLVER.BASE_LR``."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
