"""Work on many images that several processes share out, each of which may end before it is done.

Each process notes what it has done in a file of its own, a part, in one folder
(``<output>.partial`` or the like). What is done is what any part says, whoever wrote it: so a run
goes on with another number of processes, after an interruption of any of them, and the whole is
made of the parts in the same way whether one process wrote them, those of a launcher
(:mod:`wend.launch.crew`), or jobs that know nothing of each other (``--shard``).

Work comes in units, which are the same for any number of processes, such as a batch.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import signal
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from wend.errors import InputError, Interrupted, some
from wend.files import remove
from wend.launch.crew import Crew
from wend.partial import PartialFile, RecordContent, differences, read_record
from wend.progress import Progress
from wend.run_lock import locked_file
from wend.stop_signals import SAME_COMMAND

Item = TypeVar("Item")
Unit = TypeVar("Unit")
PATTERN = "part.*.jsonl"
_SHARD = re.compile(r"part\.shard-(\d+)-of-(\d+)\.")
logger = logging.getLogger(__name__)


def digest_of_keys(keys: Sequence[str]) -> str:
    """SHA-256 of the images' names, so that all parts are of the same images."""
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()


@dataclass(frozen=True)
class Shard:
    """A share of the work that is done without the others: one of ``number``, from 0."""

    index: int
    number: int

    def __str__(self) -> str:
        return f"{self.index}/{self.number}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``I/N``; raises InputError for other words, and for an I that is not below N."""
        match = re.fullmatch(r"(\d{1,9})/([1-9]\d{0,8})", text)
        if not match:
            raise InputError(f"--shard: expected I/N, such as 0/8, got {text!r}")
        index, number = map(int, match.groups())
        if index >= number:
            raise InputError(
                f"--shard {text}: shards count from 0, so that of {number} the last is "
                f"{number - 1}/{number}; use a job array of 0-{number - 1}, or $((I - 1))/N"
            )
        return cls(index, number)


@dataclass(frozen=True)
class Step:
    """A mark that a shard has done all of its share of a step."""

    shard: Shard
    name: str


