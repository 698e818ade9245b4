"""Tensors that follow from the sizes of a batch's feature maps, made once for each of the sizes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class PerMapSize(Generic[T]):
    """What is made of feature maps' sizes, for each of their sizes and for each device.

    Args:
        most: of how many sizes it is kept.
    """

    def __init__(self, most: int = 16) -> None:
        self._most = most
        self._known: dict[Hashable, T] = {}

    def of(self, maps: Sequence[Tensor], make: Callable[[], T], *more: Hashable) -> T:
        """What belongs to maps (N, channels, H, W).

        Args:
            maps: of each level.
            make: makes it; it depends on sizes and device of the maps, and on nothing else but
                ``more``.
            more: what else it depends on.
        """
        sizes = tuple((each.shape[-2], each.shape[-1]) for each in maps)
        key = (sizes, maps[0].device, *more)
        if key not in self._known:
            if len(self._known) >= self._most:
                self._known.pop(next(iter(self._known)))
            # for training too, whenever it is made first
            with torch.inference_mode(False), torch.no_grad():
                self._known[key] = make()
        return self._known[key]
