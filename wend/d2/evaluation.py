"""Evaluation of a detector of Detectron2 by WEND's metrics."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from detectron2.config import CfgNode
from detectron2.evaluation import (
    DatasetEvaluator,
    inference_on_dataset,
    print_csv_format,
    verify_results,
)
from torch import nn

from wend.d2.evaluator import WSOLEvaluator, read_test
from wend.d2.loaders import test_loader
from wend.processes import is_main
from wend.run import Run, TestData
from wend.run_files import evaluation_folder
from wend.training.memory import in_evaluation

logger = logging.getLogger(__name__)


def evaluate(run: Run, model: nn.Module) -> OrderedDict[str, Any]:
    """Evaluate a model, with its weights, on each test set of a run."""
    tests = [
        (name, test_loader(test, run.cfg), evaluator_of(test, run.cfg))
        for name, test in run.tests.items()
    ]
    return scored(model, tests)


def test_data_of(run: Run | None, cfg: CfgNode, name: str) -> TestData:
    """A test set by its name: a run's, or read as the config says."""
    return run.tests[name] if run is not None and name in run.tests else read_test(cfg, name)


def evaluator_of(test: TestData, cfg: CfgNode, *, in_full: bool = True) -> WSOLEvaluator:
    """The WSOL metrics of a test set, written to ``OUTPUT_DIR/inference/<data set>``."""
    folder = evaluation_folder(cfg.OUTPUT_DIR, test.data_set.name)
    return WSOLEvaluator(evaluation=test.evaluation, output_dir=folder, in_full=in_full)


def scored(
    model: nn.Module, tests: Iterable[tuple[str, Iterable, DatasetEvaluator]]
) -> OrderedDict[str, Any]:
    """The evaluators' results by data set; of a single data set, its own as Detectron2 does."""
    results: OrderedDict[str, Any] = OrderedDict()
    for name, loader, evaluator in tests:
        with in_evaluation(model):
            results[name] = inference_on_dataset(model, loader, evaluator)
        if is_main():
            logger.info("evaluation of %s:", name)
            print_csv_format(results[name])
    return next(iter(results.values())) if len(results) == 1 else results


def check_results(cfg: CfgNode, results: OrderedDict[str, Any]) -> None:
    """End the program where ``TEST.EXPECTED_RESULTS`` did not come out, of the first test set."""
    several = len(cfg.DATASETS.TEST) > 1
    verify_results(cfg, next(iter(results.values())) if several else results)
