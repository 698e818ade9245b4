"""The table of goals of the cost benchmark: ``run.py --goals``.

Each setting, a batch and a precision, is a column. A column is written as soon as it is measured,
so that a run which is cut off leaves what it had.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from rows import machine, prepared, row, turns_of

Rows = Mapping[str, Mapping[str, Any]]
D2_PEER, TV_RCNN, TV_FCOS = "Detectron2 R_50_FPN", "torchvision fasterrcnn", "torchvision fcos"
LEAN, RCNN_LEAN = "BCD-FCOS lean", "Faster R-CNN lean"
SHARE = 0.01  # of a step, that WE may be


@dataclass(frozen=True)
class Goal:
    """A number that is to be at least, or at most, another one.

    Attributes:
        text: what it is, in words.
        goal: the other one.
        is_least: whether the goal is a least one.
        models: rows that it is made of.
        value: makes it of the rows.
    """

    text: str
    goal: float
    is_least: bool
    models: tuple[str, ...]
    value: Callable[[Rows], float]

    def cell(self, rows: Rows) -> str:
        """Its value, marked where the goal is missed; empty where a row is missing."""
        if not set(self.models) <= set(rows):
            return ""
        value = self.value(rows)
        is_met = value >= self.goal if self.is_least else value <= self.goal
        return f"{value:.3g}" if is_met else f"**{value:.3g}**"


def _step(name: str, goal: float) -> Goal:
    return Goal(
        f"{name}: step / SCR's",
        *(goal, False, ("SCR", name), lambda rows: rows[name]["step_to_scr"][1]),
    )


def _inference(name: str, goal: float) -> Goal:
    return Goal(
        f"{name}: inference / backbone's",
        *(goal, True, ("backbone", name), lambda rows: rows[name]["throughput_to_backbone"][1]),
    )


def _training_beside(name: str, peer: str) -> Goal:
    return _beside(name, peer, "training", lambda row: 1 / row["step_s"])


def _testing_beside(name: str, peer: str) -> Goal:
    return _beside(name, peer, "inference", lambda row: row["images_per_s"])


def _beside(name: str, peer: str, part: str, speed: Callable[[Mapping[str, Any]], float]) -> Goal:
    return Goal(
        f"{name}: {part} images/s / {peer}'s",
        *(6.0, True, (name, peer), lambda rows: speed(rows[name]) / speed(rows[peer])),
    )


def _we(name: str) -> Goal:
    return Goal(
        f"{name}: WE's share of a step",
        *(SHARE, False, (name,), lambda rows: rows[name]["we_alone"]),
    )


GOALS = (
    _step(LEAN, 1.10),
    _step("BCD-FCOS", 1.6),
    _step(RCNN_LEAN, 1.6),
    _step("Faster R-CNN", 3.0),
    _step("CLN", 3.0),
    _step("Deformable DETR", 3.0),
    _inference("SCR", 0.95),
    _inference(LEAN, 0.85),
    _inference(RCNN_LEAN, 0.6),
    *(_training_beside(LEAN, peer) for peer in (D2_PEER, TV_RCNN, TV_FCOS)),
    *(_testing_beside(LEAN, peer) for peer in (D2_PEER, TV_RCNN, TV_FCOS)),
    _training_beside(RCNN_LEAN, D2_PEER),
    _testing_beside(RCNN_LEAN, D2_PEER),
    *(_we(name) for name in (LEAN, "BCD-FCOS", RCNN_LEAN, "CLN", "Deformable DETR")),
)
FURTHER = (  # rows beside the goals'
    *("SCR, torchvision engine", "BCD-FCOS, torchvision engine"),
    *("Faster R-CNN, torchvision engine", "BCD-FCOS lean, frozen"),
)


def models_of_goals() -> list[str]:
    """The rows that are measured, those that most goals need first."""
    named = dict.fromkeys(name for goal in GOALS for name in goal.models)
    return [*dict.fromkeys(("backbone", "SCR", *named, *FURTHER))]


def measure_all(args: argparse.Namespace) -> None:
    """Measure every column and write the tables; see the module."""
    import measure

    began = time.monotonic()
    settings = [(batch, precision) for batch in args.batches for precision in measure.PRECISIONS]
    weights = [batch * (1 if precision == "float32" else 0.6) for batch, precision in settings]
    columns: dict[str, dict[str, Any]] = {}
    subjects: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for index, (batch, precision) in enumerate(settings):
        args.batch = args.test_batch = batch
        args.precision = precision
        args.how = replace(args.how, precision=precision)
        if not index or settings[index - 1][0] != batch:
            subjects.clear()
            subjects, missing = prepared(models_of_goals(), args)
        left = args.seconds - (time.monotonic() - began)
        args.until = time.monotonic() + left * weights[index] / sum(weights[index:])
        if precision != "float32" and args.how.on_cuda:
            for subject in subjects.values():
                subject.model.to(memory_format=torch.channels_last)
        lost = copy.copy(missing)
        turns = turns_of(subjects, lost, args)
        rows = {name: row(subjects[name], turns, args) for name in subjects}
        for name, subject in subjects.items():
            rows[name]["we_alone"] = measure.share_of_we_alone(
                subject, args.how, rows[name]["step_s"]
            )
        rounds = len(turns["SCR"])
        columns[f"{batch}, {precision}"] = {"rows": rows, "missing": lost, "rounds": rounds}
        text = f"{table(columns)}\n{numbers(columns)}\n{machine(args)}"
        if args.output:
            args.output.mkdir(parents=True, exist_ok=True)
            (args.output / "goals.md").write_text(text, encoding="utf-8")
            (args.output / "goals.json").write_text(json.dumps(columns, indent=1), encoding="utf-8")
    sys.stdout.write(text)


def table(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """The goals, a row each; bold is missed."""
    text = _line(["batch, precision", "goal", *columns]) + _line(["---"] * (2 + len(columns)))
    for goal in GOALS:
        sign = "at least" if goal.is_least else "at most"
        cells = [goal.cell(column["rows"]) for column in columns.values()]
        text += _line([goal.text, f"{sign} {goal.goal:g}", *cells])
    return text


def numbers(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """Milliseconds of a step and images/s in inference of every model, and what is missing."""
    heads = [f"{setting}: step, ms | images/s" for setting in columns]
    text = _line(["model", *heads]) + _line(["---"] * (1 + 2 * len(columns)))
    for name in models_of_goals():
        cells = [
            f"{1000 * column['rows'][name]['step_s']:.1f} | "
            f"{column['rows'][name]['images_per_s']:.0f}"
            if name in column["rows"]
            else " | "
            for column in columns.values()
        ]
        text += _line([name, *cells])
    for setting, column in columns.items():
        text += f"\n{setting}: {column['rounds']} rounds"
        text += "".join(f"; missing: {name}: {why}" for name, why in column["missing"].items())
        text += "\n"
    return text


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"
