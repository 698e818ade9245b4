"""Files as other auto-labellers write them, made here: each read by the source that docs name."""

import json
import math
import os
import pickle
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wend.errors import InputError, MissingFileError
from wend.formats.mask_boxes import mask_box
from wend.pseudo_boxes import PseudoBoxes, attach_pseudo_boxes, read_boxes
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord


def write(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def make_folder(path: Path) -> Path:
    path.mkdir()
    return path


def as_dict(boxes: PseudoBoxes) -> dict[str, list]:
    return {key: rows.tolist() for key, rows in zip(boxes.keys, boxes.table, strict=True)}


def refused(message: str, source: str, path: Path, **options: object) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        read_boxes({"source": source, "path": path, **options})


# ---- masks ----

# 3 rows and 4 columns; by columns: 4 background, 2 object, 1 background, 2 object, 3 background
PLAIN = {"size": [3, 4], "counts": [4, 2, 1, 2, 3]}
SQUARE = (1.0, 1.0, 3.0, 3.0)  # columns 1 and 2, rows 1 and 2
COMPRESSED = {"size": [3, 4], "counts": "42102"}  # as pycocotools writes it; differences from 4th


@pytest.mark.parametrize(
    ("mask", "box"),
    [
        (PLAIN, SQUARE),
        (COMPRESSED, SQUARE),
        ({"size": [3, 4], "counts": [0, 12]}, (0, 0, 4, 3)),
        ({"size": [3, 4], "counts": [5, 2, 5]}, (1, 0, 3, 3)),  # goes on in the next column
        ({"size": [3, 4], "counts": [11, 1]}, (3, 2, 4, 3)),
        ({"size": [3, 4], "counts": [12]}, None),
        ({"size": [3, 4], "counts": [5, 0, 7]}, None),
        ([[1, 2, 5, 2, 5.5, 4], [0.5, 3, 1, 3, 1, 3.5]], (0.5, 2, 5.5, 4)),
        ([1, 2, 5, 2, 5.5, 4], (1, 2, 5.5, 4)),
        ([], None),
    ],
)
def test_the_box_of_a_mask_reaches_to_the_end_of_its_last_pixel(mask, box):
    assert mask_box(mask, "here") == box


def test_boxes_of_random_masks_are_those_of_pycocotools():
    masks = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    draw = np.random.default_rng(0)
    for _ in range(200):
        shape = tuple(draw.integers(1, 60, 2))
        pixels = np.asfortranarray(draw.random(shape) < draw.choice([0.01, 0.1, 0.9]), np.uint8)
        code = masks.encode(pixels)
        x, y, width, height = masks.toBbox(code).tolist()
        text = {"size": code["size"], "counts": code["counts"].decode()}
        expected = (x, y, x + width, y + height) if pixels.any() else None
        assert mask_box(text, "here") == expected


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("4210", "expected a mask"),
        ({"size": [3], "counts": [12]}, "expected a mask"),
        ({"size": [3, 4]}, "expected counts as whole numbers"),
        ({"size": [3, 4], "counts": [4, 2.5]}, "expected counts as whole numbers"),
        ({"size": [3, 4], "counts": "4 "}, "expected counts as whole numbers"),
        ({"size": [3, 4], "counts": "4210P"}, "expected counts as whole numbers"),
        ({"size": [3, 4], "counts": "oooooooooooooooo0"}, "expected counts as whole numbers"),
        ({"size": [3, 4], "counts": [4, 2, 1]}, "fill 4 x 3 (width x height) = 12 pixels"),
        ({"size": [3, 4], "counts": [14, -2]}, "expected run lengths from 0"),
        ([[1, 2, 3]], "expected a mask"),
        ([[1, 2, 3, "4"]], "expected numbers in its polygons"),
    ],
)
def test_what_is_no_mask_is_an_error(mask, message):
    with pytest.raises(InputError, match=f"here: .*{re.escape(message)}"):
        mask_box(mask, "here")


# ---- CutLER, CuVLER, MaskCut; annotations without bbox ----

IMAGES = [{"id": 1, "file_name": "train/n01/a.JPEG", "width": 4, "height": 3}]


def test_maskcuts_annotations_are_read_by_coco(tmp_path):
    rows = [
        {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 4, "width": 4, "height": 3}
        | {"bbox": [1.0, 1.0, 2.0, 2.0], "segmentation": COMPRESSED}
    ]
    path = write(tmp_path / "m.json", {"images": IMAGES, "annotations": rows})
    boxes = read_boxes({"source": "coco", "path": path})
    assert as_dict(boxes) == {"train/n01/a.JPEG": [[0.25, 1 / 3, 0.75, 1]]}
    assert boxes.table.scores is None
    without = read_boxes({"source": "coco", "path": path, "boxes": "masks"})
    assert as_dict(without) == as_dict(boxes)


def maskcuts_file(path, **of_row):
    """An image of 4 x 3 pixels as MaskCut writes it: its width as height, and of the mask right."""
    image = {"id": 1, "file_name": "n01/a.JPEG", "width": 3, "height": 4, "license": 1}
    square = {"id": 2, "file_name": "n01/square.JPEG", "width": 3, "height": 3, "license": 1}
    row = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 4, "width": 4}
    row |= {"height": 3, "bbox": [1.0, 1.0, 2.0, 2.0], "segmentation": COMPRESSED} | of_row
    whole = {"size": [3, 3], "counts": [0, 9]}
    rows = [row, {**row, "id": 2, "image_id": 2, "bbox": [0, 0, 3, 3], "segmentation": whole}]
    return write(path, {"images": [image, square], "annotations": rows})


@pytest.mark.parametrize("options", [{}, {"boxes": "masks"}])
def test_width_and_height_that_maskcut_exchanges_are_those_of_its_masks(tmp_path, options):
    boxes = read_boxes({"source": "coco", "path": maskcuts_file(tmp_path / "m.json"), **options})
    assert as_dict(boxes) == {
        "n01/a.JPEG": [[0.25, 1 / 3, 0.75, 1]],
        "n01/square.JPEG": [[0, 0, 1, 1]],
    }
    assert boxes.sizes.tolist() == [[4, 3], [3, 3]]
    assert boxes.counts["exchanged"].examples == ("n01/a.JPEG",)
    record = ImageRecord(1, "n01/a.JPEG", 4, 3)
    (attached,), report = attach_pseudo_boxes(DataSet.from_records([record]), boxes)
    np.testing.assert_allclose(attached.pseudo_boxes, [SQUARE])
    assert (report.number("exchanged"), report.number("other_shape")) == (1, 0)
    with pytest.raises(InputError, match="strict: 1 images whose width and height the file"):
        attach_pseudo_boxes(DataSet.from_records([record]), boxes, strict=["exchanged"])


def test_a_mask_that_is_read_for_its_size_alone_may_hold_anything_else(tmp_path):
    path = tmp_path / "m.json"
    maskcuts_file(path, segmentation=[[1, 1, 3, 1, 3, 3]])  # polygons state no size
    boxes = read_boxes({"source": "coco", "path": path})
    assert (boxes.sizes[0].tolist(), "exchanged" in boxes.counts) == ([3, 4], False)
    for odd in (None, [], "", 7, {}, {"size": "4 x 3"}, {"size": [0, 4]}, {"counts": [12]}):
        maskcuts_file(path, segmentation=odd)
        assert len(read_boxes({"source": "coco", "path": path})) == 2
    text = path.read_text()
    path.write_text(text.replace('"score"', "").replace('"area": 4', '"area": NaN'))  # row by row
    assert len(read_boxes({"source": "coco", "path": path})) == 2
    path.write_text(maskcuts_file(path).read_text().replace('"area": 4', '"area": NaN'))
    assert "exchanged" in read_boxes({"source": "coco", "path": path}).counts


def test_cutlers_rounds_have_scores_for_some_boxes_only(tmp_path):
    path = maskcuts_file(tmp_path / "r1.json", score=0.75)
    content = json.loads(path.read_text())
    del content["annotations"][1]["score"]
    write(path, content)
    refused('annotations[1]: expected "score": a finite number, as other', "coco", path)
    boxes = read_boxes({"source": "coco", "path": path, "scores": False})
    assert (len(boxes.table.boxes), boxes.table.scores) == (2, None)
    refused("scores: expected true or false, got 'no'", "coco", path, scores="no")


