"""ONNX, which onnxruntime and many others run. Its files hold a graph and numbers, and no code.

A file may leave its numbers in others, wherever they lie; `wend export` never does, and such a file
is refused.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wend.distribution import pip_install, require_installed
from wend.errors import InputError
from wend.files import atomic_write, open_bytes
from wend.inference.file_formats.torch_export_file import exported_program
from wend.inference.file_formats.types import Run

# how protobuf writes the key "location", of a tensor in another file; lengths may be padded
_ELSEWHERE = re.compile(rb"(?:\x0a|\x8a\x80*\x00)(?:\x08|\x88\x80*\x00)location")
INPUT, OUTPUTS = "pixels", ("boxes", "scores")
OPSET = 18
INSTALL = pip_install("onnx")


def check_can_write() -> None:
    """Raise InputError unless the packages are there that writing and checking a file needs."""
    require_installed("--format onnx", INSTALL, "onnx", "onnxscript", "onnxruntime")


def write(module: nn.Module, pixels: Tensor, stated: dict[str, str], path: Path) -> None:
    """Write the module's graph; see :mod:`wend.inference.file_formats`."""
    import onnx

    program = exported_program(module, pixels)
    with _quiet():
        converted = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
        )
    assert converted is not None
    model = converted.model_proto
    onnx.helper.set_model_props(model, stated)
    with atomic_write(path, "wb") as file:
        file.write(model.SerializeToString())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's prints of its steps, and what its optimizer says of each node."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _stable_sort(self: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    """``torch.sort(stable=True)``, which the exporter does not know: of equals TopK, too, has the
    first one first.
    """
    import onnxscript

    op: Any = onnxscript.opset18
    count = op.Gather(op.Shape(self), op.Constant(value_ints=[dim]), axis=0)
    return op.TopK(self, count, axis=dim, largest=int(descending), sorted=1)


def read(path: Path, device: str | None) -> tuple[dict[str, str], Run]:
    """What a file states, and the function of pixels that it is.

    Args:
        device: such as "cuda"; None is the GPU where onnxruntime has one, else the CPU.

    Raises:
        InputError: onnxruntime is not installed, has no such device, or cannot read the file.
    """
    require_installed(str(path), INSTALL, "onnxruntime")
    import onnxruntime

    available = onnxruntime.get_available_providers()
    kind, _, index = (device or "").partition(":")
    if kind not in ("", "cpu", "cuda"):
        raise InputError(f"device: an ONNX file runs on cpu or cuda, got {device!r}")
    if kind == "cuda" and "CUDAExecutionProvider" not in available:
        raise InputError(
            f"device: onnxruntime sees no GPU ({', '.join(available)}); "
            f"pip install onnxruntime-gpu, or leave the device out"
        )
    providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
    if kind != "cpu" and "CUDAExecutionProvider" in available:
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": index or "0"}))
    with open_bytes(path, "an ONNX file") as file:
        content = file.read()
    if _ELSEWHERE.search(content):
        raise InputError(
            f"{path}: has its numbers in other files, which could be anybody's; export the "
            f"detector again, into one file"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is in the exception
    try:
        session = onnxruntime.InferenceSession(content, options, providers=providers)
        stated = dict(session.get_modelmeta().custom_metadata_map)
        names = [value.name for value in (*session.get_inputs(), *session.get_outputs())]
    except Exception as error:  # onnxruntime's have no common kind
        raise InputError(
            f"{path}: onnxruntime cannot read it ({' '.join(str(error).split())[:300]}); expected "
            f"a whole ONNX file"
        ) from error
    if stated and names != [INPUT, *OUTPUTS]:
        raise InputError(
            f"{path}: expected the input {INPUT} and the outputs {', '.join(OUTPUTS)}, got "
            f"{', '.join(names)}; was it changed after `wend export`?"
        )

    def run(images: np.ndarray) -> tuple[Tensor, Tensor]:
        boxes, scores = session.run(list(OUTPUTS), {INPUT: images})
        return torch.from_numpy(boxes), torch.from_numpy(scores)

    return stated, run
