"""The ranges of a refinement's options."""

from __future__ import annotations

import math

from wend.errors import InputError


def check_at_least(name: str, value: float, least: float) -> None:
    """Raise InputError unless an option's value is finite, and no less."""
    if not least <= value < math.inf:
        raise InputError(f"--refine-option {name}: expected a number from {least}, got {value}")


def check_above_0(name: str, value: float) -> None:
    """Raise InputError unless an option's value is finite, and above 0."""
    if not 0 < value < math.inf:
        raise InputError(f"--refine-option {name}: expected a number above 0, got {value}")
