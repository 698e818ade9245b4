"""``train_net.py``'s and ``wend train``'s arguments, and what both engines do before they start."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from fvcore.common.config import CfgNode

from wend.cli.options import add_import_option
from wend.datasets.catalog import resolve_name
from wend.errors import InputError, MissingFileError
from wend.evaluation.detections import require_pyarrow
from wend.evaluation.evaluation import Evaluation
from wend.evaluation.score_files import PER_IMAGE_FILE
from wend.loading.bad_images import count_images_to_train_on, load_with_bad_images
from wend.modeling.optimizer import resolve_schedule

ENGINES = {"detectron2": "wend.d2.run", "torchvision": "wend.tv.run"}
logger = logging.getLogger("wend")


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The arguments of Detectron2's ``train_net.py``, and three of ours."""
    parser = argparse.ArgumentParser(
        prog=prog, description="Train or evaluate a WEND detector from a YAML config."
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="path to config file")
    parser.add_argument(
        "--resume", action="store_true", help="continue from the last checkpoint in OUTPUT_DIR"
    )
    parser.add_argument(
        "--eval-only", action="store_true", help="evaluate the checkpoint MODEL.WEIGHTS"
    )
    parser.add_argument(
        "--num-gpus", type=int, default=1, help="number of GPUs, or of processes without a GPU"
    )
    parser.add_argument("--num-machines", type=int, default=1, help="total number of machines")
    parser.add_argument("--machine-rank", type=int, default=0, help="the rank of this machine")
    parser.add_argument(
        "--dist-url", default="auto", help="initialization URL of the processes (default: auto)"
    )
    parser.add_argument(
        "--engine",
        default="auto",
        choices=["auto", *ENGINES],
        help="auto: detectron2 where it is installed, else torchvision",
    )
    parser.add_argument(
        "--datasets-root",
        metavar="DIR",
        help="folder of the data sets; sets DETECTRON2_DATASETS",
    )
    add_import_option(parser)
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        metavar="KEY VALUE",
        help="overrides of config entries, at the end of the command",
    )
    return parser


def choose_engine(name: str) -> str:
    """For "auto" the engine that is there, Detectron2 first; InputError if a chosen one is not."""
    has_detectron2 = importlib.util.find_spec("detectron2") is not None
    if name == "auto":
        return "detectron2" if has_detectron2 else "torchvision"
    if name == "detectron2" and not has_detectron2:
        raise InputError(
            "--engine detectron2: Detectron2 is not installed; see README for how, or use "
            "--engine torchvision"
        )
    return name


class StdoutHandler(logging.StreamHandler):
    """This package's own handler, which Detectron2's replace."""


def setup_logging() -> None:
    """Print this package's messages, and fvcore's on checkpoints, to standard output."""
    for name in ("wend", "fvcore.common.checkpoint"):
        target = logging.getLogger(name)
        target.setLevel(logging.INFO)
        target.propagate = False
        if not target.handlers:
            handler = StdoutHandler(sys.stdout)
            handler.setFormatter(
                logging.Formatter("[%(asctime)s %(name)s] %(message)s", "%H:%M:%S")
            )
            target.addHandler(handler)


def _own_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names of data sets; a path of a declaration becomes the name that it declares.

    Its folder is added to WEND_DATASETS, by which further processes know the name, too.
    """
    own = tuple(resolve_name(name) for name in names)
    folders = os.environ.get("WEND_DATASETS", "").split(os.pathsep)
    paths = [name for name, known_as in zip(names, own, strict=True) if name != known_as]
    folders += [str(Path(path).resolve().parent) for path in paths]
    if paths:
        os.environ["WEND_DATASETS"] = os.pathsep.join(dict.fromkeys(filter(None, folders)))
    return own


def prepare(cfg: CfgNode, args: argparse.Namespace) -> CfgNode:
    """Check everything that can be known to be wrong before anything is written.

    Reads the data sets and class predictions, looks for the weight file, chooses the device.

    Returns:
        The config with the schedule in iterations.

    Raises:
        InputError: what is wrong.
    """
    weights = cfg.MODEL.WEIGHTS
    if args.eval_only and not weights and not args.resume:
        raise InputError(
            "--eval-only: config entry MODEL.WEIGHTS is empty; name the checkpoint to evaluate, "
            "such as MODEL.WEIGHTS output/model_final.pth"
        )
    if weights and "://" not in weights and not Path(weights).is_file():
        raise MissingFileError(f"config entry MODEL.WEIGHTS: there is no file {weights}")
    if args.num_gpus < 1:
        raise InputError(f"--num-gpus: expected at least 1, got {args.num_gpus}")
    if not cfg.DATASETS.TEST:
        raise InputError("config entry DATASETS.TEST: expected at least one data set, got none")
    require_pyarrow(PER_IMAGE_FILE)  # of the evaluation, hours later
    try:
        torch.device(cfg.MODEL.DEVICE)
    except RuntimeError:
        raise InputError(
            f"config entry MODEL.DEVICE: expected cpu, cuda or cuda:0, got {cfg.MODEL.DEVICE!r}"
        ) from None
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TRAIN = _own_names(cfg.DATASETS.TRAIN)
    cfg.DATASETS.TEST = _own_names(cfg.DATASETS.TEST)
    load_with_bad_images(cfg)
    for name in cfg.DATASETS.TEST:
        Evaluation.from_config(cfg, name)
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        logger.info("MODEL.DEVICE is %s but there is no GPU: using the CPU", cfg.MODEL.DEVICE)
        cfg.MODEL.DEVICE = "cpu"
    if not args.eval_only:
        cfg = resolve_schedule(cfg, count_images_to_train_on(cfg))
    cfg.freeze()
    return cfg


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run a training or an evaluation; returns the exit status (2: the user's input is wrong)."""
    args = make_parser(prog).parse_args(argv)
    setup_logging()
    try:
        if args.datasets_root:
            os.environ["DETECTRON2_DATASETS"] = args.datasets_root
        engine = choose_engine(args.engine)
        logger.info("engine: %s", engine)
        importlib.import_module(ENGINES[engine]).run(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
