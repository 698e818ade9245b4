"""What boxes cost: seconds of the network and of the method, by image.

Each unit of work notes what it took in the rows of a part, so that the numbers hold for runs that
were interrupted, shared out by a launcher, or merged of shards: they are seconds of the processes
that did the work, not of a clock on the wall.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import perf_counter
from typing import Any


@dataclass(frozen=True)
class CostOf:
    """The key of a unit's cost: its first image, and what was done."""

    cost: str
    step: str


@dataclass(frozen=True)
class Cost:
    """What some images cost one process, in seconds.

    Attributes:
        images: whose boxes were made.
        waiting: until the images were read; other processes read them meanwhile.
        network: in the network.
        whole: all of it. What is neither of the above is the method's.
    """

    images: int = 0
    waiting: float = 0.0
    network: float = 0.0
    whole: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        ours, theirs = asdict(self), asdict(other)
        return Cost(**{name: value + theirs[name] for name, value in ours.items()})

    @property
    def method(self) -> float:
        """Seconds of the method itself, and of noting its boxes."""
        return max(0.0, self.whole - self.waiting - self.network)

    def per_image(self) -> dict[str, float]:
        """Seconds per image: waiting, network, method, whole; 0 where no image was done."""
        number = self.images or float("inf")
        names = ("waiting", "network", "method", "whole")
        return {name: getattr(self, name) / number for name in names}

    def in_words(self) -> str:
        """One line for people."""
        each = self.per_image()
        rate = self.images / self.whole if self.whole else 0.0
        return (
            f"{self.images} images, {rate:.1f} images/s per process; seconds per image: "
            f"{each['network']:.4f} network, {each['method']:.4f} method, "
            f"{each['waiting']:.4f} waiting for images, {each['whole']:.4f} in all "
            f"({os.cpu_count()} CPU cores)"
        )

    def as_json(self) -> dict[str, Any]:
        """The numbers for a file."""
        rate = self.images / self.whole if self.whole else 0.0
        seconds = {f"{name}_s_per_image": value for name, value in self.per_image().items()}
        return {"images": self.images, "images_per_s_and_process": rate, **seconds}


class Stopwatch:
    """Takes the time of units of work, one after the other."""

    def __init__(self) -> None:
        self._began = perf_counter()

    def lap(self, images: int, waiting: float = 0.0, network: float = 0.0) -> Cost:
        """The cost since the last lap, or the beginning."""
        now = perf_counter()
        whole, self._began = now - self._began, now
        return Cost(images, waiting, network, whole)


def cost_row(first: str, step: str, cost: Cost) -> dict[str, Any]:
    """A row of a part: the cost of a unit whose first image has this key."""
    return {"cost": first, "step": step, **asdict(cost)}


def cost_from_row(row: dict[str, Any]) -> tuple[CostOf, Cost]:
    """Key and cost of such a row."""
    values = {field.name: row[field.name] for field in fields(Cost)}
    return CostOf(row["cost"], row["step"]), Cost(**values)


def read_cost(path: str | Path) -> Cost | None:
    """The cost that a finished run wrote; None where the file is not there, or another one."""
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        number = int(values["images"])
        names = ("waiting", "network", "whole")
        return Cost(number, *(float(values[f"{name}_s_per_image"]) * number for name in names))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def total(items: Iterable[object]) -> Cost:
    """The costs among some items, together."""
    return sum((item for item in items if isinstance(item, Cost)), Cost())
