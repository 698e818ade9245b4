"""Box sources of other tools' files: any boxes and names come whole; damaged files are one line."""

import json
import re
from xml.etree import ElementTree

from damage import BROKEN_TEXT, damaged_bytes, damaged_json
from data_sets import boxes_of, names
from hypothesis import strategies as st
from property_cases import cases, scratch
from test_box_sources import (
    GOOD,
    boxes_by_key,
    check_all_came,
    check_damaged,
    in_pixels,
    xywh_of,
)

from wend.pseudo_boxes import read_boxes

XML_NAMES = names.filter(re.compile("[ -~\xa0-\ud7ff\U00010000-\U0010ffff]+").fullmatch)


def sized(size, names=("width", "height")):
    return dict(zip(names, size, strict=True))


def labelme(key, size, boxes):
    shapes = [
        {"label": "a", "points": [[x1, y0], [x0, y1]], "shape_type": "rectangle", "score": 0.5}
        for x0, y0, x1, y1 in boxes
    ]
    return {"shapes": shapes, "imagePath": key, **sized(size, ("imageWidth", "imageHeight"))}


def sa1b(key, size, boxes):
    boxes = [[x, y, w - 1, h - 1] for x, y, w, h in map(xywh_of, boxes)]
    masks = [{"bbox": box, "predicted_iou": 0.5} for box in boxes]
    return {"image": {"file_name": key, **sized(size)}, "annotations": masks}


def label_studio(key, size, boxes):
    names = ("x", "y", "width", "height")
    values = [
        [100 * number / side for number, side in zip(xywh_of(box), (*size, *size), strict=True)]
        for box in boxes
    ]
    results = [
        {"id": str(i), "value": {**dict(zip(names, value, strict=True)), "rectanglelabels": ["a"]}}
        for i, value in enumerate(values)
    ]
    return {"data": {"image": key}, "predictions": [{"result": results}]}


def detectron2(key, size, boxes):
    rows = [{"bbox": box, "bbox_mode": 0, "category_id": 0} for box in boxes]
    rows[0] |= {"bbox": xywh_of(rows[0]["bbox"]), "bbox_mode": 1}
    return {"file_name": key, **sized(size), "annotations": rows}


def fiftyone(key, size, boxes):
    whole = (*size, *size)
    values = [[a / b for a, b in zip(xywh_of(box), whole, strict=True)] for box in boxes]
    detections = [{"label": "a", "bounding_box": value, "confidence": 0.5} for value in values]
    return {"filepath": f"/data/{key}", "found": {"detections": detections}}


def hugging_face(key, size, boxes):
    columns = {"bbox": list(map(xywh_of, boxes)), "categories": [0] * len(boxes)}
    return {"file_name": key, **sized(size), "objects": columns}


def supervision(key, size, boxes):
    corners = ("x_min", "y_min", "x_max", "y_max")
    about = {"class_id": 0, "confidence": 0.5, "image": key}
    return [dict(zip(corners, box, strict=True)) | about for box in boxes]


ONE_FILE = {  # source -> an image as its part of the file, and the file of all parts
    "label_studio": (label_studio, list),
    "detectron2": (detectron2, list),
    "fiftyone": (fiftyone, lambda parts: {"samples": parts}),
    "supervision": (supervision, lambda parts: [row for part in parts for row in part]),
}
FILES = {"labelme": labelme, "sam": sa1b}  # a file for each image
VALUES = (*ONE_FILE, *FILES, "hugging_face")  # the JSON's


def images_of(found):
    return [
        (key, size, [in_pixels(size, box) for box in rows]) for key, (size, rows) in found.items()
    ]


def cvat(found):
    root = ElementTree.Element("annotations")
    for key, size, boxes in images_of(found):
        sides = {name: str(side) for name, side in sized(size).items()}
        image = ElementTree.SubElement(root, "image", {"name": key, **sides})
        for box in boxes:
            edges = zip(("xtl", "ytl", "xbr", "ybr"), map(str, box), strict=True)
            ElementTree.SubElement(image, "box", {"label": "a", **dict(edges)})
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def write_peer(folder, source, found):
    """The boxes as files of a source; what ``read_boxes`` is asked for, a file and its JSON."""
    images, path, value = images_of(found), folder / "boxes.json", None
    if source == "cvat":
        path = folder / "annotations.xml"
        path.write_bytes(cvat(found))
    elif source == "hugging_face":
        path = folder / "metadata.jsonl"
        *others, value = [hugging_face(*image) for image in images]
        path.write_text("".join(json.dumps(line) + "\n" for line in [*others, value]))
    elif source in ONE_FILE:
        part, whole = ONE_FILE[source]
        value = whole([part(*image) for image in images])
        path.write_text(json.dumps(value))
    else:
        for number, image in enumerate(images):
            path, value = folder / f"{number}.json", FILES[source](*image)
            path.write_text(json.dumps(value))
        return {"source": source, "path": str(folder)}, path, value
    return {"source": source, "path": str(path)}, path, value


@cases(times=0.6, source=st.sampled_from(VALUES), found=boxes_by_key(most=3))
def test_boxes_of_peers_come_whole(source, found):
    with scratch() as folder:
        spec, *_ = write_peer(folder, source, found)
        check_all_came(spec, found, folder)


@cases(times=0.2, found=boxes_by_key(name=XML_NAMES, most=3))
def test_boxes_of_cvat_come_whole(found):
    with scratch() as folder:
        spec, *_ = write_peer(folder, "cvat", found)
        check_all_came(spec, found, folder)


@cases(times=3, source=st.sampled_from(VALUES), data=st.data())
def test_wrong_values_of_peers(source, data):
    with scratch() as folder:
        spec, file, value = write_peer(folder, source, GOOD)
        whole = boxes_of(read_boxes(spec))
        text, kind = data.draw(damaged_json(value))
        lines = file.read_text().splitlines()[:-1]  # of Hugging Face's; all others have one
        file.write_text("\n".join([*lines, text]), encoding="utf-8", errors="surrogatepass")
        check_damaged(spec, folder, kind, whole, ("key twice",))


@cases(times=3, source=st.sampled_from([*VALUES, "cvat"]), data=st.data())
def test_wrong_bytes_of_peers(source, data):
    with scratch() as folder:
        spec, file, _ = write_peer(folder, source, GOOD)
        whole = boxes_of(read_boxes(spec))
        damaged, kind = data.draw(damaged_bytes(file.read_bytes()))
        file.write_bytes(damaged)
        refused = (*BROKEN_TEXT, "cut")
        if source == "hugging_face":
            refused = ("utf-16", "no utf-8")  # lines: none, or fewer, are whole files, too
        elif source == "cvat":
            refused = ("empty", "cut")
        check_damaged(spec, folder, kind, whole, refused)
