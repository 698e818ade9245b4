"""Files that would run code, or fill the memory, through every command that reads such a file."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cases import DETECTORS, Case
from kills import References, last_line
from outcomes import Outcome
from running import Machine

EXPECTED = "nothing runs; exit 2, one line"


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch '{self.trace}'",)


def evil_pickle(path: Path, trace: Path) -> None:
    """A pickle as Detectron2's model zoo has them."""
    path.write_bytes(pickle.dumps({"model": Touch(trace), "__author__": "x"}))


def evil_archive(path: Path, trace: Path) -> None:
    """What torch.save writes, with a call in it."""
    import torch

    torch.save({"model": Touch(trace)}, path)


def evil_old_file(path: Path, trace: Path) -> None:
    """What torch.save wrote before 1.6."""
    import torch

    torch.save({"model": Touch(trace)}, path, _use_new_zipfile_serialization=False)


def evil_tar(path: Path, trace: Path) -> None:
    """What torch.save wrote before 0.1.10: a tar of pickles."""
    import tarfile

    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps(Touch(trace))
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def evil_script(path: Path, trace: Path) -> None:
    """An archive of TorchScript's form whose data runs code."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(Touch(trace)))
        archive.writestr("x/constants.pkl", pickle.dumps(Touch(trace)))
        archive.writestr("x/version", "3\n")
        archive.writestr("x/code/__torch__.py", "")


WEIGHTS: dict[str, Callable[[Path, Path], None]] = {
    "evil.pkl": evil_pickle,
    "evil.pth": evil_archive,
    "old.pth": evil_old_file,
    "tar.pth": evil_tar,
    "pickle.pth": evil_pickle,
    "evil.safetensors": evil_pickle,
    "evil.pt": evil_script,
}
TAGS = {
    "!!python/object/apply:os.system": "!!python/object/apply:os.system [\"touch '{trace}'\"]",
    "!!python/object/new": "!!python/object/new:os.system [\"touch '{trace}'\"]",
}


def malice(
    machine: Machine, references: References, cases: list[Case], *, short: bool
) -> Iterator[Outcome]:
    """Give each file to each command that takes one of its kind."""
    place = machine.work / "malice"
    place.mkdir(parents=True, exist_ok=True)
    trace = place / "trace"
    engines = {case.engine: case for case in reversed(cases)}
    for name, write in list(WEIGHTS.items())[: 1 if short else None]:
        path = place / name
        write(path, trace)
        for command, words in _readers(machine, engines, references, place, path, short=short):
            yield _tried(machine, command, name, words, trace)
    for tag, text in list(TAGS.items())[: 1 if short else None]:
        for command, words in _configs(engines, place, text.format(trace=trace)):
            yield _tried(machine, command, f"YAML with {tag}", words, trace)
    if not short:
        yield from _bomb(machine, references, cases[0], place)


def _tried(machine: Machine, command: str, name: str, words: list[str], trace: Path) -> Outcome:
    trace.unlink(missing_ok=True)
    ended = machine.run(words)
    ran = trace.exists()
    trace.unlink(missing_ok=True)
    said = f"{ended.said()}: {ended.error or last_line(ended)}"
    good = not ran and ended.status == 2 and ended.error and not ended.traceback
    outcome = f"the code ran; {said}" if ran else said
    return Outcome("malice", name, command, "", EXPECTED, outcome, kept=bool(good))


def _readers(
    machine: Machine,
    engines: dict[str, Case],
    references: References,
    place: Path,
    path: Path,
    *,
    short: bool,
) -> Iterator[tuple[str, list[str]]]:
    out = place / "out"
    for engine, case in engines.items():
        weights = case.but(MODEL__WEIGHTS=str(path))
        yield f"train MODEL.WEIGHTS, {engine}", weights.arguments(out)
        if short:
            return
        yield f"train --eval-only, {engine}", weights.arguments(out, "--eval-only")
        run = place / f"run-{engine}-{path.name}"
        reference, _ = references.of(case)
        shutil.copytree(reference, run, dirs_exist_ok=True)
        for checkpoint in run.glob("model_*"):
            checkpoint.unlink()
        shutil.copy(path, run / f"model_0000017{path.suffix}")
        (run / "last_checkpoint").write_text(f"model_0000017{path.suffix}")
        yield f"train --resume, {engine}", case.arguments(run, "--resume")
        led = place / f"led-{engine}-{path.name}"
        shutil.copytree(run, led, dirs_exist_ok=True)
        (led / f"model_0000017{path.suffix}").unlink()
        (led / "last_checkpoint").write_text(f"../{path.name}")
        yield (
            f"train --eval-only --resume, last_checkpoint ../, {engine}",
            case.arguments(led, "--resume", "--eval-only"),
        )
    photos = machine.datasets_root / "toy" / "CUB_200_2011" / "images"
    predicted = ["--output", str(place / "predicted"), "--device", "cpu"]
    yield "predict", ["predict", str(path), str(photos), *predicted]
    timm = ["timm:resnet18", "--weights", str(path), "--num-workers", "0", "--device", "cpu"]
    yield (
        "classify",
        ["classify", "--dataset", "toy_test", "--output", str(place / "c.json"), "--model", *timm,
         "--preprocessing", "canonical"],
    )  # fmt: skip
    yield (
        "pseudo-boxes",
        ["pseudo-boxes", "--method", "ddt", "--dataset", "toy_test", "--output", str(place / "b"),
         "--backbone", *timm],
    )  # fmt: skip
    yield "export", ["export", str(path), "--output", str(place / "x.onnx")]


def _configs(engines: dict[str, Case], place: Path, value: str) -> Iterator[tuple[str, list[str]]]:
    (place / "evil.yaml").write_text(f"SEED: {value}\n")
    (place / "based.yaml").write_text("_BASE_: evil.yaml\nSEED: 3\n")
    for engine, case in engines.items():
        for name in ("evil.yaml", "based.yaml"):
            words = case.arguments(place / "out")
            words[words.index(DETECTORS[case.detector])] = str(place / name)
            yield f"train --config-file {name}, {engine}", words
        yield f"train KEY VALUE, {engine}", case.but(SEED=value).arguments(place / "out")


def _bomb(machine: Machine, references: References, case: Case, place: Path) -> Iterator[Outcome]:
    """A PNG of few bytes and many pixels, against the limit that a user sets."""
    path = place / "photos" / "bomb.png"
    path.parent.mkdir(exist_ok=True)
    side = 12000
    rows = zlib.compress(b"\0" * (side + 1) * side, 9)
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    trained, _ = references.of(case)
    words = ["predict", str(trained), str(path.parent), "--output", str(place / "bombed")]
    ended = machine.run([*words, "--device", "cpu", "--max-megapixels", "50"])
    good = ended.status == 2 and "bomb.png" in ended.error and not ended.traceback
    said = f"{ended.said()}: {ended.error or last_line(ended)}"
    size = path.stat().st_size // 1000
    yield Outcome(
        "malice", f"a PNG of {size} kB and {side * side // 10**6} megapixels", "predict", "",
        "exit 2, one line that names it", said, kept=good,
    )  # fmt: skip
