"""Detectron2's trainer with WEND's mapper, evaluator, learning rates and checks; no loss here."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.data.samplers import TrainingSampler
from detectron2.engine import (
    AMPTrainer,
    DefaultTrainer,
    SimpleTrainer,
    TrainerBase,
    create_ddp_model,
    hooks,
)
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from wend.d2.catalog import MappedImages
from wend.d2.evaluator import WSOLEvaluator
from wend.d2.features import leaves_parts_unused
from wend.d2.mapper import WSOLDatasetMapper
from wend.errors import InputError
from wend.evaluation.evaluation import CURVE_FILE, append_to_curve
from wend.loading.bad_images import (
    TEST_TO_DO,
    GuardedImages,
    GuardedLoader,
    most_to_skip,
    quarantined,
)
from wend.loading.fill_cache import open_caches
from wend.loading.selection import shuffled
from wend.losses import tell_progress
from wend.modeling.optimizer import (
    describe_non_finite,
    lr_factor,
    optimizer_class,
    refuse_non_finite,
)
from wend.modeling.weights import CheckedLoading
from wend.user_code import is_raised_by_own

logger = logging.getLogger(__name__)
KEPT_CHECKPOINTS = 2  # besides model_final.pth; 50 epochs of the paper's head would take 40 GB


class WENDCheckpointer(CheckedLoading, DetectionCheckpointer):
    """Detectron2's checkpointer that also reads torchvision's names and refuses a wrong file."""


class ShuffledPasses(TrainingSampler):
    """Detectron2's sampler and its order, without its list of a whole pass in each worker."""

    def _infinite_indices(self) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(self._seed)
        while True:
            yield from shuffled(self._size, generator)


class LostBoxCounter:
    """A training loader that counts the boxes that random crops cut off (this process's).

    Args:
        loader: yields lists of :class:`WSOLDatasetMapper`'s dicts.
    """

    def __init__(self, loader: Iterable[list[dict[str, Any]]]) -> None:
        self.loader = loader
        self.num_boxes = 0
        self.num_lost = 0

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        for batch in self.loader:
            lost = sum(one["num_lost_boxes"] for one in batch)
            self.num_lost += lost
            self.num_boxes += lost + sum(len(one["instances"]) for one in batch)
            get_event_storage().put_scalar("data/lost_boxes", lost)
            yield batch


def guard_losses(model: nn.Module) -> None:
    """Make a detector in training end, on every process and before the step, on a loss that is NaN.

    The message names the terms and the images of the batch. NaN in a prediction can also end in an
    assertion inside fvcore's or Detectron2's losses; that is told in the same way.

    Args:
        model: takes a batch of :class:`WSOLDatasetMapper`'s dicts and returns loss terms.
    """
    forward = model.forward

    def guarded(batch: list[dict[str, Any]]) -> Any:
        if not model.training:
            return forward(batch)
        image_ids = [one["image_id"] for one in batch]
        losses: dict[str, Tensor] = {}
        try:
            losses = forward(batch)
            found = describe_non_finite(losses, image_ids)
        except (AssertionError, FloatingPointError) as error:
            if isinstance(error, AssertionError) and is_raised_by_own(error):
                raise
            ids = ", ".join(map(str, image_ids))
            found = f"{type(error).__name__} in the losses ({error}) on the images {ids}"
        on_any = torch.tensor(float(bool(found)), device=next(model.parameters()).device)
        if comm.get_world_size() > 1:
            torch.distributed.all_reduce(on_any)
        if on_any:
            refuse_non_finite(comm.all_gather(found), f"iteration {get_event_storage().iter}")
        return losses

    model.forward = guarded


def share_buffers(model: nn.Module) -> None:
    """Give all processes the first one's buffers, which are those of the checkpoints.

    The statistics of batch norm differ between processes: each sees other images.
    """
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, 0)


