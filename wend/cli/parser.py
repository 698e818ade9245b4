"""The command ``wend``: the verbs, and the way to the module of the one that is called.

A verb's module is imported when that verb is called: ``wend --help`` waits for nothing.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from wend import __version__
from wend.cli.failures import exit_status
from wend.cli.strict_parser import StrictParser
from wend.collecting import collect_rarely
from wend.errors import InputError
from wend.launchers import first_tells, member
from wend.user_code import load_modules

MODULES = {  # verb -> module with add_arguments and run, help
    "doctor": ("wend.cli.doctor", "what is installed, what works, how to mend the rest"),
    "auto": ("wend.cli.auto", "from a folder of photos to a detector, boxes and a page"),
    "rounds": ("wend.cli.rounds", "train, make the boxes anew, train again: against noisy boxes"),
    "toy": ("wend.cli.toy", "generate the toy data set"),
    "fine-tune": ("wend.cli.fine_tune", "train a detector on, on another data set"),
    "predict": ("wend.cli.predict", "boxes of photos, a video or a camera, by a trained detector"),
    "export": ("wend.cli.export", "a trained detector as ONNX, TorchScript or torch.export"),
    "report": ("wend.cli.report", "table, picture and curve of a finished run"),
    "evaluate": ("wend.cli.evaluate", "score detections from files, under any protocol"),
    "compare": ("wend.cli.compare", "test two sets of detections against each other"),
    "data": ("wend.cli.data", "import a data set, check it, cache its images"),
    "boxes": ("wend.cli.boxes", "pseudo boxes: accuracy, audit, fusion of sources; label files"),
    "classify": ("wend.cli.classify", "a classifier's classes of each image, as a file"),
    "config": ("wend.cli.config", "config entries: default, values, meaning, where it was set"),
    "entries": ("wend.cli.config", "another name of config"),
    "pseudo-boxes": ("wend.cli.pseudo_boxes", "boxes from images alone, to train on"),
}

SHARED = ("train", "classify", "pseudo-boxes")  # verbs whose work several processes share


def _make_parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser of all verbs, of which only the chosen one has its arguments."""
    parser = StrictParser(prog="wend", description="Object boxes without box labels.")
    parser.add_argument("--version", action="version", version=f"wend {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("train", add_help=False, help="train or evaluate; same as train_net.py")
    for verb, (module, purpose) in MODULES.items():
        command = verbs.add_parser(verb, help=purpose)
        if chosen == verb:
            loaded = importlib.import_module(module)
            loaded.add_arguments(command)
            command.set_defaults(run=loaded.run)
    return parser


def rank_of(verb: str) -> int:
    """Which process of those that a launcher started this is, of a verb that they share.

    Raises:
        InputError: the verb cannot be shared, and several were started.
    """
    this = member()
    if this is None or this.world_size == 1 or verb in SHARED:
        return 0 if this is None else this.rank
    message = (
        f"wend {verb} runs in one process, and {this.launcher} has started {this.world_size}, "
        f"which would all do the same; start it without. Shared out are {', '.join(SHARED)}"
    )
    with first_tells():
        raise InputError(message)


def run_command(argv: Sequence[str]) -> int:
    """Run the words of a command, as another command does; returns the exit status.

    Raises:
        InputError: the command's input is wrong.
    """
    if argv[0] == "train":
        from wend.cli.train import make_parser, run

        return run(make_parser("wend train").parse_args(argv[1:]))
    args = _make_parser(argv[0]).parse_args(argv)
    load_modules(getattr(args, "imports", ()))
    return args.run(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``wend ...``; returns the exit status (:func:`wend.cli.failures.exit_status`)."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["train"]:
        from wend.cli.train import main as train_main

        return train_main(argv[1:], prog="wend train")
    verb = next((text for text in argv if not text.startswith("-")), None)
    args = _make_parser(verb).parse_args(argv)
    from wend.logs import setup_logging

    def run() -> int:
        collect_rarely()
        setup_logging(rank_of(args.verb))
        load_modules(getattr(args, "imports", ()))
        return args.run(args)

    return exit_status(run)
