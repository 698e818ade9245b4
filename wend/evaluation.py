"""Detections -> files and results: the end of every engine's evaluation.

An engine collects :class:`~wend.records.Detections`; everything after that happens here, so that
engines cannot differ in it.
"""

from __future__ import annotations

import csv
import logging
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fvcore.common.config import CfgNode

from wend import __version__
from wend.data.catalog import get_records
from wend.data.class_predictions import read_class_predictions
from wend.data.coco import detections_to_coco
from wend.errors import InputError, some
from wend.files import atomic_write, write_json
from wend.metrics import WSOLResult, align, compute
from wend.protocol import EvalProtocol, get_protocol
from wend.records import ClassPredictions, Detections, ImageRecord
from wend.report import results_table

logger = logging.getLogger(__name__)
DETECTIONS_FILE = "detections.json"
METRICS_FILE = "metrics.json"
CURVE_FILE = "curve.csv"
CURVE_COLUMNS = ("iteration", "epoch", "dataset", "protocol", "metric", "value")


@dataclass(frozen=True)
class Evaluation:
    """What detections of one data set are scored against, and how.

    Attributes:
        dataset: the data set's name.
        records: its images, with true boxes.
        protocols: each is computed on the same detections.
        max_boxes: K of the multi-box metrics.
        class_predictions: a classifier's, for Top-1 and Top-5 Loc.
    """

    dataset: str
    records: Sequence[ImageRecord]
    protocols: Sequence[EvalProtocol]
    max_boxes: int
    class_predictions: ClassPredictions | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode, dataset: str) -> Evaluation:
        """What the ``WEND`` node asks for on a data set of the catalog.

        Raises:
            InputError: images without true box, a class-prediction file that does not fit, ...
        """
        records = get_records(dataset)
        without = [r.image_id for r in records if not len(r.gt_boxes)]
        if without:
            raise InputError(
                f"data set {dataset}: {len(without)} images have no true box ({some(without)}); "
                f"it cannot be evaluated on"
            )
        path = cfg.WEND.CLASS_PREDICTIONS
        return cls(
            dataset=dataset,
            records=records,
            protocols=[get_protocol(name) for name in cfg.WEND.PROTOCOLS],
            max_boxes=cfg.WEND.MAX_BOXES,
            class_predictions=read_class_predictions(path, records) if path else None,
        )

    def compute(self, detections: Iterable[Detections]) -> dict[str, WSOLResult]:
        """Results by protocol name."""
        detections = list(detections)
        return {
            protocol.name: compute(
                self.records,
                detections,
                self.class_predictions,
                protocol=protocol,
                max_boxes=self.max_boxes,
            )
            for protocol in self.protocols
        }

    def run(
        self, detections: Iterable[Detections], output_dir: str | Path | None = None
    ) -> dict[str, WSOLResult]:
        """Score, print and, with ``output_dir``, write ``detections.json`` and ``metrics.json``.

        ``detections.json`` holds COCO results in original pixels, in the records' order;
        ``metrics.json`` one object for each protocol name.

        Raises:
            InputError: the detections do not hold each image of the data set exactly once.
        """
        detections = align(self.records, detections)
        results = self.compute(detections)
        if output_dir is not None:
            write_json(Path(output_dir) / DETECTIONS_FILE, detections_to_coco(detections))
            write_json(Path(output_dir) / METRICS_FILE, self.to_dict(results), indent=1)
        logger.info(
            "%s, %d images:\n%s", self.dataset, len(self.records), results_table({"": results})
        )
        return results

    def to_dict(self, results: Mapping[str, WSOLResult]) -> dict:
        """What ``metrics.json`` holds."""
        versions = {
            "wend": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        }
        return {
            name: {**result.to_dict(), "dataset": self.dataset, "versions": versions}
            for name, result in results.items()
        }


def pseudo_box_detections(records: Iterable[ImageRecord]) -> list[Detections]:
    """The pseudo boxes as if a detector had put them out, all with score 1."""
    return [Detections(r.image_id, r.pseudo_boxes, np.ones(len(r.pseudo_boxes))) for r in records]


def append_to_curve(
    path: str | Path,
    iteration: int,
    epoch: float,
    dataset: str,
    metrics: Mapping[str, Mapping[str, float]],
) -> None:
    """Add an evaluation to ``curve.csv``: one row for each protocol and metric, in per cent.

    Rows of this or a later iteration are replaced: a run that was resumed repeats them.

    Args:
        metrics: protocol name -> metric name -> value.
    """
    path = Path(path)
    rows = []
    if path.is_file():
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                earlier = int(row["iteration"]) < iteration
                if earlier or (int(row["iteration"]) == iteration and row["dataset"] != dataset):
                    rows.append(row)
    for protocol, values in metrics.items():
        for metric, value in values.items():
            row = (iteration, f"{epoch:.6g}", dataset, protocol, metric, f"{value:.6f}")
            rows.append(dict(zip(CURVE_COLUMNS, row, strict=True)))
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, CURVE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
