"""What each protocol makes of the same detections: the table of ``docs/protocols.md``.

    python projects/benchmark/evaluation/protocols_table.py --metadata ../shared/data/wsol_metadata

Detections are made up: ten true boxes of the image (drawn with replacement) with noise, a fixed
seed; so are the classes (the true one is best in 80 %, among the five best in 95 % of images).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT)]

from lists import jittered, read_truth  # noqa: E402

from wend.evaluation.metrics import accuracy  # noqa: E402
from wend.evaluation.per_image import score  # noqa: E402
from wend.evaluation.protocols import PROTOCOLS  # noqa: E402
from wend.structures.box_table import BoxTable  # noqa: E402
from wend.structures.data_set import DataSet  # noqa: E402

COLUMNS = (
    ("Top-1", "top1_loc", None),
    ("Top-5", "top5_loc", None),
    ("GT-known", "gt_known_loc", None),
    ("Top-5, K=5", "top5_loc_multi", 5),
    ("GT-known, K=5", "gt_known_loc_multi", 5),
    ("GT-known, K=10", "gt_known_loc_multi", 10),
)


def cut_at_crop(data_set: DataSet, detections: BoxTable) -> BoxTable:
    """The boxes without what lies outside the crop."""
    sizes = np.tile(data_set.sizes, 2)[detections.owner]
    return replace(detections, boxes=detections.boxes.clip(16 / 256 * sizes, 240 / 256 * sizes))


def main() -> None:
    """Parse, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--metadata", type=Path, required=True, help="holds ILSVRC/ and CUB/")
    parser.add_argument("--sigma", type=float, default=0.15, help="noise, in widths and heights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--cut-at-crop",
        action="store_true",
        help="cut the boxes at the centre 224 of 256, as a detector that keeps within its input",
    )
    args = parser.parse_args()
    out = sys.stdout.write
    for folder in ("ILSVRC/test", "CUB/test"):
        data_set = read_truth(args.metadata / folder)
        detections = jittered(data_set, 10, args.sigma, args.seed)
        if args.cut_at_crop:
            detections = cut_at_crop(data_set, detections)
        ranks = np.random.default_rng(args.seed).choice(
            [0, 2, 9], size=len(data_set), p=[0.8, 0.15, 0.05]
        )
        out(f"\n{folder}, {len(data_set)} images, 10 boxes each, noise {args.sigma:g}\n\n")
        out("| protocol | " + " | ".join(c[0] for c in COLUMNS) + " | mean IoU |\n")
        out("|---|" + "---|" * (len(COLUMNS) + 1) + "\n")
        for name, protocol in PROTOCOLS.items():
            scores = score(data_set, detections, protocol, ranks)
            row = [f"{accuracy(scores, metric, k):.2f}" for _, metric, k in COLUMNS]
            out(f"| `{name}` | " + " | ".join(row) + f" | {accuracy(scores, 'mean_iou'):.4f} |\n")


if __name__ == "__main__":
    main()
