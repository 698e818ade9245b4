"""Reading COCO's JSON as truth, pseudo boxes and detections, on generated files.

Each reading runs in a fresh process; the numbers are the least of the rounds: processor time (the
machine may be busy) and by how much the peak of resident memory (``VmHWM``, Linux) grows.

    python projects/benchmark/data/read_coco.py [COUNT] [--rounds 3] [--checkout FOLDER]
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
PER_IMAGE = 10
USES = ("truth", "pseudo boxes", "detections", "detections, ids are names")


def generate(folder: Path, count: int) -> None:
    """A data set with a box in each image, and results with ten: random boxes and scores."""
    rng = np.random.default_rng(0)
    boxes, scores = (rng.random((count, 4)) * 150).tolist(), rng.random(count).tolist()
    names = [f"n{i % 1000:08d}/n{i % 1000:08d}_{i}.JPEG" for i in range(count)]
    images = [
        {"id": i, "file_name": name, "width": 500, "height": 375} for i, name in enumerate(names)
    ]
    rows = [
        {"id": i + 1, "image_id": i, "category_id": 1, "bbox": box, "area": 1.0, "iscrowd": 0}
        for i, box in enumerate(boxes)
    ]
    lists = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "a"}]}
    (folder / "set.json").write_text(json.dumps(lists))
    for file, ids in (("numbers.json", range(count)), ("names.json", names)):
        results = [
            {"image_id": ids[i // PER_IMAGE], "category_id": 1, "bbox": box, "score": score}
            for i, (box, score) in enumerate(zip(boxes, scores, strict=True))
        ]
        (folder / file).write_text(json.dumps(results))


def peak_mb() -> float:
    """Peak resident memory of this process, in MB (2**20 bytes)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def measure(use: str, folder: Path) -> None:
    """In a fresh process: read, and print seconds, seconds of processor time and growth in MB."""
    import pyarrow.compute
    import pyarrow.json  # noqa: F401  # readers import these where they are needed

    from wend.evaluation.coco_results import read_results
    from wend.formats.coco import load_coco
    from wend.pseudo_boxes import read_coco

    reader = {"truth": load_coco, "pseudo boxes": read_coco}.get(use, read_results)
    file = {"detections": "numbers.json", "detections, ids are names": "names.json"}
    before, start, work = peak_mb(), time.perf_counter(), time.process_time()
    reader(folder / file.get(use, "set.json"))
    seconds, work = time.perf_counter() - start, time.process_time() - work
    print(json.dumps([seconds, work, peak_mb() - before]))


def main() -> None:
    """Generate, read in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("count", type=int, nargs="?", default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--checkout", default=str(ROOT), help="whose wend is measured")
    parser.add_argument("--measure", choices=USES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure, args.folder)
        return
    environment = {**os.environ, "PYTHONPATH": args.checkout, "OMP_NUM_THREADS": "1"}
    git = ["git", "-C", args.checkout, "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    print(f"{args.count} boxes; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {commit}")
    with tempfile.TemporaryDirectory() as name:
        generate(Path(name), args.count)
        for use in USES:
            command = [sys.executable, __file__, "--measure", use, "--folder", name]
            rounds = []
            for _ in range(args.rounds):
                done = subprocess.run(
                    command, capture_output=True, text=True, check=True, env=environment
                )
                rounds.append(json.loads(done.stdout.splitlines()[-1]))
            wall, work, peak = (min(column) for column in zip(*rounds, strict=True))
            print(f"| {use} | {wall:.2f} | {work:.2f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
