"""What becomes of a training's evaluations: the curve, the best checkpoint, and the early end.

An engine evaluates; what follows from the numbers happens here, on all processes alike. The row of
``curve.csv`` is written last: an evaluation that has one is done, with all that follows from it,
and one that was cut off is made up when the training is resumed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from wend.errors import InputError
from wend.evaluation.best import HELD_OUT, TOTAL, Best, find_number, known_numbers
from wend.evaluation.curve import Results, append_to_curve, read_results
from wend.evaluation.evaluation import Evaluation
from wend.processes import gather, is_main
from wend.run_files import BEST_WEIGHTS, CURVE_FILE

logger = logging.getLogger(__name__)


def check_best(cfg: CfgNode, evaluations: Iterable[Evaluation]) -> None:
    """Raise InputError where ``WEND.KEEP_BEST`` names no number that is going to be computed.

    Args:
        cfg: resolved.
        evaluations: of the test sets.
    """
    name = cfg.WEND.KEEP_BEST
    if not name:
        return
    if cfg.TEST.EVAL_PERIOD <= 0:
        raise InputError(
            "config entry WEND.KEEP_BEST: with TEST.EVAL_PERIOD 0 there is one evaluation, at the "
            "end of the training, and nothing to choose from; set TEST.EVAL_PERIOD, or "
            "WEND.KEEP_BEST ''"
        )
    known = [*known_numbers(evaluations), *([TOTAL] if cfg.WEND.HELD_OUT else [])]
    if not name.startswith(f"{HELD_OUT}/"):  # terms of the loss have the detector's own names
        find_number(name, known)


class Evaluations:
    """Follows up a training's evaluations.

    Args:
        cfg: resolved.
        keep: saves the checkpoint :data:`BEST_WEIGHTS` after so many iterations; all processes call
            it.

    Attributes:
        best: the best evaluation so far; None without ``WEND.KEEP_BEST``.
        had_ended: whether a training that is resumed had ended early, with all that is done then.
    """

    def __init__(self, cfg: CfgNode, keep: Callable[[int], None]) -> None:
        self.cfg, self.keep = cfg, keep
        self.path = Path(cfg.OUTPUT_DIR) / CURVE_FILE
        self.best = Best(cfg.WEND.KEEP_BEST) if cfg.WEND.KEEP_BEST else None
        self._patience = cfg.WEND.EARLY_STOPPING
        self.had_ended = False
        self._state: dict[str, Any] = {}

    @property
    def have_ended(self) -> bool:
        """Whether the training ends because the best evaluation is too long ago."""
        return bool(self.best and self._patience and self.best.without >= self._patience)

    def are_over(self, iteration: int) -> bool:
        """Whether a training that goes on after so many iterations has no step left to take."""
        return iteration >= self.cfg.SOLVER.MAX_ITER or self.had_ended

    def may_be_last(self, iteration: int) -> bool:
        """Whether the evaluation after so many iterations may be the last, to be told in full."""
        runs_out = self.best and self._patience and self.best.without + 1 >= self._patience
        return bool(iteration >= self.cfg.SOLVER.MAX_ITER or runs_out)

    def is_due(self, iteration: int) -> bool:
        """Whether there is an evaluation after so many iterations."""
        period, last = self.cfg.TEST.EVAL_PERIOD, self.cfg.SOLVER.MAX_ITER
        return iteration >= last or (0 < iteration and 0 < period and iteration % period == 0)

    def add(self, iteration: int, results: Results) -> None:
        """Follow up an evaluation; all processes call it.

        Args:
            iteration: iterations that are done.
            results: its numbers, on the main process; what the others have is not looked at.

        Raises:
            InputError: no evaluation has had the number of ``WEND.KEEP_BEST``.
        """
        before = None if self.best is None else (self.best.value, self.best.iteration)
        (error, is_best), *_ = gather(self._compared(iteration, results))
        if error is not None:
            raise InputError(error)
        if self.best is not None:
            self.best.load_state_dict(gather(self.best.state_dict())[0])
            if is_best:
                self.keep(iteration)
            self._say(is_best, before)
        if is_main() and any(results.values()):
            by_epoch = self.cfg.WEND.EPOCHS and self.cfg.TEST.EVAL_PERIOD > 0
            epoch = iteration / self.cfg.TEST.EVAL_PERIOD if by_epoch else 0
            append_to_curve(self.path, iteration, epoch, results)

    def _compared(self, iteration: int, results: Results) -> tuple[str | None, bool]:
        """Why the evaluation cannot be compared, and whether it is the best one."""
        if self.best is None or not is_main():
            return None, False
        try:
            return None, self.best.tell(iteration, results)
        except InputError as error:
            return str(error), False

    def _say(self, is_best: bool, before: tuple[float | None, int] | None) -> None:
        best = self.best
        assert best is not None
        if is_best:
            value, at = before or (None, 0)
            was = "" if value is None else f"; before it was {value:.6g}, after {at}"
            logger.info(
                "%s: %s is %.6g after %d iterations, the best so far%s",
                *(BEST_WEIGHTS, best.name, best.value, best.iteration, was),
            )
        elif best.value is None:
            logger.warning("%s has had no finite value yet: there is no best", best.name)
        else:
            logger.info(
                "%s: the best is %.6g, after %d iterations; evaluations since without a better "
                "one: %d%s",
                *(best.name, best.value, best.iteration, best.without),
                f" of {self._patience}" if self._patience else "",
            )

    def say_finished(self, iteration: int) -> None:
        """Log that a training that is resumed has nothing left to do but perhaps an evaluation."""
        last = self.cfg.SOLVER.MAX_ITER
        logger.info(
            "%s: this training is finished: it has taken %d of %d iterations%s",
            *(self.cfg.OUTPUT_DIR, iteration, last),
            "" if iteration >= last else f" (WEND.EARLY_STOPPING {self._patience})",
        )

    def say_end(self, iteration: int) -> None:
        """Log that the training ends early, in one line."""
        best = self.best
        assert best is not None
        logger.info(
            "WEND.EARLY_STOPPING %d: the training ends after %d of %d iterations; %s was best "
            "after %d iterations (%s)",
            *(self._patience, iteration, self.cfg.SOLVER.MAX_ITER, best.name, best.iteration),
            "never finite" if best.value is None else f"{best.value:.6g}",
        )

    def state_dict(self) -> dict[str, Any]:
        """The entry :data:`wend.evaluation.best.BEST_KEY` of a checkpoint."""
        return {} if self.best is None else self.best.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take :meth:`state_dict` of a checkpoint; :meth:`resume` goes on from it."""
        self._state = dict(state)

    def resume(self, iteration: int) -> None:
        """Go on from the checkpoint whose state was loaded; all processes call it.

        Evaluations that came after the checkpoint was written, and are in the curve, count.

        Args:
            iteration: iterations that are done.
        """
        if self.best is None:
            return
        if self._state.get("name") != self.best.name:
            saved = self._state.get("name")
            logger.warning(
                "the checkpoint was saved %s: the best evaluation is chosen from those that come "
                "from now on",
                f"with WEND.KEEP_BEST {saved}" if saved else "without WEND.KEEP_BEST",
            )
            self.best.evaluated = iteration - 1  # the one that is due here counts
            return
        self.best.load_state_dict(self._state)
        self.had_ended = self.have_ended
        if is_main():
            for done, results in sorted(read_results(self.path).items()):
                if done <= iteration:
                    self.best.tell(done, results)
        self.best.load_state_dict(gather(self.best.state_dict())[0])

    def at(self, iteration: int) -> Results:
        """The numbers of the evaluation after so many iterations; empty where it is not done.

        All processes call it and get the same.
        """
        results = read_results(self.path).get(iteration, {}) if is_main() else {}
        return gather(results)[0]
