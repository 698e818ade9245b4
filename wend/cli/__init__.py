"""The command ``wend``: one module for each verb, with ``add_arguments`` and ``run``."""

from wend.cli.parser import main

__all__ = ["main"]
