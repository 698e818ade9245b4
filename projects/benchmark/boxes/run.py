"""How good the boxes of every method are, on every network and data set, and what they cost.

    OMP_NUM_THREADS=1 python projects/benchmark/boxes/run.py --output output/boxes \
        --data cub_train cub_test --network lite0=timm:tf_efficientnet_lite0,pretrained

Prints Markdown. Boxes are made by the package's own functions, as ``wend pseudo-boxes`` makes them,
and their files are those that the printed commands write. A network passes over a data set once for
all methods but ``cam``, whose maps are the classifier's. What is done is not done again.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from wend.auto.fused import make_methods, methods_folder, write_fused  # noqa: E402
from wend.datasets.catalog import DataSets  # noqa: E402
from wend.errors import InputError  # noqa: E402
from wend.evaluation.metrics import gt_known_loc, gt_known_loc_multi  # noqa: E402
from wend.evaluation.per_image import score  # noqa: E402
from wend.evaluation.protocols import get_protocol  # noqa: E402
from wend.files import read_json, write_json  # noqa: E402
from wend.launch.crew import Crew  # noqa: E402
from wend.localize.found import part_folder  # noqa: E402
from wend.localize.image_run import batches_of  # noqa: E402
from wend.localize.job import Job  # noqa: E402
from wend.localize.making import make_boxes  # noqa: E402
from wend.localize.methods import METHODS  # noqa: E402
from wend.localize.presets import FUSED, PRESETS, Preset  # noqa: E402
from wend.localize.request import BORDER, CAM, NetworkRequest, Request  # noqa: E402
from wend.localize.whole import describe_images  # noqa: E402
from wend.localize.writers import output_paths  # noqa: E402
from wend.pseudo_boxes import join_boxes, read_boxes  # noqa: E402
from wend.structures.box_table import BoxTable  # noqa: E402
from wend.structures.boxes import box_iou  # noqa: E402
from wend.structures.data_set import DataSet  # noqa: E402

AUTO, RANDOM = "auto", "random"
FEW, MANY = 1, 5  # boxes per image
SECONDS = "seconds.json"
LITE0 = "timm:tf_efficientnet_lite0"
NETWORKS = (f"Lite0={LITE0},pretrained", f"random={LITE0},{RANDOM}")


@dataclass(frozen=True)
class Network:
    """A network by the name that the table has for it.

    Attributes:
        layer: whose output are the descriptors; None: the last feature map.
    """

    name: str
    backbone: str
    weights: str
    layer: str | None = None

    @classmethod
    def parse(cls, text: str, folder: Path) -> Network:
        """Read ``NAME=BACKBONE,WEIGHTS[,LAYER]``; weights ``random`` are written to a folder."""
        name, _, words = text.partition("=")
        backbone, *rest = words.split(",")
        if not (name and 1 <= len(rest) <= 2 and all(rest)):
            raise InputError(f"--network: expected NAME=BACKBONE,WEIGHTS[,LAYER], got {text!r}")
        if rest[0] == RANDOM:
            rest[0] = str(random_weights(backbone, folder))
        return cls(name, backbone, *rest)

    @property
    def words(self) -> list[str]:
        """As on the command line."""
        layer = ["--layer", self.layer] if self.layer else []
        return ["--backbone", self.backbone, "--weights", self.weights, *layer]


def random_weights(backbone: str, folder: Path) -> Path:
    """The file of a network's first weights with seed 0, written if it is not there."""
    package, _, name = backbone.partition(":")
    file = folder / f"{name}.random.pth"
    if not file.exists():
        torch.manual_seed(0)
        if package == "timm":
            model = importlib.import_module("timm").create_model(name, pretrained=False)
        else:
            model = importlib.import_module("torchvision.models").get_model(name, weights=None)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), file)
    return file


def preset_of(method: str) -> Preset:
    """A method's options: those of ``auto`` and ``wend auto``, or its defaults."""
    needs: str | None = None if method == BORDER else ""
    return PRESETS.get(method) or Preset({"method": method}, needs)


