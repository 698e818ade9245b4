"""Is a detector better than the boxes that it learns from, on photographs with known truth?

``python projects/reproduce/photos.py TRAIN[,TEST] ... --output DIR [--method auto] [--seeds 0 1]``:
of a data set without a test set every third image is kept for testing. ``wend pseudo-boxes`` makes
boxes of each part, ``configs/photos.yaml`` learns from those of the first part, once for each seed,
and the tables put the detectors beside the same method's boxes of the very same photographs:
numbers of both parts, and paired tests, of which images are the units, of each set and of all.
What is done already is not done again. ``docs/photos_study.md`` holds what it printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tabulate import tabulate

from wend.cli.options import key_values
from wend.datasets.catalog import DataSets
from wend.datasets.declaring import declare
from wend.errors import InputError
from wend.evaluation.coco_results import read_detections
from wend.evaluation.evaluation import DETECTIONS_FILE
from wend.evaluation.fixed_boxes import FixedBoxes
from wend.evaluation.metrics import gt_known_loc, gt_known_loc_multi
from wend.evaluation.per_image import score
from wend.evaluation.protocols import get_protocol
from wend.evaluation.statistics import mcnemar, paired_difference
from wend.files import sha256
from wend.inference.engines import engine_module
from wend.localize.presets import PRESETS
from wend.pseudo_boxes import join_boxes, read_boxes
from wend.run import iterations_per_epoch
from wend.run_files import CONFIG_FILE, FINAL_WEIGHTS, TRAINING_FILES, evaluation_folder
from wend.steps import Step, Steps, resume_flag
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "photos.yaml"
BACKBONE = "timm:tf_efficientnet_lite0"
TRAIN, TEST, BOTH = "photos_train", "photos_test", "photos"
PROTOCOL, K = "original", 5
APART, TOGETHER = "apart", "together"
BOXES = {APART: "its own boxes", TOGETHER: "its own boxes, of both parts at once"}
FIXED, ONE_LOOK, DETECTOR = "fixed boxes", "detector, one look", "detector"
SECOND = ", trained again"
DETECTORS = [label + again for again in ("", SECOND) for label in (ONE_LOOK, DETECTOR)]


@dataclass(frozen=True)
class Scores:
    """Of S seeds (1 of boxes) on I images.

    Attributes:
        hits: (S, I) bool: the best box has IoU > 0.5 with a true box.
        one_of_k: (S, I) bool: one of the K best boxes has.
        ious: (S, I) of the best box with the true box that fits best.
    """

    hits: np.ndarray
    one_of_k: np.ndarray
    ious: np.ndarray

    @classmethod
    def of(cls, data_set: DataSet, tables: Iterable[BoxTable]) -> Scores:
        """Of the boxes of each seed."""
        seeds = [score(data_set, table.scored(), get_protocol(PROTOCOL)) for table in tables]
        return cls(
            np.stack([gt_known_loc.values(seed) for seed in seeds]),
            np.stack([gt_known_loc_multi.values(seed, K) for seed in seeds]),
            np.stack([seed.top_iou for seed in seeds]),
        )

    @classmethod
    def pooled(cls, sets: Sequence[Scores]) -> Scores:
        """Of the images of several sets as one."""
        columns = ("hits", "one_of_k", "ious")
        return cls(*(np.concatenate([getattr(s, name) for s in sets], axis=1) for name in columns))


Part = Mapping[str, Scores]  # by what it is of, such as DETECTOR


def main(argv: Sequence[str] | None = None) -> None:
    """Make boxes, train, and print the tables."""
    args = parse(argv)
    results: dict[tuple[str, str], Part] = {}
    for names in args.dataset:
        for third in args.thirds if "," not in names else [None]:
            photos = PhotoSet(args, names, third)
            for part, scores in photos.run().items():
                results[photos.name, part] = scores
    results |= pooled(results)
    sys.stdout.write(f"{number_table(results)}\n\n{pair_table(results)}\n")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("dataset", nargs="+", metavar="TRAIN[,TEST]", help="names or YAML files of data sets")
    add("--output", required=True, type=Path)
    add("--datasets-root", type=Path)
    add("--method", default="auto", choices=list(PRESETS), help="of wend pseudo-boxes (auto)")
    add("--boxes", type=int, default=1, help="pseudo boxes per image at most (1)")
    add(
        "--made",
        nargs="+",
        choices=BOXES,
        default=[APART],
        help="boxes of each part by itself (apart), or of both parts at once; the first are "
        "learned from, all are compared with",
    )
    add("--min-score", type=float, default=0.0, help="learn from boxes above it alone (0)")
    add("--shuffled", action="store_true", help="a control: boxes are dealt to other photos")
    add(
        "--again",
        action="store_true",
        help="train once more, on the best boxes that the detector has of its training photos",
    )
    add("--seeds", type=int, nargs="+", default=[0])
    add("--thirds", type=int, nargs="+", choices=range(3), default=[2], help="which is the test")
    add("--engine", default="torchvision", choices=("torchvision", "detectron2"))
    add("--config-file", type=Path, default=CONFIG)
    add("--weights", default="pretrained", help="the detector's backbone's")
    add("--box-weights", default="pretrained", help="those of the network that makes boxes")
    add(
        "--remember",
        action="store_true",
        help="what the backbone's frozen stages make of an image is kept for all seeds "
        "(remembered.py): the same training, sooner",
    )
    add("--set", nargs="+", default=[], metavar="KEY VALUE", help="config entries of the trainings")
    return parser.parse_args(argv)


@dataclass(frozen=True)
class Runs:
    """A trained detector's run, and the evaluation of it that looks once."""

    folder: Path

    @property
    def once(self) -> Path:
        """The folder of the evaluation that looks once."""
        return self.folder / "one_look"


