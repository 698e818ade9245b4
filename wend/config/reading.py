"""Reading a config: the user's own modules, a YAML with ``_BASE_``, ``KEY VALUE``, the checks."""

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

import yaml
from fvcore.common.config import BASE_KEY, CfgNode

from wend.config.common import REFERENCES
from wend.config.node import EARLIER, add_registered_nodes, check_config
from wend.errors import InputError, MissingFileError, shown
from wend.files import expand_user, read_text, real_path
from wend.modeling.initial_weights import settle_pixels
from wend.numerals import decimal_number
from wend.user_code import load_module
from wend.yaml_files import StrictLoader, parse_yaml

IMPORTS = "WEND.IMPORTS"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Source:
    """A source of a config's entries: a YAML, or the command line.

    Attributes:
        name: its name, for messages.
        folder: the folder that relative paths of the user's code start from.
        entries: :data:`IMPORTS` and :data:`REFERENCES`, as far as it has them.
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
        for entry, value in self.entries.items():
            if entry == IMPORTS:
                continue
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


class _AnyTag(StrictLoader):
    """Reads YAMLs whose values have tags; Detectron2's reader decides what becomes of them."""


_AnyTag.add_multi_constructor("", lambda loader, suffix, node: None)


def _yaml_sources(path: Path, readers: tuple[Path, ...] = ()) -> list[_Source]:
    """A YAML and those that it names as ``_BASE_``, the deepest first."""
    if real_path(path) in readers:
        raise InputError(f"{path}: names itself as {BASE_KEY}, perhaps by way of another file")
    wanted = "a config in YAML"
    top = parse_yaml(read_text(path, wanted), str(path), wanted, _AnyTag)
    if not isinstance(top, dict):
        raise InputError(
            f"{path}: expected a mapping of config entries, got an empty file or a list"
        )
    for entry, value in _leaves(top):
        _check_literal(value, f"{path}: config entry {entry}")
    bases = top.get(BASE_KEY, [])
    sources: list[_Source] = []
    for base in bases if isinstance(bases, list) else [bases]:
        if str(base).startswith(("https://", "http://")):
            continue  # fvcore's business; it has no file of the user's beside it
        file = path.parent / expand_user(str(base))
        if not file.is_file():
            raise MissingFileError(f"{path}: {BASE_KEY}: there is no file {file}")
        sources += _yaml_sources(file, (*readers, real_path(path)))
    entries = {}
    for name in (IMPORTS, *REFERENCES, *EARLIER):
        node, _, entry = name.partition(".")
        if isinstance(top.get(node), dict) and entry in top[node]:
            entries[name] = top[node][entry]
    for name in EARLIER:
        _check_earlier(name, entries.pop(name, None), str(path))
    return [*sources, _Source(str(path), path.parent, entries)]


def _check_earlier(name: str, value: Any, where: str) -> None:
    """Raise InputError for a value (None: not given) of ``EARLIER`` that is not the default now."""
    default, instead = EARLIER[name]
    if value is not None and str(value) != str(default):
        raise InputError(f"{where}: config entry {name} {value} is {instead} now")