@dataclass
class Cell:
    """All methods with one network on one data set; boxes and seconds stand in a folder.

    Attributes:
        name: of the data set, as the command line has it.
        methods: rows of the table, of which ``auto`` follows those that it fuses.
        seconds: row -> CPU seconds per image: ``network``, ``method``; or ``error``.
    """

    folder: Path
    network: Network
    name: str
    data_set: DataSet
    methods: Sequence[str]
    settings: Mapping[str, Any]
    keep_gib: float
    input_size: int | None = None
    seconds: dict[str, dict[str, Any]] = field(default_factory=dict)

    @cached_property
    def job(self) -> Job:
        """What the command would make of its arguments."""
        network = NetworkRequest(
            *(self.network.backbone, self.network.weights, self.input_size),
            keep_gib=self.keep_gib,
            shared=True,
        )
        images = describe_images(self.data_set, self.name, None)
        return Job(self.data_set, images, Crew(), network=network, num_workers=0)

    def make(self) -> None:
        """Make what is not there."""
        there = self.folder / SECONDS
        if there.exists():
            content = read_json(there, "seconds of the methods")
            if content["settings"] != self.settings:
                raise InputError(
                    f"{there}: was made with {content['settings']}, and this is {self.settings}; "
                    f"name another --output"
                )
            self.seconds = content["seconds"]
        for number in (FEW, MANY):
            for method in self.methods:
                if f"{method} {number}" in self.seconds:
                    continue
                logging.getLogger("wend").info("%s: %s, %d boxes", self.folder, method, number)
                seconds: dict[str, Any]
                try:
                    seconds = self._timed(method, number)
                except InputError as error:  # such as a network that has no classifier
                    seconds = {"error": str(error)}
                self.seconds[f"{method} {number}"] = seconds
                done = {key: row for key, row in self.seconds.items() if "error" not in row}
                content = {"settings": self.settings, "seconds": done}
                write_json(there, content, indent=1)

    def _timed(self, method: str, number: int) -> dict[str, float]:
        if method == AUTO:
            return self._timed_fusion(number)
        preset = preset_of(method)
        layer = None if method in (BORDER, CAM) else self.network.layer
        request = Request(number=number, layer=layer, **preset.options)
        output, split = self.place(method, number)
        rmtree(part_folder(output, split), ignore_errors=True)  # its time is not known
        network = 0.0
        if preset.needs_network:
            network = self._pass(CAM if method == CAM else "", layer)
        method_seconds = self._clock(lambda: make_boxes(request, self.job, output, split))
        return {"network": network, "method": method_seconds}

    def _timed_fusion(self, number: int) -> dict[str, float]:
        if self.network.layer:
            raise InputError("--method auto takes no --layer")
        output = self.folder / f"boxes{number}"
        make_methods(self.job, output, AUTO, number)  # all are there
        images = (self.data_set, self.job.images)
        fusion = self._clock(lambda: write_fused(output, AUTO, *images, number))
        each = [self.seconds[f"{name} {number}"] for name in FUSED]
        network = max(seconds["network"] for seconds in each)
        return {"network": network, "method": fusion + sum(row["method"] for row in each)}

    def _pass(self, which: str, layer: str | None) -> float:
        """Have the network's maps of all images in memory; seconds per image, reading included."""
        networks = self.job.networks
        over = (networks.classifier()[0] if which == CAM else networks.of_layer(layer)).over
        number = len(self.data_set)
        if not over.fits(number):
            sys.exit(
                f"error: --keep-gib {self.keep_gib:g}: the maps of {number} images need "
                f"{number * over.bytes_per_image / 2**30:.1f}"
            )
        key = f"pass {which}".strip()
        batches = batches_of(number, networks.batch_size)
        if key in self.seconds:
            list(over.batches(batches, again=True))
        else:
            seconds = self._clock(lambda: list(over.batches(batches, again=True)))
            self.seconds[key] = {"network": seconds}
        return self.seconds[key]["network"]

    def _clock(self, work: Callable[[], object]) -> float:
        start = time.process_time()
        work()
        return (time.process_time() - start) / len(self.data_set)

    def place(self, method: str, number: int) -> tuple[Path, str]:
        """A method's output and split: what ``auto`` fuses is where ``auto`` has it."""
        output = self.folder / f"boxes{number}"
        if method in FUSED and not self.network.layer:
            return methods_folder(output, AUTO), method
        return output, method

    def boxes(self, method: str, number: int) -> BoxTable | None:
        """The boxes of a method's file; None where it could not be run."""
        if "error" in self.seconds[f"{method} {number}"]:
            return None
        _, coco = output_paths(*self.place(method, number))
        boxes = read_boxes({"source": "coco", "path": coco})
        return join_boxes(self.data_set.keys, self.data_set.sizes, boxes, log=False)[0]

    def command(self, method: str) -> str:
        """The command that makes a method's boxes."""
        preset = Preset({"method": AUTO}) if method == AUTO else preset_of(method)
        network = self.network.words if preset.needs_network else []
        if method == CAM:
            network = network[:4]
        size = ["--input-size", str(self.input_size)] if network and self.input_size else []
        return " ".join(["wend pseudo-boxes", *preset.words, *network, *size])


