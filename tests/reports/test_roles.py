"""wend.reports.roles: kinds of boxes can be told apart by colour-blind people, and in grey."""

from itertools import combinations

import numpy as np
import pytest
from PIL import ImageColor

from wend.reports.figures import COLORS, MARKERS, STROKES
from wend.reports.roles import ROLES

MINIMUM = 35.0  # CIEDE2000 between two roles, to every eye
MINIMUM_OF_LINES = 8.0  # between two lines of a figure, which differ in stroke and marker as well
# Machado, Oliveira and Fernandes 2009, severity 1, for linear RGB
EYES = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = np.array(  # IEC 61966-2-1
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def linear(color):
    """A hexadecimal sRGB colour as linear RGB (3,)."""
    value = np.array(ImageColor.getrgb(color)) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """Linear RGB (3,) as CIELAB of the white of sRGB (3,)."""
    ratio = TO_XYZ @ rgb / TO_XYZ.sum(1)
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def ciede2000(first, second):
    """The difference of two CIELAB colours (Sharma, Wu and Dalal 2005, eqs. 2 to 22)."""
    (l1, a1, b1), (l2, a2, b2) = first, second
    mean = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = 0.5 * (1 - np.sqrt(mean**7 / (mean**7 + 25.0**7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = (np.degrees(np.arctan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = 0.0 if c1 * c2 == 0 else (h2 - h1 + 180) % 360 - 180
    if c1 * c2 and turn == -180:
        turn = 180.0
    hue = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    angle = h1 + h2
    if c1 * c2:
        if abs(h1 - h2) > 180:
            angle += 360 if angle < 360 else -360
        angle /= 2
    t = 1.0
    for factor, times, shift in ((-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.20, 4, -63)):
        t += factor * np.cos(np.radians(times * angle + shift))
    s_l = 1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2)
    s_c, s_h = 1 + 0.045 * chroma, 1 + 0.015 * chroma * t
    rotation = 2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    rotation *= -np.sin(np.radians(60 * np.exp(-(((angle - 275) / 25) ** 2))))
    parts = (l2 - l1) / s_l, (c2 - c1) / s_c, hue / s_h
    return float(np.sqrt(sum(part**2 for part in parts) + rotation * parts[1] * parts[2]))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [  # of the published table (Sharma, Wu and Dalal 2005)
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((50, 2.5, 0), (58, 24, 15), 19.4535),
        ((50, 2.5, 0), (50, 3.1736, 0.5854), 1.0),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_difference_of_colours_is_the_published_one(first, second, expected):
    assert ciede2000(first, second) == pytest.approx(expected, abs=5e-5)
    assert ciede2000(second, first) == pytest.approx(expected, abs=5e-5)


def test_simulated_eyes_see_grey_as_grey_and_red_and_green_alike():
    for eye in EYES.values():
        np.testing.assert_allclose(np.sum(eye, 1), 1, atol=2e-6)
    # the colours of earlier versions, for truth and ours: 79 to a normal eye
    red, green = (linear(color) for color in ("#DC1E1E", "#1EC83C"))
    seen = {name: difference(eye, red, green) for name, eye in EYES.items()}
    assert seen["normal"] > 75
    assert seen["deuteranopia"] < 17


def difference(eye, first, second):
    """CIEDE2000 of two colours of linear RGB as an eye sees them."""
    return ciede2000(*(lab(np.clip(np.array(eye) @ color, 0, 1)) for color in (first, second)))


@pytest.mark.parametrize("eye", EYES)
def test_any_two_roles_differ_to_every_eye(eye):
    for first, second in combinations(ROLES, 2):
        seen = difference(EYES[eye], linear(first.color), linear(second.color))
        assert seen >= MINIMUM, f"{first.title} and {second.title}"


@pytest.mark.parametrize("eye", EYES)
def test_any_two_lines_of_a_figure_differ_to_every_eye(eye):
    for first, second in combinations(COLORS, 2):
        assert difference(EYES[eye], linear(first), linear(second)) >= MINIMUM_OF_LINES
    assert len(set(MARKERS)) == len(MARKERS) == len(COLORS)
    assert len(set(STROKES)) == len(STROKES)


def test_strokes_differ_and_edges_stand_out():
    assert len({role.strokes for role in ROLES}) == len(ROLES)
    for role in ROLES:  # WCAG's contrast of graphics
        low, high = sorted(TO_XYZ[1] @ linear(color) for color in (role.color, role.edge))
        assert (high + 0.05) / (low + 0.05) >= 3
