"""Training and evaluation on torchvision's detectors, in one process or as one of several."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fvcore.common.config import CfgNode
from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    CosineParamScheduler,
    LinearParamScheduler,
    ParamScheduler,
)
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from wend.config import teaching_of
from wend.errors import NonFiniteLossError
from wend.evaluation.best import flat
from wend.evaluation.collect import DetectionCollector
from wend.evaluation.curve import Results
from wend.event_sinks import OpenSinks
from wend.files import writing
from wend.loading.bad_images import say_wrong
from wend.losses import ForceLog, tell_progress
from wend.modeling.arithmetic import compile_backbone, precision_of
from wend.modeling.feature_cache import remember_frozen
from wend.modeling.optimizer import lr_factor, on_host, optimizer_class
from wend.processes import (
    broadcast,
    gather_on_main,
    is_main,
    rank,
    world_size,
)
from wend.randomness import seed_step
from wend.run import Run, check_shares
from wend.run_files import LOSSES_FILE, evaluation_folder
from wend.schedules import Progress
from wend.teaching.ema import WeightAverage, share_average
from wend.training.accumulation import Accumulation
from wend.training.continuation import Continuation
from wend.training.first_epoch import count_first_epoch
from wend.training.held_out import held_out_losses
from wend.training.interruption import Interruption
from wend.training.loss_scale import LossScale
from wend.training.memory import in_evaluation, in_step
from wend.training.micro_batches import settle_micro_batches
from wend.training.normalizers import Normalizers
from wend.training.run_folder import trained_in
from wend.training.seed import share_seed
from wend.training.step_check import StepCheck
from wend.tv.checkpointer import PeriodicSaving, TVCheckpointer
from wend.tv.dataset import (
    Example,
    build_held_out_loader,
    build_test_loader,
    build_train_loader,
    images_on,
    training_images,
)
from wend.tv.inference import predict
from wend.tv.models import leaves_parts_unused
from wend.tv.teaching import build_teacher, taught

logger = logging.getLogger(__name__)
LOG_PERIOD = 20  # iterations, as Detectron2
NORM_LAYERS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """``WEND.OPTIMIZER``; the head at WEND.HEAD_LR_FACTOR times the backbone's rate."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for module_name, module in model.named_modules():
        is_norm = isinstance(module, NORM_LAYERS)
        decay = cfg.SOLVER.WEIGHT_DECAY_NORM if is_norm else cfg.SOLVER.WEIGHT_DECAY
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                factor = lr_factor(f"{module_name}.{name}", cfg.WEND.HEAD_LR_FACTOR)
                groups.setdefault((factor, decay), []).append(parameter)
    optimizer, arguments = optimizer_class(cfg)
    return optimizer(
        [
            {"params": parameters, "lr": cfg.SOLVER.BASE_LR * factor, "weight_decay": decay}
            for (factor, decay), parameters in groups.items()
        ],
        **arguments,
    )


def lr_multiplier(cfg: CfgNode) -> ParamScheduler:
    """Linear warm-up into a cosine, over 0..1 of the training, as Detectron2's WarmupCosineLR."""
    solver = cfg.SOLVER
    cosine = CosineParamScheduler(1.0, solver.BASE_LR_END / solver.BASE_LR)
    warmup = solver.WARMUP_ITERS / solver.MAX_ITER
    if not warmup:
        return cosine
    linear = LinearParamScheduler(solver.WARMUP_FACTOR * cosine(0.0), cosine(warmup))
    return CompositeParamScheduler(
        [linear, cosine],
        interval_scaling=["rescaled", "fixed"],
        lengths=[warmup, 1 - warmup],
    )


def gradients_shared(model: nn.Module) -> Callable[..., Any]:
    """The model's forward in training, after which all processes have the mean of gradients.

    Buffers stay each process's own: the statistics of its images.
    """
    if world_size() == 1:
        return model
    device = next(model.parameters()).device
    return DistributedDataParallel(
        model,
        device_ids=[torch.cuda.current_device()] if device.type == "cuda" else None,
        broadcast_buffers=False,
        find_unused_parameters=leaves_parts_unused(model),
    )


class MicroBatch(NamedTuple):
    """What torchvision's detectors learn from: the crops of a micro-batch, and their targets."""

    images: list[Tensor]
    targets: list[dict[str, Any]]


