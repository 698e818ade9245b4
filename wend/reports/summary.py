"""The report on a run: detector and pseudo boxes side by side, boxes on images, the curve."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from fvcore.common.config import CfgNode

from wend.config import add_wend_config
from wend.datasets.catalog import DataSets
from wend.errors import InputError, MissingFileError
from wend.evaluation.coco_results import read_detections
from wend.evaluation.evaluation import CURVE_FILE, DETECTIONS_FILE
from wend.evaluation.scoring import ProtocolScores
from wend.evaluation.tables import labelled_table
from wend.files import atomic_write
from wend.reports.curve import draw_curve
from wend.reports.draw import draw_sheet
from wend.reports.score_figures import draw_score_figures
from wend.run import resolve_tests
from wend.user_code import load_modules
from wend.yaml_files import read_yaml

logger = logging.getLogger(__name__)


def _read_config(output_dir: Path) -> CfgNode:
    path = output_dir / "config.yaml"
    if not path.is_file():
        raise MissingFileError(
            f"{path}: there is no such file; expected the OUTPUT_DIR of a training"
        )
    cfg, defaults = CfgNode(read_yaml(path, "the config of a run")), CfgNode()
    load_modules(cfg.WEND.get("IMPORTS", ()))  # they register entries, metrics, data sets
    add_wend_config(defaults)  # what came after the run was written
    try:
        defaults.merge_from_other_cfg(CfgNode({"WEND": cfg.WEND}))
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: {error.args[0]}; was it written by this version?") from None
    cfg.WEND = defaults.WEND
    return cfg


def summarize_run(
    output_dir: str | Path, data_sets: DataSets, num_images: int = 16
) -> tuple[str, list[Path]]:
    """Score a run's detections beside the pseudo boxes that it was trained on, and draw both.

    Args:
        output_dir: OUTPUT_DIR of a training or an evaluation.
        data_sets: where the names of its data sets are looked up.
        num_images: how many test images are drawn.

    Returns:
        The table, and the files written: ``report.md``, ``curve.png``, and of each data set
        ``boxes_<data set>.png``, ``recall_<data set>.png`` and ``iou_histogram_<data set>.png``.

    Raises:
        InputError: no run there, or its data sets are not found.
    """
    output_dir = Path(output_dir)
    cfg = _read_config(output_dir)
    rows: dict[str, dict[str, ProtocolScores]] = {}
    written: list[Path] = []
    tests = resolve_tests(cfg, data_sets)
    for name in cfg.DATASETS.TRAIN if tests else ():
        data_set = data_sets.get(name)
        if data_set.truth.counts.all() and len(data_set.pseudo_boxes.boxes):
            settings = next(iter(tests.values())).evaluation
            evaluation = replace(settings, data_set=data_set, class_predictions=None)
            pseudo = evaluation.score(data_set.pseudo_boxes.scored())
            rows[f"pseudo boxes trained on ({data_set.name})"] = pseudo
    for name, test in tests.items():
        evaluation, data_set = test.evaluation, test.data_set
        if evaluation.has_truth and len(data_set.pseudo_boxes.boxes):
            pseudo = evaluation.score(data_set.pseudo_boxes.scored())
            rows[f"pseudo boxes of the test images ({name})"] = pseudo
        detections = read_detections(output_dir / "inference" / name / DETECTIONS_FILE, data_set)
        if evaluation.has_truth:
            rows[f"detector ({name})"] = evaluation.score(detections)
            scores = evaluation.score_beside_fixed_boxes(detections)
            written += draw_score_figures(output_dir, scores, name)
        written.append(output_dir / f"boxes_{name}.png")
        draw_sheet(
            written[-1], data_set, detections, num_images=num_images, max_boxes=cfg.WEND.MAX_BOXES
        )
    if rows and (output_dir / CURVE_FILE).is_file():
        written.append(output_dir / "curve.png")
        draw_curve(output_dir / CURVE_FILE, written[-1])
    if not written:
        raise InputError(f"{output_dir}: config.yaml names no data set to evaluate on")
    text = labelled_table(rows) if rows else "no image has a true box: nothing to score"
    with atomic_write(output_dir / "report.md") as file:
        file.write(text + "\n")
    return text, [output_dir / "report.md", *written]
