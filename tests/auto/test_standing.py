"""What is said of a detector's numbers, by hand."""

import numpy as np
import pytest

from wend.auto.standing import DETECTOR, FIXED, PSEUDO, Row, Standing


def row(hits, images):
    return Row(np.arange(images) < hits, 0.0, 0.0)


@pytest.mark.parametrize(
    ("images", "detector", "fixed", "words"),
    [(2, 2, 1, "NOT better than"), (100, 90, 50, "better than"), (100, 50, 90, "WORSE than")],
)
def test_better_and_worse_are_said_beyond_chance_only(images, detector, fixed, words):
    standing = Standing(images, False, {DETECTOR: row(detector, images), FIXED: row(fixed, images)})
    said = standing.sentences()
    assert f"best box is {words} one fixed box" in said[0]
    assert f"{100 * detector / images:.1f} % against {100 * fixed / images:.1f} %" in said[0]
    assert any("95 %" in sentence for sentence in said) == ("NOT" in words)
    assert "There is no truth" in said[-1]


def test_what_is_not_better_is_said_first():
    rows = {DETECTOR: row(90, 100), FIXED: row(50, 100), PSEUDO: row(90, 100)}
    first, second, *_ = Standing(100, True, rows).sentences()
    assert "NOT better than the pseudo boxes" in first
    assert "is better than one fixed box" in second
