"""The names of efficientnet_pytorch (B0 ... B8, Lite0 ... Lite4) -> those of timm's networks.

Both list the same layers in the same order under other names: efficientnet_pytorch numbers blocks
through, timm within each stage, so that a name can only be told beside the network that wants it.
The network has to be timm's ``tf_`` variant, whose padding and epsilon are TensorFlow's; the others
have the same names and shapes and compute something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")
_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
_SEPARABLE = {  # a block without expansion, the first stage's
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
    **_SQUEEZE,
}
_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
    **_SQUEEZE,
}


def as_timm(weights: Mapping[str, T], wanted: Collection[str]) -> dict[str, T]:
    """Weights of efficientnet_pytorch's under the names of one of timm's networks.

    Args:
        weights: a file's.
        wanted: the network's names.

    Returns:
        The weights; of another file as they are.
    """
    rename = efficientnet_pytorch_to_timm(wanted)
    renamed = {rename(name): weight for name, weight in weights.items()}
    better = len(renamed.keys() & set(wanted)) > len(weights.keys() & set(wanted))
    return renamed if better else dict(weights)


def efficientnet_pytorch_to_timm(wanted: Iterable[str]) -> Callable[[str], str]:
    """A function from efficientnet_pytorch's names to those of one of timm's networks.

    Args:
        wanted: the network's names, such as ``blocks.2.1.conv_pwl.weight``.

    Returns:
        The function; it returns names that are not efficientnet_pytorch's as they are.
    """
    parts: dict[tuple[int, int], set[str]] = {}
    for name in wanted:
        if match := re.match(r"blocks\.(\d+)\.(\d+)\.(\w+)\.", name):
            parts.setdefault((int(match[1]), int(match[2])), set()).add(match[3])
    blocks = sorted(parts)

    def rename(name: str) -> str:
        if match := re.match(r"_blocks\.(\d+)\.(_\w+)\.(.+)", name):
            index, layer, rest = int(match[1]), match[2], match[3]
            if index >= len(blocks):
                return name
            stage, number = blocks[index]
            layers = _INVERTED if "conv_pwl" in parts[blocks[index]] else _SEPARABLE
            return f"blocks.{stage}.{number}.{layers.get(layer, layer)}.{rest}"
        layer, _, rest = name.partition(".")
        return f"{_TOP[layer]}.{rest}" if layer in _TOP else name

    return rename
