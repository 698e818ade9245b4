"""How often a 95 % interval holds the truth: of hits, means over classes, IoU, and differences.

    python projects/benchmark/evaluation/coverage.py

Test sets are drawn of which the true mean is known. "width" is the mean width beside that of an
interval that knows the true standard deviation, mean -/+ 1.96 of it. Coverage of hits over images
is summed over all outcomes, beside that of the percentile bootstrap; the rest is drawn, fixed seed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy import stats

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from simulated_classes import class_accuracies, class_sizes  # noqa: E402

from wend.evaluation.intervals import effective_number, score_interval  # noqa: E402
from wend.evaluation.statistics import paired_difference  # noqa: E402
from wend.evaluation.tables import format_table  # noqa: E402

SIZES = (50, 243, 5794)
ACCURACIES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)


def hits_over_images() -> list[list[str]]:
    """Exact coverage of hits: ours, and the percentile bootstrap's with its share of no width."""
    rows = []
    for n in SIZES:
        number = np.arange(n + 1)
        ends = {
            "score": np.array(score_interval(number / n, n)),
            # the mean of a resample is Binomial(n, hits / n) / n
            "bootstrap": stats.binom.ppf([[0.025], [0.975]], n, number / n) / n,
        }
        for p in ACCURACIES:
            chance = stats.binom.pmf(number, n, p)
            ideal = 2 * 1.96 * np.sqrt(p * (1 - p) / n)
            cells = []
            for low, high in ends.values():
                cells.append(f"{chance[(low <= p) & (p <= high)].sum():.3f}")
                cells.append(f"{(chance * (high - low)).sum() / ideal:.2f}")
            low, high = ends["bootstrap"]
            rows.append([str(n), f"{p:g}", *cells, f"{chance[low == high].sum():.2f}"])
    return rows


def means_over_classes(sets: int, draws: int) -> list[list[str]]:
    """Coverage of means of class means, over ``sets`` test sets of ``draws`` draws each."""
    rng = np.random.default_rng(0)
    rows = []
    for n in SIZES:
        for p in ACCURACIES:
            cells = []
            for kind in ("equal", "unequal", "three"):
                covered, width = [], []
                for _ in range(sets):
                    counts = class_sizes(kind, n, rng)
                    truth = class_accuracies(p, len(counts), rng)
                    drawn = rng.binomial(counts, truth, (draws, len(counts)))
                    low, high = score_interval(*effective_number(counts, drawn, drawn))
                    covered.append(((low <= truth.mean()) & (truth.mean() <= high)).mean())
                    variance = (truth * (1 - truth) / counts).sum() / len(counts) ** 2
                    width.append((high - low).mean() / (2 * 1.96 * np.sqrt(variance)))
                cells += [f"{np.mean(covered):.3f}", f"{min(covered):.3f}", f"{np.mean(width):.2f}"]
            rows.append([str(n), f"{p:g}", *cells])
    return rows


def ious(draws: int) -> list[list[str]]:
    """Coverage of mean IoU: hits of IoU Beta(12, 2), p of the images, and misses of IoU 0."""
    rng = np.random.default_rng(1)
    rows = []
    for n in SIZES:
        for p in ACCURACIES:
            counts = np.array([[n]])
            sums, squares = np.empty((2, draws))
            for i in range(draws):
                values = np.where(rng.random(n) < p, rng.beta(12, 2, n), 0.0)
                sums[i], squares[i] = values.sum(), (values**2).sum()
            mean = p * 12 / 14
            variance = p * (12 * 2 / (14**2 * 15) + (12 / 14) ** 2) - mean**2
            low, high = score_interval(*effective_number(counts, sums[:, None], squares[:, None]))
            ideal = 2 * 1.96 * np.sqrt(variance / n)
            covered = ((low <= mean) & (mean <= high)).mean()
            rows.append([str(n), f"{p:g}", f"{covered:.3f}", f"{(high - low).mean() / ideal:.2f}"])
    return rows


def differences(draws: int) -> list[list[str]]:
    """How often equally good methods are told apart at 5 %, over images, and over seeds too."""
    rng = np.random.default_rng(2)
    rows = []
    for n in SIZES[:2]:
        for seeds, spread in ((1, 0.0), (2, 0.0), (2, 0.03), (3, 0.03), (5, 0.03)):
            rejected = np.zeros(2)
            covered = 0
            for _ in range(draws):
                easy = rng.beta(2.8, 1.2, n)
                a, b = (
                    rng.random((seeds, n)) < np.clip(easy + rng.normal(0, spread, (seeds, 1)), 0, 1)
                    for _ in range(2)
                )
                result = paired_difference(a, b)
                rejected += [result.p_images < 0.05, result.p_value < 0.05]
                covered += result.low <= 0 <= result.high
            shares = [f"{share:.3f}" for share in (*(rejected / draws), covered / draws)]
            rows.append([str(n), str(seeds), f"{100 * spread:g}", *shares])
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", type=int, default=20, help="test sets of each kind (default: 20)")
    parser.add_argument("--draws", type=int, default=2000, help="draws of each (default: 2000)")
    args = parser.parse_args()
    out = sys.stdout.write
    header = ["images", "p", "coverage", "width", "bootstrap", "its width", "its no width"]
    out(f"hits over images\n\n{format_table(header, hits_over_images())}\n\n")
    header = ["images", "p"]
    for kind in ("equal", "unequal", "three"):
        header += [f"{kind}: coverage", "least", "width"]
    rows = means_over_classes(args.sets, args.draws)
    out(f"means over classes whose accuracies vary\n\n{format_table(header, rows)}\n\n")
    header = ["images", "p", "coverage", "width"]
    out(f"mean IoU\n\n{format_table(header, ious(args.draws))}\n\n")
    header = ["images", "seeds", "sd of seeds, %", "p images < 0.05", "p < 0.05", "coverage"]
    out(f"two methods, equally good\n\n{format_table(header, differences(args.draws))}\n")


if __name__ == "__main__":
    main()
