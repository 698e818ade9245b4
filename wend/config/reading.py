"""Reading a config: the user's own modules, a YAML with ``_BASE_``, ``KEY VALUE``, the checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import getitem
from pathlib import Path

from fvcore.common.config import CfgNode

from wend.config.common import IMPORTS
from wend.config.entries import require
from wend.config.node import add_registered_nodes, check_config
from wend.config.shipped import find_config, no_config
from wend.config.sources import Source, command_line, yaml_sources
from wend.errors import InputError, MissingFileError, did_you_mean
from wend.modeling.initial_weights import settle_pixels
from wend.user_code import load_module
from wend.yaml_files import leaves


def config_path(config_file: str) -> Path:
    """The file that ``--config-file`` stands for: a path, or the name of one of WEND's configs.

    Raises:
        MissingFileError: there is neither; the message has the nearest names.
    """
    path = find_config(config_file)
    if path is None:
        raise MissingFileError(
            f"--config-file: {no_config(config_file)} `wend config --list` shows them"
        )
    return path


@contextmanager
def _errors_name(source: Source, cfg: CfgNode, unknown_key: str) -> Iterator[None]:
    """Errors of merging a source into a config name the source and say what to do."""
    try:
        yield
    except (KeyError, AssertionError, ValueError, AttributeError, TypeError) as error:
        message = str(error.args[0]) if error.args else "not KEY VALUE pairs"
        if "<class 'float'> vs. <class 'int'>" in message:
            message += " (write 1.0, not 1)"
        if "Non-existent" in message:
            known = entry_names(cfg)
            unknown = next((name for name in source.entries if name not in known), "")
            message += f". {unknown_key}"
            if unknown.startswith("WEND."):
                message += f"; one of your own is known once {IMPORTS} or --import names its file"
            message += f".{did_you_mean(unknown, known)}"
        raise InputError(f"{source.name}: {message}") from None


def entry_names(cfg: CfgNode) -> list[str]:
    """The whole names of all entries of a config, such as ``WEND.FCOS.NUM_CLASSES``."""
    return [name for name, _ in leaves(cfg)]


def _check_filled(cfg: CfgNode, before: CfgNode, prefix: str = "") -> None:
    """Raise InputError for an entry that was emptied (``KEY:`` and nothing behind it, or None)."""
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
) -> list[Source]:
    """Read a YAML and then ``KEY VALUE`` overrides into a config, and check it.

    Before, the user's modules are imported: those of ``WEND.IMPORTS`` of each file, of ``imports``,
    and those that an entry names a function or class of (``WEND.LOSS: ./mine.py:my_loss``). Their
    config entries are known from then on. Files are relative to the YAML that names them and stand
    in the config with an absolute path.

    Args:
        cfg: a config with its defaults.
        config_file: YAML, which may name another as ``_BASE_``, or the name of a config of WEND's
            (:func:`config_path`); empty for none.
        opts: KEY, VALUE, KEY, VALUE, ...
        unknown_key: the advice about a key that ``cfg`` does not have.
        imports: modules and files that ``--import`` names.

    Returns:
        What was read, in its order: the files of the ``_BASE_`` chain, and the command line.

    Raises:
        InputError: names the file or the override, and the key.
        UserCodeError: a module of the user's cannot be imported.
    """
    files = yaml_sources(config_path(config_file)) if config_file else []
    sources = [*files, command_line(opts, imports)]
    modules: dict[str, None] = {}  # in their order, each once
    for source in sources:
        for module in source.modules():
            try:
                load_module(module)
            except InputError as error:
                raise type(error)(f"{source.name}: {error}") from error
            modules[module] = None
    add_registered_nodes(cfg)
    for file in files:
        before = cfg.clone()
        with _errors_name(file, cfg, unknown_key):
            cfg.merge_from_other_cfg(type(cfg)(file.tree))
            _check_filled(cfg, before)
            require(
                "VERSION", cfg.VERSION, "2, Detectron2's of today", cfg.VERSION == before.VERSION
            )
    before = cfg.clone()
    with _errors_name(sources[-1], cfg, unknown_key):
        cfg.merge_from_list(list(opts))
        _check_filled(cfg, before)
    cfg.WEND.IMPORTS = tuple(modules)
    references = {name: value for source in sources for name, value in source.references().items()}
    for name, value in references.items():
        if any(":" in part for part in ([value] if isinstance(value, str) else value)):
            *nodes, entry = name.split(".")
            reduce(getitem, nodes, cfg)[entry] = value
    # its file was imported, and has registered it on the engine
    cfg.MODEL.META_ARCHITECTURE = cfg.MODEL.META_ARCHITECTURE.rpartition(":")[2]
    check_config(cfg)
    settle_pixels(cfg)
    return sources
