"""Packages: the name of this one, how to install what an extra brings, and whether another is here.

The registry's ``wend`` is another project; ours is imported as ``wend`` all the same.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from wend.errors import InputError

NAME = "wend-wsol"


def pip_install(extra: str) -> str:
    """The command that installs an extra's packages: ``pip install 'wend-wsol[classifier]'``."""
    return f"pip install '{NAME}[{extra}]'"


def is_installed(package: str) -> bool:
    """Whether a package can be imported; it is not, and a folder of its name without code is none.

    Args:
        package: the name that it is imported by.
    """
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


def installed_version(name: str) -> str:
    """The version of an installed distribution; empty where it states none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def require_installed(purpose: str, install: str, *packages: str) -> None:
    """Raise InputError unless all packages are installed.

    Args:
        purpose: what needs them, for the message.
        install: the command that installs them.
        packages: the names that they are imported by.
    """
    missing = [name for name in packages if not is_installed(name)]
    if missing:
        raise InputError(f"{purpose}: needs {' and '.join(missing)}, not installed; {install}")
