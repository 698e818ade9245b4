"""Time and memory of ``wend evaluate``, from files to the table, at ImageNet's size.

    python projects/benchmark/evaluation/file_to_table.py --metadata METADATA/ILSVRC/test

Truth is real; detections are true boxes with noise, in a temporary Parquet or JSON file. The
command runs in a process of its own, on one core, with intervals.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from lists import jittered, read_truth  # noqa: E402

from wend.evaluation.detections import write_detections as write_table  # noqa: E402


def write_detections(path: Path, metadata: str, num_boxes: int) -> int:
    """Made-up detections of all images of a metadata folder; returns how many boxes."""
    data_set = read_truth(metadata)
    detections = jittered(data_set, num_boxes, sigma=0.15, seed=0)
    write_table(path, data_set, detections)
    return len(detections.boxes)


def main() -> None:
    """Write, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--metadata", required=True, help="a wsolevaluation metadata folder")
    parser.add_argument("--boxes", type=int, default=100, help="boxes an image")
    parser.add_argument("--format", choices=["parquet", "json"], default="parquet")
    parser.add_argument("--protocol", nargs="+", default=["psol-crop224", "original"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"detections.{args.format}"
        count = write_detections(path, args.metadata, args.boxes)
        command = [sys.executable, "-m", "wend", "evaluate", "--ground-truth", args.metadata]
        command += ["--detections", str(path), "--output", f"{folder}/out"]
        command += ["--protocol", *args.protocol]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        start = time.perf_counter()
        subprocess.run(command, check=True, env=environment)
        wall = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    sys.stdout.write(
        f"\n{count} boxes, {args.format}, {len(args.protocol)} protocols: {wall:.1f} s wall, "
        f"{used.ru_utime + used.ru_stime:.1f} s of a core, peak {used.ru_maxrss / 2**20:.2f} GiB\n"
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python "
        f"{platform.python_version()}, NumPy {np.__version__}; commit {commit}\n"
    )


if __name__ == "__main__":
    main()
