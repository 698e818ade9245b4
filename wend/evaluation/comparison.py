"""Several methods on the same images, each with one or more seeds: means, spreads and paired tests.

Letters: S = seeds of a method, I = images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from wend.errors import InputError
from wend.evaluation.metrics import gt_known_loc
from wend.evaluation.scoring import Column, ProtocolScores
from wend.evaluation.statistics import (
    McNemar,
    PairedDifference,
    holm,
    mcnemar,
    paired_difference,
    seed_difference,
)

Runs = Sequence[Mapping[str, ProtocolScores]]
FAMILIES = ("row", "table")


@dataclass(frozen=True)
class MethodNumber:
    """A method's number at a protocol, metric and K: ``values`` of its seeds, in the unit."""

    protocol: str
    column: Column
    method: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds (of S - 1); None with one seed."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None


@dataclass(frozen=True)
class PairNumber:
    """Two methods at a protocol, metric and K.

    Attributes:
        a, b: the methods' numbers.
        test: difference, interval and p values, in the unit; those are None for what has none.
        mcnemar: of hits of one seed each; else None.
        p_holm: ``test.p_value`` corrected for its family.
    """

    a: MethodNumber
    b: MethodNumber
    test: PairedDifference
    mcnemar: McNemar | None
    p_holm: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Methods and their pairs at each protocol, metric and K, in the order of a table.

    Attributes:
        methods: a number for each protocol, column and method.
        pairs: a test for each protocol, column and pair of methods.
        family: over what the p values are corrected, in words.
        copies: protocol name -> columns that are in all runs a copy of the same other, and left
            out; see :attr:`ProtocolScores.copies`.
    """

    methods: list[MethodNumber]
    pairs: list[PairNumber]
    family: str
    copies: Mapping[str, Mapping[Column, Column]]


def compare_methods(
    methods: Mapping[str, Runs],
    *,
    against: str | None = None,
    family: str = "row",
    level: float = 0.95,
) -> Comparison:
    """Compare all pairs of methods, or all methods with one.

    Args:
        methods: name -> the scores by protocol name of each of its seeds, of
            :func:`wend.evaluation.scoring.score_all` on the same images, protocols, metrics and K.
        against: the method that all others are compared with; None for all pairs.
        family: Holm's correction is for all pairs of a protocol, metric and K ("row"), or for all
            that the table tests ("table").
        level: the confidence of the intervals.

    Raises:
        InputError: fewer than two methods, a method without runs, other images or columns, or an
            unknown ``against`` or ``family``.
    """
    runs = _check(methods, against, family)
    names = list(methods)
    chosen = (
        list(combinations(names, 2))
        if against is None
        else [(name, against) for name in names if name != against]
    )
    numbers: list[MethodNumber] = []
    pairs: list[PairNumber] = []
    copies = {protocol: _copies([run[protocol] for run in runs]) for protocol in runs[0]}
    first = next(iter(copies))
    for protocol, of_protocol in copies.items():
        for column in runs[0][protocol].cells:
            if column in of_protocol or (column.metric.any_protocol and protocol != first):
                continue
            row = {
                name: MethodNumber(
                    protocol,
                    column,
                    name,
                    tuple(run[protocol].cells[column].value for run in methods[name]),
                )
                for name in names
            }
            numbers += row.values()
            values = {name: _values(methods[name], protocol, column) for name in names}
            tests = [
                _pair(row[a], row[b], values[a], values[b], runs[0][protocol], level)
                for a, b in chosen
            ]
            pairs += _corrected(tests) if family == "row" else tests
    if family == "table":
        pairs = _corrected(pairs)
    tested = sum(pair.p_holm is not None for pair in pairs)
    said = {
        "row": f"the pairs of methods of a protocol, metric and K ({len(chosen)}), not for how "
        "many of those there are",
        "table": f"all tests of the table ({tested})",
    }
    return Comparison(numbers, pairs, said[family], copies)


def _check(methods: Mapping[str, Runs], against: str | None, family: str) -> list[Mapping]:
    if len(methods) < 2:
        raise InputError(f"expected two or more methods to compare, got {', '.join(methods)}")
    if against is not None and against not in methods:
        raise InputError(f"there is no method {against!r}; there are: {', '.join(methods)}")
    if family not in FAMILIES:
        raise InputError(f"family must be one of {FAMILIES}, got {family!r}")
    runs = [run for of_method in methods.values() for run in of_method]
    first = runs[0] if runs else {}
    for name, of_method in methods.items():
        if not of_method:
            raise InputError(f"method {name} has no run")
        for run in of_method:
            if list(run) != list(first):
                raise InputError(
                    f"method {name} was scored under {', '.join(run)}, others under "
                    f"{', '.join(first)}"
                )
            for protocol, result in run.items():
                expected = first[protocol]
                if result.per_image.data_set.keys != expected.per_image.data_set.keys:
                    raise InputError(f"method {name} was scored on other images than the others")
                if list(result.cells) != list(expected.cells):
                    raise InputError(
                        f"method {name} was scored with other metrics or K than the others"
                    )
    return runs


def _copies(results: Sequence[ProtocolScores]) -> dict[Column, Column]:
    """The columns that are in all runs copies of the same other."""
    first, *others = [result.copies for result in results]
    return {
        column: shown
        for column, shown in first.items()
        if all(copies.get(column) == shown for copies in others)
    }


def _values(runs: Runs, protocol: str, column: Column) -> np.ndarray | None:
    """Values (S, I), not scaled; None of a number that is no average over images."""
    if not column.metric.is_average:
        return None
    return np.stack([column.metric.values(run[protocol].per_image, column.k) for run in runs])


def _pair(
    a: MethodNumber,
    b: MethodNumber,
    values_a: np.ndarray | None,
    values_b: np.ndarray | None,
    scores: ProtocolScores,
    level: float,
) -> PairNumber:
    metric = a.column.metric
    if values_a is None or values_b is None:
        return PairNumber(a, b, seed_difference(a.values, b.values, level), None)
    classes = metric.averaged_classes(scores.per_image)
    test = paired_difference(values_a, values_b, classes, bounds=metric.bounds, level=level)
    low, high = test.low, test.high
    if low is not None and high is not None:  # a scale may be negative
        low, high = sorted((metric.scale * low, metric.scale * high))
    test = replace(test, difference=metric.scale * test.difference, low=low, high=high)
    hits = values_a.dtype == values_b.dtype == bool and len(values_a) == len(values_b) == 1
    return PairNumber(a, b, test, mcnemar(values_a[0], values_b[0]) if hits else None)


def _corrected(pairs: Sequence[PairNumber]) -> list[PairNumber]:
    """The pairs with Holm's p values, all those that are tested being one family."""
    tested = [p for pair in pairs if (p := pair.test.p_value) is not None]
    corrected = iter(holm(tested))
    return [
        pair if pair.test.p_value is None else replace(pair, p_holm=next(corrected))
        for pair in pairs
    ]


@dataclass(frozen=True)
class ImageDifference:
    """An image on which methods differ: of each, IoU of the best box and hit, means over seeds."""

    key: str
    ious: tuple[float, ...]
    hits: tuple[float, ...]


def most_different(methods: Mapping[str, Runs], protocol: str) -> list[ImageDifference]:
    """Images by how much the best-scoring boxes differ; those that differ nowhere are left out.

    First by the range of the methods' hits, then by that of their IoU; equals stay in the data
    set's order.
    """
    per_image = [[run[protocol].per_image for run in runs] for runs in methods.values()]
    ious = np.array([np.mean([run.top_iou for run in runs], axis=0) for runs in per_image])
    hits = np.array(
        [np.mean([gt_known_loc.values(run) for run in runs], axis=0) for runs in per_image]
    )
    first = per_image[0][0]
    order = np.lexsort((-np.ptp(ious, axis=0), -np.ptp(hits, axis=0)))
    return [
        ImageDifference(
            first.data_set.keys[first.images[i]],
            tuple(ious[:, i].tolist()),
            tuple(hits[:, i].tolist()),
        )
        for i in order[np.ptp(ious[:, order], axis=0) > 0].tolist()
    ]
