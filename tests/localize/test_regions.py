"""Peaks become regions of their own where the saddle between them is deep enough."""

import numpy as np
import pytest

from wend.localize.regions import SIDE, basins


def row(*values):
    return basins(np.array([values], dtype=float))[0].tolist()


def same(numbers):
    """Which cells share a basin, whatever its number."""
    order = list(dict.fromkeys(numbers))
    return [order.index(number) for number in numbers]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1, 10, 1, 0), [0, 0, 0, 0]),
        ((10, 1, 10), [0, 0, 1]),  # the saddle is the first peak's, whose cell comes first
        ((10, 8, 10), [0, 0, 0]),  # 2 above the saddle, of 10
        ((10, 5, 9), [0, 0, 1]),  # 4 above the saddle
        ((10, 7, 9), [0, 0, 0]),  # 2 above it
        ((10, 5, 7, 6.5, 7, 2, 10), [0, 0, 0, 0, 0, 0, 1]),
        ((-1, -1, 10, -1), [0, 0, 0, 0]),
    ],
)
def test_a_peak_stands_alone_from_a_depth_of_three_tenths(values, expected):
    assert same(row(*values)) == expected


def test_any_depth_between_none_and_all_peaks():
    values = np.array([[10.0, 6.0, 8.0, 7.0, 9.0]])
    assert len(np.unique(basins(values, 0.0001))) == 3
    assert len(np.unique(basins(values, 0.15))) == 2
    assert len(np.unique(basins(values, 2.0))) == 1


@pytest.mark.parametrize("size", [(SIDE, SIDE), (448, 300), (1, 200), (5, 9)])
def test_two_hills_are_two_regions_at_any_resolution(size):
    y, x = (np.linspace(0, 1, n) if n > 1 else np.array([0.5]) for n in size)
    hills = [np.exp(-((y[:, None] - 0.5) ** 2 + (x - c) ** 2) / 0.02) for c in (0.25, 0.75)]
    numbers = basins(hills[0] + 0.8 * hills[1])
    assert numbers.shape == size
    assert len(np.unique(numbers)) == 2
    half = numbers[:, : int(0.4 * size[1]) or 1]
    assert len(np.unique(half)) == 1
