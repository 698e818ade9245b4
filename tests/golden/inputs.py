"""Writes the inputs of the golden record: small data sets, box files, detections and scores.

This module imports nothing of the project, so that no change of the project can change an input.
Everything is fixed or drawn from a seeded generator.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

WNIDS = ("n01440764", "n01443537", "n02105855")
NUM_CUB_CLASSES = 200
NUM_TOY_CLASSES = 6


def write_text(path: Path, text: str) -> Path:
    """Write a text file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    """Write lines that each end in a line feed."""
    return write_text(path, "".join(f"{line}\n" for line in lines))


def write_json(path: Path, content: object) -> Path:
    """Write a JSON file, text other than ASCII as it stands."""
    return write_text(path, json.dumps(content, ensure_ascii=False))


def write_image(path: Path, width: int, height: int, shade: int = 0) -> None:
    """Write an image with a slope of colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns * 3 + shade, rows * 2 + shade, rows + columns], 2) % 256
    Image.fromarray(pixels.astype(np.uint8)).save(path)


# ---- Lists of wsolevaluation, and detections and classes for them


class Lists:
    """The images of a metadata folder of wsolevaluation, read line by line.

    Attributes:
        names: I listed names.
        sizes: (I, 2) width and height.
        classes: (I,) classes from 0.
        boxes: (B, 4) true boxes, x0, y0, x1, y1, sorted by image.
        starts: (I,) row of each image's first true box.
        counts: (I,) number of true boxes of each image.
    """

    def __init__(self, folder: Path) -> None:
        self.names = (folder / "image_ids.txt").read_text(encoding="utf-8").split()
        index = {name: i for i, name in enumerate(self.names)}
        self.sizes = np.zeros((len(index), 2))
        self.classes = np.zeros(len(index), dtype=np.int64)
        for name, values in self._rows(folder / "image_sizes.txt", 2):
            self.sizes[index[name]] = values
        for name, values in self._rows(folder / "class_labels.txt", 1):
            self.classes[index[name]] = values[0]
        rows = list(self._rows(folder / "localization.txt", 4))
        owners = np.array([index[name] for name, _ in rows])
        order = np.argsort(owners, kind="stable")
        self.boxes = np.array([values for _, values in rows])[order]
        self.counts = np.bincount(owners, minlength=len(index))
        self.starts = np.cumsum(self.counts) - self.counts

    @staticmethod
    def _rows(path: Path, columns: int) -> Iterable[tuple[str, list[float]]]:
        for line in path.read_text(encoding="utf-8").splitlines():
            name, *values = line.rsplit(",", columns)
            yield name, [float(value) for value in values]


def draw_detections(lists: Lists, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw detections: the image (D,), boxes (D, 4) and scores (D,) of each.

    An image gets 0 to 5 boxes. Some lie near a true box, some anywhere, some reach out of their
    image; scores have two digits, so that many are equal; some rows are copies of another.
    """
    rng = np.random.default_rng(seed)
    number = len(lists.names)
    per_image = rng.choice(6, size=number, p=[0.03, 0.37, 0.25, 0.2, 0.1, 0.05])
    owner = np.repeat(np.arange(number), per_image)
    size = np.tile(lists.sizes, 2)[owner]
    chosen = lists.starts[owner] + (rng.random(len(owner)) * lists.counts[owner]).astype(np.int64)
    near = lists.boxes[chosen]
    near = near + rng.normal(0, 0.12, near.shape) * np.tile(near[:, 2:] - near[:, :2], 2)
    anywhere = rng.random((len(owner), 4)) * size
    boxes = np.where(rng.random((len(owner), 1)) < 0.6, near, anywhere)
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    boxes = np.concatenate([low, np.maximum(high, low + 1)], 1).round(2)
    scores = rng.random(len(owner)).round(2)
    copies = np.arange(0, len(owner), 500)
    rows = np.sort(np.concatenate([np.arange(len(owner)), copies]))
    return owner[rows], boxes[rows], scores[rows]


