"""A checkpoint and its config -> the detector, built by the engine that made it."""

from __future__ import annotations

import importlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from fvcore.common.config import BASE_KEY

from wend.config.common import REFERENCES
from wend.config.reading import IMPORTS
from wend.devices import choose_device
from wend.errors import InputError
from wend.inference.checkpoint import CONFIG_FILE, Checkpoint, read_checkpoint
from wend.inference.detector import Detector
from wend.inference.engines import PREDICTORS, choose_engine
from wend.structures.records import EXIF

# What only training and evaluation need, and what stands for it where a detector just predicts
UNUSED = {
    "WEND.LOSS": "none",
    "WEND.ETA": 1.0,
    "WEND.ETA_SCHEDULE": "constant",
    "WEND.UNSUP_FACTOR": 1.0,
    "WEND.UNSUP_FACTOR_SCHEDULE": "constant",
    "WEND.PROTOCOLS": ("original",),
    "WEND.METRICS": (),
    "WEND.LOGGERS": (),
    "WEND.CLASS_PREDICTIONS": "",
    "WEND.DATA.QUARANTINE": "",
    "WEND.DATA.CACHE": "",
    "MODEL.WEIGHTS": "",
}
logger = logging.getLogger(__name__)


def engine_of(checkpoint: Checkpoint, wanted: str) -> str:
    """The engine that loads a checkpoint: the one that made it.

    Raises:
        InputError: another is wanted, or it is not installed.
    """
    if wanted not in ("auto", *PREDICTORS):
        raise InputError(f"engine: expected auto, {', '.join(PREDICTORS)}, got {wanted!r}")
    made_by = checkpoint.engine
    if made_by is None:
        return choose_engine(wanted)
    if made_by not in PREDICTORS:
        raise InputError(
            f"{checkpoint.weights}: was made by the engine {made_by!r}; expected "
            f"{' or '.join(PREDICTORS)}. Was it written by a newer version of WEND?"
        )
    if wanted not in ("auto", made_by):
        raise InputError(
            f"{checkpoint.weights}: was made by the engine {made_by}, which alone can load it; "
            f"leave the engine out, or set it to {made_by}"
        )
    try:
        return choose_engine(made_by)
    except InputError:
        raise InputError(
            f"{checkpoint.weights}: was made by the engine {made_by}, which is not installed here "
            f"(README says how), and the other cannot load it"
        ) from None


@contextmanager
def config_file(checkpoint: Checkpoint) -> Iterator[str]:
    """The config as a file for as long as it is read, without code that prediction does not need.

    Losses, metrics and schedules of the user's own need not be there to predict. Detectors,
    backbones and entries of the user's own do: their files (``WEND.IMPORTS``) are imported, where
    they are.
    """
    values = yaml.safe_load(checkpoint.config)
    if not isinstance(values, dict):
        raise InputError(f"{checkpoint.source}: expected a mapping of config entries")
    if BASE_KEY in values:
        yield str(checkpoint.source)
        return
    for entry in (*UNUSED, *REFERENCES):
        _remove(values, entry, keep=entry == "MODEL.META_ARCHITECTURE")
    wend = values.get("WEND") or {}
    imports = wend.get(IMPORTS.removeprefix("WEND."))
    if isinstance(imports, list):
        missing = [m for m in imports if str(m).endswith(".py") and not Path(m).is_file()]
        if missing:
            logger.warning(
                "%s: your code %s is not there; going on without it",
                *(checkpoint.source, ", ".join(map(str, missing))),
            )
        wend["IMPORTS"] = [module for module in imports if module not in missing]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, CONFIG_FILE)
        file.write_text(yaml.safe_dump(values), encoding="utf-8")
        try:
            yield str(file)
        except InputError as error:
            message = str(error).replace(str(file), f"{checkpoint.source} (its config)")
            raise type(error)(message) from error


def _remove(values: dict[str, Any], entry: str, *, keep: bool = False) -> None:
    *nodes, name = entry.split(".")
    for node in nodes:
        values = values.get(node) if isinstance(values, dict) else None  # type: ignore[assignment]
    if isinstance(values, dict) and not keep:
        values.pop(name, None)


def as_options(entries: Mapping[str, Any]) -> list[str]:
    """Config entries and values as KEY, VALUE, KEY, VALUE, ..., texts of the command line."""
    return [
        text
        for key, value in entries.items()
        for text in (key, value if isinstance(value, str) else repr(value))
    ]


def load(
    path: Path,
    *,
    device: str | None,
    engine: str,
    config: str | Path | None,
    exif: str | None,
    overrides: Mapping[str, Any],
) -> Detector:
    """The detector of a run folder or a weight file; see :func:`wend.inference.load.load`."""
    checkpoint = read_checkpoint(path, config)
    chosen = engine_of(checkpoint, engine)
    entries = {**UNUSED, **overrides}
    if device is not None:
        entries["MODEL.DEVICE"] = str(choose_device(device, "device"))
    predictor = importlib.import_module(PREDICTORS[chosen])
    with config_file(checkpoint) as file:
        model = predictor.load(file, as_options(entries), str(checkpoint.weights))
    policy = exif or checkpoint.exif or EXIF[0]
    return Detector(model, policy, checkpoint=checkpoint, engine=chosen)
