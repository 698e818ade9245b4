"""A finished run, looked at: detector and pseudo boxes side by side, boxes on images, the curve."""

from __future__ import annotations

import logging
from pathlib import Path

from fvcore.common.config import CfgNode

from wend.datasets.catalog import get_records
from wend.errors import InputError, MissingFileError
from wend.evaluation.coco_results import read_detections
from wend.evaluation.evaluation import (
    CURVE_FILE,
    DETECTIONS_FILE,
    Evaluation,
    pseudo_box_detections,
)
from wend.evaluation.metrics import WSOLResult
from wend.evaluation.tables import results_table
from wend.files import atomic_write
from wend.reports.curve import draw_curve
from wend.reports.draw import draw_sheet

logger = logging.getLogger(__name__)


def _read_config(output_dir: Path) -> CfgNode:
    path = output_dir / "config.yaml"
    if not path.is_file():
        raise MissingFileError(
            f"{path}: there is no such file; expected the OUTPUT_DIR of a training"
        )
    return CfgNode(CfgNode.load_yaml_with_base(str(path)))


def summarize_run(output_dir: str | Path, num_images: int = 16) -> tuple[str, list[Path]]:
    """Score a run's detections beside the pseudo boxes that it was trained on, and draw both.

    Args:
        output_dir: OUTPUT_DIR of a training or an evaluation.
        num_images: how many test images are drawn.

    Returns:
        The table, and the files written: ``report.md``, ``boxes_<data set>.png``, ``curve.png``.

    Raises:
        InputError: no run there, or its data sets are not found.
    """
    output_dir = Path(output_dir)
    cfg = _read_config(output_dir)
    rows: dict[str, dict[str, WSOLResult]] = {}
    written: list[Path] = []
    for name in cfg.DATASETS.TRAIN:
        records = get_records(name)
        if all(len(r.gt_boxes) for r in records) and any(len(r.pseudo_boxes) for r in records):
            evaluation = Evaluation.from_config(cfg, name)
            rows[f"pseudo boxes trained on ({name})"] = evaluation.compute(
                pseudo_box_detections(records)
            )
    for name in cfg.DATASETS.TEST:
        evaluation = Evaluation.from_config(cfg, name)
        records, scored = evaluation.records, evaluation.has_truth
        if scored and any(len(r.pseudo_boxes) for r in records):
            pseudo = evaluation.compute(pseudo_box_detections(records))
            rows[f"pseudo boxes of the test images ({name})"] = pseudo
        detections = read_detections(output_dir / "inference" / name / DETECTIONS_FILE, records)
        if scored:
            rows[f"detector ({name})"] = evaluation.compute(detections)
        written.append(output_dir / f"boxes_{name}.png")
        draw_sheet(
            written[-1], records, detections, num_images=num_images, max_boxes=cfg.WEND.MAX_BOXES
        )
    if rows and (output_dir / CURVE_FILE).is_file():
        written.append(output_dir / "curve.png")
        draw_curve(output_dir / CURVE_FILE, written[-1])
    if not written:
        raise InputError(f"{output_dir}: config.yaml names no data set to evaluate on")
    text = results_table(rows) if rows else "no image has a true box: nothing to score"
    with atomic_write(output_dir / "report.md") as file:
        file.write(text + "\n")
    return text, [output_dir / "report.md", *written]
