"""The checkpoints of a run's folder: how they are saved, which one a run goes on from, which stay.

A checkpoint is whole before it gets its name, and checked before it is used: a training goes on
from the newest whole one. ``last_checkpoint`` is a note for Detectron2's users and tools alone.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from wend.errors import InputError
from wend.evaluation.best import BEST_KEY
from wend.files import atomic_write, leftovers
from wend.modeling.weights import CheckedLoading
from wend.processes import of_main
from wend.run_files import (
    BEST_WEIGHTS,
    EVALUATIONS,
    FINAL_WEIGHTS,
    LAST_CHECKPOINT,
    TENSORS,
    TRAINING_FILES,
    checkpoint_files,
    noted_checkpoint,
    periodic_checkpoints,
)
from wend.training.changes import check_changes
from wend.training.facts import TRAINING_KEY, Asked
from wend.weight_files import (
    ORIGIN_KEY,
    Origin,
    UnreadableError,
    damage,
    read_content,
    stated_origin,
)

KEPT_CHECKPOINTS = 2  # besides model_final.pth; 50 epochs of the paper's head would take 40 GB
WITH_TENSORS = (FINAL_WEIGHTS, BEST_WEIGHTS)  # those beside which the weights lie as safetensors
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """The newest whole checkpoint of a folder.

    Attributes:
        path: the file.
        content: what it holds; tensors are read once they are used.
        passed_over: why newer ones were passed over, each in words.
    """

    path: Path
    content: Mapping[str, Any]
    passed_over: tuple[str, ...]

    def say(self) -> None:
        """Log what was passed over, and where ``last_checkpoint`` names another file."""
        for reason in self.passed_over:
            logger.warning("passed over %s", reason)
        if self.passed_over:
            logger.warning("%s is the newest whole checkpoint", self.path)
        noted = noted_checkpoint(self.path.parent)
        if noted not in (None, self.path):
            logger.info(
                "%s names %s; %s is newer (remove it to go back)",
                *(LAST_CHECKPOINT, noted, self.path.name),
            )


def newest_whole(folder: str | Path, *, of_training: bool = True) -> Choice | None:
    """The newest whole checkpoint of a run's folder; None where there is none at all.

    The order is that of the iterations that they state. Each is checked by :func:`damage`.

    Args:
        of_training: it must hold the state of a training, from which one can go on.

    Raises:
        InputError: there are some, and none is whole.
    """
    files = checkpoint_files(folder)
    ranked = []
    passed_over: list[str] = []
    for place, path in enumerate(files):
        content, problem = _peek(path, of_training=of_training)
        iteration = content.get("iteration", -1) if not problem else _named_iteration(path)
        ranked.append((iteration, place, path, content, problem))
    for *_, path, content, problem in sorted(ranked, key=lambda each: each[:2], reverse=True):
        problem = problem or damage(path)
        if not problem:
            return Choice(path, content, tuple(passed_over))
        passed_over.append(problem)
    if not files:
        return None
    raise InputError(
        f"{folder}: none of its {len(files)} checkpoints is whole: {'; '.join(passed_over)}. Copy "
        f"a whole one to it, or begin anew: remove them, or name another OUTPUT_DIR"
    )


def _peek(path: Path, *, of_training: bool) -> tuple[Mapping[str, Any], str]:
    """What a file holds, and why it is no checkpoint; empty where it is one."""
    try:
        content = read_content(path, mmap=True)
    except UnreadableError as error:
        return {}, error.reason
    except InputError as error:  # gone in the meantime
        return {}, str(error)
    if not isinstance(content, dict):
        return {}, f"{path}: holds no checkpoint but {type(content).__name__}"
    if "iteration" in content and not _is_iteration(content["iteration"]):
        return {}, f"{path}: its iteration is no whole number"
    if of_training and not ("iteration" in content and isinstance(content.get("model"), dict)):
        return {}, f"{path}: holds weights alone, no training to go on with"
    return content, ""


def _is_iteration(value: object) -> bool:
    return type(value) is int and value >= 0


def _named_iteration(path: Path) -> float:
    """The iteration that a file's name has; what names none may be the newest."""
    periodic = {file: number for number, file in periodic_checkpoints(path.parent).items()}
    return periodic.get(path, float("inf"))