def test_masks_of_one_image_that_disagree_are_an_error(tmp_path):
    path = maskcuts_file(tmp_path / "m.json")
    content = json.loads(path.read_text())
    other = {"size": [4, 3], "counts": [12]}
    content["annotations"].append({**content["annotations"][0], "id": 3, "segmentation": other})
    write(path, content)
    message = 'annotations[0]: expected "segmentation" of the size of its image'
    for options in ({}, {"boxes": "masks"}):
        refused(message, "coco", path, **options)


def test_results_with_masks_are_of_the_masks_sizes(tmp_path):
    rows = [{"image_id": "n01/a.JPEG", "bbox": [1, 1, 2, 2], "score": 0.5}]
    path = write(tmp_path / "r.json", [rows[0] | {"segmentation": COMPRESSED}])
    boxes = read_boxes({"source": "coco", "path": path})
    assert (boxes.frame, as_dict(boxes)) == ("fraction", {"n01/a.JPEG": [[0.25, 1 / 3, 0.75, 1]]})
    boxes = read_boxes({"source": "coco", "path": write(path, rows)})
    assert (boxes.frame, as_dict(boxes)) == ("pixel", {"n01/a.JPEG": [list(SQUARE)]})


def test_cuvlers_boxes_have_scores_and_its_ids_are_of_14_digits(tmp_path):
    image = {"id": 14407640000018, "file_name": "n01440764/n01440764_18.JPEG", "height": 3}
    image |= {"width": 4, "2024-01-01 00:00:00": "2024-01-01", "max_cluster_size": 4}
    row = {"image_id": image["id"], "category_id": 1, "segmentation": COMPRESSED, "area": 4}
    row |= {"iscrowd": 0, "height": 3, "width": 4, "crf_success": True}
    rows = [row | {"id": 1, "bbox": [1.0, 1.0, 2.0, 2.0], "cluster_size": 1, "score": 0.25}]
    rows.append(row | {"id": 2, "bbox": [0.0, 0.0, 4.0, 3.0], "cluster_size": 4, "score": 1.0})
    categories = [{"id": 1, "name": "fg", "supercategory": "fg"}]
    content = {"info": {}, "licenses": [], "categories": categories, "images": [image]}
    path = write(tmp_path / "v.json", content | {"annotations": rows})
    boxes = read_boxes({"source": "coco", "path": path})
    expected = [[0, 0, 1, 1], [0.25, 1 / 3, 0.75, 1]]
    assert as_dict(boxes) == {"n01440764/n01440764_18.JPEG": expected}
    assert boxes.table.scores.tolist() == [1, 0.25]
    assert len(read_boxes({"source": "coco", "path": path, "min_score": 0.5}).table.boxes) == 1


def test_masks_without_bbox_become_boxes_with_their_scores(tmp_path):
    rows = [{"image_id": 1, "segmentation": COMPRESSED, "score": 0.25}]
    rows += [{"image_id": 1, "segmentation": [[0, 0, 2, 0, 2, 1.5]], "score": 0.75}]
    rows += [{"image_id": 1, "segmentation": {"size": [3, 4], "counts": [12]}, "score": 0.5}]
    rows += [{"image_id": 1, "segmentation": PLAIN, "iscrowd": 1}]
    path = write(tmp_path / "m.json", {"images": IMAGES, "annotations": rows})
    refused('annotations[0]: expected "bbox"', "coco", path)
    refused("masks are not read unless with boxes: masks", "coco", path)
    boxes = read_boxes({"source": "coco", "path": path, "boxes": "masks"})
    assert as_dict(boxes) == {"train/n01/a.JPEG": [[0, 0, 0.5, 0.5], [0.25, 1 / 3, 0.75, 1]]}
    assert boxes.table.scores.tolist() == [0.75, 0.25]
    assert boxes.counts["zero_area"].number == 1
    assert boxes.counts["crowd"].number == 1


def test_results_of_masks_are_fractions_of_the_masks_sizes(tmp_path):
    path = write(tmp_path / "r.json", [{"image_id": "n01/a.JPEG", "segmentation": PLAIN}])
    boxes = read_boxes({"source": "coco", "path": path, "boxes": "masks"})
    assert boxes.frame == "fraction"
    record = ImageRecord(1, "n01/a.JPEG", 400, 300)
    ((attached,), _) = attach_pseudo_boxes(DataSet.from_records([record]), boxes)
    np.testing.assert_allclose(attached.pseudo_boxes, [[100, 100, 300, 300]])
    rows = [{"image_id": "a.jpg", "segmentation": [[1, 1, 3, 1, 3, 2]]}]
    boxes = read_boxes({"source": "coco", "path": write(path, rows), "boxes": "masks"})
    assert (boxes.frame, as_dict(boxes)) == ("pixel", {"a.jpg": [[1, 1, 3, 2]]})


