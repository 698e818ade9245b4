"""The steps of ``wend auto``, in order; each is an ordinary command, or arithmetic on its files."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode

from wend.auto import schedule
from wend.auto.declared import as_data_set, read_truth, with_truth
from wend.auto.matching import IOU, best_threshold, doubt_of
from wend.auto.photos import Photos, look
from wend.auto.standing import Standing, stand
from wend.datasets.declaring import declare
from wend.datasets.parts import hold_out
from wend.errors import InputError
from wend.evaluation.agreement import agreement
from wend.evaluation.coco_results import read_detections
from wend.evaluation.evaluation import DETECTIONS_FILE
from wend.files import remove, sha256, write_json
from wend.localize.presets import COMPARED, PRESETS
from wend.modeling.initial_weights import network_of
from wend.pretrained import find_weights
from wend.pseudo_boxes import join_boxes, read_boxes
from wend.run import iterations_per_epoch
from wend.run_files import (
    ADVICE_FILE,
    CONFIG_FILE,
    EVALUATIONS,
    FINAL_WEIGHTS,
    LOSSES_FILE,
    REFERENCE_FILE,
    TRAINING_FILES,
    evaluation_folder,
)
from wend.steps import Step, Steps, resume_flag, run_command
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

AUTO, BORDER = "auto", "border"  # taken with a network, and without
AGREE = "agree"  # of those compared, the method that the others agree with
TRAIN, HELD_OUT, TRUTH = "photos_train", "photos_held_out", "photos_held_out_truth"
STANDING_FILE = "standing.md"
LENGTH = ("WEND.EPOCHS", "SOLVER.MAX_ITER")  # the user's own length of the training
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user asked for.

    Attributes:
        photos: the folder of the photos.
        output: the output folder.
        exif: "apply" or "ignore": photos turned by EXIF, or taken as stored.
        method: a key of :data:`.PRESETS`, or :data:`AGREE`.
        boxes: pseudo boxes per image at most.
        pseudo_boxes: a box source to take instead, as :func:`wend.pseudo_boxes.read_boxes` does.
        truth: folder or file of true boxes, for evaluation only.
        held_out: share of the photos that is held out, [0, 1).
        seed: of the choice of these.
        minutes: that the training may take.
        engine: "detectron2" or "torchvision".
        config_file: of the detector.
        overrides: entries of it that are changed -> their values.
        weights: the network's: "pretrained", or a file; empty for none.
        formats: of the label files.
        pictures: how many photos are drawn with their boxes: a number, "all" or "none".
    """

    photos: Path
    output: Path
    exif: str = "apply"
    method: str = AUTO
    boxes: int = 5
    pseudo_boxes: dict[str, Any] | None = None
    truth: Path | None = None
    held_out: float = 0.2
    seed: int = 0
    minutes: float = 8.0
    engine: str = "torchvision"
    config_file: str = "photos"
    overrides: Mapping[str, str] = field(default_factory=dict)
    weights: str = "pretrained"
    formats: Sequence[str] = ("coco",)
    pictures: str = "16"


def _without_nothing(table: BoxTable) -> BoxTable:
    """Without the boxes of score 0, which are the whole image because nothing was found."""
    if table.scores is None or not (table.scores == 0).any():
        return table
    nothing = int((table.scores == 0).sum())
    logger.info("pseudo boxes: %d of score 0 are left out: nothing was found there", nothing)
    return table.keep(table.scores != 0)


