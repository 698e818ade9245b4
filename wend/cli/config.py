"""``wend config``: an entry's default, values, meaning and where it was set; configs; a schema."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode
from tabulate import tabulate

from wend.cli.options import add_engine_option, add_import_option
from wend.cli.strict_parser import StrictParser
from wend.config.entries import Entry
from wend.config.reading import entry_names, merge_config
from wend.config.schema import config_schema, entry_tables
from wend.config.shipped import config_names, configs_folder
from wend.config.sources import Source
from wend.errors import InputError, nearest
from wend.files import atomic_write, read_text
from wend.inference.engines import choose_engine, engine_module
from wend.run import value_of

TYPES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number, written with a point",
    str: "text",
    list: "a list",
    tuple: "a list",
}
NOT_OURS = "One of Detectron2's own; its config/defaults.py explains it."


def add_arguments(parser: StrictParser) -> None:
    """Add the arguments of ``wend config``."""
    parser.intermixed = True
    parser.add_argument(
        "words",
        nargs="*",
        metavar="[KEY] [KEY VALUE ...]",
        help="an entry or a node, such as WEND.ETA, FCOS or MODEL.RPN, by default all of WEND; and "
        "overrides as of wend train, which it shows the effect of",
    )
    parser.add_argument(
        "--config-file", default="", metavar="FILE", help="show what this config makes of it"
    )
    add_engine_option(parser, "as of wend train")
    parser.add_argument("--list", action="store_true", help="name the configs that WEND brings")
    parser.add_argument(
        "--schema",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write a JSON schema of configs, for editors (docs/config.md)",
    )
    add_import_option(parser)


def run(args: argparse.Namespace) -> int:
    """Print what was asked for; returns the exit status.

    Raises:
        InputError: there is no such entry or node, or the config is wrong.
    """
    if args.list:
        print(tabulate([(name, _about(name)) for name in config_names()], tablefmt="plain"))
        return 0
    engine = choose_engine(args.engine)
    with warnings.catch_warnings():  # Detectron2's, about torch.jit
        warnings.simplefilter("ignore")
        cfg: CfgNode = engine_module(engine, "run").default_config()
    defaults = cfg.clone()
    if args.schema is not None:
        _write_schema(args.schema, config_schema(cfg, is_whole=engine == "detectron2"))
        return 0
    words = args.words
    key, opts = (words[0], words[1:]) if len(words) % 2 else (None, words)
    sources: list[Source] = []
    if args.config_file or opts:
        unknown = f"The engine {engine} has no such entry"
        sources = merge_config(cfg, args.config_file, opts, unknown)
    names = _asked_for(key, entry_names(cfg))
    if key is not None and names[0].endswith(key.upper()):  # an entry, not a node
        print(_explain(names[0], defaults, cfg, sources))
    else:
        if key is None and sources:
            names = [name for name in names if any(name in each.entries for each in sources)]
        print(_table(names, defaults, cfg, sources))
    return 0


def _about(name: str) -> str:
    """The comment that a config begins with."""
    first = read_text(configs_folder() / f"{name}.yaml", "a config").partition("\n")[0]
    return first.removeprefix("# ") if first.startswith("#") else ""


def _write_schema(path: str, schema: dict[str, Any]) -> None:
    text = json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
    if path == "-":
        sys.stdout.write(text)
        return
    with atomic_write(path) as file:
        file.write(text)
    print(f"written: {path}")


def _place(source: Source) -> str:
    """A source's name; of one of WEND's configs as ``configs/...``, wherever they lie."""
    folder = configs_folder().parent.resolve()
    file = Path(source.name).resolve()
    return file.relative_to(folder).as_posix() if folder in file.parents else source.name


def _asked_for(key: str | None, names: list[str]) -> list[str]:
    """The entry of a name, or those of a node; without a key all, those of ``WEND`` first.

    Raises:
        InputError: there is neither.
    """
    if key is None:
        return sorted(names, key=lambda name: not name.startswith("WEND."))
    key = key.strip().strip(".").upper()
    for whole in (key, f"WEND.{key}"):
        if chosen := [name for name in names if f"{name}.".startswith(f"{whole}.")]:
            return chosen
    nodes = {name.rpartition(".")[0] for name in names} - {""}
    shortest_last = sorted((*names, *nodes), key=lambda name: -name.count("."))
    last = {name.rpartition(".")[2]: name for name in shortest_last}  # WEND.GAMMA of two GAMMA
    near = last.get(nearest(key.rpartition(".")[2], last) or "")
    near = nearest(key, [*names, *nodes]) or near
    hint = f" Did you mean {near!r}?" if near else ""
    raise InputError(f"there is no config entry and no node {key}.{hint}")


def _explain(name: str, defaults: CfgNode, cfg: CfgNode, sources: Sequence[Source]) -> str:
    """An entry with everything that is known of it, a line each."""
    entry = entry_tables().get(name)
    default = value_of(defaults, name) if name in entry_names(defaults) else entry
    if isinstance(default, Entry):  # of a node that a config's own module brought
        default = default.default
    rows = [("type", TYPES.get(type(default), "any"))]
    if entry is not None and entry.range is not None:
        rows.append(("values", entry.range.text))
    rows.append(("default", _shown(default)))
    setting = [source for source in sources if name in source.entries]
    if sources:
        rows.append(("value", _shown(value_of(cfg, name))))
    for source in setting:
        holds = ", which holds" if source is setting[-1] and len(setting) > 1 else ""
        rows.append(("set by", f"{_place(source)}: {_shown(source.entries[name])}{holds}"))
    if sources and not setting:
        rows.append(("set by", "nothing: the default"))
    meaning = textwrap.fill(entry.meaning if entry is not None else NOT_OURS, 100)
    return f"{name}\n{meaning}\n{tabulate(rows, tablefmt='plain', disable_numparse=True)}"


def _table(names: Sequence[str], defaults: CfgNode, cfg: CfgNode, sources: Sequence[Source]) -> str:
    """Entries as a table; with sources also their values and where those were set."""
    entries = entry_tables()
    known = set(entry_names(defaults))
    rows = []
    for name in names:
        entry = entries.get(name)
        default = value_of(defaults, name) if name in known or entry is None else entry.default
        row = [name, _shown(default)]
        if sources:
            setting = [_place(source) for source in sources if name in source.entries]
            row += [_shown(value_of(cfg, name)), setting[-1] if setting else ""]
        values = "" if entry is None or entry.range is None else entry.range.text
        rows.append([*row, values, NOT_OURS if entry is None else entry.meaning])
    header = ["entry", "default", "values", "meaning"]
    widths = [None, 24, 30, 60]
    if sources:
        header[2:2], widths[2:2] = ["value", "set by"], [24, 40]
    # not tabulate's maxcolwidths, which turn "False" into True
    cells = [
        [
            text if width is None else textwrap.fill(text, width)
            for text, width in zip(row, widths, strict=True)
        ]
        for row in rows
    ]
    return tabulate(cells, header, disable_numparse=True)


def _shown(value: Any) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)
