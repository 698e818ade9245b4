"""The report on runs: detector and pseudo boxes side by side, boxes on images, curves, the page."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from fvcore.common.config import CfgNode

from wend.datasets.catalog import DataSets
from wend.errors import BadImageError, InputError
from wend.evaluation.scoring import ProtocolScores
from wend.evaluation.tables import labelled_table
from wend.files import atomic_write
from wend.reports.curve import draw_curve
from wend.reports.draw import draw_sheet
from wend.reports.page import PAGE_FILE, check_replaceable, write_page
from wend.reports.run_folder import RunFolder, Tested, pseudo_scores, read_run
from wend.reports.run_page import CURVE_METRIC, run_page
from wend.reports.score_figures import draw_score_figures
from wend.run_files import CURVE_FILE

logger = logging.getLogger(__name__)
TABLE_FILE = "report.md"
NO_TRUTH = "no image has a true box: nothing to score"
NO_NUMBERS = "there is nothing to score yet, or here; what is missing is said above"


def summarize_run(
    output_dir: str | Path,
    data_sets: DataSets,
    num_images: int = 16,
    *,
    page: str | Path | None = None,
    defaults: CfgNode | None = None,
) -> tuple[str, list[Path]]:
    """Score a run's detections beside the pseudo boxes that it was trained on, and draw both.

    What cannot be shown, because the run has not been evaluated yet or a data set is not here, is
    logged and said on the page.

    Args:
        output_dir: OUTPUT_DIR of a training or an evaluation.
        data_sets: where the names of its data sets are looked up.
        num_images: how many test images are drawn.
        page: the page to write; by default ``report.html`` in the run's folder.
        defaults: the entries' defaults, for the page.

    Returns:
        The table, and the files written: ``report.md``, the page, ``curve.png``, and of each data
        set ``boxes_<data set>.png``, ``recall_<data set>.png`` and
        ``iou_histogram_<data set>.png``.

    Raises:
        InputError: no run there, or a file of it that cannot be read.
    """
    output_dir = Path(output_dir)
    page = Path(page) if page is not None else output_dir / PAGE_FILE
    check_replaceable(page)
    run = _read(output_dir, data_sets)
    rows = _rows(run)
    text = _table([run], rows)
    with atomic_write(output_dir / TABLE_FILE) as file:
        file.write(text + "\n")
    written = [output_dir / TABLE_FILE]
    for name, test in run.tests.items():
        written += _draw(run, name, test, num_images)
    if any(metric == CURVE_METRIC for _, _, metric in run.curves):
        written.append(output_dir / "curve.png")
        draw_curve(output_dir / CURVE_FILE, written[-1], CURVE_METRIC)
    return text, [*written, write_page(page, run_page([run], defaults=defaults))]


def summarize_runs(
    output_dirs: Sequence[str | Path],
    data_sets: DataSets,
    *,
    page: str | Path = PAGE_FILE,
    defaults: CfgNode | None = None,
) -> tuple[str, list[Path]]:
    """Several runs beside each other: one table, and one page, the only file that is written.

    Arguments and errors are those of :func:`summarize_run`.
    """
    check_replaceable(Path(page))
    names = names_apart([Path(output_dir) for output_dir in output_dirs])
    runs = [_read(Path(o), data_sets, n) for o, n in zip(output_dirs, names, strict=True)]
    rows = {f"{run.name}: {label}": scores for run in runs for label, scores in _rows(run).items()}
    text = _table(runs, rows)
    return text, [write_page(page, run_page(runs, defaults=defaults))]


def names_apart(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the folders' paths that differ.

    Raises:
        InputError: a folder is named twice.
    """
    paths = [folder.resolve() for folder in folders]
    twice = [str(path) for path in paths if paths.count(path) > 1]
    if twice:
        raise InputError(f"{twice[0]}: is named twice; name each run once")
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def _read(output_dir: Path, data_sets: DataSets, name: str = "") -> RunFolder:
    run = read_run(output_dir, data_sets, name)
    for text in run.missing:
        logger.warning("%s: not in the report: %s", output_dir, text)
    return run


def _table(runs: Sequence[RunFolder], rows: dict[str, dict[str, ProtocolScores]]) -> str:
    if rows:
        return labelled_table(rows)
    return NO_NUMBERS if any(run.missing for run in runs) else NO_TRUTH


def _rows(run: RunFolder) -> dict[str, dict[str, ProtocolScores]]:
    """The table's rows: pseudo boxes of training and test images, and the detector."""
    rows = {}
    for data_set in run.training:
        if pseudo := pseudo_scores(run, data_set):
            rows[f"pseudo boxes trained on ({data_set.name})"] = dict(pseudo)
    for name, test in run.tests.items():
        evaluation = test.evaluation
        if test.pseudo:
            pseudo = evaluation.score(test.data_set.pseudo_boxes.scored())
            rows[f"pseudo boxes of the test images ({name})"] = pseudo
        if test.scores and test.detections is not None:
            rows[f"detector ({name})"] = evaluation.score(test.detections)
    return rows


def _draw(run: RunFolder, name: str, test: Tested, num_images: int) -> list[Path]:
    if test.detections is None:
        return []
    written = draw_score_figures(run.path, test.scores, name) if test.scores else []
    sheet = run.path / f"boxes_{name}.png"
    most = test.evaluation.max_boxes
    try:
        draw_sheet(sheet, test.data_set, test.detections, num_images=num_images, max_boxes=most)
    except BadImageError as error:
        logger.warning("no %s: %s", sheet, error)
        return written
    return [*written, sheet]
