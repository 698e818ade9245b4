"""Reading a config: a YAML with ``_BASE_``, then ``KEY VALUE`` overrides, then the checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from fvcore.common.config import CfgNode

from wend.config.node import check_config
from wend.errors import InputError, MissingFileError
from wend.files import read_text


def _check_filled(cfg: CfgNode, before: CfgNode, prefix: str = "") -> None:
    """Raise InputError for an entry that was emptied (``KEY:`` with nothing behind it)."""
    for name, value in cfg.items():
        if isinstance(value, CfgNode) and isinstance(before.get(name), CfgNode):
            _check_filled(value, before[name], f"{prefix}{name}.")
        elif value is None and before.get(name) is not None:
            raise InputError(f"config entry {prefix}{name}: has no value; give one or leave it out")


def _check_mapping(path: str) -> None:
    """Raise InputError unless a YAML holds a mapping at its top."""
    top = yaml.compose(read_text(path, "a config in YAML"))
    if not isinstance(top, yaml.MappingNode):
        raise InputError(
            f"{path}: expected a mapping of config entries, got an empty file or a list"
        )


def merge_config(cfg: CfgNode, config_file: str, opts: Sequence[str], unknown_key: str) -> None:
    """Read a YAML and then ``KEY VALUE`` overrides into a config, and check it.

    Args:
        cfg: a config with its defaults.
        config_file: YAML, which may name another as ``_BASE_``; empty for none.
        opts: KEY, VALUE, KEY, VALUE, ...
        unknown_key: what to tell about a key that ``cfg`` does not have.

    Raises:
        InputError: names the file or the override, and the key.
    """
    if config_file and not Path(config_file).is_file():
        raise MissingFileError(f"--config-file: there is no file {config_file}")
    before = cfg.clone()
    steps = [("command line", lambda: cfg.merge_from_list(list(opts)))]
    if config_file:
        steps.insert(0, (config_file, lambda: cfg.merge_from_file(config_file)))
        steps.insert(0, (config_file, lambda: _check_mapping(config_file)))
    for where, step in steps:
        try:
            step()
        except InputError:
            raise
        except (yaml.YAMLError, FileNotFoundError, RecursionError) as error:
            raise InputError(f"{where}: cannot be read as YAML: {error}") from None
        except (KeyError, AssertionError, ValueError, AttributeError, TypeError) as error:
            said = str(error.args[0]) if error.args else "not KEY VALUE pairs"
            if "<class 'float'> vs. <class 'int'>" in said:
                said += " (write 1.0, not 1)"
            if "Non-existent" in said:
                said += f". {unknown_key}"
            raise InputError(f"{where}: {said}") from None
    _check_filled(cfg, before)
    check_config(cfg)
