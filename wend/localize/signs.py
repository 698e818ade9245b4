"""DDT's sign: on which side of a group's principal component the objects are.

A principal component has no sign; a rule must choose. :data:`SIGNS` are

* ``psol``: the descriptor farthest along the component is object. PSOL takes scikit-learn's
  ``PCA``, which before 1.5 turned components so (``svd_flip`` on U);
* ``loading``: the component's largest entry is positive, as in scikit-learn from 1.5 on and in
  MATLAB's ``pca``. After a ReLU, that says that objects excite the channels more;
* ``border``: the maps' outermost cells are scenery on average, compared with those inside them.

The first two rest on one number of thousands; where ``border`` contradicts, it is counted.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any

from wend.errors import InputError, some
from wend.localize.found import BlockStatistics, EitherSide, GroupBlock, Result

SIGNS = ("psol", "loading", "border")
logger = logging.getLogger(__name__)


def turns(sign: str, contrast: float, extreme: float) -> bool:
    """Whether one of :data:`SIGNS` turns ``loading``'s component round.

    Args:
        contrast: :meth:`wend.localize.ddt.Moments.border_contrast` of the component.
        extreme: the projection on it of the largest magnitude, the first of equal ones.
    """
    if sign == "psol":
        return extreme < 0
    return sign == "border" and contrast > 0


def settle(done: Mapping[Hashable, Any], sign: str) -> dict[Hashable, Result]:
    """The boxes by the images' keys, on the side that each group's sign is.

    Groups in which the border contradicts the sign are counted, and the log says how many.

    Args:
        done: what all parts of a run hold, by :func:`wend.localize.found.from_row`.

    Raises:
        InputError: blocks of a group are missing.
    """
    statistics: dict[str, dict[int, BlockStatistics]] = {}
    for key, item in done.items():
        if isinstance(key, GroupBlock):
            statistics.setdefault(key.group, {})[key.block] = item
    short = [
        f"{group}: {len(blocks)} of {number}"
        for group, blocks in statistics.items()
        if len(blocks) < (number := min(each.blocks for each in blocks.values()))
    ]
    if short:
        raise InputError(f"not all blocks of {len(short)} groups are there ({some(short)})")
    turned: dict[str, bool] = {}
    contradicted = 0
    for group, blocks in statistics.items():
        extremes = [blocks[i].extreme for i in sorted(blocks)]
        known = [extreme for extreme in extremes if extreme is not None]
        if not known:
            continue
        contrast = blocks[min(blocks)].contrast
        turned[group] = turns(sign, contrast, max(known, key=abs))
        contradicted += contrast < 0 if turned[group] else contrast > 0
    if contradicted:
        logger.warning(
            "%d of %d groups: the maps' borders are more object than their middles; the sign may "
            "be wrong there (--sign %s; --sign border would turn them)",
            *(contradicted, len(turned), sign),
        )
    return {key: _settled(item, turned) for key, item in done.items() if isinstance(key, str)}


def _settled(item: Result | EitherSide, turned: Mapping[str, bool]) -> Result:
    if isinstance(item, EitherSide):
        return item.turned if turned[item.group] else item.boxes
    return item
