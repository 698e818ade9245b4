"""How many tensor operations a training step and a test batch take, and how many a further image.

    python projects/benchmark/cost/operations.py [NAME ...] [--beside CHECKOUT] [--growing]

An operation costs the host of a GPU about 10 microseconds, whatever its size, and a sync makes it
wait until the GPU is idle: a detector whose operations grow with the batch is bound by Python. The
counts need no GPU and do not depend on what else the machine does. ``--beside`` counts with the
package of another checkout, too; ``--growing`` names the operations that a further image adds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

HERE = Path(__file__).resolve().parent
DEFAULT = ("backbone", "SCR", "FCOS", "Faster R-CNN", "CLN", "Deformable DETR")
# operations whose result, or its size, the host has to know before it can go on
WAITING = (
    *("aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal"),
    *("aten::nonzero", "aten::masked_select", "aten::unique", "aten::_unique"),
    *("aten::bincount", "torchvision::nms"),
)
INDEXING = ("aten::index.Tensor", "aten::index_put", "aten::_index_put")
READING = (Tensor.tolist, Tensor.numpy, Tensor.cpu)  # that no operation shows on a CPU


class Counts(NamedTuple):
    """Of some work: operations, and those that the host waits for."""

    operations: int
    syncs: int


class Operations(TorchDispatchMode):
    """Counts the operations that are dispatched inside, those of the backward pass included.

    Attributes:
        names: how often each was.
        syncs: how often the host waits for a result: ``item``, ``nonzero``, a mask as an index,
            non-maximum suppression, and values that are taken to the host.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.syncs: Counter[str] = Counter()
        self._reads = _Reads(self.syncs)

    @property
    def counts(self) -> Counts:
        """All of them."""
        return Counts(self.names.total(), self.syncs.total())

    def __enter__(self) -> Operations:
        """Begin to count."""
        self._reads.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        """End."""
        super().__exit__(*error)
        self._reads.__exit__(*error)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Count one."""
        name = func.name()
        self.names[name] += 1
        if name.startswith(WAITING) or (name.startswith(INDEXING) and _waits_for_mask(*args)):
            self.syncs[name] += 1
        elif name == "aten::repeat_interleave.Tensor" and not (kwargs or {}).get("output_size"):
            self.syncs[name] += 1
        return func(*args, **(kwargs or {}))


def _waits_for_mask(
    values: Tensor, indices: Sequence[Tensor | None], put: Tensor | None = None, *_: Any
) -> bool:
    """Whether an index is a mask; a number that is put where one mask is true waits for nothing."""
    masks = [i for i in indices if i is not None and i.dtype in (torch.bool, torch.uint8)]
    return bool(masks) and not (put is not None and put.numel() == len(indices) == 1)


class _Reads(TorchFunctionMode):
    """Counts where values are taken to the host, which a CPU's tensors need no operation for."""

    def __init__(self, syncs: Counter[str]) -> None:
        super().__init__()
        self._syncs = syncs

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in READING:
            self._syncs[f"Tensor.{func.__name__}"] += 1
        return func(*args, **(kwargs or {}))


def operations_of(work: Callable[[], object]) -> Operations:
    """What some work dispatches, with the blocks of boxes that a GPU compares at once."""
    from wend.modeling.layers import box_selection

    of_cpu, box_selection.ON_CPU = box_selection.ON_CPU, box_selection.ON_GPU
    try:
        with Operations() as operations:
            work()
    finally:
        box_selection.ON_CPU = of_cpu
    return operations


@dataclass(frozen=True)
class Growth:
    """The operations of work on two batches.

    Attributes:
        small, large: the operations of each.
        images: images that the larger batch has more.
    """

    small: Operations
    large: Operations
    images: int

    @property
    def per_image(self) -> float:
        """Operations of a further image."""
        return (self.large.counts.operations - self.small.counts.operations) / self.images

    def growing(self) -> dict[str, float]:
        """Operation -> how many a further image adds, most first; of syncs, too."""
        more = {
            name: (count - self.small.names[name]) / self.images
            for name, count in self.large.names.items()
        } | {
            f"sync {name}": (count - self.small.syncs[name]) / self.images
            for name, count in self.large.syncs.items()
        }
        return {n: c for n, c in sorted(more.items(), key=lambda each: -each[1]) if c > 0}


def growth(work: Callable[[int], Callable[[], object]], small: int, large: int) -> Growth:
    """The operations of work on two sizes of a batch.

    Args:
        work: makes the work on so many images, which is done twice and counted the second time:
            what is made once, such as anchors, is no cost of a step.
    """
    counted = []
    for images in (small, large):
        do = work(images)
        do()
        counted.append(operations_of(do))
    return Growth(counted[0], counted[1], large - small)


