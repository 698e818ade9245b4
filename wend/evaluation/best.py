"""Which evaluation of a training is the best one: by one number, that its user names.

A number is named as logs name it: ``data set/protocol/metric``, or the end of that as far as no
other number ends so, such as ``psol-crop224/gt_known_loc`` or ``gt_known_loc``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wend.errors import InputError, did_you_mean, some
from wend.evaluation.curve import Results, as_in_curve
from wend.evaluation.evaluation import Evaluation
from wend.evaluation.metrics import METRICS, Metric, choose_metrics

BEST_KEY = "best"  # of checkpoints, and the metadata of model_best.safetensors: a Best's state
HELD_OUT = "held_out"  # stands for a data set in the names of losses on a held-out part
TOTAL = f"{HELD_OUT}/total_loss"
MOST_NAMES = 60  # in a message


def known_numbers(evaluations: Iterable[Evaluation]) -> dict[str, Metric]:
    """The numbers that evaluations are going to have, by their whole names."""
    known: dict[str, Metric] = {}
    for evaluation in evaluations:
        if not evaluation.has_truth:
            continue
        metrics = choose_metrics() if evaluation.metrics is None else evaluation.metrics
        with_classes = evaluation.class_predictions is not None
        for protocol in evaluation.protocols:
            known |= {
                f"{evaluation.data_set.name}/{protocol.name}/{metric.name}": metric
                for metric in metrics
                if with_classes or not metric.needs_classes
            }
    return known


def flat(results: Results) -> dict[str, float]:
    """Numbers of an evaluation by their whole names; losses on a held-out part have no protocol."""
    return {
        "/".join(part for part in (data_set, protocol, name) if part): float(value)
        for data_set, protocols in results.items()
        for protocol, numbers in protocols.items()
        for name, value in numbers.items()
    }


def find_number(name: str, known: Iterable[str], entry: str = "WEND.KEEP_BEST") -> str:
    """The whole name of the number that is meant.

    Args:
        name: its whole name, or the end of it.
        known: all whole names.
        entry: the config entry that names it, for the message.

    Raises:
        InputError: no number has that name, or several; the message lists what there is.
    """
    known = list(known)
    matching = [whole for whole in known if whole == name or whole.endswith(f"/{name}")]
    if name in matching:
        return name
    parents = {whole.split("/")[0] for whole in matching}
    same = METRICS.get(name).any_protocol if name in METRICS else False
    if len(matching) == 1 or (matching and same and len(parents) == 1):
        return matching[0]
    if matching:
        raise InputError(
            f"config entry {entry}: {name!r} may be {' or '.join(matching)}; name one of them"
        )
    listed = f"there are {some(known, MOST_NAMES)}" if known else "no test set has true boxes"
    ends = (whole.split("/", start)[-1] for whole in known for start in range(3))
    raise InputError(
        f"config entry {entry}: no evaluation has the number {name!r}; {listed}."
        f"{did_you_mean(name, dict.fromkeys(ends))}"
    )


def higher_is_better(whole: str) -> bool:
    """Whether more of a number is better: as its metric says, and not of losses."""
    name = whole.split("/")[-1]
    if whole.startswith(f"{HELD_OUT}/"):
        return False
    return METRICS.get(name).higher_is_better if name in METRICS else True


@dataclass
class Best:
    """The best evaluation so far by a number.

    Numbers are compared as ``curve.csv`` states them, so that a training that is resumed from it
    compares the same. Of equal ones the earlier stays the best; NaN and infinities never are.

    Attributes:
        name: the number, as the user names it.
        value: the best one; None before there is any.
        iteration: iterations after which it came; 0 before there is any.
        evaluated: iterations of the last evaluation that was compared.
        without: evaluations since the best one.
    """

    name: str
    value: float | None = None
    iteration: int = 0
    evaluated: int = 0
    without: int = 0
    _whole: str | None = field(default=None, repr=False)

    def tell(self, iteration: int, results: Results) -> bool:
        """Compare an evaluation; whether it is the best now. One that was compared is passed over.

        Args:
            iteration: iterations that are done.
            results: its numbers.

        Raises:
            InputError: no evaluation yet had the number, nor has this one.
        """
        if iteration <= self.evaluated:
            return False
        numbers = flat(results)
        self._whole = self._whole or find_number(self.name, numbers)
        value = as_in_curve(numbers.get(self._whole, math.nan))
        self.evaluated = iteration
        if self._is_better(value):
            self.value, self.iteration, self.without = value, iteration, 0
            return True
        self.without += 1
        return False

    def _is_better(self, value: float) -> bool:
        if not math.isfinite(value) or self.value is None:
            return math.isfinite(value)
        assert self._whole is not None
        return value > self.value if higher_is_better(self._whole) else value < self.value

    def state_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        names = ("name", "value", "iteration", "evaluated", "without")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the values of :meth:`state_dict`."""
        self.name, self.value = str(state["name"]), state["value"]
        self.iteration, self.evaluated = int(state["iteration"]), int(state["evaluated"])
        self.without = int(state["without"])


def best_of(name: str, curve: Mapping[int, Results]) -> Best:
    """The best evaluation of a whole curve.

    Args:
        curve: iterations -> the numbers of that evaluation.

    Raises:
        InputError: no evaluation has the number.
    """
    best = Best(name)
    for iteration in sorted(curve):
        best.tell(iteration, curve[iteration])
    return best