def write_detections(path: Path, lists: Lists, seed: int) -> Path:
    """Write drawn detections as COCO results, or as Parquet if the path ends so."""
    owner, boxes, scores = draw_detections(lists, seed)
    names = [lists.names[i] for i in owner]
    if path.suffix == ".parquet":
        columns = dict(zip(("x0", "y0", "x1", "y1"), boxes.T, strict=True))
        sizes = lists.sizes[owner].astype(np.int64)
        columns |= {"score": scores, "width": sizes[:, 0], "height": sizes[:, 1]}
        parquet.write_table(pa.table({"image_id": names, **columns}), path)
        return path
    sides = (boxes[:, 2:] - boxes[:, :2]).round(2)
    rows = zip(names, np.concatenate([boxes[:, :2], sides], 1).tolist(), scores, strict=True)
    return write_json(
        path,
        [
            {"image_id": name, "category_id": 1, "bbox": box, "score": float(score)}
            for name, box, score in rows
        ],
    )


def draw_classes(classes: Sequence[int], num_classes: int, seed: int) -> list[list[int]]:
    """Draw the five best classes of each image; the true one is often the first."""
    rng = np.random.default_rng(seed)
    drawn = []
    for true in classes:
        others = [c for c in rng.permutation(num_classes).tolist() if c != true][:5]
        rank = int(rng.choice(6, p=[0.6, 0.1, 0.1, 0.05, 0.05, 0.1]))  # 5: not among the five
        drawn.append([*others[:rank], int(true), *others[rank:]][:5])
    return drawn


def write_class_predictions(
    path: Path, keys: Sequence[str], classes: Sequence[int], num_classes: int, seed: int
) -> Path:
    """Write class predictions in the project's own format."""
    rows = draw_classes(classes, num_classes, seed)
    content = {"format": "wend-class-predictions-1", "num_classes": num_classes}
    content["predictions"] = dict(zip(keys, rows, strict=True))
    return write_json(path, content)


# ---- Scores of another program's classifier


def toy_test_images(root: Path) -> tuple[list[str], list[int]]:
    """Listed names and classes from 0 of the toy set's test split, from its own index files."""

    def column(name: str) -> dict[str, str]:
        lines = (root / "CUB_200_2011" / name).read_text(encoding="utf-8").splitlines()
        return dict(line.split(" ", 1) for line in lines)

    names, labels = column("images.txt"), column("image_class_labels.txt")
    ids = [i for i, train in column("train_test_split.txt").items() if train == "0"]
    return [names[i] for i in ids], [int(labels[i]) - 1 for i in ids]


