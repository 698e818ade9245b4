"""How a training goes on from its checkpoints, what they hold for that, and when they are saved.

An engine saves by the clock (``SOLVER.CHECKPOINT_PERIOD``); all other checkpoints are saved here:
the best, the last of a training that ends early, and that of a step after which it is interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fvcore.common.config import CfgNode
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from wend.evaluation.best import BEST_KEY
from wend.modeling.initial_weights import initial_weights, say_random_frozen
from wend.processes import is_main, world_size
from wend.run import Run
from wend.run_files import BEST_WEIGHTS, FINAL_WEIGHTS
from wend.teaching.ema import STATE_KEY, WeightAverage, after_loading
from wend.training.asked_rates import AskedRates
from wend.training.checkpoints import RunCheckpointer
from wend.training.evaluations import Evaluations
from wend.training.facts import TRAINING_KEY, asked_of
from wend.training.seed import take_seed
from wend.training.space import warn_of_space
from wend.training.state import Part, TrainingState


class Continuation:
    """The state of a training, in its checkpoints and out of them.

    Iterations are counted as done: a checkpoint of iteration 9 is that of 10 iterations.

    Args:
        run: the run, resolved.
        cfg: the engine's config of it.
        engine: the engine's name.
        checkpointer: with the model, the optimizer and the schedule.
        optimizer, scheduler: as the config has made them.
        average: of the weights, where the training has one.
        parts: what else changes while it goes on, by name.
        of_each_process: such parts of which each process has its own.

    Attributes:
        evaluations: what follows from the training's evaluations.
    """

    def __init__(
        self,
        run: Run,
        cfg: CfgNode,
        engine: str,
        *,
        checkpointer: RunCheckpointer,
        optimizer: Optimizer,
        scheduler: LRScheduler,
        average: WeightAverage | None,
        parts: Mapping[str, Part | None],
        of_each_process: Mapping[str, Part | None],
    ) -> None:
        self.run, self.cfg, self.engine = run, cfg, engine
        self.checkpointer: Any = checkpointer  # fvcore's attributes are none of the mixin's
        self.optimizer, self.scheduler, self.average = optimizer, scheduler, average
        self.evaluations = Evaluations(cfg, self.save_best)
        self.state = TrainingState(_there(parts), _there(of_each_process))
        add = self.checkpointer.add_checkpointable
        if average is not None:
            add(STATE_KEY, average)
            checkpointer.saved_model = average.evaluated
        if self.evaluations.best is not None:
            add(BEST_KEY, self.evaluations)
        add(TRAINING_KEY, self.state)
        self._state_what_it_is()
        if is_main():
            averaged = average is not None
            warn_of_space(cfg, self.checkpointer.model, optimizer, averaged=averaged)

    def _state_what_it_is(self) -> None:
        """Let checkpoints say what the training is."""
        asked = asked_of(self.run, self.engine, processes=world_size())
        self.checkpointer.asked, self.checkpointer.origin = asked, asked.origin

    def resume_or_load(self, *, resume: bool, allow_changes: bool) -> int:
        """Go on from OUTPUT_DIR's newest whole checkpoint, or load MODEL.WEIGHTS.

        Args:
            resume: whether to go on with the training of OUTPUT_DIR, if there is one.
            allow_changes: whether it may be another one than the config's.

        Returns:
            Iterations that are done.

        Raises:
            InputError: it is, and that is not allowed; or the checkpoints are all damaged.
        """
        resumes = resume and self.checkpointer.has_checkpoint()
        if not resumes:
            say_random_frozen(self.cfg)
        weights = "" if resumes else initial_weights(self.cfg)
        self.checkpointer.allow_changes = allow_changes
        rates = AskedRates(self.optimizer, self.scheduler)
        rest = self.checkpointer.resume_or_load(weights, resume=resume)
        done = 0
        if resumes:
            done = rest["iteration"] + 1
            rates.restore(self.checkpointer.changed)
            seed = self.state.saved.get("seed")
            if self.run.seed_was_drawn and seed is not None:  # the config leaves it open
                for cfg in (self.run.cfg, self.cfg):
                    take_seed(cfg, seed)
                self._state_what_it_is()
            self.evaluations.resume(done)
        after_loading(self.average, rest, resumed=resumes)
        return done

    def is_saved(self, done: int) -> bool:
        """Whether the engine saves a checkpoint of itself after so many iterations."""
        return done >= self.cfg.SOLVER.MAX_ITER or done % self.cfg.SOLVER.CHECKPOINT_PERIOD == 0

    def before_saving(self, done: int) -> None:
        """Let processes tell each other what they counted, where a checkpoint follows; all call it.

        Args:
            done: iterations that are done.
        """
        if self.is_saved(done):
            self.state.exchange()

    def save_unless_saved(self, done: int) -> None:
        """Save a checkpoint after so many iterations, unless the engine does; all call it."""
        if not self.is_saved(done):
            self._save(self.checkpointer.save, f"model_{done - 1:07d}", done)

    def save_best(self, done: int) -> None:
        """Save the checkpoint of the best evaluation; all processes call it."""
        self._save(self.checkpointer.write, BEST_WEIGHTS.removesuffix(".pth"), done)

    def end_early(self, done: int) -> None:
        """Save the last checkpoint of a training that ends before its time; all call it."""
        self.evaluations.say_end(done)
        self._save(self.checkpointer.save, FINAL_WEIGHTS.removesuffix(".pth"), done)

    def finish(self, done: int) -> None:
        """Say that a training that is resumed is finished, and write what its end did not come to.

        All processes call it.
        """
        self.evaluations.say_finished(done)
        if is_main():
            self.checkpointer.finish()

    def _save(self, write: Callable[..., Any], name: str, done: int) -> None:
        self.state.exchange()
        if self.checkpointer.save_to_disk:
            write(name, iteration=done - 1)


def _there(parts: Mapping[str, Part | None]) -> dict[str, Part]:
    """The parts that the training has."""
    return {name: part for name, part in parts.items() if part is not None}
