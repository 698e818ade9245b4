"""WEND: object boxes without box labels (weighted entropy guided binary-class detector).

The rooms, top floor first; each imports only from below: ``cli``; ``inference``; ``d2`` and ``tv``,
the engines; ``reports``; ``run``; ``config``; ``evaluation``; ``loading``, ``modeling`` and
``localize``; ``datasets``; ``pseudo_boxes`` and ``classes``; ``formats``; ``images``;
``structures``; and the modules beside them: ``losses``, ``schedules``, ``registry``, ``files``,
``errors``, ... Importing this package imports none of them. ``docs/design.md`` draws the way of the
data.

The names of :data:`PUBLIC` are imported from their rooms when they are first asked for;
``__init__.pyi`` tells editors and type checkers of them.
"""

from __future__ import annotations

import importlib  # this alone: python -m wend has the working folder's files before all others

__version__ = "0.1.0"

PUBLIC = {  # name -> its module
    "Detections": "wend.inference.detections",
    "Detector": "wend.inference.detector",
    "InputError": "wend.errors",
    "export": "wend.inference.export",
    "load": "wend.inference.load",
}


def __getattr__(name: str) -> object:
    if name not in PUBLIC:
        raise AttributeError(f"module 'wend' has no attribute {name!r}")
    value = getattr(importlib.import_module(PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})
