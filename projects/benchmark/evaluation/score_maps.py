"""Time and memory of scoring score maps at every threshold: ours, and a plain loop over thresholds.

    python projects/benchmark/evaluation/score_maps.py --metadata METADATA/CUB/test

Truth is real, maps are made up: noise of 14 x 14 cells, and a blob near a true box, resized to
224 x 224. They lie in a temporary folder as float32 files, which both ways read. The loop is
``tests/map_peers.py``: each threshold's contours are traced anew, as wsolevaluation does. Both run
in this process on one core; the run stops if their numbers differ.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT)]

from lists import read_truth  # noqa: E402
from run import machine, seconds  # noqa: E402

from tests import map_peers  # noqa: E402
from wend.evaluation.map_sweep import MapOptions, sweep_maps  # noqa: E402
from wend.evaluation.protocols import get_protocol  # noqa: E402
from wend.evaluation.score_maps import MapFolder  # noqa: E402
from wend.structures.data_set import DataSet  # noqa: E402


def write_maps(folder: Path, data_set: DataSet) -> None:
    """A map for each image: a blob near its first true box, and noise."""
    rng = np.random.default_rng(0)
    y, x = (np.mgrid[:14, :14] + 0.5) / 14
    for name, boxes, size in zip(data_set.file_names, data_set.truth, data_set.sizes, strict=True):
        x0, y0, x1, y1 = (boxes[0] / np.tile(size, 2)) + rng.normal(0, 0.05, 4)
        square = ((x - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((y - (y0 + y1) / 2) / (y1 - y0)) ** 2
        cam = map_peers.normalized(np.exp(-2 * square) + 0.3 * rng.random((14, 14)))
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, cam.astype(np.float32))


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--metadata", type=Path, required=True, help="a wsolevaluation folder")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--loop-images", type=int, default=200, help="the loop's subsample")
    parser.add_argument("--repeat", type=int, default=2, help="the least of so many, for both")
    parser.add_argument("--num-workers", type=int, default=2, help="processes of a third run")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    data_set = read_truth(args.metadata, args.images)
    few = data_set.take(np.linspace(0, len(data_set) - 1, args.loop_images).astype(int))
    out = sys.stdout.write
    out(
        f"{len(data_set)} maps of 224 x 224; the loop on {len(few)} of them, milliseconds per map\n"
    )
    out("| protocol | contours | step | ours | loop | ratio |\n|---|---|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_maps(folder, data_set)
        for name, contours, step in (
            ("wsoleval-v1", "largest", 0.01),
            ("wsoleval-v1", "largest", 0.001),
            ("wsoleval-v2", "all", 0.01),
            ("wsoleval-v2", "all", 0.001),
        ):
            protocol, options = get_protocol(name), MapOptions(step, contours)
            maps = MapFolder(folder, few)
            ours, sweep = seconds(
                lambda m=maps, p=protocol, o=options: sweep_maps(few, m, [p], o), args.repeat
            )

            def loop(maps=maps, protocol=protocol, step=step, contours=contours):
                return map_peers.max_box_acc(
                    (maps[i].astype(float) for i in range(len(maps))),
                    [boxes.tolist() for boxes in few.truth],
                    few.sizes.tolist(),
                    *(step, protocol.thresholds, contours == "all"),
                )

            slow, theirs = seconds(loop, args.repeat)
            choice = options.choices[-1]
            mine = [each["accuracy"] for each in sweep.best_thresholds(name, choice).values()]
            if mine != theirs:
                raise SystemExit(f"{name} {contours} {step}: {mine} and {theirs}")
            each = 1000 / len(few)
            out(f"| {name} | {contours} | {step} | {ours * each:.1f} | {slow * each:.1f} | "
                f"{slow / ours:.1f} |\n")  # fmt: skip
        start = time.perf_counter()
        sweep_maps(
            data_set, MapFolder(folder, data_set), [get_protocol("wsoleval-v2")],
            num_workers=args.num_workers,
        )  # fmt: skip
        out(f"\nall {len(data_set)} with {args.num_workers} processes, wsoleval-v2, all, 0.001: "
            f"{time.perf_counter() - start:.1f} s on the clock\n")  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    out(f"peak memory of this process: {peak:.2f} GiB\n{machine()}\n")


if __name__ == "__main__":
    main()
