"""A batch on its way from a loader's worker to the training: few tensors instead of many.

A process hands each tensor to another one by itself, in memory of its own. Here the tensors of a
batch travel as one for each type of numbers; the examples that come out have views of it, images
one after the other, so that :func:`wend.modeling.layers.image_batch.image_batch` finds the images
stacked already, and a pinned batch goes to a GPU while the host goes on.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch import Tensor

Parts = tuple[bytes, list[Tensor]]  # the examples without tensors, and a tensor of each type


class PackedBatch:
    """The examples of a batch, whatever they are: a collate function of PyTorch's loaders.

    It is iterated over as the list of them.
    """

    def __init__(self, examples: Sequence[Any]) -> None:
        self._examples: Sequence[Any] | None = examples
        self._parts: Parts | None = None

    @classmethod
    def _of(cls, *parts: Any) -> PackedBatch:
        batch = cls(())
        batch._examples, batch._parts = None, parts  # type: ignore[assignment]
        return batch

    def __reduce__(self) -> Any:
        return self._of, self._packed()

    def pin_memory(self) -> PackedBatch:
        """The same in memory that a GPU reads while the host goes on."""
        rest, tensors = self._packed()
        return self._of(rest, [tensor.pin_memory() for tensor in tensors])

    def _packed(self) -> Parts:
        if self._parts is None:
            assert self._examples is not None
            self._parts = _pack(self._examples)
        return self._parts

    def __iter__(self) -> Iterator[Any]:
        if self._examples is None:
            assert self._parts is not None
            self._examples = _unpack(*self._parts)
        return iter(self._examples)


class _Packer(ForkingPickler):
    """Takes tensors out of what it pickles; those that are no plain numbers of the CPU stay."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.tensors: dict[torch.dtype, list[Tensor]] = {}
        self._places: dict[int, tuple[Any, ...]] = {}
        self._lengths: dict[torch.dtype, int] = {}

    def persistent_id(self, obj: Any) -> Any:
        """Type, place among the numbers of that type, and shape, of a tensor."""
        if type(obj) is not Tensor:
            return None
        known = self._places.get(id(obj))  # the tensors are kept, so that none has another's id
        if known is not None:
            return known
        if obj.layout != torch.strided or obj.device.type != "cpu" or obj.requires_grad:
            return None
        if obj.is_quantized or obj.is_nested:
            return None
        start = self._lengths.get(obj.dtype, 0)
        self._lengths[obj.dtype] = start + obj.numel()
        self.tensors.setdefault(obj.dtype, []).append(obj)
        place = (obj.dtype, start, tuple(obj.shape))
        self._places[id(obj)] = place
        return place


class _Unpacker(pickle.Unpickler):
    def __init__(self, rest: bytes, tensors: Sequence[Tensor]) -> None:
        super().__init__(io.BytesIO(rest))
        self._tensors = {tensor.dtype: tensor for tensor in tensors}

    def persistent_load(self, pid: Any) -> Tensor:
        """The tensor at a place, a view of those of its type."""
        dtype, start, shape = pid
        strides, step = [], 1
        for length in reversed(shape):
            strides.append(step)
            step *= max(length, 1)
        return self._tensors[dtype].as_strided(shape, strides[::-1], start)


def _pack(examples: Sequence[Any]) -> Parts:
    file = io.BytesIO()
    packer = _Packer(file)
    packer.dump(list(examples))
    numbers = [_joined(tensors) for tensors in packer.tensors.values()]
    return file.getvalue(), numbers


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _unpack(rest: bytes, tensors: Sequence[Tensor]) -> list[Any]:
    return _Unpacker(rest, tensors).load()
