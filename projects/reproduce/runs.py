"""Do the runs: several at a time, each in a process of its own, finished ones never again."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path

from plan import Run

from wend.errors import InputError
from wend.files import read_json, write_json
from wend.inference.engines import ENGINES

FINISHED = "finished.json"
LOG = "run.log"
STARTED = "started.json"
SAMPLE_ITERATIONS = 21  # the engines log their time each 20 iterations
LAST_LINES = 12

Target = Callable[[list[str], str, int], None]


@dataclass(frozen=True)
class Failure:
    """A run that ended with an error.

    Attributes:
        tail: the last lines of its log.
    """

    run: Run
    status: int
    tail: str


def is_finished(run: Run) -> bool:
    """Whether the run was done with this very config.

    Raises:
        InputError: its folder holds a run of another config.
    """
    for name in (STARTED, FINISHED):
        note = run.folder / name
        if note.is_file() and read_json(note, "a note of this project").get("key") != run.key:
            raise InputError(
                f"{run.folder}: holds a run of another config (key in {name} is not {run.key[:8]}"
                f"...); delete the folder, or choose another --output"
            )
    return (run.folder / FINISHED).is_file()


def unique(runs: Iterable[Run]) -> list[Run]:
    """Each folder's run once, in order."""
    return list({run.folder: run for run in runs}.values())


def train_in_child(arguments: list[str], log: str, threads: int) -> None:
    """A child's whole work: ``train_net.py`` with its output in a file."""
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(target, stream)
    import torch

    from wend.cli.train import main

    torch.set_num_threads(threads)
    sys.exit(main(arguments))


def _context(engine: str, threads: int) -> multiprocessing.context.BaseContext:
    """Processes that start with the engine imported, which takes seconds."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["wend.cli.train", f"{ENGINES[engine]}.run"])
    return context


def run_all(
    runs: Sequence[Run],
    jobs: int,
    threads: int,
    say: Callable[[str], None] = print,
    target: Target = train_in_child,
) -> list[Failure]:
    """Do what is not finished; Ctrl-C stops it, and a later call goes on from the checkpoints.

    Args:
        runs: each folder once.
        jobs: processes at a time.
        threads: of each process.
        say: takes the lines of progress.
        target: what a child does.

    Returns:
        The runs that failed; the others went on.
    """
    todo = [run for run in runs if not is_finished(run)]
    say(f"{len(runs)} runs: {len(runs) - len(todo)} finished already, {len(todo)} to do")
    if not todo:
        return []
    context, start = _context(todo[0].engine, threads), time.monotonic()
    waiting, active, failures = todo[:], {}, []
    done = 0
    try:
        while waiting or active:
            while waiting and len(active) < jobs:
                run = waiting.pop(0)
                child = _start(context, run, threads, target)
                active[child.sentinel] = (run, child, time.monotonic())
            for sentinel in wait(active):
                run, child, began = active.pop(sentinel)
                child.join()
                seconds = time.monotonic() - began
                done += 1
                failed = _finish(run, child.exitcode, seconds)
                failures += failed
                rest = (time.monotonic() - start) / done * (len(todo) - done)
                state = "FAILED" if failed else "done"
                say(
                    f"[{done}/{len(todo)}] {run.name} seed {run.seed}: {state} in {seconds:.0f} s; "
                    f"about {timedelta(seconds=round(rest))} left"
                )
    finally:
        for _, child, _ in active.values():
            child.terminate()
    return failures


def _start(context, run: Run, threads: int, target: Target) -> multiprocessing.process.BaseProcess:
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(run.folder / STARTED, {"key": run.key, "command": run.command()})
    log = str(run.folder / LOG)
    child = context.Process(target=target, args=(run.arguments(), log, threads))
    child.start()
    return child


def _finish(run: Run, status: int | None, seconds: float) -> list[Failure]:
    if status == 0:
        write_json(run.folder / FINISHED, {"key": run.key, "seconds": round(seconds, 1)})
        for checkpoint in run.folder.glob("model_0*.pth"):  # model_final.pth is enough
            checkpoint.unlink()
        return []
    log = run.folder / LOG
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return [Failure(run, status or 1, "\n".join(lines[-LAST_LINES:]))]


def sample_seconds(run: Run, threads: int) -> float:
    """Seconds that a run will take, from its first :data:`SAMPLE_ITERATIONS` iterations.

    Raises:
        InputError: the short run failed; the message ends in its last lines.
    """
    context = _context(run.engine, threads)
    with tempfile.TemporaryDirectory() as folder:
        short = {"SOLVER.MAX_ITER": str(SAMPLE_ITERATIONS), "SOLVER.WARMUP_ITERS": "0"}
        arguments = run.arguments(Path(folder) / "run", **short)
        log = Path(folder) / "log"
        start = time.monotonic()
        child = context.Process(target=train_in_child, args=(arguments, str(log), threads))
        child.start()
        child.join()
        if child.exitcode != 0:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])
            raise InputError(f"{run.command()}: ended with status {child.exitcode}:\n{tail}")
        seconds = time.monotonic() - start
        lines = (Path(folder) / "run" / "metrics.json").read_text().splitlines()
        times = [line["time"] for line in map(json.loads, lines) if "time" in line]
    return seconds + times[-1] * max(run.max_iter - SAMPLE_ITERATIONS, 0)


def estimate(
    runs: Sequence[Run], jobs: int, sample: Callable[[Run], float]
) -> tuple[float, Mapping[str, float]]:
    """Seconds that the unfinished runs will take, and the seconds of one run of each config.

    A config of which a run is finished is not sampled: its time is known.
    """
    known: dict[str, float] = {}
    for run in runs:
        if is_finished(run):
            note = read_json(run.folder / FINISHED, "a note of this project")
            known[run.time_key] = note["seconds"]
    todo = [run for run in runs if not is_finished(run)]
    for run in todo:
        if run.time_key not in known:
            known[run.time_key] = sample(run)
    return sum(known[run.time_key] for run in todo) / jobs, known
