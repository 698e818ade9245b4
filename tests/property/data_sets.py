"""Generated data sets, and their records as files of each format."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

ODD_NAMES = (
    *("a b", " before", "after ", "'q'", '"dq"', "-rf", "--help", "x" * 240),
    *(
        "e\u0301",
        "\u00e9",
        "\u1e9b\u0323",
        "\u212b",
        "\u00c5",
    ),  # one letter in several normal forms
    *(
        "名前",
        "🐦",
        "a,b",
        "a;b",
        "a:b",
        "a\u2028b",
        "a\x85b",
        "a\x0bb",
        "a\x0cb",
        "a\x1cb",
        "a\tb",
    ),
    *("%20", "#", "~", "$HOME", "*", "?", "[a]", "null", "NA", "nan", "N", "1", "{}", "<x>", "&"),
    *("ILSVRC2012_train_1", "a.b.c", "\u200b", "\ufeffa", "\u00a0", "\u3000", "\u202e", "=1", "!"),
)
plain = st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0\n\r")
names = st.one_of(st.sampled_from(ODD_NAMES), st.text(plain, min_size=1, max_size=12)).filter(
    lambda name: not name.startswith(".") and len(name.encode()) < 250 and name[1:2] != ":"
)  # names like "a:b" could be of a Windows drive, and are refused
listed_names = names.filter(  # lists strip their lines, and a byte order mark
    lambda name: name == name.strip() and name[0] != "\ufeff"
)
binary = st.integers(-(2**20), 2**20).map(lambda number: number / 64)  # sums of these are exact
sides = st.integers(1, 2**20).map(lambda number: number / 64)
dyadic_boxes = st.tuples(binary, binary, sides, sides).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)
any_float = st.floats(-1e6, 1e6)
any_boxes = st.tuples(any_float, any_float, st.floats(0, 1e6), st.floats(0, 1e6)).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)
image_sizes = st.tuples(st.integers(1, 9000), st.integers(1, 9000))


@dataclass
class Image:
    """One generated image."""

    path: str  # below the images' root
    size: tuple[int, int]
    boxes: list
    label: int = 0

    @property
    def name(self):
        return self.path.rsplit("/", 1)[-1]


@st.composite
def image_sets(draw, name=names, folder=None, suffix=".jpg", boxes=dyadic_boxes, least=0, depth=1):
    """Images with different paths ``<folder>/<name>``; ``label`` is the place of the folder."""
    folder = name if folder is None else folder
    paths = st.tuples(*[folder] * depth, name.map(lambda n: n + suffix)).map("/".join)
    some_boxes = st.lists(boxes, min_size=least, max_size=3)
    chosen = draw(st.lists(paths, min_size=1, max_size=5, unique=True))
    images = [Image(path, draw(image_sizes), draw(some_boxes)) for path in chosen]
    folders = sorted({image.path.split("/")[0] for image in images})
    for image in images:
        image.label = folders.index(image.path.split("/")[0])
    return images


def write_images(root, images):
    """Empty files, and their sizes by path."""
    sizes = {}
    for image in images:
        path = root / image.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        sizes[str(path)] = image.size
    return sizes


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path


def write_cub(root, images):
    """CUB's four index files; image ids count up from 5, the odd ones are training images."""
    rows = list(enumerate(images, 5))
    for file, values in (
        ("images.txt", [(i, image.path) for i, image in rows]),
        ("image_class_labels.txt", [(i, image.label + 1) for i, image in rows]),
        ("train_test_split.txt", [(i, i % 2) for i, _ in rows]),
        (
            "bounding_boxes.txt",
            [
                (i, *(repr(v) for v in (x0, y0, x1 - x0, y1 - y0)))
                for i, image in rows
                for x0, y0, x1, y1 in image.boxes
            ],
        ),
    ):
        write_lines(root / file, [" ".join(map(str, value)) for value in values])
    return write_images(root / "images", images)


def write_wsoleval(root, images):
    """wsolevaluation's four lists."""
    write_lines(root / "image_ids.txt", [image.path for image in images])
    write_lines(root / "class_labels.txt", [f"{image.path},{image.label}" for image in images])
    sizes = [f"{image.path},{image.size[0]},{image.size[1]}" for image in images]
    write_lines(root / "image_sizes.txt", sizes)
    write_lines(root / "localization.txt", box_lines(images))
    return root


def box_lines(images):
    """``<path>,<x0>,<y0>,<x1>,<y1>``."""
    return [",".join([image.path, *map(repr, box)]) for image in images for box in image.boxes]


def voc_xml(name, size, boxes, wnid):
    """VOC's XML."""
    tags = ("xmin", "ymin", "xmax", "ymax")
    objects = "".join(
        f"<object><name>{wnid}</name>\n<bndbox>"
        + "".join(f"<{tag}>{value!r}</{tag}>" for tag, value in zip(tags, box, strict=True))
        + "</bndbox></object>\n"
        for box in boxes
    )
    return (
        f"<annotation><filename>{name}</filename>\n<size><width>{size[0]}</width><height>{size[1]}"
        f"</height><depth>3</depth></size>\n{objects}</annotation>\n"
    )


def coco(images):
    """A COCO data set; ids are numbers from 3."""
    rows = [
        {
            **{"id": i, "file_name": image.path, "width": image.size[0], "height": image.size[1]},
            "class_id": image.label,
        }
        for i, image in enumerate(images, 3)
    ]
    annotations = [
        {
            **{"id": number, "image_id": i, "category_id": 1, "iscrowd": 0},
            "bbox": [x0, y0, x1 - x0, y1 - y0],
        }
        for number, (i, (x0, y0, x1, y1)) in enumerate(
            [(i, box) for i, image in enumerate(images, 3) for box in image.boxes], 1
        )
    ]
    categories = [{"id": 1, "name": "foreground"}]
    return {"images": rows, "annotations": annotations, "categories": categories}


def plain_record(record):
    """All fields of a record, comparable."""
    return (
        *(record.image_id, record.file_name, record.width, record.height),
        *(record.key, record.class_id, record.gt_boxes.tolist(), record.pseudo_boxes.tolist()),
    )


def check_records(records, unique_keys=True):
    """What must hold of any records that a reader lets through."""
    for field in ("image_id", *(["key"] if unique_keys else [])):
        values = [getattr(record, field) for record in records]
        assert len(set(values)) == len(values), field
    for record in records:
        assert type(record.width) is int
        assert type(record.height) is int
        assert 0 < record.width < 2**31
        assert 0 < record.height < 2**31
        assert record.key
        assert record.class_id is None or 0 <= record.class_id < 2**31
        for boxes in (record.gt_boxes, record.pseudo_boxes):
            assert np.abs(boxes).max(initial=0) < 1e150  # areas are finite
            assert (boxes[:, 2:] >= boxes[:, :2]).all()


def same_records(found, expected):
    assert [plain_record(one) for one in found] == [plain_record(one) for one in expected]


def boxes_of(pseudo: Mapping):
    """PseudoBoxes as a dict of lists."""
    return {key: pseudo[key].tolist() for key in pseudo.keys}
