"""Random numbers as a pure function of a training's seed and of where they are drawn.

A sample's numbers follow from (SEED, its position in the order of images), a step's from (SEED,
iteration, rank). So there is no random state to store: a training that is resumed draws what the
uninterrupted one does, with any number of loader workers.

Seeds are mixed by BLAKE2b: generators whose numbers are those of neighbouring positions have
nothing in common.
"""

from __future__ import annotations

import hashlib
import random
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import get_worker_info

from wend import processes

SEED_BITS = 31  # of a drawn seed; Detectron2 adds the rank to it, and NumPy takes 32 bits
SAMPLE, STEP = 0, 1  # what numbers are for: these never meet


def settled_seed(seed: int) -> int:
    """The given seed, or where it is negative, one that the operating system draws.

    No generator of the process is asked.
    """
    return seed if seed >= 0 else secrets.randbits(SEED_BITS)


def shared_seed(seed: int) -> int:
    """:func:`settled_seed` of the first process, for all of them; all call it."""
    return processes.gather(settled_seed(seed))[0]


def _mixed(*words: int) -> tuple[int, ...]:
    """Six words of 32 bits, made of whole numbers of less than 64 bits."""
    digest = hashlib.blake2b(struct.pack(f"<{len(words)}q", *words), digest_size=24).digest()
    return struct.unpack("<6I", digest)


def _seed_cpu(words: tuple[int, ...]) -> int:
    """Seed Python's, NumPy's and torch's generators of the CPU.

    Returns:
        torch's seed.
    """
    python, numpy, own = words[:2], words[2:4], words[4] | words[5] << 32
    random.seed(python[0] | python[1] << 32)
    np.random.seed(numpy)
    torch.default_generator.manual_seed(own)
    return own


def seed_step(seed: int, iteration: int, rank: int) -> None:
    """Seed the process's generators (Python, NumPy, torch, CUDA) for a step of a training.

    Args:
        seed: the training's, >= 0; all its processes have the same.
        iteration: steps taken, from 0.
        rank: of this process.
    """
    own = _seed_cpu(_mixed(STEP, seed, iteration, rank))
    if torch.cuda.is_initialized() and not torch.cuda._is_in_bad_fork():
        torch.cuda.manual_seed_all(own)


def seed_sample(seed: int, position: int) -> None:
    """Seed the process's generators (Python, NumPy, torch on the CPU) for a sample of a training.

    Args:
        seed: the training's, >= 0.
        position: of the sample in the order of images of all processes, from 0.
    """
    _seed_cpu(_mixed(SAMPLE, seed, position))


@contextmanager
def own_numbers() -> Iterator[None]:
    """Give the process its generators (Python, NumPy, torch on the CPU) back as they were before.

    Those of a loader's worker are not given back, as nothing else draws there. It takes longer than
    :func:`seed_sample`, so that samples of a batch stand in one such block.
    """
    if get_worker_info() is not None:
        yield
        return
    before = random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


@contextmanager
def sample_numbers(seed: int, position: int) -> Iterator[None]:
    """Let a sample draw its own random numbers within this block.

    Arguments as of :func:`seed_sample`; before and after it: :func:`own_numbers`.
    """
    with own_numbers():
        seed_sample(seed, position)
        yield
