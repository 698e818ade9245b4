"""A generated data set in the layouts of CUB-200-2011 (images, truth) and C2AM (pseudo boxes).

Small birds of fine-grained species (one body; hue and mark differ) before textured scenery. A
chosen share of the pseudo boxes is wrong in the ways of class activation maps. What an image shows
depends on the seed, its split and its number alone; noise shares never change the pictures.
"""

from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from tqdm import tqdm

from wend.errors import InputError
from wend.files import read_json, whole_folder, write_json

MARKS = ("Plain", "Ringed", "Striped", "Spotted", "Capped")
HUES = {"Crimson": 0, "Amber": 16, "Violet": 145, "Azure": 106, "Golden": 26, "Rose": 165}  # of 180
SPECIES = [f"{mark}_{hue}_Wren" for hue in HUES for mark in MARKS]
BOXES_PER_FILE = 64
FORMAT = 1  # raise it when an equal config draws other content, so that old folders are refused
FAULTS = ("part", "shift", "wrong_place", "merge")
_RANGES: dict[str, tuple[float, float]]
_RANGES = {"num_train": (1, 10**6), "num_test": (1, 10**6), "num_classes": (1, len(SPECIES))}
_RANGES |= {"max_objects": (1, 3), "jitter": (0, 0.1), "seed": (0, 2**63 - 1)}
_RANGES |= dict.fromkeys((*FAULTS, "part + shift + wrong_place + merge"), (0, 1))
_RANGES |= {"least of image_size": (48, 1024), "span of image_size": (0, 976)}

Boxes = list[np.ndarray]  # each (x, y, w, h) in pixels
Colour = tuple[float, ...]  # BGR, 0 to 255


@dataclass(frozen=True)
class ToyConfig:
    """The settings of the generator; equal configs give equal folders.

    `part`, `shift`, `wrong_place` and `merge` are the probabilities that an image's pseudo box is
    disturbed so: each in [0, 1], at most 1 in sum. The others are right up to `jitter`.

    Attributes:
        num_train: training images, at least 1.
        num_test: test images, at least 1.
        num_classes: species, 1 to 30; they take turns, so that each split is balanced.
        image_size: least and greatest image side in pixels; least from 48 to 1024, span up to 976.
        max_objects: most birds in an image, 1 to 3; with 3, about a quarter holds several.
        part: box on a part of the bird.
        shift: box moved by 0.3 to 0.65 of the bird's width and height.
        wrong_place: box on the scenery.
        merge: box around all the birds or, where there is one, around it and much scenery.
        jitter: greatest error of each side of a right box in bird sizes, 0 to 0.1.
        seed: at least 0.
    """

    num_train: int = 2000
    num_test: int = 300
    num_classes: int = 10
    image_size: tuple[int, int] = (72, 120)
    max_objects: int = 3
    part: float = 0.15
    shift: float = 0.12
    wrong_place: float = 0.08
    merge: float = 0.13
    jitter: float = 0.06
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_size", tuple(self.image_size))
        low, high = self.image_size
        values = asdict(self) | {"least of image_size": low, "span of image_size": high - low}
        values[" + ".join(FAULTS)] = round(sum(values[name] for name in FAULTS), 9)
        for name, (least, greatest) in _RANGES.items():
            if not least <= values[name] <= greatest:
                raise InputError(f"{name} must be from {least} to {greatest}, got {values[name]}")


def write_toy(root: str | Path, config: ToyConfig) -> dict[str, dict[str, float]]:
    """Writes the data set that `config` describes to the new folder `root`.

    `root` gets `CUB_200_2011/`, `c2am_boxes/` and `toy.json`, and appears only when complete. A
    folder already written with the same config is left as it is.

    Returns:
        For "train" and "test" the numbers of `images` and `objects`, and `pseudo_box_accuracy`, the
        share of pseudo boxes with IoU > 0.5 with any true box.

    Raises:
        InputError: `root` exists and was not written with this config.
    """
    root = Path(root)
    if root.exists():
        return _read_summary(root, config)
    with whole_folder(root) as folder:
        return _write_all(folder, config)


