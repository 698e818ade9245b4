"""Where a config's entries come from: the files of a ``_BASE_`` chain, and the command line."""

from __future__ import annotations

import ast
import logging
import tokenize
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

from fvcore.common.config import BASE_KEY

from wend.config.common import IMPORTS, REFERENCES
from wend.config.node import EARLIER
from wend.config.shipped import find_config, no_config
from wend.errors import InputError, MissingFileError, shown
from wend.files import expand_user, read_text, real_path
from wend.numerals import decimal_number
from wend.user_code import require_named
from wend.yaml_files import leaves, parse_yaml

# in iterations, of Detectron2
SCHEDULE = ("SOLVER.MAX_ITER", "TEST.EVAL_PERIOD", "SOLVER.CHECKPOINT_PERIOD")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A source of a config's entries: a YAML without those that it names as base, or overrides.

    Attributes:
        name: its name, for messages.
        folder: the folder that relative paths of the user's code start from.
        entries: value by the entry's whole name, such as ``WEND.ETA``.
    """

    name: str
    folder: Path
    entries: Mapping[str, Any]

    def modules(self) -> Iterator[str]:
        """The modules to import for it: its list, and those that its references name."""
        names = self.entries.get(IMPORTS, ())
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise InputError(
                f"{self.name}: config entry {IMPORTS}: expected a list such as [./mine.py], got "
                f"{shown(names)}"
            )
        for name in names:
            yield self.absolute(name)
        for references in self.references().values():
            for reference in (references,) if isinstance(references, str) else references:
                if ":" in reference:
                    yield reference.rpartition(":")[0]

    def references(self) -> dict[str, str | tuple[str, ...]]:
        """Its :data:`REFERENCES`; those to files get an absolute path."""
        values: dict[str, str | tuple[str, ...]] = {}
        for entry in REFERENCES:
            value = self.entries.get(entry)
            if isinstance(value, str):
                values[entry] = self._absolute_reference(value)
            elif isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
                values[entry] = tuple(self._absolute_reference(name) for name in value)
        return values

    def _absolute_reference(self, reference: str) -> str:
        module, colon, name = reference.rpartition(":")
        return f"{self.absolute(module)}:{name}" if colon else reference

    def absolute(self, module: str) -> str:
        """A module's name as it is; a file's path from here."""
        if not module.endswith(".py"):
            return module
        return str(real_path(self.folder / expand_user(module)))


def require_named_code(path: Path, tree: Mapping[str, Any]) -> None:
    """Raise InputError for code that a config names and the user did not.

    For configs that a command finds by itself, in a run's folder or in a checkpoint, which may be
    anybody's.

    Args:
        path: where the config stands: a YAML, or a weight file.
        tree: its nested mappings; what they name as ``_BASE_`` is looked at, too.
    """
    if BASE_KEY in tree:
        sources: Sequence[Source] = yaml_sources(path)
    else:
        sources = [Source(str(path), path.parent, dict(leaves(tree)))]
    for source in sources:
        require_named(source.modules(), source.name)


@dataclass(frozen=True)
class YamlSource(Source):
    """A YAML file.

    Attributes:
        tree: its nested mappings, without ``_BASE_``.
    """

    tree: Mapping[str, Any]


def yaml_sources(path: Path, readers: tuple[Path, ...] = ()) -> list[YamlSource]:
    """A YAML and those that it names as ``_BASE_``, the deepest first.

    A base is a file, relative to the YAML that names it, or else a config of WEND's by its name.

    Raises:
        InputError: names the file that is no config, or the base that is not there.
    """
    if real_path(path) in readers:
        raise InputError(f"{path}: names itself as {BASE_KEY}, perhaps by way of another file")
    wanted = "a config in YAML"
    tree = parse_yaml(read_text(path, wanted), str(path), wanted)
    if not isinstance(tree, dict):
        raise InputError(
            f"{path}: expected a mapping of config entries, got an empty file or a list"
        )
    bases = tree.pop(BASE_KEY, [])
    sources: list[YamlSource] = []
    for base in bases if isinstance(bases, list) else [bases]:
        name = str(expand_user(str(base)))
        file = find_config(name, path.parent)
        if file is None:
            raise MissingFileError(f"{path}: {BASE_KEY}: {no_config(name)}")
        sources += yaml_sources(file, (*readers, real_path(path)))
    entries = dict(leaves(tree))
    for entry, value in entries.items():
        if isinstance(value, str):
            _check_literal(value, f"{path}: config entry {entry}")
    for name in EARLIER:
        _check_earlier(name, entries.pop(name, None), str(path))
    for name in _derived_schedule(entries):
        logger.info("%s: %s %s follows from WEND.EPOCHS", path, name, entries.pop(name))
        node, _, entry = name.partition(".")
        del tree[node][entry]
    return [*sources, YamlSource(str(path), path.parent, entries, tree)]


def _derived_schedule(entries: Mapping[str, Any]) -> tuple[str, ...]:
    """The entries of a schedule in iterations that follow from the epochs of the same file.

    A run writes both into its ``config.yaml``, whose epochs alone count where it is read again:
    with other epochs or data the iterations are others.
    """
    epochs = entries.get("WEND.EPOCHS")
    total, *periods = (entries.get(name) for name in SCHEDULE)
    is_derived = (
        type(epochs) is int
        and epochs > 0
        and all(type(period) is int and period * epochs == total for period in periods)
    )
    return SCHEDULE if is_derived else ()


def command_line(opts: Sequence[str], imports: Sequence[str]) -> Source:
    """The source of ``KEY VALUE`` overrides and of the modules that ``--import`` names.

    Raises:
        InputError: an override cannot be what was meant.
    """
    _check_overrides(opts)
    entries: dict[str, Any] = dict(zip(opts[::2], opts[1::2], strict=False))
    for entry, value in entries.items():  # as CfgNode decodes them
        with suppress(SyntaxError, ValueError):
            entries[entry] = literal_eval(value)
    chosen = entries.get(IMPORTS, ())
    if imports:
        entries[IMPORTS] = [*imports, *chosen] if isinstance(chosen, list | tuple) else chosen
    return Source("command line", Path(), entries)


def _check_overrides(opts: Sequence[str]) -> None:
    """Raise InputError for ``KEY VALUE`` overrides of which one cannot be what was meant."""
    seen: dict[str, str] = {}
    for key in opts[::2]:
        if key.startswith("--"):
            raise InputError(f"{key}: flags come before the KEY VALUE overrides, not behind them")
    if len(opts) % 2:
        raise InputError(f"command line: expected KEY VALUE pairs; {opts[-1]} has no value")
    for key, value in zip(opts[::2], opts[1::2], strict=True):
        if seen.get(key, value) != value:
            logger.warning(
                "command line: config entry %s is given twice, %s and then %s; the last one holds",
                *(key, seen[key], value),
            )
        seen[key] = value
        if key in EARLIER:
            _check_earlier(key, value, "command line")
        _check_literal(value, f"command line: config entry {key}")


def _check_earlier(name: str, value: Any, where: str) -> None:
    """Raise InputError for a value (None: not given) of ``EARLIER`` that is not the default now."""
    default, instead = EARLIER[name]
    if value is not None and str(value) != str(default):
        raise InputError(f"{where}: config entry {name} {value} is {instead} now")


def _check_literal(text: str, where: str) -> None:
    """Raise InputError for a text that CfgNode reads as Python's value, and few would.

    It reads ``4_00`` as 400, ``('a' 'b')`` as the text 'ab', and of equal keys the last.
    """
    try:
        value = literal_eval(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return  # a text
    tokens = list(tokenize.generate_tokens(StringIO(text.strip()).readline))
    if isinstance(value, int | float) and text != text.strip():
        raise InputError(f"{where}: expected a number without blanks around it, got {text!r}")
    for token, following in pairwise(tokens):
        if token.type == following.type == tokenize.STRING:
            raise InputError(
                f"{where}: expected a comma between {token.string} and {following.string}, got "
                f"{shown(text)}"
            )
        if token.type == tokenize.NUMBER:
            try:
                decimal_number(token.string)
            except ValueError as error:
                raise InputError(f"{where}: {error}") from None
    for node in ast.walk(ast.parse(text.strip(), mode="eval")):
        if isinstance(node, ast.Dict):
            keys = [ast.unparse(key) for key in node.keys if key is not None]
            if len(set(keys)) < len(keys):
                raise InputError(f"{where}: a key stands twice in {shown(text)}")
