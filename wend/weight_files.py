"""Weight files -> names and tensors, and how a file's weights differ from a model's.

A file is PyTorch's (``.pth``, ``.pt``, ``.bin``), safetensors' or Detectron2's ``.pkl``. Reading it
runs no code of the file's: PyTorch's are read with ``weights_only``, pickles by an unpickler that
knows arrays and plain containers alone, and a safetensors file holds nothing but numbers.
"""

from __future__ import annotations

import json
import logging
import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from wend.array_pickles import ArrayUnpickler
from wend.errors import InputError, MissingFileError, some

# torch's batch norm has it, frozen batch norm and old files do not; torch's averages of weights
COUNTERS = ("num_batches_tracked", "n_averaged")
DATA_PARALLEL = "module."  # what nn.DataParallel puts before every name, and averages of weights
COMPILED = "_orig_mod."  # what torch.compile puts before the names of what it compiled
# under which others keep weights, those of averages last: ours, Lightning's, pycls', Caffe2's, ...
WRAPPERS = (
    *("model", "state_dict", "model_state_dict", "model_state", "module", "net", "network"),
    *("params", "weights", "blobs", "teacher"),
    *("model_ema", "ema", "state_dict_ema", "ema_state_dict", "ema_model", "shadow"),
)
ORIGIN_KEY = "wend"  # beside the weights, how they came about; in safetensors of its metadata
MOST_SHARED = 4  # bytes of arrays for a byte of a pickle: weights may share an array
MAX_WRAPPERS = 4  # around one another; a file may hold itself
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """How a detector's weights came about: what it takes to build the detector again.

    Attributes:
        config: its config, the text of a YAML file.
        engine: the engine that trained it.
        exif: the policy on EXIF's orientation of the images that it was trained on.
    """

    config: str
    engine: str
    exif: str


_REFUSED = re.compile(r"GLOBAL ([\w.]+)")  # what torch's weights_only names


class UnreadableError(InputError):
    """A weight file cannot be read, or holds other objects than weights.

    Attributes:
        reason: the file and why, without what to do.
    """

    def __init__(self, path: Path, error: Exception) -> None:
        why = (str(error).splitlines() or [""])[0]  # torch writes several lines, and sentences
        refused = _REFUSED.search(str(error))
        if path.is_file() and not path.stat().st_size:
            why = "it is empty"
        elif refused:  # torch goes on to say how its code can be run all the same
            why = f"holds {refused[1]}, which is no weight; what runs code is not loaded"
        elif not isinstance(error, pickle.UnpicklingError):
            why = f"{type(error).__name__}: {why.split('. ')[0]}"
        self.reason = f"{path}: cannot be read as a weight file ({why})"
        advice = (
            ". Where it holds other Python objects, save its weights again: "
            "torch.save(checkpoint['state_dict'], FILE)"
        )
        super().__init__(
            f"{self.reason}; expected a PyTorch .pth, a Detectron2 .pkl or a .safetensors of "
            f"weights alone{advice if isinstance(error, pickle.UnpicklingError) else ''}"
        )

    def __reduce__(self) -> tuple[type[InputError], tuple[str]]:
        """Another process gets its words: what raised it may not be picklable."""
        return InputError, (str(self),)


def stated_origin(origin: Origin | None) -> dict[str, dict[str, str]]:
    """The entry of a checkpoint that states an origin; none where it is not known."""
    return {} if origin is None else {ORIGIN_KEY: asdict(origin)}


def read_origin(path: str | Path) -> Origin | None:
    """The origin that a weight file states, read without its weights; None where it states none.

    Raises:
        InputError: a statement that is none of this version of WEND.
    """
    try:
        if Path(path).suffix == ".safetensors":
            with safetensors.safe_open(path, "pt") as file:
                stated = json.loads((file.metadata() or {}).get(ORIGIN_KEY, "null"))
        elif Path(path).suffix == ".pkl":
            return None
        else:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            stated = content.get(ORIGIN_KEY) if isinstance(content, dict) else None
    except Exception:  # whoever reads the weights says why they cannot be read
        return None
    if stated is None:
        return None
    names = {field.name for field in fields(Origin)}
    if not isinstance(stated, dict) or not names <= stated.keys():
        raise InputError(
            f"{path}: states its origin without {', '.join(sorted(names))}; was it written by "
            f"another version of WEND?"
        )
    if not all(isinstance(stated[name], str) for name in names):
        raise InputError(f"{path}: states an origin that is no text; expected {', '.join(names)}")
    return Origin(**{name: stated[name] for name in names})