@dataclass
class Auto:
    """A run of ``wend auto``.

    Args:
        wishes: what the user asked for.
        command: runs the arguments of an ordinary ``wend`` command.
        cfg: the config that the config file and the entries of ``wishes`` make.
    """

    wishes: Wishes
    command: Callable[[Sequence[str]], None]
    cfg: CfgNode
    folder: Path = field(init=False)
    steps: Steps = field(init=False)

    def run(self) -> None:
        """Do all steps that are not done yet.

        Raises:
            InputError: names what is wrong.
        """
        wishes = self.wishes
        self._check_method()
        self._weights_digest()  # whether they are there, before anything is made
        self.folder = wishes.output.resolve()
        root = wishes.photos.resolve()
        limit = self.cfg.WEND.DATA.MAX_MEGAPIXELS
        photos = look(root, self.folder, self.folder / "photos.jsonl", wishes.exif, limit)
        self.steps = Steps(self.folder, {"photos": str(root)})
        held_out = hold_out(photos.groups, wishes.held_out, wishes.seed)
        logger.info("%s:\n%s", root, photos.table(held_out))
        data_set = as_data_set(photos)
        self._declare("photos", root, data_set)
        truth = None if wishes.truth is None else read_truth(photos, data_set, wishes.truth)
        pseudo = self._pseudo_boxes(data_set, photos.digest)
        self._declare("photos", root, data_set, boxes=pseudo, truth=truth)
        with_box = pseudo.counts > 0
        if not with_box[~held_out].any():
            raise InputError(
                f"{wishes.photos}: no photo of the {int((~held_out).sum())} for training has a "
                f"pseudo box"
            )
        training = np.flatnonzero(with_box & ~held_out)
        tested = np.flatnonzero(with_box & held_out)
        trained = data_set.take(training).with_pseudo_boxes(pseudo.take(training))
        self._declare(TRAIN, root, trained, boxes=trained.pseudo_boxes)
        tests = {}
        if len(tested):
            tests[HELD_OUT] = with_truth(data_set.take(tested), pseudo.take(tested))
            self._declare(HELD_OUT, root, tests[HELD_OUT], truth=tests[HELD_OUT].truth)
        else:
            few = f"{len(data_set)} photos of {len(np.unique(photos.groups))} kinds are too few"
            logger.warning(
                "%s: nothing can be said about how good the detector is, and no score threshold is "
                "advised",
                f"{few} to hold some out" if wishes.held_out else "no photo is held out",
            )
        if truth is not None:
            tests |= self._truth_test(root, data_set, truth, pseudo, held_out)
        self._train(trained, list(tests) or ["photos"])
        min_score = self._advise(tests.get(HELD_OUT))
        self._predict(photos, min_score)
        standings = self._write_standing(trained, tests)
        self._report(list(tests))
        for text in standings:  # what matters most comes last
            logger.info("%s", text)

    def _declare(
        self,
        name: str,
        root: Path,
        data_set: DataSet,
        *,
        truth: BoxTable | None = None,
        boxes: BoxTable | None = None,
    ) -> None:
        declare(self._declaration(name), root, data_set, truth=truth, boxes=boxes)

    def _declaration(self, name: str) -> Path:
        return self.folder / "datasets" / f"{name}.yaml"

    def _do(self, words: Sequence[str]) -> None:
        run_command(self.command, words)

    # --- pseudo boxes

    def _check_method(self) -> None:
        """Whether the method has the network that it needs."""
        name, weights = self.wishes.method, self.wishes.weights
        if name == AGREE or self.wishes.pseudo_boxes is not None:
            return
        if PRESETS[name].needs_network and not weights:
            raise InputError(
                f"--method {name}: needs the weights of a network; without there is --method border"
            )
        network = network_of(self.cfg) if weights else ""
        if not PRESETS[name].allows(network):
            raise InputError(f"--method {name}: needs {PRESETS[name].needs}, got {network}")

    def _pseudo_boxes(self, data_set: DataSet, digest: str) -> BoxTable:
        """The boxes to learn from, of all photos; those where nothing was found are left out."""
        wishes = self.wishes
        if wishes.pseudo_boxes is not None:
            table, _ = join_boxes(data_set.keys, data_set.sizes, read_boxes(wishes.pseudo_boxes))
            logger.info("pseudo boxes: %d, of %s", len(table.boxes), wishes.pseudo_boxes["path"])
            return _without_nothing(table)
        names = [wishes.method] if wishes.method != AGREE else self._compared()
        tables = {name: self._boxes_of(name, data_set, digest) for name in names}
        agreed = agreement(tables, data_set.sizes)
        chosen = agreed.chosen
        if len(tables) > 1:
            logger.info("agreement of the pseudo boxes:\n%s", agreed.table())
            logger.info("pseudo boxes: %s, %s", chosen, agreed.reason)
        table = tables[chosen]
        return _without_nothing(table)

    def _compared(self) -> list[str]:
        """The methods to compare that the network and its weights allow."""
        network = network_of(self.cfg) if self.wishes.weights else ""
        return [name for name in COMPARED if PRESETS[name].allows(network)]

    def _boxes_of(self, name: str, data_set: DataSet, digest: str) -> BoxTable:
        arguments, needs_network = PRESETS[name].words, PRESETS[name].needs_network
        words = [
            *("pseudo-boxes", *arguments, "--boxes", str(self.wishes.boxes)),
            *("--dataset", str(self._declaration("photos")), "--skip-unreadable"),
            *("--page", "none"),
            *("--output", str(self.folder / "boxes" / name)),
            *("--max-megapixels", str(self.cfg.WEND.DATA.MAX_MEGAPIXELS)),
        ]
        settings: dict[str, Any] = {"arguments": " ".join(arguments), "photos": digest}
        settings["boxes"] = self.wishes.boxes
        if needs_network:
            network = network_of(self.cfg)
            words += ["--backbone", network, "--weights", self.wishes.weights]
            settings |= {"network": network, "weights": self._weights_digest()}
        file = f"boxes/{name}/train/pseudo_boxes.json"
        step = Step(
            f"pseudo boxes, {name}",
            settings,
            [file],
            lambda resumes: self._do(words),
            leftovers=[f"boxes/{name}"],
        )
        self.steps.run(step)
        boxes = read_boxes({"source": "coco", "path": self.folder / file})
        return join_boxes(data_set.keys, data_set.sizes, boxes, log=False)[0]

    @property
    def _weights(self) -> dict[str, str]:
        """The config entry of the network's weights."""
        return {"MODEL.WEIGHTS": self.wishes.weights} if self.wishes.weights else {}

    def _weights_digest(self) -> str:
        if not self.wishes.weights:
            return ""
        network = network_of(self.cfg)
        return sha256(find_weights(self.wishes.weights, network, "--weights").path)

    # --- the truth

    def _truth_test(
        self,
        root: Path,
        data_set: DataSet,
        truth: BoxTable,
        pseudo: BoxTable,
        held_out: np.ndarray,
    ) -> dict[str, DataSet]:
        known = np.flatnonzero((truth.counts > 0) & held_out)
        missing = int(held_out.sum()) - len(known)
        if missing:
            logger.warning(
                "%s: %d of %d held-out photos have no true box; the others are evaluated on",
                *(self.wishes.truth, missing, int(held_out.sum())),
            )
        if not len(known):
            return {}
        test = with_truth(data_set.take(known), truth.take(known))
        test = test.with_pseudo_boxes(pseudo.take(known))
        self._declare(TRUTH, root, test, truth=test.truth, boxes=test.pseudo_boxes)
        return {TRUTH: test}

    # --- training

    def _train(self, trained: DataSet, tests: Sequence[str]) -> None:
        wishes = self.wishes
        own = self.wishes.overrides
        files = {name: sha256(self._declaration(name).with_suffix(".json")) for name in tests}
        boxes = self._declaration(TRAIN).with_name(f"{TRAIN}_boxes.json")
        settings = {
            "engine": wishes.engine,
            "config": self.cfg.dump(),
            "minutes": None if own.keys() & set(LENGTH) else wishes.minutes,
            "weights": self._weights_digest(),
            "boxes": sha256(boxes),
            "tests": files,
        }

        def work(resumes: bool) -> None:
            flag = resume_flag(self.folder, resumes)
            length = self._length(trained)
            self._do(
                self._train_words(
                    {
                        "DATASETS.TRAIN": self._names([TRAIN]),
                        "DATASETS.TEST": self._names(tests),
                        **self._weights,
                        **length,
                        **own,
                        "OUTPUT_DIR": str(self.folder),
                    },
                    flag,
                )
            )

        outputs = [CONFIG_FILE, FINAL_WEIGHTS, *(f"{EVALUATIONS}/{name}" for name in tests)]
        self.steps.run(Step("training", settings, outputs, work, leftovers=TRAINING_FILES))

    def _names(self, names: Sequence[str]) -> str:
        return repr(tuple(str(self._declaration(name)) for name in names))

    def _train_words(self, entries: dict[str, str], flag: Sequence[str] = ()) -> list[str]:
        words = ["train", "--engine", self.wishes.engine, "--config-file", self.wishes.config_file]
        return [*words, *flag] + [text for pair in entries.items() for text in pair]

    def _length(self, trained: DataSet) -> dict[str, str]:
        """The entries of the schedule; measured once and recorded, for a resumed run."""
        own = self.wishes.overrides
        solver = self.cfg.SOLVER
        if "WEND.EPOCHS" in own and self.cfg.WEND.EPOCHS > 0:
            iterations = self.cfg.WEND.EPOCHS * iterations_per_epoch(self.cfg, len(trained))
            warmup = schedule.of_iterations(iterations, solver.WARMUP_ITERS).warmup
            return {"SOLVER.WARMUP_ITERS": str(warmup)}
        if "SOLVER.MAX_ITER" in own:
            return schedule.of_iterations(solver.MAX_ITER, solver.WARMUP_ITERS).entries()
        record = self.folder / "schedule.json"
        step = Step(
            "length of the training",
            {
                "engine": self.wishes.engine,
                "config": self.cfg.dump(),
                "minutes": self.wishes.minutes,
                "photos": len(trained),
            },
            [record.name],
            lambda resumes: write_json(record, self._measure(trained), indent=1),
        )
        self.steps.run(step)
        return json.loads(record.read_text(encoding="utf-8"))

    def _measure(self, trained: DataSet) -> dict[str, str]:
        """Measure an iteration, and choose the schedule by it."""
        probe = self.folder / "probe"
        remove(probe)
        photo = trained.take([0])
        declare(probe / "photo.yaml", self.wishes.photos.resolve(), photo)
        self._do(
            self._train_words(
                {
                    **self._weights,
                    **self.wishes.overrides,
                    "DATASETS.TRAIN": self._names([TRAIN]),
                    "DATASETS.TEST": repr((str(probe / "photo.yaml"),)),
                    **schedule.Schedule(schedule.PROBE, schedule.PROBE, 0).entries(),
                    "OUTPUT_DIR": str(probe),
                }
            )
        )
        lines = (probe / LOSSES_FILE).read_text(encoding="utf-8").splitlines()
        times = [row["time"] for row in map(json.loads, lines) if "time" in row]
        remove(probe)
        solver = self.cfg.SOLVER
        chosen = schedule.choose(
            median(times),
            self.wishes.minutes,
            len(trained),
            solver.IMS_PER_BATCH,
            solver.WARMUP_ITERS,
            self.cfg.WEND.EPOCHS,
            gpu=self.cfg.MODEL.DEVICE.startswith("cuda") and torch.cuda.is_available(),
        )
        logger.info(
            "training: %d iterations of %.2f s, about %.1f minutes",
            chosen.iterations,
            median(times),
            chosen.iterations * median(times) / 60,
        )
        return chosen.entries()

    # --- what came out

    def _detections(self, test: DataSet, name: str) -> BoxTable:
        return read_detections(evaluation_folder(self.folder, name) / DETECTIONS_FILE, test)

    def _write_standing(self, trained: DataSet, tests: dict[str, DataSet]) -> list[str]:
        """Write where the detector stands on each test set; returns it."""
        text = []
        for name, test in tests.items():
            standing = self._standing(name, test, trained)
            lines = [f"{name} ({standing.images} photos)", standing.table(), ""]
            text.append("\n".join([*lines, *standing.sentences()]))
        if HELD_OUT in tests:  # the page says that they are no truth
            reference = {HELD_OUT: "the pseudo boxes of held-out photos"}
            write_json(self.folder / REFERENCE_FILE, reference, indent=1)
        path = self.folder / STANDING_FILE
        path.write_text("\n\n".join(text) + "\n", encoding="utf-8")
        return text

    def _standing(self, name: str, test: DataSet, trained: DataSet) -> Standing:
        pseudo = test.pseudo_boxes if name == TRUTH else None
        return stand(test, self._detections(test, name), trained, pseudo)

    def _advise(self, test: DataSet | None) -> float | None:
        """Write the advised score threshold, and say it; None where none can be advised."""
        path = self.folder / ADVICE_FILE
        path.unlink(missing_ok=True)
        if test is None:
            return None
        chosen = best_threshold(self._detections(test, HELD_OUT), test.truth)
        doubt = doubt_of(chosen, len(test))
        if chosen is None or doubt:
            logger.warning("no score threshold is advised: %s", doubt)
            return None
        write_json(
            path,
            {
                "min_score": chosen.min_score,
                "f1": chosen.f1,
                "boxes_per_image": chosen.boxes_per_image,
                "images": len(test),
                "how": f"largest F1 with the pseudo boxes of held-out photos at IoU {IOU:g}",
            },
            indent=1,
        )
        logger.info(
            "advised score threshold: %.3f, the largest F1 (%.2f) with the pseudo boxes of %d "
            "held-out photos at IoU %g; it leaves %.1f boxes per photo",
            *(chosen.min_score, chosen.f1, len(test), IOU, chosen.boxes_per_image),
        )
        return chosen.min_score

    def _predict(self, photos: Photos, min_score: float | None) -> None:
        """Write the boxes of all photos, those above the advised score."""
        wishes, folder = self.wishes, "predictions"
        settings = {
            "weights": sha256(self.folder / FINAL_WEIGHTS),
            "photos": photos.digest,
            "exif": wishes.exif,
            "min_score": min_score,
            "formats": list(wishes.formats),
            "pictures": wishes.pictures,
        }
        words = [
            *("predict", str(self.folder), *photos.shallowest(self.folder)),
            *(
                "--output",
                str(self.folder / folder),
                "--format",
                ",".join(wishes.formats) or "none",
            ),
            *("--pictures", wishes.pictures, "--exif", wishes.exif, "--on-bad", "skip"),
        ]
        work = lambda resumes: self._do(words)  # noqa: E731
        self.steps.run(Step("predictions", settings, [folder], work))

    def _report(self, tests: Sequence[str]) -> None:
        """Write the page."""
        files = [f"{EVALUATIONS}/{name}/{DETECTIONS_FILE}" for name in tests]
        settings = {"files": [sha256(self.folder / file) for file in files]}
        words = ["report", str(self.folder)]
        work = lambda resumes: self._do(words)  # noqa: E731
        self.steps.run(Step("page", settings, ["report.html"], work))