def write_scores(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Write the same scores in each form that ``wend classify --import`` takes."""
    rng = np.random.default_rng(5)
    scores = rng.random((len(names), NUM_TOY_CLASSES)).round(2).tolist()
    rows = list(zip(names, scores, strict=True))
    best = [(name, np.argsort(-np.array(row), kind="stable")[:5].tolist()) for name, row in rows]
    by_name = {name.removesuffix(".jpg"): {"pred_scores": row} for name, row in rows}
    by_name["elsewhere/unknown"] = {"pred_scores": scores[0]}
    entries = [{"img_path": f"/data/{name}", "pred_score": row} for name, row in rows]
    titles = ",".join(f"score_{i}" for i in range(NUM_TOY_CLASSES))
    lines = [f"{name},{','.join(map(str, row))}" for name, row in rows]
    long = [f"{name},{c},{row[c]}" for name, row in rows for c in range(NUM_TOY_CLASSES)]
    return {
        "json_object": write_json(folder / "json_object.json", by_name),
        "json_list": write_json(folder / "json_list.json", entries),
        "csv_scores": write_lines(folder / "csv_scores.csv", [f"file,{titles}", *lines]),
        "csv_long": write_lines(folder / "csv_long.csv", ["file,class,score", *long]),
        "csv_classes": write_lines(
            folder / "csv_classes.csv", [f"{name},{','.join(map(str, row))}" for name, row in best]
        ),
    }


# ---- Data sets


def write_cub_subset(source: Path, target: Path, images: int, *, split_folders: bool) -> None:
    """Copy the first image of each class and split, ``images`` in all, in CUB's layout.

    Args:
        split_folders: put the images into ``train/`` and ``test/``, as PSOL's copy has them.
    """

    def read(name: str) -> dict[str, str]:
        lines = (source / name).read_text(encoding="utf-8").splitlines()
        return dict(line.split(" ", 1) for line in lines)

    names, splits = read("images.txt"), read("train_test_split.txt")
    first: dict[tuple[str, str], str] = {}
    for image_id, name in names.items():
        first.setdefault((name.split("/", 1)[0], splits[image_id]), image_id)
    chosen = [image_id for _, image_id in sorted(first.items())][:images]
    for image_id in chosen:
        split = "train" if splits[image_id] == "1" else "test"
        copy = target / (split if split_folders else "images") / names[image_id]
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / "images" / names[image_id], copy)
    for name in ("images", "image_class_labels", "train_test_split", "bounding_boxes"):
        rows = read(f"{name}.txt")
        write_lines(target / f"{name}.txt", [f"{i} {rows[i]}" for i in chosen])


PHOTOS = {  # path -> width, height
    "gulls/gull_7.png": (64, 80),
    "gulls/young/gull_8.jpg": (120, 90),
    "gulls/zwölf.jpg": (90, 60),
    "owls/owl_1.bmp": (50, 70),
    "owls/owl_2.jpeg": (200, 150),
    "owls/owl_3.JPG": (33, 47),
    "wrens/wren 1.jpg": (160, 120),
    "wrens/wren_2.jpg": (100, 100),
}


def write_photos(root: Path) -> None:
    """Write a folder of images in class folders, its truth as COCO JSON and as text."""
    for number, (name, size) in enumerate(PHOTOS.items()):
        write_image(root / "images" / name, *size, shade=20 * number)
    write_text(root / "images" / "owls" / "notes.txt", "no image\n")
    for number, size in enumerate([(40, 30), (31, 57), (64, 64)]):
        write_image(root / "flat" / f"{number}.jpg", *size)
    names = [*PHOTOS][:-1]
    images = [
        {"id": 10 * i, "file_name": f"data/images/{name}", "width": w, "height": h}
        for i, (name, (w, h)) in enumerate(PHOTOS.items())
        if name in names
    ]
    images.append({"id": 999, "file_name": "eagles/eagle.jpg", "width": 10, "height": 10})
    boxes = [
        {"image_id": row["id"], "bbox": [1.5, 2.25, row["width"] / 3, row["height"] / 7]}
        for row in images
    ]
    boxes.append({"image_id": 10, "bbox": [0, 0, 120, 90]})
    boxes.append({"image_id": 20, "bbox": [3, 3, 20, 20], "iscrowd": 1})
    for number, row in enumerate(boxes, 1):
        row |= {"id": number, "category_id": 1, "iscrowd": row.get("iscrowd", 0)}
    content = {"images": images, "annotations": boxes}
    content["categories"] = [{"id": 1, "name": "bird"}]
    write_json(root / "truth.json", content)
    write_lines(
        root / "truth.txt",
        [
            *(
                f"images/{name},{1 + i},{2 + i},{20.5 + i},{41.25 + i}"
                for i, name in enumerate(names)
            ),
            "wrens/wren_2.jpg,0,0,100,100",
            "wrens/wren_2.jpg,10,10,20.125,30",
        ],
    )


def _voc(name: str, size: tuple[int, int], objects: Iterable[tuple[str, Sequence[int]]]) -> str:
    corners = ("xmin", "ymin", "xmax", "ymax")
    texts = [
        f"<object><name>{wnid}</name><bndbox>"
        + "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(corners, box, strict=True))
        + "</bndbox></object>"
        for wnid, box in objects
    ]
    return (
        f"<annotation><filename>{name}</filename><size><width>{size[0]}</width>"
        f"<height>{size[1]}</height><depth>3</depth></size>{''.join(texts)}</annotation>"
    )


IMAGENET_VAL = (  # WordNet id, number, size, boxes
    (WNIDS[0], 293, (50, 40), [(9, 7, 41, 30)]),
    (WNIDS[1], 5, (20, 20), [(1, 2, 3, 4)]),
    (WNIDS[1], 7, (30, 60), [(0, 0, 29, 59), (2, 3, 10, 20)]),
    (WNIDS[2], 1, (45, 33), [(5, 6, 40, 30), (0, 1, 9, 9), (3, 3, 44, 32)]),
)


def write_imagenet(root: Path) -> None:
    """Write ImageNet's training and validation images in folders and flat, with every truth."""
    for wnid in WNIDS:
        for number in (1, 2):
            size = (40 + 3 * number, 30 + 2 * number)
            write_image(root / "train" / wnid / f"{wnid}_{number}.JPEG", *size)
            text = _voc(f"{wnid}_{number}", size, [(wnid, (1, 2, 20 + number, 25))])
            write_text(root / "xml_train" / wnid / f"{wnid}_{number}.xml", text)
    lines: dict[str, list[str]] = {}
    for wnid, number, size, boxes in IMAGENET_VAL:
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        write_image(root / "val" / wnid / name, *size)
        write_image(root / "val_flat" / name, *size)
        stated = (0, 0) if number == 7 else size  # of this one the header says the size
        objects = [(wnid, box) for box in boxes]
        if number == 1:
            objects.append((WNIDS[0], (4, 4, 8, 8)))
        text = _voc(name[:-5], stated, objects)
        write_text(root / "xml_val" / wnid / f"{name[:-5]}.xml", text)
        if number != 1:  # two classes in one flat XML: the image's is unknown
            write_text(root / "xml_flat" / f"{name[:-5]}.xml", text)
        else:
            write_text(root / "xml_flat" / f"{name[:-5]}.xml", _voc(name[:-5], size, objects[:-1]))
        label = WNIDS.index(wnid)
        flat = " ".join(str(value) for box in boxes for value in box)
        rows = {
            "tscam.txt": f"{wnid}/{name} {label} {flat}",
            "bas.txt": f"{wnid}\\\\{name} {size[0]} {size[1]} ; {flat}",
            "c2am.txt": f"{name} {label} {wnid}",
            "lists/image_ids.txt": f"val/{name}",
            "lists/class_labels.txt": f"val/{name},{label}",
            "lists/image_sizes.txt": f"val/{name},{size[0]},{size[1]}",
        }
        for file, line in rows.items():
            lines.setdefault(file, []).append(line)
        for box in boxes:
            line = f"val/{name},{','.join(map(str, box))}"
            lines.setdefault("lists/localization.txt", []).append(line)
    for file, rows in lines.items():
        write_lines(root / file, rows)
    wnids = [WNIDS[2], "n13133613", WNIDS[0], "n01440000", WNIDS[1]]
    write_lines(root / "LOC_synset_mapping.txt", [f"{wnid} a name, another" for wnid in wnids])


def write_openimages(root: Path) -> None:
    """Write images whose truth are masks, without sizes in the lists."""
    sizes = {"test/a.jpg": (80, 60), "test/b.jpg": (64, 64), "test/c.jpg": (51, 33)}
    for name, size in sizes.items():
        write_image(root / "images" / name, *size)
    masks = {"test/a_0.png": (5, 8, 20, 16), "test/a_1.png": (0, 0, 40, 30), "test/b_0.png": None}
    masks |= {"test/c_0.png": (7, 3, 39, 29), "test/c_ignore.png": (0, 0, 2, 2)}
    for name, box in masks.items():
        mask = np.zeros((30, 40), dtype=np.uint8)
        if box is not None:
            x0, y0, x1, y1 = box
            mask[y0:y1, x0:x1] = 255
        path = root / "masks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    write_lines(root / "lists" / "image_ids.txt", sizes)
    labels = [f"{name},{i}" for i, name in enumerate(sizes)]
    write_lines(root / "lists" / "class_labels.txt", labels)
    write_lines(
        root / "lists" / "localization.txt",
        [
            "test/a.jpg,test/a_0.png,",
            "test/a.jpg,test/a_1.png,",
            "test/b.jpg,test/b_0.png,",
            "test/c.jpg,test/c_0.png,test/c_ignore.png",
        ],
    )


def write_wsoleval(root: Path) -> None:
    """Write images with wsolevaluation's lists of boxes and sizes, and the same without classes."""
    sizes = {"test/a.jpg": (80, 60), "test/b.jpg": (64, 64), "test/c.jpg": (51, 33)}
    for name, size in sizes.items():
        write_image(root / "images" / name, *size)
    for folder in ("lists", "no_classes"):
        write_lines(root / folder / "image_ids.txt", reversed(sizes))
        rows = [f"{name},{w},{h}" for name, (w, h) in sizes.items()]
        write_lines(root / folder / "image_sizes.txt", rows)
        boxes = [f"{name},{i},{i + 1},{30 + i},{20.5 + i}" for i, name in enumerate(sizes)]
        write_lines(root / folder / "localization.txt", [*boxes, "test/a.jpg,0,0,79.5,59"])
    labels = [f"{name},{2 - i}" for i, name in enumerate(sizes)]
    write_lines(root / "lists" / "class_labels.txt", labels)


def write_coco(root: Path) -> None:
    """Write a COCO data set of several categories, with crowds and an image without a box."""
    sizes = {"x/a.jpg": (80, 60), "x/b.jpg": (64, 64), "y/c.jpg": (51, 33), "y/d.jpg": (20, 30)}
    for name, size in sizes.items():
        write_image(root / "images" / name, *size)
    images = [
        {"id": f"id-{i}", "file_name": name, "width": w, "height": h}
        for i, (name, (w, h)) in enumerate(sizes.items())
    ]
    boxes = [
        ("id-0", 7, [1, 2, 30.5, 40], 0),
        ("id-0", 7, [0.25, 0.125, 79.75, 59.875], 0),
        ("id-1", 3, [10, 10, 20, 30], 0),
        ("id-1", 7, [0, 0, 5, 5], 0),
        ("id-2", 3, [1, 1, 50, 32], 0),
        ("id-2", 3, [1, 1, 10, 10], 1),
    ]
    rows = [
        {"id": i, "image_id": image_id, "category_id": category, "bbox": box, "iscrowd": crowd}
        for i, (image_id, category, box, crowd) in enumerate(boxes, 1)
    ]
    categories = [{"id": 7, "name": "wren"}, {"id": 3, "name": "gull"}]
    content = {"images": images, "annotations": rows, "categories": categories}
    write_json(root / "truth.json", content)


def write_damaged(root: Path) -> None:
    """Write a CUB layout with an empty, a cut off and a wrongly named image and odd boxes."""
    names = [f"001.Wren/wren_{i}.jpg" for i in range(6)]
    for number, name in enumerate(names):
        write_image(root / "images" / name, 60, 40, shade=number)
    (root / "images" / names[1]).write_bytes(b"")
    whole = (root / "images" / names[2]).read_bytes()
    (root / "images" / names[2]).write_bytes(whole[: len(whole) // 2])
    image = Image.open(root / "images" / names[3])
    image.save(root / "images" / names[3], format="PNG")
    boxes = ["2 3 20 20", "1 1 5 5", "1 1 5 5", "0 0 60 40", "50 30 40 40", "70 50 5 5"]
    write_lines(root / "images.txt", [f"{i} {name}" for i, name in enumerate(names, 1)])
    write_lines(root / "image_class_labels.txt", [f"{i} 1" for i in range(1, 7)])
    write_lines(root / "train_test_split.txt", [f"{i} 0" for i in range(1, 7)])
    write_lines(root / "bounding_boxes.txt", [f"{i} {box}" for i, box in enumerate(boxes, 1)])


DECLARATIONS: Mapping[str, str] = {
    "cub12_train": "format: cub\nimages: cub12\nsplit: train",
    "cub12_test": "format: cub\nimages: cub12\nsplit: test",
    "cub12_split_train": "format: cub\nimages: cub12_split\nsplit: train",
    "photos_coco": "format: folder\nimages: photos/images\nannotations: photos/truth.json",
    "photos_text": "format: folder\nimages: photos/images\nannotations: photos/truth.txt",
    "photos_plain": "format: folder\nimages: photos/images\nclasses: none",
    "photos_flat": "format: folder\nimages: photos/flat",
    "photos_boxes": "format: folder\nimages: photos/images\nannotations: photos/truth.json\n"
    "pseudo_boxes: {source: c2am, path: boxes/c2am}",
    "photos_true_side": "format: folder\nimages: photos/images\nannotations: photos/truth.txt\n"
    "pseudo_boxes: {source: csv, path: boxes/boxes.csv, max_boxes: 1}\ntrain_on: gt_boxes",
    "imagenet_train": "format: imagenet\nimages: imagenet/train",
    "imagenet_train_xml": "format: imagenet\nimages: imagenet/train\n"
    "annotations: imagenet/xml_train\nclasses: imagenet/LOC_synset_mapping.txt",
    "imagenet_val_xml": "format: imagenet\nimages: imagenet/val\nannotations: imagenet/xml_val",
    "imagenet_flat_xml": "format: imagenet\nimages: imagenet/val_flat\n"
    "annotations: imagenet/xml_flat",
    "imagenet_val_lists": "format: imagenet\nimages: imagenet/val\nannotations: imagenet/lists",
    "imagenet_flat_lists": "format: imagenet\nimages: imagenet/val_flat\n"
    "annotations: imagenet/lists",
    "imagenet_flat_tscam": "format: imagenet\nimages: imagenet/val_flat\n"
    "annotations: imagenet/tscam.txt",
    "imagenet_val_tscam": "format: imagenet\nimages: imagenet/val\nannotations: imagenet/tscam.txt",
    "imagenet_flat_bas": "format: imagenet\nimages: imagenet/val_flat\n"
    "annotations: imagenet/bas.txt",
    "imagenet_flat_c2am": "format: imagenet\nimages: imagenet/val_flat\n"
    "annotations: imagenet/c2am.txt",
    "openimages": "format: openimages\nimages: openimages/images\nlists: openimages/lists\n"
    "masks: openimages/masks",
    "wsoleval": "format: wsoleval\nimages: wsoleval/images\nlists: wsoleval/lists",
    "wsoleval_no_classes": "format: wsoleval\nimages: wsoleval/images\nlists: wsoleval/no_classes",
    "coco": "format: coco\nimages: coco/images\nannotations: coco/truth.json",
    "damaged": "format: cub\nimages: damaged\nsplit: test",
}
BUILT_IN = ("toy_train", "toy_test", "toy_train_c2am", "toy_test_c2am")


# ---- Box files for the photos


def write_box_files(root: Path, own_source: str) -> dict[str, dict[str, object]]:
    """Write boxes of the photos in each form; returns what reads them, by name.

    Args:
        own_source: text of a Python file with a function ``read_lines(path, separator)``.
    """
    _write_fraction_boxes(root)
    _write_coco_boxes(root)
    _write_tables(root)
    write_text(root / "own_source.py", own_source)
    lines = ["/home/me/wrens/wren 1.jpg|10|20|110|80", "gulls/gull_7.png|0|12|64|60"]
    write_lines(root / "own.txt", [*lines, "wrens/wren 1.jpg|5|5|30|40"])
    sides = {"image": "file", "x": "left", "y": "top", "w": "width", "h": "height"}
    specs: dict[str, dict[str, object]] = {
        "c2am": {"source": "c2am", "path": "c2am"},
        "psol": {"source": "psol", "path": "psol"},
        "psol_best": {"source": "psol", "path": "psol", "max_boxes": 1},
        "coco_set": {"source": "coco", "path": "set.json"},
        "coco_set_scores": {"source": "coco", "path": "set.json", "min_score": 0.4, "max_boxes": 1},
        "coco_categories": {"source": "coco", "path": "categories.json", "category_id": "all"},
        "coco_category": {"source": "coco", "path": "categories.json", "category_id": 2},
        "coco_results": {"source": "coco", "path": "results.json", "images": "boxes/set.json"},
        "coco_results_by_name": {"source": "coco", "path": "results_by_name.json"},
        "csv": {"source": "csv", "path": "boxes.csv"},
        "csv_scores": {"source": "csv", "path": "boxes.csv", "min_score": 0.3, "max_boxes": 2},
        "csv_fractions": {"source": "csv", "path": "sides.csv", "frame": "fraction"},
        "parquet": {"source": "parquet", "path": "boxes.parquet"},
        "localization": {"source": "localization", "path": "localization.txt"},
        "own": {"source": "./boxes/own_source.py:read_lines", "path": "own.txt", "separator": "|"},
    }
    specs["csv_fractions"]["columns"] = sides
    for spec in specs.values():
        spec["path"] = f"boxes/{spec['path']}"
    specs["contaminated"] = {"source": "c2am", "path": "boxes/contaminated"}
    specs["contaminated"]["allow_contamination"] = True
    return specs


def _write_fraction_boxes(root: Path) -> None:
    nothing = [1 / 30, 1 / 30, 0, 0]
    wren, gull, twelve = "wrens/wren 1.jpg", "gulls/gull_7.png", "gulls/zwo\u0308lf.jpg"
    c2am = {
        "0": {f"/home/me/{wren}": [0.1, 0.2, 0.5, 0.25], f"a/{twelve}": [0.3, 1 / 3, 0.2, 2 / 3]},
        "2": {f"b/{wren}": [0.1, 0.2, 0.5, 0.25], "b/wrens/wren_2.jpg": nothing},
        "9": {f"b/{gull}": [0, 0, 1, 1], "b/eagles/eagle.jpg": [0.1, 0.1, 0.1, 0.1]},
        "10": {f"b/{gull}": [0.25, 0.125, 0.5, 0.5], "c/young/gull_8.jpg": [0, 0, 0.999, 0.999]},
    }
    for number, content in c2am.items():
        write_json(root / "c2am" / f"{number}_0_bbox.json", content)
    twice = "owls\\\\owl_2.jpeg"  # a key that stands there twice, with a backslash: JSON by hand
    text = (
        f'{{"C:\\\\x\\\\{twice}": [0.1, 0.1, 0.2, 0.3], "C:\\\\x\\\\{twice}": [0.1, 0, 0.2, 0.3]}}'
    )
    write_text(root / "c2am" / "11_0_bbox.json", text)
    write_json(root / "psol" / "wrens_bbox.json", {wren: [0, 0, 1, 1], f"x/{wren}": [0, 0, 0.5, 1]})
    write_json(root / "psol" / "gulls_bbox.json", {f"gulls/{gull}": [0.2, 0.2, 0.3, 0.3]})
    write_json(root / "psol" / "gulls_trans.json", {"x": [1, 2]})
    write_json(root / "psol" / "settings.json", {"x": 1})
    validation = "data/train/n01440764/ILSVRC2012_val_00000293.JPEG"
    content = {validation: [0.1, 0.1, 0.5, 0.5], f"x/{wren}": [0.1, 0.1, 0.5, 0.5]}
    write_json(root / "contaminated" / "0_0_bbox.json", content)


def _write_coco_boxes(root: Path) -> None:
    images = [
        {"id": i, "file_name": f"copy/{name}", "width": w / 2, "height": h / 2}
        for i, (name, (w, h)) in enumerate(PHOTOS.items(), 1)
    ]
    images[4] |= {"width": images[4]["height"], "height": images[4]["width"]}  # turned by EXIF
    boxes = [
        (1, [1, 2, 10.5, 20], 0.9, 0),
        (1, [0, 0, 30, 30], 0.95, 0),
        (2, [5, 5, 20, 20.25], 0.3, 0),
        (3, [0, 0, 45, 30], 0.5, 0),
        (5, [1, 1, 30, 30], 0.4, 0),
        (6, [1, 1, 0, 3], 0.4, 0),
        (7, [70, 50, 20, 20], 0.7, 0),
        (8, [10, 10, 10, 10], 0.8, 1),
    ]
    rows = [
        {
            "id": i,
            "image_id": image,
            "category_id": 1,
            "bbox": box,
            "score": score,
            "iscrowd": crowd,
        }
        for i, (image, box, score, crowd) in enumerate(boxes, 1)
    ]
    write_json(root / "set.json", {"images": images, "annotations": rows, "categories": []})
    kept = ("image_id", "category_id", "bbox", "score")
    results = [{key: row[key] for key in kept} for row in rows[:4]]
    write_json(root / "results.json", results)
    names = {row["id"]: row["file_name"] for row in images}
    by_name = [row | {"image_id": names[row["image_id"]]} for row in results]
    write_json(root / "results_by_name.json", by_name)
    several = [row | {"category_id": 1 + i % 2, "iscrowd": 0} for i, row in enumerate(rows)]
    write_json(root / "categories.json", {"images": images, "annotations": several})


def _write_tables(root: Path) -> None:
    rows = [
        ("images/wrens/wren 1.jpg", 10, 20, 110.5, 80, 0.5),
        ("images/wrens/wren 1.jpg", 0, 0, 160, 120, 0.75),
        ("wrens/wren 1.jpg", 10, 20, 110.5, 80, 0.5),
        ("gulls/gull_7.png", 5, 6, 70, 85, 0.25),
        ("gulls/gull_7.png", 100, 100, 120, 120, 0.9),
        ("owl_2.jpeg", 1, 2, 3, 4, 0.125),
        ("owls/owl_3.JPG", 4, 4, 4, 9, 0.6),
        ("eagles/eagle.jpg", 1, 1, 5, 5, 0.6),
    ]
    titles = ("image", "x0", "y0", "x1", "y1", "score")
    lines = [",".join(map(str, row)) for row in rows]
    write_lines(root / "boxes.csv", [",".join(titles), *lines])
    columns = dict(zip(titles, map(list, zip(*rows, strict=True)), strict=True))
    columns |= {name: [float(value) for value in columns[name]] for name in titles[1:]}
    parquet.write_table(pa.table(columns), root / "boxes.parquet")
    write_lines(
        root / "sides.csv",
        [
            "file,left,top,width,height,remark",
            "wrens/wren_2.jpg,0.1,0.2,0.333,0.7,a",
            '"gulls/zwölf.jpg",0,0,1,1,b',
            "owls/owl_1.bmp,0.5,0.5,0.6,0.25,c",
        ],
    )
    kept = [f"{row[0]},{','.join(map(str, row[1:5]))}" for row in rows[:4]]
    write_lines(root / "localization.txt", [*kept, "owls/owl_1.bmp,0,0,0,0"])


def write_small_sets(root: Path, cub: Path, own_source: str) -> dict[str, dict[str, object]]:
    """Write all small data sets below a root, and the boxes; returns the box sources.

    Args:
        root: what DETECTRON2_DATASETS names.
        cub: the folder ``CUB_200_2011`` that images are copied from.
        own_source: see :func:`write_box_files`.
    """
    write_cub_subset(cub, root / "cub12", 12, split_folders=False)
    write_cub_subset(cub, root / "cub12_split", 12, split_folders=True)
    write_photos(root / "photos")
    write_imagenet(root / "imagenet")
    write_openimages(root / "openimages")
    write_wsoleval(root / "wsoleval")
    write_coco(root / "coco")
    write_damaged(root / "damaged")
    for name, text in DECLARATIONS.items():
        write_text(root / f"{name}.yaml", f"name: {name}\n{text}\n")
    return write_box_files(root / "boxes", own_source)
