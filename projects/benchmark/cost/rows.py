"""Models that take turns, a row of numbers for each, and the machine: of every table here."""

# ruff: noqa: TID251 (it names the version)

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import measure
import torch
from models import MissingModelError, Sizes, Subject, build

ROOT = Path(__file__).resolve().parents[3]
BASES = ("SCR", "backbone")


def prepare(name: str, args: argparse.Namespace) -> Subject:
    """A model as the options want it."""
    subject = build(name, Sizes(args.batch, args.test_batch, args.crop), args.device)
    if args.channels_last:
        subject.model.to(memory_format=torch.channels_last)
    if args.compile:
        owner = getattr(subject.model, "detector", subject.model)
        owner.backbone.compile()
    return subject


Turns = dict[str, list[tuple[float, float]]]  # seconds of a step and of a test batch


def prepared(
    names: list[str], args: argparse.Namespace
) -> tuple[dict[str, Subject], dict[str, str]]:
    """The models of these names, and why others are missing."""
    subjects, missing = {}, {}
    for name in names:
        try:
            subjects[name] = prepare(name, args)
        except MissingModelError as error:
            missing[name] = str(error)
    return subjects, missing


def turns_of(
    subjects: dict[str, Subject], missing: dict[str, str], args: argparse.Namespace
) -> Turns:
    """Rounds in which all models take a turn, after one that warms up.

    No round is begun after ``args.until``, by ``time.monotonic``. A model that fails becomes one of
    those that are missing.
    """
    turns: Turns = {name: [] for name in subjects}
    for index in range(-1, args.rounds):
        if index > 0 and time.monotonic() > args.until:
            break
        how = args.how if index >= 0 else replace(args.how, calls=1)
        for name in list(subjects):
            sys.stderr.write(f"round {index + 1} of {args.rounds}: {name}\n")
            try:
                one = measure.turn(subjects[name], how)
            except Exception as error:  # a row that fails must not cost the others
                if name in BASES:
                    raise
                missing[name] = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                del subjects[name], turns[name]
                if args.how.on_cuda:
                    torch.cuda.empty_cache()
                continue
            if index >= 0:
                turns[name].append(one)
    return turns


def row(subject: Subject, turns: Turns, args: argparse.Namespace) -> dict[str, Any]:
    """A model's numbers; ratios are medians over the rounds, with least and greatest."""
    parameters = list(subject.model.parameters())
    frozen_norms = [
        buffer
        for module in subject.model.modules()
        if "FrozenBatchNorm" in type(module).__name__
        for buffer in (module.weight, module.bias)
    ]
    mine = turns[subject.name]

    def ratios(base: str, which: int) -> list[float]:
        return [a[which] / b[which] for a, b in zip(mine, turns[base], strict=True)]

    def spread(values: list[float]) -> list[float]:
        return [min(values), statistics.median(values), max(values)]

    return {
        "parameters": sum(p.numel() for p in [*parameters, *frozen_norms]),
        "trained": sum(p.numel() for p in parameters if p.requires_grad),
        "step_s": statistics.median(step for step, _ in mine),
        "step_to_scr": spread(ratios("SCR", 0)),
        "step_to_backbone": spread(ratios("backbone", 0)),
        "images_per_s": args.test_batch / statistics.median(test for _, test in mine),
        "throughput_to_backbone": spread([1 / r for r in ratios("backbone", 1)]),
    }


def machine(args: argparse.Namespace) -> str:
    """Hardware, versions, settings and commit in a few lines."""
    lines = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    cpu = next((s.split(":")[1].strip() for s in lines.splitlines() if "model name" in s), "?")
    device = torch.cuda.get_device_name() if args.device.startswith("cuda") else cpu
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    try:
        import torchvision

        vision = torchvision.__version__
    except ImportError:
        vision = "absent"
    chosen = [name for name in ("channels_last", "compile") if getattr(args, name)]
    return (
        f"{device}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end; Python "
        f"{platform.python_version()}, PyTorch {torch.__version__}, torchvision {vision}; commit "
        f"{commit or '?'}\n{torch.get_num_threads()} threads of PyTorch, OMP_NUM_THREADS="
        f"{os.environ.get('OMP_NUM_THREADS', 'unset')}; training batch {args.batch}, test batch "
        f"{args.test_batch}, crop {args.crop}, {args.rounds} rounds, {args.clock} time; "
        f"{', '.join([args.precision, *chosen])}\n"
    )
