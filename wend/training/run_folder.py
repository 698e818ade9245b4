"""A run's folder has one run in it: it is locked while one writes, and a used one is not reused.

A training adds lines to its logs, and resuming takes the newest checkpoint: what an earlier run
left there would become part of this one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fvcore.common.config import CfgNode

from wend.errors import InputError, some
from wend.files import remove
from wend.processes import gather, is_main, main_first
from wend.run_files import (
    CONFIG_FILE,
    CURVE_FILE,
    EVALUATIONS,
    LOSSES_FILE,
    TRAINING_FILES,
    WEIGHTS,
    checkpoint_files,
)
from wend.run_lock import locked
from wend.training.checkpoints import clear_leftovers
from wend.training.interruption import Interruption, telling_what_is_kept
from wend.training.log_files import cut_logs
from wend.yaml_files import read_yaml

logger = logging.getLogger(__name__)


@contextmanager
def taken(output_dir: str | Path, doing: str = "wend train") -> Iterator[None]:
    """Hold a run's folder; the main process does for all of them, and all come here.

    Raises:
        InputError: another run writes there, or nothing can be written there; on all.
    """
    with ExitStack() as stack:
        _main_first(lambda: stack.enter_context(locked(output_dir, doing=doing)))
        yield


def begin(cfg: CfgNode, *, overwrite: bool, resume: bool) -> bool:
    """Make OUTPUT_DIR ready for a training; all processes come here, before they write.

    What a training left that ended before its first checkpoint is removed, and said.

    Args:
        cfg: ``OUTPUT_DIR``, and ``MODEL.WEIGHTS``, which is not to be removed.
        overwrite: what an earlier training left is removed, too.
        resume: it is to be gone on with, if it has a checkpoint.

    Returns:
        Whether there is a checkpoint to go on from.

    Raises:
        InputError: an earlier run is there, and it was not said what to do with it; on all.
    """
    folder = Path(cfg.OUTPUT_DIR)
    if resume and overwrite:
        raise InputError("--resume goes on with a run, --overwrite removes it: give one of both")
    if gather(resume and bool(checkpoint_files(folder)))[0]:  # as the main process sees it
        return True

    def make_ready() -> None:
        if not overwrite:
            _check_unused(folder, resumes=resume)
        clear(cfg)

    _main_first(make_ready)
    return False


def refuse_used(output_dir: str | Path) -> None:
    """Raise InputError where a training that begins anew would add to an earlier one; on all."""
    _main_first(lambda: _check_unused(Path(output_dir)))


def _check_unused(output_dir: Path, *, resumes: bool = False) -> None:
    if results := earlier_results(output_dir):
        goes_on = "no checkpoint is there to go on from"
        if not resumes:
            goes_on = "--resume goes on with it (in a script: resume_or_load(resume=True))"
        raise InputError(
            f"OUTPUT_DIR {output_dir}: holds an earlier run ({some(results)}); {goes_on}, "
            f"--overwrite removes it and starts anew (Trainer(cfg, overwrite=True)), and another "
            f"OUTPUT_DIR leaves it as it is"
        )


@contextmanager
def trained_in(
    output_dir: str | Path,
    start_iter: int,
    interruption: Interruption,
    *,
    logs_are_whole: bool = False,
    first_line: int | None = None,
) -> Iterator[None]:
    """Hold a run's folder while a training writes into it; all processes come here.

    What a killed run left unfinished there is removed. A signal, and a disk that is full, end the
    training with a line that says which checkpoint it can go on from.

    Args:
        start_iter: the iteration that the training begins with, from 0.
        interruption: notes signals inside.
        logs_are_whole: there is nothing left to do, and nothing will come again.
        first_line: see :func:`wend.training.log_files.cut_logs`.

    Raises:
        InputError: another run writes there, nothing can be written there, or a training that
            begins anew would add to an earlier one; on all processes.
    """
    with taken(output_dir, "a training"), telling_what_is_kept(output_dir):
        if not start_iter:
            refuse_used(output_dir)
        if is_main():
            clear_leftovers(output_dir)
            if not logs_are_whole:
                cut_logs(output_dir, start_iter, first_line)
        with interruption.listening():
            yield


def clear(cfg: CfgNode, *, keep: Sequence[str] = ()) -> None:
    """Remove what an earlier training left in OUTPUT_DIR, and say so.

    Args:
        cfg: ``OUTPUT_DIR``, and ``MODEL.WEIGHTS``.
        keep: patterns of files that are this run's already.

    Raises:
        InputError: ``MODEL.WEIGHTS`` is among it.
    """
    folder, weights = Path(cfg.OUTPUT_DIR), Path(cfg.MODEL.WEIGHTS)
    results = earlier_results(folder)
    kept = {path for pattern in keep for path in folder.glob(pattern)}
    removed = sorted({path for pattern in TRAINING_FILES for path in folder.glob(pattern)} - kept)
    if weights.is_file() and any(weights.samefile(path) for path in removed):
        raise InputError(
            f"config entry MODEL.WEIGHTS: {weights} is of the run that --overwrite removes; move "
            f"it to another folder, or name another OUTPUT_DIR"
        )
    for path in removed:
        remove(path)
    if removed:
        why = (
            "held an earlier run" if results else "a start ended there before its first checkpoint"
        )
        names = some([path.name for path in removed], limit=20)
        logger.info("OUTPUT_DIR %s: %s; removed: %s", folder, why, names)


def earlier_results(folder: Path) -> list[str]:
    """What of trainings and evaluations lies in a folder that somebody may want, by name."""
    weights = [path.name for path in sorted(folder.glob(WEIGHTS))]
    logs = [CURVE_FILE] if _has_text(folder / CURVE_FILE) else []
    if _has_text(folder / LOSSES_FILE) and not _ended_early(folder):
        logs.append(LOSSES_FILE)
    scores = [
        f"{EVALUATIONS}/{path.name}"
        for path in sorted((folder / EVALUATIONS).glob("*"))
        if path.is_dir() and any(path.iterdir())
    ]
    return [*weights, *logs, *scores]


def _has_text(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _ended_early(folder: Path) -> bool:
    """Whether the losses that were logged are of a start that came to no checkpoint."""
    try:
        solver = read_yaml(folder / CONFIG_FILE, "the config of a run")["SOLVER"]
        lines = (folder / LOSSES_FILE).read_text(encoding="utf-8").splitlines()
        steps = [json.loads(line).get("iteration", 0) for line in lines]
        # of the step that is to be saved, too: perhaps it could not be
        return max(steps) < min(solver["CHECKPOINT_PERIOD"], solver["MAX_ITER"])
    except (AttributeError, KeyError, OSError, TypeError, ValueError):  # of no run of ours
        return False


def _main_first(action: Callable[[], object]) -> None:
    """Let the main process do something first; what the system refuses it ends all of them."""

    def told() -> None:
        try:
            action()
        except OSError as error:
            if isinstance(error, InputError) or error.filename is None:
                raise
            raise InputError(f"{error.filename}: {error.strerror}") from error

    main_first(told)
