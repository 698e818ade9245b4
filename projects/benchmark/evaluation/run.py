"""Time of scoring ImageNet's 50,000 validation images x 100 boxes: ours, and loops over images.

    python projects/benchmark/evaluation/run.py --metadata ../shared/data/wsol_metadata/ILSVRC/test

Truth is real, detections are true boxes with noise. Three ways in one run:
``wend.evaluation.per_image`` on all
images; the peers' way, a Python loop over images and boxes (``tests/peers.py``); and a loop over
images with NumPy over the boxes of each. The loops run on a subsample, their time is scaled by the
number of images; the run stops if their numbers are not ours on the subsample.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import peers  # noqa: E402
from lists import as_lists, jittered, read_truth  # noqa: E402

from wend.evaluation.metrics import accuracy  # noqa: E402
from wend.evaluation.numbers import recall_curve  # noqa: E402
from wend.evaluation.per_image import score  # noqa: E402
from wend.evaluation.protocols import PROTOCOLS, EvalProtocol  # noqa: E402
from wend.evaluation.scoring import scores_of  # noqa: E402

KS = (1, 5, 10, None)


def seconds(work: Callable[[], object], repeat: int) -> tuple[float, object]:
    """Least processor time of ``repeat`` calls, and what the last one returned."""
    least, result = float("inf"), None
    for _ in range(repeat):
        start = time.process_time()
        result = work()
        least = min(least, time.process_time() - start)
    return least, result


def loop_over_images(images: list[tuple], protocol: EvalProtocol) -> float:
    """A loop over images with NumPy over the boxes of each: GT-known Loc of any box, per image."""
    hit = 0
    for boxes, truth, width, height in images:
        size = (width, height)
        a = np.stack(protocol.columns_to_frame(boxes.T, *size, truth=False), 1)[:, None]
        b = np.stack(protocol.columns_to_frame(truth.T, *size, truth=True), 1)[None]
        b = b if protocol.truth == "all" else b[:, :1]
        low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
        inter = (high - low + protocol.pixel_offset).clip(0).prod(-1)
        areas = [(c[..., 2:] - c[..., :2] + protocol.pixel_offset).clip(0).prod(-1) for c in (a, b)]
        iou = (inter / np.maximum(areas[0] + areas[1] - inter, 1e-300)).max(1)
        hit += bool((iou > 0.5).any())
    return hit / len(images)


def machine() -> str:
    """Hardware, versions and commit in a line."""
    lines = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    cpu = next((s.split(":")[1].strip() for s in lines.splitlines() if "model name" in s), "?")
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return (
        f"{cpu}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end; Python "
        f"{platform.python_version()}, NumPy {np.__version__}; commit {commit or '?'}; "
        f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}"
    )


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--metadata", type=Path, required=True, help="a wsolevaluation folder")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--boxes", type=int, default=100, help="boxes an image")
    parser.add_argument("--loop-images", type=int, default=500, help="the loops' subsample")
    parser.add_argument("--repeat", type=int, default=3, help="the least of so many, for all")
    args = parser.parse_args()

    data_set = read_truth(args.metadata, args.images)
    detections = jittered(data_set, args.boxes, 0.2, seed=0)
    total = len(data_set)
    which = np.linspace(0, total - 1, min(args.loop_images, total)).astype(int)
    few, scale = (data_set.take(which), detections.take(which)), total / len(which)
    images = as_lists(data_set, detections, which)
    each = [
        (np.array(d["boxes"]), np.array(d["gt_boxes"]), np.float64(d["width"]), d["height"])
        for d in images
    ]
    out = sys.stdout.write
    out(f"{total} images x {args.boxes} boxes, {len(data_set.truth.boxes)} true boxes\n")
    out(f"loops: {len(which)} images, seconds scaled by {scale:g} (linear extrapolation)\n")
    out(f"seconds of one processor core, the least of {args.repeat}\n\n")
    out("| protocol | ours, s | numbers, s | Python loop, s | ratio | image loop, s | ratio |\n")
    out("|---|---|---|---|---|---|---|\n")
    sums = np.zeros(4)
    for name, protocol in PROTOCOLS.items():
        ours, scores = seconds(lambda p=protocol: score(data_set, detections, p), args.repeat)
        table, _ = seconds(lambda s=scores: scores_of(s, KS).to_dict(), args.repeat)
        loop, (theirs, _) = seconds(lambda n=name: peers.PEERS[n](images), args.repeat)
        slow, _ = seconds(lambda p=protocol: loop_over_images(each, p), args.repeat)
        check = score(*few, protocol)
        for metric, value in theirs.items():
            if abs(accuracy(check, metric) - value) > 1e-9:
                raise SystemExit(f"{name} {metric}: {accuracy(check, metric)} and {value}")
        row = np.array([ours, table, loop * scale, slow * scale])
        sums += row
        out(line(name, row))
    out(line("all", sums))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    out(f"\npeak memory of the tables' way and the loops together: {peak:.2f} GiB\n")
    out(f"recall curve to K = 100: {seconds(lambda: recall_curve(scores, 100), 1)[0]:.4f} s\n")
    out(machine() + "\n")


def line(name: str, row: np.ndarray) -> str:
    """A row of the table: ours, numbers, Python loop, loop over images, in seconds."""
    ours = row[0] + row[1]
    return (
        f"| {name} | {row[0]:.3f} | {row[1]:.3f} | {row[2]:.1f} | {row[2] / ours:.0f} | "
        f"{row[3]:.1f} | {row[3] / ours:.1f} |\n"
    )


if __name__ == "__main__":
    main()
