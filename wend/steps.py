"""The record of a folder's finished steps, by which the same command goes on where it stopped.

Shared by the commands that are made of others: ``wend auto`` and ``wend rounds``.

``steps.json`` names for each step the settings that it was made with, among them digests of what it
read. A step whose settings are the same and whose files are there is not done again. One that was
interrupted goes on; one whose settings have changed is done anew, and the log says which.
"""

from __future__ import annotations

import json
import logging
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wend.errors import InputError
from wend.files import read_json, remove, write_json
from wend.partial import differences
from wend.run_files import CONFIG_FILE, TRAINING_FILES, checkpoint_files

FILE = "steps.json"
# loggers of which only warnings are printed: what they say stands in inference/, config.yaml and
# machine.json
SILENT = (
    "wend.evaluation.evaluation",
    "wend.d2.evaluation",
    "detectron2",
    "detectron2.engine.defaults",
    "detectron2.evaluation.evaluator",
    "detectron2.evaluation.testing",
)
logger = logging.getLogger(__name__)


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def run_command(command: Callable[[Sequence[str]], None], words: Sequence[str]) -> None:
    """Run an ordinary command, and say which; what stands in its files is not printed.

    Args:
        command: runs the words behind ``wend``.
    """
    logger.info("$ wend %s", shlex.join(words))
    silent = [logging.getLogger(name) for name in SILENT]
    for each in silent:
        each.addFilter(_is_warning)
    try:
        command(words)
    finally:
        for each in silent:
            each.removeFilter(_is_warning)


def resume_flag(folder: Path, resumes: bool) -> list[str]:
    """``--resume`` where an interrupted training left a checkpoint, else no word.

    Whether it is the same training, the settings of the step tell, also of one that an earlier WEND
    began. Else what a training left that ended before its first checkpoint is removed.
    """
    if resumes and checkpoint_files(folder):
        return ["--resume", "--allow-changes"]
    for pattern in TRAINING_FILES:
        for path in folder.glob(pattern):
            remove(path)
    return []


@dataclass(frozen=True)
class Step:
    """A piece of work with files as its result.

    Attributes:
        name: such as "train".
        settings: all that the files depend on, JSON values.
        outputs: the files and folders that are there once it is done, below the output folder.
        leftovers: what it leaves besides, as patterns, which goes away before it is done anew.
        work: does it; takes whether an interrupted work with the same settings lies there.
    """

    name: str
    settings: dict[str, Any]
    outputs: Sequence[str]
    work: Callable[[bool], None]
    leftovers: Sequence[str] = ()


class Steps:
    """The steps of an output folder.

    Args:
        folder: the output folder; made if it is not there.
        about: what all steps are of, such as the photos' folder; JSON values.
        command: whose steps they are, such as "wend auto".
        option: how the user names the folder, such as "--output".

    Raises:
        InputError: the folder holds a run that the command has not made, or one of other photos.
    """

    def __init__(
        self,
        folder: Path,
        about: dict[str, Any],
        command: str = "wend auto",
        option: str = "--output",
    ) -> None:
        self.folder, self._path = folder, folder / FILE
        self._format = f"{command.replace(' ', '-')}-1"
        self._steps: dict[str, dict[str, Any]] = {}
        about = json.loads(json.dumps(about))
        if self._path.exists():
            record = read_json(self._path, f"the record of {command}")
            if not isinstance(record, dict) or not self._is_whole(record):
                raise InputError(
                    f"{self._path}: is no record of {command} of this version; name another folder"
                )
            if record["about"] != about:
                raise InputError(
                    f"{option} {folder}: was made of something else "
                    f"({differences(record['about'], about)}); name another folder, or remove it"
                )
            self._steps = record["steps"]
        elif (folder / CONFIG_FILE).exists():
            raise InputError(
                f"{option} {folder}: holds a run that {command} has not made; name another folder"
            )
        self._about = about
        self._write()

    def _is_whole(self, record: dict[str, Any]) -> bool:
        """Whether a record has the form that :meth:`_write` gives it."""
        steps = record.get("steps")
        return (
            record.get("format") == self._format
            and isinstance(record.get("about"), dict)
            and isinstance(steps, dict)
            and all(
                isinstance(s, dict) and {"settings", "done"} <= s.keys() for s in steps.values()
            )
            and all(isinstance(s["settings"], dict) for s in steps.values())
        )

    def _write(self) -> None:
        content = {"format": self._format, "about": self._about, "steps": self._steps}
        write_json(self._path, content, indent=1)

    def run(self, step: Step) -> bool:
        """Do a step unless it is done; returns whether it was done now."""
        settings = json.loads(json.dumps(step.settings))
        old = self._steps.get(step.name)
        same = old is not None and old["settings"] == settings
        whole = all((self.folder / path).exists() for path in step.outputs)
        if old is not None and same and old["done"] and whole:
            logger.info("%s: is done already", step.name)
            return False
        if old is not None and not same:
            logger.warning("%s: %s; done anew", step.name, differences(old["settings"], settings))
        elif old is not None and old["done"]:
            logger.warning("%s: some of its files are gone; done anew", step.name)
        elif old is not None:
            logger.info("%s: goes on where it was interrupted", step.name)
        resumes = old is not None and same and not old["done"]
        if not resumes:
            self._clear(step)
        self._steps[step.name] = {"settings": settings, "done": False}
        self._write()
        start = time.monotonic()
        step.work(resumes)
        seconds = round(time.monotonic() - start, 1)
        self._steps[step.name] = {"settings": settings, "done": True, "seconds": seconds}
        self._write()
        return True

    def _clear(self, step: Step) -> None:
        """Remove what the step left when it was done with other settings."""
        paths = [self.folder / path for path in step.outputs]
        for pattern in step.leftovers:
            paths += self.folder.glob(pattern)
        for path in paths:
            remove(path)
