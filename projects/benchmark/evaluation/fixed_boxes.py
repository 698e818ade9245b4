"""Time of the content-blind baseline on a training split of ImageNet's size.

    python projects/benchmark/evaluation/fixed_boxes.py

Columns are made up, in the form in which an imported store has them: one pseudo box per image,
keys as texts of a mapped file.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from wend.evaluation.fixed_boxes import FixedBoxes  # noqa: E402
from wend.evaluation.protocols import get_protocol  # noqa: E402
from wend.structures.box_table import BoxTable  # noqa: E402
from wend.structures.columns import TextColumn  # noqa: E402
from wend.structures.data_set import DataSet  # noqa: E402


def made_up(folder: str, number: int, seed: int) -> DataSet:
    """A data set of ``number`` images with one pseudo box each."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(200, 600, (number, 2))
    boxes = np.sort(rng.random((number, 2, 2)), 1).reshape(-1, 4) * np.tile(sizes, 2)
    names = [f"{folder}/n{i % 1000:08}/{i:08}.JPEG".encode() for i in range(number)]
    ends = np.cumsum([0, *map(len, names)])
    keys = TextColumn(memoryview(ends), memoryview(b"".join(names)))
    table = BoxTable(np.arange(number + 1), boxes)
    classes = np.zeros(number, dtype=np.int64)
    empty = BoxTable.empty(number)
    return DataSet(folder, range(number), keys, keys, sizes, classes, empty, table)


def say(what: str, work: Callable[[], object]) -> None:
    """Run and print how long it took."""
    start = time.process_time()
    work()
    sys.stdout.write(f"{what}: {time.process_time() - start:.2f} s of a core\n")


def main() -> None:
    """Make the columns, time each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_281_167)
    args = parser.parse_args()
    training, scored = made_up("train", args.images, 0), made_up("val", 50_000, 1)
    fixed = FixedBoxes.from_training([training])
    sys.stdout.write(f"{args.images} training images, 50000 scored ones\n")
    say("boxes as fractions of their images", lambda: fixed.pool)
    say("no training image is scored", lambda: fixed.check_apart(scored))
    for name in ("original", "psol-crop224", "tscam-squash224", "psol-first-box"):
        say(f"10 boxes for {name}", lambda name=name: fixed.choose(get_protocol(name), 10))
    say("them on all scored images", lambda: fixed.table(scored, get_protocol("original"), 10))


if __name__ == "__main__":
    main()
