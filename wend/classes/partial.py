"""What an interrupted run of ``wend classify`` has finished, as JSON lines.

The first line holds the settings, ``{"format": "wend-class-predictions-partial-1", "settings":
{...}}``; each other line is an image, ``{"key": ..., "classes": [...], "scores": [...]}``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PARTIAL_FORMAT = "wend-class-predictions-partial-1"
logger = logging.getLogger(__name__)


def differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The entries that two objects of settings do not share, in words."""
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return ", ".join(f"{key}: {old.get(key)!r}, now {new.get(key)!r}" for key in changed)


def read_partial(path: Path, settings: dict[str, Any]) -> dict[str, tuple[list, list]]:
    """The images that an interrupted run with these settings finished; cuts a half-written line."""
    if not path.is_file():
        return {}
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    try:
        lines = [json.loads(line) for line in whole.decode("utf-8").splitlines()]
        header = lines[0] if lines else {}
        done = {line["key"]: (line["classes"], line["scores"]) for line in lines[1:]}
        old = header["settings"] if header["format"] == PARTIAL_FORMAT else {}
    except (ValueError, KeyError, TypeError):
        logger.warning(
            "%s: is no record of an interrupted run; starting from the first image", path
        )
        return {}
    if old != settings:
        logger.warning(
            "%s: the settings have changed (%s); starting from the first image",
            path,
            differences(old, settings),
        )
        return {}
    path.write_bytes(whole)
    return done


@contextmanager
def append_partial(path: Path, settings: dict[str, Any], resume: bool) -> Iterator[IO[str]]:
    """Open the file for further images; a new one, with its first line, unless resumed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a" if resume else "w", encoding="utf-8") as file:
        if not resume:
            file.write(json.dumps({"format": PARTIAL_FORMAT, "settings": settings}) + "\n")
        yield file


def write_line(file: IO[str], key: str, classes: list[int], scores: list[float]) -> None:
    """Add an image."""
    file.write(json.dumps({"key": key, "classes": classes, "scores": scores}) + "\n")
