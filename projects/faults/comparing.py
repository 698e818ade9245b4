"""What a training left behind, compared with what another left: every tensor, every number."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

FINAL = "model_final.pth"
CLOCKS = ("time", "eta_seconds", "data_time", "rank_data_time")  # of metrics.json
OWN = ("events.out.tfevents", "log.txt", "model_", "last_checkpoint", ".")  # beginnings of names
NOT_COMPARED = {"config.yaml", "machine.json", "metrics.json"}  # by their bytes


def differences(folder: Path, reference: Path) -> list[str]:
    """How a run's folder differs from an uninterrupted run's, in words; empty: not at all."""
    if not (folder / FINAL).is_file():
        return [f"no {FINAL}"]
    different = list(_tensors(folder, reference))
    different += _losses(folder / "metrics.json", reference / "metrics.json")
    own, expected = _files(folder), _files(reference)
    different += [f"no {name}" for name in sorted(expected - own)]
    different += [f"{name} is new" for name in sorted(own - expected)]
    for name in sorted(own & expected):
        if (folder / name).read_bytes() != (reference / name).read_bytes():
            different.append(f"{name} differs")
    leftover = _checkpoints(folder) ^ _checkpoints(reference)
    return different + [f"checkpoints: {name}" for name in sorted(leftover)]


def half_written(folder: Path) -> list[str]:
    """Checkpoints of a folder that are not whole."""
    wrong = []
    for path in sorted(folder.glob("*.pth")):
        try:
            torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever is wrong with it
            wrong.append(f"{path.name}: {type(error).__name__}")
    return wrong


def _files(folder: Path) -> set[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder))
        for path in files
        if not path.name.startswith(OWN) and path.name not in NOT_COMPARED
    }


def _checkpoints(folder: Path) -> set[str]:
    """Checkpoints and what lies hidden beside them: temporary files of a run that was killed."""
    names = {path.name for path in folder.iterdir()}
    return {name for name in names if "model_" in name or name == "last_checkpoint"}


def _tensors(folder: Path, reference: Path) -> Iterator[str]:
    own, expected = (
        dict(_leaves(torch.load(path / FINAL, map_location="cpu", weights_only=True), ""))
        for path in (folder, reference)
    )
    groups: dict[str, list[bool]] = {}
    for name in sorted(own.keys() | expected.keys()):
        if name in ("/wend/config",):  # names the folder
            continue
        equal = name in own and name in expected and _same(own[name], expected[name])
        groups.setdefault(name.split("/")[1], []).append(equal)
    for group, equal in groups.items():
        if not all(equal):
            yield f"{FINAL}: {equal.count(False)} of {len(equal)} of {group} differ"


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, f"{name}/{key}")
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _leaves(part, f"{name}/{index}")
    else:
        yield name, value


def _same(a: Any, b: Any) -> bool:
    """Whether two values are the same to the last bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        return bool(torch.equal(a.flatten().view(torch.uint8), b.flatten().view(torch.uint8)))
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    return type(a) is type(b) and bool(a == b)


def _losses(path: Path, reference: Path) -> Iterator[str]:
    try:
        own, expected = _numbers(path), _numbers(reference)
    except (OSError, ValueError, KeyError) as error:
        yield f"metrics.json: {type(error).__name__} {error}"
        return
    lacking = sorted({iteration for iteration, key in expected.keys() - own.keys()})
    if lacking:
        yield f"metrics.json lacks numbers of {', '.join(map(str, lacking))}"
    both = own.keys() & expected.keys()
    wrong = sorted({number[0] for number in both if own[number] != expected[number]})
    if wrong:
        yield f"metrics.json differs at {', '.join(map(str, wrong))}"


def _numbers(path: Path) -> dict[tuple[int, str], set[float]]:
    """Iteration and name -> values; a run that was stopped in order may have further rows."""
    numbers: dict[tuple[int, str], set[float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for key in row.keys() - {"iteration", *CLOCKS}:
            numbers.setdefault((row["iteration"], key), set()).add(row[key])
    return numbers
