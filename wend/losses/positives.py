"""How many positive samples the pseudo boxes have."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class PositiveCounts:
    """How many positive samples boxes have, over all batches until it is read."""

    def __init__(self) -> None:
        self._is_read = False
        self._boxes = 0
        self._sums: Tensor | None = None  # stays on the device until it is read

    def add(self, matched: Sequence[Tensor], counts: Sequence[int]) -> None:
        """Count a batch; see :meth:`LocalizationLoss.count_positives`."""
        if self._is_read:
            return
        index = torch.cat([each.flatten() for each in matched])
        starts = torch.tensor([0, *counts]).cumsum(0)[:-1]  # of each image's boxes in the batch
        sizes = torch.tensor([each.numel() for each in matched])
        index = torch.where(
            index < 0, 0, index + 1 + starts.repeat_interleave(sizes).to(index.device)
        )
        per_box = index.new_zeros(sum(counts) + 1).index_add_(0, index, torch.ones_like(index))[1:]
        sums = torch.stack([per_box.sum(), (per_box == 0).sum()])
        self._sums = sums if self._sums is None else self._sums.to(sums.device) + sums
        self._boxes += sum(counts)

    def so_far(self) -> tuple[int, int, int]:
        """Boxes, positive samples, and boxes that had none. Waits for the device."""
        samples, without = (0, 0) if self._sums is None else self._sums.tolist()
        return self._boxes, samples, without

    def go_on(self, boxes: int, samples: int, without: int) -> None:
        """Begin with these numbers of :meth:`so_far`, such as those of a training that went on."""
        self._boxes, self._sums = boxes, torch.tensor([samples, without])

    def read(self) -> tuple[int, int, int]:
        """:meth:`so_far`; nothing is counted from now on."""
        self._is_read = True
        return self.so_far()


class PositiveShare:
    """The share of positive samples, over all batches since it was last read."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None  # stays on the device until it is read

    def add(self, labels: Tensor) -> None:
        """Count the samples (S,) of a batch: 1 positive, 0 background, -1 ignored."""
        sums = torch.stack([(labels == 1).sum(), (labels >= 0).sum()])
        self._sums = sums if self._sums is None else self._sums.to(sums.device) + sums

    def state_dict(self) -> dict[str, int]:
        """What was counted since it was last read. Waits for the device."""
        positives, samples = (0, 0) if self._sums is None else self._sums.tolist()
        return {"positives": positives, "samples": samples}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on with what was counted."""
        self._sums = torch.tensor([int(state["positives"]), int(state["samples"])])

    def read(self) -> float | None:
        """Positives over positives and background; None without any. Waits for the device."""
        positives, samples = (0, 0) if self._sums is None else self._sums.tolist()
        self._sums = None
        return positives / samples if samples else None
