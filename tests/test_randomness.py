"""Random numbers follow from a seed and a place, and nothing else of a process."""

import random

import numpy as np
import pytest
import torch

from wend.randomness import sample_numbers, seed_step, shared_seed


def _draw():
    return random.random(), np.random.rand(), torch.rand(()).item(), random.getrandbits(64)


def _of_sample(seed, position):
    with sample_numbers(seed, position):
        return _draw()


def _of_step(*where):
    seed_step(*where)
    return _draw()


def test_a_samples_numbers_follow_from_seed_and_position_alone():
    expected = _of_sample(3, 1000)
    random.seed(8)
    np.random.seed(8)
    torch.manual_seed(8)
    assert _of_sample(3, 1000) == expected
    every = {_of_sample(seed, position) for seed in range(3) for position in range(50)}
    assert len(every) == 150
    for drawn in zip(*every, strict=True):  # each generator has its own number at each place
        assert len(set(drawn)) == 150


def test_a_steps_numbers_follow_from_seed_iteration_and_rank():
    assert _of_step(3, 4, 1) == _of_step(3, 4, 1)
    every = {
        _of_step(*where) for where in ((3, 4, 1), (3, 4, 0), (3, 5, 1), (4, 3, 1), (2**31, 4, 1))
    }
    assert len(every) == 5
    assert _of_sample(3, 4) not in every


def test_neighbouring_positions_are_independent():
    """The mean of products of neighbours' deviations from 1/2 is 0, within four deviations."""
    drawn = np.array([_of_sample(0, position)[:3] for position in range(4000)]) - 0.5
    products = np.einsum("ij,ik->jk", drawn[1:], drawn[:-1]) / len(drawn)
    assert np.abs(products).max() < 4 / 12 / np.sqrt(len(drawn))
    assert np.abs(drawn.mean(0)).max() < 4 / np.sqrt(12 * len(drawn))


def test_the_process_goes_on_as_if_no_sample_was_drawn():
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    np.random.randn()  # of a pair: the other is kept
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.setstate(states[0])
    expected = _draw(), np.random.randn()
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    with sample_numbers(5, 6):
        _draw()
        np.random.randn()
    with pytest.raises(ZeroDivisionError), sample_numbers(5, 7):
        raise ZeroDivisionError  # as a mapper does that fails
    assert (_draw(), np.random.randn()) == expected


def test_a_seed_is_drawn_only_where_none_is_given():
    assert shared_seed(0) == 0
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    first = shared_seed(-1)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    assert shared_seed(-1) != first
    assert 0 <= first < 2**31
