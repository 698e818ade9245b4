"""What came of batches, kept in memory, so that they need not go through the network again.

What is kept is what the network gave of a batch, and it is found again by the very images of the
batch: the maps of an image are those of its batch, kept or not, to the last bit. Batches that come
first are kept; when the memory is full, the others pass the network whenever they are wanted.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")
Batch = tuple[int, ...]


@dataclass(frozen=True)
class Turn:
    """A batch's turn in a plan.

    Attributes:
        batch: indices of its images.
        made: whether it goes through the network; else it is in memory.
        kept: whether it is in memory afterwards.
        wanted: whether it should be, since it is used again.
    """

    batch: Batch
    made: bool
    kept: bool
    wanted: bool


class KeptMaps(Generic[Value]):
    """Values of batches, up to a number of bytes, of any number of networks together.

    Args:
        limit: bytes; infinite: whatever there is.
    """

    def __init__(self, limit: float = 0) -> None:
        self.limit = limit
        self._free = limit
        self._values: dict[tuple[Hashable, Batch], tuple[Value, int]] = {}

    def turns(
        self, owner: Hashable, plan: Sequence[Batch], bytes_per_image: int, again: bool
    ) -> list[Turn]:
        """Which batches of a plan are made, and which are kept.

        Args:
            owner: of the values, such as the network.
            again: whether the plan's batches are used again after it. If not, each goes when the
                plan does not come back to it.
        """
        last = {batch: position for position, batch in enumerate(plan)}
        there = {batch for whose, batch in self._values if whose == owner}
        free, turns = self._free, []
        for position, batch in enumerate(plan):
            wanted = again or position < last[batch]
            size, made = len(batch) * bytes_per_image, batch not in there
            kept = wanted and (not made or size <= free)
            free -= size * (int(kept) - int(not made))
            (there.add if kept else there.discard)(batch)
            turns.append(Turn(batch, made, kept, wanted))
        return turns

    def get(self, owner: Hashable, batch: Batch) -> Value:
        """A batch's value, which is kept."""
        return self._values[owner, batch][0]

    def keep(self, owner: Hashable, batch: Batch, value: Value, size: int) -> None:
        """Keep a batch's value, of so many bytes."""
        self.drop(owner, batch)
        self._values[owner, batch] = value, size
        self._free -= size

    def drop(self, owner: Hashable, batch: Batch) -> None:
        """Keep a batch's value no longer, if it was kept."""
        _, size = self._values.pop((owner, batch), (None, 0))
        self._free += size
