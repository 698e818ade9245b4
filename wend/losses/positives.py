"""How many positive samples the pseudo boxes have.

Shape letters: N = images, P = most boxes of an image.
"""

from __future__ import annotations

import torch
from torch import Tensor


class PositiveCounts:
    """How many positive samples boxes have, over all batches until it is read."""

    def __init__(self) -> None:
        self._is_read = False
        self._boxes = 0
        self._sums: Tensor | None = None  # stays on the device until it is read

    def add(self, matched: Tensor, is_box: Tensor, boxes: int) -> None:
        """Count a batch; see :meth:`LocalizationLoss.count_positives`.

        Args:
            matched: (N, samples of an image) int64 index among its boxes, -1: none.
            is_box: (N, P) bool, of :class:`wend.losses.padded_boxes.PaddedBoxes`.
            boxes: the boxes of all images.
        """
        if self._is_read:
            return
        per_box = matched.new_zeros(len(is_box), is_box.shape[1] + 1)
        per_box.scatter_add_(1, matched + 1, torch.ones_like(matched))
        per_box = per_box[:, 1:]
        sums = torch.stack([per_box.sum(), ((per_box == 0) & is_box).sum()])
        self._sums = sums if self._sums is None else self._sums.to(sums.device) + sums
        self._boxes += boxes

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

    def add(self, counts: Tensor) -> None:
        """Count a batch: :attr:`wend.losses.context.LossContext.label_counts` (2,)."""
        self._sums = counts if self._sums is None else self._sums.to(counts.device) + counts

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
