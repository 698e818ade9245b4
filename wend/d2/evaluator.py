"""Detectron2's evaluator of the WSOL metrics: it collects, ``wend.evaluation`` does the rest."""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.evaluation import DatasetEvaluator

from wend.d2.catalog import detectron2_data_sets
from wend.d2.frames import Batch, Outputs, table_of
from wend.evaluation.collect import DetectionCollector
from wend.evaluation.evaluation import Evaluation
from wend.loading.bad_images import say_wrong
from wend.processes import gather_on_main, is_main
from wend.run import TestData, resolve_tests
from wend.run_files import evaluation_folder


def read_test(cfg: CfgNode, name: str) -> TestData:
    """A test set that WEND or Detectron2 knows by this name, as the config evaluates it."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TEST = (name,)
    (test,) = resolve_tests(cfg, detectron2_data_sets()).values()
    return test


class WSOLEvaluator(DatasetEvaluator):
    """Top-1, Top-5 and GT-known Loc of one data set, in per cent.

    Its result is ``{protocol name: {metric name: value}}`` with the multi-box metrics' K as
    ``max_boxes``; names have no "-", which Detectron2's printer would drop. It writes
    ``detections.json`` (COCO results in original pixels) and what ``wend evaluate`` writes.
    ``WSOLEvaluator(cfg, dataset_name)`` writes to ``OUTPUT_DIR/inference/<data set>``.

    Args:
        evaluation: data set, protocols, K and class predictions.
        output_dir: folder of the files; None writes none.
        in_full: whether the whole table is logged, or a line for each protocol.
    """

    @configurable
    def __init__(
        self,
        *,
        evaluation: Evaluation,
        output_dir: str | Path | None = None,
        in_full: bool = True,
    ) -> None:
        self.evaluation = evaluation
        self.output_dir = output_dir
        self.in_full = in_full
        self.reset()

    @classmethod
    def from_config(
        cls, cfg: CfgNode, dataset_name: str, output_dir: str | Path | None = None
    ) -> dict[str, Any]:
        """The ``WEND`` node's evaluation of any data set that WEND or Detectron2 knows."""
        test = read_test(cfg, dataset_name)
        folder = output_dir or evaluation_folder(cfg.OUTPUT_DIR, test.data_set.name)
        return {"evaluation": test.evaluation, "output_dir": folder}

    def reset(self) -> None:
        """Forget all detections."""
        self.detections = DetectionCollector(self.evaluation.data_set)
        self.problems: list[str] = []

    def process(self, inputs: Batch, outputs: Outputs) -> None:
        """Keep a batch's detections, in original pixels.

        Args:
            inputs: dicts of any mapper, with ``image_id``; one with ``problem`` has no detections,
                whatever the model says.
            outputs: the model's ``instances`` in original pixels, as every detector of
                Detectron2 has them; of a crop in ``boxes`` to the last bit (:mod:`wend.d2.frames`).
        """
        readable = ["problem" not in entry for entry in inputs]
        self.problems += [entry["problem"] for entry in inputs if "problem" in entry]
        self.detections.add_table(
            [entry["image_id"] for entry in inputs], table_of(outputs), readable
        )

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """Gather from all processes, score and write on the first; empty on the others."""
        gathered = gather_on_main((self.detections.rows, self.problems))
        if not is_main():
            return OrderedDict()
        self.detections.rows, problems = (
            list(chain.from_iterable(each)) for each in zip(*gathered, strict=True)
        )
        say_wrong(self.evaluation.data_set.name, problems, len(self.detections))
        detections = self.detections.table()
        results = self.evaluation.run(detections, self.output_dir, in_full=self.in_full)
        return OrderedDict((name, result.scalars()) for name, result in results.items())
