"""Time to the first step, the first evaluated image, the first prediction: two checkouts.

    OMP_NUM_THREADS=1 python projects/benchmark/startup/run.py --before ../other-checkout

Each case is a command on the toy set, in a process of its own, by turns on either checkout. What
counts is the processor time of all its processes, of which the fewest seconds are kept: a busy
machine changes that little; and the time on the clock, which is worth something on a quiet one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MILESTONES = Path(__file__).resolve().parent / "milestones"
ENGINES = ("detectron2", "torchvision")
SHORT = "SOLVER.MAX_ITER 4 SOLVER.WARMUP_ITERS 2 WEND.EPOCHS 0 SOLVER.CHECKPOINT_PERIOD 2".split()


@dataclass(frozen=True)
class Case:
    """A command, and where it ends.

    Attributes:
        name: with its engine.
        words: of the command; {run} is a training that was finished before, {out} a new folder.
        milestone: of ``milestones/sitecustomize.py``; empty where the whole command counts.
    """

    name: str
    words: Sequence[str]
    milestone: str = ""


def cases(photo: Path, photos: Path) -> list[Case]:
    """All cases; a training starts ``train_net.py`` as Detectron2's users do."""
    train = ["train_net.py", "--config-file", "demo", "--overwrite", "OUTPUT_DIR", "{out}"]
    boxes = ["wend", "pseudo-boxes", "--images", str(photos), "--output", "{out}"]
    ddt = ["--backbone", "timm:tf_efficientnet_lite0", "--weights", "pretrained"]
    weights = ["MODEL.WEIGHTS", "{run}/model_final.pth"]
    made = [Case("wend --help", ["wend", "--help"])]
    for engine in ENGINES:
        chosen = [train[0], "--engine", engine, *train[1:]]
        resumed = [train[0], "--engine", engine, "--config-file", "demo", "--resume"]
        made += [
            Case(f"first step, {engine}", chosen, "step"),
            Case(
                f"first step of a resumed run, {engine}",
                [*resumed, "--allow-changes", "OUTPUT_DIR", "{copy}", *SHORT, *SHORT[:1], "8"],
                "step",
            ),
            Case(
                f"first step of two processes, {engine}",
                [train[0], "--engine", engine, "--num-gpus", "2", *train[1:]],
                "step",
            ),
            Case(
                f"first evaluated images, {engine}",
                [train[0], "--eval-only", *weights, "OUTPUT_DIR", "{out}"],
                "forward",
            ),
            Case(
                f"wend predict of a photo, {engine}",
                ["wend", "predict", "{run}", str(photo), "--output", "{out}"],
            ),
        ]
    evaluation = ["--detections", "{run}/inference/toy_test_c2am/detections.json"]
    return [
        *made,
        Case(
            "wend evaluate",
            ["wend", "evaluate", "--ground-truth", "toy_test", *evaluation, "--output", "{out}"],
        ),
        Case("wend pseudo-boxes, border", [*boxes, "--method", "border", "--num-workers", "0"]),
        Case(
            "wend pseudo-boxes, ddt",
            [*boxes, "--method", "ddt", "--num-workers", "0", "--input-size", "64", *ddt],
        ),
    ]


