"""``torch.export``'s archive, which PyTorch runs.

PyTorch's reader unpickles what the archive calls pickled, evaluates its shapes as expressions and
looks its operators up by name, any of which can run code. So the archive is looked through first: a
file with anything but tensors, plain shapes and operators of tensors is refused.
"""

from __future__ import annotations

import importlib.util
import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wend.errors import InputError
from wend.files import atomic_write
from wend.inference.exported_info import KEY
from wend.inference.file_formats.archives import refuse_twice
from wend.inference.file_formats.types import Run, run_of

MOST_IMAGES = 1 << 16  # in a batch; torch.export wants a bound


def exported_program(module: nn.Module, pixels: Tensor) -> torch.export.ExportedProgram:
    """The module's graph, for any number of images.

    Args:
        module: maps pixels to a tuple of tensors.
        pixels: two images or more.
    """
    images = torch.export.Dim("images", min=1, max=MOST_IMAGES)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.export.export(module, (pixels,), dynamic_shapes=({0: images},), strict=False)


def check_can_write() -> None:
    """Raise InputError where PyTorch writes the archive's first layout; :func:`read` refuses it."""
    if importlib.util.find_spec("torch.export.pt2_archive") is None:
        raise InputError(
            f"torch {torch.__version__} writes an earlier layout of torch.export's archive than is "
            f"read here; install a later torch, or take --format torchscript or onnx"
        )


def write(module: nn.Module, pixels: Tensor, stated: dict[str, str], path: Path) -> None:
    """Write the module's graph; see :mod:`wend.inference.file_formats`."""
    program = exported_program(module, pixels)
    with atomic_write(path, "wb") as file:
        torch.export.save(program, file, extra_files=stated)


def read(path: Path, device: str | None) -> tuple[dict[str, str], Run]:
    """What a file states, and the function of pixels that it is.

    Raises:
        InputError: it is no archive of ``torch.export``, or has what no detector needs.
    """
    import wend.tv.operators  # noqa: F401  (which a graph may have)

    stated = {KEY: ""}
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive, path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = torch.export.load(path, extra_files=stated).module()
    except InputError:
        raise
    except Exception as error:  # of a damaged archive PyTorch raises whatever its reader meets
        raise InputError(
            f"{path}: PyTorch cannot read it ({' '.join(str(error).split())[:300]}); expected a "
            f"whole archive of torch.export, written by a version near {torch.__version__}"
        ) from error
    device = device or "cpu"
    return {KEY: str(stated[KEY])}, run_of(module.to(device), device)


# Within the archive's folder
_PARTS = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/.*|extra/.*|models/model\.json"
    r"|data/(weights|constants)/(model_\w+_config\.json|(weight|tensor)_\d+)"
    r"|data/sample_inputs/model\.pt"
)
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?!from_file|save)\w+(\.\w+)?|torch\.ops\.torchvision\.\w+(\.\w+)?"
    r"|torch\.ops\.higher_order\.while_loop|_operator\.\w+|torch\.sym_\w+"
)
# In sizes, beside numbers and the names of unknown ones: SymPy's arithmetic and comparisons
_NAMES = {
    *("Symbol", "Integer", "Add", "Mul", "Pow", "Min", "Max", "Mod", "FloorDiv", "CleanDiv"),
    *("Equality", "Unequality", "GreaterThan", "LessThan", "StrictGreaterThan", "StrictLessThan"),
    *("And", "Or", "Not", "Eq", "Ne", "Rational", "PythonMod", "ModularIndexing", "CeilDiv"),
    *("positive", "integer", "nonnegative", "True", "False", "oo", "int_oo", "true", "false"),
}
_SIZE = re.compile(r"[suz]\d+")


def _check(archive: zipfile.ZipFile, path: Path) -> None:
    """Raise InputError unless the archive is tensors, plain shapes and operators of tensors."""
    refuse_twice(path, archive)
    names = archive.namelist()
    for name in names:
        if not _PARTS.fullmatch(name.partition("/")[2]):
            raise InputError(f"{path}: {name} is no part of an exported detector; not loaded")
        if name.endswith("sample_inputs/model.pt"):
            torch.load(archive.open(name), weights_only=True)
        if name.endswith(".json") and "/extra/" not in name:
            for problem in _problems(json.loads(archive.read(name))):
                raise InputError(f"{path}: {name} has {problem}, no detector's; not loaded")
    if not any(name.endswith("archive_format") for name in names):
        raise InputError(f"{path}: not an archive of torch.export, which has archive_format")


def _problems(value: Any) -> Iterator[str]:
    """What a JSON of the archive has and no exported detector needs."""
    open_values = [value]
    while open_values:
        value = open_values.pop()
        if isinstance(value, list):
            open_values += value
        elif isinstance(value, dict):
            open_values += value.values()
            if value.get("use_pickle") not in (None, False):
                yield "pickled objects"
            target, expression = value.get("target"), value.get("expr_str")
            if isinstance(target, str) and not _OPERATOR.fullmatch(target):
                yield f"the operator {target[:100]!r}"
            if isinstance(expression, str) and not _is_plain(expression):
                yield f"the size {expression[:100]!r}"


def _is_plain(expression: str) -> bool:
    if not re.fullmatch(r"[\w(),'= +\-*/<>]*", expression):
        return False
    words = re.findall(r"[A-Za-z_]\w*", expression)
    return all(word in _NAMES or _SIZE.fullmatch(word) for word in words)