def _describe(config: ToyConfig) -> dict:
    return {"format": FORMAT, "config": asdict(config) | {"image_size": [*config.image_size]}}


def _read_summary(root: Path, config: ToyConfig) -> dict[str, dict[str, float]]:
    file, wanted = root / "toy.json", _describe(config)
    note = dict(read_json(file, "the config of a toy set")) if file.is_file() else {}
    summary = note.pop("summary", None)
    if summary is None or note != wanted:
        problem = f"{root} exists and holds {note or 'no toy.json'}, wanted {wanted}"
        raise InputError(f"{problem}: delete the folder or choose another one")
    return summary


def _write_all(root: Path, config: ToyConfig) -> dict[str, dict[str, float]]:
    """Writes every file below `root` and returns the summary."""
    folders = [f"{i:03d}.{name}" for i, name in enumerate(SPECIES[: config.num_classes], start=1)]
    for folder in folders:
        (root / "CUB_200_2011" / "images" / folder).mkdir(parents=True)
    tables = defaultdict(list, classes=list(enumerate(folders, start=1)))
    summary = {split: _write_split(root, config, split, tables) for split in ("train", "test")}
    for name, rows in tables.items():
        lines = (" ".join(map(str, row)) + "\n" for row in rows)
        (root / "CUB_200_2011" / f"{name}.txt").write_text("".join(lines))
    write_json(root / "toy.json", _describe(config) | {"summary": summary}, indent=1)
    return summary


def _write_split(root: Path, config: ToyConfig, split: str, tables: dict) -> dict[str, float]:
    """Writes a split's images and pseudo boxes, adds its rows to `tables`; returns its summary."""
    amount = getattr(config, f"num_{split}")
    pseudo_boxes, hits, objects = {}, 0, 0
    for number in tqdm(range(amount), desc=f"toy set, {split}", unit="image", disable=None):
        image, boxes, pseudo = draw_sample(config, split, number)
        image_id, label = len(tables["images"]) + 1, number % config.num_classes
        path = f"{tables['classes'][label][1]}/{SPECIES[label]}_{split}_{number:05d}.jpg"
        file = root / "CUB_200_2011" / "images" / path
        if not cv2.imwrite(str(file), image, [cv2.IMWRITE_JPEG_QUALITY, 92]):
            raise OSError(f"{file}: could not be written")
        pseudo_boxes[f"toy/{split}/{path}"] = pseudo / np.tile(image.shape[1::-1], 2)
        tables["images"].append((image_id, path))
        tables["image_class_labels"].append((image_id, label + 1))
        tables["train_test_split"].append((image_id, int(split == "train")))
        tables["bounding_boxes"] += [(image_id, *box.tolist()) for box in boxes]
        hits += int(max(_iou(pseudo, box) for box in boxes) > 0.5)
        objects += len(boxes)
    items = [(key, box.round(6).tolist()) for key, box in pseudo_boxes.items()]
    for start in range(0, amount, BOXES_PER_FILE):
        file = root / f"c2am_boxes/{split}/pseudo_boxes/{start // BOXES_PER_FILE}_0_bbox.json"
        write_json(file, dict(items[start : start + BOXES_PER_FILE]))
    return {"images": amount, "objects": objects, "pseudo_box_accuracy": round(hits / amount, 4)}


def draw_sample(config: ToyConfig, split: str, number: int) -> tuple[np.ndarray, Boxes, np.ndarray]:
    """Draws image `number` (from 0) of a split: BGR uint8 (H, W, 3), true boxes and pseudo box."""
    seeds = [config.seed, int(split == "train"), number]
    rng, noise_rng = np.random.default_rng([*seeds, 0]), np.random.default_rng([*seeds, 1])
    height, width = rng.integers(config.image_size[0], config.image_size[1] + 1, size=2)
    image = _draw_scenery(rng, height, width)
    amount = int(rng.integers(1, config.max_objects + 1)) if rng.random() < 0.35 else 1
    boxes: Boxes = []
    for _ in range(amount):
        _add_bird(rng, image, SPECIES[number % config.num_classes], amount, boxes)
    frame = np.array([width, height], float)
    pseudo = _pseudo_box(noise_rng, config, boxes, frame)
    low, high = np.clip(pseudo[:2], 0, frame), np.clip(pseudo[:2] + pseudo[2:], 0, frame)
    return image, boxes, np.append(low, high - low)


