"""Records -> files of each format -> reader -> store -> COCO JSON -> reader: nothing is lost."""

from dataclasses import replace

import numpy as np
from data_sets import (
    ODD_NAMES,
    any_boxes,
    box_lines,
    coco,
    image_sets,
    listed_names,
    plain_record,
    same_records,
    voc_xml,
    write_cub,
    write_images,
    write_lines,
    write_wsoleval,
)
from hypothesis import strategies as st
from PIL import Image as Pixels
from property_cases import cases, known_sizes, scratch

from wend.datasets.store import open_store
from wend.datasets.store_writer import write_store
from wend.files import write_json
from wend.formats.coco import load_coco, records_to_coco
from wend.formats.coco_images import load_coco_images
from wend.formats.cub import load_cub
from wend.formats.folder import load_folder
from wend.formats.imagenet import load_imagenet
from wend.formats.openimages import load_lists
from wend.formats.voc import read_voc
from wend.formats.wsoleval import load_wsoleval
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

WNIDS = st.sampled_from(["n00000001", "n01440764", "n02119789", "n13133613"])
words = listed_names.map(lambda name: "_".join(name.replace(";", "_").split())).filter(
    lambda name: name and not name.startswith(".")
)


def expected(images, root, ids=None, keys=None, labels=True):
    """The records that a reader must make of generated images."""
    return [
        ImageRecord(
            image_id=image.path if ids is None else ids[i],
            file_name=str(root / image.path),
            width=image.size[0],
            height=image.size[1],
            key=image.path if keys is None else keys[i],
            class_id=image.label if labels else None,
            gt_boxes=image.boxes,
        )
        for i, image in enumerate(images)
    ]


def check_chain(records, wanted, folder, root=None):
    """Reader's records are as wanted, and so after the store, and so after COCO's JSON."""
    same_records(records, wanted)
    write_store(folder / "store", records, folder)
    store = open_store(folder / "store", folder)
    same_records(store, wanted)
    file = folder / "truth.json"
    write_json(file, records_to_coco(store))
    as_listed = [replace(record, file_name=record.key, key="") for record in wanted]
    same_records(load_coco(file), as_listed)
    if root is not None:
        same_records(load_coco_images(root, file), wanted)


@cases(images=image_sets(name=listed_names, least=1).filter(lambda found: len(found) > 1))
def test_cub(images):
    with scratch() as folder:
        sizes = write_cub(folder / "CUB", images)
        images_root = folder / "CUB/images"
        for split, start in (("train", 0), ("test", 1)):
            chosen, ids = images[start::2], list(range(5 + start, 5 + len(images), 2))
            reader = known_sizes(sizes)
            records = load_cub(folder / "CUB", split, sizes=reader)
            wanted = expected(chosen, images_root, ids)
            check_chain(records, wanted, folder, images_root)


def _imagenet(images, images_root, wanted_of, annotations, flat=False):
    """ImageNet's records sort by path; a flat tree holds the same images."""
    held = [replace(image, path=image.name) for image in images] if flat else images
    sizes = write_images(images_root, held)
    reader = known_sizes(sizes)
    records = load_imagenet(images_root, annotations, sizes=reader)
    order = sorted(range(len(images)), key=lambda i: held[i].path.split("/"))
    wanted = [
        ImageRecord(
            images[i].name,
            str(images_root / held[i].path),
            *images[i].size,
            key=images[i].path,
            class_id=images[i].label,
            gt_boxes=wanted_of(images[i]),
        )
        for i in order
    ]
    check_chain(records, wanted, images_root.parent, None if flat else images_root)


def stems_differ(images):
    return len({image.name.rsplit(".", 1)[0] for image in images}) == len(images)


@cases(
    images=image_sets(folder=WNIDS, suffix=".JPEG", least=1).filter(stems_differ),
    flat=st.booleans(),
    by_class=st.booleans(),
)
def test_imagenet_with_xml(images, flat, by_class):
    with scratch() as folder:
        for image in images:
            wnid, stem = image.path.split("/")[0], image.name.removesuffix(".JPEG")
            xml = folder / "xml" / (wnid if by_class else "") / f"{stem}.xml"
            xml.parent.mkdir(parents=True, exist_ok=True)
            xml.write_text(voc_xml("name", image.size, image.boxes, wnid), encoding="utf-8")
        _imagenet(images, folder / "images", lambda i: i.boxes, folder / "xml", flat)


def tscam(image):
    boxes = " ".join(repr(value) for box in image.boxes for value in box)
    return f"{image.path} {image.label} {boxes}"


def bas(image):
    boxes = " ".join(repr(value) for box in image.boxes for value in box)
    return f"{image.path} {image.size[0]} {image.size[1]} ; {boxes}"


def c2am(image):
    return f"any/root/{image.path} {image.label} {image.path.split('/')[0]}"


@cases(
    images=image_sets(name=words, folder=WNIDS, suffix=".JPEG").filter(stems_differ),
    line=st.sampled_from([tscam, bas, c2am]),
    flat=st.booleans(),
)
def test_imagenet_with_the_peers_lists(images, line, flat):
    with scratch() as folder:
        source = write_lines(folder / "list.txt", map(line, images))
        without = line is c2am
        _imagenet(images, folder / "images", lambda i: [] if without else i.boxes, source, flat)


