"""TorchScript, which PyTorch runs from Python, C++ and Java.

Loading it unpickles no Python objects. Its graph is a program of PyTorch's operators, two of which
can touch files; a file that names them is refused.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from wend.errors import InputError
from wend.files import atomic_write
from wend.inference.exported_info import KEY
from wend.inference.file_formats.types import Run

_TOUCHES_FILES = re.compile(rb"\b(from_file|save)\b")


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

    stated = {KEY: ""}
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

    @torch.inference_mode()
    def run(images: np.ndarray) -> tuple[Tensor, Tensor]:
        boxes, scores = module(torch.from_numpy(images).to(device))
        return boxes.cpu(), scores.cpu()

    return {KEY: text.decode() if isinstance(text, bytes) else text}, run


def _check(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".py") and (match := _TOUCHES_FILES.search(archive.read(name))):
                raise InputError(
                    f"{path}: its program has the operator {match[0].decode()}, which touches "
                    f"files and which no detector needs; not loaded"
                )
