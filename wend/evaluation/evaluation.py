"""Detections -> files and results: the end of every engine's evaluation.

An engine hands in its detections as a table; everything after that happens here, so that engines
cannot differ in it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wend.errors import InputError, some
from wend.evaluation.coco_results import detections_to_coco
from wend.evaluation.detection_rows import as_read
from wend.evaluation.fixed_boxes import FixedBoxes
from wend.evaluation.metrics import Metric
from wend.evaluation.per_image import check_aligned, scored_images
from wend.evaluation.protocols import EvalProtocol
from wend.evaluation.score_files import (
    baseline_entry,
    detections_notes,
    evaluation_notes,
    file_entry,
    truth_entry,
    with_threshold,
    write_scores,
)
from wend.evaluation.scoring import ProtocolScores, score_all
from wend.evaluation.tables import score_table
from wend.files import write_json
from wend.structures.box_table import BoxTable
from wend.structures.class_predictions import ClassPredictions
from wend.structures.data_set import DataSet

logger = logging.getLogger(__name__)
DETECTIONS_FILE = "detections.json"
MORE_KS = (1, 5, 10)  # in the tables, besides WEND.MAX_BOXES and all boxes
LEVEL = 0.95  # the confidence of the intervals


@dataclass(frozen=True)
class Evaluation:
    """What detections of a data set are scored against, and how; the same for all evaluations.

    Attributes:
        data_set: its images; if none has a true box, detections are written and not scored.
        protocols: the protocols; each is computed on the same detections.
        max_boxes: K of the metrics that have K.
        class_predictions: predictions of a classifier, for Top-1 and Top-5 Loc.
        classes_file: the file that they were read from, for the record.
        more_ks: further K that the files and the table state; None for all boxes.
        metrics: as :func:`wend.evaluation.metrics.choose_metrics` returns them; the default
            metrics if None.
        level: the confidence of the intervals; None for no intervals.
        baseline: content-blind boxes to score beside the detections.
        why_no_baseline: the reason where there are none.
        view: what of the images the detector saw, :attr:`wend.structures.view.View.name`; empty
            where it is not known.

    Raises:
        InputError: some images have a true box and some have none, ids are neither numbers nor
            text, or a protocol averages over classes and some images have none.
    """

    data_set: DataSet
    protocols: Sequence[EvalProtocol]
    max_boxes: int
    class_predictions: ClassPredictions | None = None
    classes_file: str = ""
    more_ks: Sequence[int | None] = ()
    metrics: Sequence[Metric] | None = None
    level: float | None = LEVEL
    baseline: FixedBoxes | None = None
    why_no_baseline: str = "not computed (no training data set is named)"
    view: str = ""

    def __post_init__(self) -> None:
        data_set = self.data_set
        data_set.require_plain_ids()
        if not self.has_truth:
            return
        without = (data_set.truth.counts == 0).nonzero()[0]
        if len(without):
            raise InputError(
                f"data set {data_set.name}: {len(without)} images have no true box "
                f"({some(data_set.image_ids[i] for i in without)}); it cannot be evaluated on"
            )
        for protocol in self.protocols:
            scored_images(data_set, protocol)

    @property
    def has_truth(self) -> bool:
        """Whether there is something to score against."""
        return len(self.data_set.truth.boxes) > 0

    def score(self, detections: BoxTable) -> dict[str, ProtocolScores]:
        """Numbers by protocol name at the first K alone, without intervals, beside fixed boxes."""
        return self._score(detections, [self.max_boxes], baseline=self.baseline)

    def score_beside_fixed_boxes(self, detections: BoxTable) -> dict[str, ProtocolScores]:
        """Numbers by protocol name at every K, without intervals, as curves need them."""
        return self._score(detections, self._ks, baseline=self.baseline)

    def score_in_full(self, detections: BoxTable) -> dict[str, ProtocolScores]:
        """Numbers by protocol name at every K, with intervals and fixed boxes, as in files."""
        return self._score(detections, self._ks, self.level, self.baseline)

    @property
    def _ks(self) -> list[int | None]:
        return list(dict.fromkeys([self.max_boxes, *self.more_ks]))

    def _score(
        self,
        detections: BoxTable,
        ks: Sequence[int | None],
        level: float | None = None,
        baseline: FixedBoxes | None = None,
    ) -> dict[str, ProtocolScores]:
        return score_all(
            self.data_set,
            detections,
            self.protocols,
            ks,
            self.class_predictions,
            metrics=self.metrics,
            level=level,
            baseline=baseline,
        )

    def run(
        self,
        detections: BoxTable,
        output_dir: str | Path | None = None,
        *,
        in_full: bool = True,
    ) -> dict[str, ProtocolScores]:
        """Score, log the table and, with ``output_dir``, write what ``wend evaluate`` writes.

        First it writes ``detections.json``, COCO results in original pixels, in the data set's
        order: where a metric fails, they are there. The numbers are those of its content, so that
        they follow from the file alone.

        Args:
            detections: detections of the data set's images, by the same index.
            output_dir: folder of the files; None to write none.
            in_full: False to log a line for each protocol instead of the table.

        Returns:
            Numbers by protocol name; empty if no image has a true box.

        Raises:
            InputError: the table has other images; or a metric failed, and the message says where
                the detections lie.
        """
        check_aligned(self.data_set, detections)
        path = None
        if output_dir is not None:  # before any metric, whose error shall lose nothing
            path = Path(output_dir) / DETECTIONS_FILE
            write_json(path, detections_to_coco(self.data_set, detections))
        if not self.has_truth:
            self._say_unscored(detections, path)
            return {}
        with _told_where(path, self.data_set.name):
            scored, counts = as_read(self.data_set, detections, DETECTIONS_FILE)
            counts = with_threshold(counts, scored, None)
            scores = self.score_in_full(scored)
            fixed = self.why_no_baseline if self.baseline is None else self.baseline.name
            about = detections_notes(self.data_set.name, counts)
            notes = evaluation_notes(about, fixed, self.view)
            if path is not None:
                inputs = self._inputs(path)
                write_scores(
                    path.parent, scores, counts=counts, inputs=inputs, notes=notes, view=self.view
                )
        if in_full:
            logger.info("%s:\n%s", self.data_set.name, score_table(scores, notes))
        else:
            for protocol, result in scores.items():
                numbers = "  ".join(f"{n}: {value:.2f}" for n, value in result.scalars().items())
                logger.info("%s, %s: %s", self.data_set.name, protocol, numbers)
        return scores

    def _say_unscored(self, detections: BoxTable, path: Path | None) -> None:
        """Log what there is of a data set whose truth is unknown."""
        logger.info(
            "%s: %d boxes on %d images%s; no image has a true box, so there is nothing to score",
            *(self.data_set.name, len(detections.boxes), len(detections)),
            "" if path is None else f" in {path}",
        )

    def _inputs(self, detections: Path) -> dict:
        inputs = {
            "ground_truth": truth_entry(self.data_set),
            "detections": file_entry(detections),
        }
        if self.classes_file:
            inputs["class_predictions"] = file_entry(self.classes_file)
        if self.baseline is not None:
            inputs["baseline_boxes"] = baseline_entry(self.baseline)
        return inputs


@contextmanager
def _told_where(path: Path | None, data_set: str) -> Iterator[None]:
    """An error inside says that the detections are not lost, and how to go on with them."""
    try:
        yield
    except InputError as error:
        if path is None:
            raise
        raise type(error)(
            f"{error}\nThe detections are not lost: {path} holds them, and 'wend evaluate "
            f"--ground-truth {data_set} --detections' scores them once that is mended"
        ) from error
    except Exception:
        if path is not None:
            logger.error("the detections are not lost: %s holds them", path)
        raise