def test_a_mask_of_another_size_than_its_image_or_none_is_an_error(tmp_path):
    other = {"image_id": 1, "segmentation": {"size": [5, 3], "counts": [15]}}
    path = write(tmp_path / "m.json", {"images": IMAGES, "annotations": [other]})
    message = 'annotations[0]: expected "segmentation" of the size of its image'
    refused(message, "coco", path, boxes="masks")
    write(path, {"images": IMAGES, "annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}]})
    refused('annotations[0]: expected "segmentation": a mask', "coco", path, boxes="masks")
    refused("boxes: expected bbox or masks, got 'mask'", "coco", path, boxes="mask")


# ---- Segment Anything ----


def sam_mask(segmentation, bbox, iou, stability=0.5):
    return {
        "segmentation": segmentation,
        "area": 4,
        "bbox": bbox,
        "predicted_iou": iou,
        "point_coords": [[1.5, 1.5]],
        "stability_score": stability,
        "crop_box": [0, 0, 4, 3],
    }


def test_segment_anythings_masks_are_read_by_image_best_first(tmp_path):
    whole = {"size": [3, 4], "counts": [0, 12]}
    masks = [sam_mask(whole, [0, 0, 3, 2], 0.5, 0.75), sam_mask(COMPRESSED, [1, 1, 1, 1], 1.25)]
    write(tmp_path / "n01/a.json", masks)
    write(tmp_path / "n02/none.json", [])
    boxes = read_boxes({"source": "sam", "path": tmp_path})
    assert as_dict(boxes) == {"n01/a": [[0.25, 1 / 3, 0.75, 1], [0, 0, 1, 1]]}
    assert boxes.table.scores.tolist() == [1.25, 0.5]
    stable = read_boxes({"source": "sam", "path": tmp_path, "score": "stability_score"})
    assert stable.table.scores.tolist() == [0.75, 0.5]
    objects = read_boxes({"source": "sam", "path": tmp_path, "max_area": 0.9})
    assert as_dict(objects) == {"n01/a": [[0.25, 1 / 3, 0.75, 1]]}
    record = ImageRecord(1, "n01/a.JPEG", 8, 6)
    ((attached,), _) = attach_pseudo_boxes(DataSet.from_records([record]), objects)
    np.testing.assert_allclose(attached.pseudo_boxes, [[2, 2, 6, 6]])


def test_without_a_mask_the_bbox_ends_with_its_last_pixel(tmp_path):
    masks = [{"bbox": [1, 1, 1, 1], "predicted_iou": 0.5}]  # pixels 1 and 2
    boxes = read_boxes({"source": "sam", "path": write(tmp_path / "a.json", masks)})
    assert (boxes.frame, as_dict(boxes)) == ("pixel", {"a": [list(SQUARE)]})


def test_sa1bs_files_name_their_image(tmp_path):
    image = {"image_id": 7, "width": 4, "height": 3, "file_name": "sa_7.jpg"}
    content = {"image": image, "annotations": [sam_mask(COMPRESSED, [1, 1, 1, 1], 0.5)]}
    path = write(tmp_path / "sa_7.json", content)
    boxes = read_boxes({"source": "sam", "path": path})
    assert as_dict(boxes) == {"sa_7.jpg": [[0.25, 1 / 3, 0.75, 1]]}
    content["image"]["width"] = 3
    write(path, content)
    refused("sa_7.json, mask 0: expected a mask of the image's size (3.0, 3.0)", "sam", path)


def test_wrong_masks_of_segment_anything_are_errors_that_name_file_and_mask(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(MissingFileError, match=r"holds no \*\.json and no folders with metadata"):
        read_boxes({"source": "sam", "path": tmp_path})
    refused("a.json, mask 0: expected an object", "sam", write(path, [3]))
    bad = sam_mask(PLAIN, [1, 1, 1, 1], "0.5")
    refused(
        'a.json, mask 1: expected "predicted_iou"',
        "sam",
        write(path, [sam_mask(PLAIN, [], 1), bad]),
    )
    refused("a.json, mask 0: segmentation: expected", "sam", write(path, [sam_mask("x", [], 1)]))
    refused('expected "segmentation" or "bbox"', "sam", write(path, [sam_mask(None, [1], 1)]))
    refused('a.json: expected "image"', "sam", write(path, {"annotations": []}))
    refused("a.json: expected the masks of an image", "sam", write(path, "7"))
    message = "score: expected predicted_iou or stability_score or score"
    refused(message, "sam", path, score="area")
    refused("expected 0 <= min_area < max_area <= 1", "sam", path, min_area=1)


@pytest.mark.parametrize("at_root", [True, False])
def test_amgs_folders_of_pngs_are_read_by_their_tables(tmp_path, at_root):
    header = "id,area,bbox_x0,bbox_y0,bbox_w,bbox_h,point_input_x,point_input_y,predicted_iou,"
    header += "stability_score,crop_box_x0,crop_box_y0,crop_box_w,crop_box_h"
    folder = tmp_path / "out" / "wren 1"
    write(folder / "metadata.csv", f"{header}\n0,4,1,1,1,1,1.5,1.5,0.5,0.75,0,0,4,3")
    Image.new("L", (4, 3)).save(folder / "0.png")
    path = folder if at_root else tmp_path / "out"
    boxes = read_boxes({"source": "sam", "path": path})
    assert as_dict(boxes) == {"wren 1": [[0.25, 1 / 3, 0.75, 1]]}  # pixels 1 and 2, as SQUARE
    assert boxes.table.scores.tolist() == [0.5]
    stable = read_boxes({"source": "sam", "path": path, "score": "stability_score"})
    assert stable.table.scores.tolist() == [0.75]
    (folder / "0.png").unlink()
    boxes = read_boxes({"source": "sam", "path": path})
    assert (boxes.frame, as_dict(boxes)) == ("pixel", {"wren 1": [list(SQUARE)]})
    write(folder / "metadata.csv", f"{header}\n0,4,1,1,1,one,1.5,1.5,0.5,0.75,0,0,4,3")
    refused("metadata.csv, mask 0: expected a finite number", "sam", path)
    write(folder / "metadata.csv", f"{header}\n0,4,1,1")
    refused("metadata.csv, mask 0: expected 14 values, got 4", "sam", path)
    write(folder / "metadata.csv", "id,area\n0,4")
    refused("metadata.csv: expected the columns bbox_x0", "sam", path)
    write(folder / "metadata.csv", header)  # nothing was segmented
    assert len(read_boxes({"source": "sam", "path": path})) == 0


def test_unsams_masks_have_no_score(tmp_path):
    row = {"id": 1, "image_id": 7, "category_id": 1, "iscrowd": 0, "area": 4, "width": 4}
    row |= {"height": 3, "bbox": [1.0, 1.0, 2.0, 2.0], "segmentation": COMPRESSED}
    image = {"id": 7, "file_name": "sa_7.jpg", "width": 4, "height": 3, "license": 1}
    path = write(tmp_path / "sa_7.json", {"info": {}, "image": image, "annotations": [row]})
    boxes = read_boxes({"source": "sam", "path": tmp_path})
    assert as_dict(boxes) == {"sa_7.jpg": [[0.25, 1 / 3, 0.75, 1]]}
    assert boxes.table.scores is None
    refused('mask 0: expected "predicted_iou"', "sam", path, score="predicted_iou")
    write(tmp_path / "sa_8.json", [sam_mask(COMPRESSED, [1, 1, 1, 1], 0.5)])
    refused("sa_8: expected masks with no score, as sa_7.jpg has them", "sam", tmp_path)


def test_grounded_sams_results_name_their_image(tmp_path):
    row = {"class_name": "bird", "bbox": [0.5, 0.5, 3.5, 3.0], "segmentation": COMPRESSED}
    content = {"image_path": "notebooks/images/truck.jpg", "annotations": [row | {"score": [0.5]}]}
    content |= {"box_format": "xyxy", "img_width": 4, "img_height": 3}
    path = write(tmp_path / "results.json", content)
    boxes = read_boxes({"source": "sam", "path": path})
    assert as_dict(boxes) == {"notebooks/images/truck.jpg": [[0.25, 1 / 3, 0.75, 1]]}
    assert boxes.table.scores.tolist() == [0.5]
    content["annotations"] = [{"bbox": [1, 0, 3, 3], "score": 0.25}]  # a detector's box alone
    boxes = read_boxes({"source": "sam", "path": write(path, content)})
    assert as_dict(boxes) == {"notebooks/images/truck.jpg": [[0.25, 0, 0.75, 1]]}
    refused(
        '"box_format": "xyxy", got \'xywh\'', "sam", write(path, content | {"box_format": "xywh"})
    )


# ---- FiftyOne ----


def detection(box, label="bird", **more):
    return {"_cls": "Detection", "label": label, "bounding_box": box, **more}


def sample(path, **fields):
    values = {name: {"_cls": "Detections", "detections": rows} for name, rows in fields.items()}
    return {"_id": {"$oid": "65"}, "filepath": path, "tags": [], "metadata": None, **values}


def test_fiftyones_samples_are_fractions_with_confidence(tmp_path):
    rows = [detection([0.25, 0.5, 0.5, 0.25], confidence=0.25, mask=None)]
    rows += [detection([0, 0, 0.5, 1], confidence=0.75)]
    samples = [sample("data/n01/a.jpg", predictions=rows), sample("data/n01/b.jpg")]
    write(tmp_path / "samples.json", {"samples": samples})
    for path in (tmp_path, tmp_path / "samples.json"):
        boxes = read_boxes({"source": "fiftyone", "path": path})
        assert as_dict(boxes) == {"data/n01/a.jpg": [[0, 0, 0.5, 1], [0.25, 0.5, 0.75, 0.75]]}
        assert boxes.frame == "fraction"
        assert boxes.table.scores.tolist() == [0.75, 0.25]


def test_fiftyones_fields_and_labels_are_chosen(tmp_path):
    truth, cat = [detection([0, 0, 1, 1])], detection([0, 0, 0.5, 0.5], "cat")
    both = sample("a.jpg", ground_truth=truth, predictions=[cat, detection([0.5, 0, 0.5, 1])])
    path = write(tmp_path / "samples.json", {"samples": [sample("b.jpg"), both]})
    refused("expected one field with detections, got ground_truth, predictions", "fiftyone", path)
    refused("no sample has the field 'p'", "fiftyone", path, field="p")
    assert as_dict(read_boxes({"source": "fiftyone", "path": path, "field": "ground_truth"})) == {
        "a.jpg": [[0, 0, 1, 1]]
    }
    refused("holds boxes of 2 labels ('cat', 'bird')", "fiftyone", path, field="predictions")
    chosen = {"source": "fiftyone", "path": path, "field": "predictions"}
    assert as_dict(read_boxes({**chosen, "label": "cat"})) == {"a.jpg": [[0, 0, 0.5, 0.5]]}
    assert len(read_boxes({**chosen, "label": "all"}).table.boxes) == 2
    refused("label 'dog': no box has it", "fiftyone", path, field="predictions", label="dog")


def test_fiftyones_files_by_sample_and_its_simple_labels(tmp_path):
    write(tmp_path / "s/samples/1.json", sample("a.jpg", p=[detection([0, 0, 1, 0.5])]))
    write(tmp_path / "s/samples/2.json", sample("b.jpg"))
    assert as_dict(read_boxes({"source": "fiftyone", "path": tmp_path / "s"})) == {
        "a.jpg": [[0, 0, 1, 0.5]]
    }
    rows = [{"label": 0, "bounding_box": [0, 0, 0.5, 0.5], "confidence": 0.5}]
    write(tmp_path / "l/labels.json", {"classes": ["bird"], "labels": {"n01/a": rows, "b": None}})
    boxes = read_boxes({"source": "fiftyone", "path": tmp_path / "l"})
    assert as_dict(boxes) == {"n01/a": [[0, 0, 0.5, 0.5]]}
    record = ImageRecord(1, "n01/a.jpg", 8, 6)
    ((attached,), _) = attach_pseudo_boxes(DataSet.from_records([record]), boxes)
    np.testing.assert_allclose(attached.pseudo_boxes, [[0, 0, 4, 3]])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (detection([0, 0, 1]), 'expected "bounding_box"'),
        (detection([0, 0, -1, 1]), 'expected "bounding_box"'),
        (detection([0, 0, 100, 50]), "far outside 0..1 for fractions"),
        (detection([0, 0, 1, 1], confidence="0.5"), 'expected "confidence"'),
        (detection([0, 0, 1, 1], confidence=0.5), "expected confidence for all boxes or none"),
        (detection([0, 0, 1, 1], label=["bird"]), 'expected "label"'),
        (7, "samples[0], detection 1: expected an object"),
    ],
)
def test_wrong_detections_of_fiftyone_are_errors(tmp_path, wrong, message):
    rows = [detection([0, 0, 1, 1]), wrong]
    path = write(tmp_path / "samples.json", {"samples": [sample("a.jpg", p=rows)]})
    refused(message, "fiftyone", path)


def test_a_folder_without_an_export_of_fiftyone_is_an_error(tmp_path):
    with pytest.raises(MissingFileError, match=r"holds no samples\.json or labels\.json"):
        read_boxes({"source": "fiftyone", "path": tmp_path})
    refused("expected FiftyOne's samples.json", "fiftyone", write(tmp_path / "labels.json", [1]))
    nothing = write(tmp_path / "samples.json", {"samples": [sample("a.jpg")]})
    refused("expected one field with detections, got none", "fiftyone", nothing)


def test_fiftyones_polylines_and_single_detections_are_boxes(tmp_path):
    parts = [[[0.25, 0.5], [0.5, 0.75], [0.5, 0.5]], [[0.125, 0.25], [0.25, 0.25], [0.25, 0.5]]]
    polyline = {"_cls": "Polyline", "label": "bird", "points": parts, "filled": True}
    polylines = {"_cls": "Polylines", "polylines": [polyline, {**polyline, "points": []}]}
    samples = [{**sample("a.jpg"), "masks": polylines, "main": detection([0, 0, 0.5, 1])}]
    samples.append({**sample("b.jpg"), "masks": None, "main": None})
    path = write(tmp_path / "samples.json", {"name": "mine", "samples": samples})
    refused("expected one field with detections, got masks, main", "fiftyone", path)
    masks = read_boxes({"source": "fiftyone", "path": path, "field": "masks"})
    assert as_dict(masks) == {"a.jpg": [[0.125, 0.25, 0.5, 0.75]]}
    assert masks.counts["zero_area"].number == 1
    main = read_boxes({"source": "fiftyone", "path": path, "field": "main"})
    assert as_dict(main) == {"a.jpg": [[0, 0, 0.5, 1]]}
    refused("field 'filepath': expected Detections", "fiftyone", path, field="filepath")
    polyline["points"] = [[[0.25, 0.5], [0.5]]]
    message = 'samples[0], detection 0: expected "points": [[[x, y], ...], ...]'
    refused(message, "fiftyone", write(path, {"samples": samples}), field="masks")


# ---- LabelMe, AnyLabeling, X-AnyLabeling ----


def shape(points, kind="polygon", label="AUTOLABEL_OBJECT", **more):
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, **more}


