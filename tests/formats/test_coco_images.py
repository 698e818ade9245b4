"""wend.formats.coco_images: the files that a COCO JSON's images are, whatever it calls them."""

import json

import pytest
from PIL import Image

from wend.errors import BadImageError, InputError, MissingFileError
from wend.formats.coco_images import load_coco_images
from wend.images.sizes import SizeReader


def write(root, images, boxes=(), categories=({"id": 1},)):
    """A truth.json of image rows, and of boxes as (image id, category id, bbox)."""
    annotations = [
        {"id": n, "image_id": i, "category_id": c, "bbox": box}
        for n, (i, c, box) in enumerate(boxes, 1)
    ]
    path = root.parent / "truth.json"
    content = {"images": images, "annotations": annotations, "categories": list(categories)}
    path.write_text(json.dumps(content))
    return path


def image(number, name, width=22, height=10):
    return {"id": number, "file_name": name, "width": width, "height": height}


def test_images_are_in_the_jsons_order_with_its_classes(root):
    images = [image(17, "wren/a.png"), image(4, "gull/a.png", 21)]
    boxes = [(17, 7, [1, 2, 3, 4]), (4, 3, [0, 0, 1, 1])]
    file = write(root, images, boxes, [{"id": 7}, {"id": 3}])
    wren, gull = load_coco_images(root, file)
    assert (wren.image_id, wren.key, wren.class_id) == (17, "wren/a.png", 1)
    assert (gull.file_name, gull.class_id) == (str(root / "gull/a.png"), 0)
    assert load_coco_images(root, file, "none").class_ids.tolist() == [-1, -1]
    with pytest.raises(InputError, match="classes must be one of auto, none, got 'folder'"):
        load_coco_images(root, file, "folder")


@pytest.mark.parametrize(
    "name",
    [
        "./wren/a.png",
        "wren\\a.png",
        "/home/me/photos/wren/a.png",
        "C:\\photos\\wren\\a.png",
        "../wren/a.png",
        "https://host/bucket/wren/a.png?token=1",
        "s3://bucket/wren%2Fa.png",
        "/data/local-files/?d=photos/wren/a.png",
        "Wren/A.PNG",
        "wren/a",
        "wren/a.jpg",
        "wren/a_png.rf.0a1b2c3d4e5f60718293a4b5c6d7e8f9.jpg",
        "wren/1f2e3d4c-a.png",
    ],
)
def test_a_name_finds_its_file_whatever_wrote_it(root, name):
    (only,) = load_coco_images(root, write(root, [image(1, name)]))
    assert (only.file_name, only.key) == (str(root / "wren/a.png"), "wren/a.png")


def test_a_file_that_two_entries_mean_or_a_name_that_may_be_two_files_is_an_error(root):
    twice = [image(1, "wren/a.png"), image(2, "./wren/a.png")]
    with pytest.raises(InputError, match=r"images\[1\]: expected a file_name that no other image"):
        load_coco_images(root, write(root, twice))
    twice[1] = image(2, "/x/wren/a.png")
    with pytest.raises(InputError, match=r"2 entries of images are of wren/a\.png"):
        load_coco_images(root, write(root, twice))
    with pytest.raises(InputError, match=r"1 of its paths are the end of several .*\(a\.png\)"):
        load_coco_images(root, write(root, [image(1, "a.png")]))


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.png", "wren/../../secret.png", "x.png"])
def test_a_file_that_is_not_below_the_folder_is_missing(root, name):
    Image.new("RGB", (22, 10)).save(root.parent / "secret.png")
    file = write(root, [image(1, "wren/a.png"), image(2, name), image(3, "gull/a.png", 21)])
    with pytest.raises(
        MissingFileError, match=r"1 of 3 images are not there .*missing_images: skip"
    ):
        load_coco_images(root, file)
    kept = load_coco_images(root, file, sizes=SizeReader(keep_unreadable=True))
    assert list(kept.unreadable) == [1]
    assert kept.sizes.tolist() == [[22, 10], [0, 0], [21, 10]]


def test_missing_images_are_skipped_by_option_and_counted(root, caplog):
    images = [image(1, "x.png"), image(2, "wren/a.png")]
    file = write(root, images, [(1, 1, [0, 0, 5, 5]), (2, 1, [1, 1, 5, 5])])
    (only,) = load_coco_images(root, file, missing_images="skip")
    assert (only.image_id, only.gt_boxes.tolist()) == (2, [[1, 1, 6, 6]])
    assert "1 of 2 images are not below" in caplog.text
    with pytest.raises(InputError, match="missing_images must be one of error, skip, got 'no'"):
        load_coco_images(root, file, missing_images="no")
    with pytest.raises(InputError, match=r"none of its 1 images \(x\.png\) is one of the 3 below"):
        load_coco_images(root, write(root, images[:1]), missing_images="skip")


@pytest.mark.parametrize("side", ["absent", None, 0, -1, "22", 22.5, 1e400, float("nan")])
def test_a_size_that_is_not_stated_is_the_headers(root, side, caplog):
    rows = [image(1, "wren/a.png", side), image(2, "gull/a.png", 21.0)]
    if side == "absent":
        del rows[0]["width"]
    file = write(root, rows)
    with caplog.at_level("INFO", logger="wend"):
        assert load_coco_images(root, file).sizes.tolist() == [[22, 10], [21, 10]]
    assert "sizes of 1 of 2 images are not stated (wren/a.png); read from" in caplog.text


def test_an_unreadable_header_is_kept_where_it_is_asked_for(root):
    (root / "wren/a.png").write_bytes(b"no picture")
    file = write(root, [image(1, "wren/a.png", None), image(2, "gull/a.png", 21)])
    with pytest.raises(BadImageError, match=r"wren/a\.png: cannot be read"):
        load_coco_images(root, file)
    kept = load_coco_images(root, file, sizes=SizeReader(keep_unreadable=True))
    assert list(kept.unreadable) == [0]
