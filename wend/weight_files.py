"""Weight files -> names and tensors, and how a file's weights differ from a model's.

A file is PyTorch's (``.pth``, ``.pt``, ``.bin``), safetensors' or Detectron2's ``.pkl``. Reading it
runs no code of the file's: PyTorch's are read with ``weights_only``, pickles by an unpickler that
knows arrays and plain containers alone, and a safetensors file holds nothing but numbers.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from wend.errors import InputError, MissingFileError, some

COUNTER = "num_batches_tracked"  # torch's batch norm has it, frozen batch norm and old files do not
DATA_PARALLEL = "module."  # what nn.DataParallel puts before every name
WRAPPERS = ("model", "state_dict", "model_state", "blobs")  # ours, others', pycls', Caffe2's
MAX_WRAPPERS = 4  # around one another; a file may hold itself


def _latin1(text: str, encoding: str) -> bytes:
    """Bytes, as the pickle protocols before 3 write them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"holds bytes in the encoding {encoding!r}")
    return text.encode("latin1")


# numpy's own functions under the names that numpy 1 and 2 write
_NUMPYS = (
    ("multiarray", "_reconstruct", np.zeros(1).__reduce__()[0]),
    ("multiarray", "scalar", np.float64(0).__reduce__()[0]),
    ("numeric", "_frombuffer", np.zeros(1).__reduce_ex__(5)[0]),
)
_HARMLESS = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _latin1,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for module, name, function in _NUMPYS
    },
}


class ArrayUnpickler(pickle.Unpickler):
    """Makes NumPy arrays and plain containers; anything else is an UnpicklingError."""

    def find_class(self, module: str, name: str) -> Any:
        """The class or function of that name, if it is a harmless one."""
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"holds {module}.{name}, which is no array of numbers")
        return _HARMLESS[module, name]


def _content(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    if path.suffix == ".pkl":
        with path.open("rb") as file:
            return ArrayUnpickler(file, encoding="latin1").load()
    return torch.load(path, map_location="cpu", weights_only=True)


def _is_weight(value: object) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype != object)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Everything that a weight file holds, with its weights under ``"model"``.

    The weights may be bare or under ``model``, ``state_dict``, ``model_state`` or ``blobs``, also
    one within another. Names lose the prefix ``module.``; arrays become tensors on the CPU.

    Returns:
        ``{"model": {name: tensor}}``, and the other entries beside the weights: a training's state,
        or ``matching_heuristics``, by which Detectron2 guesses the names of Caffe2's and pycls'
        files.

    Raises:
        MissingFileError: there is no such file.
        InputError: it cannot be read, holds other objects, or no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such file; expected a model's weights")
    try:
        content = _content(path)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]  # torch writes several
        raise InputError(
            f"{path}: cannot be read as a weight file ({type(error).__name__}: {reason}); expected "
            f"a PyTorch .pth, a Detectron2 .pkl or a .safetensors of weights alone. Where it holds "
            f"other Python objects, save its weights again: "
            f"torch.save(checkpoint['state_dict'], FILE)"
        ) from error
    weights, others = _unwrapped(content)
    if path.suffix == ".pkl" and "__author__" not in others and isinstance(weights, Mapping):
        others |= {"__author__": "Caffe2", "matching_heuristics": True}
        weights = {n: value for n, value in weights.items() if not str(n).endswith("_momentum")}
    if path.suffix == ".pyth":
        others["matching_heuristics"] = True
    return {**others, "model": _tensors(path, weights)}


def _unwrapped(content: object) -> tuple[object, dict[str, Any]]:
    """The innermost mapping under :data:`WRAPPERS`, and what stands beside the outermost one."""
    others: dict[str, Any] = {}
    for depth in range(MAX_WRAPPERS):
        if not isinstance(content, Mapping):
            break
        inner = [name for name in WRAPPERS if isinstance(content.get(name), Mapping)]
        if not inner:
            break
        if depth == 0:
            others = {name: value for name, value in content.items() if name != inner[0]}
        content = content[inner[0]]
    return content, others


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """A weight file's names and tensors alone; errors as of :func:`read_checkpoint`."""
    return read_checkpoint(path)["model"]


def _tensors(path: Path, weights: object) -> dict[str, Tensor]:
    expected = f"{path}: expected names and weights, bare or under 'model' or 'state_dict'"
    if not isinstance(weights, Mapping):
        raise InputError(f"{expected}; got {type(weights).__name__}")
    if not weights:
        raise InputError(f"{expected}; got nothing")
    wrong = [n for n, v in weights.items() if not (isinstance(n, str) and _is_weight(v))]
    if wrong:
        raise InputError(f"{expected}; got entries that are no weights ({some(wrong)})")
    try:
        return {
            name.removeprefix(DATA_PARALLEL): value
            if isinstance(value, Tensor)
            else torch.from_numpy(value.copy())
            for name, value in weights.items()
        }
    except (TypeError, ValueError) as error:  # text, big-endian numbers
        raise InputError(f"{expected}; got an array that is no tensor ({error})") from error


@dataclass(frozen=True)
class WeightDifferences:
    """How a file's weights differ from a model's; false where they do not.

    Attributes:
        missing: the model's names that the file does not have.
        misshapen: name -> the file's shape and the model's, in words.
        unexpected: the file's names that the model does not have.
    """

    missing: list[str]
    misshapen: dict[str, str]
    unexpected: list[str]

    def __bool__(self) -> bool:
        return bool(self.names())

    def names(self) -> list[str]:
        """All of them."""
        return [*self.misshapen, *self.missing, *self.unexpected]

    def __str__(self) -> str:
        shapes = [f"{name} {shapes}" for name, shapes in self.misshapen.items()]
        return "; ".join(
            f"{len(names)} {problem} ({some(names)})"
            for problem, names in (
                ("of another shape", shapes),
                ("missing in the file", self.missing),
                ("not in the model", self.unexpected),
            )
            if names
        )


def without_counters(names: Iterable[str]) -> list[str]:
    """Names of weights, less batch norms' counters, which files and models may have or not."""
    return [name for name in names if not name.endswith(COUNTER)]


def compare_weights(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> WeightDifferences:
    """A file's weights against a model's, by name and shape."""
    both = [name for name in wanted if name in given]
    return WeightDifferences(
        missing=without_counters(name for name in wanted if name not in given),
        misshapen={
            name: f"{tuple(given[name].shape)}, not {tuple(wanted[name].shape)}"
            for name in without_counters(both)
            if given[name].shape != wanted[name].shape
        },
        unexpected=without_counters(name for name in given if name not in wanted),
    )


def load_weights(
    path: str | Path,
    weights: Mapping[str, Tensor],
    name: str,
    model: nn.Module,
    heads: tuple[str, ...] = (),
) -> None:
    """Load a file's weights into its model.

    Args:
        path, name: the file and the model, for the message.
        heads: beginnings of names that the file may lack or have with other shapes; those that fit
            are loaded.

    Raises:
        InputError: any other weight is missing, misshapen or not of the model.
    """
    state = model.state_dict()  # its metadata tells some models which version the weights are of
    bodies = [{n: v for n, v in w.items() if not n.startswith(heads)} for w in (weights, state)]
    differences = compare_weights(*bodies)
    if differences:
        raise InputError(f"{path}: not a checkpoint of {name}: {differences}")
    state.update({n: v for n, v in weights.items() if n in state and v.shape == state[n].shape})
    model.load_state_dict(state)
