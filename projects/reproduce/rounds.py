"""Rounds against one training, as long and three times as long, and against naive self-training.

``python projects/reproduce/rounds.py --output DIR [--seeds 0 1 2]`` makes toy data of which about
40 % of the boxes are right and trains for each seed

- once, for T iterations, and once for 3T;
- ``wend rounds --rounds 1 --skip-last-check``: two folds of T iterations each, then T;
- the same naively (``--cross-fit 1 --looks plain --keep all``): T on all images, then T;

with FCOS and the loss of BCD (``WEND.LOSS none``); see ``docs/rounds.md``.
With ``--datasets-root DIR --train NAME --test NAME --config-file FILE KEY VALUE ...`` it is any
data set and config, whose length is counted in epochs. What is done already is not done again.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from noise import make_data
from tabulate import tabulate

SHARE = 0.6  # of the toy images whose box is disturbed
TOY = {"train_images": 1000, "test_images": 300}
TOY_ENTRIES = {"SOLVER.WARMUP_ITERS": "50"}
ENTRIES = {
    "WEND.LOSS": "none",
    "WEND.ETA": "1.0",
    "WEND.PROTOCOLS": "('original',)",
}
METHODS: dict[str, tuple[tuple[str, ...], int]] = {  # -> words of wend, times the epochs
    "one training": (("train",), 1),
    "one training, three times as long": (("train",), 3),
    "naive round": (
        ("rounds", "--rounds", "1", *"--cross-fit 1 --looks plain --keep all".split()),
        1,
    ),
    "round": (("rounds", "--rounds", "1", "--skip-last-check"), 1),
}


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--train", default="toy_train_c2am")
    parser.add_argument("--test", default="toy_test")
    parser.add_argument("--config-file", default="demo")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--datasets-root", type=Path, help="without it toy data are made")
    parser.add_argument("--engine", default="torchvision", choices=("torchvision", "detectron2"))
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config entries")
    args = parser.parse_intermixed_args()
    root = args.datasets_root or make_data(args.output / "data", SHARE, TOY)[0]
    rows = []
    for method in args.methods:
        runs = [_run(args, root, method, seed) for seed in args.seeds]
        numbers = [_gt_known_loc(run, args.test) for run in runs]
        right = [_right(run) for run in runs]
        rows.append([method, *(f"{n:.1f}" for n in numbers), _mean(numbers), _mean(right)])
    heads = ["", *(f"seed {seed}" for seed in args.seeds), "mean ± sd", "boxes right (%)"]
    sys.stdout.write(tabulate(rows, heads, tablefmt="github", disable_numparse=True) + "\n")


def _run(args: argparse.Namespace, root: Path, method: str, seed: int) -> Path:
    """A method's run folder, finished."""
    words, times = METHODS[method]
    folder: Path = args.output / f"{method.replace(' ', '_').replace(',', '')}_{seed}"
    if (folder / "model_final.pth").exists() and (folder / "inference").exists():
        return folder
    entries = {
        "DATASETS.TRAIN": f"('{args.train}',)",
        "DATASETS.TEST": f"('{args.test}',)",
        **ENTRIES,
        **({} if args.datasets_root else TOY_ENTRIES),
        **dict(zip(args.opts[::2], args.opts[1::2], strict=True)),
        "WEND.EPOCHS": str(times * args.epochs),
        "SEED": str(seed),
        "OUTPUT_DIR": str(folder),
    }
    command = [
        *(sys.executable, "-m", "wend", *words, "--engine", args.engine),
        *("--config-file", args.config_file, "--datasets-root", str(root)),
        *(word for pair in entries.items() for word in pair),
    ]
    if code := subprocess.run(command, env=dict(os.environ), check=False).returncode:
        sys.exit(code)
    return folder


def _gt_known_loc(run: Path, test: str) -> float:
    text = (run / "inference" / test / "metrics.json").read_text(encoding="utf-8")
    return json.loads(text)["original"]["gt_known_loc"]


def _right(run: Path) -> float | None:
    """How many of the boxes are right that a run learned from; None where it does not say."""
    file = run / "rounds.csv"
    if not file.exists():
        return None
    with file.open(encoding="utf-8") as lines:
        last = list(csv.DictReader(lines))[-1]
    return float(last["right (%, a check)"]) if last.get("right (%, a check)") else None


def _mean(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    spread = f" ± {statistics.stdev(known):.1f}" if len(known) > 1 else ""
    return f"{statistics.fmean(known):.1f}{spread}"


if __name__ == "__main__":
    main()