class Trainer(DefaultTrainer):
    """The head at ``WEND.HEAD_LR_FACTOR`` times the backbone's rate, evaluation by epochs.

    Args:
        cfg: its schedule in iterations (:func:`wend.modeling.optimizer.resolve_schedule`).
    """

    def __init__(self, cfg: CfgNode) -> None:
        # Not DefaultTrainer.__init__: it gives DDP a device, which DDP refuses for a CPU model.
        TrainerBase.__init__(self)
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        guard_losses(model)
        optimizer = self.build_optimizer(cfg, model)
        self.loader = LostBoxCounter(self.build_train_loader(cfg))
        on_cpu = torch.device(cfg.MODEL.DEVICE).type == "cpu"
        model = create_ddp_model(
            model,
            broadcast_buffers=False,
            find_unused_parameters=leaves_parts_unused(model),
            **({"device_ids": None} if on_cpu else {}),
        )
        engine = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        self._trainer = engine(model, self.loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = WENDCheckpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

    def build_hooks(self) -> list[hooks.HookBase | None]:
        """Detectron2's hooks; the last two checkpoints are kept, evaluations go to a curve."""
        cfg = self.cfg
        mine = {
            hooks.PeriodicCheckpointer: hooks.PeriodicCheckpointer(
                self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD, max_to_keep=KEPT_CHECKPOINTS
            ),
            hooks.EvalHook: hooks.EvalHook(cfg.TEST.EVAL_PERIOD, self.test_for_curve),
        }
        return [mine.get(type(hook), hook) for hook in super().build_hooks()]

    def run_step(self) -> None:
        """Detectron2's, after the losses were told how far the training is."""
        tell_progress(self.model, self.iter, self.max_iter)
        super().run_step()

    def test_for_curve(self) -> dict[str, Any]:
        """Evaluate, and add the metrics to ``OUTPUT_DIR/curve.csv``."""
        share_buffers(self.model)
        results = self.test(self.cfg, self.model)
        self._last_eval_results = results
        if comm.is_main_process():
            names = self.cfg.DATASETS.TEST
            by_dataset = {names[0]: results} if len(names) == 1 else results
            iteration = min(self.iter + 1, self.max_iter)  # after training iter is max_iter
            epoch = iteration / self.cfg.TEST.EVAL_PERIOD if self.cfg.WEND.EPOCHS else 0
            for name, metrics in by_dataset.items():
                path = f"{self.cfg.OUTPUT_DIR}/{CURVE_FILE}"
                append_to_curve(path, iteration, epoch, name, metrics)
        return results

    def after_train(self) -> None:
        """Say how many boxes the crops cut off."""
        super().after_train()
        lost, total = self.loader.num_lost, self.loader.num_boxes
        logger.info("random crops cut off %d of %d training boxes (first process)", lost, total)
        guard = self.loader.loader
        if isinstance(guard, GuardedLoader):
            if self.iter >= self.max_iter:  # all processes come here, none was ended by an error
                guard.exchange()
            guard.summarize()

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """``WEND.OPTIMIZER`` with two learning rates; frozen parameters are left out."""
        factor = cfg.WEND.HEAD_LR_FACTOR
        params = get_default_optimizer_params(
            model,
            base_lr=cfg.SOLVER.BASE_LR,
            weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
            bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
            weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
            lr_factor_func=lambda name: lr_factor(name, factor),
        )
        optimizer, arguments = optimizer_class(cfg)
        return maybe_add_gradient_clipping(cfg, optimizer)(params, **arguments)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[list[dict[str, Any]]]:
        """Detectron2's loader with :class:`WSOLDatasetMapper`, on images looked up one by one."""
        caches = open_caches(cfg.WEND.DATA.CACHE, cfg.DATASETS.TRAIN, cfg.WEND.RESIZE)
        mapper = WSOLDatasetMapper(cfg, is_train=True, caches=caches)
        with_boxes = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
        if cfg.DATALOADER.SAMPLER_TRAIN != "TrainingSampler":  # these look through all dicts
            if cfg.WEND.DATA.QUARANTINE or cfg.WEND.DATA.ON_BAD_IMAGE != "raise":
                raise InputError(
                    f"config entry DATALOADER.SAMPLER_TRAIN: WEND.DATA.QUARANTINE and "
                    f"ON_BAD_IMAGE skip need TrainingSampler, got {cfg.DATALOADER.SAMPLER_TRAIN!r}"
                )
            return build_detection_train_loader(cfg, mapper=mapper, aspect_ratio_grouping=False)
        images = MappedImages(
            cfg.DATASETS.TRAIN, mapper, with_boxes=with_boxes, leave_out=quarantined(cfg)
        )
        most = most_to_skip(cfg, len(images))
        loader = build_detection_train_loader(
            dataset=GuardedImages(images, most, cfg.WEND.IMPORTS),
            mapper=None,
            sampler=ShuffledPasses(len(images), seed=cfg.SEED),
            total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
            aspect_ratio_grouping=False,  # crops are square; grouping would send images one by one
            num_workers=cfg.DATALOADER.NUM_WORKERS,
        )
        return GuardedLoader(
            loader,
            total=len(images),
            most=most,
            what=", ".join(cfg.DATASETS.TRAIN),
            gather=comm.all_gather if comm.get_world_size() > 1 else None,
        )

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[list[dict[str, Any]]]:
        """Detectron2's loader with :class:`WSOLDatasetMapper`."""
        caches = open_caches(cfg.WEND.DATA.CACHE, [dataset_name], cfg.WEND.RESIZE)
        wrong = cfg.WEND.DATA.ON_BAD_TEST_IMAGE == "wrong"
        mapper = WSOLDatasetMapper(cfg, is_train=False, caches=caches, black_if_bad=wrong)
        images = MappedImages([dataset_name], mapper, with_boxes=False)
        loader = build_detection_test_loader(
            dataset=GuardedImages(images, imports=cfg.WEND.IMPORTS),
            mapper=None,
            num_workers=cfg.DATALOADER.NUM_WORKERS,
            batch_size=cfg.WEND.TEST_BATCH,
        )
        return GuardedLoader(loader, total=len(images), what=dataset_name, to_do=TEST_TO_DO)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> WSOLEvaluator:
        """The WSOL metrics."""
        return WSOLEvaluator(cfg, dataset_name)
