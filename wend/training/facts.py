"""What a training is made of, which its checkpoints say and a resumed one is compared with."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode

import wend
from wend.distribution import installed_version
from wend.evaluation.protocols import get_protocol
from wend.files import sha256
from wend.run import Run, TrainingData
from wend.weight_files import Origin

TRAINING_KEY = "training"  # of checkpoints: these facts, and what else a training goes on with


@dataclass(frozen=True)
class Asked:
    """What a training is asked for.

    Attributes:
        origin: its config, and the engine.
        facts: of :func:`facts_of`.
        seed_is_open: whether any seed will do (SEED -1).
    """

    origin: Origin
    facts: Mapping[str, Any]
    seed_is_open: bool


def facts_of(
    cfg: CfgNode, engine: str, training: TrainingData, processes: int | None
) -> dict[str, Any]:
    """What a training is made of besides its config: numbers, text, and dicts of them.

    Args:
        cfg: its resolved config.
        engine: the engine's name.
        training: its images.
        processes: how many share it; None where that is not known yet.

    Returns:
        ``seed``, ``batch``, ``world_size``, ``engine``; ``images``, ``boxes`` and ``data_digest``
        (:attr:`wend.loading.selection.Selection.digest`) of the training data; ``code``, SHA-256 of
        the user's own files by name; ``protocols``, what the numbers of each mean; ``versions``.
    """
    files = [Path(module) for module in cfg.WEND.IMPORTS if str(module).endswith(".py")]
    images = training.images
    return {
        "engine": engine,
        "seed": cfg.SEED,
        "batch": cfg.SOLVER.IMS_PER_BATCH,
        "world_size": processes,
        "images": len(images),
        "boxes": images.num_boxes,
        "data_digest": images.digest,
        "code": {file.name: sha256(file) for file in files},
        "protocols": [get_protocol(name).describe() for name in cfg.WEND.PROTOCOLS],
        "versions": {
            "wend": wend.__version__,
            "torch": str(torch.__version__),
            engine: installed_version(engine),
            "python": platform.python_version(),
        },
    }


def asked_of(run: Run, engine: str, *, processes: int | None = None) -> Asked:
    """What a resolved run asks of its training; arguments as of :func:`facts_of`."""
    assert run.training is not None
    origin = Origin(run.cfg.dump(), engine, run.training.exif)
    facts = facts_of(run.cfg, engine, run.training, processes)
    return Asked(origin, facts, seed_is_open=run.seed_was_drawn)
