"""The order of training images, by position: which one comes where, whoever asks and from wherever.

The image at a position is a function of (SEED, position) alone, and so are the random numbers that
its mapper draws. A position is ``iteration · batch + place in the batch`` of all processes
together; of n processes the one of rank r has the places r, r + n, r + 2n, ... So a training that
is resumed, or has another number of loader workers, sees the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from wend.loading.bad_images import Images
from wend.randomness import own_numbers, seed_sample

# generator -> the indices (n,) of a pass over the images; n may be another one in each pass
Pass = Callable[[torch.Generator], Tensor]


@dataclass(frozen=True)
class Shuffled:
    """A pass with each of ``size`` images once, as Detectron2's ``TrainingSampler`` draws it."""

    size: int

    def __call__(self, generator: torch.Generator) -> Tensor:
        """The indices (size,)."""
        return torch.randperm(self.size, generator=generator)


@dataclass(frozen=True, eq=False)
class Repeated:
    """A pass with each image as often as its factor, as ``RepeatFactorTrainingSampler`` draws it.

    The fraction of a factor is the chance of one more (Gupta et al., LVIS, CVPR 2019, appendix
    B.2, and Detectron2).

    Attributes:
        factors: (images,) float32, >= 1.
    """

    factors: Tensor

    def __call__(self, generator: torch.Generator) -> Tensor:
        """The indices, of another number in each pass."""
        whole = self.factors.trunc()
        more = torch.rand(len(whole), generator=generator) < self.factors - whole
        indices = torch.arange(len(whole)).repeat_interleave(whole.long() + more)
        return indices[torch.randperm(len(indices), generator=generator)]


class Order:
    """Endless passes over the images, drawn one after the other by one generator.

    Args:
        draw: draws a pass.
        seed: of the generator.
    """

    def __init__(self, draw: Pass, seed: int) -> None:
        self._draw, self._seed = draw, seed
        self._begin()

    def _begin(self) -> None:
        self._generator = torch.Generator().manual_seed(self._seed)
        self._start = 0  # position of the pass's first image
        self._pass = np.empty(0, dtype=np.int64)

    def __getitem__(self, position: int) -> int:
        """The index of the image at a position, from 0; fast where positions grow.

        Passes before it are drawn and forgotten.
        """
        if position < self._start:
            self._begin()
        while position - self._start >= len(self._pass):
            self._start += len(self._pass)
            self._pass = self._draw(self._generator).numpy()
        return int(self._pass[position - self._start])


class InOrder(IterableDataset):
    """Examples of this process, from an iteration on, without end.

    Loaders of PyTorch that make batches of ``batch / processes`` may have any number of workers:
    each worker yields whole batches.

    Args:
        images: examples by index.
        draw: draws a pass over them.
        seed: the training's, >= 0.
        batch: images of a step, of all processes together; a multiple of their number.
        rank, processes: which process this is, and of how many.

    Attributes:
        start: the iteration to begin at; set before the loader is iterated.
    """

    def __init__(
        self,
        images: Images,
        draw: Pass,
        *,
        seed: int,
        batch: int,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.images, self._draw, self.seed = images, draw, seed
        self.batch, self.rank, self.processes = batch, rank, processes
        self.start = 0

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        order = Order(self._draw, self.seed)
        for iteration in count(self.start + first, stride):
            with own_numbers():
                batch = [self._example(order, p) for p in self._positions(iteration)]
            yield from batch

    def _positions(self, iteration: int) -> range:
        """Positions of this process's images of a step."""
        start = iteration * self.batch
        return range(start + self.rank, start + self.batch, self.processes)

    def _example(self, order: Order, position: int) -> Any:
        index = order[position]
        seed_sample(self.seed, position)
        return self.images[index]
