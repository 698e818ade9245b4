"""Whether refinement by colours helps, and whether it is the colours: a table over data sets.

    OMP_NUM_THREADS=1 python projects/benchmark/refine/table.py cub_train raccoon.yaml

Each method's maps and masks of an image are refined by the image's own picture, and as a control by
one that is grey all over, so that places alone count: a mere smoothing. Maps are computed once,
with the network's last feature map at 448 pixels, and kept in ``--keep``. A number is the share of
images whose box has an IoU above 0.5 (0.7) with a true one. Nothing is chosen by it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from wend.datasets.catalog import DataSets  # noqa: E402
from wend.images.reading import read_image  # noqa: E402
from wend.localize.backbones import build_backbone  # noqa: E402
from wend.localize.boxes import FoundBox  # noqa: E402
from wend.localize.contrast import (  # noqa: E402
    ContrastHead,
    border_excess,
    contrast_loss,
    otsu,
)
from wend.localize.contrast_run import boxes_of_activation  # noqa: E402
from wend.localize.ddt import Moments, find_boxes, project  # noqa: E402
from wend.localize.method_options import contrast as contrast_options  # noqa: E402
from wend.localize.methods import METHODS  # noqa: E402
from wend.localize.network_pass import NetworkPass  # noqa: E402
from wend.localize.patch_run import PatchOptions, boxes_of_maps  # noqa: E402
from wend.localize.refine.refinement import (  # noqa: E402
    REFINEMENTS,
    Refinement,
    small_picture,
)
from wend.structures.boxes import box_iou  # noqa: E402
from wend.structures.data_set import DataSet  # noqa: E402

LITE0, SIDE, BATCH = "timm:tf_efficientnet_lite0", 448, 32
STEP = 50  # images after which the table so far is printed
BoxesOf = Callable[[int, Any], Sequence[FoundBox]]  # index of an image, refine -> its boxes


def maps_of(data_set: DataSet, keep: Path, name: str) -> Tensor:
    """The last feature maps (N, C, h, w) of all images, which have to be readable."""
    file = keep / f"{Path(name).stem}.pt"
    if file.exists():
        return torch.load(file, weights_only=True)
    network = NetworkPass(
        build_backbone(LITE0, "pretrained", None, SIDE),
        *(data_set, torch.device("cpu")),
        num_workers=0,
        skip_unreadable=False,
    )
    plan = [range(i, min(i + BATCH, len(data_set))) for i in range(0, len(data_set), BATCH)]
    maps = torch.cat([p.maps for p in tqdm(network.batches(plan), total=len(plan), desc=name)])
    keep.mkdir(parents=True, exist_ok=True)
    torch.save(maps, file)
    return maps


def ddt(maps: Tensor) -> BoxesOf:
    """``--method ddt --group all --sign border --upsampling bilinear``."""
    moments = Moments.empty(maps.shape[1])
    for batch in maps.split(BATCH):
        moments.add(batch)
    mean, component = moments.axis()
    if moments.border_contrast(component) > 0:
        component = -component
    values = np.concatenate([project(batch, mean, component) for batch in maps.split(BATCH)])
    return lambda i, refine: find_boxes(values[i], "bilinear", SIDE, 1, refine)


def contrast(maps: Tensor) -> BoxesOf:
    """``--method contrast``, whose images are all shuffled together, as of small sets."""
    options = contrast_options()
    torch.manual_seed(0)
    head = ContrastHead(maps.shape[1])
    optimizer = torch.optim.Adam(head.parameters(), lr=options["rate"])
    for epoch in range(int(options["epochs"])):
        order = torch.randperm(len(maps), generator=torch.Generator().manual_seed(epoch))
        for batch in order[: len(maps) // BATCH * BATCH].split(BATCH):
            loss = contrast_loss(maps[batch], head(maps[batch]), options["alpha"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    head.eval()
    with torch.inference_mode():
        values = torch.cat([head(batch)[:, 0] for batch in maps.split(BATCH)]).numpy()
    values = 1 - values if border_excess(values) > 0 else values
    threshold = otsu(values)
    return lambda i, refine: boxes_of_activation(values[i], threshold, SIDE, 1, refine)


def patches(name: str) -> Callable[[Tensor], BoxesOf]:
    """A method of patches, with its defaults."""
    options = PatchOptions(name, METHODS.get(name))

    def boxes_of(maps: Tensor) -> BoxesOf:
        return lambda i, refine: boxes_of_maps(maps[i : i + 1], options, [refine])[0]

    return boxes_of


METHODS_OF_MAPS: dict[str, Callable[[Tensor], BoxesOf]] = {
    "ddt": ddt,
    "contrast": contrast,
    "token-cut": patches("token-cut"),
    "mask-cut": patches("mask-cut"),
}


def refined_together(
    boxes_of: dict[str, BoxesOf], image: int, picture: np.ndarray
) -> dict[str, dict[str, FoundBox]]:
    """Each refinement's boxes of all methods of an image, whose maps it gets in one call.

    The weights of a picture's pairs are most of a conditional random field's cost.
    """
    given: list[np.ndarray] = []

    def note(_: np.ndarray, log_odds: np.ndarray) -> np.ndarray:
        given.append(log_odds)
        return log_odds

    for boxes in boxes_of.values():
        boxes(image, Refinement("note", note).of(picture))
    results = {}
    for name in REFINEMENTS:
        made = REFINEMENTS.get(name)(picture, np.concatenate(given))
        of_maps = dict(
            zip((each.tobytes() for each in given), np.split(made, len(given)), strict=True)
        )

        def again(_: np.ndarray, log_odds: np.ndarray, known: dict = of_maps) -> np.ndarray:
            return known[log_odds.tobytes()]

        refine = Refinement(name, again).of(picture)
        results[name] = {method: boxes(image, refine)[0] for method, boxes in boxes_of.items()}
    return results


class Results:
    """Right boxes, IoUs and what was kept, of each method, refinement and picture."""

    HEADS = ("method", "refine", "picture", "IoU > 0.5", "IoU > 0.7", "mean IoU", "kept")

    def __init__(self) -> None:
        self.ious: dict[tuple[str, str, str], list[float]] = {}
        self.kept: Counter[tuple[str, str, str]] = Counter()

    def add(self, key: tuple[str, str, str], box: FoundBox, size: np.ndarray, truth: Any) -> None:
        """Take in an image's box."""
        iou = box_iou(np.array([box.box]) * np.tile(size, 2), truth).max()
        self.ious.setdefault(key, []).append(float(iou))
        self.kept[key] += box.unrefined

    def table(self) -> str:
        """A row for each."""
        rows = []
        for key in sorted(self.ious):
            iou = np.array(self.ious[key])
            right = [100 * (iou > 0.5).mean(), 100 * (iou > 0.7).mean(), iou.mean()]
            rows.append([*key, *right, 100 * self.kept[key] / len(iou)])
        form = ("", "", "", ".1f", ".1f", ".3f", ".1f")
        return tabulate(rows, self.HEADS, "github", floatfmt=form)


