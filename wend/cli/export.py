"""``wend export``: a trained detector as ONNX, TorchScript or an archive of torch.export."""

from __future__ import annotations

import argparse

from wend.cli.options import add_checkpoint_options
from wend.inference.file_formats import FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``wend export``."""
    parser.add_argument("path", metavar="RUN", help="a run's OUTPUT_DIR, or a checkpoint")
    parser.add_argument("--format", required=True, choices=FORMATS, help="kind of file")
    parser.add_argument(
        "--nms",
        action="store_true",
        help="suppress and threshold inside the file; otherwise wend.load does it",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="default: model and the format's ending, in RUN"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an output that is there")
    add_checkpoint_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run ``wend export``."""
    from wend.inference.export import export

    export(
        args.path,
        args.format,
        args.output,
        nms=args.nms,
        overwrite=args.overwrite,
        engine=args.engine,
        config=args.config_file,
    )
    return 0