def accuracy(cell: Cell, method: str) -> str:
    """Share of images in per cent: the first box right (any of several right)."""
    few, many = cell.boxes(method, FEW), cell.boxes(method, MANY)
    if few is None or many is None:
        return "–"
    known = cell.data_set.truth.with_boxes  # the others can be neither right nor wrong
    data_set = cell.data_set.take(known)
    first, of_many = (
        score(data_set, table.take(known).scored(), get_protocol("original"))
        for table in (few, many)
    )
    shares = (gt_known_loc.values(first), gt_known_loc_multi.values(of_many, MANY))
    return "{:.1f} ({:.1f})".format(*(100 * share.mean() for share in shares))


def precision_and_recall(truth: BoxTable, boxes: BoxTable) -> tuple[float, float]:
    """Of all boxes of images with true boxes, in per cent.

    Boxes of falling scores take the true box with the largest IoU above 0.5 that is still free.
    """
    right = 0
    known = truth.with_boxes.tolist()
    for image in known:
        iou = box_iou(boxes[image], truth[image])
        for row in np.argsort(-boxes.scores_of(image), kind="stable"):
            column = int(iou[row].argmax())
            if iou[row, column] > 0.5:
                right += 1
                iou[:, column] = 0
    made = int(boxes.counts[known].sum())
    return 100 * right / max(made, 1), 100 * right / max(len(truth.boxes), 1)