class Parts(Generic[Item]):
    """The parts of a folder, together, and the one that this process writes.

    A context: inside, no other run may make the same output, other shards of it excepted. Where a
    signal ends it, :class:`wend.errors.Interrupted` says how much is done.

    Args:
        output: the file or folder that the parts are for.
        folder: of the parts; made with the first thing to note.
        format: the name of the parts' format.
        settings: what the work depends on, JSON values. The parts of a run with others make room,
            and the log says why; those of shards do not, and no shard starts beside any.
        from_row: key and item of a row that :meth:`add` wrote; raises as for PartialFile.
        crew: the processes that share this command out; all make their Parts at the same time.
        shard: does a share of the work alone.
        leftovers: what else the work keeps in the folder, by name; it goes with the parts.
        to_merge: nothing will be added.
        doing: the command, for whoever is refused.

    Attributes:
        done: key -> item of all that is done; on the main process alone.
        marks: steps that shards have finished; on the main process alone.

    Raises:
        InputError: there are parts of other settings that stay, or another run is at work.
    """

    def __init__(
        self,
        output: str | Path,
        folder: Path,
        format: str,
        settings: dict[str, Any],
        from_row: Callable[[dict[str, Any]], tuple[Hashable, Item]],
        crew: Crew,
        shard: Shard | None = None,
        leftovers: Sequence[str] = (),
        *,
        to_merge: bool = False,
        doing: str = "wend",
    ) -> None:
        self.folder, self.crew, self.shard, self._leftovers = folder, crew, shard, leftovers
        self._format, self._from_row, self._to_merge = format, from_row, to_merge
        self.settings: dict[str, Any] = json.loads(json.dumps(settings))
        self._output, self._doing = output, doing
        self.done: dict[Hashable, Item] = {}
        self.marks: set[Step] = set()
        self._locks = ExitStack()
        self._part: PartialFile | None = None
        self._bar: Progress | None = None
        self._counted = 0  # images, by this run, of all steps
        self._of_step = ("", 0, 0)  # its name, what to add to what is counted, number of images

    def __enter__(self) -> Parts[Item]:
        if self.crew.is_main:
            shard, doing = self.shard, self._doing
            doing = f"{doing} --shard {shard}" if shard else doing
            lock = self._locks.enter_context
            lock(locked_file(self._output, doing=doing, shared=shard is not None))
            try:
                if shard:
                    own = self.folder / f"shard-{shard.index}-of-{shard.number}"
                    lock(locked_file(own, doing=doing))
                self._take_up()
            except BaseException:
                self._locks.close()
                raise
        self.crew.broadcast()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        with self._locks:
            if self._part is not None:
                self._part.close()
        if isinstance(error, KeyboardInterrupt):
            number = getattr(error, "signal", signal.SIGINT)
            told = not self.crew.is_main or self.crew.has_failed
            what, before, total = self._of_step
            kept = f"{what}: {before + self._counted} of {total} images are done; " if total else ""
            kept += SAME_COMMAND
            raise Interrupted(number, kept, told) from None

    def _take_up(self) -> None:
        """Read what is done, or make room."""
        if self.folder.is_file():  # of an earlier version
            logger.warning("%s: is of another version; starting anew", self.folder)
            self.folder.unlink()
        of_shards = any(_SHARD.match(path.name) for path in self.folder.glob(PATTERN))
        self._read(may_start_anew=not (self._to_merge or self.shard or of_shards))
        if self.num_images and not self._to_merge:
            logger.info("%s: %d images are done", self.folder, self.num_images)

    @classmethod
    def of_folder(
        cls,
        output: str | Path,
        folder: Path,
        format: str,
        from_row: Callable[[dict[str, Any]], tuple[Hashable, Item]],
        leftovers: Sequence[str] = (),
        *,
        doing: str = "wend",
    ) -> Parts[Item]:
        """The parts of a folder to merge, whatever the settings that they share.

        Raises:
            InputError: there are none.
        """
        for path in sorted(folder.glob(PATTERN)):
            settings = read_record(path, format, from_row).settings
            if settings is not None:
                return cls(
                    *(output, folder, format, settings, from_row, Crew(), None, leftovers),
                    to_merge=True,
                    doing=doing,
                )
        there = f"; {output} is there already" if Path(output).exists() else ""
        raise InputError(f"{folder}: holds no part of an unfinished run of this version{there}")

    @property
    def num_images(self) -> int:
        """How many images are done: those with a key of their own, which is a text."""
        return sum(isinstance(key, str) for key in self.done)

    def _read(self, may_start_anew: bool = False) -> None:
        """Learn what is done from all parts."""
        damaged = 0
        for path in sorted(self.folder.glob(PATTERN)):
            content: RecordContent = read_record(path, self._format, self._any_row)
            problem = self._problem(content)
            if problem and not may_start_anew:
                raise InputError(
                    f"{path}: {problem}; remove {self.folder} to start anew, or use what it was "
                    f"made with"
                )
            if problem:
                logger.warning("%s: %s; starting anew", path, problem)
                self._clear()
                return
            damaged += content.damaged + (content.settings is None and not content.cut_off)
            for key, item in content.items:
                if isinstance(key, Step):
                    self.marks.add(key)
                else:
                    self.done[key] = item
        if damaged:
            logger.warning(
                "%s: %d lines are damaged; what they held is done again", self.folder, damaged
            )

    def _problem(self, content: RecordContent) -> str:
        if content.settings is None:  # damaged, or its writer was killed over its first line
            return "is a part of another version" if content.other_format else ""
        changed = differences(content.settings, self.settings)
        return f"the settings have changed ({changed})" if changed else ""

    def _any_row(self, row: dict[str, Any]) -> tuple[Hashable, Any]:
        if "finished" in row:
            return Step(Shard(*row["shard"]), row["finished"]), None
        return self._from_row(row)

    def share(
        self,
        what: str,
        units: Sequence[Unit],
        is_done: Callable[[Unit], bool],
        num_images: Callable[[Unit], int],
    ) -> list[Unit]:
        """Begin a step: which units this process is to do, in their order.

        All processes of the crew call it, and :meth:`end_step` when they have done theirs.

        Args:
            what: is done, for the progress bar, which the main process has for all.
            units: of the whole work, the same in every process and shard.
            is_done: whether a unit's work is done; asked on the main process alone.
            num_images: of a unit.
        """
        candidates = list(units)
        if self.shard is not None:
            candidates = candidates[self.shard.index :: self.shard.number]
            what = f"{what}, shard {self.shard}"
        rest = None
        if self.crew.is_main:
            rest = [i for i, unit in enumerate(candidates) if not is_done(unit)]
            total = sum(map(num_images, candidates))
            there = total - sum(num_images(candidates[i]) for i in rest)
            self._bar = Progress(what, total, there)
            self._of_step = (what, there - self._counted, total)
        mine = self.crew.broadcast(rest)[self.crew.rank :: self.crew.size]
        return [candidates[i] for i in mine]

    def advance(self, number: int) -> None:
        """Count images, of which this process has done the work of this step."""
        of_all = self.crew.advance(number)
        if of_all is None:
            of_all = self._counted + number
        self._show(of_all)

    def _show(self, of_all: int) -> None:
        if self._bar is not None:
            self._bar.update(of_all - self._counted)
        self._counted = of_all

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Note work as done."""
        self._own_part().add(rows)
        if self.crew.is_main:
            self.done.update(map(self._from_row, rows))

    def _own_part(self) -> PartialFile:
        if self._part is None:
            crew, shard = self.crew, self.shard
            name = f"part.shard-{shard.index}-of-{shard.number}" if shard else "part"
            name = f"{name}.{crew.rank}-of-{crew.size}"
            attempt = 0
            while (path := self.folder / f"{name}.{attempt}.jsonl").exists():
                attempt += 1
            self._part = PartialFile(path, self._format, self.settings, self._from_row)
        return self._part

    def end_step(self, name: str) -> None:
        """Have a step's work on the disk, wait for the crew, and learn what all have done."""
        if self._part is not None:
            self._part.close()
        self.crew.wait(self._show)
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if not self.crew.is_main:
            return
        if self.shard is not None:
            mark = {"finished": name, "shard": [self.shard.index, self.shard.number]}
            self._own_part().add([mark])
            self._own_part().close()
        if self.crew.size > 1 or self.shard is not None:
            self._read()

    def of_all(self, keys: Sequence[str], step: str) -> dict[str, Item]:
        """The items of the images of these keys, in their order.

        Args:
            step: the last one, after which all of them are done.

        Raises:
            InputError: some are not done; names them, and the shards that are not finished.
        """
        missing = [key for key in keys if key not in self.done]
        if not missing:
            return {key: self.done[key] for key in keys}
        shards = self.open_shards(step)
        raise InputError(
            f"{self.folder}: {len(missing)} of {len(keys)} images are not done ({some(missing)})"
            f"{f'; {shards}' if shards else ''}. Run what is missing, or the same command without "
            f"--shard, which does the rest and makes the whole. (Processes on several machines "
            f"need a folder that all of them see)"
        )

    def what_is_open(self, num_images: int, step: str) -> str:
        """Which shards have work left of so many images, in words; see :meth:`open_shards`."""
        if self.num_images == num_images:  # be it by shards of another number
            return "no shard is missing"
        return self.open_shards(step) or "no shard is known to be missing"

    def open_shards(self, step: str) -> str:
        """Which shards have not finished a step, in words; empty where none is known to be open."""
        numbers = {mark.shard.number for mark in self.marks}
        names = [_SHARD.match(path.name) for path in self.folder.glob(PATTERN)]
        numbers |= {int(match[2]) for match in names if match}
        missing = [
            str(shard)
            for number in sorted(numbers)
            for shard in (Shard(index, number) for index in range(number))
            if Step(shard, step) not in self.marks
        ]
        return f"not finished: shard {some(missing, 10)}" if missing else ""

    def _clear(self) -> None:
        self.done.clear()
        self.marks.clear()
        for path in self.folder.iterdir():
            if path.match(PATTERN) or path.name in self._leftovers:
                remove(path)

    def remove(self) -> None:
        """Remove the parts, once everything is written where it belongs."""
        if self._part is not None:
            self._part.close()
            self._part = None
        if self.folder.is_dir():
            self._clear()
            with suppress(OSError):  # something of the user's lies there
                self.folder.rmdir()