def labelme_file(path, shapes, image="a.jpg", width=40, height=20):
    content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image}
    return write(path, {**content, "imageData": None, "imageHeight": height, "imageWidth": width})


@pytest.mark.parametrize(
    ("made", "pixels"),
    [
        (shape([[30, 5], [10, 15]], "rectangle"), (10, 5, 30, 15)),
        (shape([[10, 5], [30, 5], [30, 15], [10, 15]], "rectangle"), (10, 5, 30, 15)),
        (shape([[10, 5], [30.5, 6], [20, 15]]), (10, 5, 30.5, 15)),
        (shape([[10, 5], [30, 6], [29, 15], [9, 14]], "rotation"), (9, 5, 30, 15)),
        (shape([[20, 10], [23, 14]], "circle"), (15, 5, 25, 15)),
        (shape([[10, 5], [29, 14]], "mask", mask="iVBO"), (10, 5, 30, 15)),  # last pixel within
    ],
)
def test_shapes_of_labelme_are_boxes(tmp_path, made, pixels):
    path = labelme_file(tmp_path / "a.json", [made])
    boxes = read_boxes({"source": "labelme", "path": path})
    assert boxes.frame == "fraction"
    np.testing.assert_allclose(boxes.table.boxes * [40, 20, 40, 20], [pixels])
    assert (list(boxes.keys), boxes.table.scores) == (["a.jpg"], None)


def test_labelmes_images_are_named_from_the_folder_of_their_files(tmp_path):
    box = shape([[0, 0], [20, 10]], "rectangle", score=0.5)
    labelme_file(tmp_path / "labels/n01/a.json", [box], "..\\..\\images\\n01\\a.jpg")
    labelme_file(tmp_path / "labels/n02/a.json", [box, shape([[0, 0]], "point", score=0.25)])
    labelme_file(tmp_path / "labels/wr\u00ebn.json", [{**box, "score": 0.25}], "")
    labelme_file(tmp_path / "labels/n03/b.json", [box], "D:\\my photos\\n03\\b.jpg")
    boxes = read_boxes({"source": "labelme", "path": tmp_path / "labels"})
    names = ("images/n01/a.jpg", "n02/a.jpg", "wr\u00ebn", "my photos/n03/b.jpg")
    assert as_dict(boxes) == {name: [[0, 0, 0.5, 0.5]] for name in names}
    assert sorted(boxes.table.scores.tolist()) == [0.25, 0.5, 0.5, 0.5]
    assert boxes.counts["zero_area"].number == 1  # the point


def test_labelmes_labels_are_chosen_and_what_is_no_shape_is_an_error(tmp_path):
    path = tmp_path / "a.json"
    two = [shape([[0, 0], [9, 9]], "rectangle", "cat"), shape([[9, 9], [10, 12], [12, 9]])]
    labelme_file(path, two)
    refused("holds boxes of 2 labels ('cat', 'AUTOLABEL_OBJECT')", "labelme", path)
    boxes = read_boxes({"source": "labelme", "path": path, "label": "cat"})
    assert boxes.table.boxes.tolist() == [[0, 0, 9 / 40, 9 / 20]]
    refused("label 'dog': no box has it", "labelme", path, label="dog")
    for wrong, message in [
        (7, "shape 0: expected an object"),
        (shape([]), 'shape 0: expected "points": [[x, y], ...]'),
        (shape([[1, "2"]]), 'shape 0: expected "points": [[x, y], ...]'),
        (shape([[1, 2], [3, 4]], "star"), 'shape 0: expected a "shape_type" of rectangle'),
        (shape([[1, 2]], "rectangle"), "got 'rectangle' with 1"),
        (shape([[1, 2], [3, 4]], label=["cat"]), 'expected "label" as text or a number'),
        (shape([[1, 2], [3, 4]], score="high"), 'expected "score" as a finite number'),
    ]:
        refused(message, "labelme", labelme_file(path, [wrong]))
    refused("expected LabelMe's", "labelme", write(path, {"imagePath": "a.jpg"}))
    refused('expected "imagePath" as text', "labelme", labelme_file(path, [], 7))
    with pytest.raises(MissingFileError, match=r"holds no \*\.json"):
        read_boxes(
            {"source": "labelme", "path": tmp_path.joinpath("none").mkdir() or tmp_path / "none"}
        )
    labelme_file(path, two, width=None, height=None)
    labelme_file(tmp_path / "b.json", two, "b.jpg")
    refused("a.jpg: expected width and height, as other", "labelme", tmp_path, label="all")
    (tmp_path / "b.json").unlink()
    assert read_boxes({"source": "labelme", "path": path, "label": "cat"}).frame == "pixel"


@pytest.mark.parametrize("sides", [(40.0, 20.0), (40.5, 20), (40, None), (0, 20), (-1, -1)])
def test_a_size_that_a_file_states_may_be_any_length_or_absent(tmp_path, sides):
    width, height = sides
    box = shape([[0, 0], [20, 10]], "rectangle")
    rows = [{"bbox": [0, 0, 20, 10], "bbox_mode": 0, "category_id": 0}]
    files = {
        "labelme": labelme_file(tmp_path / "m.json", [box], width=width, height=height),
        "detectron2": write(tmp_path / "d.json", [dataset_dict(rows, width=width, height=height)]),
    }
    for source, path in files.items():
        boxes = read_boxes({"source": source, "path": path})
        if sides[0] >= 40 and sides[1]:
            assert boxes.frame == "fraction"
            assert boxes.table.boxes.tolist() == [[0, 0, 20 / width, 10 / height]]
        else:
            assert (boxes.frame, boxes.sizes) == ("pixel", None)


