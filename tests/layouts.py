"""Writers of small data sets in the layouts of CUB-200-2011 and C2AM."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

# image id, path, class (from 1), is training image, size, box "x y width height"
Row = tuple[int, str, int, int, tuple[int, int], str]

ROWS: list[Row] = [
    (3, "001.Wren/wren_a.png", 1, 1, (20, 10), "2.0 1.0 8.0 5.0"),
    (1, "002.Gull/gull_a.png", 2, 0, (12, 30), "0.0 0.0 12.0 30.0"),
    (7, "002.Gull/gull_b.png", 2, 1, (8, 8), "1.5 2.25 3.0 4.5"),
]


@pytest.fixture
def write_cub() -> Callable[..., Path]:
    """Writes rows (default: two training images and a test image) as ``<root>/CUB_200_2011``."""

    def write(root: Path, rows: Sequence[Row] = ROWS) -> Path:
        folder = root / "CUB_200_2011"
        tables: dict[str, list[str]] = {
            "images.txt": [f"{i} {path}" for i, path, *_ in rows],
            "image_class_labels.txt": [f"{row[0]} {row[2]}" for row in rows],
            "train_test_split.txt": [f"{row[0]} {row[3]}" for row in rows],
            "bounding_boxes.txt": [f"{row[0]} {row[5]}" for row in rows],
        }
        for _, path, _, _, size, _ in rows:
            file = folder / "images" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size, (90, 120, 40)).save(file)
        for name, lines in tables.items():
            (folder / name).write_text("".join(f"{line}\n" for line in lines))
        return folder

    return write


@pytest.fixture
def write_c2am() -> Callable[..., Path]:
    """Writes objects, one file each, as a ``pseudo_boxes`` folder."""

    def write(folder: Path, *objects: dict) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for number, boxes in enumerate(objects):
            (folder / f"{number}_0_bbox.json").write_text(json.dumps(boxes))
        return folder

    return write
