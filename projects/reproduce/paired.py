"""A study's rows against their references: paired over images, spread over seeds, Holm's p."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from plan import Row, Run
from runs import is_finished
from tabulate import tabulate

from wend.evaluation.comparison import PairNumber, compare_methods
from wend.evaluation.detections import load_detections
from wend.evaluation.metrics import choose_metrics
from wend.evaluation.protocols import get_protocol
from wend.evaluation.scoring import ProtocolScores, score_all
from wend.structures.data_set import DataSet

K = 5
SHOWN = ("gt_known_loc", f"gt_known_loc_multi@{K}", "mean_iou", "ap50", "ap")
DIGITS = {"mean_iou": 3}
HEADER = ("", "against", "metric", "seeds", "difference", "95 % interval", "p", "p, Holm")


def scores_of(
    runs: Sequence[Run], test: DataSet, protocol: str
) -> list[Mapping[str, ProtocolScores]]:
    """The scores of the finished runs of a row."""
    found = []
    for run in filter(is_finished, runs):
        file = run.folder / "inference" / run.test_set / "detections.json"
        detections, _ = load_detections(file, test)
        metrics = choose_metrics(["ap50", "ap"])
        found.append(score_all(test, detections, [get_protocol(protocol)], [K], metrics=metrics))
    return found


def compare_rows(
    plan: Mapping[Row, Sequence[Run]], against: Mapping[str, str], test: DataSet, protocol: str
) -> list[PairNumber]:
    """Each row with finished runs against its reference; a reference's rows are one family.

    The interval is of other images and, where both have several seeds, of other seeds.
    """
    scores = {row.label: scores_of(runs, test, protocol) for row, runs in plan.items()}
    pairs: list[PairNumber] = []
    for reference in dict.fromkeys(against.values()):
        rows = [label for label, other in against.items() if other == reference]
        methods = {label: scores[label] for label in (reference, *rows) if scores.get(label)}
        if reference in methods and len(methods) > 1:
            result = compare_methods(methods, against=reference)
            pairs += [pair for pair in result.pairs if pair.a.column.label in SHOWN]
    return pairs


def pair_table(pairs: Sequence[PairNumber]) -> str:
    """The pairs in Markdown, by metric."""
    rows = []
    for name in SHOWN:
        for pair in pairs:
            if pair.a.column.label != name:
                continue
            test, digits = pair.test, DIGITS.get(name, 1)
            ends = () if test.low is None else (test.low, test.high)
            interval = " .. ".join(f"{end:+.{digits}f}" for end in ends)
            seeds = f"{len(pair.a.values)}, {len(pair.b.values)}"
            ps = ["" if p is None else f"{p:.2g}" for p in (test.p_value, pair.p_holm)]
            metric = pair.a.column.metric.heading + (f", K {K}" if name.endswith(f"@{K}") else "")
            numbers = [f"{test.difference:+.{digits}f}", interval, *ps]
            rows.append([pair.a.method, pair.b.method, metric, seeds, *numbers])
    return tabulate(rows, HEADER, tablefmt="github", disable_numparse=True)
