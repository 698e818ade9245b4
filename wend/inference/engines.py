"""The engines: their names, their rooms, and which of them is there."""

from __future__ import annotations

import importlib.util

from wend.errors import InputError

ENGINES = {"detectron2": "wend.d2.run", "torchvision": "wend.tv.run"}  # modules that train
# modules that take a detector apart
CANDIDATES = {"detectron2": "wend.d2.candidates", "torchvision": "wend.tv.candidates"}
PREDICTORS = {"detectron2": "wend.d2.inference", "torchvision": "wend.tv.inference"}


def choose_engine(name: str) -> str:
    """The engine to use, for "auto" Detectron2 where installed; InputError if it is missing."""
    spec = importlib.util.find_spec("detectron2")
    has_detectron2 = spec is not None and spec.origin is not None  # not a folder of that name
    if name == "auto":
        return "detectron2" if has_detectron2 else "torchvision"
    if name == "detectron2" and not has_detectron2:
        raise InputError(
            "--engine detectron2: Detectron2 is not installed; see README for how, or use "
            "--engine torchvision"
        )
    return name
