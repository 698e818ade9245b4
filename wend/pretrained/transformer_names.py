"""The weights of vision transformers as others publish them -> those of timm's networks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def is_transformer(network: nn.Module) -> bool:
    """Whether a network of timm's is one map of tokens: patches, and others before them."""
    return hasattr(network, "num_prefix_tokens") and hasattr(network, "patch_embed")


def transformer_as_timm(weights: Mapping[str, Tensor], network: nn.Module) -> Mapping[str, Tensor]:
    """Weights that DINO, DINOv2, DINOv3, MAE and others publish, as timm's network has them.

    It is timm's own conversion of names, and of positions to the network's number of patches.

    Args:
        weights: of a file, by name.
        network: a transformer of timm's; of another network the weights stay as they are.
    """
    module = sys.modules[type(network).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None)
    if not is_transformer(network) or convert is None:
        return weights
    return dict(convert(dict(weights), network))
