"""ImageNet's 1,281,167 records: WEND's store against Detectron2's list of dicts, in the same run.

    python projects/benchmark/data/store.py

Records are generated: ImageNet's class and file names as they look, plausible sizes, one box each.
Each way runs in a fresh process; README.md says what is measured.
"""

# ruff: noqa: TID251
from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT)]
IMAGES, CLASSES, BOX_FILES = 1_281_167, 1000, 5000
NAME = "bench_train"
GOALS = {
    "start-up, s": "20 x faster",
    "random access, records/s": "no slower",
    "all processes (fork), MB": "150 MB",
    "further process (fork), MB": "5 MB",
    "further process (spawn), MB": "5 MB",
}


def sources(folder: Path) -> list[Path]:
    """What a store's age is told from: 1000 class folders, and 5000 files of boxes."""
    return [folder / "ILSVRC" / "train", folder / "boxes"]


def generate(folder: Path, images: int, scored: bool) -> int:
    """The same records as a COCO JSON and, by ``wend data import``'s writer, as a store.

    Args:
        scored: the store's boxes have scores; Detectron2's own reader leaves out those of a JSON.
    """
    from wend.datasets.fingerprints import fingerprint
    from wend.datasets.store_writer import write_store
    from wend.structures.boxes import xyxy_to_xywh
    from wend.structures.data_set import DataSet
    from wend.structures.records import ImageRecord

    rng = np.random.default_rng(0)
    wnids = [f"n{n:08d}" for n in np.sort(rng.choice(15_075_141, CLASSES, replace=False))]
    train, boxes_folder = sources(folder)
    for path in (*(train / wnid for wnid in wnids), boxes_folder):
        path.mkdir(parents=True)
    for number in range(BOX_FILES):
        (boxes_folder / f"{number}_0_bbox.json").write_text("{}")
    class_ids = np.sort(rng.integers(0, CLASSES, images))
    place = np.arange(images) - np.searchsorted(class_ids, class_ids)  # in its class
    usual = np.where(rng.random((images, 1)) < 0.75, [[500, 375]], [[375, 500]])
    sizes = np.where(rng.random((images, 1)) < 0.3, rng.integers(200, 1600, (images, 2)), usual)
    boxes = np.sort(rng.random((images, 2, 2)), 1) * sizes[:, None]
    boxes = boxes.reshape(images, 4).round(2)
    records, xywhs = [], xyxy_to_xywh(boxes).tolist()
    coco: dict[str, list] = {"images": [], "annotations": [], "categories": []}
    coco["categories"].append({"id": 1, "name": "foreground"})
    for i in range(images):
        wnid, (width, height) = wnids[class_ids[i]], sizes[i].tolist()
        name, box = f"{wnid}/{wnid}_{place[i] * 23 % 29_989}.JPEG", boxes[i : i + 1]
        about = {"width": width, "height": height, "class_id": int(class_ids[i])}
        scores = [rng.random()] if scored else None
        row = ImageRecord(name, f"{train}/{name}", **about, pseudo_boxes=box, pseudo_scores=scores)
        records.append(row)
        coco["images"].append({"id": i, "file_name": name, **about})
        xywh = xywhs[i]
        area = xywh[2] * xywh[3]
        one = {"id": i + 1, "image_id": i, "category_id": 1, "bbox": xywh}
        coco["annotations"].append({**one, "iscrowd": 0, "area": area})
    (folder / "coco.json").write_text(json.dumps(coco))
    seen = [fingerprint(path, folder) for path in sources(folder)]
    data_set = DataSet.from_records(records, NAME)
    info = write_store(folder / ".wend" / NAME, data_set, folder, name=NAME, sources=seen)
    return info["bytes"]


def memory(*names: str) -> float:
    """Sum of entries of ``/proc/self/smaps_rollup``, in MB (10^6)."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    values = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return sum(values[name] for name in names) * 1024 / 1e6


def uss() -> float:
    """Memory that only this process has, in MB."""
    return memory("Private_Clean", "Private_Dirty")


def peak() -> float:
    """Highest resident memory since the peak was last cleared, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(s.split()[1]) for s in lines if s.startswith("VmHWM")) * 1024 / 1e6


def touch(dataset: Sequence, number: int, seed: int) -> float:
    """Seconds for random records."""
    places = np.random.default_rng(seed).integers(0, len(dataset), number).tolist()
    start = time.perf_counter()
    for place in places:
        dataset[place]
    return time.perf_counter() - start


class Warm(Sequence):
    """Records of the same kind without a data set, so that a baseline has run the same code."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, place: int) -> dict:
        return {"file_name": f"{place}", "annotations": [{"bbox": [float(place)] * 4}]}


def _further(connection, barrier, number: int, seed: int, inherited: Sequence | None) -> None:
    """A further process: memory of its own before it has the data, and when all have used it."""
    import wend.d2  # noqa: F401  (a spawned process imports what a loader's worker does)

    touch(Warm(), number, seed)
    barrier.wait()
    before = uss()
    barrier.wait()
    dataset = connection.recv() if inherited is None else inherited
    touch(dataset, number, seed)
    barrier.wait()
    connection.send(uss() - before)
    barrier.wait()


def further_processes(dataset: Sequence, method: str, number: int, workers: int) -> list[float]:
    """MB of its own (USS) that each of so many processes grows by when it uses random records."""
    import torch.multiprocessing

    context = torch.multiprocessing.get_context(method)
    barrier = context.Barrier(workers, timeout=600)
    started = []
    for seed in range(workers):
        here, there = context.Pipe()
        inherited = dataset if method == "fork" else None
        process = context.Process(target=_further, args=(there, barrier, number, seed, inherited))
        process.start()
        started.append((process, here))
    if method != "fork":
        for _, here in started:
            here.send(dataset)
    found = [here.recv() for _, here in started]
    for process, _ in started:
        process.join()
    return found


def open_store(folder: Path) -> Sequence:
    """By its name as the trainer does, with the look at the sources' age; the mapper copies."""
    from wend.d2.catalog import MappedImages
    from wend.datasets.catalog import DataSets
    from wend.loading.selection import Selection

    return MappedImages(Selection([DataSets().get(NAME)], with_boxes=False), dict)