class Checkout:
    """A checkout of WEND, with the runs that it made for the cases.

    Args:
        root: the checkout.
        work: a folder for its files.
        data: the toy set's root.
    """

    def __init__(self, root: Path, work: Path, data: Path) -> None:
        self.root, self.work = work / "checkout", work
        for part in ("wend", "projects/WEND", "configs", "datasets"):  # gets bytecode, as installed
            if (root / part).exists():
                shutil.copytree(root / part, self.root / part)
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(MILESTONES), str(self.root)]),
            "DETECTRON2_DATASETS": str(data),
            "PYTHONWARNINGS": "ignore",
            "PYTHONDONTWRITEBYTECODE": "",
        }
        self.number = 0

    def prepare(self) -> None:
        """Train for four steps on each engine."""
        for engine in ENGINES:
            run = self.work / engine
            words = ["train_net.py", "--engine", engine, "--config-file", "demo"]
            self.run(Case("preparation", [*words, "OUTPUT_DIR", str(run), *SHORT]))

    def run(self, case: Case, options: Sequence[str] = ()) -> tuple[float, float]:
        """Processor time and time on the clock, in seconds."""
        self.number += 1
        engine = next((each for each in ENGINES if each in case.name), ENGINES[-1])
        out, copy = self.work / f"out{self.number}", self.work / f"copy{self.number}"
        if "{copy}" in case.words:
            shutil.copytree(self.work / engine, copy, ignore=shutil.ignore_patterns("model_final*"))
            (copy / "last_checkpoint").write_text("model_0000001.pth")
        words = [word.format(run=self.work / engine, out=out, copy=copy) for word in case.words]
        script = {"train_net.py": [str(self.root / "projects/WEND/train_net.py")]}
        command = [sys.executable, *options, *script.get(words[0], ["-m", "wend"]), *words[1:]]
        environment = {**self.environment, "STARTUP_MILESTONE": case.milestone}
        log = self.work / "log.txt"
        with log.open("w") as file:
            start = time.perf_counter()
            process = subprocess.Popen(
                command, env=environment, stdout=file, stderr=file, cwd=self.work
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{case.name}: {' '.join(command)}\n{log.read_text()[-3000:]}")
        for folder in (out, copy):
            shutil.rmtree(folder, ignore_errors=True)
        return usage.ru_utime + usage.ru_stime, seconds

    def imports(self, case: Case) -> Counter[str]:
        """Seconds that each library's own modules take to import (``python -X importtime``)."""
        self.run(case, ["-X", "importtime"])
        seconds: Counter[str] = Counter()
        for line in (self.work / "log.txt").read_text(errors="replace").splitlines():
            if line.startswith("import time:") and "cumulative" not in line:
                own, _, name = line.removeprefix("import time:").split("|")
                seconds[name.strip().partition(".")[0]] += int(own) / 1e6
        return seconds


def commit(root: Path) -> str:
    """The commit of a checkout."""
    git = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True).stdout.strip() or "?"


def table(seconds: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> list[str]:
    """Lines of a Markdown table: the least seconds of each case on both checkouts."""
    lines = [
        "| | processor time before, s | now, s | ratio | on the clock before, s | now, s |",
        "|---|---|---|---|---|---|",
    ]
    for name, measured in seconds.items():
        (before, clock_before), (now, clock_now) = (
            map(min, zip(*measured[key], strict=True)) for key in ("before", "now")
        )
        lines.append(
            f"| {name} | {before:.2f} | {now:.2f} | {now / before:.2f} "
            f"| {clock_before:.2f} | {clock_now:.2f} |"
        )
    return lines


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="another checkout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name has this text")
    parser.add_argument("--output", type=Path, help="gets all seconds as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wend-startup-") as folder:
        data = Path(folder) / "data"
        toy = [sys.executable, "-m", "wend", "toy", str(data / "toy")]
        subprocess.run(
            toy, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True
        )
        photos = Path(folder) / "photos"
        photos.mkdir()
        images = sorted((data / "toy").rglob("*.jpg"))[:3]
        for image in images:
            shutil.copy(image, photos)
        chosen = [c for c in cases(photos / images[0].name, photos) if args.only in c.name]
        checkouts = {
            "before": Checkout(args.before, Path(folder) / "before", data),
            "now": Checkout(ROOT, Path(folder) / "now", data),
        }
        for checkout in checkouts.values():
            checkout.prepare()
        seconds: dict[str, dict[str, list[tuple[float, float]]]] = {}
        for turn in range(args.rounds):
            for case in chosen:
                for name, checkout in checkouts.items():
                    measured = seconds.setdefault(case.name, {}).setdefault(name, [])
                    measured.append(checkout.run(case))
            if args.output:
                args.output.write_text(json.dumps(seconds, indent=1))
            sys.stderr.write(f"round {turn + 1} of {args.rounds}\n")
        lines = [
            f"{os.cpu_count()} CPU cores, Python {sys.version.split()[0]}, least of {args.rounds} "
            f"rounds; before: {commit(args.before)}, now: {commit(ROOT)}\n",
            *table(seconds),
        ]
        for case in chosen:
            if case.name.startswith("first step, "):
                both = [checkout.imports(case) for checkout in checkouts.values()]
                lines += [f"\nImports until the {case.name}, s: before, now"]
                lines += [
                    f"| {library} | {both[0][library]:.2f} | {both[1][library]:.2f} |"
                    for library, _ in (both[0] | both[1]).most_common(14)
                ]
        sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
