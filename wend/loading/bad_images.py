"""The handling of images that cannot be read, the same on every engine and process.

Training: ``WEND.DATA.ON_BAD_IMAGE`` "raise" ends the run, "skip" takes the next image of the data
sets (so that batches and iterations stay as many on every process), counts and names what was
skipped, and ends the run past ``WEND.DATA.MAX_BAD_SHARE``. ``WEND.DATA.QUARANTINE`` lists images
that are left out before training starts. Evaluation never skips: an error, or counted as wrong
(``WEND.DATA.ON_BAD_TEST_IMAGE``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

from torch.utils.data import Dataset, get_worker_info

from wend.errors import BadImageError, InputError, shown, some
from wend.files import parse_json, read_text
from wend.loader_workers import begin_worker, told_of_memory
from wend.structures.data_set import DataSet
from wend.user_code import UserModules

EXCHANGE_PERIOD = 20  # batches after which processes tell each other what they skipped
TO_DO = (
    "'wend data check NAME' lists all such images; WEND.DATA.QUARANTINE FILE leaves the listed "
    "ones out, WEND.DATA.ON_BAD_IMAGE skip skips a few"
)
TEST_TO_DO = (
    "evaluation leaves no image out; WEND.DATA.ON_BAD_TEST_IMAGE wrong counts such images as wrong"
)
Gather = Callable[[Any], list[Any]]
logger = logging.getLogger(__name__)


class Guarded(NamedTuple):
    """An example, and the bad images that it stands for.

    Attributes:
        example: None if there are more bad images than may be skipped.
        bad: index in the data set and message of each image that could not be read.
    """

    example: Any
    bad: tuple[tuple[int, str], ...]


class Images(Protocol):
    """Examples by index, as loaders ask for them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Batches(Protocol):
    """A loader of :class:`GuardedImages`.

    Attributes:
        dataset: in training a :class:`wend.loading.order.InOrder` of them.
    """

    dataset: Any

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[list[Guarded]]: ...


class GuardedImages(Dataset):
    """A data set of examples whose bad images are stood in for by the next one.

    Which one it is depends on the index alone, so every process and every pass does the same.
    Errors travel as values: raised in a loader's worker their message would be a traceback.

    Args:
        images: raises BadImageError for an image that cannot be read.
        most: images that may be skipped in all; 0: none.
        imports: ``WEND.IMPORTS``, which a spawned worker imports before it unpickles the images.
    """

    def __init__(self, images: Images, most: int = 0, imports: Iterable[str] = ()) -> None:
        self.imports = UserModules(imports)  # the first attribute is the first to be unpickled
        self.images, self.most = images, most
        self._has_begun = False

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Guarded:
        if not self._has_begun and get_worker_info() is not None:
            begin_worker()
            self._has_begun = True
        bad: list[tuple[int, str]] = []
        while len(bad) <= self.most:
            current = (index + len(bad)) % len(self.images)
            try:
                return Guarded(self.images[current], tuple(bad))
            except BadImageError as error:
                bad.append((current, str(error)))
        return Guarded(None, tuple(bad))


