"""Time and memory of ``wend evaluate``, from files to the table, at ImageNet's size.

    python projects/benchmark/evaluation/file_to_table.py --metadata METADATA/ILSVRC/test

Truth is real; detections are true boxes with noise, in a temporary Parquet or JSON file. The
command runs in a process of its own, on one core, with its 1,000 bootstrap rounds.
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

from wend.evaluation.detections import COLUMNS, write_parquet  # noqa: E402
from wend.files import write_json  # noqa: E402
from wend.structures.boxes import xyxy_to_xywh  # noqa: E402


def write_detections(path: Path, metadata: str, num_boxes: int) -> int:
    """Made-up detections of all images of a metadata folder; returns how many boxes."""
    arrays = jittered(read_truth(metadata), num_boxes, sigma=0.15, seed=0)
    image_id = np.repeat(np.array(arrays.image_ids, dtype=object), num_boxes)
    score = np.tile(np.linspace(1, 0, num_boxes, endpoint=False), len(arrays))
    if path.suffix == ".parquet":
        columns = [image_id, *arrays.boxes.T, score]
        write_parquet(path, dict(zip(COLUMNS, columns, strict=True)))
    else:
        boxes = xyxy_to_xywh(arrays.boxes).tolist()
        write_json(
            path,
            [
                {"image_id": i, "category_id": 1, "bbox": box, "score": s}
                for i, box, s in zip(image_id.tolist(), boxes, score.tolist(), strict=True)
            ],
        )
    return len(score)


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