def _leaves(values: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each text of a YAML with the name of its entry."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, str):
            yield f"{prefix}{name}", value


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


def _check_overrides(opts: Sequence[str]) -> None:
    """Raise InputError for ``KEY VALUE`` overrides of which one cannot be what was meant."""
    seen: dict[str, str] = {}
    for key, value in zip(opts[::2], opts[1::2], strict=False):
        if key.startswith("--"):
            raise InputError(f"{key}: flags come before the KEY VALUE overrides, not behind them")
        if seen.get(key, value) != value:
            logger.warning(
                "command line: config entry %s is given twice, %s and then %s; the last one holds",
                *(key, seen[key], value),
            )
        seen[key] = value
        if key in EARLIER:
            _check_earlier(key, value, "command line")
        _check_literal(value, f"command line: config entry {key}")


def _command_line(opts: Sequence[str], imports: Sequence[str]) -> _Source:
    entries: dict[str, Any] = {
        key: value
        for key, value in zip(opts[::2], opts[1::2], strict=False)
        if key in (IMPORTS, *REFERENCES)
    }
    for entry, value in entries.items():  # as CfgNode decodes them
        with suppress(SyntaxError, ValueError):
            entries[entry] = literal_eval(value)
    chosen = entries.get(IMPORTS, ())
    entries[IMPORTS] = [*imports, *chosen] if isinstance(chosen, list | tuple) else chosen
    return _Source("command line", Path(), entries)


def _check_filled(cfg: CfgNode, before: CfgNode, prefix: str = "") -> None:
    """Raise InputError for an entry that was emptied (``KEY:`` with nothing behind it)."""
    for name, value in cfg.items():
        if isinstance(value, CfgNode) and isinstance(before.get(name), CfgNode):
            _check_filled(value, before[name], f"{prefix}{name}.")
        elif value is None and before.get(name) is not None:
            raise InputError(f"config entry {prefix}{name}: has no value; give one or leave it out")


def merge_config(
    cfg: CfgNode,
    config_file: str,
    opts: Sequence[str],
    unknown_key: str,
    imports: Sequence[str] = (),
) -> None:
    """Read a YAML and then ``KEY VALUE`` overrides into a config, and check it.

    Before, the user's modules are imported: those of ``WEND.IMPORTS`` of each file, of ``imports``,
    and those that an entry names a function or class of (``WEND.LOSS: ./mine.py:my_loss``). Their
    config entries are known from then on. Files are relative to the YAML that names them and stand
    in the config with an absolute path.

    Args:
        cfg: a config with its defaults.
        config_file: YAML, which may name another as ``_BASE_``; empty for none.
        opts: KEY, VALUE, KEY, VALUE, ...
        unknown_key: the advice about a key that ``cfg`` does not have.
        imports: modules and files that ``--import`` names.

    Raises:
        InputError: names the file or the override, and the key.
        UserCodeError: a module of the user's cannot be imported.
    """
    if config_file and not Path(config_file).is_file():
        raise MissingFileError(f"--config-file: there is no file {config_file}")
    sources: list[_Source] = []
    steps = [("command line", lambda: cfg.merge_from_list(list(opts)))]
    if config_file:
        steps.insert(0, (config_file, lambda: cfg.merge_from_file(config_file)))
        sources = _yaml_sources(Path(config_file))
    _check_overrides(opts)
    sources.append(_command_line(opts, imports))
    modules: dict[str, None] = {}  # in their order, each once
    for source in sources:
        for module in source.modules():
            try:
                load_module(module)
            except InputError as error:
                raise type(error)(f"{source.name}: {error}") from error
            modules[module] = None
    add_registered_nodes(cfg)
    before = cfg.clone()
    for where, step in steps:
        try:
            step()
        except (yaml.YAMLError, FileNotFoundError, RecursionError) as error:
            raise InputError(f"{where}: cannot be read as YAML: {error}") from None
        except (KeyError, AssertionError, ValueError, AttributeError, TypeError) as error:
            message = str(error.args[0]) if error.args else "not KEY VALUE pairs"
            if "<class 'float'> vs. <class 'int'>" in message:
                message += " (write 1.0, not 1)"
            if "Non-existent" in message:
                message += f". {unknown_key}"
            if "Non-existent" in message and "key: WEND." in message:
                message += f"; one of your own is known once {IMPORTS} or --import names its file"
            raise InputError(f"{where}: {message}") from None
    _check_filled(cfg, before)
    cfg.WEND.IMPORTS = tuple(modules)
    references = {name: value for source in sources for name, value in source.references().items()}
    for name, value in references.items():
        if any(":" in part for part in ([value] if isinstance(value, str) else value)):
            node, _, entry = name.partition(".")
            cfg[node][entry] = value
    # its file was imported, and has registered it on the engine
    cfg.MODEL.META_ARCHITECTURE = cfg.MODEL.META_ARCHITECTURE.rpartition(":")[2]
    check_config(cfg)
    settle_pixels(cfg)