class PhotoSet:
    """Boxes and detectors of one data set, or of one division of it.

    Args:
        args: the command line.
        names: ``TRAIN`` or ``TRAIN,TEST``.
        third: which third of the images is tested on where there is no ``TEST``.
    """

    def __init__(self, args: argparse.Namespace, names: str, third: int | None) -> None:
        self.args = args
        name = Path(names.split(",")[0]).stem
        self.folder = (args.output / name).resolve()
        self.name = name if third is None or args.thirds == [2] else f"{name}, third {third}"
        self.parts, self.root = _parts(DataSets(args.datasets_root), names, third)
        self.declared = self.folder / ("datasets" if third is None else f"datasets_{third}")
        self.folder_of = {TRAIN: self.declared, TEST: self.declared, BOTH: self.folder}
        for part, data_set in self.parts.items():
            declare(self._file(part), self.root, data_set, truth=data_set.truth)

    def run(self) -> dict[str, Part]:
        """The scores of both parts."""
        boxes = {made: self._boxes(made) for made in self.args.made}
        learned = boxes[self.args.made[0]][TRAIN]
        runs = self._train(learned)
        fixed = FixedBoxes.from_training([self.parts[TRAIN].with_pseudo_boxes(learned)])
        scores: dict[str, Part] = {}
        for part in (TRAIN, TEST):
            data_set = self.parts[part]
            tables = {BOXES[made]: [of_parts[part]] for made, of_parts in boxes.items()}
            if part == TEST:
                tables[FIXED] = [fixed.table(data_set, get_protocol(PROTOCOL), K)]
            for label, folders in runs.items():
                files = [evaluation_folder(folder, part) / DETECTIONS_FILE for folder in folders]
                tables[label] = [read_detections(file, data_set) for file in files]
            scores[part] = {label: Scores.of(data_set, t) for label, t in tables.items()}
        return scores

    def _file(self, part: str) -> Path:
        return self.folder_of[part] / f"{part}.yaml"

    def _boxes(self, made: str) -> dict[str, BoxTable]:
        """The boxes of both parts, each made by itself or both at once."""
        if made == APART:
            return {part: self._boxes_of(part) for part in (TRAIN, TEST)}
        both = self._boxes_of(BOTH)
        index = self.parts[BOTH].index_of_key
        return {
            part: both.take([index[key] for key in self.parts[part].keys]) for part in (TRAIN, TEST)
        }

    def _boxes_of(self, part: str) -> BoxTable:
        method, data_set = self.args.method, self.parts[part]
        output = self.folder_of[part] / "boxes" / f"{method}_{part}"
        words = PRESETS[method].words
        if PRESETS[method].needs_network:
            words = (*words, "--backbone", BACKBONE, "--weights", self.args.box_weights)
        wend(
            *("pseudo-boxes", *words, "--boxes", str(self.args.boxes), "--page", "none"),
            *("--dataset", str(self._file(part)), "--output", str(output)),
        )
        file = output / "train" / "pseudo_boxes.json"
        boxes = read_boxes({"source": "coco", "path": file})
        return join_boxes(data_set.keys, data_set.sizes, boxes, log=False)[0]

    def _train(self, boxes: BoxTable) -> dict[str, list[Path]]:
        """Label -> the run of each seed: looking as the config says, and once.

        With ``--again`` also those of detectors that learn from the best boxes that the seed's
        detector has of the photos that it was trained on.
        """
        args, data_set = self.args, self.parts[TRAIN]
        assert boxes.scores is not None
        boxes = boxes.keep(boxes.scores > args.min_score)
        if args.shuffled:
            boxes = dealt(boxes, data_set.sizes)
        name = "_".join([args.method, *(["shuffled"] if args.shuffled else [])])
        learned = self._learned(name, boxes)
        folder = name if args.engine == "torchvision" else f"{name}_d2"
        runs = {seed: self._runs_of(folder, learned, seed) for seed in args.seeds}
        labels = {
            ONE_LOOK: [run.once for run in runs.values()],
            DETECTOR: [run.folder for run in runs.values()],
        }
        if args.again:
            again = []
            for seed, run in runs.items():
                seen = read_detections(
                    evaluation_folder(run.folder, TRAIN) / DETECTIONS_FILE, data_set
                )
                second = self._learned(f"{folder}_again{seed}", seen.first(args.boxes))
                again.append(self._runs_of(f"{folder}_again", second, seed))
            labels[f"{ONE_LOOK}{SECOND}"] = [run.once for run in again]
            labels[f"{DETECTOR}{SECOND}"] = [run.folder for run in again]
        return labels

    def _learned(self, name: str, boxes: BoxTable) -> Path:
        """Declare the photos to train on that have a box; the file."""
        with_box = boxes.with_boxes
        trained = self.parts[TRAIN].take(with_box).with_pseudo_boxes(boxes.take(with_box))
        path = self.declared / f"{name}_learned.yaml"
        declare(path, self.root, trained, boxes=trained.pseudo_boxes)
        return path

    def _runs_of(self, name: str, learned: Path, seed: int) -> Runs:
        """Train a seed's detector, and look once where the config looks twice."""
        args = self.args
        folder = self.declared / name
        steps = Steps(folder, {"method": args.method}, "photos.py")
        runs = Runs(folder / f"seed{seed}")
        entries = {
            "MODEL.WEIGHTS": args.weights,
            "DATASETS.TRAIN": repr((str(learned),)),
            "DATASETS.TEST": repr(tuple(str(self._file(part)) for part in (TRAIN, TEST))),
            "SEED": str(seed),
            **self._own_entries(learned),
            "OUTPUT_DIR": str(runs.folder),
        }
        words = _words(entries | (self._remembering() if args.remember else {}))
        below = runs.folder.relative_to(folder)
        looked = [str(below / "inference" / part) for part in (TRAIN, TEST)]

        def train(resumes: bool) -> None:
            wend(
                *("train", "--engine", args.engine, "--config-file", str(args.config_file)),
                *(*resume_flag(runs.folder, resumes), *words),
            )

        def look_once(resumes: bool) -> None:
            wend(
                *("train", "--eval-only", "--engine", args.engine),
                *("--config-file", str(runs.folder / CONFIG_FILE)),
                *("MODEL.WEIGHTS", str(runs.folder / FINAL_WEIGHTS)),
                *("WEND.CLOSER_LOOK", "0.0", "OUTPUT_DIR", str(runs.once)),
            )

        settings = {
            "entries": entries,
            "config": sha256(args.config_file),
            "boxes": sha256(learned.with_name(f"{learned.stem}_boxes.json")),
        }
        outputs = [*(str(below / file) for file in (CONFIG_FILE, FINAL_WEIGHTS)), *looked]
        leftovers = [str(below / pattern) for pattern in TRAINING_FILES]
        steps.run(Step(f"seed {seed}", settings, outputs, train, leftovers))
        once = runs.once.relative_to(folder)
        outputs = [str(once / "inference" / part) for part in (TRAIN, TEST)]
        settings = {"weights": sha256(runs.folder / FINAL_WEIGHTS)}
        steps.run(Step(f"seed {seed}, one look", settings, outputs, look_once))
        return runs

    def _remembering(self) -> dict[str, str]:
        return {
            "MODEL.BACKBONE.NAME": "build_remembered_timm_backbone",
            "WEND.IMPORTS": repr((str(CONFIG.parents[1] / "projects/reproduce/remembered.py"),)),
            "WEND.DATA.CACHE": str(self.folder / "cache"),
        }

    def _own_entries(self, learned: Path) -> dict[str, str]:
        """The entries of the command line, and a length that has one evaluation, at its end."""
        args = self.args
        own = key_values(args.set, "--set")
        read_config = engine_module(args.engine, "run").read_config
        cfg = read_config(str(args.config_file), _words(own))
        epochs = cfg.WEND.EPOCHS
        if not epochs:
            return own
        photos = len(DataSets(args.datasets_root).get(str(learned)))
        period = iterations_per_epoch(cfg, photos)
        return {
            **own,
            "WEND.EPOCHS": "0",
            "SOLVER.MAX_ITER": str(epochs * period),
            "SOLVER.CHECKPOINT_PERIOD": str(period),
            "TEST.EVAL_PERIOD": "0",
        }