def check_archive(path: Path) -> None:
    """Raise ValueError for a ZIP archive that states more bytes than it has.

    PyTorch's archives are not compressed. One that is, or whose parts share their bytes, makes
    gigabytes of a megabyte.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    stated, held = sum(part.file_size for part in parts), path.stat().st_size
    if stated > held:
        raise ValueError(f"its parts state {stated} bytes, more than the {held} of the file")


def _content(path: Path, *, mmap: bool = False) -> Any:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    if path.suffix == ".pkl":
        with path.open("rb") as file:
            return ArrayUnpickler(file, encoding="latin1").load()
    check_archive(path)
    # files of before torch 1.6 are no archives, and cannot be mapped
    mmap = mmap and zipfile.is_zipfile(path)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


def read_content(path: str | Path, *, mmap: bool = False) -> Any:
    """What stands in a weight file, as it stands there.

    Args:
        mmap: tensors are read once they are used, and not at all where they are not.

    Raises:
        MissingFileError: there is no such file, or it is a folder.
        InputError: it cannot be read, or holds other objects.
    """
    path = Path(path)
    if path.is_dir():
        raise MissingFileError(f"{path}: is a folder; expected the file of a model's weights in it")
    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such file; expected a model's weights")
    try:
        return _content(path, mmap=mmap)
    except Exception as error:
        raise UnreadableError(path, error) from error


@lru_cache(maxsize=64)
def _damaged_record(path: Path, size: int, changed: int) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.testzip() or ""


def damage(path: Path) -> str:
    """What is wrong with the bytes of a weight file of PyTorch's, in words; empty: nothing is.

    Each record of it has a CRC-32, which torch writes and does not look at when it loads; here all
    are compared, at the speed of the disk. Files of before torch 1.6 have none.
    """
    try:
        if not zipfile.is_zipfile(path):
            read_content(path)
            return ""
        check_archive(path)
        status = path.stat()
        record = _damaged_record(path, status.st_size, status.st_mtime_ns)
    except InputError as error:
        return str(error)
    except Exception as error:  # zipfile raises many kinds
        return f"{path.name}: its archive is damaged ({type(error).__name__}: {error})"
    return (
        f"{path.name}: the bytes of its record {record} are not those that were written"
        if (record)
        else ""
    )


def _is_weight(value: object) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype != object)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Everything that a weight file holds, with its weights under ``"model"``.

    The weights may be bare or under one of :data:`WRAPPERS`, also one within another; averages
    (EMA) are taken where there are no others. Names lose what nn.DataParallel and torch.compile put
    before them; arrays become tensors on the CPU.

    Returns:
        ``{"model": {name: tensor}}``, and the other entries beside the weights: a training's state,
        or ``matching_heuristics``, by which Detectron2 guesses the names of Caffe2's and pycls'
        files.

    Raises:
        MissingFileError: there is no such file.
        InputError: it cannot be read, holds other objects, or no weights.
    """
    path = Path(path)
    content = read_content(path)
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
        wrappers = [name for name in WRAPPERS if isinstance(content.get(name), Mapping)]
        inner = [name for name in wrappers if _holds_weights(content[name])] or wrappers
        if not inner or _has_weights(content):
            break
        if depth == 0 and len(inner) > 1:
            logger.info("of %s the weights under %r are taken", some(inner), inner[0])
        if depth == 0:
            others = {name: value for name, value in content.items() if name != inner[0]}
        content = content[inner[0]]
    return content, others


def _has_weights(content: Mapping[Any, Any]) -> bool:
    return any(map(_is_weight, content.values()))


