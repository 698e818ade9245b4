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

PUBLIC = {  # name -> its module and its name there
    "BoxTable": "wend.structures.box_table:BoxTable",
    "DataSet": "wend.structures.data_set:DataSet",
    "DataSets": "wend.datasets.catalog:DataSets",
    "Detections": "wend.inference.detections:Detections",
    "Detector": "wend.inference.detector:Detector",
    "ImageRecord": "wend.structures.records:ImageRecord",
    "InputError": "wend.errors:InputError",
    "WSOLMetric": "wend.evaluation.wsol_metric:WSOLMetric",
    "compare_methods": "wend.evaluation.comparison:compare_methods",
    "draw_boxes": "wend.reports.draw:draw_boxes",
    "draw_detections": "wend.reports.draw:draw_detections",
    "evaluate": "wend.evaluation.arrays:wsol_scores",
    "export": "wend.inference.export:export",
    "load": "wend.inference.load:load",
    "load_detections": "wend.evaluation.detections:load_detections",
    "read_boxes": "wend.pseudo_boxes:read_boxes",
    "register_records": "wend.datasets.catalog:register_records",
    "write_labels": "wend.label_files:write",
}


def __getattr__(name: str) -> object:
    if name not in PUBLIC:
        raise AttributeError(f"module 'wend' has no attribute {name!r}")
    module, _, attribute = PUBLIC[name].partition(":")
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})