def clear_old(folder: str | Path, iteration: int, keep: int) -> None:
    """Remove periodic checkpoints but for the newest, whichever run of the training saved them.

    Args:
        iteration: the one that the training is at; files of later ones count for nothing and stay.
        keep: how many stay, at least 1.
    """
    passed = [path for i, path in periodic_checkpoints(folder).items() if i <= iteration]
    for path in passed[:-keep]:
        if not path.is_symlink():  # a user's
            path.unlink(missing_ok=True)


def clear_leftovers(folder: str | Path) -> None:
    """Remove the temporary files that killed runs left in a run's folder, and say so.

    Only where no other run writes to it.
    """
    results = [path for path in Path(folder, EVALUATIONS).glob("*") if path.is_dir()]
    files = leftovers(Path(folder), TRAINING_FILES)
    for results_of_set in results:
        files += leftovers(results_of_set, ("*.json", "*.parquet", "*.md", "*.csv", "*.tex"))
    size = 0
    for path in files:
        size += path.stat().st_size
        path.unlink()
    if files:
        logger.info(
            "%s: %d unfinished files of runs that were killed are removed (%.1f MB)",
            *(folder, len(files), size / 1e6),
        )


def refuse_changes(folder: str | Path, asked: Asked, *, allow: bool) -> None:
    """Raise InputError where a training cannot go on in a folder, before anything is built.

    Args:
        folder: the run's.
        asked: what the training is asked for.
        allow: whether it may be another one than that of the folder's checkpoint.
    """
    choice = newest_whole(folder)
    if choice is not None:
        check_changes(choice.path, choice.content, asked, allow=allow, say=False)


class ClearsByListing:
    """Before a ``PeriodicCheckpointer`` of fvcore's: what is old is told by listing the folder.

    fvcore's own list begins anew with each start of a training. The checkpointer saves to a folder
    that is its run's alone.
    """

    checkpointer: Any
    keep = KEPT_CHECKPOINTS

    def step(self, iteration: int, **kwargs: Any) -> None:
        """Save where it is time to, and remove what is old then."""
        super().step(iteration, **kwargs)  # type: ignore[misc]
        if self.checkpointer.save_to_disk and (iteration + 1) % self.period == 0:  # type: ignore
            clear_old(self.checkpointer.save_dir, iteration, self.keep)


