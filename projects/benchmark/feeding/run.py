"""What feeds a GPU: images per second of one core, from JPEG to batch, and the cores it takes.

    OMP_NUM_THREADS=1 python projects/benchmark/feeding/run.py --photos FOLDER

Needs ``pip install simplejpeg lmdb tensordict``. The cores are arithmetic on rates of this machine,
and no measurement on one with a GPU.
"""

# ruff: noqa: E402, T201
from __future__ import annotations

import argparse
import logging
import os
import platform
import subprocess
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

import cv2
import decoding
import loader
import steps
import stores
import torch
from photos import Photos, as_they_are, rescaled

from wend.loading.image_cache import ImageCache, prepare
from wend.loading.selection import Selection
from wend.structures.data_set import DataSet
from wend.structures.records import DECODERS, ImageRecord

SIZES = {"ImageNet's size": ((500, 375), 110.0), "twice that": ((1000, 750), 250.0)}
SIZES["photos of 12 megapixels"] = ((4000, 3000), 2500.0)
TABLES = ("decode", "example", "cache", "loader", "device", "step")
PACKAGES = ("torch", "torchvision", "pillow", "simplejpeg", "numpy", "lmdb", "tensordict")


def data_set_of(photos: Photos) -> DataSet:
    """Each file as an image with one box in its middle."""
    records = []
    for file in photos.files:
        with decoding.Image.open(file) as image:
            width, height = image.size
        box = [[0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height]]
        records.append(ImageRecord(file, file, width, height, gt_boxes=box, pseudo_boxes=box))
    return DataSet.from_records(records)


def filled(data_set: DataSet, folder: Path) -> ImageCache:
    """A cache of all its images, whose checksums were looked at."""
    cache = prepare(folder / "cache", data_set, loader.RESIZE, "", fill=True)
    for file in data_set.file_names * 2:
        cache.resized(file)
    return cache


def machine() -> str:
    """What decides the rates."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{os.cpu_count()} CPU cores ({torch.backends.cpu.get_cpu_capability()}), load "
        f"{os.getloadavg()[0]:.1f}; Python {platform.python_version()}, {packages}, OpenCV "
        f"{cv2.__version__}; commit {commit or '?'}"
    )


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT.parent / "shared" / "data" / "cub10" / "CUB_200_2011" / "images"
    parser.add_argument("--cub", type=Path, default=default, help="folder of CUB's images")
    parser.add_argument("--photos", type=Path, help="folder of photos to rescale (those of CUB)")
    parser.add_argument("--images", type=int, default=100, help="of each kind (100)")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5, help="of which the best counts (5)")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--device", default="cpu", help="of the table 'device'")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")  # torch's, of arrays that are only read
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = args.photos or args.cub
        cub = as_they_are("CUB", args.cub, args.images)
        kinds = [cub]
        for kind, (size, kilobytes) in SIZES.items():
            number = args.images if size[0] < 2000 else max(args.images // 10, 2)
            text = f"{kind}, {size[0]}x{size[1]}"
            kinds.append(rescaled(text, source, number, size, kilobytes, folder))
        if "decode" in args.tables:
            for photos in kinds:
                print(decoding.tables(photos, args.rounds))
        cub_set = data_set_of(cub)
        images, cache = Selection([cub_set], with_boxes=True), filled(cub_set, folder)
        if "example" in args.tables:
            ways = {f"{cub.name}, {name}": ((), name) for name in DECODERS[:2]}
            ways["the cache"] = ((cache,), DECODERS[0])
            print(loader.per_core(images, ways, args.batch, args.rounds))
            large = Selection([data_set_of(kinds[1])], with_boxes=True)
            ways = {f"{kinds[1].name}, {name}": ((), name) for name in DECODERS[:2]}
            print(loader.per_core(large, ways, args.batch, args.rounds))
            print(loader.parts(images, cache, args.rounds))
        if "cache" in args.tables:
            print(stores.measure(cache, list(cub.files), folder, args.rounds))
        if "loader" in args.tables:
            print(loader.travelling(images, cache, args.batch, args.rounds))
        if "device" in args.tables:
            print(loader.on_device(args.batch, args.rounds, args.device))
        if "step" in args.tables:
            print(steps.share(images, cache, 8, args.rounds))
    print(machine())


if __name__ == "__main__":
    main()