def open_list(folder: Path) -> Sequence:
    """As Detectron2's loaders do with a data set in COCO's format."""
    from detectron2.data import DatasetFromList
    from detectron2.data.datasets import load_coco_json

    dicts = load_coco_json(str(folder / "coco.json"), str(folder / "ILSVRC" / "train"), NAME)
    return DatasetFromList(dicts, copy=False, serialize=True)


WAYS = {"WEND": open_store, "Detectron2": open_list}


def measure(way: str, folder: Path, number: int, workers: int) -> dict[str, Any]:
    """In a fresh process: libraries first, then what the data cost."""
    import detectron2.data.datasets  # noqa: F401
    from detectron2.structures import BoxMode

    from wend.d2 import register_wsol_dataset

    os.environ["DETECTRON2_DATASETS"] = str(folder)
    register_wsol_dataset(NAME, load=list, sources=lambda: sources(folder))
    touch(Warm(), number, 0)
    logging.disable(logging.CRITICAL)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = memory("Rss")
    start = time.perf_counter()
    dataset = WAYS[way](folder)
    first = dataset[0]
    seconds = time.perf_counter() - start
    if len(dataset) < 2 or not first["file_name"].endswith(".JPEG"):
        raise SystemExit(f"{way}: {len(dataset)} records, the first is {first}")
    access = min(touch(dataset, number, seed) for seed in range(3))
    found = {
        "start-up, s": seconds,
        "random access, records/s": number / access,
        "parent's peak, MB": peak() - before,
        "parent after, MB": memory("Rss") - before,
    }
    for method in ("fork", "spawn"):
        grown = further_processes(dataset, method, number, workers)
        found[f"further process ({method}), MB"] = max(grown)
        if method == "fork":  # what is shared is counted once, in the parent
            found["all processes (fork), MB"] = found["parent after, MB"] + sum(grown)
    boxes = [dataset[place]["annotations"][0] for place in range(1000)]
    corners = [BoxMode.convert(b["bbox"], b["bbox_mode"], BoxMode.XYXY_ABS) for b in boxes]
    found["sum of boxes"] = float(np.sum(corners))
    return found


def machine() -> str:
    """Hardware, versions and commit in a line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((s.split(":")[1].strip() for s in lines if "model name" in s), "?")
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    versions = (f"{n} {importlib.metadata.version(n)}" for n in ("torch", "detectron2", "pyarrow"))
    return (
        f"{cpu}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end; Python "
        f"{platform.python_version()}, NumPy {np.__version__}, {', '.join(versions)}; commit "
        f"{commit or '?'}; OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}"
    )


def table(ours: dict[str, float], theirs: dict[str, float]) -> str:
    """Markdown: a row for each thing measured."""
    lines = ["| | WEND | Detectron2 | ratio | goal |", "|---|---|---|---|---|"]
    for what, value in ours.items():
        more = what.endswith("/s")
        ratio = value / theirs[what] if more else theirs[what] / max(value, 1e-9)
        goal = GOALS.get(what, "")
        lines.append(f"| {what} | {value:,.3f} | {theirs[what]:,.3f} | {ratio:.1f} | {goal} |")
    return "\n".join(lines)


def main() -> None:
    """Generate, measure each way in its own processes, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--scores", action="store_true", help="boxes of the store have scores")
    parser.add_argument("--access", type=int, default=200_000, help="random records each process")
    parser.add_argument("--workers", type=int, default=4, help="further processes")
    parser.add_argument("--repeat", type=int, default=2, help="processes a way; the best counts")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    out = sys.stdout.write
    if args.way:
        out("\n" + json.dumps(measure(args.way, args.folder, args.access, args.workers)) + "\n")
        return
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        size = generate(Path(name), args.images, args.scores)
        out(f"{args.images} records; store {size / 1e6:.1f} MB, COCO JSON ")
        out(f"{(Path(name) / 'coco.json').stat().st_size / 1e6:.1f} MB; ")
        out(f"generated in {time.perf_counter() - start:.0f} s\n\n")
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for way in list(WAYS) * args.repeat:
            own = ["--way", way, "--folder", name]
            same = ["--access", str(args.access), "--workers", str(args.workers)]
            command = [sys.executable, "-W", "ignore", __file__, *own, *same]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
    sums = {round(one.pop("sum of boxes")) for each in found.values() for one in each}
    if len(sums) > 1:
        raise SystemExit(f"the two ways hold different boxes: {sums}")
    best = [
        {what: (max if what.endswith("/s") else min)(one[what] for one in each) for what in each[0]}
        for each in found.values()
    ]
    out(table(*best) + "\n\n" + machine() + "\n")


if __name__ == "__main__":
    main()
