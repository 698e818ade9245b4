"""Time and memory of ``wend evaluate``, from files to the table, at ImageNet's size.

    python projects/benchmark/evaluation/file_to_table.py --metadata METADATA/ILSVRC/test

Truth is real; detections are true boxes with noise, written once as Parquet and as JSON to
``--folder``. The command runs in a process of its own on one core, with intervals and all its
output files. Processor time is what counts where others use the machine; ``--checkout`` runs
another checkout's command on the same files, under the same load, and prints the ratio.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from lists import jittered, read_truth  # noqa: E402

from wend.evaluation.detections import write_detections as write_table  # noqa: E402

GOALS = {"parquet": (3.0, 1.0), "json": (10.0, None)}  # seconds of a core, GiB


@dataclass(frozen=True)
class Measured:
    """What a run of the command took."""

    user: float
    system: float
    wall: float
    gib: float

    @property
    def core(self) -> float:
        """Seconds of a core."""
        return self.user + self.system


def write_detections(folder: Path, metadata: str, num_boxes: int, kinds: list[str]) -> list[Path]:
    """Made-up detections of all images of a metadata folder, in files that may be there already."""
    paths = [folder / f"detections_{num_boxes}.{kind}" for kind in kinds]
    absent = [path for path in paths if not path.is_file()]
    if absent:
        folder.mkdir(parents=True, exist_ok=True)
        data_set = read_truth(metadata)
        detections = jittered(data_set, num_boxes, sigma=0.15, seed=0)
        for path in absent:
            write_table(path, data_set, detections)
    return paths


def evaluate(checkout: Path, path: Path, args: argparse.Namespace) -> Measured:
    """Run the command of a checkout on one core."""
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", "wend", "evaluate", "--ground-truth", args.metadata]
        command += ["--detections", str(path), "--output", output, "--protocol", *args.protocol]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=output,
            env=environment,
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, {args.core}),
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"{checkout}: wend evaluate failed")
    return Measured(used.ru_utime, used.ru_stime, wall, used.ru_maxrss / 2**20)


def least(checkout: Path, path: Path, args: argparse.Namespace) -> Measured:
    """The run of ``--repeat`` that took the least of a core."""
    return min((evaluate(checkout, path, args) for _ in range(args.repeat)), key=lambda m: m.core)


def line(name: str, path: Path, run: Measured) -> str:
    """A row of the table."""
    seconds, gib = GOALS[path.suffix[1:]]
    goal = f"{seconds:g} s" + ("" if gib is None else f", {gib:g} GiB")
    return (
        f"| {name} | {path.suffix[1:]}, {path.stat().st_size / 1e6:.0f} MB | {run.core:.2f} | "
        f"{run.user:.2f} | {run.system:.2f} | {run.wall:.1f} | {run.gib:.2f} | {goal} |\n"
    )


def commit_of(checkout: Path) -> str:
    """The commit of a checkout, with ``-dirty`` where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Write, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--metadata", required=True, help="a wsolevaluation metadata folder")
    parser.add_argument("--boxes", type=int, default=100, help="boxes per image")
    parser.add_argument("--format", nargs="+", choices=list(GOALS), default=list(GOALS))
    parser.add_argument("--protocol", nargs="+", default=["psol-crop224", "original"])
    parser.add_argument("--folder", type=Path, help="where the detections stay (default: nowhere)")
    parser.add_argument("--checkout", type=Path, help="another checkout, for the ratio")
    parser.add_argument("--repeat", type=int, default=3, help="the least of so many runs")
    parser.add_argument("--core", type=int, default=0, help="the core that they run on")
    args = parser.parse_args()
    args.metadata = str(Path(args.metadata).resolve())
    out = sys.stdout.write
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)).resolve()
        paths = write_detections(folder, args.metadata, args.boxes, args.format)
        out(f"{len(args.protocol)} protocols; the least of {args.repeat} runs, in seconds\n\n")
        out("| commit | detections | user + system | user | system | wall | peak, GiB | goal |\n")
        out("|---|---|---|---|---|---|---|---|\n")
        ratios = []
        for path in paths:
            ours = least(ROOT, path, args)
            out(line(commit_of(ROOT), path, ours))
            if args.checkout:
                theirs = least(args.checkout.resolve(), path, args)
                out(line(commit_of(args.checkout), path, theirs))
                ratios.append(
                    f"{path.suffix[1:]}: {theirs.core / ours.core:.2f} times faster, "
                    f"{theirs.gib / ours.gib:.2f} times less memory"
                )
    out("\n" + "".join(f"{ratio}\n" for ratio in ratios))
    out(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end; "
        f"Python {platform.python_version()}, NumPy {np.__version__}\n"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    out(f"peak of this script, which makes the detections up: {peak:.2f} GiB\n")


if __name__ == "__main__":
    main()
