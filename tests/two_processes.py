"""Two processes for a test, forked from one that has imported the libraries once for all tests.

Not from this one: a process that has computed gradients cannot compute any in its forks where there
is a GPU. What the test's environment is does not reach them.
"""

import multiprocessing
from importlib.util import find_spec

from torch.multiprocessing import start_processes

LIBRARIES = ["wend.tv.models", *(["wend.d2"] if find_spec("detectron2") else [])]


def in_two_processes(work, *arguments):
    """Call ``work(rank, *arguments)`` in each, and raise what one of them raises."""
    multiprocessing.set_forkserver_preload(LIBRARIES)
    start_processes(work, arguments, nprocs=2, start_method="forkserver")