def wend(*arguments: str) -> None:
    """Run a command of ``wend``; its error ends this, too."""
    if code := subprocess.run([sys.executable, "-m", "wend", *arguments], check=False).returncode:
        sys.exit(code)


def _words(entries: Mapping[str, str]) -> list[str]:
    return [word for pair in entries.items() for word in pair]


def as_photos(data_sets: Sequence[DataSet], name: str) -> tuple[DataSet, Path]:
    """Data sets as one of photographs without classes or boxes, and the folder of all of them."""
    records = [record for data_set in data_sets for record in data_set]
    files = [Path(record.file_name).absolute() for record in records]
    root = Path(os.path.commonpath([file.parent for file in files]))
    photos = replace(
        DataSet.from_records(records, name),
        image_ids=list(range(len(records))),
        keys=[file.relative_to(root).as_posix() for file in files],
        class_ids=np.full(len(records), -1),
        pseudo_boxes=BoxTable.empty(len(records)),
    )
    return photos, root


def _parts(data_sets: DataSets, names: str, third: int | None) -> tuple[dict[str, DataSet], Path]:
    """The part to train on, the one to test on and both, and the folder of all images."""
    given = [data_sets.get(name) for name in names.split(",")]
    if len(given) > 2:
        raise InputError(f"{names}: expected a data set, or one to train and one to test on")
    both, root = as_photos(given, BOTH)
    if third is None:
        tested = np.arange(len(both)) >= len(given[0])
    else:
        tested = np.argsort(np.argsort(both.keys)) % 3 == third
    parts = {TRAIN: both.take(np.flatnonzero(~tested)), TEST: both.take(np.flatnonzero(tested))}
    return {**parts, BOTH: both}, root


