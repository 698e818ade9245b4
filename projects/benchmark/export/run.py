#!/usr/bin/env python
"""Exported files against the detectors they come from: largest difference, size, time per image.

    python projects/benchmark/export/run.py                     # tiny detectors, untrained
    python projects/benchmark/export/run.py --run out --images photos   # a trained one, on photos

Prints a row of a Markdown table for each file. A time is the median over rounds in which the file
and its detector take turns on the same batch of crops; what is printed is their ratio (below 1: the
file is faster), since machines differ. Differences are in pixels of the photo and in scores.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import wend  # noqa: E402
from wend.inference.export import largest_difference  # noqa: E402
from wend.inference.file_formats import FORMATS  # noqa: E402
from wend.inference.inputs import each_image, read_rgb  # noqa: E402
from wend.weight_files import Origin, stated_origin  # noqa: E402

HEADER = "| engine | detector | format | suppression | boxes | scores | MB | time, 1 | time, 8 |"


def tiny_detectors(folder: Path, chosen: list[str]) -> Iterator[tuple[str, Path]]:
    """Names and checkpoints of the tests' tiny detectors, which were not trained."""
    from engine_runs import BUILDABLE, untrained

    for engine, name in BUILDABLE:
        if not chosen or f"{engine}-{name}" in chosen:
            cfg, model = untrained(engine, name)
            path = folder / f"{engine}-{name}" / "model_final.pth"
            path.parent.mkdir()
            origin = stated_origin(Origin(cfg.dump(), engine, "ignore"))
            torch.save({"model": model.state_dict(), **origin}, path)
            yield f"{engine} | {name}", path


def coarse_noise(count: int = 8, size: int = 96) -> list[Image.Image]:
    """Smooth images."""
    cells = np.random.default_rng(0).integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return [Image.fromarray(image).resize((size, size)) for image in cells]


def ratio(detector: wend.Detector, exported: wend.Detector, images: list, rounds: int) -> float:
    """Median time of the file's batch over its detector's."""
    samples = [detector.model.mapper.of_image(image) for image in images]
    seconds: tuple[list[float], list[float]] = ([], [])
    for index in range(rounds + 1):
        for one, times in zip((detector, exported), seconds, strict=True):
            start = time.perf_counter()
            one.model.predict(samples)
            if index:  # the first warms up
                times.append(time.perf_counter() - start)
    own, files = map(statistics.median, seconds)
    return files / own


def main() -> None:
    """Export, compare, time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", help="a run's OUTPUT_DIR or checkpoint; default: tiny detectors")
    parser.add_argument("--images", help="folder or pattern; default: coarse noise")
    parser.add_argument("--only", nargs="*", default=[], metavar="ENGINE-DETECTOR")
    parser.add_argument("--formats", nargs="*", default=[*FORMATS], choices=FORMATS)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    images = coarse_noise()
    if args.images:
        exif = wend.load(args.run, device="cpu").exif if args.run else "apply"
        images = [read_rgb(image, exif) for image in each_image(args.images)][:64]
    sys.stdout.write(f"{HEADER}\n{'|---' * HEADER.count(' |')}|\n")
    with tempfile.TemporaryDirectory() as folder:
        runs = tiny_detectors(Path(folder), args.only)
        if args.run:
            detector = wend.load(args.run, device="cpu")
            runs = iter([(f"{detector.engine} | {detector.cfg.MODEL.META_ARCHITECTURE}", args.run)])
        for name, run in runs:
            detector = wend.load(run, device="cpu")
            for file_format in args.formats:
                for nms in (False, True):
                    path = Path(folder) / f"a{FORMATS[file_format].ending}"
                    wend.export(run, file_format, path, nms=nms, overwrite=True)
                    exported = wend.load(path, device="cpu")
                    boxes, scores = largest_difference(detector, exported, images)
                    times = (
                        ratio(detector, exported, images[:batch], args.rounds) for batch in (1, 8)
                    )
                    cells = [
                        *(name, file_format, "in the file" if nms else "after it"),
                        *(f"{boxes:.0e}", f"{scores:.0e}", f"{path.stat().st_size / 1e6:.1f}"),
                        *(f"{value:.2f}" for value in times),
                    ]
                    sys.stdout.write(f"| {' | '.join(cells)} |\n")
                    sys.stdout.flush()


if __name__ == "__main__":
    main()
