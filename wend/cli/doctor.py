"""``wend doctor``: what is installed, what each engine has here, how to mend what is missing.

Packages come from the metadata of the installed project, names from the registries and tables
that the project itself looks them up in, so that the report cannot fall behind either.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import re
import warnings
from importlib import metadata

import torch
from tabulate import tabulate

from wend import __version__
from wend.cli.options import add_import_option
from wend.datasets.catalog import datasets_root
from wend.distribution import NAME
from wend.errors import some
from wend.inference.engines import ENGINES

LISTED = {  # heading -> module:name of a registry, or of a table by name
    "backbones (build_<name>_backbone)": "wend.modeling.backbones.build:BODIES",
    "losses (WEND.LOSS)": "wend.losses:LOSSES",
    "classification losses (WEND.CLS_LOSS)": "wend.losses:CLASSIFICATION_LOSSES",
    "weights of samples (WEND.SAMPLE_WEIGHTS)": "wend.losses:SAMPLE_WEIGHTS",
    "weights of images (WEND.IMAGE_WEIGHTS)": "wend.losses:IMAGE_WEIGHTS",
    "schedules (WEND.ETA_SCHEDULE)": "wend.schedules:SCHEDULES",
    "refinements (WEND.REFINE)": "wend.teaching.refine:REFINEMENTS",
    "metrics (WEND.METRICS)": "wend.evaluation.metrics:METRICS",
    "event sinks (WEND.LOGGERS)": "wend.event_sinks:EVENT_SINKS",
    "protocols (WEND.PROTOCOLS)": "wend.evaluation.protocols:PROTOCOLS",
    "box sources": "wend.pseudo_boxes:SOURCES",
    "label formats": "wend.label_files:WRITERS",
    "formats of data sets": "wend.datasets.declared:FORMATS",
}
_REQUIREMENT = re.compile(r"""([\w.-]+)\s*([^;]*)(?:;.*\bextra == ['"]([\w.-]+)['"])?""")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend doctor``."""
    add_import_option(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report; the exit status is 1 if no engine works."""
    engines, works = _engines()
    sections = [
        _machine(),
        _packages(),
        *_namesakes(),
        *_holes(),
        *engines,
        *_names(),
        _data_sets(),
    ]
    print("\n".join(sections))
    return 0 if works else 1


def _machine() -> str:
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return (
        f"wend {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"{os.cpu_count()} CPU cores; GPUs: {', '.join(gpus) or 'none (the CPU is used)'}\n"
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def requirements() -> dict[str, tuple[str, list[str]]]:
    """Package -> its versions, and the extras that need it, as the installed metadata says.

    The list of extras is empty for a package that is always needed; no package at all is known
    where the project itself is not installed. An extra that consists of others of our own is left
    out: theirs are listed.
    """
    try:
        texts = metadata.requires(NAME) or []
    except metadata.PackageNotFoundError:
        return {}
    packages: dict[str, tuple[str, list[str]]] = {}
    for text in texts:
        match = _REQUIREMENT.match(text)
        assert match is not None  # the metadata was made by an installer
        package, versions, extra = match.groups()
        if package == NAME:
            continue
        extras = packages.setdefault(package, (versions.strip(), []))[1]
        if extra is not None:
            extras.append(extra)
    return packages


def _packages() -> str:
    packages = requirements()
    if not packages:
        return f"packages: {NAME} is not installed, so no metadata names them; pip install -e .\n"
    installed = {package: _version(package) for package in packages}
    rows = [
        [package, installed[package] or "-", versions, ", ".join(extras) or "always"]
        for package, (versions, extras) in packages.items()
    ]
    text = tabulate(rows, ["package", "version", "needed", "for"], disable_numparse=True)
    missing = [p for p, (_, extras) in packages.items() if not extras and installed[p] is None]
    return text + (f"\nmissing: pip install {' '.join(missing)}\n" if missing else "\n")


def _namesakes() -> list[str]:
    """What to do about the registry's other ``wend``, whose files replace ours, if it is here."""
    version = _version("wend")
    if version is None:
        return []
    return [
        f"another package, wend {version}, is installed: it and {NAME} have the same import name, "
        f"and the one that was installed last has replaced files of the other; pip uninstall "
        f"wend, then pip install --force-reinstall --no-deps {NAME}\n"
    ]


def _holes() -> list[str]:
    """What files of others can do to this torch, see docs/safety.md."""
    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    if (major, minor) >= (2, 10):
        return []
    return [
        f"torch {torch.__version__}: before 2.10 a .pth of somebody else's can damage the memory "
        f"(CVE-2026-24747); install a later torch, or take only .safetensors from others\n"
    ]


def _engines() -> tuple[list[str], bool]:
    """A line for each engine, and whether one works."""
    lines, works = [], False
    for name, room in ENGINES.items():
        try:
            with warnings.catch_warnings():  # Detectron2's, about torch.jit
                warnings.simplefilter("ignore")
                detectors = importlib.import_module(room).detector_names()
        except ImportError as error:  # Detectron2's says how to have it
            lines.append(f"engine {name}: not here ({error})")
            continue
        works = True
        version = _version(name) or "version not known"
        lines.append(f"engine {name}: ready: {version}; detectors: {', '.join(detectors)}")
    return lines, works


def _names() -> list[str]:
    """A line for each of :data:`LISTED`."""
    lines = []
    for heading, reference in LISTED.items():
        module, _, name = reference.partition(":")
        try:
            names = sorted(getattr(importlib.import_module(module), name))
        except ImportError as error:
            lines.append(f"{heading}: not here ({error})")
        else:
            lines.append(f"{heading}: {', '.join(names)}")
    return lines


def _data_sets() -> str:
    root = datasets_root()
    folders = sorted(path.name for path in root.glob("[!.]*") if path.is_dir())
    return (
        f"data sets: DETECTRON2_DATASETS is {os.environ.get('DETECTRON2_DATASETS', 'not set')}; "
        f"{root} holds {some(folders, 10) or 'no folder (wend toy makes a data set)'}"
    )
