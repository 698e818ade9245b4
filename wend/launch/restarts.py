"""A command that torchrun has started again (``--max-restarts``) goes on with its own run.

torchrun gives all attempts the same command. The first one may have been refused, in a folder that
holds another run, so an attempt goes on only where an earlier one had begun to write: that is noted
in torchrun's own store, which outlives the processes.
"""

from __future__ import annotations

import argparse
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import Store

logger = logging.getLogger(__name__)
_store: Store | None = None
_attempt = 0


def remember(store: Store, attempt: int) -> None:
    """Take notes in a launcher's store from now on.

    Args:
        attempt: how often the launcher has started the command again.
    """
    global _store, _attempt
    _store, _attempt = store, attempt


def note_start(folder: str | Path) -> None:
    """Note that the command begins to write into a folder."""
    if _store is not None:
        with suppress(RuntimeError):  # the launcher ends
            _store.set(_key(folder), "")


def go_on_if_restarted(args: argparse.Namespace, folder: str | Path) -> None:
    """Set ``resume`` where an earlier attempt of the same command had begun to write into a folder.

    Args:
        args: ``resume``, and ``overwrite``, which was for the first attempt.
    """
    if _store is not None and _attempt and _store.check([_key(folder)]):
        logger.info("restart %d: going on with the run in %s", _attempt, folder)
        args.resume, args.overwrite = True, False


def _key(folder: str | Path) -> str:
    return f"wend/has begun/{os.path.abspath(folder)}"
