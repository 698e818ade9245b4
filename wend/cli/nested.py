"""An ordinary command within another, in the same process."""

from __future__ import annotations

from collections.abc import Sequence

from wend.logs import kept_logging


def run_command(words: Sequence[str]) -> None:
    """Run an ordinary command in this process.

    Raises:
        InputError: as the command does.
    """
    from wend.cli import parser

    with kept_logging():
        parser.run_command(words)
