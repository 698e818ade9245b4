"""TorchScript, which PyTorch runs from Python, C++ and Java.

Loading it unpickles no Python objects. Its graph is a program of PyTorch's operators, some of which
touch files or call other processes; a file that names them, or operators of other libraries than
torchvision, is refused.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from wend.errors import InputError
from wend.files import atomic_write
from wend.inference.exported_info import KEY
from wend.inference.file_formats.archives import refuse_twice
from wend.inference.file_formats.types import Run, run_of

_NOT_OF_DETECTORS = re.compile(
    rb"\b(?:from_file|save|rpc_async|rpc_sync|rpc_remote|torch\.classes)\b"
    rb"|\bops\.(?!torchvision\b|aten\b|prims?\b)\w+"
)
MOST_CODE = 1 << 26  # bytes of a program's part, unpacked


def check_can_write() -> None:
    """Whatever is needed is installed."""


def write(module: nn.Module, pixels: Tensor, stated: dict[str, str], path: Path) -> None:
    """Write the traced module; see :mod:`wend.inference.file_formats`."""
    with warnings.catch_warnings():
        # that TorchScript is deprecated, and that shapes, which are fixed here, become constants
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(module, (pixels,), check_trace=False)
    with atomic_write(path, "wb") as file:
        torch.jit.save(traced, file, _extra_files=stated)


def read(path: Path, device: str | None) -> tuple[dict[str, str], Run]:
    """What a file states, and the function of pixels that it is.

    Raises:
        InputError: it is no TorchScript file.
    """
    import wend.tv.operators  # noqa: F401  (which a graph may have)

    stated, device = {KEY: ""}, device or "cpu"
    try:
        _check(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that TorchScript is deprecated
            module = torch.jit.load(path, map_location=device, _extra_files=stated).eval()
    except (RuntimeError, OSError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: PyTorch cannot read it ({' '.join(str(error).split())[:300]}); expected a "
            f"whole TorchScript file"
        ) from error
    text = stated[KEY]
    return {KEY: text.decode() if isinstance(text, bytes) else text}, run_of(module, device)


def _check(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        refuse_twice(path, archive)
        for part in archive.infolist():
            if not part.filename.lower().endswith(".py"):
                continue
            if part.file_size > MOST_CODE:
                raise InputError(
                    f"{path}: {part.filename} states {part.file_size} bytes of program; not loaded"
                )
            if match := _NOT_OF_DETECTORS.search(archive.read(part)):
                raise InputError(
                    f"{path}: its program has {match[0].decode()}, which can touch files or other "
                    f"processes and which no detector needs; not loaded"
                )