def results_of(data_set: DataSet, maps: Tensor) -> Iterator[Results]:
    """The results after each image."""
    boxes_of = {name: make(maps) for name, make in METHODS_OF_MAPS.items()}
    results = Results()
    for i, file in enumerate(data_set.file_names):
        place = data_set.sizes[i], data_set.truth[i]
        for name, boxes in boxes_of.items():
            results.add((name, "-", ""), boxes(i, None)[0], *place)
        own = small_picture(read_image(str(file), data_set.exif, data_set.max_megapixels))
        for kind, picture in {"own": own, "grey": np.full_like(own, 128)}.items():
            for refinement, made in refined_together(boxes_of, i, picture).items():
                for name, box in made.items():
                    results.add((name, refinement, kind), box, *place)
        yield results


def seconds(data_set: DataSet) -> str:
    """The processor's seconds per image of each refinement of one map."""
    ramp = np.linspace(-1, 1, 14 * 14).reshape(1, 14, 14)
    files = data_set.file_names[:20]
    pictures = [small_picture(read_image(str(file), data_set.exif)) for file in files]
    lines = []
    for name in ("crf", "bilateral"):
        refinement = Refinement.named(name, {})
        start = time.process_time()
        for picture in pictures:
            refinement.masks(picture, ramp)
        each = (time.process_time() - start) / len(pictures)
        lines.append(f"{name}: {each:.3f} s per image\n")
    return "".join(lines)


def main() -> None:
    """Print the table of each data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_sets", nargs="+", help="names, or files of declarations")
    parser.add_argument("--keep", type=Path, default=Path("maps"), help="folder of the maps")
    args = parser.parse_args()
    for name in args.data_sets:
        data_set = DataSets().get(name)
        every = results_of(data_set, maps_of(data_set, args.keep, name))
        for done, results in enumerate(tqdm(every, total=len(data_set)), start=1):
            if done % STEP == 0 or done == len(data_set):
                head = f"\n{name}, {done} of {len(data_set)} images, per cent\n\n"
                sys.stdout.write(head + results.table() + "\n")
                sys.stdout.flush()
        sys.stdout.write(seconds(data_set))


if __name__ == "__main__":
    main()