@pytest.mark.parametrize("width", ["40", True, [40], -2, 10**400])
def test_a_size_that_is_none_is_an_error_and_not_passed_over(tmp_path, width):
    message = "expected the image's width and height as numbers above 0, got"
    refused(message, "labelme", labelme_file(tmp_path / "m.json", [], width=width))
    refused(message, "detectron2", write(tmp_path / "d.json", [dataset_dict([], width=width)]))
    sa1b = {"image": {"file_name": "a.jpg", "width": width, "height": 9}, "annotations": []}
    refused(message, "sam", write(tmp_path / "s.json", sa1b))


@pytest.mark.parametrize("value", [["cat"], {"cat": 1}, 1.5])
def test_options_that_name_one_thing_are_text_or_a_number(tmp_path, value):
    texts = {"fiftyone": "field", "label_studio": "image", "supervision": "image"}
    chosen = dict.fromkeys(("fiftyone", "label_studio", "labelme"), "label")
    chosen |= {"detectron2": "category_id", "supervision": "class_id"}
    path = write(tmp_path / "samples.json", [])
    for source, option in chosen.items():
        refused(f"{option}: expected text or a number", source, path, **{option: value})
    for source, option in texts.items():
        refused(f"{option}: expected text, got", source, path, **{option: value})


def test_options_of_few_values_name_them(tmp_path):
    path = write(tmp_path / "c.json", [{"image_id": "a", "bbox": [1, 2, 3, 4], "score": 0.5}])
    refused("score_unit: expected one of probability", "coco", path, score_unit=["percent"])
    refused("pixels must be one of edges, inclusive", "voc", tmp_path, pixels=["edges"])
    refused("confidence: expected true or false, got 'no'", "autodistill", path, confidence="no")


# ---- Label Studio ----


def region(value, label="bird", kind="rectanglelabels", **more):
    sizes = {"original_width": 200, "original_height": 100, "image_rotation": 0}
    return {"id": "r1", "type": kind, **sizes, "value": {**value, kind: [label]}, **more}


def square(turn=0):
    return {"x": 50, "y": 50, "width": 10, "height": 20, "rotation": turn}  # 20 x 20 pixels


def task(results, name="predictions", image="/data/upload/1/9d2f01ab-wren%201.jpg"):
    return {"id": 1, "data": {"image": image}, name: [{"model_version": "sam", "result": results}]}


HALF = math.sqrt(0.5)


@pytest.mark.parametrize(
    ("value", "kind", "percent"),
    [
        (square(), "rectanglelabels", (50, 50, 60, 70)),
        (square(90), "rectanglelabels", (40, 50, 50, 70)),  # clockwise about its corner
        (square(180), "rectanglelabels", (40, 30, 50, 50)),
        (square(45), "labels", (50 - 10 * HALF, 50, 50 + 10 * HALF, 50 + 40 * HALF)),
        ({"points": [[10, 20], [30, 20], [20, 60.5]]}, "polygonlabels", (10, 20, 30, 60.5)),
        ({"x": 50, "y": 50, "radiusX": 10, "radiusY": 5}, "ellipselabels", (40, 45, 60, 55)),
        (
            {"x": 50, "y": 50, "radiusX": 10, "radiusY": 5, "rotation": 90},
            "ellipselabels",
            (47.5, 30, 52.5, 70),  # 20 x 5 pixels, upright
        ),
    ],
)
def test_regions_of_label_studio_are_boxes_in_per_cent_of_the_image(tmp_path, value, kind, percent):
    path = write(tmp_path / "tasks.json", [task([region(value, kind=kind)])])
    boxes = read_boxes({"source": "label_studio", "path": path})
    assert boxes.frame == "fraction"
    np.testing.assert_allclose(100 * boxes.table.boxes, [percent])


def test_label_studios_tasks_are_joined_by_their_names_with_scores(tmp_path):
    choice = {"type": "choices", "value": {"choices": ["clear"]}}
    rows = [region(square(), score=0.25), choice, {"type": "relation", "from_id": "r1"}]
    rows.append(region({**square(), "x": 0}, score=0.75))
    tasks = [task(rows), {"id": 2, "data": {"image": "s3://b/gull.jpg"}, "predictions": []}]
    path = write(tmp_path / "tasks.json", tasks)
    boxes = read_boxes({"source": "label_studio", "path": path})
    assert boxes.table.scores.tolist() == [0.75, 0.25]
    record = ImageRecord(1, "birds/wren 1.jpg", 200, 100)
    ((attached,), _) = attach_pseudo_boxes(DataSet.from_records([record]), boxes)
    np.testing.assert_allclose(attached.pseudo_boxes, [[0, 50, 20, 70], [100, 50, 120, 70]])
    drawn = [{"result": [region(square())], "was_cancelled": False}, {"result": []}]
    drawn.append({"result": [region(square())], "was_cancelled": True})
    path = write(tmp_path / "tasks.json", [tasks[0] | {"annotations": drawn}])
    refused("holds annotations and predictions; choose", "label_studio", path)
    people = read_boxes({"source": "label_studio", "path": path, "results": "annotations"})
    assert (len(people.table.boxes), people.table.scores) == (1, None)
    models = read_boxes({"source": "label_studio", "path": path, "results": "predictions"})
    assert len(models.table.boxes) == 2


@pytest.mark.parametrize(
    ("tasks", "message", "options"),
    [
        ({}, "expected Label Studio's export", {}),
        ([7], "task 0: expected Label Studio's export", {}),
        ([task(-1)], "task 0, predictions: expected result: a list, got -1", {}),
        ([task([7])], 'predictions, result 0: expected {"type", "value"}', {}),
        ([task([region(square())], image=None)], "the image's path under 'image' of its data", {}),
        (
            [task([region(square())])],
            "under 'photo' of its data, which has image",
            {"image": "photo"},
        ),
        ([task([region({**square(), "width": -1})])], "as numbers in per cent", {}),
        ([task([region({**square(), "x": "50"})])], "as numbers in per cent", {}),
        (
            [task([region({"points": [[1, 2], [3]]}, kind="polygonlabels")])],
            'expected "points"',
            {},
        ),
        (
            [task([region({"format": "rle", "rle": [0, 1]}, kind="brushlabels")])],
            "a brush's mask",
            {},
        ),
        ([task([region(square(), image_rotation=90)])], "turned by 90 degrees by hand", {}),
        (
            [task([region(square(9), original_width=None)])],
            "original_width and original_height",
            {},
        ),
        ([task([region(square()), region(square(), "cat")])], "holds boxes of 2 labels", {}),
        (
            [task([region(square())])],
            "results: expected annotations or predictions",
            {"results": "x"},
        ),
        (
            [{**task([]), "predictions": [{"result": [region(square())]}] * 2}],
            "expected one of predictions with boxes, got 2",
            {},
        ),
    ],
    ids=range(15),
)
def test_wrong_tasks_of_label_studio_are_errors(tmp_path, tasks, message, options):
    refused(message, "label_studio", write(tmp_path / "tasks.json", tasks), **options)


def test_results_of_one_region_of_label_studio_are_one_box(tmp_path):
    value = square()
    bare = {"id": "r1", "type": "rectangle", "value": value}
    named = {"id": "r1", "type": "labels", "value": {**value, "labels": ["bird"]}}
    choice = {"id": "r1", "type": "choices", "value": {**value, "choices": ["sharp"]}}
    for results in ([bare, named, choice], [choice, bare, named], [region(value), choice]):
        path = write(tmp_path / "tasks.json", [task(results, image="a.jpg")])
        boxes = read_boxes({"source": "label_studio", "path": path})
        assert as_dict(boxes) == {"a.jpg": [[0.5, 0.5, 0.6, 0.7]]}
        assert not boxes.counts["repeated"].number
    other = {**choice, "id": "r2"}  # a region of its own, without a label
    path = write(tmp_path / "tasks.json", [task([region(value), other])])
    refused("holds boxes of 2 labels ('bird', None)", "label_studio", path)


def test_key_points_of_label_studio_have_no_area(tmp_path):
    point = region({"x": 3, "y": 4, "width": 0.2}, kind="keypointlabels")
    path = write(tmp_path / "tasks.json", [task([region(square()), point], image="a.jpg")])
    boxes = read_boxes({"source": "label_studio", "path": path})
    assert as_dict(boxes) == {"a.jpg": [[0.5, 0.5, 0.6, 0.7]]}
    assert boxes.counts["zero_area"].number == 1


