"""The steps of ``wend rounds``, in order: ordinary commands, and arithmetic on their files."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wend.datasets.declaring import declare
from wend.errors import InputError, some
from wend.evaluation.coco_results import read_detections
from wend.evaluation.evaluation import DETECTIONS_FILE
from wend.files import read_json, sha256, write_json
from wend.formats.coco import to_coco
from wend.modeling.initial_weights import initial_weights
from wend.rounds.acceptance import Verdict, held_out_agreement, judge
from wend.rounds.images import Folds, RoundImages, draw_folds
from wend.rounds.keep import KEEP
from wend.rounds.looks import DEFAULT_LOOKS, LOOKS, MOST, Fused, fuse
from wend.rounds.table import UNCHANGED, Row, accuracy, best_iou, show, write
from wend.run import Run
from wend.run_files import (
    CONFIG_FILE,
    EVALUATIONS,
    FINAL_WEIGHTS,
    REFERENCE_FILE,
    TRAINING_FILES,
    evaluation_folder,
)
from wend.steps import Step, Steps, resume_flag, run_command
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

ROUNDS = "rounds"  # folder of all but the last training
NOT_HELD_OUT = Verdict(True, "not judged: the detectors have learned from every image")
UNJUDGED = Verdict(True, "not judged")
# entries that belong to the user's test sets
OF_OTHER_TESTS = {
    "WEND.CLASS_PREDICTIONS": "",
    "WEND.DATA.CACHE": "",
    "WEND.DATA.FEATURE_CACHE": "",
    "WEND.METRICS": "()",
    "WEND.PROTOCOLS": "('original',)",
    "TEST.EXPECTED_RESULTS": "[]",
}
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user asked for.

    Attributes:
        rounds: how often boxes are made anew, at least 1.
        folds: detectors that have learned from all other folds look at each of so many; 1: they
            have learned from every image, and look at these.
        seeds: detectors of so many seeds look at each fold.
        looks: keys of :data:`wend.rounds.looks.LOOKS`, at least one.
        keep: a key of :data:`wend.rounds.keep.KEEP`.
        judge_last: whether the last round's boxes are judged, too, which takes another training of
            each fold.
        train: words of ``wend train`` but for config entries, such as --engine and --config-file.
        entries: config entries -> values.
    """

    rounds: int
    folds: int = 2
    seeds: int = 1
    looks: Sequence[str] = DEFAULT_LOOKS
    keep: str = "agreed"
    judge_last: bool = True
    train: Sequence[str] = ()
    entries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """What the detectors of all folds see in the images.

    Attributes:
        plain: boxes (I images) of the first look.
        fused: of all looks.
        tests: name -> metric on the user's test sets, mean over the detectors.
    """

    plain: BoxTable
    fused: Fused
    tests: dict[str, float]


