"""``wend train`` around the trainer of an engine: read and check, hold the folder, then work."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

from fvcore.common.config import CfgNode

from wend import launch
from wend.collecting import collect_as_usual
from wend.datasets.catalog import DataSets
from wend.launch import Processes, check_devices, settle
from wend.modeling.initial_weights import initial_weights
from wend.processes import is_main
from wend.run import Run, check_arguments, check_shares, resolve
from wend.run_files import checkpoint_files
from wend.training.changes import warn_if_trained_otherwise
from wend.training.checkpoints import RunCheckpointer, refuse_changes
from wend.training.facts import asked_of
from wend.training.micro_batches import take_stored_number
from wend.training.rehearsal import rehearse
from wend.training.run_folder import begin, taken
from wend.training.seed import take_stored_seed
from wend.user_code import UserModules

Setup = Callable[[argparse.Namespace, Processes], Run]
Work = Callable[[argparse.Namespace, Run], object]


def run_command(args: argparse.Namespace, setup: Setup, work: Work) -> None:
    """Train, or with ``--eval-only`` evaluate, in as many processes as there are to be.

    Args:
        args: of ``wend train``.
        setup: the run that they name, by :func:`resolve_checked`; nothing is written.
        work: trains or evaluates in each process, which holds the folder.
    """
    processes = settle(args)
    launch.run(processes, partial(_prepared, args, processes, setup), partial(_held, args, work))


def _prepared(
    args: argparse.Namespace, processes: Processes, setup: Setup
) -> tuple[UserModules, Run]:
    """What is handed on; unpickling the modules imports the user's code before the run is."""
    run = setup(args, processes)
    return UserModules(run.cfg.WEND.IMPORTS), run


def _held(args: argparse.Namespace, work: Work, prepared: tuple[UserModules, Run]) -> None:
    """Work in one process."""
    collect_as_usual()
    _, run = prepared
    folder = run.cfg.OUTPUT_DIR
    with taken(folder, "an evaluation" if args.eval_only else "a training"):
        if not args.eval_only:
            launch.go_on_if_restarted(args, folder)
            begin(run.cfg, overwrite=args.overwrite, resume=args.resume)
            launch.note_start(folder)
        work(args, run)


def resolve_checked(
    args: argparse.Namespace, cfg: CfgNode, data_sets: DataSets, engine: str, processes: Processes
) -> Run:
    """A run that can be begun or gone on with; all that can be known before it is looked at.

    Args:
        args: of ``wend train``.
        cfg: the config that they name, checked.
        data_sets: the data sets by name.
        engine: the engine's name.
        processes: those that are to share it.

    Raises:
        InputError: names what is wrong.
    """
    check_arguments(args, cfg)
    trains = not args.eval_only
    resumes = args.resume and bool(checkpoint_files(cfg.OUTPUT_DIR))
    if resumes and trains:
        take_stored_seed(cfg)
        take_stored_number(cfg)
    run = resolve(cfg, data_sets, train=trains, needs_weights=not resumes)
    check_devices(run.cfg.MODEL.DEVICE, processes)
    if trains:
        check_shares(run.cfg, processes.world_size)
    if resumes and trains:
        asked = asked_of(run, engine, processes=processes.world_size)
        refuse_changes(cfg.OUTPUT_DIR, asked, allow=args.allow_changes)
    rehearse(run)
    return run


def load_to_evaluate(checkpointer: RunCheckpointer, cfg: CfgNode, *, resume: bool) -> None:
    """Load all weights of a detector: the newest whole ones of OUTPUT_DIR, or MODEL.WEIGHTS.

    Args:
        resume: whether those of OUTPUT_DIR are taken, if there are some.
    """
    checkpointer.require_all = True
    weights = "" if resume and checkpointer.has_checkpoint() else initial_weights(cfg)
    checkpointer.resume_or_load(weights, resume=resume)
    if is_main():
        warn_if_trained_otherwise(checkpointer.path, cfg.dump())
