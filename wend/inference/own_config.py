"""The config and the engine of ``wend train``, where its arguments leave them to a run's folder.

``--resume`` goes on with the config of OUTPUT_DIR, ``--eval-only`` takes that which the checkpoint
itself holds. Neither needs the file that the training was started with. Code that such a config
names is not imported unless ``--import`` names it: the folder may be anybody's.
"""

from __future__ import annotations

import argparse
import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wend.config.common import IMPORTS, REFERENCES
from wend.config.reading import config_path
from wend.config.sources import require_named_code, yaml_sources
from wend.errors import InputError
from wend.files import read_text
from wend.inference.build import engine_of
from wend.inference.checkpoint import Checkpoint, read_checkpoint
from wend.inference.engines import choose_engine
from wend.run_files import CONFIG_FILE, MACHINE_FILE, checkpoint_files, read_object
from wend.training.checkpoints import newest_whole
from wend.user_code import is_named, load_modules
from wend.weight_files import read_origin
from wend.yaml_files import leaves, parse_yaml, read_yaml

OUTPUT_DIR = "./output"  # where no one says another
EVALUATES = ("WEND.METRICS", "WEND.LOGGERS", "MODEL.META_ARCHITECTURE")  # of the user's own code
logger = logging.getLogger(__name__)


@contextmanager
def completed(args: argparse.Namespace) -> Iterator[argparse.Namespace]:
    """Arguments of ``wend train`` with a config file and an engine, for as long as they are used.

    Args:
        args: as they are parsed; ``config_file`` may be empty, ``engine`` may be ``auto``.

    Raises:
        InputError: nothing says which config or engine, or the engine is another than the run's.
    """
    args = copy.copy(args)
    args.opts = list(args.opts)
    load_modules(args.imports)
    if args.config_file:
        args.config_file = str(config_path(args.config_file))
    folder, weights = (
        Path(_asked(args, "OUTPUT_DIR", OUTPUT_DIR)),
        _asked(args, "MODEL.WEIGHTS", ""),
    )
    has_run = args.resume and bool(checkpoint_files(folder))
    if args.eval_only and (has_run or (weights and Path(weights).is_file())):
        path = _newest(folder) if has_run else Path(weights)
        if not args.config_file:
            with _of_checkpoint(read_checkpoint(path), args) as complete:
                yield complete
            return
        origin = read_origin(path)
        if origin is not None and args.engine == "auto":  # a detector of both is loaded by either
            args.engine = origin.engine
    elif args.resume and not args.eval_only:
        if has_run:
            origin = read_origin(_newest(folder))
            args.engine = _same_engine(folder, origin.engine if origin else "auto", args.engine)
        if not args.config_file:
            with _of_folder(folder, args) as complete:
                yield complete
            return
    args.engine = choose_engine(args.engine)
    yield args


def _newest(folder: Path) -> Path:
    """The newest whole checkpoint of a folder that has some; whoever loads it says which."""
    choice = newest_whole(folder, of_training=False)
    assert choice is not None
    return choice.path


def _asked(args: argparse.Namespace, entry: str, default: str) -> str:
    """The value of an entry as the command line or else the config file has it."""
    given = dict(zip(args.opts[::2], args.opts[1::2], strict=False))
    if entry in given:
        return given[entry]
    sources = yaml_sources(Path(args.config_file)) if args.config_file else []
    return str(next((s.entries[entry] for s in sources[::-1] if entry in s.entries), default))


def _same_engine(source: Path, made_by: str, wanted: str) -> str:
    """The engine that made a run, which goes on with it and evaluates it."""
    if made_by != "auto" and wanted not in ("auto", made_by):
        raise InputError(
            f"--engine {wanted}: {source} was made by the engine {made_by}, which alone can load "
            f"it; leave --engine out, or give --engine {made_by}"
        )
    return made_by if wanted == "auto" else wanted


