"""``wend export``: a trained detector -> a file that holds all that predicting needs."""

from __future__ import annotations

import copy
import importlib
import importlib.metadata
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from wend import __version__
from wend.errors import InputError
from wend.files import expand_user
from wend.inference.build import UNUSED
from wend.inference.detector import Detector
from wend.inference.engines import engine_module
from wend.inference.exported_info import KEY, VERSION, Stated
from wend.inference.file_formats import FORMATS
from wend.inference.load import load
from wend.modeling.candidates.base import CandidateDetector, ChosenBoxes

CHECKED_IMAGES = 4
_PACKAGES = ("torch", "torchvision", "onnx", "onnxscript", "detectron2")
logger = logging.getLogger(__name__)


def export(
    path: str | Path,
    format: str,
    output: str | Path | None = None,
    *,
    nms: bool = False,
    overwrite: bool = False,
    **arguments: Any,
) -> Path:
    """Write a trained detector as a file of another kind, which :func:`wend.load` runs, too.

    The file takes crops, (N, 3, side, side) uint8 in red, green, blue, any N, and returns boxes
    (N, K, 4), xyxy in pixels of the crop, and scores (N, K) in float32, best first. It holds the
    normalization of pixels, and states the config and how photos become crops.

    Args:
        path: a run's OUTPUT_DIR, or a checkpoint.
        format: one of :data:`wend.inference.file_formats.FORMATS`.
        output: the file; by default ``model`` in the folder, or named as the checkpoint.
        nms: the file suppresses what overlaps and thresholds scores: K is at most
            TEST.DETECTIONS_PER_IMAGE, and a score is 0 where an image has fewer boxes. Otherwise
            its boxes are the candidates before that, and :func:`wend.load` does the rest.
        overwrite: an output that is there is replaced.
        arguments: of :func:`wend.load`: ``engine``, ``config``, overrides of entries.

    Returns:
        The file.

    Raises:
        InputError: the detector cannot be exported, a package is missing, the output is there.
    """
    if format not in FORMATS:
        raise InputError(f"format: expected {', '.join(FORMATS)}, got {format!r}")
    path = expand_user(path)
    output = _output(path, format, output, overwrite)
    writer = importlib.import_module(FORMATS[format].module)
    writer.check_can_write()
    detector = load(path, device="cpu", **arguments)
    if detector.checkpoint is None:
        raise InputError(f"{path}: is exported already; name the run's folder or its checkpoint")
    candidates = candidate_detector(detector)
    stated = Stated(
        version=VERSION,
        made_with={"wend-wsol": __version__, **_versions()},
        engine=detector.engine,
        detector=detector.cfg.MODEL.META_ARCHITECTURE,
        config=_config(detector),
        exif=detector.exif,
        view=detector.cfg.WEND.VIEW,
        resize=detector.cfg.WEND.RESIZE,
        side=candidates.size[0],
        chosen=nms,
        choice=candidates.choice,
    )
    example = torch.zeros(2, 3, *candidates.size, dtype=torch.uint8)
    module = (ChosenBoxes(candidates) if nms else candidates).eval()
    with torch.no_grad():
        writer.write(module, example, {KEY: stated.encoded()}, output)
    logger.info(
        "%s: %s of the engine %s as %s, %s, %.1f MB",
        *(output, stated.detector, stated.engine, format),
        "final boxes" if nms else "candidates before suppression",
        output.stat().st_size / 1e6,
    )
    _say_difference(detector, load(output, device="cpu"), output)
    return output


def candidate_detector(detector: Detector) -> CandidateDetector:
    """A copy of a loaded detector, as a function of pixels.

    Raises:
        InputError: it is of a kind that has none.
    """
    model: Any = detector.model
    side = model.mapper.side
    engine = engine_module(detector.engine, "candidates")
    copied = copy.deepcopy(model.model).cpu().eval()
    return engine.candidate_detector(detector.cfg, copied, (side, side))


def _output(path: Path, format: str, output: str | Path | None, overwrite: bool) -> Path:
    """The file to write; InputError where it may not be written."""
    ending = FORMATS[format].ending
    if output is None:
        output = path / f"model{ending}" if path.is_dir() else path.with_suffix(ending)
    output = expand_user(output)
    if output.suffix.lower() != ending:
        raise InputError(
            f"--output {output}: a file of the format {format} ends in {ending}, by which "
            f"wend.load knows it"
        )
    if output.is_dir():
        raise InputError(f"--output {output}: is a folder; expected the name of a file")
    if output.exists() and not overwrite:
        raise InputError(
            f"{output}: is there already; --overwrite replaces it, --output names another"
        )
    return output


def _config(detector: Detector) -> str:
    """The detector's config, whole, with what only its training needs as the training had it."""
    assert detector.checkpoint is not None
    cfg = detector.cfg.clone()
    cfg.defrost()
    trained_with = detector.checkpoint.entries
    for entry in UNUSED:
        value: Any = trained_with
        node: Any = cfg
        *nodes, name = entry.split(".")
        for key in nodes:
            value, node = (value.get(key) if isinstance(value, dict) else None), node[key]
        if isinstance(value, dict) and name in value:
            node[name] = value[name]
    return cfg.dump()


def _versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def largest_difference(
    first: Detector, second: Detector, images: Sequence[Image.Image]
) -> tuple[float, float]:
    """By how much boxes (in pixels of the images) and scores differ; infinity if their numbers do.

    Args:
        first, second: two forms of a detector.
        images: RGB.
    """
    samples = [first.model.mapper.of_image(image) for image in images]
    a, b = first.model.predict(samples), second.model.predict(samples)
    if (a.counts != b.counts).any():
        return np.inf, np.inf
    assert a.scores is not None
    assert b.scores is not None
    boxes, scores = np.abs(a.boxes - b.boxes), np.abs(a.scores - b.scores)
    return float(boxes.max(initial=0)), float(scores.max(initial=0))


def _say_difference(detector: Detector, exported: Detector, output: Path) -> None:
    """Log how far the file's boxes are from the detector's on images of coarse noise."""
    generator = np.random.default_rng(0)
    side = detector.model.mapper.side
    noise = generator.integers(0, 256, (CHECKED_IMAGES, 6, 6, 3), dtype=np.uint8)
    images = [Image.fromarray(cells).resize((side, side)) for cells in noise]
    boxes, scores = largest_difference(detector, exported, images)
    if np.isfinite(boxes):
        logger.info(
            "%s: run again on %d images of noise, its boxes differ from the detector's by at most "
            "%.1e pixels, its scores by %.1e",
            *(output, CHECKED_IMAGES, boxes, scores),
        )
    else:
        logger.warning(
            "%s: run again, it keeps another number of boxes than the detector on %d images of "
            "noise: scores there may lie at a threshold; compare the two on images of yours",
            *(output, CHECKED_IMAGES),
        )
