"""Training on from a checkpoint: the ordinary training, with its config and its weights."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from wend.errors import InputError
from wend.inference.checkpoint import Checkpoint
from wend.inference.engines import engine_module
from wend.launch import TIMEOUT
from wend.run import DEFAULT_CHECKPOINT_PERIOD, DEFAULT_EVAL_PERIOD, DEFAULT_MAX_ITER
from wend.user_code import load_modules

# What belongs to the data that the detector was trained on
OF_EARLIER_DATA = {
    "WEND.CLASS_PREDICTIONS": "",
    "WEND.DATA.QUARANTINE": "",
    "WEND.DATA.CACHE": "",
    "WEND.DATA.FEATURE_CACHE": "",
    "TEST.EXPECTED_RESULTS": [],
}
SCHEDULE = {  # follows from WEND.EPOCHS and the number of images
    "SOLVER.MAX_ITER": DEFAULT_MAX_ITER,
    "TEST.EVAL_PERIOD": DEFAULT_EVAL_PERIOD,
    "SOLVER.CHECKPOINT_PERIOD": DEFAULT_CHECKPOINT_PERIOD,
}


def as_options(entries: Mapping[str, Any]) -> list[str]:
    """Config entries and values as KEY, VALUE, KEY, VALUE, ..., texts of the command line."""
    return [
        text
        for key, value in entries.items()
        for text in (key, value if isinstance(value, str) else repr(value))
    ]


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(map(str, names))


def fine_tune(
    checkpoint: Checkpoint,
    cfg: CfgNode,
    engine: str,
    train: str | Sequence[str],
    test: str | Sequence[str] | None,
    output: str | os.PathLike[str],
    *,
    datasets_root: str | None = None,
    resume: bool = False,
    allow_changes: bool = False,
    overwrite: bool = False,
    imports: Sequence[str] = (),
    overrides: Mapping[str, Any],
) -> Path:
    """Train a checkpoint's detector on; arguments as of :meth:`.build.TrainedDetector.fine_tune`.

    Args:
        checkpoint: its weights are where the training begins, its config is what it follows.
        cfg: the same config, read.
        engine: that made it.

    Returns:
        The run's folder.
    """
    folder = Path(output)
    if folder.resolve() == checkpoint.weights.parent.resolve():
        raise InputError(
            f"{folder}: holds the weights that the training begins with; name another output"
        )
    data = {
        "MODEL.WEIGHTS": str(checkpoint.weights),
        "DATASETS.TRAIN": _names(train),
        "DATASETS.TEST": _names(train if test is None else test),
        "OUTPUT_DIR": str(folder),
        "MODEL.DEVICE": cfg.MODEL.DEVICE,
    }
    epochs = overrides.get("WEND.EPOCHS", cfg.WEND.EPOCHS)
    schedule = SCHEDULE if str(epochs) != "0" else {}
    load_modules(imports)
    with checkpoint.config_file(checkpoint.entries) as file:
        args = argparse.Namespace(
            config_file=file,
            opts=as_options({**OF_EARLIER_DATA, **schedule, **data, **overrides}),
            imports=list(imports),
            resume=resume,
            allow_changes=allow_changes,
            overwrite=overwrite,
            eval_only=False,
            num_gpus=None,
            num_machines=None,
            machine_rank=None,
            dist_url=None,
            dist_timeout=TIMEOUT,
            engine=engine,
            datasets_root=datasets_root,
        )
        engine_module(engine, "run").run(args)
    return folder
