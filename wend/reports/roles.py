"""What each kind of box looks like, in every picture and on every page: colour and strokes.

The colours are of Okabe and Ito (2008), and white: any two differ by a CIEDE2000 of 35 or more, to
a normal eye and to one that lacks the red, green or blue cones. Strokes differ as well, so that a
picture can be printed in grey; an edge in black or white makes a box stand out on any photograph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

BLUE, VERMILLION, BLACK, WHITE = "#0072B2", "#D55E00", "#000000", "#FFFFFF"


@dataclass(frozen=True)
class Role:
    """A kind of box.

    Attributes:
        title: its name in legends.
        color: of its line.
        edge: of the thin line on either side of it.
        strokes: lengths of strokes and of the gaps behind them, in widths of the line; empty for an
            unbroken line.
    """

    title: str
    color: str
    edge: str
    strokes: tuple[float, ...] = ()

    def pieces(self, length: float, width: float) -> Iterator[tuple[float, float]]:
        """Starts and ends of the strokes of a side of a box, which begins and ends with one.

        Args:
            length: of the side in pixels, >= 0.
            width: of the line in pixels.
        """
        if not self.strokes:
            yield 0, length
            return
        first, period = self.strokes[0] * width, sum(self.strokes) * width
        repeats = max(1, round((length - first) / period))
        scale = length / (repeats * period + first) * width
        at = 0.0
        for number in range(repeats * len(self.strokes)):
            step = self.strokes[number % len(self.strokes)] * scale
            if number % 2 == 0:
                yield at, at + step
            at += step
        yield at, length


TRUTH = Role("truth", VERMILLION, BLACK, (4, 2))  # dashed
PSEUDO = Role("pseudo boxes", WHITE, BLACK, (1.4, 1.4))  # dotted
OURS = Role("ours, best box thick", BLUE, WHITE)
OTHER = Role("other boxes", BLACK, WHITE, (5, 1.5, 1.2, 1.5))  # dashed and dotted
ROLES = (TRUTH, PSEUDO, OURS, OTHER)
