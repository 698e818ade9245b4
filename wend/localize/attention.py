"""What the last attention of a transformer of timm's computes: queries, keys, values, attention.

The module's input is taken, and what is asked for is computed of it and of the module's own
weights, whichever way the module holds them: one projection or three, its bias inside or beside
it. The attention is what the module itself multiplies the values by, so with its own scale, norms
and rotary positions.

Letters: N images, T tokens, P of them before the patches (class, registers), h·w patches, C
channels, H heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wend.errors import InputError
from wend.pretrained.transformer_names import is_transformer

PROJECTIONS = ("queries", "keys", "values")  # in the order of one projection's rows
ATTENTION = "attention"
LAYERS = (*PROJECTIONS, ATTENTION)


class Reached(Exception):  # noqa: N818 - not an error
    """Raised when the wanted module has what is wanted, to end the forward pass."""


class LastAttention(nn.Module):
    """Images (N, 3, S, S) to maps (N, C, h, w) of the last attention; for ATTENTION C is H.

    ATTENTION is how much of the class token's attention each patch has, for each head: from 0, and
    at most 1 over all tokens.

    Args:
        model: a network of timm's.
        layer: one of :data:`LAYERS`.
        name: of the network, for messages.

    Raises:
        InputError: the network has nothing of the kind; the message says what it lacks.
    """

    def __init__(self, model: nn.Module, layer: str, name: str) -> None:
        super().__init__()
        self.layer, self.name = layer, name
        modules = [module for path, module in model.named_modules() if path.endswith(".attn")]
        if not is_transformer(model) or not modules:
            raise self._lacks("attention between all of an image's patches")
        if layer == ATTENTION and getattr(model, "cls_token", None) is None:
            raise self._lacks("class token whose attention could be taken")
        self.model: Any = model  # timm's models have more attributes than nn.Module's type says
        self.attention: Any = modules[-1]

    def _lacks(self, thing: str) -> InputError:
        return InputError(
            f"--layer {self.layer}: {self.name} has no {thing}, as timm's vision transformers "
            f"have; leave --layer out, or name a module"
        )

    def forward(self, images: Tensor) -> Tensor:
        """The maps; see the class.

        Raises:
            InputError: the module's input are not the tokens of all patches, or it computes its
                attention in a way of its own.
        """
        tokens, others, kwargs = self._input_of_last(images)
        height, width = self._grid(images)
        before = self.model.num_prefix_tokens
        if tokens.dim() != 3 or tokens.shape[1] != before + height * width:
            raise self._lacks("attention between all of an image's patches")
        if self.layer == ATTENTION:
            rows = self._of_class_token(tokens, others, kwargs)
        else:
            rows = self._projected(tokens)
        return rows[:, before:].transpose(1, 2).unflatten(2, (height, width))

    def _grid(self, images: Tensor) -> tuple[int, int]:
        """The rows and columns of the patches of images."""
        patches, size = self.model.patch_embed, images.shape[2:]
        if hasattr(patches, "dynamic_feat_size"):
            return patches.dynamic_feat_size(tuple(size))
        patch = getattr(patches, "patch_size", None)
        if patch is None:
            raise self._lacks("attention between all of an image's patches")
        rows, columns = patch if isinstance(patch, tuple) else (patch, patch)
        return size[0] // rows, size[1] // columns

    def _input_of_last(self, images: Tensor) -> tuple[Tensor, tuple, dict[str, Any]]:
        """The tokens (N, T, C) that the last attention gets, and what it gets besides."""
        given: list[tuple[tuple, dict[str, Any]]] = []

        def keep(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            given.append((args, kwargs))
            raise Reached

        handle = self.attention.register_forward_pre_hook(keep, with_kwargs=True)
        try:
            with suppress(Reached):
                self.model(images)
        finally:
            handle.remove()
        if not given or not given[0][0]:
            raise self._lacks("attention between all of an image's patches")
        (tokens, *others), kwargs = given[0]
        return tokens, tuple(others), kwargs

    def _projected(self, tokens: Tensor) -> Tensor:
        """Queries, keys or values (N, T, C)."""
        own, part = self.attention, PROJECTIONS.index(self.layer)
        if getattr(own, "qkv", None) is not None:
            biases: list[Any] = [getattr(own, f"{letter}_bias", None) for letter in "qkv"]
            bias = own.qkv.bias if None in biases else torch.cat(biases)
            size = own.qkv.weight.shape[0] // 3
            rows = slice(part * size, (part + 1) * size)
            return F.linear(tokens, own.qkv.weight[rows], None if bias is None else bias[rows])
        letter = "qkv"[part]
        module = getattr(own, f"{letter}_proj", getattr(own, letter, None))
        if module is not None:
            return module(tokens)
        raise self._lacks(f"{self.layer} in its last attention")

    def _of_class_token(self, tokens: Tensor, others: tuple, kwargs: dict[str, Any]) -> Tensor:
        """The attention (N, T, H) of the class token, image by image: all heads' are T·T·H."""
        number = tokens.shape[1]
        rows = []
        with self._unfused() as seen:
            for image in tokens.unbind():
                with suppress(Reached):
                    self.attention(image[None], *others, **kwargs)
                weights = seen.pop() if seen else None
                # (1, H, T, T), or (1, H, 1, T) where only the class token asks
                if weights is None or weights.shape[2:] not in ((number, number), (1, number)):
                    raise self._lacks("weights of all patches in its last attention")
                rows.append(weights[0, :, 0].T)
        return torch.stack(rows)

    @contextmanager
    def _unfused(self) -> Iterator[list[Tensor]]:
        """While the module computes its attention step by step, the list that gets its weights."""
        seen: list[Tensor] = []

        def keep(module: nn.Module, args: tuple[Tensor]) -> None:
            seen.append(args[0])
            raise Reached

        own = self.attention
        if not isinstance(getattr(own, "attn_drop", None), nn.Module):
            raise self._lacks("weights of all patches in its last attention")
        was_fused = getattr(own, "fused_attn", False)
        handle = own.attn_drop.register_forward_pre_hook(keep)
        own.fused_attn = False
        try:
            yield seen
        finally:
            own.fused_attn = was_fused
            handle.remove()
