"""The name under which this package is installed, and how to install what an extra brings.

The registry's ``wend`` is another project; ours is imported as ``wend`` all the same.
"""

NAME = "wend-wsol"


def pip_install(extra: str) -> str:
    """The command that installs an extra's packages: ``pip install 'wend-wsol[classifier]'``."""
    return f"pip install '{NAME}[{extra}]'"
