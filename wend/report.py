"""Results as tables and a curve. No maths here: numbers come in computed."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from tabulate import tabulate

from wend.errors import MissingFileError
from wend.metrics import WSOLResult

METRIC_TITLES = {
    "top1_loc": "Top-1",
    "top5_loc": "Top-5",
    "gt_known_loc": "GT-known",
    "top5_loc_multi": "Top-5 multi@{top5_boxes}",
    "gt_known_loc_multi": "GT-known multi@{max_boxes}",
}


def results_table(
    rows: Mapping[str, Mapping[str, WSOLResult]], table_format: str = "github"
) -> str:
    """A table of metrics in per cent, and below it what each protocol means.

    Args:
        rows: label of what was evaluated (may be empty) -> protocol name -> its result. All
            results of a table have the same K.
        table_format: a format name of ``tabulate``.

    Returns:
        Text of several lines. Every multi-box column states its K and the mean number of boxes.
    """
    first = next(result for results in rows.values() for result in results.values())
    titles = {
        name: title.format(max_boxes=first.max_boxes, top5_boxes=min(5, first.max_boxes))
        for name, title in METRIC_TITLES.items()
    }
    labelled = any(rows)
    header = ["", *([] if not labelled else ["images"])] if labelled else []
    header = [*header, "protocol", *titles.values(), f"boxes (<= {first.max_boxes})"]
    body = []
    for label, results in rows.items():
        for name, result in results.items():
            values = [
                f"{result.metrics[metric]:.2f}" if metric in result.metrics else "-"
                for metric in titles
            ]
            lead = [label, result.num_images] if labelled else []
            body.append([*lead, name, *values, f"{result.mean_boxes:.2f}"])
    text = tabulate(body, header, tablefmt=table_format, disable_numparse=True, stralign="right")
    notes = {
        result.protocol.name: result.protocol.describe()
        for results in rows.values()
        for result in results.values()
    }
    reasons: dict[str, list[str]] = {}
    for metric, why in first.missing.items():
        reasons.setdefault(why, []).append(titles[metric])
    lines = [f"per cent; {note}" for note in notes.values()]
    lines += [f"{', '.join(metrics)}: {why}" for why, metrics in reasons.items()]
    return "\n".join([text, *lines])


def draw_curve(curve_file: str | Path, path: str | Path, metric: str = "gt_known_loc") -> None:
    """Plot a metric of the best box after each epoch, as figures 3 and 4 of the paper do.

    Args:
        curve_file: ``curve.csv`` of a run.
        path: the PNG to write.
        metric: a metric's name.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    if not Path(curve_file).is_file():
        raise MissingFileError(f"{curve_file}: there is no such file; was the run evaluated?")
    lines: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    with open(curve_file, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["metric"] == metric:
                epochs, values = lines.setdefault((row["dataset"], row["protocol"]), ([], []))
                epochs.append(float(row["epoch"]))
                values.append(float(row["value"]))
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for (dataset, protocol), (epochs, values) in lines.items():
        axes.plot(epochs, values, marker=".", label=f"{dataset}, {protocol}")
    axes.set(xlabel="epoch", ylabel=f"{metric} (%)", ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
