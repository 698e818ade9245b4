"""Where the weighted entropy pushes a sample: its step of gradient descent over p, for several τ.

    python projects/reproduce/push.py docs/push.png

γ 6 and α 0.1 as in the paper's tables; the loss of one sample, before any normalizer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from wend.losses import WEIGHT_GRADIENTS, weighted_entropy_loss

TAUS = (0.3, 0.5, 0.9)
GAMMA, ALPHA = 6.0, 0.1
LINEAR = 1e-5  # smaller pushes are drawn on a linear scale


def push(p: Tensor, tau: float, weight_gradient: str) -> Tensor:
    """-∂L/∂z of samples of probability p: above 0 gradient descent makes them more foreground."""
    z = p.logit().requires_grad_()
    loss = weighted_entropy_loss(
        z,
        gamma=GAMMA,
        alpha=ALPHA,
        tau1=tau,
        tau2=tau,
        weight_gradient=weight_gradient,
        reduction="sum",
    )
    return -torch.autograd.grad(loss, z)[0]


def draw() -> Figure:
    """A panel for each way of the gradient, a line for each τ."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(WEIGHT_GRADIENTS), sharey=True)
    for axes, way in zip(panels, WEIGHT_GRADIENTS, strict=True):
        for tau in TAUS:
            for index, side in enumerate(((0.001, tau - 1e-6), (tau, 0.999))):
                p = torch.linspace(*side, 400, dtype=torch.float64)
                line = axes.plot(
                    p,
                    push(p, tau, way),
                    color=f"C{TAUS.index(tau)}",
                    label=f"τ {tau}" if index == 0 else None,
                )
            axes.axvline(tau, color=line[0].get_color(), linewidth=0.6, linestyle=":")
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_yscale("symlog", linthresh=LINEAR)
        axes.set(title=f"WEIGHT_GRADIENT {way}", xlabel="p, probability of foreground")
        axes.grid(alpha=0.3)
        axes.legend(loc="lower left")
    panels[0].set_ylabel("push on the log-odds: up > 0 > down")
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Write the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", help="the figure, a PNG")
    draw().savefig(parser.parse_args(argv).file, dpi=110)
    return 0


if __name__ == "__main__":
    sys.exit(main())