@cases(
    images=image_sets(name=listed_names, folder=WNIDS, suffix=".JPEG", least=1).filter(
        stems_differ
    ),
    flat=st.booleans(),
)
def test_imagenet_with_wsolevaluations_lists(images, flat):
    with scratch() as folder:
        source = write_wsoleval(folder / "lists", images)
        _imagenet(images, folder / "images", lambda i: i.boxes, source, flat)


@cases(images=image_sets(boxes=any_boxes))
def test_voc_keeps_every_bit(images):
    with scratch() as folder:
        for image in images:
            file = folder / "a.xml"
            file.write_text(voc_xml("a", image.size, image.boxes, "n00000001"), encoding="utf-8")
            found = read_voc(file)
            assert found.size == image.size
            assert found.boxes.tolist() == [list(box) for box in image.boxes]


@cases(images=image_sets(name=listed_names, least=1, boxes=any_boxes))
def test_wsolevaluation_keeps_every_bit(images):
    with scratch() as folder:
        lists = write_wsoleval(folder / "lists", images)
        write_images(folder / "images", images)
        records = load_lists(folder / "images", lists)
        wanted = expected(images, folder / "images")
        same_records(records, wanted)
        bare = [replace(record, file_name=record.key, key="") for record in wanted]
        same_records(load_wsoleval(lists), bare)


@cases(images=image_sets(name=listed_names, least=1))
def test_image_lists(images):
    with scratch() as folder:
        lists = write_wsoleval(folder / "lists", images)
        root = folder / "images"
        write_images(root, images)
        check_chain(load_lists(root, lists), expected(images, root), folder, root)


@cases(images=image_sets(name=listed_names), data=st.data())
def test_masks_of_openimages(images, data):
    """A mask's box is the tight box of its pixels, in the image's frame."""
    with scratch() as folder:
        root, lists, lines = folder / "images", folder / "lists", []
        sizes = write_images(root, images)
        for number, image in enumerate(images):
            width, height = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
            x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
            x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
            mask = np.zeros((height, width), np.uint8)
            mask[y0:y1, x0:x1] = 255
            Pixels.fromarray(mask).save(folder / f"{number}.png")
            lines.append(f"{image.path},{number}.png,")
            scale = np.array([image.size[0] / width, image.size[1] / height] * 2)
            image.boxes = (np.array([[x0, y0, x1, y1]]) * scale).tolist()
        write_lines(lists / "image_ids.txt", [image.path for image in images])
        write_lines(lists / "localization.txt", lines)
        reader = known_sizes(sizes)
        records = load_lists(root, lists, masks=folder, sizes=reader)
        same_records(records, expected(images, root, labels=False))


@cases(images=image_sets(depth=2))
def test_coco(images):
    with scratch() as folder:
        root = folder / "images"
        write_images(root, images)
        write_json(folder / "in.json", coco(images))
        ids = list(range(3, 3 + len(images)))
        records = load_coco_images(root, folder / "in.json")
        check_chain(records, expected(images, root, ids), folder, root)


@cases(images=image_sets(boxes=any_boxes))
def test_coco_keeps_any_box_to_the_last_bit_but_one(images):
    """``x + w`` cannot give every float; an error of a unit in the last place is all."""
    with scratch() as folder:
        records = expected(images, folder)
        write_json(folder / "a.json", records_to_coco(records))
        for found, record in zip(load_coco(folder / "a.json"), records, strict=True):
            error = np.abs(found.gt_boxes - record.gt_boxes)
            most = np.abs(record.gt_boxes).max(1, initial=0, keepdims=True)
            assert (error <= np.spacing(most)).all()
            assert (found.gt_boxes[:, :2] == record.gt_boxes[:, :2]).all()


@cases(
    images=image_sets(depth=2, name=listed_names, least=1),
    truth=st.sampled_from(["coco", "lines", "none"]),
    classes=st.sampled_from(["auto", "none"]),
)
def test_folder_of_images(images, truth, classes):
    with scratch() as folder:
        root = folder / "images"
        sizes = write_images(root, images)
        source, ids = None, None
        order = sorted(range(len(images)), key=lambda i: images[i].path.split("/"))
        if truth == "coco":
            source, ids = folder / "in.json", [i + 3 for i in order]
            write_json(source, coco(images))
        elif truth == "lines":
            source = write_lines(folder / "boxes.txt", box_lines(images))
        reader = known_sizes(sizes)
        records = load_folder(root, source, classes, sizes=reader)
        images = [images[i] for i in order]
        if truth == "none":
            images = [replace(image, boxes=[]) for image in images]
        wanted = expected(images, root, ids, labels=classes == "auto")
        check_chain(records, wanted, folder, root)


def test_names_are_odd_enough():
    """The named oddities are tried whatever hypothesis draws."""
    records = [
        ImageRecord(i, f"/d/x/{name}.jpg", 3, 4, key=f"x/{name}.jpg", gt_boxes=[[0, 1, 2, 3.25]])
        for i, name in enumerate(dict.fromkeys(ODD_NAMES))
    ]
    with scratch() as folder:
        check_chain(DataSet.from_records(records), records, folder)
        assert len({plain_record(record)[1] for record in records}) == len(records) > 40
