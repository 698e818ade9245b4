"""Detectors are built without drawing their parameters where nobody will see what was drawn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

DRAWS: Collection[Callable[..., Any]] = {
    *(nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_),
    *(Tensor.uniform_, Tensor.normal_),
}


class Undrawn(TorchFunctionMode):
    """Inside, parameters that would be drawn at random keep whatever is in their memory.

    For a model whose parameters are all loaded afterwards, and for one on the device "meta", which
    has no memory. Drawing those of a ResNet50 takes half a second. Buffers, constants and numbers
    that are drawn into other tensors first are as ever.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func in DRAWS:
            tensor = args[0] if args else named["tensor"]
            if isinstance(tensor, nn.Parameter) or tensor.is_meta:
                return tensor
        return func(*args, **named)
