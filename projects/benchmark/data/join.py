"""The join of pseudo boxes with a data set's images: seconds and memory, against another commit.

Makes two cases: *plain*, as many entries as ImageNet-1K has training images, shuffled, one box
each, all of them images of the data set; *mixed*, 230,000 entries of one to three scored boxes with
repetitions that agree and that do not, two roots, boxes without area, outside and of the whole
image, and images that the data set lacks. Each is joined in fresh processes, by this tree and by
the commit of ``--before``, which take turns; the best of the rounds counts, in seconds of processor
time. The boxes, scores and counts of both must be equal.

    python projects/benchmark/data/join.py [--before f8d2e67] [--rounds 3] [--images 1281167]
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
NUM_IMAGES = 1_281_167
NUM_MIXED = 230_000
CASES = ("plain", "mixed")
PARTS = ("entries to boxes", "join", "both", "both, wall clock")


def image_keys(number: int) -> list[str]:
    """Class folders and file names such as ImageNet's."""
    return [f"n{i % 1000:08d}/n{i % 1000:08d}_{i // 1000 * 7 + 2}.JPEG" for i in range(number)]


def plain(images: int) -> dict:
    """One box in fractions for each image, in another order than the images'."""
    rng = np.random.default_rng(0)
    keys = image_keys(images)
    corner = rng.integers(1, 14, (images, 2)) / 30
    boxes = np.concatenate([corner, corner + rng.integers(1, 15, (images, 2)) / 30], 1)
    empty = rng.random(images) < 0.01
    boxes[empty, 2:] = boxes[empty, :2]
    return {
        "keys": keys,
        "sizes": np.tile([[500, 375]], (images, 1)),
        "frame": "fraction",
        "entries": [keys[i] for i in rng.permutation(images).tolist()],
        "num_boxes": np.ones(images, dtype=np.int64),
        "boxes": boxes,
        "scores": None,
    }


def mixed(entries: int) -> dict:
    """Every kind of finding, in shares of a tenth and more."""
    rng = np.random.default_rng(1)
    images = entries * 6 // 10
    keys = image_keys(images)
    pool = [*keys, *(f"other/{i}.JPEG" for i in range(images // 10))]
    chosen = rng.integers(0, len(pool), entries)
    roots = rng.choice(["", "/data1/x/train/"], entries, p=[0.7, 0.3]).tolist()
    num_boxes = rng.integers(1, 4, entries)
    first = rng.integers(0, 2, entries)  # two versions of each image's boxes, so that some agree
    entry = np.repeat(np.arange(entries), num_boxes)
    rank = np.arange(len(entry)) - np.repeat(np.cumsum(num_boxes) - num_boxes, num_boxes)
    seed = chosen[entry] * 7 + rank * 13 * first[entry]
    corner = np.stack([seed % 300 - 20, seed * 3 % 200 - 20], 1).astype(float)
    side = np.stack([seed * 5 % 180, seed * 11 % 150], 1)  # 0 now and then
    boxes = np.concatenate([corner, corner + side], 1)
    boxes[seed % 50 == 0] = (0, 0, 500, 375)
    return {
        "keys": keys,
        "sizes": np.tile([[500, 375]], (images, 1)),
        "frame": "pixel",
        "entries": [root + pool[i] for root, i in zip(roots, chosen.tolist(), strict=True)],
        "num_boxes": num_boxes,
        "boxes": boxes,
        "scores": np.round(seed % 97 / 97, 3),
    }


def peak_mb() -> float:
    """Peak resident memory of this process in MB (2**20 bytes); Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def resident_mb() -> float:
    """Resident memory of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def measure(case: str, images: int) -> None:
    """In a fresh process: join, and print seconds, growth of memory, counts and a digest."""
    import pyarrow.compute  # noqa: F401  # imported where it is needed, which is not timed

    from wend.pseudo_boxes import Keys, PseudoBoxes, join_boxes

    data = plain(images) if case == "plain" else mixed(NUM_MIXED)
    entries, keys = Keys(data["entries"]), Keys(data["keys"])
    del data["entries"], data["keys"]
    before = resident_mb()
    start, work = time.perf_counter(), time.process_time()
    pseudo = PseudoBoxes.from_entries(
        "s", data["frame"], entries, data["num_boxes"], data["boxes"], data["scores"]
    )
    middle = time.process_time()
    joined = join_boxes(keys, data["sizes"], pseudo, log=False)
    end, seconds = time.process_time(), time.perf_counter() - start
    memory = peak_mb() - before
    table, report = joined if isinstance(joined, tuple) else (joined, joined.report)
    digest = hashlib.sha256()
    for array in (table.offsets, table.boxes, table.scores):
        digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    times = [middle - work, end - middle, end - work, seconds]
    print(json.dumps([times, memory, report.to_dict(), digest.hexdigest()]))


def measure_arrow(images: int) -> None:
    """In a fresh process: seconds that Arrow's own join and grouping of the plain case's keys take,
    with nothing else of the work.
    """
    import pyarrow as pa

    data = plain(images)
    rows = pa.array(np.arange(images))
    entries = pa.table({"key": pa.array(data["entries"], pa.large_string()), "entry": rows})
    keys = pa.table({"key": pa.array(data["keys"], pa.large_string()), "image": rows})
    start = time.process_time()
    entries.group_by("key").aggregate([("entry", "max")])
    middle = time.process_time()
    entries.join(keys, "key")
    print(json.dumps([middle - start, time.process_time() - middle]))


def run(tree: Path, case: str, images: int) -> list:
    """What :func:`measure` prints, of a fresh process that imports the package of a tree."""
    command = [sys.executable, __file__, "--measure", case, "--images", str(images)]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    """Join both ways in turns, print and compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--before", default="f8d2e67", metavar="COMMIT")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=NUM_IMAGES)
    parser.add_argument("--measure", choices=(*CASES, "arrow"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        if args.measure == "arrow":
            measure_arrow(args.images)
        else:
            measure(args.measure, args.images)
        return 0
    differs = False
    with tempfile.TemporaryDirectory() as name:
        archive = ["git", "-C", str(ROOT), "archive", args.before, "wend"]
        packed = subprocess.run(archive, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as file:
            file.extractall(name, filter="data")
        trees = {args.before: Path(name), "now": ROOT}
        for case in CASES:
            rounds = {tree: [] for tree in trees}
            for _ in range(args.rounds):
                for tree, path in trees.items():
                    rounds[tree].append(run(path, case, args.images))
            print(f"{case}: {rounds['now'][0][2]['boxes']} boxes joined; seconds of processor time")
            old, new = rounds.values()
            for i, part in enumerate(PARTS):
                a, b = (min(each[0][i] for each in way) for way in (old, new))
                print(f"  {part:18}{a:7.2f} s before, {b:6.2f} s now: {a / b:.2f} times as fast")
            a, b = (min(each[1] for each in way) for way in (old, new))
            print(f"  {'memory':18}{a:7.0f} MB before, {b:5.0f} MB now, beyond the input")
            answers = {
                json.dumps(each[2:], sort_keys=True) for way in rounds.values() for each in way
            }
            print("  the same boxes, scores and counts" if len(answers) == 1 else "  OTHER results")
            differs |= len(answers) > 1
    groups, joins = run(ROOT, "arrow", args.images)
    print(f"pyarrow, the plain keys alone: Table.group_by {groups:.2f} s, Table.join {joins:.2f} s")
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