# ---- CVAT and Hugging Face ----


def cvat_file(path, shapes, image='name="n01/wr\u00ebn 1.jpg" width="40" height="20"'):
    text = (
        f"<annotations><version>1.1</version><image id='0' {image}>{shapes}</image></annotations>"
    )
    return write(path / "annotations.xml", f'<?xml version="1.0" encoding="utf-8"?>\r\n{text}')


CVAT_BOX = '<box label="bird" occluded="0" xtl="10.00" ytl="5.00" xbr="20.00" ybr="10.00"'


@pytest.mark.parametrize(
    ("made", "pixels"),
    [
        (f'{CVAT_BOX} z_order="0"></box>', (10, 5, 20, 10)),
        (f'{CVAT_BOX} rotation="90.00"/>', (12.5, 2.5, 17.5, 12.5)),  # about its centre, 15, 7.5
        (f'{CVAT_BOX} rotation="360.00"/>', (10, 5, 20, 10)),
        ('<polygon label="bird" points="1.0,2.0;10,3.5;5,9"/>', (1, 2, 10, 9)),
        ('<ellipse label="bird" cx="20" cy="10" rx="4" ry="2"/>', (16, 8, 24, 12)),
        ('<ellipse label="bird" cx="20" cy="10" rx="4" ry="2" rotation="90"/>', (18, 6, 22, 14)),
        ('<mask label="bird" rle="3, 4" left="3" top="4" width="5" height="6"/>', (3, 4, 8, 10)),
    ],
)
def test_shapes_of_cvat_are_boxes(tmp_path, made, pixels):
    cvat_file(tmp_path, f'<tag label="sunny"/>{made}')
    boxes = read_boxes({"source": "cvat", "path": tmp_path})
    assert (boxes.frame, list(boxes.keys)) == ("fraction", ["n01/wr\u00ebn 1.jpg"])
    np.testing.assert_allclose(boxes.table.boxes * [40, 20, 40, 20], [pixels], atol=1e-12)
    assert boxes.table.scores is None


@pytest.mark.parametrize("turn", [-30, 45, 123.4])
def test_a_turned_box_of_cvat_holds_its_turned_corners(tmp_path, turn):
    path = cvat_file(tmp_path, f'{CVAT_BOX} rotation="{turn}"/>')
    (box,) = read_boxes({"source": "cvat", "path": path}).table.boxes * [40, 20, 40, 20]
    corners = np.array([[10, 5], [20, 5], [20, 10], [10, 10]]) - [15, 7.5]
    cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    turned = corners @ np.array([[cosine, sine], [-sine, cosine]]) + [15, 7.5]
    np.testing.assert_allclose(box, [*turned.min(0), *turned.max(0)])


def test_what_is_no_region_in_cvat_has_no_area_and_scores_are_an_attribute(tmp_path):
    score = f'{CVAT_BOX}><attribute name="score">0.25</attribute></box>'
    path = cvat_file(tmp_path, score)
    assert read_boxes({"source": "cvat", "path": path}).table.scores.tolist() == [0.25]
    points = "<points label='bird' points='1,2'/><polyline label='bird' points='1,2;3,4'/>"
    path = cvat_file(tmp_path, f"{points}<skeleton label='bird'/>{CVAT_BOX}/>")
    assert read_boxes({"source": "cvat", "path": path}).counts["zero_area"].number == 3
    path = cvat_file(tmp_path, f"{CVAT_BOX}/>", 'name="a.jpg"')
    boxes = read_boxes({"source": "cvat", "path": path})
    assert (boxes.frame, as_dict(boxes)) == ("pixel", {"a.jpg": [[10, 5, 20, 10]]})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ('<box label="a" xtl="x" ytl="1" xbr="2" ybr="3"/>', "1.jpg', shape 0: <box>: xtl: expec"),
        ('<box label="a" ytl="1" xbr="2" ybr="3"/>', "shape 0: <box>: xtl: expected a finite"),
        ('<box label="a" xtl="5" ytl="1" xbr="2" ybr="3"/>', "ends before it starts"),
        ('<polygon label="a" points="1,2,3;4,5"/>', 'expected points="x,y;x,y;..."'),
        (
            '<box label="a" xtl="-1e308" ytl="1" xbr="1e308" ybr="3"/>',
            "expected a number of pixels",
        ),
        ('<star label="a"/>', "expected one of box, polygon, ellipse, mask, cuboid"),
        (f"{CVAT_BOX}><attribute name='score'>high</attribute></box>", "attribute score: expected"),
        (f"{CVAT_BOX}/>{CVAT_BOX.replace('bird', 'cat')}/>", "holds boxes of 2 labels"),
    ],
    ids=range(8),
)
def test_wrong_shapes_of_cvat_are_errors(tmp_path, shapes, message):
    refused(message, "cvat", cvat_file(tmp_path, shapes))


def test_what_is_no_export_of_cvats_images_is_an_error(tmp_path):
    refused("holds no annotations.xml", "cvat", tmp_path)
    path = write(tmp_path / "annotations.xml", "<annotations><track id='0'/></annotations>")
    refused('export "CVAT for images 1.1"', "cvat", path)
    refused("expected an <annotations> of CVAT's XML", "cvat", write(path, "<annotation/>"))
    refused("not a whole XML file", "cvat", write(path, "<annotations>"))
    path.write_bytes(b"PK\x03\x04")
    refused("unpack it first", "cvat", path)
    refused("expected the image's width", "cvat", cvat_file(tmp_path, "", "name='a' width='-5'"))
    refused("image None: expected an image's path", "cvat", cvat_file(tmp_path, "", ""))


def metadata(path, *rows):
    return write(path / "metadata.jsonl", "".join(f"{json.dumps(row)}\r\n" for row in rows))


def hf_row(name="a.jpg", **objects):
    return {"file_name": name, "objects": {"bbox": [[10, 5, 20, 10]], **objects}}


def test_hugging_faces_objects_are_boxes_of_images_beside_their_lists(tmp_path):
    listed = {"file_name": "c.jpg", "objects": [{"bbox": [1, 2, 3, 4], "label": 0, "score": 0.5}]}
    metadata(tmp_path / "train", hf_row(categories=[0], score=[0.25]), listed)
    empty = [{"file_name": f"{i}.jpg", "objects": o} for i, o in enumerate([None, [], {}])]
    rows = [hf_row("n01\\wr\u00ebn.jpg", category=[0], scores=[1]), hf_row(bbox=[], category=[])]
    metadata(tmp_path / "test", *rows, *empty)
    boxes = read_boxes({"source": "hugging_face", "path": tmp_path})
    square = [[10, 5, 30, 15]]
    assert boxes.frame == "pixel"
    assert as_dict(boxes) == {
        "test/n01/wr\u00ebn.jpg": square,
        "train/a.jpg": square,
        "train/c.jpg": [[1, 2, 4, 6]],
    }
    assert boxes.table.scores.tolist() == [1, 0.25, 0.5]


def test_hugging_faces_boxes_may_be_corners_under_another_key_of_a_resized_copy(tmp_path):
    row = {"file_name": "a.jpg", "width": 40, "height": 20, "faces": {"bbox": [[10, 5, 20, 10]]}}
    path = metadata(tmp_path, row)
    spec = {"source": "hugging_face", "path": path, "objects": "faces", "bbox": "xyxy"}
    boxes = read_boxes(spec)
    assert (boxes.frame, as_dict(boxes)) == ("fraction", {"a.jpg": [[0.25, 0.25, 0.5, 0.5]]})
    refused("expected the objects under 'objects', which has file_name", "hugging_face", path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (7, 'line 2: expected a line for each image, {"file_name"'),
        ({"objects": {}}, 'line 2: expected a line for each image, {"file_name"'),
        (hf_row("b.jpg", bbox=[10, 5, 20, 10]), 'object 0: expected "bbox": four finite numbers'),
        (hf_row("b.jpg", bbox=[["1", 5, 20, 10]]), 'object 0: expected "bbox": four finite num'),
        (hf_row("b.jpg", bbox=[[1, 5, -2, 10]]), "line 2, object 0: expected w, h >= 0"),
        (hf_row("b.jpg", label=[1, 2]), 'expected "bbox" and lists that are as long'),
        (hf_row("b.jpg", label=1), 'expected "bbox" and lists that are as long'),
        ({"file_name": "b", "objects": {"label": [1]}}, 'expected "bbox" and lists that are as'),
        ({"file_name": "b", "objects": [7]}, "line 2: expected a line for each image"),
        (hf_row("b.jpg", category=["cat"]), "holds boxes of 2 labels (None, 'cat')"),
        (hf_row("b.jpg", score=[0.5]), "line 2, object 0: expected score for all boxes or none"),
    ],
    ids=range(11),
)
def test_wrong_lines_of_hugging_face_are_errors(tmp_path, row, message):
    refused(message, "hugging_face", metadata(tmp_path, hf_row(), row))