def dealt(boxes: BoxTable, sizes: np.ndarray) -> BoxTable:
    """The boxes of each photo, in fractions, on another photo: what looking at none would give."""
    photos = len(boxes)
    order = np.random.default_rng(0).permutation(photos)
    giver = np.empty(photos, dtype=np.int64)
    giver[order] = np.roll(order, 1)  # one circle, so that no photo keeps its boxes
    given = boxes.take(giver)
    scale = np.tile(sizes / sizes[giver], 2)[given.owner]
    return replace(given, boxes=given.boxes * scale)


def pooled(results: Mapping[tuple[str, str], Part]) -> dict[tuple[str, str], Part]:
    """The images of all sets as one, where there are several sets."""
    together: dict[tuple[str, str], Part] = {}
    for part in (TRAIN, TEST):
        sets = [scores for (_, name), scores in results.items() if name == part]
        if len(sets) > 1:
            together["all", part] = {
                label: Scores.pooled([scores[label] for scores in sets]) for label in sets[0]
            }
    return together


def number_table(results: Mapping[tuple[str, str], Part]) -> str:
    """Means over seeds, and the range of the first number."""
    rows = []
    for (name, part), scores in results.items():
        for label, of_seeds in scores.items():
            by_seed = 100 * of_seeds.hits.mean(1)
            ends = f"{by_seed.min():.1f} to {by_seed.max():.1f}" if len(by_seed) > 1 else ""
            numbers = (100 * of_seeds.hits.mean(), 100 * of_seeds.one_of_k.mean())
            text = [f"{number:.1f}" for number in numbers]
            images = f"{of_seeds.hits.shape[1]}, {_said(part)}"
            rows.append(
                [name, images, label, text[0], ends, text[1], f"{of_seeds.ious.mean():.3f}"]
            )
    heads = ["set", "photos", "", "GT-known Loc", "seeds", f"one of {K} boxes", "mean IoU"]
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def pair_table(results: Mapping[tuple[str, str], Part]) -> str:
    """Detectors less boxes on the same images: over all seeds, and McNemar's test of each."""
    rows = []
    for (name, part), scores in results.items():
        for detector in (label for label in DETECTORS if label in scores):
            for own in (label for label in BOXES.values() if label in scores):
                a, b = scores[detector].hits, scores[own].hits
                test = paired_difference(a, b)
                tests = [mcnemar(hits, b[0]) for hits in a]
                both = [int((hits & b[0]).sum()) for hits in a]
                rows.append(
                    [
                        *(name, f"{a.shape[1]}, {_said(part)}", f"{detector} less {own}"),
                        f"{100 * test.difference:+.1f}",
                        _interval(test.low, test.high),
                        f"{test.p_images:.2g}",
                        ", ".join(map(str, both)),
                        ", ".join(f"{t.only_a}:{t.only_b}" for t in tests),
                        ", ".join(f"{t.p_value:.2g}" for t in tests),
                    ]
                )
    heads = ["set", "photos", "", "difference", "95 % interval", "p", "both right"]
    heads += ["only detector : only boxes", "McNemar's p"]
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def _said(part: str) -> str:
    return "trained on" if part == TRAIN else "others"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{100 * low:+.1f} to {100 * high:+.1f}"


if __name__ == "__main__":
    main()