def main(argv: Sequence[str] | None = None) -> None:
    """Make boxes and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--output", required=True, type=Path, help="gets the boxes, and is gone on with")
    add("--data", nargs="+", default=["cub_train", "cub_test"], help="data sets with truth")
    add("--network", action="append", metavar="NAME=BACKBONE,WEIGHTS[,LAYER]", help="several times")
    add("--methods", nargs="+", help="rows (all)")
    add("--datasets-root", help="folder of the data sets")
    add("--input-size", type=int, help="images are squashed to its square (448)")
    add("--keep-gib", type=float, default=4.0, help="memory for a network's maps (4)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    cells = make_cells(args)
    for cell in cells:
        cell.make()
        cell.__dict__.pop("job", None)  # and with it the maps
    sys.stdout.write(report(cells) + "\n")


def make_cells(args: argparse.Namespace) -> list[Cell]:
    """All networks on all data sets."""
    every = [BORDER, *(name for name in FUSED if name != BORDER), AUTO]
    every += [name for name in (*METHODS, CAM) if name not in every]
    methods = [name for name in every if name in (args.methods or every)]
    unknown = set(args.methods or ()) - set(every)
    if unknown or (AUTO in methods and not set(FUSED) <= set(methods)):
        raise InputError(f"--methods: expected some of {', '.join(every)}; auto needs {FUSED}")
    weights = args.output / "weights"
    networks = [Network.parse(text, weights) for text in args.network or NETWORKS]
    data_sets = DataSets(args.datasets_root)
    commit = described()
    cells = []
    for name in args.data:
        data_set = data_sets.get(name)
        for network in networks:
            settings = {
                "commit": commit,
                "network": network.words,
                "input_size": args.input_size,
                "keys": len(data_set),
            }
            folder = args.output / network.name / data_set.name
            cells.append(
                Cell(
                    *(folder, network, name, data_set, methods, settings),
                    keep_gib=args.keep_gib,
                    input_size=args.input_size,
                )
            )
    return cells


def report(cells: Sequence[Cell]) -> str:
    """The tables, how each row is made again, and where this was measured."""
    methods = cells[0].methods
    titles = [f"{cell.network.name}, {cell.data_set.name}" for cell in cells]
    rows = [[method, *(accuracy(cell, method) for cell in cells)] for method in methods]
    parts = [
        f"Share of images (%) whose first box has IoU > 0.5 with a true box, with `--boxes {FEW}` "
        f"(in brackets: with `--boxes {MANY}`, any box)",
        tabulate(rows, ["`--method`", *titles], tablefmt="pipe", disable_numparse=True),
        "CPU seconds per image, of one core: the method, + the network with reading the images",
        tabulate(
            [[method, *(_seconds(cell, method) for cell in cells)] for method in methods],
            ["`--method`", *titles],
            tablefmt="pipe",
            disable_numparse=True,
        ),
    ]
    several = [cell for cell in cells if (cell.data_set.truth.counts > 1).any()]
    if several:
        objects = [cell.data_set.truth.counts.mean() for cell in several]
        titles = [
            f"{cell.network.name}, {cell.data_set.name}, {mean:.2f} objects"
            for cell, mean in zip(several, objects, strict=True)
        ]
        parts += [
            f"Images with several objects, `--boxes {MANY}`: CorLoc (with `--boxes {FEW}`); "
            f"precision, recall of all boxes, each true box taken once at IoU > 0.5; boxes per "
            f"image",
            tabulate(
                [[method, *(_several(cell, method) for cell in several)] for method in methods],
                ["`--method`", *titles],
                tablefmt="pipe",
                disable_numparse=True,
            ),
        ]
    commands = {
        cell.command(method): None
        for cell in cells
        for method in methods
        if "error" not in cell.seconds[f"{method} {FEW}"]
    }
    parts.append("The rows' boxes, with `--dataset NAME --output DIR` and perhaps `--boxes 5`:")
    parts.append("```sh\n" + "\n".join(commands) + "\n```")
    errors = {
        f"{method} on {cell.network.name}: {row['error']}": None
        for cell in cells
        for method in methods
        if "error" in (row := cell.seconds[f"{method} {FEW}"])
    }
    parts += [f"Not run: {error}" for error in errors]
    sets = {cell.name: f"{len(cell.data_set)} images of {cell.data_set.name}" for cell in cells}
    parts.append(
        f"{', '.join(sets.values())}; {os.cpu_count()} CPU cores, load {os.getloadavg()[0]:.1f}; "
        f"Python {platform.python_version()}, PyTorch {torch.__version__}; commit "
        f"{cells[0].settings['commit']}"
    )
    return "\n\n".join(parts)


def _seconds(cell: Cell, method: str) -> str:
    row = cell.seconds[f"{method} {FEW}"]
    if "error" in row:
        return "–"
    network = f" + {row['network']:.2f}" if row["network"] else ""
    return f"{row['method']:.4f}{network}"


def _several(cell: Cell, method: str) -> str:
    many = cell.boxes(method, MANY)
    if many is None:
        return "–"
    corloc = accuracy(cell, method).split()[0]
    truth = cell.data_set.truth
    precision, recall = precision_and_recall(truth, many)
    each = many.counts[truth.with_boxes].mean()
    return f"{corloc}; {precision:.1f}, {recall:.1f}; {each:.2f}"


def described() -> str:
    """The checkout's commit."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "?"


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
