"""Boxes that the paper's crop loses, and boxes in which FCOS on C5 has no location; exact.

    python projects/benchmark/data/positives.py LISTS [LISTS ...]

LISTS are folders of wsolevaluation's lists with boxes and sizes, such as ``metadata/ILSVRC/test``.
Images are squashed to 256x256 and cropped to 224x224: in the centre, and as in training, where each
of the 33x33 places of the crop is as likely. Boxes are cut at the crop; one with a side below a
pixel there is lost. FCOS on C5 has 7x7 locations at 16 + 32 i pixels; one is a box's if it lies
inside of it and within 1.5 strides of its centre along both axes (one level: there is no range of
sizes). Each axis counts alone, so the means over all crops are exact. Locations that a smaller box
takes away are not looked at.
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from wend.formats.wsoleval import read_lists, read_names
from wend.loading.crop import MIN_SIDE

RESIZE, CROP, STRIDE, RADIUS = 256, 224, 32, 1.5
LOCATIONS = np.arange(STRIDE / 2, CROP, STRIDE)


def axis_counts(low: np.ndarray, high: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Along an axis, for each box (B,) and start of the crop (S,): is it kept, and its locations.

    Args:
        low, high: (B,) sides in pixels of the 256x256 image.
        starts: (S,) starts of the crop.
    """
    low, high = (np.clip(side[:, None] - starts, 0, CROP) for side in (low, high))
    kept = high - low >= MIN_SIDE
    centre = (low + high)[..., None] / 2
    inside = (LOCATIONS > low[..., None]) & (LOCATIONS < high[..., None])
    near = np.abs(LOCATIONS - centre) < RADIUS * STRIDE
    return kept, (inside & near).sum(-1) * kept


def report(name: str, boxes: np.ndarray, sizes: np.ndarray) -> None:
    """Print a list's line.

    Args:
        boxes: (B, 4) xyxy in original pixels.
        sizes: (B, 2) of each box's image.
    """
    x0, y0, x1, y1 = (boxes * (RESIZE / np.tile(sizes, 2))).T
    for crop, starts in (
        ("centre", np.array([(RESIZE - CROP) // 2])),
        ("random", np.arange(RESIZE - CROP + 1)),
    ):
        (kept_x, num_x), (kept_y, num_y) = (
            axis_counts(low, high, starts) for low, high in ((x0, x1), (y0, y1))
        )
        kept = kept_x.mean(1) * kept_y.mean(1)
        has_location = (num_x > 0).mean(1) * (num_y > 0).mean(1)
        without = 1 - has_location.sum() / kept.sum()
        each = (num_x.mean(1) * num_y.mean(1)).sum() / kept.sum()
        print(
            f"{name}: {len(boxes)} boxes, {crop} crop: {100 * (1 - kept.mean()):.2f} % lost; of "
            f"the others {100 * without:.2f} % without a location, {each:.2f} locations per box"
        )


def main() -> None:
    """Read the lists, print a line for each crop."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("lists", nargs="+", type=Path, metavar="LISTS")
    for folder in parser.parse_args().lists:
        lists = read_lists(folder, read_names(folder))
        assert lists.boxes is not None
        assert lists.sizes is not None
        sizes = lists.sizes[lists.boxes.owner]
        report(f"{folder.parent.name}/{folder.name}", lists.boxes.boxes, sizes)


if __name__ == "__main__":
    main()
