"""Rates of one core, by processor time: other work on the machine changes little."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")
TARGETS = {"4,000/s": 4000, "1,500/s": 1500}


def seconds_each(
    ways: Mapping[str, Callable[[T], object]], items: Sequence[T], rounds: int
) -> dict[str, float]:
    """Seconds of processor time per item: ways take turns, the best of the rounds counts."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            for item in items:
                way(item)
            best[name] = min(best[name], (time.process_time() - start) / len(items))
    return best


def cores(seconds: float) -> list[str]:
    """How many such cores make the images of :data:`TARGETS`."""
    return [f"{target * seconds:.1f}" for target in TARGETS.values()]


def table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    lines = [list(map(str, head)), *(list(map(str, row)) for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
