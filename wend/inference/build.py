"""A checkpoint and its config -> the detector, built by the engine that made it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wend.config.common import REFERENCES
from wend.config.reading import IMPORTS
from wend.devices import choose_device
from wend.errors import InputError
from wend.inference.checkpoint import Checkpoint, read_checkpoint
from wend.inference.detector import Detector, Model
from wend.inference.engines import ENGINES, choose_engine, engine_module
from wend.inference.fine_tune import as_options, fine_tune
from wend.structures.records import EXIF
from wend.training.changes import warn_if_trained_otherwise
from wend.user_code import is_named

# What only training and evaluation need, and what stands for it where a detector just predicts
UNUSED = {
    "WEND.LOSS": "none",
    "WEND.ETA": 1.0,
    "WEND.ETA_SCHEDULE": "constant",
    "WEND.UNSUP_FACTOR": 1.0,
    "WEND.UNSUP_FACTOR_SCHEDULE": "constant",
    "WEND.REFINE": "none",
    "WEND.TEACHER.ENABLED": False,
    "WEND.EMA.DECAY": 0.0,
    "WEND.PROTOCOLS": ("original",),
    "WEND.METRICS": (),
    "WEND.LOGGERS": (),
    "WEND.CLASS_PREDICTIONS": "",
    "WEND.DATA.QUARANTINE": "",
    "WEND.DATA.CACHE": "",
    "WEND.DATA.FEATURE_CACHE": "",
    "MODEL.WEIGHTS": "",
    "SOLVER.AMP.ENABLED": False,
}
logger = logging.getLogger(__name__)


def engine_of(checkpoint: Checkpoint, wanted: str) -> str:
    """The engine that loads a checkpoint: the one that made it.

    Raises:
        InputError: another is wanted, or it is not installed.
    """
    if wanted not in ("auto", *ENGINES):
        raise InputError(f"engine: expected auto, {', '.join(ENGINES)}, got {wanted!r}")
    made_by = checkpoint.engine
    if made_by is None:
        return choose_engine(wanted)
    if made_by not in ENGINES:
        raise InputError(
            f"{checkpoint.weights}: was made by the engine {made_by!r}; expected "
            f"{' or '.join(ENGINES)}. Was it written by a newer version of WEND?"
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


def entries_to_predict(checkpoint: Checkpoint) -> dict[str, Any]:
    """The config's entries without code that prediction does not need.

    Losses, metrics and schedules of the user's own need not be there to predict. Detectors,
    backbones and entries of the user's own do, and the user names their files: a config that comes
    with weights may be anybody's, and imports nothing.
    """
    values = checkpoint.entries
    for entry in (*UNUSED, *REFERENCES):
        _remove(values, entry, keep=entry == "MODEL.META_ARCHITECTURE")
    wend = values.get("WEND") or {}
    imports = wend.get(IMPORTS.removeprefix("WEND."))
    if isinstance(imports, list) and not checkpoint.is_config_named:
        unnamed = [module for module in map(str, imports) if not is_named(module)]
        if unnamed:
            logger.warning(
                "%s: names the code %s, which is not imported; going on without it. If the "
                "detector needs it and it is yours, name it: --import FILE, wend.load(..., "
                "imports=[FILE])",
                *(checkpoint.source, ", ".join(unnamed)),
            )
        wend["IMPORTS"] = [module for module in imports if str(module) not in unnamed]
    return values


def _remove(values: dict[str, Any], entry: str, *, keep: bool = False) -> None:
    *nodes, name = entry.split(".")
    for node in nodes:
        values = values.get(node) if isinstance(values, dict) else None  # type: ignore[assignment]
    if isinstance(values, dict) and not keep:
        values.pop(name, None)


class TrainedDetector(Detector):
    """A detector of a checkpoint, which can be trained on.

    Args:
        model, exif, engine: see :class:`Detector`.
        checkpoint: the file that its weights are of.
    """

    checkpoint: Checkpoint

    def __init__(self, model: Model, exif: str, checkpoint: Checkpoint, engine: str) -> None:
        super().__init__(model, exif, checkpoint=checkpoint, engine=engine)

    def fine_tune(
        self,
        train: str | Sequence[str],
        test: str | Sequence[str] | None = None,
        *,
        output: str | os.PathLike[str],
        datasets_root: str | None = None,
        resume: bool = False,
        allow_changes: bool = False,
        overwrite: bool = False,
        imports: Sequence[str] = (),
        **overrides: Any,
    ) -> TrainedDetector:
        """Train on from these weights, as ``wend train`` does with this detector's config.

        The result is an ordinary run's folder; this detector stays as it is. Of the config, what
        belongs to the earlier data (class predictions, quarantine, cache, the length in iterations)
        is left out.

        Args:
            train: data sets to train on, by name or as the YAML files that declare them.
            test: data sets to evaluate on; by default those of ``train``.
            output: the folder of the run.
            datasets_root: as ``--datasets-root``.
            resume: go on with a run that was interrupted.
            allow_changes: go on though config or data differ from that run's.
            overwrite: remove a run that is in ``output``.
            imports: modules of yours, as ``--import``.
            overrides: config entries to change, such as
                ``**{"WEND.EPOCHS": 5, "SOLVER.BASE_LR": 0.001}``.

        Returns:
            The detector of the run.

        Raises:
            InputError: names what is wrong.
        """
        folder = fine_tune(
            *(self.checkpoint, self.cfg, self.engine, train, test, output),
            datasets_root=datasets_root,
            resume=resume,
            allow_changes=allow_changes,
            overwrite=overwrite,
            imports=imports,
            overrides=overrides,
        )
        device = self.cfg.MODEL.DEVICE
        return load(folder, device=device, engine=self.engine, config=None, exif=None, overrides={})


def load(
    path: Path,
    *,
    device: str | None,
    engine: str,
    config: str | Path | None,
    exif: str | None,
    overrides: Mapping[str, Any],
) -> TrainedDetector:
    """The detector of a run folder or a weight file; see :func:`wend.inference.load.load`."""
    checkpoint = read_checkpoint(path, config)
    chosen = engine_of(checkpoint, engine)
    entries = {**UNUSED, **overrides}
    if device is not None:
        entries["MODEL.DEVICE"] = str(choose_device(device, "device"))
    predictor = engine_module(chosen, "inference")
    with checkpoint.config_file(entries_to_predict(checkpoint)) as file:
        model = predictor.load(file, as_options(entries), str(checkpoint.weights))
    if config is not None:
        warn_if_trained_otherwise(checkpoint.weights, model.cfg.dump())
    policy = exif or checkpoint.exif or EXIF[0]
    return TrainedDetector(model, policy, checkpoint, chosen)
