"""What a suspicion is worth: the probability that a box is wrong, from the answers.

A logistic regression of the answers on the suspicion, weighted by how many boxes each answer stands
for. It never rises against the suspicion: where the answers say that more suspicious boxes are not
more often wrong, all boxes get the same probability.

Shape letters: n = answered boxes, B = boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PRIOR = 0.5  # pairs of a right and a wrong box in the middle, so that a probability is never 0 or 1
STEPS = 50


@dataclass(frozen=True)
class Calibration:
    """log-odds of being wrong = intercept + slope x suspicion, slope >= 0."""

    intercept: float
    slope: float

    def wrong(self, suspicion: np.ndarray) -> np.ndarray:
        """Probability (B,) that a box is wrong."""
        return 1 / (1 + np.exp(-(self.intercept + self.slope * np.asarray(suspicion))))


def calibrate(suspicion: np.ndarray, wrong: np.ndarray, weights: np.ndarray) -> Calibration:
    """Fit by Newton's method, with a weak prior.

    Args:
        suspicion: (n,) of the answered boxes, n >= 1.
        wrong: (n,) bool.
        weights: (n,) boxes that each stands for, > 0.
    """
    weights = weights / weights.mean()
    middle = np.average(suspicion, weights=weights)
    x = np.concatenate([suspicion - middle, [0.0, 0.0]])
    y = np.concatenate([wrong, [0.0, 1.0]])
    w = np.concatenate([weights, [PRIOR, PRIOR]])
    intercept, slope = _fit(x, y, w)
    if slope < 0:
        intercept, slope = _fit(0 * x, y, w)[0], 0.0
    return Calibration(intercept - slope * middle, slope)


def _fit(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[float, float]:
    """Intercept and slope of most likelihood; the slope is held by a wide normal prior."""
    design = np.stack([np.ones_like(x), x], 1)
    prior = np.diag([0.0, 0.01])  # a standard deviation of 10 per unit of suspicion
    coefficients = np.zeros(2)
    for _ in range(STEPS):
        odds = (design @ coefficients).clip(-30, 30)
        p = 1 / (1 + np.exp(-odds))
        gradient = design.T @ (w * (y - p)) - prior @ coefficients
        curvature = (design * (w * p * (1 - p))[:, None]).T @ design + prior
        step = np.linalg.solve(curvature, gradient)
        coefficients = coefficients + step.clip(-5, 5)
        if np.abs(step).max() < 1e-10:
            break
    return float(coefficients[0]), float(coefficients[1])
