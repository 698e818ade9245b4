"""Photographs with awkward names, and boxes of them, for the writers of label files."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

NESTED = (
    "a/bird 1.jpg",
    "b/bird 1.jpg",  # the same name in another folder
    "Vögel & <Käfer>/“ü”.png",
    "b/nothing here.jpg",
    "deep/er/x.y.jpg",
)
FLAT = ("bird 1.jpg", "Vogel & Käfer ü.png", "nothing.jpg", "x.y.jpg", "z.jpg")
SIZES = ((40, 30), (31, 57), (64, 48), (20, 20), (333, 77))
SIDEWAYS = 6  # EXIF's orientation of a camera that was turned


def make_images(root: Path, names=NESTED, exif="ignore", sideways=()) -> DataSet:
    """Image files below a root, as the data set that a folder is read as."""
    records = []
    for number, (name, size) in enumerate(zip(names, SIZES, strict=True)):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image, tags = Image.new("RGB", size, (9, 99, 20 * number)), Image.Exif()
        if number in sideways:
            tags[0x0112] = SIDEWAYS
        image.save(path, exif=tags)
        records.append(ImageRecord(name, str(path), *size, key=name, exif=exif))
    return DataSet.from_records(records, "photos")


def make_table(seed=0, scored=True, counts=(2, 1, 3, 0, 1)) -> BoxTable:
    """Boxes inside the images, at no whole pixels; some touch the border."""
    rng = np.random.default_rng(seed)
    boxes = []
    for count, size in zip(counts, SIZES, strict=True):
        low = rng.uniform(0, 0.5, (count, 2)) * size
        high = low + rng.uniform(0.1, 0.5, (count, 2)) * size
        boxes.append(np.hstack([low, high]))
    boxes[0][0] = (0, 0, *SIZES[0])
    scores = [np.sort(rng.uniform(0.1, 1, count))[::-1] for count in counts] if scored else None
    return BoxTable.from_lists(boxes, scores)


def read_xml(path: Path) -> ElementTree.Element:
    """The root of a file that a test wrote."""
    return ElementTree.parse(path).getroot()  # noqa: S314
