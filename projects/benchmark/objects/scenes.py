"""Images with no object, one and several, made of photographs whose boxes are known.

    python projects/benchmark/objects/scenes.py OUT --dataset cub_train --voc annots --photos images

Kinds, each a folder below ``OUT/images``; ``OUT/truth.json`` (COCO) has their boxes, and
``OUT/scenes.yaml`` declares both as a data set:

one         the photographs of the data set, as they are
background  a window of a photograph beside its object
sky         the smoothest of many small windows beside an object, enlarged: next to no texture
texture     a small window beside an object and its reflections, side by side
near        a window as large as ``background``'s of the same photograph, around the object
shrunk      the photograph reduced to as many pixels as ``background`` has, so as blurred
mosaic      two to four objects with some of their surroundings, side by side
several     photographs of any number of objects (``--voc``), the first by name

``near`` and ``shrunk`` are controls: what tells them from ``background`` is not blur or scale.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np
from PIL import Image

from wend.datasets.catalog import DataSets
from wend.errors import BadImageError
from wend.formats.voc import find_voc, read_voc
from wend.images.reading import read_image
from wend.structures.data_set import DataSet

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels
Scene = tuple[str, Image.Image, list[Box]]  # kind, pixels, true boxes
logger = logging.getLogger(__name__)
CELL = 224  # pixels of a mosaic's cells
DECLARED = """\
name: scenes
format: coco
images: ./images
annotations: ./truth.json
classes: none
"""
LEAST = 48  # pixels of the shorter side of a window
SMALL = 32  # of the window of a texture or a sky
WINDOWS = 20  # drawn per photograph, for the smoothest


def beside(box: Box, size: tuple[int, int]) -> Box | None:
    """The largest window, at most twice as long as wide, that does not touch a box."""
    (x0, y0, x1, y1), (width, height) = box, size
    strips = ((0, 0, x0, height), (x1, 0, width, height), (0, 0, width, y0), (0, y1, width, height))
    windows = []
    for left, top, right, bottom in strips:
        across, down = right - left, bottom - top
        if min(across, down) >= LEAST:
            wide, high = min(across, 2 * down), min(down, 2 * across)
            x, y = left + (across - wide) // 2, top + (down - high) // 2
            windows.append((x, y, x + wide, y + high))
    return max(windows, key=lambda w: (w[2] - w[0]) * (w[3] - w[1]), default=None)


def around(
    box: Box, window: tuple[int, int], size: tuple[int, int], draw: np.random.Generator
) -> Box | None:
    """A window of a size, at a place drawn by chance, that holds all of a box; None if none can."""
    if box[2] - box[0] > window[0] or box[3] - box[1] > window[1]:
        return None
    corner = [
        int(draw.integers(max(0, box[i + 2] - window[i]), min(box[i], size[i] - window[i]) + 1))
        for i in (0, 1)
    ]
    return (*corner, corner[0] + window[0], corner[1] + window[1])


def smooth(image: Image.Image, window: Box, draw: np.random.Generator) -> tuple[float, Image.Image]:
    """The smoothest of :data:`WINDOWS` small windows of a window, and its standard deviation."""
    drawn = []
    for _ in range(WINDOWS):
        x, y = (int(draw.integers(window[i], window[i + 2] - SMALL + 1)) for i in (0, 1))
        part = image.crop((x, y, x + SMALL, y + SMALL))
        drawn.append((float(np.asarray(part).std((0, 1)).mean()), part))
    return min(drawn, key=lambda pair: pair[0])


def reflected(part: Image.Image, times: int = 7) -> Image.Image:
    """An image and its reflections, side by side."""
    pixels = np.asarray(part)
    wide = np.concatenate([pixels[:, :: (-1) ** i] for i in range(times)], 1)
    return Image.fromarray(np.concatenate([wide[:: (-1) ** i] for i in range(times)]))


def mosaic(parts: list[tuple[Image.Image, Box | None]]) -> Scene:
    """Two images side by side, or four in a square, and the boxes of the objects in them."""
    columns = 2
    rows = len(parts) // columns
    whole, boxes = Image.new("RGB", (CELL * columns, CELL * rows)), []
    for number, (part, box) in enumerate(parts):
        y, x = divmod(number, columns)
        whole.paste(part.resize((CELL, CELL), Image.Resampling.BICUBIC), (x * CELL, y * CELL))
        if box is not None:
            scale = (CELL / part.width, CELL / part.height) * 2
            shift = (x * CELL, y * CELL) * 2
            boxes.append(tuple(round(v * s + d) for v, s, d in zip(box, scale, shift, strict=True)))
    return "mosaic", whole, boxes


def surroundings(image: Image.Image, box: Box, share: float = 0.3) -> tuple[Image.Image, Box]:
    """An object with a margin of a share of its sides where the photograph has it, and its box."""
    margin = (round(share * (box[2] - box[0])), round(share * (box[3] - box[1])))
    window = (
        *(max(0, box[i] - margin[i]) for i in (0, 1)),
        *(min(image.size[i], box[i + 2] + margin[i]) for i in (0, 1)),
    )
    return image.crop(window), tuple(v - window[i % 2] for i, v in enumerate(box))


def scenes(data_set: DataSet, ones: int, number: int, seed: int) -> Iterator[Scene]:
    """The scenes of a data set: at most ``ones`` of its images, ``number`` of each other kind."""
    draw = np.random.default_rng(seed)
    grounds, objects, skies = [], [], []
    for count, index in enumerate(draw.permutation(len(data_set)).tolist()):
        if count >= ones and len(grounds) == number:
            break
        image = read_image(data_set.file_names[index], data_set.exif)
        boxes = [tuple(round(v) for v in row) for row in data_set.truth[index].tolist()]
        if count < ones:
            yield "one", image, boxes
        if len(boxes) != 1:
            continue
        objects.append(surroundings(image, boxes[0]))
        window = beside(boxes[0], image.size)
        if window is None or len(grounds) == number:
            continue
        grounds.append(image.crop(window))
        yield "background", grounds[-1], []
        skies.append(smooth(image, window, draw))
        x, y = (int(draw.integers(window[i], window[i + 2] - SMALL + 1)) for i in (0, 1))
        yield "texture", reflected(image.crop((x, y, x + SMALL, y + SMALL))), []
        size = window[2] - window[0], window[3] - window[1]
        scale = (size[0] * size[1] / (image.width * image.height)) ** 0.5
        small = tuple(max(1, round(side * scale)) for side in image.size)
        pixels = image.resize(small, Image.Resampling.BICUBIC)
        yield "shrunk", pixels, [tuple(round(v * scale) for v in boxes[0])]
        if held := around(boxes[0], size, image.size, draw):
            part = tuple(v - held[i % 2] for i, v in enumerate(boxes[0]))
            yield "near", image.crop(held), [part]
    for _, part in sorted(skies, key=lambda pair: pair[0])[: number // 2]:
        yield "sky", part, []
    for i in range(number):
        kinds = 2 + i % 3
        parts = [objects[j] for j in draw.choice(len(objects), kinds, replace=False).tolist()]
        ground = grounds[int(draw.integers(len(grounds)))]
        yield mosaic([*parts, (ground, None)] if kinds == 3 else parts)


def photographs(annotations: Path, photos: Path) -> Iterator[Scene]:
    """The photographs of a folder that VOC's XML files name the objects of."""
    for stem, path in sorted(find_voc(annotations).items()):
        boxes = [tuple(round(v) for v in row) for row in read_voc(path).boxes.tolist()]
        try:
            image = read_image(next(photos.glob(f"{stem}.*")), "ignore")
        except BadImageError as error:
            logger.warning("left out: %s", error)
            continue
        yield "several", image, boxes


