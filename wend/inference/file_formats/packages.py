"""Packages that only exported files need."""

import importlib.util

from wend.errors import InputError


def needs(purpose: str, install: str, *packages: str) -> None:
    """Raise InputError, which says how to install them, unless all packages are there."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{purpose}: needs {' and '.join(missing)}, not installed; {install}")
