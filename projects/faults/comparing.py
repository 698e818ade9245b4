"""What a training left behind, compared with what another left: every tensor, every number."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from operator import itemgetter
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
    left, all_right = sorted(_checkpoints(folder)), sorted(_checkpoints(reference))
    if len(left) != len(all_right):  # a signal that is a wish saves one of its own iteration
        different.append(f"checkpoints {', '.join(left)}, not {', '.join(all_right)}")
    return different


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
        own, expected = _rows(path), _rows(reference)
    except (OSError, ValueError, KeyError) as error:
        yield f"metrics.json: {type(error).__name__} {error}"
        return
    iterations = [[row["iteration"] for row in rows] for rows in (own, expected)]
    if iterations[0] != iterations[1]:
        yield "metrics.json has rows of {}, not of {}".format(*iterations)
        return
    pairs = zip(own, expected, strict=True)
    wrong = [str(a["iteration"]) for a, b in pairs if not _same_row(a, b)]
    if wrong:
        yield f"metrics.json differs at {', '.join(wrong)}"


def _rows(path: Path) -> list[dict[str, Any]]:
    """Rows in the order of their iterations, without what clocks say."""
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    known = [{key: row[key] for key in row.keys() - {*CLOCKS}} for row in rows]
    return sorted(known, key=itemgetter("iteration"))


def _same_row(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