def test_no_or_broken_lines_of_hugging_face_are_errors(tmp_path):
    refused("holds no metadata.jsonl", "hugging_face", tmp_path)
    path = write(tmp_path / "metadata.jsonl", '{"file_name": "a.jpg"')
    refused("line 1: not a whole JSON value", "hugging_face", path)
    refused("bbox: expected xywh or xyxy", "hugging_face", path, bbox="cxcywh")


# ---- Detectron2's dataset dicts ----


def dataset_dict(annotations, **more):
    image = {"file_name": "VOC2007/JPEGImages/000005.jpg", "image_id": "000005"}
    return image | {"height": 50, "width": 100, "annotations": annotations} | more


def test_detectron2s_dicts_are_read_with_either_mode_of_boxes(tmp_path):
    rows = [{"iscrowd": 0, "bbox": [10.0, 5.0, 60.0, 50.0], "category_id": 0, "bbox_mode": 0}]
    rows.append({"bbox": [10, 5, 10, 10], "category_id": 0, "bbox_mode": 1})
    rows.append({"iscrowd": 1, "bbox": [0, 0, 9, 9], "category_id": 0, "bbox_mode": 1})
    expected = {"VOC2007/JPEGImages/000005.jpg": [[0.1, 0.1, 0.6, 1], [0.1, 0.1, 0.2, 0.3]]}
    for content in ([dataset_dict(rows)], {"dataset": [dataset_dict(rows)], "meta_data": {}}):
        path = write(tmp_path / "d.json", content)
        boxes = read_boxes({"source": "detectron2", "path": path})
        assert as_dict(boxes) == expected
        assert (boxes.counts["crowd"].number, boxes.table.scores) == (1, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (7, "expected Detectron2's dataset dicts"),
        ([7], "image 0: expected Detectron2's dataset dicts"),
        ([dataset_dict([7])], "annotation 0: expected an object"),
        ([dataset_dict([{"bbox": [1, 2, 3], "bbox_mode": 0}])], 'expected "bbox": four finite'),
        ([dataset_dict([{"bbox": [1, 2, 3, 4], "bbox_mode": 4}])], 'expected "bbox_mode" 0'),
        ([dataset_dict([{"bbox": [1, 2, 3, 4]}])], 'expected "bbox_mode" 0'),
        ([dataset_dict([{"bbox": [1, 2, -3, 4], "bbox_mode": 1}])], "expected w, h >= 0"),
        ([dataset_dict([], file_name=None)], "file_name: expected an image's path"),
        (
            [
                dataset_dict(
                    [{"bbox": [1, 2, 3, 4], "bbox_mode": 0, "category_id": i} for i in (0, 1)]
                )
            ],
            "holds boxes of 2 labels (0, 1), expected one; choose one with category_id",
        ),
    ],
    ids=range(9),
)
def test_wrong_dicts_of_detectron2_are_errors(tmp_path, content, message):
    refused(message, "detectron2", write(tmp_path / "d.json", content))


# ---- supervision and Autodistill ----


def sink_row(image, box, confidence, class_id=0):
    corners = dict(zip(("x_min", "y_min", "x_max", "y_max"), box, strict=True))
    values = {"class_id": class_id, "confidence": confidence, "tracker_id": ""}
    return {**corners, **values, "class_name": "bird", "image": image}


def test_supervisions_rows_are_pixels_of_the_images_that_they_name(tmp_path):
    rows = [sink_row("n01/a.jpg", [0, 1, 20, 30.5], 0.25), sink_row("b.jpg", [1, 2, 3, 4], 0.5)]
    rows.append(sink_row("n01/a.jpg", [5, 5, 10, 10], 0.75))
    path = write(tmp_path / "r.json", rows)
    boxes = read_boxes({"source": "supervision", "path": path})
    assert boxes.frame == "pixel"
    assert as_dict(boxes) == {
        "n01/a.jpg": [[5, 5, 10, 10], [0, 1, 20, 30.5]],
        "b.jpg": [[1, 2, 3, 4]],
    }
    assert boxes.table.scores.tolist() == [0.75, 0.25, 0.5]
    write(path, [{**sink_row("", [1, 2, 3, 4], "", ""), "file": "a.jpg"}])
    plain = read_boxes({"source": "supervision", "path": path, "image": "file"})
    assert (as_dict(plain), plain.table.scores) == ({"a.jpg": [[1, 2, 3, 4]]}, None)


def test_supervisions_classes_are_chosen(tmp_path):
    rows = [sink_row("a.jpg", [0, 0, 2, 2], 0.5, 0), sink_row("a.jpg", [1, 1, 2, 2], 0.25, 1)]
    path = write(tmp_path / "r.json", rows)
    refused("holds boxes of 2 classes (0, 1), expected one", "supervision", path)
    refused("class_id 2: no box has it", "supervision", path, class_id=2)
    one = read_boxes({"source": "supervision", "path": path, "class_id": 1})
    assert as_dict(one) == {"a.jpg": [[1, 1, 2, 2]]}
    both = read_boxes({"source": "supervision", "path": path, "class_id": "all"})
    assert len(both.table.boxes) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (7, "row 1: expected an object"),
        (sink_row("a.jpg", [1, 2, 3, "4"], 0.5), "row 1: expected finite numbers as x_min"),
        (sink_row("a.jpg", [1, 2, 3, 4], "high"), 'row 1: expected "confidence"'),
        (sink_row("a.jpg", [1, 2, 3, 4], ""), "'a.jpg': expected a confidence in each row"),
        (sink_row(None, [1, 2, 3, 4], 0.5), "row 1: expected the image's path under 'image'"),
        (sink_row("a.jpg", [1, 2, 3, 4], 0.5, [0]), 'row 1: expected "class_id"'),
        (sink_row("a.jpg", [3, 2, 1, 4], 0.5), "ends before it starts"),
    ],
)
def test_wrong_rows_of_supervision_are_errors(tmp_path, row, message):
    path = write(tmp_path / "r.json", [sink_row("b.jpg", [1, 2, 3, 4], 0.5), row])
    refused(message, "supervision", path)


def test_supervisions_csv_is_read_by_csv_with_its_columns(tmp_path):
    header = "x_min,y_min,x_max,y_max,class_id,confidence,tracker_id,class_name,image\r\n"
    path = write(tmp_path / "r.csv", header + "0.0,1.0,20.0,30.5,0,0.25,,bird,n01/a.jpg\r\n")
    columns = {"image": "image", "x0": "x_min", "y0": "y_min", "x1": "x_max", "y1": "y_max"}
    columns["score"] = "confidence"
    boxes = read_boxes({"source": "csv", "path": path, "columns": columns})
    assert as_dict(boxes) == {"n01/a.jpg": [[0, 1, 20, 30.5]]}
    assert boxes.table.scores.tolist() == [0.25]


def test_supervisions_pascal_voc_is_counted_from_one(tmp_path):
    text = "<annotation><folder>VOC</folder><filename>a.jpg</filename><size><width>40</width>"
    text += "<height>50</height><depth>3</depth></size><object><name>bird</name><bndbox>"
    text += "<xmin>1</xmin><ymin>6</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></object>"
    write(tmp_path / "a.xml", text + "</annotation>")  # of the box 0, 5, 20, 30
    boxes = read_boxes({"source": "voc", "path": tmp_path, "pixels": "inclusive"})
    assert as_dict(boxes) == {"a": [[0, 0.1, 0.5, 0.6]]}


