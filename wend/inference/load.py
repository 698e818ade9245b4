"""``wend.load``: a run folder or a file of weights -> a detector."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wend.errors import InputError, MissingFileError, shown
from wend.files import expand_user, is_number
from wend.inference.detector import Detector
from wend.inference.file_formats import FORMATS
from wend.structures.records import EXIF
from wend.user_code import load_modules

CHECKPOINTS, EXPORTED = "wend.inference.build", "wend.inference.exported"
# ending -> module with load(path, device=, engine=, config=, exif=, overrides=) -> Detector
LOADERS = {
    **dict.fromkeys((".pth", ".pt", ".safetensors"), CHECKPOINTS),
    **dict.fromkeys((file_format.ending for file_format in FORMATS.values()), EXPORTED),
}


def load(
    path: str | Path,
    *,
    device: str | None = None,
    engine: str = "auto",
    config: str | Path | None = None,
    exif: str | None = None,
    max_megapixels: float | None = None,
    imports: Sequence[str] = (),
    **overrides: Any,
) -> Detector:
    """Load a trained detector; no data set needs to be there.

    Args:
        path: a run's OUTPUT_DIR (its newest checkpoint), or a file: ``.pth``,
            ``.safetensors``, or ``.onnx``, ``.torchscript`` or ``.pt2`` of ``wend export``.
        device: such as ``cpu``, ``cuda:1``; by default the config's MODEL.DEVICE, or the CPU where
            there is no GPU.
        engine: ``detectron2`` or ``torchvision``; ``auto`` is the one that trained the detector.
        config: its YAML, for a file that neither holds its config nor lies beside a
            ``config.yaml``.
        exif: how photos with an EXIF orientation are read: ``apply`` turns them upright, ``ignore``
            takes them as stored; by default as those of the training, or as stored where the file
            does not say.
        max_megapixels: image files that state more pixels, in millions, are not decoded; by default
            as in the training (``WEND.DATA.MAX_MEGAPIXELS``).
        imports: modules and files of yours (``./mine.py``) to import first: a config that comes
            with weights may name some, and imports none itself.
        overrides: config entries to change, such as
            ``**{"TEST.DETECTIONS_PER_IMAGE": 20, "WEND.FCOS.NMS_THRESH_TEST": 0.5}``.

    Raises:
        InputError: names the file, entry or engine that is missing or wrong.
    """
    _check_path("path", path)
    if config is not None:
        _check_path("config", config)
    path = expand_user(path)
    if exif is not None and exif not in EXIF:
        raise InputError(f"exif: expected one of {', '.join(EXIF)}, got {exif!r}")
    if not os.path.exists(path):  # unlike Path.exists, false of a name that is too long
        raise MissingFileError(
            f"{path}: there is no such file or folder; expected a run's OUTPUT_DIR or a file "
            f"({', '.join(LOADERS)})"
        )
    suffix = ".pth" if path.is_dir() else path.suffix.lower()
    if suffix not in LOADERS:
        raise InputError(
            f"{path}: expected a run's OUTPUT_DIR or a file that ends in one of "
            f"{', '.join(LOADERS)}, got {suffix or 'a name without ending'}"
        )
    load_modules(imports)
    loader = importlib.import_module(LOADERS[suffix])
    if max_megapixels is not None and not (is_number(max_megapixels) and max_megapixels > 0):
        raise InputError(f"max_megapixels: expected a number above 0, got {max_megapixels!r}")
    detector = loader.load(
        path, device=device, engine=engine, config=config, exif=exif, overrides=overrides
    )
    if max_megapixels is not None:
        detector.model.mapper.max_megapixels = max_megapixels
    return detector


def _check_path(name: str, value: object) -> None:
    if not isinstance(value, str | os.PathLike) or not os.fspath(value) or "\0" in os.fspath(value):
        raise InputError(f"{name}: expected the path of a file or folder, got {shown(value, 80)}")
