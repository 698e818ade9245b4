"""L_cls of L_sup by name (``WEND.CLS_LOSS``): a loss of each sample instead of the detector's own.

The detector's own normalizer and weight stay: cross entropy of Faster R-CNN and CLN is divided by
the number of samples, focal loss of FCOS and Deformable DETR by that of positives or boxes.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from wend.losses.context import LossContext
from wend.registry import FunctionRegistry

OWN_LOSS = "own"
# LossContext, keywords -> (S,) loss of each sample
CLASSIFICATION_LOSSES: FunctionRegistry[Callable[..., Tensor | None]] = FunctionRegistry(
    "classification loss", ("context",)
)
classification_loss = CLASSIFICATION_LOSSES.register


@classification_loss(OWN_LOSS)
def own_loss(context: LossContext) -> None:
    """The detector's own L_cls."""
