"""What WEND adds to Detectron2's loop: sinks of numbers, and how a training ends."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable

from detectron2.config import CfgNode
from detectron2.engine import TrainerBase, hooks
from detectron2.utils.events import TensorboardXWriter

from wend.d2.log_window import PERIOD
from wend.errors import InputError
from wend.event_sinks import OpenSinks
from wend.files import is_refusal
from wend.launch import is_lost
from wend.training.interruption import Interruption


class EventSinksHook(hooks.HookBase):
    """Hands the storage's numbers to the sinks of ``WEND.LOGGERS``, as Detectron2's writers do.

    TensorBoard is not among them: Detectron2's own writer does the same.
    """

    def __init__(self, cfg: CfgNode) -> None:
        self._cfg = cfg
        self._names = [name for name in cfg.WEND.LOGGERS if name != "tensorboard"]
        self._last_write = -1

    def before_train(self) -> None:
        """Open the sinks."""
        start = self.trainer.first_line
        self._sinks = OpenSinks(self._names, self._cfg.OUTPUT_DIR, self._cfg, start_iter=start)

    def after_step(self) -> None:
        """Hand on what came since the last time."""
        done = self.trainer.iter + 1
        if done % PERIOD == 0 or done == self.trainer.max_iter:
            self._write()

    def after_train(self) -> None:
        """Hand on the rest, such as the last evaluation's, and close the sinks."""
        self._write()
        self._sinks.close()

    def _write(self) -> None:
        by_step: dict[int, dict[str, float]] = {}
        latest = self.trainer.storage.latest_with_smoothing_hint(PERIOD)
        for name, (value, step) in latest.items():
            if step > self._last_write:
                by_step.setdefault(step, {})[name] = value
        for step, values in sorted(by_step.items()):
            self._sinks.add(values, step)
            self._last_write = step


class EndedEarlyError(Exception):
    """Takes Detectron2's loop to its end before all iterations are done."""


class EndsEarly(hooks.HookBase):
    """Ends the training after the evaluation that ``WEND.EARLY_STOPPING`` makes the last one."""

    def after_step(self) -> None:
        """Stands behind the evaluation and the writers."""
        if self.trainer.evaluations.have_ended and self.trainer.iter + 1 < self.trainer.max_iter:
            self.trainer.end_early()


class TensorBoardWriter(TensorboardXWriter):
    """Detectron2's, of which TensorBoard leaves out what an earlier start logged and comes again.

    Args:
        trainer: says which line of its log is the first to come, once that is known.
    """

    def __init__(self, trainer: TrainerBase) -> None:
        super().__init__(trainer.cfg.OUTPUT_DIR)
        self._trainer = weakref.proxy(trainer)

    def write(self) -> None:
        """Detectron2's."""
        start = self._trainer.first_line
        self._writer_args.update({"purge_step": start} if start > 0 else {})  # until it is open
        super().write()


class EndsWhenAsked(hooks.HookBase):
    """Ends the training after a step, once its checkpoint is saved, where a signal asked for it.

    Args:
        interruption: knows of the signal.
        save: saves a checkpoint of the step, unless there is one.
    """

    def __init__(self, interruption: Interruption, save: Callable[[], None]) -> None:
        self._interruption, self._save = interruption, save

    def after_step(self) -> None:
        """Stands behind the periodic checkpoint and before the evaluation."""
        self._interruption.end_if_asked(self._save)


class NoTraceback(logging.Filter):
    """Leaves out Detectron2's traceback of an error that the command line prints in a line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return True
        is_said = isinstance(error, InputError | EndedEarlyError)
        return not (is_said or is_refusal(error) or is_lost(error))
