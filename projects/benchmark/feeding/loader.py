"""Training examples: what each part costs, of files and from the cache, and what travelling costs.

Rates are of one core. "Workers" are the loader's processes: their processor time and that of the
training's own process are added up, starting them is left out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from timing import cores, seconds_each, table
from torch import Tensor
from torch.utils.data import DataLoader

from wend.loading.bad_images import GuardedImages
from wend.loading.crop import CropMapper
from wend.loading.image_cache import ImageCache
from wend.loading.order import InOrder, Shuffled
from wend.loading.packed_batch import PackedBatch
from wend.loading.selection import Selection
from wend.randomness import seed_sample
from wend.tv.dataset import CroppedImages

RESIZE, CROP = 256, 224


def examples(images: Selection, caches: Sequence[ImageCache], decoder: str, batch: int) -> InOrder:
    """What the engines' loaders read: examples in the order of a training."""
    mapper = CropMapper(RESIZE, CROP, train=True, caches=caches, decoder=decoder)
    guarded = GuardedImages(CroppedImages(images, mapper))
    return InOrder(guarded, Shuffled(len(images)), seed=1, batch=batch)


def per_core(
    images: Selection, ways: dict[str, tuple[Sequence[ImageCache], str]], batch: int, rounds: int
) -> str:
    """Examples per second of one core, in the training's own process."""
    iterators = {name: iter(examples(images, *how, batch)) for name, how in ways.items()}

    def take(name: str) -> Callable[[int], object]:
        return lambda _: next(iterators[name])

    numbers = list(range(batch * max(1, len(images) // batch)))
    times = seconds_each({name: take(name) for name in ways}, numbers, rounds)
    rows = [[name, f"{1e6 * t:.0f}", f"{1 / t:,.0f}", *cores(t)] for name, t in times.items()]
    return table(("example", "us", "images/s", "cores for 4,000/s", "for 1,500/s"), rows)


def parts(images: Selection, cache: ImageCache, rounds: int) -> str:
    """Microseconds of what an example from the cache is made of."""
    mapper = CropMapper(RESIZE, CROP, train=True, caches=(cache,))
    record, boxes, _ = images[0]
    frame = mapper.draw_frame(record.width, record.height)
    square, _ = cache.resized(record.file_name)
    pixels = mapper._shown(square, frame, mapper.view.part(record.width, record.height))
    in_frame = frame.to_frame(boxes)
    ways: dict[str, Callable[[int], object]] = {
        "seeding the three generators": lambda i: seed_sample(1, i),
        "row of the data sets": lambda i: images[i % len(images)],
        "row of the cache: name, stat, state": lambda i: cache.resized(record.file_name),
        "of it: stat": lambda i: os.stat(record.file_name),
        "drawing the crop": lambda i: mapper.draw_frame(record.width, record.height),
        "boxes to the crop, clipped": lambda i: frame.clip(frame.to_frame(boxes)),
        "of it: clipped": lambda i: frame.clip(in_frame),
        "copying the crop, mirrored, by colours": lambda i: np.array(
            pixels[:, ::-1].transpose(2, 0, 1), order="C"
        ),
    }
    times = seconds_each(ways, list(range(2000)), rounds)
    return table(("part", "us"), ([name, f"{1e6 * t:.1f}"] for name, t in times.items()))


def _cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def batches(
    images: Selection,
    cache: ImageCache,
    batch: int,
    workers: int,
    collate: Callable[[list[Any]], Any] = PackedBatch,
) -> DataLoader:
    """The loader of a training from the cache."""
    return DataLoader(
        examples(images, (cache,), "pillow", batch),
        batch_size=batch,
        num_workers=workers,
        collate_fn=collate,
    )


def travelling(images: Selection, cache: ImageCache, batch: int, rounds: int) -> str:
    """Processor time of all processes per image, of lists and of packed batches."""
    rows = []
    for name, collate in (("a tensor for each image", list), ("PackedBatch", PackedBatch)):
        for workers in (0, 1, 2):
            processor = []
            for _ in range(rounds):
                loader = batches(images, cache, batch, workers, collate)
                few, many = (_spent(loader, number) for number in (4, 44))
                processor.append((many - few) / (40 * batch))
            spent = min(processor)
            rows.append([name, workers, f"{1e6 * spent:.0f}", f"{1 / spent:,.0f}"])
    head = ("batch", "workers", "us of processor time per image", "images/s of a core")
    return table(head, rows)


def _spent(loader: DataLoader, number: int) -> float:
    """Processor time of so many batches, that of starting the workers included."""
    before = _cpu_seconds()
    there = iter(loader)
    for batch in islice(there, number):
        list(batch)  # as the training does
    del there  # ends the workers
    return _cpu_seconds() - before


def cut(squares: Tensor, lefts: Tensor, tops: Tensor, flips: Tensor) -> Tensor:
    """Crops (N, CROP, CROP, 3) of squares (N, RESIZE, RESIZE, 3) by one gather, some mirrored.

    Args:
        lefts, tops: (N,) int64 corners; flips: (N,) bool; on the squares' device.
    """
    along = torch.arange(CROP, device=squares.device)
    rows = tops[:, None] + along
    columns = lefts[:, None] + torch.where(flips[:, None], CROP - 1 - along, along)
    images = torch.arange(len(squares), device=squares.device)[:, None, None]
    return squares[images, rows[:, :, None], columns[:, None, :]]


def on_device(batch: int, rounds: int, device: str) -> str:
    """Crops cut one by one and stacked on the host, against whole squares cut on the device."""
    generator = np.random.default_rng(0)
    squares = generator.integers(0, 256, (batch, RESIZE, RESIZE, 3), dtype=np.uint8)
    corners = generator.integers(0, RESIZE - CROP + 1, (2, batch))
    flips = generator.integers(0, 2, batch).astype(bool)
    lefts, tops = corners.tolist()
    moved = [torch.from_numpy(each).to(device) for each in (*corners, flips)]
    there = torch.from_numpy(squares).to(device)
    pinned = device != "cpu"

    def on_host(_: int) -> Tensor:
        crops = []
        for square, left, top, flip in zip(squares, lefts, tops, flips, strict=True):
            crop = square[top : top + CROP, left : left + CROP]
            crop = crop[:, ::-1] if flip else crop
            crops.append(torch.from_numpy(np.array(crop.transpose(2, 0, 1), order="C")))
        return torch.stack(crops)

    def whole(_: int) -> Tensor:
        return torch.stack([torch.from_numpy(square) for square in squares])

    assert torch.equal(on_host(0), cut(there, *moved).permute(0, 3, 1, 2).cpu())
    ways: dict[str, Callable[[int], object]] = {
        "host: crop, flip, stack": on_host,
        "host: stack whole squares": whole,
    }
    times = seconds_each(ways, [0] * 8, rounds)
    times["device: one gather"] = _device_seconds(lambda: cut(there, *moved), device, rounds)
    copies = {name: make(0) for name, make in ways.items()}
    for name, host in copies.items():
        host = host.pin_memory() if pinned else host
        megabytes = host.nbytes / 1e6
        seconds = _device_seconds(lambda host=host: host.to(device, copy=True), device, rounds)
        times[f"copy to the device, {megabytes:.0f} MB ({name.split(': ')[1]})"] = seconds
    rows = ([name, f"{1e6 * seconds / batch:.1f}"] for name, seconds in times.items())
    return table((f"batch of {batch}, device {device}", "us per image"), rows)


def _device_seconds(work: Callable[[], object], device: str, rounds: int) -> float:
    best = float("inf")
    for _ in range(3 * rounds):
        if device != "cpu":
            torch.cuda.synchronize()
        clock = time.process_time if device == "cpu" else time.perf_counter
        start = clock()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, clock() - start)
    return best