class GuardedLoader:
    """The batches of a loader of :class:`GuardedImages`, without the guard.

    Args:
        loader: yields lists of :class:`Guarded`.
        total: images of the data set.
        most: of them may be skipped.
        names: names of the data sets, for messages.
        gather: makes of each process's value the list of all, on all; None: there is one process.
        to_do: ends the error's message.
    """

    def __init__(
        self,
        loader: Batches,
        *,
        total: int,
        most: int = 0,
        names: str,
        gather: Gather | None = None,
        to_do: str = TO_DO,
    ) -> None:
        self.loader, self.total, self.most, self.names = loader, total, most, names
        self.to_do = to_do
        self.gather = gather if most else None
        self.skipped: dict[int, str] = {}
        self.times = 0
        self._new: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self.loader)

    def start_at(self, iteration: int, seed: int) -> None:
        """Begin at an iteration of a training; before the batches are asked for.

        Args:
            iteration: steps taken.
            seed: the training's.
        """
        in_order = self.loader.dataset
        in_order.start, in_order.seed = iteration, seed

    def state_dict(self) -> dict[str, Any]:
        """What was skipped, of all processes as of their last :meth:`exchange`."""
        return {"images": dict(self.skipped), "times": self.times}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with what was skipped before."""
        self.skipped = {int(index): str(message) for index, message in state["images"].items()}
        self.times = int(state["times"])

    def __iter__(self) -> Iterator[list[Any]]:
        for number, batch in enumerate(self._batches(), 1):
            for guarded in batch:
                self._new += guarded.bad
                if guarded.example is None and not self.most:
                    raise BadImageError(f"{guarded.bad[0][1]}; {self.to_do}")
                if guarded.example is None:
                    raise self._too_many({**self.skipped, **dict(guarded.bad)})
            if self.gather is None or number % EXCHANGE_PERIOD == 0:
                self.exchange()
            yield [guarded.example for guarded in batch]

    def _batches(self) -> Iterator[list[Guarded]]:
        with told_of_memory("DATALOADER.NUM_WORKERS"):
            yield from self.loader

    def exchange(self) -> None:
        """Learn what all processes skipped; all call it at the same batch and do the same after.

        Raises:
            BadImageError: more images than may be.
        """
        new, self._new = self._new, []
        everybodys = [new] if self.gather is None else self.gather(new)
        for index, message in chain.from_iterable(everybodys):
            self.times += 1
            if index not in self.skipped:
                self.skipped[index] = message
                logger.warning(
                    "skipped, %d of at most %d: %s", len(self.skipped), self.most, message
                )
        if len(self.skipped) > self.most:
            raise self._too_many(self.skipped)

    def _too_many(self, bad: Mapping[int, str]) -> BadImageError:
        names = some(message.split(": ", 1)[0] for message in bad.values())
        return BadImageError(
            f"{self.names}: {len(bad)} of {self.total} training images cannot be read ({names}), "
            f"and WEND.DATA.MAX_BAD_SHARE allows {self.most}; {self.to_do}"
        )

    def summarize(self) -> None:
        """Log how many and which images were skipped."""
        if self.most:
            names = ", ".join(message.split(": ", 1)[0] for message in self.skipped.values())
            logger.log(
                logging.WARNING if self.skipped else logging.INFO,
                "%d of %d training images could not be read and were skipped, %d times in all%s",
                len(self.skipped),
                self.total,
                self.times,
                f": {names}" if names else "",
            )


def read_quarantine(path: str) -> frozenset[str]:
    """Keys and paths of images to leave out; none if ``path`` is empty.

    Args:
        path: lines of ``wend data check`` (those marked ``leave_out``), or a key or path a line.

    Raises:
        MissingFileError, InputError: no such file, or a line that is neither.
    """
    if not path:
        return frozenset()
    listed = set()
    for number, line in enumerate(read_text(path, "images to leave out").split("\n"), 1):
        line = line.strip()
        if not line.startswith("{"):
            listed |= {line} if line else set()
            continue
        where = f"{path}, line {number}"
        expected = "a line of 'wend data check' with key and leave_out, or a key or path"
        row = parse_json(line.encode(), where, expected)
        leave_out, key = row.get("leave_out"), row.get("key")
        if not isinstance(leave_out, bool) or not isinstance(key, str):
            raise InputError(f"{where}: expected {expected}, got {shown(row)}")
        if leave_out:
            listed.add(key)
    return frozenset(listed)


def find_listed(data_set: DataSet, listed: frozenset[str]) -> dict[int, str]:
    """Index -> entry, of the images whose key or path is in the list."""
    if not listed:
        return {}
    names = enumerate(zip(data_set.keys, data_set.file_names, strict=True))
    matched = ((index, listed.intersection(pair)) for index, pair in names)
    return {index: min(entries) for index, entries in matched if entries}


def say_wrong(dataset: str, problems: Sequence[str], total: int) -> None:
    """Log the test images that could not be read and count as wrong."""
    if problems:
        logger.warning(
            "%s: %d of %d test images could not be read and count as wrong:\n%s",
            dataset,
            len(problems),
            total,
            "\n".join(problems),
        )