@dataclass
class Rounds:
    """A run of ``wend rounds``.

    Args:
        wishes: what the user asked for.
        command: runs the arguments of an ordinary ``wend`` command.
        resolved: the run that the config and the entries describe, as ``wend train`` has it.
    """

    wishes: Wishes
    command: Callable[[Sequence[str]], None]
    resolved: Run
    folder: Path = field(init=False)
    steps: Steps = field(init=False)
    images: RoundImages = field(init=False)
    fold: np.ndarray = field(init=False)

    def run(self) -> list[Row]:
        """Do all steps that are not done yet; returns the table's rows.

        Raises:
            InputError: names what is wrong.
        """
        cfg = self.resolved.cfg
        assert self.resolved.training is not None
        if not cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
            raise InputError(
                "config entry DATALOADER.FILTER_EMPTY_ANNOTATIONS: wend rounds trains on images "
                "that have a box; expected True, got False"
            )
        self.folder = Path(cfg.OUTPUT_DIR).resolve()
        images = RoundImages.of_selection(self.resolved.training.images)
        names = [data_set.name for data_set in images.data_sets]
        self.steps = Steps(self.folder, {"images": names}, "wend rounds", "OUTPUT_DIR")
        self._draw_folds(images)
        rows, boxes = self._all_rounds()
        tests = self._train_the_run(boxes)
        last = Row(
            "the run",
            len(boxes.with_boxes),
            None,
            float(best_iou(boxes, self.images.given).mean()),
            accuracy(self.images.data_sets, boxes),
            tests=tests,
        )
        rows.append(last)
        written = write(self.folder, rows, self._notes())
        logger.info("rounds:\n%s", show(rows))
        logger.info("written: %s", some(written))
        return rows

    def _all_rounds(self) -> tuple[list[Row], BoxTable]:
        """The rows of all boxes, and those to learn from in the end."""
        wishes, given = self.wishes, self.images.given
        rows: list[Row] = []
        accepted = boxes = given.scored()
        before: np.ndarray | None = None
        for number in range(1, wishes.rounds + 2):
            name = "given" if number == 1 else f"round {number - 1}"
            row = self._row(name, boxes, accepted)
            rows.append(row)
            if number > wishes.rounds and not (wishes.judge_last and wishes.folds > 1):
                row.verdict = UNJUDGED.reason
                return rows, boxes
            seen = self._see(number, boxes)
            row.held_out_iou, of_images = held_out_agreement(seen.plain, given, self.images.sizes)
            row.agreement, row.tests = float(of_images.mean()), seen.tests
            verdict = judge(of_images, before) if wishes.folds > 1 else NOT_HELD_OUT
            row.verdict = f"{'kept' if verdict.accepted else 'REFUSED'}, {verdict.reason}"
            logger.info("boxes, %s: %s", name, row.verdict)
            if wishes.folds == 1:  # of images that the detectors have learned from
                row.held_out_iou = row.agreement = None
            if not verdict.accepted:
                return rows, accepted
            if number > wishes.rounds:
                return rows, boxes
            accepted, before = boxes, of_images
            row.looks = _mean_agreement(seen.fused)
            boxes = KEEP[wishes.keep](boxes, seen.fused)
            self._write_boxes(number, boxes)
        raise AssertionError("the last round returns")

    def _row(self, name: str, boxes: BoxTable, before: BoxTable) -> Row:
        changed = None
        if name != "given":
            number = len(before.with_boxes)
            same = int((best_iou(boxes, before) >= UNCHANGED).sum())
            changed = 100 * (number - same) / number
        return Row(
            name,
            len(boxes.with_boxes),
            changed,
            float(best_iou(boxes, self.images.given).mean()),
            accuracy(self.images.data_sets, boxes),
        )

    def _notes(self) -> list[str]:
        wishes = self.wishes
        return [
            f"--rounds {wishes.rounds} --cross-fit {wishes.folds} --seeds {wishes.seeds} --looks "
            f"{','.join(wishes.looks)} --keep {wishes.keep}. Test metrics of a row that is not the "
            f"run are of the detectors that judge its boxes, which learn from "
            f"{'all folds but one' if wishes.folds > 1 else 'every image'}.",
            "Nothing was chosen by true boxes: what is said to be right is only a check.",
        ]

    # --- images

    def _draw_folds(self, images: RoundImages) -> None:
        """Draw the folds, and leave out the images that cannot be read."""
        cfg, file = self.resolved.cfg, self.folder / ROUNDS / "folds.json"
        seed = max(cfg.SEED, 0)

        def work(resumes: bool) -> None:
            drawn = draw_folds(images, self.wishes.folds, seed)
            self._check_unreadable(drawn, len(images))
            write_json(file, {"fold": drawn.fold.tolist(), "near": drawn.near})

        settings = {"images": images.digest, "folds": self.wishes.folds, "seed": seed}
        self.steps.run(Step("folds", settings, [self._below(file)], work))
        record = read_json(file, "the folds of wend rounds")
        fold = np.array(record["fold"])
        self.images, self.fold = images.take(fold >= 0), fold[fold >= 0]
        logger.info(
            "%d images with a box in %d folds (%s images); %d near duplicates stay together",
            *(len(self.images), self.wishes.folds),
            *(", ".join(map(str, np.bincount(self.fold).tolist())), record["near"]),
        )

    def _check_unreadable(self, drawn: Folds, number: int) -> None:
        """Raise InputError for images that cannot be read, unless the config lets them be skipped.

        The config's own share of them (``WEND.DATA.MAX_BAD_SHARE``) holds here, too.
        """
        if not drawn.problems:
            return
        assert self.resolved.training is not None
        most = self.resolved.training.most_bad
        problems = f"{len(drawn.problems)} of {number} images cannot be read"
        if len(drawn.problems) > most:
            raise InputError(
                f"{problems} ({some(drawn.problems)}); mend them, or let some be skipped: "
                f"WEND.DATA.ON_BAD_IMAGE skip, WEND.DATA.MAX_BAD_SHARE"
            )
        logger.warning("%s and are left out: %s", problems, some(drawn.problems))

    def _below(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    # --- a round

    def _see(self, number: int, boxes: BoxTable) -> Seen:
        """Train the round's detectors, and look with each at the images of its fold."""
        wishes = self.wishes
        folder = self.folder / ROUNDS / str(number)
        names = [
            look if seed == 0 else f"{look}, seed {seed}"
            for seed in range(wishes.seeds)
            for look in wishes.looks
        ]
        looks: dict[str, list[BoxTable]] = {name: [] for name in names}
        tests: list[dict[str, float]] = []
        for fold in range(wishes.folds):
            held_out = self._declare_held_out(fold)
            trained = self.fold != fold if wishes.folds > 1 else np.ones(len(self.fold), bool)
            train = self._declare_training(folder / "data", f"fold{fold}", trained, boxes)
            ordered = iter(names)
            for seed in range(wishes.seeds):
                run = folder / (f"fold{fold}" if seed == 0 else f"fold{fold}_seed{seed}")
                name = f"round {number}, fold {fold}" + (f", seed {seed}" if seed else "")
                self._train_fold(run, name, seed, train)
                tests.append(_metrics(run, self.resolved.tests))
                for look in wishes.looks:
                    seen = self._look(run, f"{name}, look {look}", look, held_out)
                    looks[next(ordered)].append(seen)
        order = self._order_of_folds()
        in_order = [BoxTable.concatenate(parts).take(order) for parts in looks.values()]
        means = {name: float(np.mean([each[name] for each in tests])) for name in tests[0]}
        most = max(MOST, 2 * int(boxes.counts.max(initial=0)))
        return Seen(in_order[0], fuse(in_order, most), means)

    def _order_of_folds(self) -> np.ndarray:
        """For each image (I,) its row among the images of all folds, one fold after the other."""
        rows = [np.flatnonzero(self.fold == fold) for fold in range(self.wishes.folds)]
        return np.argsort(np.concatenate(rows), kind="stable")

    def _declare_held_out(self, fold: int) -> dict[Path, DataSet]:
        """Declare a fold's images with their given boxes to compare with; file -> data set."""
        part = self.images.take(self.fold == fold)
        declared = {}
        for root, data_set in zip(part.roots, part.data_sets, strict=True):
            if len(data_set):
                path = self.folder / ROUNDS / "data" / f"{data_set.name}_fold{fold}.yaml"
                declare(path, root, data_set, truth=data_set.pseudo_boxes)
                declared[path] = data_set
        return declared

    def _declare_training(
        self, folder: Path, suffix: str, chosen: np.ndarray, boxes: BoxTable
    ) -> list[Path]:
        """Declare images (I,) with boxes to learn from; returns the files."""
        part = self.images.take(chosen)
        files, start = [], 0
        rows = boxes.take(np.flatnonzero(chosen))
        for root, data_set in zip(part.roots, part.data_sets, strict=True):
            end = start + len(data_set)
            own = rows[start:end]
            start = end
            with_box = own.with_boxes
            if len(with_box):
                path = folder / f"{data_set.name}_train_{suffix}.yaml"
                declare(path, root, data_set.take(with_box), boxes=own.take(with_box))
                files.append(path)
        return files

    def _train_fold(self, run: Path, name: str, seed: int, train: Sequence[Path]) -> None:
        """Train a detector of a round; it is evaluated on the user's test sets."""
        cfg = self.resolved.cfg
        entries = {
            **self._schedule(),
            "SEED": str(cfg.SEED + seed if cfg.SEED >= 0 or seed == 0 else seed),
            "WEND.LOGGERS": "()",
            "TEST.EXPECTED_RESULTS": "[]",
        }
        self._train(name, run, entries, train)

    def _schedule(self) -> dict[str, str]:
        """The entries of a training of as many iterations as the run's, on however few images."""
        solver = self.resolved.cfg.SOLVER
        entries = ("MAX_ITER", "WARMUP_ITERS", "STEPS", "CHECKPOINT_PERIOD")
        # Detectron2's engine alone has STEPS
        own = {f"SOLVER.{entry}": str(solver[entry]) for entry in entries if entry in solver}
        return {"WEND.EPOCHS": "0", **own, "TEST.EVAL_PERIOD": "0"}

    def _look(self, run: Path, name: str, look: str, held_out: Mapping[Path, DataSet]) -> BoxTable:
        """The boxes that a detector sees in the images of its fold, in the config's view."""
        entries = LOOKS[look](self.resolved.cfg)
        folder = run / look
        ours = {
            **entries,
            **OF_OTHER_TESTS,
            "DATASETS.TEST": repr(tuple(map(str, held_out))),
            "MODEL.WEIGHTS": str(run / FINAL_WEIGHTS),
            "OUTPUT_DIR": str(folder),
        }
        words = ["train", "--eval-only", *self._where(run / CONFIG_FILE), *_words(ours)]
        settings = {
            "weights": sha256(run / FINAL_WEIGHTS),
            **entries,
            "images": [sha256(path.with_suffix(".json")) for path in held_out],
        }
        files = [evaluation_folder(folder, path.stem) / DETECTIONS_FILE for path in held_out]

        def work(resumes: bool) -> None:
            run_command(self.command, words)
            reference = "the given boxes of images that are not trained on"
            write_json(folder / REFERENCE_FILE, {p.stem: reference for p in held_out}, indent=1)

        outputs = [*map(self._below, files)]
        self.steps.run(Step(name, settings, outputs, work, [self._below(folder)]))
        return BoxTable.concatenate(
            [read_detections(f, d) for f, d in zip(files, held_out.values(), strict=True)]
        )

    def _where(self, config: str | Path) -> list[str]:
        """The words of ``wend train`` with another config."""
        words = list(self.wishes.train)
        words[words.index("--config-file") + 1] = str(config)
        return words

    def _write_boxes(self, number: int, boxes: BoxTable) -> None:
        """Write the boxes that a round made, with scores, as a file of each data set."""
        start = 0
        for data_set in self.images.data_sets:
            own = boxes[start : start + len(data_set)]
            start += len(data_set)
            path = self.folder / ROUNDS / str(number) / f"{data_set.name}_boxes.json"
            content = to_coco(data_set, own, {"description": f"boxes of round {number}"})
            write_json(path, content)
            logger.info("round %d: %d boxes, %s", number, len(own.boxes), path)

    # --- trainings

    def _train(
        self, name: str, run: Path, entries: Mapping[str, str], train: Sequence[Path]
    ) -> None:
        """A step that is a training.

        Args:
            run: its folder.
            entries: config entries that differ from the user's.
            train: declarations of what it learns from.
        """
        cfg = self.resolved.cfg.clone()
        cfg.defrost()
        cfg.OUTPUT_DIR = ""
        weights = initial_weights(cfg)
        settings = {
            "command": " ".join(self._where("")),
            "config": cfg.dump(),
            "weights": sha256(weights) if Path(weights).is_file() else weights,
            **entries,
            "boxes": [sha256(path.with_name(f"{path.stem}_boxes.json")) for path in train],
        }
        ours = {
            "DATASETS.TRAIN": repr(tuple(map(str, train))),
            "WEND.DATA.QUARANTINE": "",  # what it lists is left out already
            **entries,
            "OUTPUT_DIR": str(run),
        }

        def work(resumes: bool) -> None:
            flag = resume_flag(run, resumes)
            words = ["train", *self.wishes.train, *flag]
            run_command(self.command, [*words, *_words({**self.wishes.entries, **ours})])

        outputs = [run / CONFIG_FILE, run / FINAL_WEIGHTS]
        outputs += [evaluation_folder(run, test) / DETECTIONS_FILE for test in self.resolved.tests]
        leftovers = [
            pattern if run == self.folder else f"{self._below(run)}/{pattern}"
            for pattern in TRAINING_FILES
        ]
        self.steps.run(Step(name, settings, list(map(self._below, outputs)), work, leftovers))

    def _train_the_run(self, boxes: BoxTable) -> dict[str, float]:
        """Train the detector of the run itself; returns its test metrics."""
        every = np.ones(len(self.images), dtype=bool)
        train = self._declare_training(self.folder / ROUNDS / "run", "last", every, boxes)
        self._train("training", self.folder, {}, train)
        return _metrics(self.folder, self.resolved.tests)


def _words(entries: Mapping[str, str]) -> list[str]:
    return [text for pair in entries.items() for text in pair]


def _mean_agreement(fused: Fused) -> float:
    """Mean agreement of the looks on the best box of each image, 0 where there is none."""
    first = fused.boxes.with_boxes
    return float(fused.agreement[fused.boxes.offsets[first]].sum() / max(len(fused.boxes), 1))


def _metrics(run: Path, tests: Mapping[str, Any]) -> dict[str, float]:
    """GT-known Loc of a run's evaluations, of its best box and of several."""
    numbers = {}
    for name in tests:
        path = run / EVALUATIONS / name / "metrics.json"
        of_protocols = json.loads(path.read_text(encoding="utf-8"))
        protocol = of_protocols.get("original") or next(iter(of_protocols.values()))
        numbers[f"{name}: GT-known Loc"] = protocol["gt_known_loc"]
        numbers[f"{name}: one of {protocol['max_boxes']} boxes"] = protocol["gt_known_loc_multi"]
    return numbers
