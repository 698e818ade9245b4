"""wend pseudo-boxes, classify, predict and auto: killed, given again, equal to the last byte."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kills import KINDS, References, last_line, moment, without_chance
from outcomes import Outcome
from running import Machine

SAME = "given again: every byte as uninterrupted"
# Files that say when or where something was made, or how long it took
NOT_COMPARED = (
    *("log.txt", "machine.json", "events.out.tfevents", "metrics.json"),
    *("cost.json", "pseudo_boxes.html"),
)


@dataclass(frozen=True)
class Command:
    """A command that takes long.

    Args:
        name: as the table calls it.
        words: its arguments, of the path of its output.
        again: words that the second call has besides.
    """

    name: str
    words: Callable[[Path], list[str]]
    again: tuple[str, ...] = ()


def commands(
    machine: Machine, references: References, cases: list, number: int, *, short: bool
) -> Iterator[Outcome]:
    """Kill each command at random moments and give it again."""
    every = list(_commands(machine, references, cases))
    for command in every[:1] if short else every:
        place = machine.work / "commands" / command.name.replace(" ", "-")
        output = place / "out"
        reference = place / "reference"
        words = command.words(output)
        whole = machine.run(words, folder=place)
        if whole.status != 0:
            said = f"{whole.said()}: {whole.error or last_line(whole)}"
            yield Outcome("command", "none", command.name, "", "works", said, kept=False)
            continue
        output.rename(reference)
        expected = _content(reference)
        times = 2 if short else number
        for index in range(times):
            kinds = [kind for kind in ("file", "data", "evaluate", "import", "step")
                     if moment(machine, kind, "rank0", whole)]  # fmt: skip
            weights = [KINDS[kind][0] for kind in kinds]
            kind = machine.random.choices(kinds, weights)[0]
            at = moment(machine, kind, "rank0", whole)
            assert at is not None
            signal = "SIGKILL" if index % 3 else "SIGTERM"
            at = {**at, "signal": signal, "whom": "group" if index % 2 else "self"}
            first = machine.run(words, folder=place, at=at)
            second = machine.run([*words, *command.again], folder=place)
            problems = []
            if first.left or second.left:
                problems.append(f"{first.left + second.left} processes left")
            if first.status is None or (first.traceback and signal == "SIGTERM"):
                problems.append(f"killed: {first.said()}")
            if second.status != 0:
                problems.append(f"again: {second.said()}: {second.error or last_line(second)}")
            problems += _differences(output, expected, place)
            when = f"{KINDS[kind][1]} ({without_chance(first.ended_at)})"
            yield Outcome(
                "command", f"{signal} of {at['whom']}", command.name, when, SAME,
                "; ".join(problems) or "the same", kept=not problems,
            )  # fmt: skip
            _clear(place)


def _clear(place: Path) -> None:
    for path in place.iterdir():
        if path.name != "reference":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _content(output: Path) -> dict[str, bytes]:
    if output.is_file():
        return {"": output.read_bytes()}
    files = [path for path in output.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in files
        if not path.name.startswith(NOT_COMPARED) and not _is_lock(path)
    }


def _is_lock(path: Path) -> bool:
    return path.name.startswith(".") and "lock" in path.name


def _differences(output: Path, expected: dict[str, bytes], place: Path) -> list[str]:
    if not output.exists():
        return ["no output"]
    own = _content(output)
    lost, new = sorted(expected.keys() - own.keys()), sorted(own.keys() - expected.keys())
    other = sorted(name for name in own.keys() & expected.keys() if own[name] != expected[name])
    beside = [p.name for p in place.iterdir() if p.name not in ("out", "reference")]
    new += [name for name in sorted(beside) if not _is_lock(Path(name))]
    return [
        f"{len(names)} {words} ({', '.join(names[:3])})"
        for words, names in (("missing", lost), ("left over", new), ("differ", other))
        if names
    ]


def _commands(machine: Machine, references: References, cases: list) -> Iterator[Command]:
    images = machine.datasets_root / "toy" / "CUB_200_2011" / "images"
    few = machine.work / "photos"
    for path in sorted(images.rglob("*.jpg"))[:20]:
        target = few / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    weights = _classifier(machine.work / "classifier.pth")
    yield Command(
        "pseudo-boxes border",
        lambda out: ["pseudo-boxes", "--method", "border", "--dataset", "toy_train",
                     "--output", str(out), "--num-workers", "0"],
    )  # fmt: skip
    if weights is not None:
        yield Command(
            "classify",
            lambda out: ["classify", "--dataset", "toy_test", "--output", str(out),
                         "--model", "timm:resnet18", "--weights", str(weights),
                         "--preprocessing", "canonical", "--resize-size", "48", "--crop-size", "48",
                         "--num-workers", "0", "--batch-size", "2", "--device", "cpu"],
        )  # fmt: skip
        yield Command(
            "pseudo-boxes ddt",
            lambda out: ["pseudo-boxes", "--method", "ddt", "--dataset", "toy_train",
                         "--output", str(out), "--num-workers", "2", "--backbone",
                         "timm:resnet18", "--weights", str(weights), "--input-size", "64",
                         "--batch-size", "4", "--device", "cpu"],
        )  # fmt: skip
    trained, _ = references.of(cases[0])
    yield Command(
        "predict",
        lambda out: ["predict", str(trained), str(few), "--output", str(out), "--batch-size", "2",
                     "--format", "coco,csv", "--device", "cpu"],
        again=("--overwrite",),
    )  # fmt: skip
    yield Command(
        "auto",
        lambda out: ["auto", str(few), "--output", str(out), "--backbone", "small",
                     "--engine", cases[0].engine, "--method", "border", *_pairs()],
    )  # fmt: skip


def _pairs() -> list[str]:
    return [
        *("WEND.SMALL_CNN.CHANNELS", "(16, 16, 32)", "WEND.RESIZE", "64", "WEND.CROP", "64"),
        *("SOLVER.IMS_PER_BATCH", "4", "SOLVER.MAX_ITER", "12", "MODEL.DEVICE", "cpu"),
    ]


def _classifier(path: Path) -> Path | None:
    """Weights of a classifier of the toy set's classes, random; None without timm."""
    try:
        import timm
    except ImportError:
        return None
    import torch

    torch.manual_seed(0)
    torch.save(timm.create_model("resnet18", num_classes=6).state_dict(), path)
    return path