def unshared(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights as safetensors takes them: contiguous, each with numbers of its own."""
    tensors = {name: value for name, value in weights.items() if isinstance(value, Tensor)}
    seen: set[int] = set()
    for name, value in tensors.items():
        address = value.untyped_storage().data_ptr()
        tensors[name] = value.detach().cpu().contiguous()
        if address in seen or tensors[name].untyped_storage().nbytes() != tensors[name].nbytes:
            tensors[name] = tensors[name].clone()
        seen.add(address)
    return tensors


@contextmanager
def _checksums() -> Iterator[None]:
    """Let torch write the checksums by which damage is seen, whatever the user has set."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(True)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


def _write_tensors(
    path: Path, weights: Mapping[str, torch.Tensor], about: Mapping[str, Any]
) -> None:
    """Write a checkpoint's weights alone beside it, with how they came about as metadata."""
    texts = {key: json.dumps(about[key]) for key in (ORIGIN_KEY, BEST_KEY) if key in about}
    tensors = safetensors.torch.save(unshared(weights), {"format": "pt", **texts})
    with atomic_write(path.with_suffix(TENSORS), "wb", durable=True) as file:
        file.write(tensors)


class RunCheckpointer(CheckedLoading):
    """Saves a training's checkpoints and goes on from the newest whole one.

    To be mixed in before a subclass of fvcore's ``Checkpointer``.

    Attributes:
        origin: how the weights came about, which checkpoints then say; None: they do not.
        saved_model: the model whose weights are saved as the checkpoint's, such as an average of
            those that are trained; None: the one that is loaded.
        asked: what the training is, which checkpoints then say, and which one that is resumed is
            compared with; None: they do not, and it is not.
        allow_changes: whether a training is gone on with that differs from it.
        changed: the config entries that differ from those of the checkpoint that was resumed.
        resumed_from: its path; empty where none was.
    """

    origin: Origin | None = None
    saved_model: torch.nn.Module | None = None
    asked: Asked | None = None
    allow_changes = False
    changed: frozenset[str] = frozenset()
    resumed_from = ""

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint in its folder, whole or not."""
        return bool(self.save_dir) and bool(checkpoint_files(self.save_dir))

    def get_checkpoint_file(self) -> str:
        """The path of the checkpoint that was saved last; empty where there is none."""
        noted = noted_checkpoint(self.save_dir) if self.save_dir else None
        files = checkpoint_files(self.save_dir) if self.save_dir else []
        return str(noted or (files[-1] if files else ""))

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Go on from the newest whole checkpoint of its folder, or load the weights of a file.

        All processes take the same one. What is resumed must be this very detector.

        Args:
            path: of initial weights; empty for none.
            resume: whether to go on where the folder holds a checkpoint.

        Returns:
            What the file holds that nobody took.

        Raises:
            InputError: the folder's checkpoints are all damaged, the training differs from the one
                that is asked for and :attr:`allow_changes` is false, or the file does not fit.
        """
        if not resume:
            return self.load(path, checkpointables=[])
        chosen, self.changed = of_main(self._choose)
        self.resumed_from = chosen
        if not chosen:
            logger.warning(
                "%s: there is no checkpoint to resume from; starting anew from %s",
                *(self.save_dir or "no folder", path or "random weights"),
            )
            return self.load(path, checkpointables=[])
        self.require_all = True
        try:
            return self.load(chosen)
        except InputError:
            raise
        except (ValueError, KeyError, TypeError) as error:  # torch's, of the optimizer's state
            raise InputError(
                f"{chosen}: its state of the optimizer or the schedule does not fit this training "
                f"({' '.join(str(error).split())}); begin a new one from its weights: "
                f"MODEL.WEIGHTS {chosen}, without --resume"
            ) from error

    def _choose(self) -> tuple[str, frozenset[str]]:
        """The path of the newest whole checkpoint, and the entries that differ from its own."""
        choice = newest_whole(self.save_dir) if self.save_dir else None
        if choice is None:
            return "", frozenset()
        choice.say()
        changed: frozenset[str] = frozenset()
        if self.asked is not None:
            allow = self.allow_changes
            changed = check_changes(choice.path, choice.content, self.asked, allow=allow)
        return str(choice.path), changed

    def save(self, name: str, **kwargs: Any) -> None:
        """Saves as fvcore's, but whole or not at all, also where the machine loses its power."""
        if not self.save_dir or not self.save_to_disk:
            return
        self.tag_last_checkpoint(self.write(name, **kwargs).name)

    def write(self, name: str, **kwargs: Any) -> Path:
        """Write a checkpoint that is not noted as the last one.

        The file stays as it was where writing fails. Beside ``model_final.pth`` and
        ``model_best.pth`` the weights alone are written as safetensors, too; the best one's
        metadata say what is best about it.

        Args:
            name: of the file, without ``.pth``.
            kwargs: what it holds besides the model and the checkpointables, such as ``iteration``.
        """
        parts = {key: part.state_dict() for key, part in self.checkpointables.items()}
        path = Path(self.save_dir) / f"{name}.pth"
        logger.info("saving checkpoint to %s", path)
        model = self.model if self.saved_model is None else self.saved_model
        weights = model.state_dict()
        if self.asked is not None:
            parts[TRAINING_KEY] = {**self.asked.facts, **parts.get(TRAINING_KEY, {})}
        stated = stated_origin(self.origin)
        with atomic_write(path, "wb", durable=True) as file, _checksums():
            torch.save({"model": weights, **parts, **kwargs, **stated}, file)
        if path.name in WITH_TENSORS:
            _write_tensors(path, weights, {**stated, **parts})
        return path

    def finish(self) -> None:
        """Write what a training lacks that was killed after its last step, before its last file.

        ``model_final.pth`` is what the last of the periodic checkpoints is.
        """
        if not self.save_to_disk or not self.resumed_from:
            return
        last = Path(self.resumed_from)
        final = last.with_name(FINAL_WEIGHTS)
        if last == final and final.with_suffix(TENSORS).is_file():
            return
        if last != final:
            with last.open("rb") as whole, atomic_write(final, "wb", durable=True) as file:
                shutil.copyfileobj(whole, file)
            logger.info("%s: was not there whole; written as %s", final, last.name)
            self.tag_last_checkpoint(final.name)
        content = read_content(final, mmap=True)
        _write_tensors(final, content["model"], content)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Note the last checkpoint by name, as Detectron2 does."""
        with atomic_write(Path(self.save_dir) / LAST_CHECKPOINT, durable=True) as file:
            file.write(last_filename_basename)
