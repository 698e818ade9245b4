"""Temporary: evaluations from a config, until ``wend/run.py`` resolves a whole run once.

FOR THE LEAD: ``wend.run`` replaces this file. It makes one FixedBoxes and one read of the class
predictions for all evaluations of a run; here each is made again.
"""

from __future__ import annotations

import logging

from fvcore.common.config import CfgNode

from wend.classes.predictions import read_class_predictions
from wend.datasets.catalog import get_records
from wend.errors import InputError
from wend.evaluation.evaluation import MORE_KS, Evaluation
from wend.evaluation.fixed_boxes import FixedBoxes
from wend.evaluation.metrics import choose_metrics
from wend.evaluation.protocols import get_protocol
from wend.structures.data_set import DataSet

logger = logging.getLogger(__name__)


def evaluation_from_config(cfg: CfgNode, dataset: str) -> Evaluation:
    """What the ``WEND`` node asks for on a data set of the catalog."""
    data_set = get_records(dataset)
    path = cfg.WEND.CLASS_PREDICTIONS
    baseline, why = baseline_of(tuple(cfg.DATASETS.TRAIN), data_set)
    return Evaluation(
        data_set=data_set,
        protocols=[get_protocol(name) for name in cfg.WEND.PROTOCOLS],
        max_boxes=cfg.WEND.MAX_BOXES,
        class_predictions=read_class_predictions(path, data_set) if path else None,
        classes_file=path,
        more_ks=[k for k in MORE_KS if k <= cfg.TEST.DETECTIONS_PER_IMAGE],
        metrics=choose_metrics(cfg.WEND.METRICS),
        baseline=baseline,
        why_no_baseline=why,
    )


def baseline_of(train_on: tuple[str, ...], scored: DataSet) -> tuple[FixedBoxes | None, str]:
    """Content-blind boxes of training data sets; or None, and why there are none."""
    if not train_on:
        return None, "not computed (no training data set is named)"
    try:
        training = [get_records(name) for name in train_on]
    except InputError as error:  # names paths, which do not belong into the files
        logger.info("no fixed boxes beside the numbers: %s", error)
        return None, f"not computed ({', '.join(train_on)} cannot be read here)"
    try:
        baseline = FixedBoxes.from_training(training)
        baseline.check_apart(scored)
    except InputError as error:
        return None, f"not computed ({error})"
    return baseline, ""
