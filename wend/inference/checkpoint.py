"""Run folders and weight files: which weights, which config, and which engine made them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from fvcore.common.config import BASE_KEY

from wend.config.sources import require_named_code
from wend.errors import InputError, MissingFileError
from wend.files import read_text
from wend.run_files import BEST_WEIGHTS, CONFIG_FILE, FINAL_WEIGHTS, TENSORS, WEIGHTS
from wend.training.checkpoints import newest_whole
from wend.weight_files import Origin, read_origin, read_weights
from wend.yaml_files import parse_yaml

_OF_ALL, _OF_DETECTRON2 = "VERSION:", "VIS_PERIOD:"  # entries of the configs that runs write


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights, and what it takes to build its detector.

    Attributes:
        weights: the file.
        config: the text of its config, a YAML.
        source: where that stands, for messages; a file from whose folder its ``_BASE_`` starts.
        engine: the engine that made it; None where nothing says which.
        exif: the policy of the images of its training; None where nothing says which.
        is_config_named: whether the user named the config, whose code is then imported, as that of
            any config that is trained with; what comes with weights may be anybody's.
    """

    weights: Path
    config: str
    source: Path
    engine: str | None
    exif: str | None
    is_config_named: bool = False

    @property
    def entries(self) -> dict[str, Any]:
        """The config's nested mappings, fresh ones.

        Raises:
            InputError: it is something else.
        """
        values = parse_yaml(self.config, f"{self.source} (its config)", "config entries")
        if not isinstance(values, dict):
            raise InputError(f"{self.source}: expected a mapping of config entries")
        return values

    @contextmanager
    def config_file(self, entries: Mapping[str, Any]) -> Iterator[str]:
        """Entries as a file for as long as it is read; errors name the config's source instead.

        Args:
            entries: the config's own, changed; one with a ``_BASE_`` is read where it stands.
        """
        if not self.is_config_named:
            require_named_code(self.source, entries)
        if BASE_KEY in entries:
            yield str(self.source)
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, CONFIG_FILE)
            file.write_text(yaml.safe_dump(entries), encoding="utf-8")
            try:
                yield str(file)
            except InputError as error:
                message = str(error).replace(str(file), f"{self.source} (its config)")
                raise type(error)(message) from error


def newest_weights(folder: Path) -> Path:
    """The newest whole checkpoint of a run's folder.

    Raises:
        MissingFileError: there is none.
        InputError: all are damaged.
    """
    choice = newest_whole(folder, of_training=False)
    if choice is not None:
        choice.say()
        return choice.path
    for name in (FINAL_WEIGHTS, BEST_WEIGHTS):
        tensors = (folder / name).with_suffix(TENSORS)
        if tensors.is_file():
            return tensors
    config = folder / CONFIG_FILE
    why = (
        "the run has saved none yet, or only evaluated one (MODEL.WEIGHTS of its config.yaml)"
        if config.is_file()
        else f"it is no run's OUTPUT_DIR, which has a {CONFIG_FILE}, too"
    )
    raise MissingFileError(f"{folder}: there is no checkpoint ({WEIGHTS}); {why}")


def read_checkpoint(path: Path, config: str | Path | None = None) -> Checkpoint:
    """The weights that a path names, with their config: given, in the file, or beside it.

    Raises:
        InputError: there are no weights, or no config.
    """
    weights = newest_weights(path) if path.is_dir() else path
    origin: Origin | None = read_origin(weights)
    engine, exif = (None, None) if origin is None else (origin.engine, origin.exif)
    if config is not None:
        source = Path(config)
        text = read_text(source, "a config in YAML")
    elif origin is not None:
        return Checkpoint(weights, origin.config, weights, engine, exif)
    else:
        source = weights.parent / CONFIG_FILE
        if not source.is_file():
            read_weights(weights)  # a file that is no weights at all is another error
            raise MissingFileError(
                f"{weights}: neither holds its config nor lies beside a {CONFIG_FILE}; name it: "
                f"config='my_config.yaml', --config-file my_config.yaml"
            )
        text = read_text(source, "a config in YAML")
    made_by = engine or _engine_that_wrote(text)
    return Checkpoint(weights, text, source, made_by, exif, is_config_named=config is not None)


def _engine_that_wrote(config: str) -> str | None:
    """The engine whose run wrote a config; None for a YAML of the user's own."""
    lines = config.splitlines()
    if not any(line.startswith(_OF_ALL) for line in lines):
        return None
    theirs = any(line.startswith(_OF_DETECTRON2) for line in lines)
    return "detectron2" if theirs else "torchvision"
