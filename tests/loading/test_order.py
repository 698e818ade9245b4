"""Which image comes at which position, and in which process and worker of a loader."""

import random
from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from wend.loading.order import InOrder, Order, Repeated, Shuffled
from wend.randomness import sample_numbers


class Drawing:
    """Examples that are their index and three random numbers."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return index, random.random(), np.random.rand(), torch.rand(()).item()


def _batches(number, *, size=7, batch=4, start=0, workers=0, rank=0, processes=1, seed=3):
    images = InOrder(
        Drawing(size), Shuffled(size), seed=seed, batch=batch, rank=rank, processes=processes
    )
    images.start = start
    loader = DataLoader(images, batch_size=batch // processes, num_workers=workers, collate_fn=list)
    return list(islice(loader, number))


def _expected(seed, size, position):
    order = torch.Generator().manual_seed(seed)
    passes = [torch.randperm(size, generator=order).tolist() for _ in range(position // size + 1)]
    with sample_numbers(seed, position):
        return passes[-1][position % size], random.random(), np.random.rand(), torch.rand(()).item()


def test_each_pass_has_every_image_once_in_another_order():
    order = Order(Shuffled(7), 1)
    drawn = [order[position] for position in range(21)]
    passes = [drawn[start : start + 7] for start in (0, 7, 14)]
    assert [sorted(indices) for indices in passes] == [list(range(7))] * 3
    assert passes[0] != passes[1] != passes[2]
    assert [Order(Shuffled(7), 1)[position] for position in range(21)] == drawn
    assert [order[position] for position in reversed(range(21))] == drawn[::-1]
    assert [Order(Shuffled(7), 2)[position] for position in range(21)] != drawn


def test_an_image_is_repeated_as_its_factor_says():
    factors = torch.tensor([1.0, 2.0, 1.25])
    draw, generator = Repeated(factors), torch.Generator().manual_seed(0)
    counts = sum(torch.bincount(draw(generator), minlength=3) for _ in range(400)) / 400
    assert counts[:2].tolist() == [1, 2]
    assert abs(counts[2].item() - 1.25) < 4 * (0.25 * 0.75 / 400) ** 0.5


def test_an_example_is_that_of_its_position():
    batches = _batches(5)
    assert batches == [[_expected(3, 7, 4 * i + place) for place in range(4)] for i in range(5)]


@pytest.mark.parametrize("start", [0, 1, 5])
def test_batches_from_an_iteration_on_are_those_of_an_earlier_start(start):
    assert _batches(4, start=start) == _batches(9)[start : start + 4]


def test_workers_change_nothing():
    assert _batches(7, workers=2, start=2) == _batches(7, start=2)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3, 5])
def test_no_number_of_workers_changes_anything(workers):
    assert _batches(7, workers=workers, start=2) == _batches(7, start=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_processes_share_each_batch(workers):
    whole = _batches(6)
    shares = [_batches(6, rank=rank, processes=2, workers=workers) for rank in (0, 1)]
    for batch, *of_ranks in zip(whole, *shares, strict=True):
        assert batch[0::2] == of_ranks[0]
        assert batch[1::2] == of_ranks[1]


def test_what_a_step_draws_between_two_batches_is_not_touched():
    """Generators of the process, of which a loader without workers is a part."""

    def drawn():
        return random.random(), np.random.rand(), torch.rand(()).item()

    def seeded():
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)

    seeded()
    expected = [drawn() for _ in range(5)]
    images = InOrder(Drawing(7), Shuffled(7), seed=3, batch=4)
    loader = iter(DataLoader(images, batch_size=4, collate_fn=list, generator=torch.Generator()))
    seeded()
    assert [(next(loader), drawn())[1] for _ in range(5)] == expected
