"""What can be known before the first step of a run, looked at before it.

A run takes hours, and its evaluation comes at their end: whatever would fail there for a name, a
file or a function of the user's is tried once on made-up boxes. Nothing is written or logged.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fvcore.common.config import CfgNode

from wend.errors import InputError, MissingImageError, some
from wend.evaluation.best import find_number, known_numbers
from wend.evaluation.evaluation import Evaluation
from wend.evaluation.rehearsal import rehearse as rehearse_evaluation
from wend.files import is_number
from wend.loading.bad_images import TEST_TO_DO, TO_DO
from wend.run import Run
from wend.structures.data_set import DataSet
from wend.training.evaluations import check_best

MOST_FILES = 1000  # of a data set that are looked for, at equal steps


def rehearse(run: Run) -> None:
    """Try what a run will do at its evaluations, and look for the files of its images.

    Raises:
        InputError: what would fail, with the config entry, file or metric.
    """
    evaluations = [test.evaluation for test in run.tests.values()]
    if run.training is not None:
        if run.cfg.WEND.DATA.ON_BAD_IMAGE == "raise" and not run.training.caches:
            for data_set, rows in zip(
                run.training.images.data_sets, run.training.images.indices, strict=True
            ):
                _look_for_files(data_set, np.asarray(rows), TO_DO)
        check_best(run.cfg, evaluations)
    for test in run.tests.values():
        if not (test.caches or test.count_bad_as_wrong):
            _look_for_files(test.data_set, np.arange(len(test.data_set)), TEST_TO_DO)
    check_expected(run.cfg, evaluations)
    for evaluation in evaluations:
        rehearse_evaluation(evaluation)


def _look_for_files(data_set: DataSet, rows: np.ndarray, to_do: str) -> None:
    """Raise MissingImageError where images of some rows (n,) are not there; looks at a sample."""
    steps = np.linspace(0, len(rows) - 1, min(len(rows), MOST_FILES)).astype(np.int64)
    names = [data_set.file_names[row] for row in rows[np.unique(steps)].tolist()]
    missing = [name for name in names if not Path(name).is_file()]
    if missing:
        raise MissingImageError(
            f"{data_set.name}: {len(missing)} of {len(names)} images that were looked for are not "
            f"there ({some(missing)}); is the data set where it was? {to_do}"
        )


def check_expected(cfg: CfgNode, evaluations: list[Evaluation]) -> None:
    """Raise InputError where ``TEST.EXPECTED_RESULTS`` names what no evaluation computes.

    Rows are ``[protocol, metric, value, tolerance]``, of the first test set.
    """
    entry, rows = "TEST.EXPECTED_RESULTS", cfg.TEST.EXPECTED_RESULTS
    first = evaluations[0]
    known = [*known_numbers([first])]
    if first.has_truth and first.max_boxes is not None:  # K stands among an evaluation's numbers
        known += [
            f"{first.data_set.name}/{protocol.name}/max_boxes" for protocol in first.protocols
        ]
    for row in rows:
        is_row = isinstance(row, list | tuple) and len(row) == 4
        if not (is_row and all(map(is_number, row[2:]))):
            raise InputError(
                f"config entry {entry}: expected rows [protocol, metric, value, tolerance], got "
                f"{row!r}"
            )
        find_number(f"{first.data_set.name}/{row[0]}/{row[1]}", known, entry)