def of_model(
    name: str, crop: int, batches: tuple[int, int], device: str
) -> dict[str, dict[str, Any]]:
    """The counts of a model of ``models.py`` in a step and in a test, as JSON can hold them."""
    from measure import How, setting
    from models import Sizes, build

    def step(images: int) -> Callable[[], object]:
        subject = build(name, Sizes(images, images, crop), device)
        subject.model.train()

        def do() -> None:
            with setting(How(device), train=True):
                sum(subject.model(*subject.train_inputs).values()).backward()

        return do

    def test(images: int) -> Callable[[], object]:
        subject = build(name, Sizes(images, images, crop), device)
        subject.model.eval()

        def do() -> None:
            with setting(How(device), train=False):
                subject.model(*subject.test_inputs)

        return do

    return {
        kind: _as_json(growth(work, *batches)) for kind, work in (("step", step), ("test", test))
    }


def _as_json(grown: Growth) -> dict[str, Any]:
    return {
        "operations": grown.small.counts.operations,
        "per_image": grown.per_image,
        "syncs": [grown.small.counts.syncs, grown.large.counts.syncs],
        "growing": grown.growing(),
    }


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("names", nargs="*", default=list(DEFAULT), help="parts of names of models.py")
    add("--beside", type=Path, help="another checkout, whose package is counted beside this one's")
    add("--root", type=Path, default=HERE.parents[2], help="the checkout whose package is counted")
    add("--crop", type=int, default=96)
    add("--batches", type=int, nargs=2, default=(4, 16), metavar=("SMALL", "LARGE"))
    add("--device", default="cpu")
    add("--growing", action="store_true", help="name what a further image adds")
    add("--json", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def counted_here(args: argparse.Namespace) -> dict[str, Any]:
    """Name -> counts of each model, or why it cannot be built."""
    from models import MODELS, MissingModelError

    warnings.filterwarnings("ignore")
    names = [n for n in MODELS if any(p in n for p in args.names) and not n.endswith("frozen")]
    counts: dict[str, Any] = {}
    for name in names:
        sys.stderr.write(f"{name}\n")
        try:
            counts[name] = of_model(name, args.crop, tuple(args.batches), args.device)
        except MissingModelError as error:
            counts[name] = str(error)
    return counts


def counted_in(root: Path, args: argparse.Namespace) -> dict[str, Any]:
    """:func:`counted_here` with the package of a checkout, in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, *args.names, "--json"]
    command += ["--crop", str(args.crop), "--batches", *map(str, args.batches)]
    command += ["--device", args.device, "--root", str(root)]
    environment = {**os.environ, "PYTHONPATH": str(root.resolve())}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def table(counts: Mapping[str, Any], batches: tuple[int, int], title: str) -> str:
    """A table of models, and what could not be counted."""
    syncs = f"syncs, batch {batches[0]} / {batches[1]}"
    text = f"{title}\n\n| model | step, batch {batches[0]} | a further image | {syncs} "
    text += f"| test, batch {batches[0]} | a further image | {syncs} |\n"
    text += "|---|---|---|---|---|---|---|\n"
    for name, each in counts.items():
        if isinstance(each, str):
            text += f"| {name} | missing: {each} | | | | | |\n"
            continue
        text += f"| {name} |"
        for kind in (each["step"], each["test"]):
            small, large = kind["syncs"]
            text += f" {kind['operations']} | {kind['per_image']:.1f} | {small} / {large} |"
        text += "\n"
    return text


def main() -> None:
    """Count and print."""
    args = options()
    if args.json:
        sys.path[:0] = [str(args.root.resolve()), str(HERE)]
        sys.stdout.write(json.dumps(counted_here(args)))
        return
    for root in (args.beside, args.root):
        if root is None:
            continue
        counts = counted_in(root, args)
        title = f"Operations, {described(root)}"
        sys.stdout.write(table(counts, tuple(args.batches), title) + "\n")
        for name, each in counts.items() if args.growing else ():
            for kind, of in each.items() if isinstance(each, dict) else ():
                grown = ", ".join(f"{n} {c:.1f}" for n, c in of["growing"].items())
                sys.stdout.write(f"{name}, {kind}: {grown or 'nothing grows'}\n")
        sys.stdout.flush()


def described(root: Path) -> str:
    """The commit of a checkout."""
    git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return f"commit {done.stdout.strip() or '?'}"


if __name__ == "__main__":
    main()