def _noise(rng: Generator, height: int, width: int, cells: int, channels: int = 1) -> np.ndarray:
    """Returns smooth noise (H, W, channels) of about unit spread, `cells` waves to a side."""
    coarse = rng.standard_normal((cells, cells, channels)).astype(np.float32)
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return fine.reshape(height, width, channels)


def _colour(rng: Generator, hue: float, saturation: float, value: float) -> Colour:
    """Returns a BGR colour for hue (0 to 180), saturation and value (0 to 255), a little varied."""
    varied = np.array([hue, saturation, value]) + rng.normal(0, (2, 8, 8))
    pixel = np.array([[[varied[0] % 180, *np.clip(varied[1:], 0, 255)]]]).astype(np.uint8)
    return tuple(float(v) for v in cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0])


def _fill(image: np.ndarray, outline: np.ndarray, colour: Colour | int) -> None:
    """Fills the polygon (V, 2) in pixels, anti-aliased."""
    points = np.round(outline * 16).astype(np.int32)  # 4 fractional bits
    cv2.fillPoly(image, [points], colour, lineType=cv2.LINE_AA, shift=4)


def _ellipse(x: float, y: float, a: float, b: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return np.stack([x + a * np.cos(angle), y + b * np.sin(angle)], axis=1)


def _turn(outline: np.ndarray, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return outline @ np.array([[c, s], [-s, c]])


def _draw_scenery(rng: Generator, height: int, width: int) -> np.ndarray:
    """Returns a BGR uint8 image of muted ground with leaves, stones and blades of grass."""
    hue = rng.uniform(25, 100)
    ground = _colour(rng, hue, rng.uniform(20, 70), rng.uniform(80, 170))
    waves = ((3, 14), (9, 8), (30, 6))
    shade = sum(_noise(rng, height, width, n, 3) * w for n, w in waves)
    image = np.clip(shade + np.array(ground), 0, 255).astype(np.uint8)
    for _ in range(rng.integers(6, 14)):
        colour = _colour(rng, hue + rng.normal(0, 15), rng.uniform(20, 80), rng.uniform(50, 200))
        length = min(height, width) * rng.uniform(0.05, 0.3)
        shape = _ellipse(0, 0, length / 2, max(1.0, length * rng.uniform(0.06, 0.3)))
        leaf = _turn(shape, rng.uniform(0, 180)) + rng.uniform((0, 0), (width, height))
        _fill(image, leaf, colour)
    return image


def _bird_shapes(mark: str) -> list[tuple[str, np.ndarray]]:
    """Returns (paint, outline) back to front, in a frame where a bird is 1.4 units long."""
    body, head = _ellipse(0, 0, 0.40, 0.27), _ellipse(0.36, -0.20, 0.18, 0.17)
    tail = np.array([[-0.30, -0.12], [-0.74, -0.20], [-0.66, 0.06], [-0.28, 0.10]])
    beak = np.array([[0.50, -0.28], [0.70, -0.17], [0.50, -0.12]])
    stripe = np.array([[-0.05, -1], [0.05, -1], [0.05, 1], [-0.05, 1]])
    spots = ((-0.22, 0), (0, -0.12), (0, 0.12), (0.22, 0.02))
    marks = {
        "Plain": [],
        "Ringed": [("mark", body * 0.72), ("body", body * 0.42)],
        "Striped": [("mark", stripe * (1, 0.268 - 1.42 * x**2) + (x, 0)) for x in (-0.24, 0, 0.24)],
        "Spotted": [("mark", _ellipse(x, y, 0.07, 0.07)) for x, y in spots],
        "Capped": [("mark", head[14:])],
    }
    bird = [("tail", tail), ("beak", beak), ("body", body), ("body", head)]
    return [*bird, *marks[mark], ("eye", _ellipse(0.42, -0.21, 0.035, 0.035))]


def _add_bird(rng: Generator, image: np.ndarray, species: str, amount: int, boxes: Boxes) -> None:
    """Draws one of `amount` birds into `image` and its box into `boxes`, if there is room."""
    mark, hue = species.split("_")[:2]
    frame = np.array(image.shape[1::-1])
    least, greatest = ((0.42, 0.66), (0.32, 0.42), (0.28, 0.36))[amount - 1]
    flip, tilt = rng.choice([-1.0, 1.0]), rng.uniform(-25, 25)
    paints = {"body": _colour(rng, HUES[hue], 210, rng.uniform(180, 235))}
    paints["tail"] = tuple(0.7 * v for v in paints["body"])
    paints |= {"mark": (30, 25, 25), "eye": (15, 15, 15), "beak": (60, 150, 200)}
    for _ in range(30):
        size = frame.min() * rng.uniform(least, greatest) / 1.3
        shapes = [(p, _turn(v * (flip, 1), tilt) * size) for p, v in _bird_shapes(mark)]
        points = np.concatenate([outline for _, outline in shapes])
        low, high = points.min(axis=0), points.max(axis=0)
        corner = rng.uniform(0.05 * frame - low, 0.95 * frame - high)
        box = np.append(low + corner, high - low)
        if all(_iou(box, other) == 0 for other in boxes):
            boxes.append(_paint(rng, image, [(paints[p], v + corner) for p, v in shapes]))
            return


def _paint(rng: Generator, image: np.ndarray, shapes: list) -> np.ndarray:
    """Paints (colour, outline) pairs as one shaded thing; returns the tight box of its mask."""
    layer, alpha = image.copy(), np.zeros(image.shape[:2], np.uint8)
    for colour, outline in shapes:
        _fill(layer, outline, colour)
        _fill(alpha, outline, 255)
    height, width = image.shape[:2]
    shaded = layer * (1 + 0.12 * _noise(rng, height, width, 12))
    cover = alpha[..., None] / 255.0
    image[:] = np.clip(image * (1 - cover) + shaded * cover, 0, 255)
    return np.array(cv2.boundingRect((alpha >= 128).astype(np.uint8)), float)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    low = np.maximum(a[:2], b[:2])
    high = np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    common = np.prod(np.clip(high - low, 0, None))
    return float(common / (np.prod(a[2:]) + np.prod(b[2:]) - common))


def _pseudo_box(rng: Generator, config: ToyConfig, boxes: Boxes, frame: np.ndarray) -> np.ndarray:
    """Returns a pseudo box for an image of size `frame` (W, H); it may reach out of the image."""
    shares = [getattr(config, name) for name in FAULTS]
    fault = [*FAULTS, "none"][np.searchsorted(np.cumsum(shares), rng.random(), side="right")]
    boxes = [boxes[i] for i in rng.permutation(len(boxes))]
    corner, size = boxes[0][:2], boxes[0][2:]
    if fault == "part":
        part = size * rng.uniform(0.35, 0.68, size=2)
        return np.append(corner + (size - part) * rng.random(2), part)
    if fault == "shift":
        step = rng.uniform(0.3, 0.65, size=2) * rng.choice([-1, 1], size=2)
        return np.append(corner + step * size, size)
    if fault == "wrong_place":  # of 20 boxes the one that shares the least with the birds
        sizes = size * rng.uniform(0.5, 1.1, size=(20, 2))
        tries = np.append(rng.random((20, 2)) * np.maximum(frame - sizes, 0), sizes, axis=1)
        return min(tries, key=lambda box: max(_iou(box, true) for true in boxes))
    if fault == "merge" and len(boxes) > 1:
        low = np.min([box[:2] for box in boxes], axis=0)
        return np.append(low, np.max([box[:2] + box[2:] for box in boxes], axis=0) - low)
    if fault == "merge":
        extra = size * rng.uniform(0.5, 1.2, size=2)
        return np.append(corner - extra / 2 + rng.uniform(-0.2, 0.2, size=2) * size, size + extra)
    low, high = rng.uniform(-config.jitter, config.jitter, size=(2, 2)) * size
    return np.append(corner + low, size + high - low)
