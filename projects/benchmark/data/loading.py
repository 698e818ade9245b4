"""Images a second of mapper and loader, against torchvision v2's transforms, in the same run.

    python projects/benchmark/data/loading.py [--root FOLDER_OF_IMAGES] [--rounds 5]

Every way reads the same images in the same order with 2 workers: PIL decodes, RGB, squash to 256²,
random crop of 224², flip, and the boxes with it. Rounds are interleaved; medians count.
"""

# ruff: noqa: T201, TID251
from __future__ import annotations

import argparse
import importlib.metadata
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, features
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT)]

from wend.images.paths import find_images  # noqa: E402
from wend.images.sizes import SizeReader  # noqa: E402
from wend.loading.bad_images import GuardedImages, GuardedLoader  # noqa: E402
from wend.loading.crop import CropMapper  # noqa: E402
from wend.loading.image_cache import ImageCache, prepare  # noqa: E402
from wend.loading.packed_batch import PackedBatch  # noqa: E402
from wend.structures.records import ImageRecord  # noqa: E402

RESIZE, CROP, WORKERS, BATCH = 256, 224, 2, 32


def find_records(root: Path, count: int) -> list[ImageRecord]:
    """Images below a folder, each with one box in its middle; repeated up to ``count``."""
    names = [str(root / name) for name in find_images(root)[0]]
    sizes, _ = SizeReader().read(names)
    boxes = [[[0.2 * w, 0.2 * h, 0.8 * w, 0.8 * h]] for w, h in sizes.tolist()]
    records = [
        ImageRecord(name, name, w, h, pseudo_boxes=box)
        for name, (w, h), box in zip(names, sizes.tolist(), boxes, strict=True)
    ]
    return (records * -(-count // len(records)))[:count]


class Ours(Dataset):
    """What the engines' data sets do: pixels (3, 224, 224) uint8 and boxes."""

    def __init__(self, records: list[ImageRecord], caches: list[ImageCache]) -> None:
        self.records, self.mapper = records, CropMapper(RESIZE, CROP, train=True, caches=caches)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        r = self.records[index]
        sample = self.mapper(r.file_name, r.width, r.height, r.pseudo_boxes)
        pixels = torch.from_numpy(np.ascontiguousarray(sample.image.transpose(2, 0, 1)))
        return pixels, torch.from_numpy(sample.boxes)


class Torchvisions(Dataset):
    """The same arithmetic with torchvision's transforms on PIL images."""

    def __init__(self, records: list[ImageRecord]) -> None:
        self.records = records
        self.transform = v2.Compose(
            [
                v2.Resize((RESIZE, RESIZE)),
                v2.RandomCrop(CROP),
                v2.RandomHorizontalFlip(),
                v2.SanitizeBoundingBoxes(labels_getter=None),
                v2.PILToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        r = self.records[index]
        with Image.open(r.file_name) as file:
            image = file.convert("RGB")
        boxes = tv_tensors.BoundingBoxes(
            torch.from_numpy(r.pseudo_boxes.astype(np.float32)),
            format="XYXY",
            canvas_size=(r.height, r.width),
        )
        return self.transform(image, boxes)


def ours(records: list[ImageRecord], caches: list[ImageCache]) -> Iterable:
    """Our data set in the loader that training uses."""
    loader = DataLoader(
        GuardedImages(Ours(records, caches)), BATCH, num_workers=WORKERS, collate_fn=PackedBatch
    )
    return GuardedLoader(loader, total=len(records), names="benchmark")


def torchvisions(records: list[ImageRecord]) -> Iterable:
    """Torchvision's transforms in PyTorch's loader."""
    return DataLoader(Torchvisions(records), BATCH, num_workers=WORKERS, collate_fn=list)


def rate(loader: Iterable) -> float:
    """Images a second from the first batch on: starting the workers is left out."""
    batches = iter(loader)
    next(batches)
    start, count = time.perf_counter(), 0
    for batch in batches:
        count += len(batch)
    return count / (time.perf_counter() - start)


def differences(records: list[ImageRecord], cache: ImageCache) -> tuple[int, int, float]:
    """Largest difference of pixels, cached to not, ours to torchvision's; and of boxes (pixels)."""
    plain, cached = (CropMapper(RESIZE, CROP, train=True, caches=c) for c in ((), (cache,)))
    functional = v2.functional
    worst = [0, 0, 0.0]
    for seed, r in enumerate(records):
        torch.manual_seed(seed)
        one = plain(r.file_name, r.width, r.height, r.pseudo_boxes)
        torch.manual_seed(seed)
        two = cached(r.file_name, r.width, r.height, r.pseudo_boxes)
        top, left = int(-one.frame.offset_y), int(-one.frame.offset_x)
        with Image.open(r.file_name) as file:
            image = functional.resize(file.convert("RGB"), [RESIZE, RESIZE])
        image = functional.crop(image, top, left, CROP, CROP)
        boxes = torch.from_numpy(r.pseudo_boxes.astype(np.float32))
        boxes = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(r.height, r.width))
        boxes = functional.crop(functional.resize(boxes, [RESIZE, RESIZE]), top, left, CROP, CROP)
        if one.frame.flip:
            image, boxes = functional.hflip(image), functional.hflip(boxes)
        theirs = np.asarray(image).astype(int)
        worst[0] = max(worst[0], np.abs(one.image.astype(int) - two.image).max())
        worst[1] = max(worst[1], np.abs(one.image.astype(int) - theirs).max())
        worst[2] = max(worst[2], float(np.abs(one.boxes - boxes.numpy()).max()))
    return tuple(worst)


def mapper_alone(mapper: CropMapper, records: list[ImageRecord]) -> float:
    """Milliseconds an image of the mapper in one process."""
    start = time.perf_counter()
    for r in records:
        mapper(r.file_name, r.width, r.height, r.pseudo_boxes)
    return 1e3 * (time.perf_counter() - start) / len(records)


def measure(ways: dict[str, Callable[[], Iterable]], rounds: int) -> dict[str, list[float]]:
    """Rates of each way, round by round, after a round that does not count."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, make in ways.items():
            value = rate(make())
            if number:
                rates[name].append(value)
    return rates


def versions() -> str:
    """Of what decides the speed."""
    packages = ("torch", "torchvision", "pillow", "numpy")
    found = " ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    jpeg = features.version("libjpeg_turbo")
    return f"Python {platform.python_version()}, {found}, libjpeg-turbo {jpeg}"


def report(rates: dict[str, list[float]]) -> None:
    """The table, and whether the goals are met."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    base = medians["torchvision v2"]
    print("| way | images/s, median | least .. most | times torchvision |\n|---|---|---|---|")
    for name, values in rates.items():
        spread = f"{min(values):.0f} .. {max(values):.0f}"
        print(f"| {name} | {medians[name]:.0f} | {spread} | {medians[name] / base:.2f} |")
    for name, goal in (("WEND", 1.0), ("WEND, cache", 3.0)):
        reached = medians[name] / base
        print(f"goal {name}: at least {goal:.0f} x: {'met' if reached >= goal else 'MISSED'}")


def main() -> None:
    """Run the benchmark and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = ROOT.parent / "shared" / "data" / "cub10" / "CUB_200_2011" / "images"
    parser.add_argument("--root", type=Path, default=default, help="folder of images")
    parser.add_argument("--images", type=int, default=1024, help="images a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache", help="folder for the cache (default: a temporary one)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    records = find_records(args.root, args.images)
    distinct = list({r.file_name: r for r in records}.values())
    with tempfile.TemporaryDirectory(dir=args.cache) as folder:
        cache = prepare(Path(folder) / "c", distinct, RESIZE, str(args.root), fill=True)
        start = time.perf_counter()
        for r in distinct:
            cache.resized(r.file_name)
        print(f"cache filled in one process: {time.perf_counter() - start:.1f} s")
        print(f"{versions()}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
        print(f"{len(records)} images a round ({len(distinct)} distinct), {WORKERS} workers\n")
        pixels, theirs, boxes = differences(distinct, cache)
        print(f"largest difference of a pixel: cache {pixels}, torchvision {theirs}; box {boxes:g}")
        for name, caches in (("without", []), ("with", [cache])):
            mapper = CropMapper(RESIZE, CROP, train=True, caches=caches)
            print(f"mapper alone, {name} cache: {mapper_alone(mapper, distinct):.2f} ms an image")
        ways = {
            "torchvision v2": lambda: torchvisions(records),
            "WEND": lambda: ours(records, []),
            "WEND, cache": lambda: ours(records, [cache]),
        }
        report(measure(ways, args.rounds))


if __name__ == "__main__":
    main()