def write(folder: Path, made: Iterator[Scene]) -> None:
    """Write scenes as images and one COCO JSON, which is written last."""
    images, annotations = [], []
    counts: dict[str, int] = {}
    for kind, image, boxes in made:
        counts[kind] = number = counts.get(kind, -1) + 1
        file_name = f"{kind}/{number:04}.png"
        path = folder / "images" / file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
        identity = len(images) + 1
        shape = {"width": image.width, "height": image.height}
        images.append({"id": identity, "file_name": file_name, **shape})
        for x0, y0, x1, y1 in boxes:
            box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0}
            name = {"id": len(annotations) + 1, "image_id": identity, "category_id": 1}
            annotations.append({**name, **box})
    truth = {"images": images, "annotations": annotations}
    truth["categories"] = [{"id": 1, "name": "object"}]
    (folder / "scenes.yaml").write_text(DECLARED)
    (folder / "truth.json").write_text(json.dumps(truth))
    logger.info(", ".join(f"{kind} {number + 1}" for kind, number in counts.items()))


def main() -> None:
    """Make the images that the arguments say."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--dataset", default="cub_train")
    parser.add_argument("--one", type=int, default=300, help="of the kind one")
    parser.add_argument("--number", type=int, default=150, help="of each other kind, at most")
    parser.add_argument("--voc", type=Path, help="folder of VOC's XML files")
    parser.add_argument("--photos", type=Path, help="folder of their images")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    made = scenes(DataSets().get(args.dataset), args.one, args.number, args.seed)
    if args.voc:
        made = chain(made, islice(photographs(args.voc, args.photos), args.number))
    write(args.output, made)


if __name__ == "__main__":
    main()
