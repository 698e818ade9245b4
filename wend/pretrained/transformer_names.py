"""The weights of vision transformers as others publish them -> those of timm's networks.

DINO, iBOT, MAE, DINOv2 and DINOv3 name theirs alike, bare or as the teacher's backbone; timm
converts them. Hugging Face's transformers names them otherwise, and those names become DINO's here.
"""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout

import torch
from torch import Tensor, nn

from wend.errors import InputError

logger = logging.getLogger(__name__)

# Of which every transformer's file has one, DINO's name and those of transformers
_PATCHES = (
    "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.weight",
    "embeddings.patch_embeddings.weight",
)
_CHUNKED = re.compile(
    r"^blocks\.\d+\.(\d+\.)"
)  # DINOv2's, as it is trained: blocks.<chunk>.<block>
# Patterns of transformers' names, and DINO's for them, in the order in which they are replaced
_TRANSFORMERS = (
    (r"^embeddings\.patch_embeddings\.(projection\.)?", "patch_embed.proj."),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.distillation_token$", "dist_token"),
    (r"^embeddings\.", ""),
    (r"^(encoder\.)?layer\.", "blocks."),
    (r"\.attention\.(attention\.)?(?=query|key|value|[qkv]_proj)", ".attn."),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"\.mlp\.weights_in\.", ".mlp.w12."),
    (r"\.mlp\.weights_out\.", ".mlp.w3."),
    (r"^layernorm\.", "norm."),
)
_PLAIN = {"register_tokens": "storage_tokens", "mlp.up_proj": "mlp.fc1", "mlp.down_proj": "mlp.fc2"}
_GATED = {
    "register_tokens": "storage_tokens",
    **{"mlp.gate_proj": "mlp.w1", "mlp.up_proj": "mlp.w2", "mlp.down_proj": "mlp.w3"},
}
_PART = re.compile(r"\.attn\.(query|key|value|[qkv]_proj)\.")


def is_transformer(network: nn.Module) -> bool:
    """Whether a network of timm's is one map of tokens: patches, and others before them."""
    return hasattr(network, "num_prefix_tokens") and hasattr(network, "patch_embed")


def transformer_as_timm(weights: Mapping[str, Tensor], network: nn.Module) -> Mapping[str, Tensor]:
    """Weights that DINO, DINOv2, DINOv3, MAE and others publish, as timm's network has them.

    It is timm's own conversion of names, and of positions to the network's number of patches.

    Args:
        weights: of a file, by name.
        network: a transformer of timm's; of another network the weights stay as they are.

    Raises:
        InputError: DINOv3's weights have biases that the network lacks, or timm cannot convert
            them.
    """
    module = sys.modules[type(network).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None)
    if not is_transformer(network) or convert is None:
        return weights
    weights = _bare(weights)
    if any(name.startswith("embeddings.") for name in weights):
        weights = _as_dino(weights)
    weights = {_CHUNKED.sub(r"blocks.\1", name): value for name, value in weights.items()}
    _check_biases(weights, network)
    try:
        with redirect_stdout(io.StringIO()):  # timm prints each bias that a network lacks
            return dict(convert(weights, network))
    except (RuntimeError, ValueError, KeyError, AssertionError) as error:  # positions, mostly
        raise InputError(
            f"the weights are not of this transformer: timm cannot convert them ({error}); name "
            f"their own network, as DINOv2's without registers, or with them (..._reg4_dinov2)"
        ) from error


def _bare(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The backbone's weights, the teacher's where there are several, by their names in it."""
    before = {n.removesuffix(own) for n in weights for own in _PATCHES if n.endswith(own)}
    if not before or "" in before:
        return weights
    prefix = min(before, key=lambda each: ("teacher" not in each, len(each), each))
    logger.info("the transformer's weights are those under %r", prefix)
    return {n.removeprefix(prefix): value for n, value in weights.items() if n.startswith(prefix)}


def _as_dino(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of Hugging Face's transformers (ViT, DeiT, DINOv2, DINOv3) -> DINO's."""
    names = {name: _dinos_name(name) for name in weights}
    if any(".q_proj." in name for name in weights):
        is_gated = any(".gate_proj." in name for name in weights)
        matrices = _GATED if is_gated else _PLAIN
        names = {theirs: _replaced(ours, matrices) for theirs, ours in names.items()}
    renamed = {ours: weights[theirs] for theirs, ours in names.items()}
    joined: dict[str, dict[str, Tensor]] = {}
    for name, (part, whole) in _parts_of_qkv(renamed).items():
        joined.setdefault(whole, {})[part] = renamed.pop(name)
    for whole, parts in joined.items():
        no_bias = torch.zeros_like(next(iter(parts.values())))  # as DINOv3's keys have none
        renamed[whole] = torch.cat([parts.get(part, no_bias) for part in "qkv"])
    return renamed


def _parts_of_qkv(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Of queries, keys and values: which of them a weight is, and the name of all three."""
    matches = {name: _PART.search(name) for name in names}
    return {
        name: (match[1][0], name.replace(match[0], ".attn.qkv."))
        for name, match in matches.items()
        if match
    }


def _dinos_name(name: str) -> str:
    for pattern, ours in _TRANSFORMERS:
        name = re.sub(pattern, ours, name)
    return name


def _replaced(name: str, words: Mapping[str, str]) -> str:
    for word, ours in words.items():
        name = name.replace(word, ours)
    return name


def _check_biases(weights: Mapping[str, Tensor], network: nn.Module) -> None:
    """Refuse to drop biases of DINOv3's queries and values that are not 0."""
    if "storage_tokens" not in weights or any(
        name.endswith(".q_bias") for name, _ in network.named_parameters()
    ):
        return
    for name, value in weights.items():
        if name.endswith("attn.qkv.bias"):
            query, _, last = value.chunk(3)
            if query.any() or last.any():
                raise InputError(
                    f"the weights have biases of queries and values ({name}), which timm's network "
                    f"leaves out; name the one with them, whose name ends in _qkvb"
                )