@contextmanager
def _of_folder(folder: Path, args: argparse.Namespace) -> Iterator[argparse.Namespace]:
    """A training that goes on with the config of its folder, or that of its newest checkpoint."""
    file = folder / CONFIG_FILE
    args.opts = _with_folder(args.opts, folder)
    newest = _newest(folder) if checkpoint_files(folder) else None
    checkpoint = read_checkpoint(newest) if newest is not None and read_origin(newest) else None
    why_not = _why_not_whole(file, checkpoint)
    if why_not and checkpoint is None:
        raise InputError(
            f"--resume without --config-file: {why_not}, and no checkpoint there holds its config; "
            f"name the config that the training is to start or go on with: --config-file FILE"
        )
    if args.engine == "auto":
        machine = read_object(folder / MACHINE_FILE, "the machine of a run") if not why_not else {}
        args.engine = str(machine.get("engine", "auto"))
    if not why_not:
        logger.info("config: %s, that of the training that goes on", file)
        require_named_code(file, read_yaml(file, "a run's config"))
        args.config_file = str(file)
        args.engine = choose_engine(args.engine)
        yield args
        return
    assert checkpoint is not None
    logger.warning("%s: going on with the config that %s holds", why_not, checkpoint.weights)
    args.engine = engine_of(checkpoint, args.engine)
    with checkpoint.config_file(checkpoint.entries) as args.config_file:
        yield args


def _why_not_whole(file: Path, checkpoint: Checkpoint | None) -> str:
    """Why a run's config.yaml cannot be gone on with; empty where it can."""
    if not file.is_file():
        return f"{file}: there is no such file"
    try:
        tree = parse_yaml(read_text(file, "a run's config"), str(file), "a run's config")
    except InputError as error:
        return str(error)
    if not isinstance(tree, dict):
        return f"{file}: is empty"
    entries = dict(leaves(tree))
    lost = (
        [] if checkpoint is None else [n for n, _ in leaves(checkpoint.entries) if n not in entries]
    )
    return (
        f"{file}: was cut off ({len(lost)} entries of its checkpoint are missing)" if lost else ""
    )


@contextmanager
def _of_checkpoint(
    checkpoint: Checkpoint, args: argparse.Namespace
) -> Iterator[argparse.Namespace]:
    """An evaluation with the config that a checkpoint holds, written to its folder by default."""
    logger.info("config: that of %s", checkpoint.source)
    args.engine = engine_of(checkpoint, args.engine)
    args.opts = _with_folder(args.opts, checkpoint.weights.parent)
    if args.resume:
        args.opts += ["MODEL.WEIGHTS", str(checkpoint.weights)]
    with checkpoint.config_file(entries_to_evaluate(checkpoint)) as args.config_file:
        yield args


def _with_folder(opts: list[str], folder: Path) -> list[str]:
    """``KEY VALUE`` overrides with the folder as OUTPUT_DIR, unless they name one."""
    return opts if "OUTPUT_DIR" in opts[::2] else ["OUTPUT_DIR", str(folder), *opts]


def entries_to_evaluate(checkpoint: Checkpoint) -> dict[str, Any]:
    """The config's entries without files of the training alone that are not there any more."""
    values = checkpoint.entries
    gone: list[str] = []
    for entry in REFERENCES:
        if entry not in EVALUATES and _names_lost_code(_value(values, entry)):
            gone.append(entry)
    for entry, is_there in (
        ("WEND.DATA.QUARANTINE", Path.is_file),
        ("WEND.DATA.CACHE", Path.is_dir),
    ):
        value = _value(values, entry)
        if value and not is_there(Path(str(value))):
            gone.append(entry)
    for entry in gone:
        _remove(values, entry)
    imports = _value(values, IMPORTS)
    if isinstance(imports, list):
        lost = [module for module in imports if _is_lost(str(module))]
        gone += map(str, lost)
        values["WEND"]["IMPORTS"] = [module for module in imports if module not in lost]
    if gone:
        logger.warning(
            "%s: evaluated without what is not there any more, and code that no --import names: %s",
            *(checkpoint.source, ", ".join(gone)),
        )
    return values


def _is_lost(module: str) -> bool:
    return bool(module) and not is_named(module)


def _names_lost_code(value: Any) -> bool:
    references = value if isinstance(value, list) else [value]
    return any(_is_lost(str(reference).rpartition(":")[0]) for reference in references)


def _value(values: Mapping[str, Any], entry: str) -> Any:
    """The value of an entry; None where the config has none."""
    return dict(leaves(values)).get(entry)


def _remove(values: dict[str, Any], entry: str) -> None:
    *nodes, name = entry.split(".")
    for node in nodes:
        values = values[node]
    del values[name]