def _holds_weights(content: object, depth: int = MAX_WRAPPERS) -> bool:
    """Whether it is a mapping with weights, or with a wrapper that holds some."""
    if not isinstance(content, Mapping) or not depth:
        return False
    return _has_weights(content) or any(
        _holds_weights(content.get(name), depth - 1) for name in WRAPPERS
    )


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
    arrays = [value for value in weights.values() if isinstance(value, np.ndarray)]
    odd = sorted({str(array.dtype) for array in arrays if array.dtype.kind not in "biufc"})
    if odd:
        raise InputError(f"{expected}; got an array that is no tensor ({some(odd)})")
    stated, held = sum(array.nbytes for array in arrays), path.stat().st_size
    if stated > MOST_SHARED * held + (1 << 20):  # an array's header alone makes it that large
        raise InputError(f"{expected}; got {stated} bytes of arrays in a file of {held}")
    try:
        tensors = {
            _bare(name): value if isinstance(value, Tensor) else torch.from_numpy(value.copy())
            for name, value in weights.items()
        }
    except (TypeError, ValueError) as error:  # text, big-endian numbers
        raise InputError(f"{expected}; got an array that is no tensor ({error})") from error
    if len(tensors) < len(weights):
        names = [_bare(name) for name in weights]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(
            f"{path}: holds {len(twice)} weights twice, with and without {DATA_PARALLEL!r} or "
            f"{COMPILED!r} in their names ({some(twice)}); save the weights of one model"
        )
    return tensors


def _bare(name: str) -> str:
    """A weight's name without what nn.DataParallel and torch.compile put before it."""
    name = name.replace(COMPILED, "")
    while name.startswith(DATA_PARALLEL):
        name = name.removeprefix(DATA_PARALLEL)
    return name


def prefixes(name: str) -> list[str]:
    """``["model.", "model.conv."]`` of ``model.conv.weight``."""
    parts = name.split(".")
    return [".".join(parts[:depth]) + "." for depth in range(1, len(parts))]


def without_prefix(
    path: str | Path, weights: Mapping[str, Tensor], wanted: Iterable[str]
) -> Mapping[str, Tensor]:
    """A file's weights by the names that a model has for them, where all stand under one prefix.

    Lightning puts ``model.`` (the attribute's name) before them, others ``net.`` or ``student.``.
    Weights beside that prefix (of a loss, of an average) are passed over, and logged.

    Args:
        path: the file, for the log.
        wanted: names of the model's weights.

    Returns:
        The weights as they are, unless under some prefix there are more of the wanted names, and
        more than half of them.
    """
    wanted = set(wanted)
    numbers = Counter({"": len(wanted & weights.keys())})
    for name in weights:
        numbers.update(prefix for prefix in prefixes(name) if name[len(prefix) :] in wanted)
    # of equal ones the shortest, so that an average beside the weights is not preferred
    prefix, number = max(numbers.items(), key=lambda item: (item[1], -len(item[0])))
    if not prefix or 2 * number <= len(wanted):
        return weights
    beside = [name for name in weights if not name.startswith(prefix)]
    logger.info("%s: the weights under %r are taken", path, prefix)
    if beside:
        logger.info("%s: passed over %d weights beside them (%s)", path, len(beside), some(beside))
    return {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}


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
    return [name for name in names if not name.endswith(COUNTERS)]


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
    weights = without_prefix(path, weights, state)
    bodies = [{n: v for n, v in w.items() if not n.startswith(heads)} for w in (weights, state)]
    differences = compare_weights(*bodies)
    if differences:
        known = without_counters(state)
        fitting = sum(n in weights and weights[n].shape == state[n].shape for n in known)
        raise InputError(
            f"{path}: not a checkpoint of {name}: {fitting} of its {len(known)} weights fit; "
            f"{differences}"
        )
    state.update({n: v for n, v in weights.items() if n in state and v.shape == state[n].shape})
    model.load_state_dict(state)
    logger.info("%s: loaded into %s", path, name)
