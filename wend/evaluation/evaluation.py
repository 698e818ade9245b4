"""Detections -> files and results: the end of every engine's evaluation.

An engine collects :class:`~wend.structures.records.Detections`; everything after that happens
here, so that engines cannot differ in it.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fvcore.common.config import CfgNode

from wend.classes.predictions import read_class_predictions
from wend.datasets.catalog import get_records, training_side
from wend.datasets.ground_truth import records_sha256
from wend.errors import InputError, some
from wend.evaluation.coco_results import detections_to_coco
from wend.evaluation.detection_rows import DetectionRows, to_detections
from wend.evaluation.fixed_boxes import FixedBoxes, TrainingSet, choose_from
from wend.evaluation.metrics import WSOLResult, align, compute, result_of
from wend.evaluation.protocols import EvalProtocol, get_protocol
from wend.evaluation.score_files import (
    baseline_entry,
    evaluation_notes,
    file_entry,
    with_threshold,
    write_scores,
)
from wend.evaluation.scoring import Bootstrap, score_all
from wend.evaluation.tables import score_table
from wend.files import atomic_write, write_json
from wend.structures.boxes import xywh_to_xyxy, xyxy_to_xywh
from wend.structures.records import ClassPredictions, Detections, ImageRecord

logger = logging.getLogger(__name__)
DETECTIONS_FILE = "detections.json"
MORE_KS = (1, 5, 10)  # of the tables, besides WEND.MAX_BOXES
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
        classes_file: where they were read, for the record.
        more_ks: further K that the files and the table state; None for all boxes.
        bootstrap: of the intervals.
        train_on: data sets whose training boxes the content-blind baseline is chosen from.
    """

    dataset: str
    records: Sequence[ImageRecord]
    protocols: Sequence[EvalProtocol]
    max_boxes: int
    class_predictions: ClassPredictions | None = None
    classes_file: str = ""
    more_ks: Sequence[int | None] = ()
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    train_on: Sequence[str] = ()

    @property
    def has_truth(self) -> bool:
        """Whether there is something to score against."""
        return len(self.records.truth.boxes) > 0

    @classmethod
    def from_config(cls, cfg: CfgNode, dataset: str) -> Evaluation:
        """What the ``WEND`` node asks for on a data set of the catalog.

        A data set of which no image has a true box can be detected on, not scored.

        Raises:
            InputError: some images have no true box, a class-prediction file that does not fit, ...
        """
        records = get_records(dataset)
        if 0 < len(records.truth.with_boxes) < len(records):
            without = [r.image_id for r in records if not len(r.gt_boxes)]
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
            classes_file=path,
            more_ks=[k for k in MORE_KS if k <= cfg.TEST.DETECTIONS_PER_IMAGE],
            train_on=tuple(cfg.DATASETS.TRAIN),
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
        """Score, print the table and, with ``output_dir``, write what ``wend evaluate`` writes.

        Besides: ``detections.json``, COCO results in original pixels, in the records' order. Scored
        is what stands in it, so that the same numbers follow from the file alone.

        Raises:
            InputError: the detections do not hold each image of the data set exactly once.
        """
        found = align(self.records, detections)
        if not self.has_truth:
            return self._write_unscored(found, output_dir)
        detections, counts = to_detections(_rows(found), self.records)
        counts = with_threshold(counts, detections, None)
        baseline, fixed = self.choose_baseline()
        ks = list(dict.fromkeys([self.max_boxes, *self.more_ks]))
        scores = score_all(
            self.records,
            detections,
            self.protocols,
            ks,
            self.class_predictions,
            bootstrap=self.bootstrap,
            baseline=baseline,
        )
        notes = evaluation_notes(self.dataset, counts, fixed, self.bootstrap.rounds)
        if output_dir is not None:
            path = Path(output_dir) / DETECTIONS_FILE
            write_json(path, detections_to_coco(found))
            about = {"dataset": self.dataset, "ks": ks, "bootstrap": self.bootstrap}
            about |= {"counts": counts, "inputs": self._inputs(path, baseline), "notes": notes}
            write_scores(output_dir, self.records, detections, scores, **about)
        logger.info("%s:\n%s", self.dataset, score_table(scores, notes))
        return {name: result_of(of.per_image, self.max_boxes) for name, of in scores.items()}

    def _write_unscored(
        self, found: Sequence[Detections], output_dir: str | Path | None
    ) -> dict[str, WSOLResult]:
        """``detections.json`` of a data set whose truth is unknown; no result."""
        boxes = sum(len(one.boxes) for one in found)
        where = ""
        if output_dir is not None:
            path = Path(output_dir) / DETECTIONS_FILE
            write_json(path, detections_to_coco(found))
            where = f" in {path}"
        logger.info(
            "%s: %d boxes on %d images%s; no image has a true box, so there is nothing to score",
            *(self.dataset, boxes, len(found), where),
        )
        return {}

    def choose_baseline(self) -> tuple[FixedBoxes | None, str]:
        """Content-blind boxes of ``train_on``; and where they are from, or why there are none."""
        if not self.train_on:
            return None, "not computed (no training data set is named)"
        try:
            training = [
                TrainingSet(name, get_records(name), training_side(name)) for name in self.train_on
            ]
        except InputError as error:  # names paths, which do not belong into the files
            logger.info("no fixed boxes beside the numbers: %s", error)
            return None, f"not computed ({', '.join(self.train_on)} cannot be read here)"
        try:
            baseline = choose_from(self.records, training)
        except InputError as error:
            return None, f"not computed ({error})"
        return baseline, baseline.name

    def _inputs(self, detections: Path, baseline: FixedBoxes | None) -> dict:
        truth = {"records": records_sha256(self.records)}
        inputs = {
            "ground_truth": {"name": self.dataset, "sha256": truth},
            "detections": file_entry(detections),
        }
        if self.classes_file:
            inputs["class_predictions"] = file_entry(self.classes_file)
        if baseline is not None:
            inputs["baseline_boxes"] = baseline_entry(baseline)
        return inputs


def _rows(detections: Sequence[Detections]) -> DetectionRows:
    """What a reader of ``detections.json`` finds there, to the last bit."""
    counts = [len(d.boxes) for d in detections]
    boxes = np.concatenate([np.zeros((0, 4)), *(d.boxes for d in detections)])
    return DetectionRows(
        source=DETECTIONS_FILE,
        entry="entry",
        ids=[d.image_id for d in detections],
        codes=np.repeat(np.arange(len(counts)), counts),
        boxes=xywh_to_xyxy(xyxy_to_xywh(boxes)),
        scores=np.concatenate([np.zeros(0), *(d.scores for d in detections)]),
    )


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
