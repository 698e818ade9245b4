"""Pseudo boxes of a data set with truth, disturbed until a given share of them is right.

``python projects/reproduce/disturb.py DATASET --right 0.45 --seed 0 --output FILE``

DATASET is a name or a YAML file (``docs/datasets.md``) of a data set with truth and pseudo boxes;
``--boxes truth`` starts from the true boxes instead. FILE is a COCO JSON of all images, which the
box source ``coco`` reads back: a declaration takes it as

    pseudo_boxes: {source: coco, path: FILE}

A right box has IoU > 0.5 with a true box of its image. Boxes that are wrong stay as they are; of
the right ones as many as must be are replaced by errors of class activation maps, each made from
the pseudo box:

======== ====================================================================== ==========
kind     the box                                                                proportion
======== ====================================================================== ==========
part     0.35 to 0.68 of its width and of its height, anywhere within it        0.4
context  1.5 to 2.4 times as wide and high, its centre moved by up to 0.2       0.3
shift    moved by 0.3 to 0.65 of its width and height                           0.2
whole    the whole image                                                        0.1
======== ====================================================================== ==========

All are cut at the image. The truth only decides whether a box is right. A box that does not become
wrong by its kind in 20 draws (the whole image, where the object fills it) gets the next kind; the
table that is printed, and ``info`` in FILE, say how many boxes each kind has. Scores of the pseudo
boxes are kept. The same seed gives the same boxes on every machine, and what is wrong at one share
is wrong in the same way at every smaller share.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from tabulate import tabulate

from wend.cli.strict_parser import StrictParser
from wend.datasets.catalog import DataSets
from wend.errors import InputError
from wend.files import write_json
from wend.formats.coco import to_coco
from wend.numerals import decimal_number, whole_number
from wend.structures.box_table import BoxTable
from wend.structures.boxes import box_iou, clip_boxes
from wend.structures.data_set import DataSet

RIGHT_IOU = 0.5  # strictly over it, as GT-known Loc has it
DRAWS = 20  # of a kind, until a box is wrong by it
PROPORTIONS = {"part": 0.4, "context": 0.3, "shift": 0.2, "whole": 0.1}


def draw(kind: str, box: np.ndarray, frame: np.ndarray, rng: Generator) -> np.ndarray:
    """A box (4,) xyxy with an error of a kind, made of one in an image of (width, height)."""
    corner, size = box[:2], box[2:] - box[:2]
    if kind == "part":
        part = size * rng.uniform(0.35, 0.68, size=2)
        low = corner + (size - part) * rng.random(2)
        new = np.append(low, low + part)
    elif kind == "context":
        half = size * rng.uniform(1.5, 2.4, size=2) / 2
        centre = corner + size / 2 + size * rng.uniform(-0.2, 0.2, size=2)
        new = np.append(centre - half, centre + half)
    elif kind == "shift":
        step = size * rng.uniform(0.3, 0.65, size=2) * rng.choice([-1, 1], size=2)
        new = box + np.tile(step, 2)
    else:
        new = np.append(np.zeros(2), frame)
    return clip_boxes(new, *frame)


def right_boxes(data_set: DataSet, boxes: BoxTable) -> np.ndarray:
    """Which boxes (B,) have IoU > 0.5 with a true box of their image."""
    return nearest_ious(data_set, boxes) > RIGHT_IOU


def nearest_ious(data_set: DataSet, boxes: BoxTable) -> np.ndarray:
    """IoU (B,) of each box with the nearest true box of its image; 0 where there is none."""
    pairs = zip(boxes.boxes, boxes.owner.tolist(), strict=True)
    return np.array([box_iou(box[None], data_set.truth[i]).max(initial=0.0) for box, i in pairs])


@dataclass(frozen=True)
class Disturbed:
    """The boxes, and how they came to be.

    Attributes:
        boxes: of all images, in original pixels.
        kinds: (B,) of each box "right", "wrong as given", or the kind of its error.
    """

    boxes: BoxTable
    kinds: np.ndarray

    def counts(self) -> dict[str, int]:
        """Boxes of each kind."""
        order = ("right", "wrong as given", *PROPORTIONS)
        return {kind: int((self.kinds == kind).sum()) for kind in order}


def disturb(
    data_set: DataSet,
    boxes: BoxTable,
    right: float,
    seed: int,
    proportions: Mapping[str, float] | None = None,
) -> Disturbed:
    """Replace right boxes by wrong ones until a share of all is right.

    Args:
        data_set: the images, with truth.
        boxes: of the images, in original pixels.
        right: share of boxes that shall be right, from 0 to that of ``boxes``.
        seed: from 0.
        proportions: kind -> weight; the default is :data:`PROPORTIONS`.

    Raises:
        InputError: the share is out of its range, or cannot be reached with these kinds.
    """
    weights = dict(PROPORTIONS if proportions is None else proportions)
    owner, number = boxes.owner, len(boxes.boxes)
    truth = [data_set.truth[image] for image in range(len(data_set))]

    def is_right(box: np.ndarray, image: int) -> bool:
        return bool((box_iou(box[None], truth[image]) > RIGHT_IOU).any())

    given = right_boxes(data_set, boxes)
    todo = int(given.sum()) - round(right * number)
    if todo < 0:
        raise InputError(
            f"--right {right}: of the {number} boxes of {data_set.name} only {given.mean():.4f} "
            f"are right; give at most that, or start from --boxes truth"
        )
    new, kinds = boxes.boxes.copy(), np.where(given, "right", "wrong as given").astype(object)
    done = dict.fromkeys(weights, 0)
    for row in np.random.default_rng(seed).permutation(np.flatnonzero(given)).tolist():
        if not todo:
            break
        rng, image = np.random.default_rng([seed, row]), int(owner[row])
        frame = data_set.sizes[image].astype(np.float64)
        total = 1 + sum(done.values())
        for kind in sorted(weights, key=lambda kind: done[kind] - weights[kind] * total):
            tries = (draw(kind, boxes.boxes[row], frame, rng) for _ in range(DRAWS))
            box = next((box for box in tries if not is_right(box, image)), None)
            if weights[kind] > 0 and box is not None:
                new[row], kinds[row] = box, kind
                done[kind] += 1
                todo -= 1
                break
    if todo:
        raise InputError(
            f"--right {right}: {todo} boxes too few of {data_set.name} become wrong by "
            f"{', '.join(kind for kind in weights if weights[kind] > 0)}; allow further kinds"
        )
    return Disturbed(BoxTable(boxes.offsets, new, boxes.scores), kinds)


def read_kinds(texts: Sequence[str]) -> dict[str, float]:
    """KIND=WEIGHT texts as weights that add up to 1; kinds that are not named have none.

    Raises:
        InputError: an unknown kind, a weight that is no number from 0, or all are 0.
    """
    weights = dict.fromkeys(PROPORTIONS, 0.0)
    for text in texts:
        kind, _, value = text.partition("=")
        try:
            weights[kind] += decimal_number(value)
        except (KeyError, ValueError):
            raise InputError(
                f"--kinds {text}: expected KIND=WEIGHT with a kind of {', '.join(PROPORTIONS)}"
            ) from None
    total = sum(weights.values())
    if min(weights.values()) < 0 or not 0 < total < float("inf"):
        raise InputError(f"--kinds {' '.join(texts)}: expected weights >= 0, not all of them 0")
    return {kind: weight / total for kind, weight in weights.items()}


def write(path: Path, data_set: DataSet, disturbed: Disturbed, settings: Mapping) -> None:
    """Write the boxes as COCO JSON, whole or not at all; ``info`` says how they were made."""
    info = {
        "description": "pseudo boxes, disturbed by projects/reproduce/disturb.py",
        "settings": {**settings, "counts": disturbed.counts()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, to_coco(data_set, disturbed.boxes, info))


def table(data_set: DataSet, disturbed: Disturbed) -> str:
    """Boxes of each kind, their share, and their mean IoU with the nearest truth."""
    boxes = disturbed.boxes
    ious = nearest_ious(data_set, boxes)
    rows = []
    for kind, count in disturbed.counts().items():
        mean = f"{ious[disturbed.kinds == kind].mean():.3f}" if count else ""
        rows.append([kind, count, f"{100 * count / max(len(ious), 1):.1f}", mean])
    heads = ["", "boxes", "%", "mean IoU with the nearest truth"]
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Disturb, write, print the table; 2: the user's input is wrong."""
    parser = StrictParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="DATASET", help="name or YAML file, with truth")
    parser.add_argument("--right", required=True, type=decimal_number, help="share, 0 to 1")
    parser.add_argument("--seed", type=whole_number, default=0)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE")
    parser.add_argument("--datasets-root", type=Path, metavar="DIR")
    parser.add_argument("--boxes", default="pseudo", choices=["pseudo", "truth"])
    parser.add_argument("--kinds", nargs="+", metavar="KIND=WEIGHT", help="instead of the table's")
    args = parser.parse_args(argv)
    try:
        if not 0 <= args.right <= 1:
            raise InputError(f"--right {args.right}: expected a share from 0 to 1")
        if args.seed < 0:
            raise InputError(f"--seed {args.seed}: expected a whole number from 0")
        data_sets = DataSets(args.datasets_root)
        data_set = data_sets.get(data_sets.own_name(args.dataset))
        boxes = data_set.truth if args.boxes == "truth" else data_set.pseudo_boxes
        for kind, some in (("truth", data_set.truth), (f"{args.boxes} boxes", boxes)):
            if not len(some.boxes):
                raise InputError(f"data set {data_set.name}: has no {kind}; name one that has")
        weights = PROPORTIONS if args.kinds is None else read_kinds(args.kinds)
        disturbed = disturb(data_set, boxes, args.right, args.seed, weights)
        settings = {
            **{"dataset": data_set.name, "boxes": args.boxes, "right": args.right},
            **{"seed": args.seed, "proportions": weights},
        }
        write(args.output, data_set, disturbed, settings)
        sys.stdout.write(f"{table(data_set, disturbed)}\nwritten: {args.output}\n")
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
