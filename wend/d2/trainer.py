"""Detectron2's trainer with WEND's mapper, evaluator, learning rates and checks; no loss here."""

from __future__ import annotations

import inspect
import logging
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import (
    DefaultTrainer,
    SimpleTrainer,
    TrainerBase,
    create_ddp_model,
    hooks,
)
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from detectron2.utils.events import EventStorage, EventWriter, TensorboardXWriter
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from wend.config import check_carries_loss, check_config, teaching_of
from wend.d2.accumulation import AccumulatingTrainer, CheckedTrainer
from wend.d2.catalog import detectron2_data_sets
from wend.d2.checkpointer import PeriodicSaving, WENDCheckpointer
from wend.d2.config_checks import without_effect
from wend.d2.evaluation import check_results, evaluator_of, scored, test_data_of
from wend.d2.features import leaves_parts_unused
from wend.d2.frames import PredictsOnCrops, predict
from wend.d2.guard import Forward, guard_losses
from wend.d2.hooks import (
    EndedEarlyError,
    EndsEarly,
    EndsWhenAsked,
    EventSinksHook,
    NoTraceback,
    TensorBoardWriter,
)
from wend.d2.loaders import (
    CountedLoader,
    Mapper,
    held_out_images,
    test_loader,
    train_loader,
    training_images,
)
from wend.d2.log_window import PERIOD, LogWindow, end_lines_at
from wend.d2.teaching import build_teacher, lesson_of, let_teach
from wend.errors import InputError
from wend.evaluation.best import HELD_OUT
from wend.evaluation.curve import Results, as_in_curve
from wend.losses import ForceLog, tell_progress
from wend.modeling.arithmetic import compile_backbone, compute_as, precision_of
from wend.modeling.feature_cache import remember_frozen
from wend.modeling.initial_weights import settled
from wend.modeling.optimizer import lr_factor, optimizer_class
from wend.processes import broadcast, is_main, rank, world_size
from wend.randomness import seed_step
from wend.run import Run, check_shares, resolve, resolve_training
from wend.run_files import CONFIG_FILE
from wend.schedules import Progress
from wend.teaching.ema import WeightAverage, share_average
from wend.teaching.teacher import Teacher
from wend.training.accumulation import Accumulation
from wend.training.continuation import Continuation
from wend.training.first_epoch import count_first_epoch
from wend.training.held_out import held_out_losses
from wend.training.interruption import Interruption
from wend.training.loss_scale import LossScale
from wend.training.memory import in_step
from wend.training.micro_batches import settle_micro_batches
from wend.training.normalizers import Normalizers
from wend.training.rehearsal import rehearse
from wend.training.run_folder import clear, trained_in
from wend.training.seed import share_seed
from wend.training.step_check import StepCheck

logger = logging.getLogger(__name__)


def _predicting(
    model: nn.Module, forward: Forward, closer_look: float, batch: list[dict[str, Any]]
) -> Any:
    return forward(batch) if model.training else predict(forward, batch, closer_look)


def _alone(forward: Forward, batch: list[dict[str, Any]]) -> Any:
    """A model's losses, with what it puts into Detectron2's storage thrown away."""
    with EventStorage():
        return forward(batch)