def test_autodistills_splits_are_one_with_their_confidence(tmp_path):
    write(tmp_path / "data.yaml", "names: [bird]\nnc: 1\ntrain: t\nval: v\n")
    write(tmp_path / "train/labels/a.txt", "0 0.25 0.5 0.5 1\n0 0.5 0.5 0.25 0.25")
    write(tmp_path / "train/labels/confidence-a.txt", "0.25\n0.75")
    write(tmp_path / "train/labels/none.txt", "")
    write(tmp_path / "train/labels/confidence-none.txt", "")
    write(tmp_path / "valid/labels/b.txt", "0 0.5 0.5 1 1")
    write(tmp_path / "valid/labels/confidence-b.txt", "0.5")
    boxes = read_boxes({"source": "autodistill", "path": tmp_path})
    first, second = [0, 0, 0.5, 1], [0.375, 0.375, 0.625, 0.625]
    assert as_dict(boxes) == {"a": [second, first], "b": [[0, 0, 1, 1]]}
    assert boxes.table.scores.tolist() == [0.75, 0.25, 0.5]
    train = read_boxes({"source": "autodistill", "path": tmp_path / "train", "confidence": False})
    assert (as_dict(train), train.table.scores) == ({"a": [first, second]}, None)
    write(tmp_path / "train/labels/confidence-a.txt", "0.25")
    refused("expected 2 confidences, one for each line of a.txt, got 1", "autodistill", tmp_path)
    write(tmp_path / "train/labels/confidence-a.txt", "0.25\nhigh")
    refused("confidence-a.txt: expected a finite number", "autodistill", tmp_path)


def test_autodistill_without_confidence_or_labels(tmp_path):
    refused("holds no train/labels and no valid/labels", "autodistill", tmp_path)
    write(tmp_path / "valid/labels/confidence-b.txt", "0 0.5 0.5 1 1")  # an image's own name
    boxes = read_boxes({"source": "autodistill", "path": tmp_path})
    assert (as_dict(boxes), boxes.table.scores) == ({"confidence-b": [[0, 0, 1, 1]]}, None)
    refused("there are no confidence-*.txt", "autodistill", tmp_path, confidence=True)
    write(tmp_path / "train/labels/a.txt", "0 0.5 0.5 1 1")
    write(tmp_path / "train/labels/confidence-a.txt", "0.5")
    refused("only one of its splits has confidence-*.txt", "autodistill", tmp_path)


# ---- ultralytics ----


def test_ultralytics_polygons_may_have_a_confidence(tmp_path):
    path = tmp_path / "labels"  # save_txt save_conf of a segmentation model; of auto_annotate
    write(path / "a.txt", "0 0.05 0.1 0.05 0.725 0.3 0.725 0.9\n0 0.2 0.4 0.25 0.5 0.5\n")
    boxes = read_boxes({"source": "yolo", "path": path})
    expected = [[0.05, 0.1, 0.3, 0.725], [0.075, 0.15, 0.325, 0.65]]
    np.testing.assert_allclose(boxes.table.boxes, expected)
    assert boxes.table.scores.tolist() == [0.9, 0.5]
    write(path / "a.txt", "0 0.05 0.1 0.05 0.725 0.3 0.725\n")
    assert read_boxes({"source": "yolo", "path": path}).table.scores is None
    for line in ("0 0.2 0.4 0.25 0.5 2", "0 0.05 0.1 0.05 0.725 0.3 0.725 1.5"):  # a track's number
        write(path / "a.txt", line)
        refused("a.txt, line 1: expected a confidence from 0 to 1 as the last", "yolo", path)
    write(path / "a.txt", "0 0.2 0.4 0.25 0.5 0.9 2")  # with its confidence
    refused("a.txt, line 1: expected <class>", "yolo", path)


def test_boxes_of_one_yolo_track_are_not_taken_for_triangles(tmp_path):
    path = tmp_path / "labels"  # frames of one object, yolo track save_txt save_conf
    write(path / "a.txt", "0 0.2 0.4 0.25 0.5 0.9 1\n")
    write(path / "b.txt", "0 0.3 0.4 0.25 0.5 0.8 1\n")
    refused("a.txt: all 2 lines of seven numbers end in 1: expected <class>", "yolo", path)
    write(path / "b.txt", "0 0.3 0.4 0.25 0.5 0.8 0.75\n")  # triangles, one to the lower border
    boxes = read_boxes({"source": "yolo", "path": path})
    np.testing.assert_allclose(boxes["a"], [[0.2, 0.4, 0.9, 1]])
    write(path / "b.txt", "0 0.3 0.4 0.25 0.5 0.8 1 0.3 0.4\n")  # the first point again
    (path / "a.txt").unlink()
    assert read_boxes({"source": "yolo", "path": path})["b"].tolist() == [[0.25, 0.4, 0.8, 1]]


# ---- LOST and TokenCut ----


class Attack:
    """Unpickled, it makes a folder."""

    def __reduce__(self):
        return os.mkdir, ("made",)


@pytest.mark.parametrize("source", ["lost", "tokencut"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_predictions_are_pixels_by_name(tmp_path, source, protocol):
    content = {"000005.jpg": np.array([0, 16, 32, 48]), "b.jpg": np.array([1.5, 2, 3, 4.0])}
    content["list.jpg"] = [np.int64(1), 2, 3.5, np.float32(4)]
    path = tmp_path / "preds.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    boxes = read_boxes({"source": source, "path": path})
    assert (boxes.frame, boxes.table.scores) == ("pixel", None)
    assert as_dict(boxes) == {
        "000005.jpg": [[0, 16, 32, 48]],
        "b.jpg": [[1.5, 2, 3, 4]],
        "list.jpg": [[1, 2, 3.5, 4]],
    }


def test_a_pickle_of_predictions_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("preds.pkl").write_bytes(pickle.dumps({"a.jpg": Attack()}))
    refused("which is no array of numbers); expected LOST's", "lost", Path("preds.pkl"))
    assert not Path("made").exists()
    # an array whose bytes would become pointers to Python objects
    forged = b"cnumpy\nndarray\n((I1\ntcnumpy\ndtype\n(VO\ntRC\x0812345678tR."
    Path("preds.pkl").write_bytes(forged)
    refused("cannot be read as a pickle of boxes", "lost", Path("preds.pkl"))


def test_losts_names_of_coco_are_ids_of_its_images(tmp_path):
    path = tmp_path / "preds.pkl"
    path.write_bytes(pickle.dumps({"391895": np.array([0, 16, 32, 48]), "5": np.zeros(0)}))
    images = [{"id": 391895, "file_name": "COCO_train2014_000000391895.jpg"}]
    coco = write(tmp_path / "i.json", {"images": [*images, {"id": 5, "file_name": "5.jpg"}]})
    boxes = read_boxes({"source": "lost", "path": path, "images": coco})
    assert as_dict(boxes) == {"COCO_train2014_000000391895.jpg": [[0, 16, 32, 48]]}
    write(coco, {"images": images})
    refused("'5' is no id of an image of", "lost", path, images=coco)
    refused("got no images", "lost", path, images=write(coco, {"annotations": []}))


def test_losts_clusters_are_boxes_without_their_labels(tmp_path):
    clusters = defaultdict(defaultdict)
    clusters["000005.jpg"]["pseudo_label"] = np.int32(3)
    clusters["000005.jpg"]["predicted_bb"] = np.array([0, 16, 32, 48])
    assert clusters["000007.jpg"] == {}
    path = tmp_path / "clusters.pkl"
    path.write_bytes(pickle.dumps(clusters, pickle.HIGHEST_PROTOCOL))
    boxes = read_boxes({"source": "lost", "path": path})
    assert as_dict(boxes) == {"000005.jpg": [[0, 16, 32, 48]]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "expected LOST's or TokenCut's preds.pkl"),
        ({"a.jpg": "box"}, "image 'a.jpg': expected [x0, y0, x1, y1]"),
        ({"a.jpg": np.zeros(3)}, "image 'a.jpg': expected [x0, y0, x1, y1]"),
        ({"a.jpg": [10**400, 0, 1, 1]}, "image 'a.jpg': expected [x0, y0, x1, y1] as numbers"),
        ({"a.jpg": ["1", "2", "3", "4"]}, "image 'a.jpg': expected [x0, y0, x1, y1] as numbers"),
        ({"a.jpg": np.array([1, 2, 3, 4j])}, "image 'a.jpg': expected [x0, y0, x1, y1] as num"),
        ({"a.jpg": np.array([3, 0, 1, 1])}, "ends before it starts"),
        ({7: np.array([0, 0, 1, 1])}, "image 7: expected an image's path"),
        ({"a.jpg": np.array([None] * 4)}, "of numbers"),
    ],
)
def test_wrong_pickles_of_predictions_are_errors(tmp_path, content, message):
    (tmp_path / "preds.pkl").write_bytes(pickle.dumps(content))
    refused(message, "lost", tmp_path / "preds.pkl")
    (tmp_path / "preds.pkl").write_bytes(pickle.dumps(content)[:-3])
    refused("cannot be read as a pickle of boxes", "lost", tmp_path / "preds.pkl")
