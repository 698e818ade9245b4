"""The engines: their names, their rooms, and which of them is there."""

from __future__ import annotations

import importlib
from typing import Any

from wend.distribution import is_installed
from wend.errors import InputError

ENGINES = {"detectron2": "wend.d2", "torchvision": "wend.tv"}  # name -> room


def engine_module(name: str, part: str) -> Any:
    """A module that every engine has: ``run`` trains, ``inference`` predicts, ``candidates`` takes
    a detector apart.
    """
    return importlib.import_module(f"{ENGINES[name]}.{part}")


def choose_engine(name: str) -> str:
    """The engine to use, for "auto" Detectron2 where installed; InputError if it is missing."""
    has_detectron2 = is_installed("detectron2")
    if name == "auto":
        return "detectron2" if has_detectron2 else "torchvision"
    if name == "detectron2" and not has_detectron2:
        raise InputError(
            "--engine detectron2: Detectron2 is not installed; see README for how, or use "
            "--engine torchvision"
        )
    return name
