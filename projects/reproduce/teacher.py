"""Does a teacher's refinement bring boxes nearer to the truth, and does the detector get better?

    OMP_NUM_THREADS=1 python projects/reproduce/teacher.py --output FOLDER

Trains binary FCOS on the toy set whose pseudo boxes are disturbed in 60 % of the images, once with
each ``WEND.REFINE`` and seed at the same number of iterations, and prints a line of JSON a
training. The truth of the training images is only looked at to count: in each batch of the taught
part, the share of given and of refined boxes that are right (IoU > 0.5 with an object), and their
mean IoU. Scores are GT-known Loc (original) of the weights and of their average.
"""

# ruff: noqa: T201 (a script)
from __future__ import annotations

import argparse
import json
import logging
import sys
import time
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
    "none": {"WEND.REFINE": "none"},
    "average": {"WEND.REFINE": "average"},
    "soft": {"WEND.REFINE": "soft"},
    "replace": {"WEND.REFINE": "replace"},
    "replace, half": {"WEND.REFINE": "replace", "WEND.TEACHER.SCORE_QUANTILE": "0.5"},
}


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
        if self.teacher is not None:
            teach = self.teacher.teach

            def recorded(images, frames, given):
                self.lessons = (given, teach(images, frames, given))
                return self.lessons[1]

            self.teacher.teach = recorded

    def _step(self, iteration, batch):
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
        for example, predicted in zip(batch, predict(model, images, frames, run.cfg), strict=True):
            detections.add(example.image_id, *predicted)
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
    parser.add_argument("--decay", type=float, default=0.99)
    parser.add_argument("opts", nargs="*", help="KEY VALUE ..., of every training")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    toy = yaml.safe_load((Path(__file__).parent / "toy.yaml").read_text(encoding="utf-8"))
    folder, _ = make_data(arguments.output, arguments.noise, toy)
    common = {**toy["common"], **toy["detectors"]["BinaryFCOS"]}
    common |= {"SOLVER.MAX_ITER": arguments.iterations, "WEND.PROTOCOLS": "('original',)"}
    common |= {"WEND.EMA.DECAY": arguments.decay, "WEND.TEACHER.ENABLED": "True"}
    for seed in arguments.seeds:
        for name in arguments.methods:
            entries = {**common, **METHODS[name], "SEED": seed, "WEND.LOSS": "none"}
            entries |= {"WEND.ETA": "1.0", "OUTPUT_DIR": str(arguments.output / "runs")}
            cfg = get_cfg()
            options = [str(part) for pair in entries.items() for part in pair]
            merge_config(cfg, "CUB/fcos_R50", [*options, *arguments.opts], "")
            run = resolve(cfg, DataSets(str(folder)))
            torch.manual_seed(seed)
            trainer = Measured(run, build_model(run.cfg))
            trainer.resume_or_load(resume=False)
            (arguments.output / "runs").mkdir(parents=True, exist_ok=True)
            start = time.process_time()
            trainer._evaluate = lambda iteration: {}
            trainer.train()
            given, refined = np.array(trainer.ious).T
            line = {
                "method": name,
                "seed": seed,
                "weights": round(score(run, trainer.model), 1),
                "average": round(score(run, trainer.average.average), 1),
                "given_right": round(100 * float((given > 0.5).mean()), 1),
                "refined_right": round(100 * float((refined > 0.5).mean()), 1),
                "given_iou": round(float(given.mean()), 3),
                "refined_iou": round(float(refined.mean()), 3),
                "cpu_seconds": round(time.process_time() - start),
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
