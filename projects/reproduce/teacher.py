"""Does a teacher's refinement bring boxes nearer to the truth, and does the detector get better?

    OMP_NUM_THREADS=1 python projects/reproduce/teacher.py --output FOLDER

Trains binary FCOS on the toy set whose pseudo boxes are disturbed in 60 % of the images, with each
``WEND.REFINE`` and seed at the same number of iterations, and prints a line of JSON a training. All
trainings of a seed have the same first part, which is trained once. The truth of the training
images is only looked at to count: in each batch of the taught part, the share of given and of
refined boxes that are right (IoU > 0.5 with an object), and their mean IoU. Scores are GT-known Loc
(original) of the weights and of their average.
"""

# ruff: noqa: T201 (a script)
from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
import yaml
from noise import make_data

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from wend.config import merge_config  # noqa: E402
from wend.datasets.catalog import DataSets  # noqa: E402
from wend.evaluation.collect import DetectionCollector  # noqa: E402
from wend.run import Run, resolve  # noqa: E402
from wend.structures.boxes import box_iou  # noqa: E402
from wend.tv.config import get_cfg  # noqa: E402
from wend.tv.dataset import build_test_loader  # noqa: E402
from wend.tv.engine import Trainer  # noqa: E402
from wend.tv.inference import predict  # noqa: E402
from wend.tv.models import build_model  # noqa: E402

METHODS = {  # label -> entries
    "none": {"WEND.REFINE": "none", "WEND.TEACHER.ENABLED": "False"},
    "average": {"WEND.REFINE": "average"},
    "soft": {"WEND.REFINE": "soft"},
    "replace": {"WEND.REFINE": "replace"},
    "agreement": {"WEND.IMAGE_WEIGHTS": "('teacher_agreement',)"},
    "average, agreement": {
        "WEND.REFINE": "average",
        "WEND.IMAGE_WEIGHTS": "('teacher_agreement',)",
    },
    "replace, half": {"WEND.REFINE": "replace", "WEND.TEACHER.SCORE_QUANTILE": "0.5"},
}


class FirstPartDone(Exception):  # noqa: N818  (no error)
    """The part of the training that all methods share is done and saved."""


class Measured(Trainer):
    """A trainer that compares what is learned with the truth of the training images."""

    def __init__(self, run: Run, model: torch.nn.Module) -> None:
        super().__init__(run, model)
        self.truth = {
            record.image_id: record.gt_boxes
            for data_set in run.training.images.data_sets
            for record in data_set
        }
        self.ious: list[tuple[float, float]] = []  # of given and refined boxes with the truth
        self.ends_at = run.cfg.SOLVER.MAX_ITER
        if self.teacher is not None:
            teach = self.teacher.teach

            def recorded(images, frames, given):
                self.lessons = (given, teach(images, frames, given))
                return self.lessons[1]

            self.teacher.teach = recorded

    def _step(self, iteration, batch):
        if iteration == self.ends_at:
            raise FirstPartDone
        values = super()._step(iteration, batch)
        if self.teacher is None or not self.teacher.has_begun:
            return values
        for example, given, lesson in zip(batch, *self.lessons, strict=True):
            truth = example.frame.clip(example.frame.to_frame(self.truth[example.image_id]))
            for before, after in zip(given[0].numpy(), lesson.boxes.numpy(), strict=True):
                pair = np.stack([before, after]).astype(np.float64)
                self.ious.append(tuple(box_iou(pair, truth).max(1)))
        return values


def score(run: Run, model: torch.nn.Module) -> float:
    """GT-known Loc of the original protocol, in per cent."""
    model.eval()
    (test,) = run.tests.values()
    detections = DetectionCollector(test.data_set)
    for batch in build_test_loader(test, run.cfg):
        images, frames = zip(*((e.image, e.frame) for e in batch), strict=True)
        image_ids = [example.image_id for example in batch]
        detections.add_table(image_ids, predict(model, images, frames, run.cfg))
    results = test.evaluation.run(detections.table())
    return results["original"].scalars()["gt_known_loc"]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--noise", type=float, default=0.6)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--start", type=float, default=0.5, help="WEND.TEACHER.START")
    parser.add_argument("--decay", type=float, default=0.99)
    parser.add_argument("opts", nargs="*", help="KEY VALUE ..., of every training")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    toy = yaml.safe_load((Path(__file__).parent / "toy.yaml").read_text(encoding="utf-8"))
    folder, _ = make_data(arguments.output, arguments.noise, toy)
    first = round(arguments.start * arguments.iterations)
    common = {**toy["common"], **toy["detectors"]["BinaryFCOS"]}
    common |= {"SOLVER.MAX_ITER": arguments.iterations, "SOLVER.CHECKPOINT_PERIOD": first}
    common |= {"WEND.PROTOCOLS": "('original',)", "WEND.LOSS": "none", "WEND.ETA": "1.0"}
    common |= {"WEND.EMA.DECAY": arguments.decay, "WEND.TEACHER.ENABLED": "True"}
    common |= {"WEND.TEACHER.START": arguments.start, "WEND.EMA.EVALUATE": "False"}

    def trainer_of(seed: int, entries: Mapping[str, str], output: Path) -> Measured:
        output.mkdir(parents=True, exist_ok=True)
        cfg = get_cfg()
        chosen = {**common, **entries, "SEED": seed, "OUTPUT_DIR": str(output)}
        options = [str(part) for pair in chosen.items() for part in pair]
        merge_config(cfg, "CUB/fcos_R50", [*options, *arguments.opts], "")
        run = resolve(cfg, DataSets(str(folder)))
        torch.manual_seed(seed)
        trainer = Measured(run, build_model(run.cfg))
        trainer._evaluate = lambda iteration: {}
        return trainer

    for seed in arguments.seeds:
        shared = arguments.output / f"first_{seed}"
        trainer = trainer_of(seed, {}, shared)
        trainer.resume_or_load(resume=False)
        trainer.ends_at = first
        with suppress(FirstPartDone):
            trainer.train()
        for name in arguments.methods:
            start = time.process_time()
            output = arguments.output / f"second_{seed}"
            shutil.rmtree(output, ignore_errors=True)
            shutil.copytree(shared, output)
            trainer = trainer_of(seed, METHODS[name], output)
            trainer.resume_or_load(resume=True, allow_changes=True)
            trainer.train()
            run = trainer.run
            line = {
                "method": name,
                "seed": seed,
                "weights": round(score(run, trainer.model), 1),
                "average": round(score(run, trainer.average.average), 1),
                "cpu_seconds": round(time.process_time() - start),
            }
            for boxes, ious in zip(("given", "refined"), np.array(trainer.ious).T, strict=False):
                line[f"{boxes}_right"] = round(100 * float((ious > 0.5).mean()), 1)
                line[f"{boxes}_iou"] = round(float(ious.mean()), 3)
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