class on_class_or_instance:  # noqa: N801  # used as a decorator, as classmethod is
    """A method that Detectron2 has as a classmethod of a config, and an instance knows more for.

    ``Trainer.build_test_loader(cfg, name)`` reads the data that the config names; a trainer has it
    resolved in ``self.run``. Users override the method as any classmethod of Detectron2's.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: type) -> Callable[..., Any]:
        return partial(self.function, owner if instance is None else instance)


class Trainer(DefaultTrainer):
    """The head at ``WEND.HEAD_LR_FACTOR`` times the backbone's rate, evaluation by epochs.

    Args:
        cfg: the config as ``train_net.py`` reads it; checked here, and epochs become iterations.
        run: the config, resolved; by default it is resolved here (:func:`wend.run.resolve`).
        mapper: maps training images, instead of :class:`WSOLDatasetMapper`; takes the dicts of
            ``DatasetCatalog``.
        overwrite: remove what an earlier training left in ``OUTPUT_DIR``; else :meth:`train`
            refuses to begin anew beside it.
    """

    run: Run | None = None
    mapper: Mapper | None = None
    in_full = True  # whether an evaluation logs the whole table, or a line for each protocol
    iter: int  # Detectron2's

    def __init__(
        self,
        cfg: CfgNode,
        run: Run | None = None,
        mapper: Mapper | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        # Not DefaultTrainer.__init__: it gives DDP a device, which DDP refuses for a CPU model.
        TrainerBase.__init__(self)
        if run is None:
            check_config(cfg)
            for message in without_effect(cfg):  # a script's own loaders may use them
                logger.warning(message)
            max_megapixels = cfg.WEND.DATA.MAX_MEGAPIXELS
            run = resolve(cfg, detectron2_data_sets(max_megapixels=max_megapixels))
            if self._evaluates_as_wend():
                rehearse(run)
        share_seed(run.cfg)
        self.run = run
        self.mapper = mapper
        if overwrite and is_main():
            clear(run.cfg, keep=(CONFIG_FILE, "log.txt*"))  # the script's own default_setup wrote
        cfg = DefaultTrainer.auto_scale_workers(self.run.cfg, world_size())
        model = self.build_model(cfg)
        check_carries_loss(cfg, model)
        self.average, self.teacher = self.build_average(cfg, model)
        self._evaluated = model if self.average is None else self.average.evaluated
        self._losses_of = self._evaluated.forward  # before it is guarded and taught
        assert run.training is not None
        settle_micro_batches(
            *([run.cfg, cfg], model, run.training.images),
            training_images(run.training, cfg, mapper),
            partial(_alone, model.forward),
        )
        remember_frozen(model, cfg)
        if self.average is not None:
            remember_frozen(self.average.average, cfg)
        check_shares(cfg, world_size())
        self.held_out = held_out_images(self.run.training, cfg, self.mapper)
        self.interruption = Interruption()
        unguarded = model.forward
        self.check = StepCheck(model, self.interruption)
        guard_losses(model, self.check)
        if self.teacher is not None and cfg.WEND.ACCUMULATE == 1:
            let_teach(model, self.teacher)
        optimizer = self.build_optimizer(cfg, model)
        self.check.before_steps_of(optimizer)
        self.loss_scale = LossScale(model, optimizer, precision_of(cfg).training)
        self.first_epoch = count_first_epoch(run.training, cfg, model)
        self.force_log = ForceLog(model, self.first_epoch.steps)
        self.loader = CountedLoader(self.build_train_loader(cfg), self.first_epoch)
        on_cpu = torch.device(cfg.MODEL.DEVICE).type == "cpu"
        own_gpu = None if on_cpu else [torch.cuda.current_device()]
        model = create_ddp_model(
            model,
            broadcast_buffers=False,
            find_unused_parameters=leaves_parts_unused(model),
            device_ids=own_gpu,
        )
        self._trainer = self._build_engine(cfg, model, unguarded, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = WENDCheckpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self.log_window = LogWindow()
        self.continuation = Continuation(
            run,
            cfg,
            "detectron2",
            checkpointer=self.checkpointer,
            optimizer=optimizer,
            scheduler=self.scheduler,
            average=self.average,
            parts={
                "normalizers": Normalizers(self.checkpointer.model),
                "first_epoch": self.first_epoch,
                "log": self.log_window,
                "skipped": self.loader.guard,
                "loss_scale": self.loss_scale if self.loss_scale.is_used else None,
            },
            of_each_process={"force": self.force_log, "teacher": self.teacher},
        )
        self.evaluations = self.continuation.evaluations
        self.start_iter = self.first_line = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

    def _build_engine(
        self, cfg: CfgNode, model: nn.Module, forward: Forward, optimizer: torch.optim.Optimizer
    ) -> SimpleTrainer:
        """Detectron2's trainer of single steps; ours in micro-batches and in float16.

        Args:
            model: the detector, in DistributedDataParallel where there are several processes.
            forward: its losses, before they are guarded and taught.
        """
        if cfg.WEND.ACCUMULATE == 1 and not self.loss_scale.is_used:
            return CheckedTrainer(model, self.loader, optimizer, check=self.check)
        trainer, teacher = weakref.proxy(self), self.teacher
        detector = model.module if isinstance(model, DistributedDataParallel) else model
        prepared: Callable[[Any], Any] = lambda batch: batch  # noqa: E731
        if teacher is not None and cfg.WEND.ACCUMULATE > 1:  # else the model is taught
            prepared = partial(lesson_of, teacher)
        return AccumulatingTrainer(
            *(model, self.loader, optimizer),
            check=self.check,
            accumulation=Accumulation(detector, cfg.WEND.ACCUMULATE),
            loss_scale=self.loss_scale,
            seed=lambda: trainer.cfg.SEED,
            prepared=prepared,
            count=forward,
        )

    @classmethod
    def _evaluates_as_wend(cls) -> bool:
        """Whether its evaluators are WEND's, whose numbers are known before the first one."""
        return all(
            inspect.getattr_static(cls, name) is vars(Trainer)[name]
            for name in ("test", "build_evaluator")
        )

    def resume_or_load(self, resume: bool = True, *, allow_changes: bool = False) -> None:
        """Detectron2's, with ``MODEL.WEIGHTS pretrained``, from the newest whole checkpoint.

        Args:
            resume: whether to go on with the training of OUTPUT_DIR, if there is one.
            allow_changes: whether it may be another one than the config's.

        Raises:
            InputError: it is, and that is not allowed; or the checkpoints are all damaged.
        """
        self.start_iter = self.continuation.resume_or_load(
            resume=resume, allow_changes=allow_changes
        )

    def state_dict(self) -> dict[str, Any]:
        """Detectron2's, also after the training, where its own counts an iteration more."""
        return {**super().state_dict(), "iteration": min(self.iter, self.max_iter - 1)}

    def build_hooks(self) -> list[hooks.HookBase | None]:
        """Detectron2's hooks; the last two checkpoints are kept, evaluations go to a curve."""
        cfg = self.cfg
        self._evaluation = hooks.EvalHook(cfg.TEST.EVAL_PERIOD, self.test_for_curve)
        mine = {
            hooks.PeriodicCheckpointer: PeriodicSaving(
                self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD
            ),
            hooks.EvalHook: self._evaluation,
        }
        ours = [mine.get(type(hook), hook) for hook in super().build_hooks()]
        evaluation = next(i for i, h in enumerate(ours) if isinstance(h, hooks.EvalHook))
        ours.insert(evaluation, EndsWhenAsked(self.interruption, self.save_unless_saved))
        ours += [EventSinksHook(cfg)] if is_main() else []
        return [*ours, EndsEarly()]

    def before_step(self) -> None:
        """Detectron2's, after the generators were seeded for this step."""
        seed_step(self.cfg.SEED, self.iter, rank())
        super().before_step()

    def after_step(self) -> None:
        """Detectron2's; before a checkpoint the processes tell each other what they counted."""
        done = self.iter + 1
        self.continuation.before_saving(done)
        super().after_step()

    def build_writers(self) -> list[EventWriter]:
        """Detectron2's; TensorBoard leaves out what comes again where the training goes on."""
        writers = super().build_writers()
        return [
            TensorBoardWriter(self) if type(writer) is TensorboardXWriter else writer
            for writer in writers
        ]

    @property
    def _done(self) -> int:
        """Iterations that are done; after the last one ``iter`` is ``max_iter``."""
        return min(self.iter + 1, self.max_iter)

    def save_unless_saved(self) -> None:
        """Save a checkpoint of the step that is done, unless its period has."""
        self.continuation.save_unless_saved(self._done)

    def run_step(self) -> None:
        """Detectron2's, after the losses were told how far the training is."""
        tell_progress(self.model, self.iter, self.max_iter)
        if self.teacher is not None:
            self.teacher.progress = Progress(self.iter, self.max_iter)
        with in_step(self.cfg):
            super().run_step()
        if self.average is not None:
            self.average.update()
            share_average(self.average)
        if (self.iter + 1) % PERIOD == 0 or self.iter + 1 == self.max_iter:
            taught = self.teacher.scalars() if self.teacher is not None else {}
            scalars = {**self.loss_scale.scalars(), **taught}
            self.storage.put_scalars(**scalars, smoothing_hint=False)
        for name, value in self.force_log.after_step().items():
            self.storage.put_scalar(name, value, smoothing_hint=False)  # not of every step
        self.first_epoch.after_step(last=self.iter + 1 >= self.max_iter)

    def test_for_curve(self) -> dict[str, Any]:
        """Evaluate, and add the metrics to ``OUTPUT_DIR/curve.csv``."""
        assert self.run is not None
        broadcast(list(self.model.buffers()))  # of norms: each process saw other images
        iteration = self._done
        self.in_full = self.evaluations.may_be_last(iteration)
        model = self.model if self.average is None else self.average.evaluated
        with self.interruption.at_once(self.save_unless_saved):
            results = self.test(self.cfg, model)
        self._last_eval_results = results
        held_out = self._held_out_losses(iteration)
        self.evaluations.add(iteration, {**self._by_data_set(results), **held_out})
        return self._logged(results, held_out)

    def _held_out_losses(self, iteration: int) -> Results:
        if self.held_out is None:
            return {}
        with EventStorage(iteration):  # what detectors put there is no step of the training
            return held_out_losses(
                self._evaluated, self.held_out, self._losses_of, iteration, self.max_iter
            )

    def _by_data_set(self, results: dict[str, Any]) -> Results:
        """The results of :meth:`test` with the data set's name also where there is one alone."""
        assert self.run is not None
        names = list(self.run.tests)
        return {names[0]: results} if len(names) == 1 else results

    def _find_what_is_left(self) -> None:
        """Look whether there are steps left to take, or their last evaluation to make."""
        done = self.start_iter
        self._is_finished = self.evaluations.are_over(done)
        self._evaluated_at_start = self.evaluations.at(done) if done else {}
        self._is_done = self._is_finished and bool(self._evaluated_at_start)
        known = self.log_window.first_line
        self.first_line = done if self._is_done or known is None else min(done, known)

    def before_train(self) -> None:
        """Detectron2's, with the log's numbers of a training that goes on.

        Then the evaluation that was due at the checkpoint is made up.
        """
        end_lines_at(self.storage, self.max_iter)
        if not self._is_done:
            self.log_window.restore(self.storage)
        super().before_train()
        done = self.start_iter
        results = self._evaluated_at_start
        if results:
            self._take_evaluation(results)
        elif done and self.evaluations.is_due(done) and done < self.max_iter:
            self._at_end_of(done, self._evaluation._do_eval)
        if not self._is_done and self.first_line < done:
            for hook in self._hooks:  # the line that was due at the checkpoint, if one was
                if isinstance(hook, hooks.PeriodicWriter | EventSinksHook):
                    self._at_end_of(done, hook.after_step)
        if self._is_finished:
            self.continuation.finish(done)
            if done < self.max_iter or self._is_done:
                self._hooks.remove(self._evaluation)
        if self.evaluations.had_ended:
            raise EndedEarlyError
        if self.evaluations.have_ended and not self._is_finished:
            self._at_end_of(done, self.end_early)

    def _take_evaluation(self, results: Results) -> None:
        """Go on after an evaluation that was made before, as ``curve.csv`` has it."""
        assert self.run is not None
        own = {name: results.get(name, {}) for name in self.run.tests}
        self._last_eval_results = own if len(own) > 1 else next(iter(own.values()))
        if not self._is_done:
            numbers = self._logged(self._last_eval_results, results)
            self.storage.put_scalars(**numbers, smoothing_hint=False, cur_iter=self.start_iter - 1)

    @staticmethod
    def _logged(results: dict[str, Any], others: Results) -> dict[str, float]:
        """An evaluation's numbers for the log, as ``curve.csv`` states them.

        Args:
            results: as of :meth:`test`.
            others: with the losses on held-out images, if there are any.
        """
        losses = {HELD_OUT: others[HELD_OUT][""]} if HELD_OUT in others else {}
        numbers = flatten_results_dict({**results, **losses})
        return {name: as_in_curve(value) for name, value in numbers.items()}

    def _at_end_of(self, iteration: int, do: Callable[[], None]) -> None:
        """Do what belongs to the end of a step, after so many iterations."""
        self.iter = self.storage.iter = iteration - 1
        do()
        self.iter = self.storage.iter = iteration

    def end_early(self) -> None:
        """End the training after this step as a finished one."""
        self.continuation.end_early(self.iter + 1)
        raise EndedEarlyError

    @staticmethod
    def build_average(
        cfg: CfgNode, model: nn.Module
    ) -> tuple[WeightAverage | None, Teacher | None]:
        """The average of a model's weights (``WEND.EMA``), and the teacher that it is."""
        ema, teaching = cfg.WEND.EMA, teaching_of(cfg)
        if not ema.DECAY:
            return None, None
        average = WeightAverage(model, ema.DECAY, ema.WARM_UP, evaluates=ema.EVALUATE)
        compile_backbone(average.average, cfg)
        return average, None if teaching is None else build_teacher(average, teaching)

    def train(self) -> dict[str, Any] | None:
        """Detectron2's; an error that the user can mend leaves no traceback in the log."""
        guard = self.loader.guard
        if guard is not None:
            guard.start_at(self.start_iter, self.cfg.SEED)
        elif self.start_iter > 0:
            logger.warning(
                "build_train_loader is your own: its order of images begins again, as after "
                "iteration 0; that of WEND's loader goes on (docs/detectron2.md)"
            )
        loop, no_traceback = logging.getLogger(TrainerBase.__module__), NoTraceback()
        loop.addFilter(no_traceback)
        try:
            self._find_what_is_left()
            with trained_in(
                *(self.cfg.OUTPUT_DIR, self.start_iter, self.interruption),
                logs_are_whole=self._is_done,
                first_line=self.first_line,
            ):
                # TorchScript, such as Detectron2's focal loss, would round otherwise in its first
                # calls than later, once it is optimized: a training that goes on would not be the
                # uninterrupted one
                with torch.jit.optimized_execution(False):
                    TrainerBase.train(self, self.start_iter, self.max_iter)
        except EndedEarlyError:
            pass
        finally:
            loop.removeFilter(no_traceback)
        if not (self.cfg.TEST.EXPECTED_RESULTS and is_main()):
            return None
        check_results(self.cfg, self._last_eval_results)
        return self._last_eval_results

    def after_train(self) -> None:
        """Detectron2's hooks, but no evaluation where a signal or the user's data ended it."""
        self.iter = min(self.iter, self.max_iter)  # Detectron2 counts on where no step was left
        if isinstance(sys.exc_info()[1], InputError | KeyboardInterrupt | OSError):
            self._hooks[:] = [hook for hook in self._hooks if not isinstance(hook, hooks.EvalHook)]
        super().after_train()
        guard = self.loader.guard
        if guard is not None:
            # all processes come here, none was ended by an error
            if self.iter >= self.max_iter or isinstance(sys.exc_info()[1], EndedEarlyError):
                guard.exchange()
            guard.summarize()

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Detectron2's; a detector that is not WEND's predicts in original pixels, too."""
        model = super().build_model(settled(cfg))
        if not isinstance(model, PredictsOnCrops):
            model.forward = partial(_predicting, model, model.forward, cfg.WEND.CLOSER_LOOK)
        compute_as(model, cfg)
        return model

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

    @on_class_or_instance
    def build_train_loader(self, cfg: CfgNode) -> Iterable[list[dict[str, Any]]]:
        """Detectron2's loader with :class:`WSOLDatasetMapper`, on images looked up one by one."""
        known = self.run.training if self.run else None
        return train_loader(
            known or resolve_training(cfg, detectron2_data_sets()), cfg, self.mapper
        )

    @on_class_or_instance
    def build_test_loader(self, cfg: CfgNode, dataset_name: str) -> Iterable[list[dict[str, Any]]]:
        """Detectron2's loader with :class:`WSOLDatasetMapper`."""
        return test_loader(test_data_of(self.run, cfg, dataset_name), cfg)

    @on_class_or_instance
    def build_evaluator(self, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """The WSOL metrics."""
        return evaluator_of(test_data_of(self.run, cfg, dataset_name), cfg, in_full=self.in_full)

    @on_class_or_instance
    def test(
        self,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: DatasetEvaluator | Sequence[DatasetEvaluator] | None = None,
    ) -> OrderedDict[str, Any]:
        """Evaluate a model on each of ``DATASETS.TEST``.

        Args:
            model: the detector with its weights.
            evaluators: an evaluator for each data set; by default :meth:`build_evaluator`'s.

        Returns:
            The evaluator's results; by data set where there are several.
        """
        names = cfg.DATASETS.TEST
        if self.run is not None and names == self.run.cfg.DATASETS.TEST:
            names = tuple(self.run.tests)
        if isinstance(evaluators, DatasetEvaluator):
            evaluators = [evaluators]
        if evaluators is not None and len(evaluators) != len(names):
            raise InputError(
                f"expected an evaluator for each of DATASETS.TEST {names}, got {len(evaluators)}"
            )
        tests = []
        for index, name in enumerate(names):
            loader = self.build_test_loader(cfg, name)
            evaluator = evaluators[index] if evaluators else self.build_evaluator(cfg, name)
            tests.append((name, loader, evaluator))
        return scored(model, tests)