class Trainer:
    """Trains the detector of a config, evaluating and saving as its schedule says.

    Args:
        run: the config with its data, resolved for training.
        model: the detector, as :func:`wend.tv.models.build_model` makes it.
    """

    def __init__(self, run: Run, model: nn.Module) -> None:
        assert run.training is not None
        share_seed(run.cfg)
        self.run, self.cfg, self.training = run, run.cfg, run.training
        cfg = run.cfg
        self.model = model
        self._in_training = gradients_shared(model)
        settle_micro_batches(
            *([cfg], model, self.training.images, training_images(self.training, cfg)),
            lambda batch: model(*self._inputs(batch)),
        )
        check_shares(cfg, world_size())
        self.accumulation = Accumulation(model, cfg.WEND.ACCUMULATE)
        self.accumulation.sharing(self._in_training)
        ema, teaching = cfg.WEND.EMA, teaching_of(cfg)
        self.average = self.teacher = None
        if ema.DECAY:
            self.average = WeightAverage(model, ema.DECAY, ema.WARM_UP, evaluates=ema.EVALUATE)
            compile_backbone(self.average.average, cfg)
        if self.average is not None and teaching is not None:
            self.teacher = build_teacher(self.average, teaching)
        remember_frozen(model, cfg)
        if self.average is not None:
            remember_frozen(self.average.average, cfg)
        self.optimizer = build_optimizer(cfg, model)
        self.loss_scale = LossScale(model, self.optimizer, precision_of(cfg).training)
        multiplier = lr_multiplier(cfg)
        max_iter = cfg.SOLVER.MAX_ITER
        self.scheduler = LambdaLR(self.optimizer, lambda i: multiplier(min(i / max_iter, 1.0)))
        self.checkpointer = TVCheckpointer(
            model,
            cfg.OUTPUT_DIR,
            save_to_disk=is_main(),
            optimizer=self.optimizer,
            scheduler=self.scheduler,
        )
        self.held_out = build_held_out_loader(self.training, cfg)
        self.start_iter = 0
        self.interruption = Interruption()
        self.check = StepCheck(model, self.interruption)
        self.first_epoch = count_first_epoch(self.training, cfg, model)
        self.force_log = ForceLog(model, self.first_epoch.steps)
        self.loader = build_train_loader(self.training, cfg)
        self.continuation = Continuation(
            run,
            cfg,
            "torchvision",
            checkpointer=self.checkpointer,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            average=self.average,
            parts={
                "normalizers": Normalizers(model),
                "first_epoch": self.first_epoch,
                "skipped": self.loader,
                "loss_scale": self.loss_scale if self.loss_scale.is_used else None,
            },
            of_each_process={
                "force": self.force_log,
                "teacher": self.teacher,
            },
        )
        self.evaluations = self.continuation.evaluations

    def resume_or_load(self, *, resume: bool, allow_changes: bool = False) -> None:
        """Go on from OUTPUT_DIR's newest whole checkpoint, or load MODEL.WEIGHTS.

        See :meth:`wend.training.continuation.Continuation.resume_or_load`.
        """
        self.start_iter = self.continuation.resume_or_load(
            resume=resume, allow_changes=allow_changes
        )

    def _inputs(self, batch: list[Example]) -> tuple[list[Tensor], list[dict[str, Any]]]:
        """A batch as torchvision's detectors take it in training."""
        device = self.cfg.MODEL.DEVICE
        label = getattr(self.model, "foreground_label", 1)  # torchvision's labels begin at 1
        counts = [len(example.boxes) for example in batch]
        boxes, scores, labels = (
            each.to(device, non_blocking=True).split(counts)
            for each in (
                torch.cat([example.boxes for example in batch]),
                torch.cat([example.scores for example in batch]),
                torch.full((sum(counts),), label, dtype=torch.int64),
            )
        )
        targets = [
            {
                "boxes": boxes[index],
                "scores": scores[index],
                "labels": labels[index],
                "image_id": example.image_id,
            }
            for index, example in enumerate(batch)
        ]
        return [*images_on(device, [example.image for example in batch])], targets

    def _taught(self, batch: list[Example]) -> MicroBatch:
        images, targets = self._inputs(batch)
        if self.teacher is not None and self.teacher.has_begun:
            targets = taught(self.teacher, images, batch, targets)
        return MicroBatch(images, targets)

    def _losses(self, iteration: int, part: MicroBatch) -> dict[str, Tensor]:
        losses = self._in_training(*part)
        self.check.add(losses, [target["image_id"] for target in part.targets], iteration)
        return losses

    def _step(self, iteration: int, batch: list[Example]) -> dict[str, Tensor]:
        """The loss terms of a step; none where it was left out."""
        self.check.begin()
        self.first_epoch.add(example.counts for example in batch)
        tell_progress(self.model, iteration, self.cfg.SOLVER.MAX_ITER)
        if self.teacher is not None:
            self.teacher.progress = Progress(iteration, self.cfg.SOLVER.MAX_ITER)
        parts = [self._taught(part) for part in self.accumulation.parts(batch)]
        self.optimizer.zero_grad()
        self.loss_scale.begin()
        try:
            losses = self.accumulation.step(
                parts,
                at=(self.cfg.SEED, iteration),
                count=lambda part: self.model(*part),
                losses=partial(self._losses, iteration),
                backward=self.loss_scale.backward,
            )
            self.check.look()
        except NonFiniteLossError as error:
            self.loss_scale.skip(error)
            losses = {}
        else:
            self.loss_scale.step()
        self.scheduler.step()
        if self.average is not None:
            self.average.update()
            share_average(self.average)
        self.force_log.after_step()
        return losses

    def _numbers(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """A step's numbers for the log; waits for the device."""
        total = sum(losses.values())
        terms = {"total_loss": total, **losses} if isinstance(total, Tensor) else {}  # or left out
        values = dict(zip(terms, on_host([*terms.values()]), strict=True))
        of_teacher = {} if self.teacher is None else self.teacher.scalars()
        return {**values, **self.force_log.latest, **of_teacher, **self.loss_scale.scalars()}

    def train(self) -> Results:
        """Run the schedule; the last evaluation's metrics by data set and protocol."""
        cfg = self.cfg
        start = self.start_iter
        is_done = self.evaluations.are_over(start) and bool(self.evaluations.at(start))
        folder = cfg.OUTPUT_DIR
        with trained_in(folder, start, self.interruption, logs_are_whole=is_done):
            names = cfg.WEND.LOGGERS if is_main() and not is_done else ()
            self.sinks = OpenSinks(names, folder, cfg, start_iter=start)
            try:
                return self._go_on()
            finally:
                self.sinks.close()

    def _go_on(self) -> Results:
        """What is left to do of the training."""
        results = self._made_up()
        if self.evaluations.are_over(self.start_iter):
            self.continuation.finish(self.start_iter)
            return results
        if self.evaluations.have_ended:
            self.continuation.end_early(self.start_iter)
            return results
        return self._train()

    def _made_up(self) -> Results:
        """The evaluation that was due when the checkpoint to go on from was saved, made up."""
        done = self.start_iter
        if not done or not self.evaluations.is_due(done):
            return {}
        return self.evaluations.at(done) or self._evaluate(done)

    def _train(self) -> Results:
        cfg, max_iter = self.cfg, self.cfg.SOLVER.MAX_ITER
        saver = PeriodicSaving(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD, max_iter)
        self.loader.start_at(self.start_iter, cfg.SEED)
        batches = iter(self.loader)
        logger.info("iterations %d to %d", self.start_iter, max_iter - 1)
        self.model.train()
        start = time.perf_counter()
        results: Results = {}
        for iteration in range(self.start_iter, max_iter):
            seed_step(cfg.SEED, iteration, rank())
            batch = next(batches)
            with in_step(cfg):
                losses = self._step(iteration, batch)
            self.first_epoch.after_step(last=iteration + 1 == max_iter)
            done = iteration + 1 - self.start_iter
            if (iteration + 1) % LOG_PERIOD == 0 or iteration + 1 == max_iter:
                values = _mean_of_each(gather_on_main(self._numbers(losses)))
                if is_main():
                    self._log(iteration, values, (time.perf_counter() - start) / done)
            self.continuation.before_saving(iteration + 1)
            saver.step(iteration)
            self.interruption.end_if_asked(
                partial(self.continuation.save_unless_saved, iteration + 1)
            )
            if self.evaluations.is_due(iteration + 1):
                results = self._evaluate(iteration + 1)
            if self.evaluations.have_ended and iteration + 1 < max_iter:
                self.continuation.end_early(iteration + 1)
                break
        self.loader.exchange()
        self.loader.summarize()
        return results

    def _log(self, iteration: int, values: dict[str, float], seconds: float) -> None:
        rate = self.optimizer.param_groups[0]["lr"]
        eta = timedelta(seconds=int(seconds * (self.cfg.SOLVER.MAX_ITER - iteration - 1)))
        losses = "  ".join(f"{name}: {value:.4g}" for name, value in values.items())
        logger.info(
            "eta: %s  iter: %d  %s  time: %.3f  lr: %.4g", eta, iteration, losses, seconds, rate
        )
        numbers = {"lr": rate, "time": seconds, **values}
        self._write({"iteration": iteration, **numbers})
        self.sinks.add(numbers, iteration)

    def _write(self, numbers: dict[str, float]) -> None:
        path = Path(self.cfg.OUTPUT_DIR) / LOSSES_FILE
        with writing(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(numbers) + "\n")

    def _evaluate(self, iteration: int) -> Results:
        model = self.model if self.average is None else self.average.evaluated
        broadcast(list(self.model.buffers()))
        in_full = self.evaluations.may_be_last(iteration)
        with self.interruption.at_once(partial(self.continuation.save_unless_saved, iteration)):
            with in_evaluation(model):
                results = evaluate(self.run, model, in_full=in_full)
        held_out = self._held_out_losses(iteration, model)
        self.evaluations.add(iteration, {**results, **held_out})
        at_the_end = iteration >= self.cfg.SOLVER.MAX_ITER
        step = iteration if at_the_end else iteration - 1  # counted from 0, as Detectron2 does
        self.sinks.add({**_numbers(results), **flat(held_out)}, step)
        self.model.train()
        return results

    def _held_out_losses(self, iteration: int, model: nn.Module) -> Results:
        if self.held_out is None:
            return {}
        losses = held_out_losses(
            *(model, self.held_out, lambda batch: model(*self._inputs(batch))),
            *(iteration, self.cfg.SOLVER.MAX_ITER),
        )
        if is_main():
            self._write({"iteration": iteration - 1, **flat(losses)})
        return losses


def _mean_of_each(numbers: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each number, of the processes that have it."""
    names = dict.fromkeys(name for each in numbers for name in each)
    values = {name: [each[name] for each in numbers if name in each] for name in names}
    return {name: sum(each) / len(each) for name, each in values.items()}


def _numbers(results: Results) -> dict[str, float]:
    """Metrics as ``protocol/metric``, of several data sets as ``data set/protocol/metric``.

    So Detectron2 calls them, too.
    """
    if len(results) == 1:
        results = {"": next(iter(results.values()))}
    return flat(results)


def evaluate(
    run: Run, model: nn.Module, *, in_full: bool = True
) -> dict[str, dict[str, dict[str, float]]]:
    """Score the detector on each test set and write ``OUTPUT_DIR/inference/<data set>``.

    Args:
        in_full: whether the whole table is logged, or a line for each protocol.

    Returns:
        Data set -> protocol -> metric -> per cent; on the main process alone.
    """
    model.eval()
    cfg, results = run.cfg, {}
    quiet = None if is_main() else True  # None: where nobody looks
    for name, test in run.tests.items():
        detections, problems = DetectionCollector(test.data_set), []
        for batch in tqdm(build_test_loader(test, cfg), desc=name, leave=False, disable=quiet):
            images, frames = zip(*((e.image, e.frame) for e in batch), strict=True)
            readable = [not example.problem for example in batch]
            problems += [example.problem for example in batch if example.problem]
            detections.add_table(
                [example.image_id for example in batch],
                predict(model, images, frames, cfg),
                readable,
            )
        gathered = gather_on_main((detections.rows, problems))
        if not is_main():
            continue
        detections.rows, problems = (
            list(chain.from_iterable(each)) for each in zip(*gathered, strict=True)
        )
        output_dir = evaluation_folder(cfg.OUTPUT_DIR, name)
        say_wrong(name, problems, len(detections))
        evaluated = test.evaluation.run(detections.table(), output_dir, in_full=in_full)
        results[name] = {p: result.scalars() for p, result in evaluated.items()}
    return results
