"""Reading C2AM's pseudo boxes: WEND's reader against C2AM's own way, on generated files.

Writes as many boxes as ImageNet-1K has training images, in files as C2AM writes them, and reads
them in fresh processes: C2AM's own way (``json.load`` and ``dict.update``, C2AM e6a46c9,
PSOL/loader), and ``wend.pseudo_boxes.read_c2am``. The two take turns; each number is the
median of the rounds. Both results are compared box by box.

    python projects/benchmark/data/read_boxes.py [COUNT] [--per-file 256] [--rounds 3]
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
if TYPE_CHECKING:
    from wend.pseudo_boxes import PseudoBoxes

NUM_IMAGES = 1_281_167
WRITER = "/data1/xjheng/dataset/ILSVRC2012/"


def generate(folder: Path, count: int, per_file: int) -> None:
    """Shuffled images of 1000 classes; coordinates k/30 as C2AM's, 1 % of them nothing found."""
    rng = random.Random(0)  # noqa: S311
    wnids = sorted(f"n{number:08d}" for number in rng.sample(range(1_440_764, 15_075_141), 1000))
    places = list(range(count))
    rng.shuffle(places)
    for number, start in enumerate(range(0, count, per_file)):
        boxes = {}
        for place in places[start : start + per_file]:
            wnid = wnids[place % 1000]
            x, y = rng.randint(1, 20), rng.randint(1, 20)
            box = [x / 30, y / 30, rng.randint(1, 28 - x) / 30, rng.randint(1, 28 - y) / 30]
            if rng.random() < 0.01:
                box = [1 / 30, 1 / 30, 0.0, 0.0]
            boxes[f"{WRITER}train/{wnid}/{wnid}_{place // 1000 * 7 + 2}.JPEG"] = box
        (folder / f"{number}_0_bbox.json").write_text(json.dumps(boxes))


def read_their_way(folder: Path) -> dict:
    """Every file of the folder, merged."""
    boxes = {}
    for name in os.listdir(folder):
        with open(folder / name) as file:
            boxes.update(json.load(file))
    return boxes


def their_boxes(boxes: dict) -> Iterator[tuple[str, list[float]]]:
    """Key and xyxy of each that has an area."""
    for path, (x, y, w, h) in boxes.items():
        if w > 0 and h > 0:
            yield "/".join(path.split("/")[-2:]), [x, y, x + w, y + h]


def our_boxes(boxes: PseudoBoxes) -> Iterator[tuple[str, list[float]]]:
    """The same."""
    yield from zip(boxes.keys, boxes.table.boxes.tolist(), strict=True)


def peak_mb() -> float:
    """Peak resident memory of this program, in MB (2**20 bytes).

    VmHWM, because ru_maxrss still holds the process that started this one; that is the fallback.
    """
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.is_file() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux: KiB


def measure(way: str, folder: Path) -> None:
    """In a fresh process: read, and print seconds, peak memory and a digest of the boxes."""
    began = time.perf_counter()
    if way == "wend":
        import pyarrow.compute  # noqa: F401  # read_c2am imports it where it is needed

        from wend.pseudo_boxes import read_c2am
    start, work = time.perf_counter(), time.process_time()
    found = read_their_way(folder) if way == "c2am" else read_c2am(folder)
    seconds, work, peak = time.perf_counter() - start, time.process_time() - work, peak_mb()
    pairs = their_boxes(found) if way == "c2am" else our_boxes(found)
    digest, number = hashlib.sha256(), 0
    for key, box in sorted(pairs):
        digest.update(f"{key} {box!r}\n".encode())
        number += 1
    print(json.dumps([seconds, peak, work, start - began, number, digest.hexdigest()]))


def run(way: str, folder: Path) -> list:
    """What :func:`measure` prints, of a fresh process."""
    code = [sys.executable, __file__, "--measure", way, "--folder", str(folder)]
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def machine() -> str:
    """Processor, cores and load."""
    names = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    cpu = names[0].split(":")[1].strip() if names else platform.machine()
    return f"{cpu}, {os.cpu_count()} logical cores, load {os.getloadavg()[0]:.2f}"


def main() -> int:
    """Generate, read both ways in turns, print and compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("count", type=int, nargs="?", default=NUM_IMAGES)
    parser.add_argument("--per-file", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", choices=("c2am", "wend"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure, args.folder)
        return 0
    import msgspec
    import numpy
    import pyarrow

    import wend

    packages = f"msgspec {msgspec.__version__}, pyarrow {pyarrow.__version__}"
    print(
        f"WEND {wend.__version__}, Python {platform.python_version()}, {packages}, "
        f"NumPy {numpy.__version__}\n{machine()}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, args.count, args.per_file)
        results = {"c2am": [], "wend": []}
        for _ in range(args.rounds):
            for way, found in results.items():
                found.append(run(way, folder))
        number = len(list(folder.iterdir()))
    print(f"{args.count} boxes in {number} files; medians of {args.rounds} rounds, fresh processes")
    medians = {}
    for way, title in (("c2am", "C2AM's json.load + dict.update"), ("wend", "WEND's read_c2am")):
        rounds = results[way]
        medians[way] = [statistics.median(one[i] for one in rounds) for i in range(4)]
        seconds, peak, work, imports = medians[way]
        spread = f"{min(one[0] for one in rounds):.2f} to {max(one[0] for one in rounds):.2f}"
        print(
            f"{title:31}{seconds:6.2f} s ({spread}), {work:.2f} s of processor time, peak "
            f"{peak:.0f} MB; imports before that {imports:.2f} s"
        )
    seconds, peak, work, _ = (a / max(b, 1e-9) for a, b in zip(*medians.values(), strict=True))
    whole = sum(medians["c2am"][0::3]) / sum(medians["wend"][0::3])
    print(
        f"WEND reads {seconds:.2f} times as fast ({work:.2f} by processor time, {whole:.2f} with "
        f"its imports) in 1/{peak:.2f} of the process's peak memory, its libraries included"
    )
    same = len({tuple(one[4:]) for found in results.values() for one in found}) == 1
    print(f"{'the same' if same else 'OTHER'} {results['wend'][0][4]} boxes with an area")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
