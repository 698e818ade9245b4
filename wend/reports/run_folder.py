"""What a run's folder holds, read for reports: whatever is there, and why the rest is not.

Only the config has to be there. A run that was ended early has no evaluation, one of an earlier
version lacks files, and a data set may have gone: what is missing is said, the rest is shown.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode
from safetensors import SafetensorError, safe_open

from wend.config import add_wend_config
from wend.config.sources import require_named_code
from wend.datasets.catalog import DataSets
from wend.errors import InputError, MissingFileError, shown
from wend.evaluation.best import BEST_KEY, Best, best_of
from wend.evaluation.coco_results import read_detections
from wend.evaluation.curve import read_results
from wend.evaluation.evaluation import DETECTIONS_FILE, Evaluation
from wend.evaluation.score_files import METRICS_FILE
from wend.evaluation.scoring import ProtocolScores
from wend.reports.curve import Line, Losses, read_curve, read_losses
from wend.run import resolve_tests
from wend.run_files import (
    BEST_WEIGHTS,
    CONFIG_FILE,
    CURVE_FILE,
    EVALUATIONS,
    LOSSES_FILE,
    MACHINE_FILE,
    REFERENCE_FILE,
    TENSORS,
    evaluation_folder,
    read_advice,
    read_object,
)
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.yaml_files import read_yaml

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Tested:
    """A run on a test set.

    Attributes:
        evaluation: with the data set.
        detections: None where the run has none yet.
        scores: its numbers at every K, with intervals and fixed boxes; empty without truth.
        pseudo: those of the test images' own pseudo boxes, as far as there are any.
    """

    evaluation: Evaluation
    detections: BoxTable | None
    scores: Mapping[str, ProtocolScores]
    pseudo: Mapping[str, ProtocolScores]

    @property
    def data_set(self) -> DataSet:
        """The images, with their truth."""
        return self.evaluation.data_set


@dataclass(frozen=True, eq=False)
class RunFolder:
    """A run.

    Attributes:
        path: its folder.
        name: by which several runs are told apart.
        cfg: its config, with defaults for what came after it.
        tests: by the data set's name, those that can be read here.
        training: the data sets that it learned from, as far as they can be read here.
        losses: None where there is no log.
        curves: (data set, protocol, metric) -> values over epochs.
        best: its best evaluation by the number that it chose by; None where it did not choose.
        stored: data set -> the ``metrics.json`` that its evaluation wrote.
        machine: what the run wrote about where it ran; empty for one of an earlier version.
        advice: what the run advises; ``min_score``, and ``how`` it was chosen; empty without any.
        reference: data set -> what its boxes to score against are, where they are not the truth
            but, say, pseudo boxes that were held out.
        missing: what is not there, a sentence each.
    """

    path: Path
    name: str
    cfg: CfgNode
    tests: Mapping[str, Tested]
    training: Sequence[DataSet]
    losses: Losses | None
    curves: Mapping[tuple[str, str, str], Line]
    best: Best | None
    stored: Mapping[str, dict[str, Any]]
    machine: Mapping[str, Any]
    advice: Mapping[str, Any]
    reference: Mapping[str, str]
    missing: Sequence[str]

    @property
    def threshold(self) -> float | None:
        """The advised score; None where none is."""
        return self.advice.get("min_score")

    @property
    def versions(self) -> dict[str, str]:
        """Of the packages that its last evaluation ran on; empty if it has not been evaluated."""
        for content in self.stored.values():
            for numbers in content.values():
                return dict(numbers.get("versions", {}))
        return {}


def read_config(output_dir: Path) -> CfgNode:
    """The config of a run, with the defaults of entries that came after it was written.

    Raises:
        InputError: there is none, or not of this version.
    """
    path = output_dir / CONFIG_FILE
    if not path.is_file():
        raise MissingFileError(
            f"{path}: there is no such file; expected the OUTPUT_DIR of a training"
        )
    tree = read_yaml(path, "the config of a run")
    if not isinstance(tree, dict) or not isinstance(tree.get("WEND"), dict):
        raise InputError(f"{path}: expected the config of a run, got {shown(tree)}")
    cfg, defaults = CfgNode(tree), CfgNode()
    require_named_code(path, tree)  # which registered entries, metrics, data sets
    add_wend_config(defaults)  # what came after the run was written
    try:
        defaults.merge_from_other_cfg(CfgNode({"WEND": cfg.WEND}))
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: {error.args[0]}; was it written by this version?") from None
    cfg.WEND = defaults.WEND
    return cfg


def read_run(output_dir: str | Path, data_sets: DataSets, name: str = "") -> RunFolder:
    """Read a run, and score its detections.

    Args:
        output_dir: OUTPUT_DIR of a training or an evaluation.
        data_sets: where the names of its data sets are looked up.
        name: by which it is told apart; the folder's by default.

    Raises:
        InputError: no run there, or a file of it that cannot be read.
    """
    path = Path(output_dir)
    cfg = read_config(path)
    missing: list[str] = []
    tests = dict(_tests(path, cfg, data_sets, missing))
    training = list(_training(cfg, data_sets, missing))
    losses, curves, best = None, {}, None
    if (path / LOSSES_FILE).is_file():
        losses = read_losses(path / LOSSES_FILE)
        if losses.cut_off:
            missing.append(f"the last line of {LOSSES_FILE}: it is cut off")
    if (path / CURVE_FILE).is_file():
        curves = read_curve(path / CURVE_FILE)
        try:
            best = kept_best(path, cfg.WEND.KEEP_BEST)
        except InputError as error:
            missing.append(f"the best evaluation: {error}")
    stored = {
        file.parent.name: read_object(file, "the numbers of an evaluation")
        for file in sorted((path / EVALUATIONS).glob(f"*/{METRICS_FILE}"))
    }
    return RunFolder(
        *(path, name or path.resolve().name, cfg, tests, training, losses, curves, best, stored),
        machine=read_object(path / MACHINE_FILE, "what a run says of its machine"),
        advice=read_advice(path),
        reference=read_object(path / REFERENCE_FILE, "what the boxes to score against are"),
        missing=list(dict.fromkeys(missing)),
    )


def kept_best(path: Path, name: str) -> Best | None:
    """What is best about a run's ``model_best.pth``, as the file beside it says, or the curve.

    A run that was resumed with another ``WEND.KEEP_BEST`` chooses from what came since then.

    Args:
        path: the run's folder, with a ``curve.csv``.
        name: ``WEND.KEEP_BEST``; may be empty.

    Raises:
        InputError: the file beside it is no such file, or no evaluation has the number.
    """
    curve = read_results(path / CURVE_FILE)
    file = (path / BEST_WEIGHTS).with_suffix(TENSORS)
    stated = None
    if file.is_file():
        try:
            with safe_open(file, "numpy") as tensors:
                stated = json.loads((tensors.metadata() or {}).get(BEST_KEY, "null"))
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(f"{file}: {error}") from error
    if stated is None:
        return best_of(name, curve) if name else None
    best = Best(stated["name"])
    best.load_state_dict({**stated, "without": sum(i > stated["iteration"] for i in curve)})
    return best


def _tests(
    path: Path, cfg: CfgNode, data_sets: DataSets, missing: list[str]
) -> Iterator[tuple[str, Tested]]:
    for listed in cfg.DATASETS.TEST:
        alone = cfg.clone()
        alone.DATASETS.TEST = (listed,)
        try:
            ((name, test),) = resolve_tests(alone, data_sets).items()
        except InputError as error:
            missing.append(f"images, truth and galleries of {Path(listed).stem}: {error}")
            continue
        evaluation, data_set = test.evaluation, test.data_set
        pseudo = {}
        if evaluation.has_truth and len(data_set.pseudo_boxes.boxes):
            pseudo = evaluation.score_beside_fixed_boxes(data_set.pseudo_boxes.scored())
        file = evaluation_folder(path, name) / DETECTIONS_FILE
        if not file.is_file():
            missing.append(f"boxes on {name}: there is no {file} (no evaluation has ended yet)")
            yield name, Tested(evaluation, None, {}, pseudo)
            continue
        detections = read_detections(file, data_set)
        scores = evaluation.score_in_full(detections) if evaluation.has_truth else {}
        yield name, Tested(evaluation, detections, scores, pseudo)


def _training(cfg: CfgNode, data_sets: DataSets, missing: list[str]) -> Iterator[DataSet]:
    for listed in cfg.DATASETS.TRAIN:
        try:
            yield data_sets.get(listed, keep_unreadable=True, implausible="count")
        except InputError as error:
            missing.append(f"statistics of the pseudo boxes of {Path(listed).stem}: {error}")


def pseudo_scores(run: RunFolder, data_set: DataSet) -> Mapping[str, ProtocolScores]:
    """Numbers of the boxes that a run learned from, where their images' truth is known."""
    if not (data_set.truth.counts.all() and len(data_set.pseudo_boxes.boxes)):
        return {}
    for test in run.tests.values():
        evaluation = replace(test.evaluation, data_set=data_set, class_predictions=None)
        return evaluation.score(data_set.pseudo_boxes.scored())
    return {}
