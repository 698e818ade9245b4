"""When Python looks for garbage: hardly while a command begins, as usual while it computes.

Imports and the reading of data make a million objects that stay. Looking through them again and
again for cycles that nobody holds takes a tenth of a start's time and finds nothing. What a start
has left is then frozen: no later collection looks at it, nor copies its pages in workers.
"""

from __future__ import annotations

import gc

USUAL = gc.get_threshold()
RARE = 200_000  # objects more than before, in place of 700 or 2,000
_is_later = False  # a program that calls a command's function has its own way to collect


def collect_later() -> None:
    """Let this process, a command's, look for no garbage until another of these is called."""
    global _is_later
    _is_later = True
    gc.disable()


def collect_rarely() -> None:
    """Look for garbage each time that many objects have come; for what holds few tensors."""
    if _is_later:
        gc.set_threshold(RARE, *USUAL[1:])
        gc.enable()


def collect_as_usual() -> None:
    """Look for garbage as Python does by default, but not among what is there now.

    A step of a training, a batch of predictions: what they leave in cycles may hold a GPU's memory.
    """
    global _is_later
    if _is_later:
        _is_later = False
        gc.freeze()
        gc.set_threshold(*USUAL)
        gc.enable()
