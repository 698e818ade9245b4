"""``wend doctor``: what is installed, what each engine can do here, how to mend what is missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import warnings

import torch
from tabulate import tabulate

from wend import __version__
from wend.datasets.catalog import datasets_root
from wend.losses import LOSSES
from wend.pseudo_boxes import SOURCES
from wend.registry import Registry
from wend.schedules import SCHEDULES

PACKAGES = {
    "torch": "tensors, training",
    "torchvision": "detectors of the torchvision engine",
    "detectron2": "the home engine",
    "fvcore": "configs and checkpoints",
    "iopath": "Detectron2 needs < 0.1.10",
    "omegaconf": "Detectron2 needs < 2.4",
    "setuptools": "Detectron2 needs < 81 for its model zoo",
    "numpy": "boxes and metrics",
    "pillow": "image files, drawing",
    "opencv-python-headless": "toy set, wend pseudo-boxes",
    "opencv-python": "the same (either of the two)",
    "safetensors": "weight files",
    "scipy": "matching of Deformable DETR, McNemar's test",
    "matplotlib": "curves",
    "pyarrow": "per_image.parquet, detections as Parquet",
    "pycocotools": "AP and AR",
    "tensorboard": "Detectron2's logs",
}
ENGINES = {  # module with detector_names(), what else it has, how to have it
    "detectron2": (
        "wend.d2",
        "feature pyramids, any number of processes, TensorBoard",
        "install Detectron2 by its own instructions (README, 'With Detectron2')",
    ),
    "torchvision": (
        "wend.tv",
        "heads directly on a feature map, one process",
        "pip install torchvision (the release that fits torch)",
    ),
}
REGISTERED: dict[str, Registry] = {
    "losses (WEND.LOSS)": LOSSES,
    "schedules (WEND.ETA_SCHEDULE)": SCHEDULES,
    "box sources": SOURCES,
}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "-"


def diagnose() -> tuple[str, bool]:
    """The report, and whether at least one engine works."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    lines = [
        f"wend {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"{os.cpu_count()} CPU cores; GPUs: {', '.join(gpus) or 'none (the CPU is used)'}",
        "",
        tabulate(
            [[p, _version(p), why] for p, why in PACKAGES.items()],
            ["package", "version", "used for"],
        ),
        "",
    ]
    works = False
    for name, (module, can, fix) in ENGINES.items():
        try:
            with warnings.catch_warnings():  # Detectron2's, about torch.jit
                warnings.simplefilter("ignore")
                detectors = importlib.import_module(module).detector_names()
            lines.append(f"engine {name}: ready: {can}; detectors: {', '.join(detectors)}")
            works = True
        except ImportError as error:
            reason = str(error.__cause__ or error)
            lines.append(f"engine {name}: not here ({reason}); to have it: {fix}")
    if works:
        from wend.modeling.backbones.build import BODIES

        lines.append(f"backbones (build_<name>_backbone): {', '.join(BODIES)}")
    lines += [f"{kind}: {', '.join(names)}" for kind, names in REGISTERED.items()]
    root = datasets_root()
    held = [d for d in ("CUB_200_2011", "c2am_boxes", "toy") if (root / d).is_dir()]
    lines.append(
        f"data sets: DETECTRON2_DATASETS is {os.environ.get('DETECTRON2_DATASETS', 'not set')}; "
        f"{root} holds {', '.join(held) or 'none that WEND knows (wend toy makes one)'}"
    )
    return "\n".join(lines), works
