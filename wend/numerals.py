"""Numbers as text: plain decimals, as files of others and command lines hold them.

Python's ``int`` and ``float`` also read ``4_00``, digits of every script, ``nan`` and ``inf``;
where a number is expected, such a text is a slip and is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

_WHOLE = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
MAX_DIGITS = 4000  # Python refuses to read more than 4300


def whole_number(text: str) -> int:
    """The integer that a text is.

    Raises:
        ValueError: not a sign and ASCII digits alone; the message has the text.
    """
    if not _WHOLE.fullmatch(text) or len(text) > MAX_DIGITS:
        raise ValueError(f"expected a whole number such as 400, got {text[:80]!r}")
    return int(text)


def decimal_number(text: str) -> float:
    """The finite number that a text is.

    Raises:
        ValueError: not a decimal such as 0.5 or 1e-3, or one that no float holds; the message has
            the text.
    """
    value = float(text) if _DECIMAL.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number such as 0.5 or 1e-3, got {text[:80]!r}")
    return value


def check_digits(texts: Sequence[str]) -> None:
    """Check many texts at once, which ``int`` or ``float`` is to read.

    Blanks around a number, ``nan`` and ``inf`` pass: whoever reads columns looks at ranges anyway.

    Raises:
        ValueError: one has an underscore or a character that is not ASCII.
    """
    joined = "".join(texts)
    if "_" in joined or not joined.isascii():
        wrong = next(text for text in texts if "_" in text or not text.isascii())
        raise ValueError(f"expected a number of plain digits, got {wrong[:80]!r}")
