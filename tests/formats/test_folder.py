"""wend.formats.folder: a folder of images, with and without classes and truth."""

import json
import re

import pytest
from PIL import Image

from wend.errors import InputError, MissingFileError
from wend.formats.coco import records_to_coco
from wend.formats.coco_images import load_coco_images
from wend.formats.folder import load_folder
from wend.images.sizes import SizeReader


def coco(path, rows, boxes=(), categories=(1,)):
    images = [{"id": i, "file_name": name, "width": w, "height": h} for i, name, w, h in rows]
    annotations = [
        {"id": n, "image_id": i, "category_id": c, "bbox": box}
        for n, (i, c, box) in enumerate(boxes, 1)
    ]
    content = {"images": images, "annotations": annotations}
    path.write_text(json.dumps(content | {"categories": [{"id": c} for c in categories]}))
    return path


def test_sub_folders_are_the_classes_by_sorted_name(root):
    records = load_folder(root)
    assert [r.key for r in records] == ["gull/a.png", "wren/a.png", "wren/ä b.jpg"]
    assert [r.image_id for r in records] == [r.key for r in records]
    assert [r.class_id for r in records] == [0, 1, 1]
    assert [r.width for r in records] == [21, 22, 20]
    assert records[2].file_name == str(root / "wren/ä b.jpg")
    assert sum(len(r.gt_boxes) for r in records) == 0


def test_flat_images_have_no_class_and_none_makes_it_so_for_all(root):
    assert [r.class_id for r in load_folder(root / "wren")] == [None, None]
    assert [r.key for r in load_folder(root / "wren")] == ["a.png", "ä b.jpg"]
    assert [r.class_id for r in load_folder(root, classes="none")] == [None] * 3
    Image.new("L", (3, 3)).save(root / "x.png")
    with pytest.raises(InputError, match=r"1 of 4 images lie beside .*x\.png.*classes: none"):
        load_folder(root)
    assert len(load_folder(root, classes="none")) == 4
    with pytest.raises(InputError, match="1 of 4 images lie beside"):
        load_folder(root, classes="folder")
    with pytest.raises(
        InputError, match="classes must be one of auto, folder, none, annotations, got 'all'"
    ):
        load_folder(root, classes="all")


@pytest.mark.parametrize("prefix", ["", "./", "images/", "/elsewhere/images/"])
def test_truth_from_a_text_file_whatever_folders_stand_before_the_names(root, prefix, caplog):
    file = root.parent / "localization.txt"
    lines = [f"{prefix}wren/a.png,1,2,3,4", f"{prefix}gull/a.png,0,0,5.5,9",
             f"{prefix}wren/a.png,2,2,9,9", f"{prefix}gull/gone.png,0,0,1,1"]  # fmt: skip
    file.write_text("\n".join(lines))
    with caplog.at_level("INFO", logger="wend"):
        gull, wren, other = load_folder(root, file)
    assert gull.gt_boxes.tolist() == [[0, 0, 5.5, 9]]
    assert wren.gt_boxes.tolist() == [[1, 2, 3, 4], [2, 2, 9, 9]]
    assert len(other.gt_boxes) == 0
    assert "truth of 2 images, none of 1; 1 listed images are not there" in caplog.text


def test_a_listed_name_that_could_be_two_images_is_an_error(root):
    file = root.parent / "localization.txt"
    file.write_text("a.png,1,2,3,4\n")
    with pytest.raises(
        InputError, match=r"localization\.txt: 1 of its paths are .* several .*\(a\.png"
    ):
        load_folder(root, file)
    file.write_text("ä b.jpg,1,2,3,4\n")  # only one of that name
    assert load_folder(root, file)[2].gt_boxes.tolist() == [[1, 2, 3, 4]]


def test_truth_of_other_images_is_an_error(root):
    file = root.parent / "localization.txt"
    file.write_text("c/x.png,1,2,3,4\n")
    with pytest.raises(InputError, match=r"localization\.txt: none of its 1 images \(c/x\.png\)"):
        load_folder(root, file)


def test_the_size_of_an_unreadable_image_is_not_compared_with_the_json(root):
    file = coco(
        root.parent / "truth.json",
        [(17, "wren/a.png", 22, 10), (4, "gull/a.png", 21, 10)],
        [(17, 1, [1, 2, 3, 4])],
    )
    (root / "wren/a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"wren/a\.png: cannot be read as an image"):
        load_folder(root, file)
    data_set = load_folder(root, file, sizes=SizeReader(keep_unreadable=True))
    assert data_set.unreadable.keys() == {1}
    assert data_set.sizes.tolist() == [[21, 10], [0, 0], [20, 10]]
    assert data_set.truth[1].tolist() == [[1, 2, 4, 6]]


def test_truth_from_a_coco_json_brings_its_ids(root):
    file = coco(
        root.parent / "truth.json",
        [(17, "wren/a.png", 22, 10), (4, "gull/a.png", 21, 10), (5, "gone.png", 3, 3)],
        [(17, 1, [1, 2, 3, 4]), (17, 1, [0, 0, 9, 9])],
    )
    gull, wren, other = load_folder(root, file)
    assert (gull.image_id, wren.image_id, other.image_id) == (4, 17, -1)
    assert wren.gt_boxes.tolist() == [[1, 2, 4, 6], [0, 0, 9, 9]]
    assert (gull.class_id, wren.class_id) == (0, 1)  # the folders', not the JSON's


def test_a_coco_json_of_other_sizes_or_with_an_image_twice_is_an_error(root):
    file = root.parent / "truth.json"
    coco(file, [(17, "wren/a.png", 23, 10)])
    with pytest.raises(InputError, match=r"wren/a\.png is 23x10 there, but its file is 22x10"):
        load_folder(root, file)
    coco(file, [(17, "wren/a.png", 10, 22)])
    with pytest.raises(InputError, match=r"is 10x22 there, .* width and height swapped"):
        load_folder(root, file)
    coco(file, [(17, "wren/a.png", 22, 10), (18, "images/wren/a.png", 22, 10)])
    with pytest.raises(InputError, match=r"2 entries of images are of wren/a\.png"):
        load_folder(root, file)


def test_images_that_a_coco_json_of_numbers_lacks_have_numbers_below_all(root, caplog):
    file = root.parent / "truth.json"
    coco(file, [(17, "wren/a.png", 22, 10), (-4, "elsewhere.png", 5, 5)])
    with caplog.at_level("INFO", logger="wend"):
        data_set = load_folder(root, file, "none")
    ids = dict(zip(data_set.keys, data_set.image_ids, strict=True))
    assert ids.pop("wren/a.png") == 17
    assert list(ids.values()) == [-5 - i for i in range(len(ids))]
    assert f"have the ids -5 to {-4 - len(ids)}" in caplog.text
    coco(file, [("x", "wren/a.png", 22, 10)])
    data_set = load_folder(root, file, "none")
    assert [k for k, i in zip(data_set.keys, data_set.image_ids, strict=True) if k != i] == [
        "wren/a.png"
    ]


def test_what_we_write_as_coco_is_read_as_the_same_truth(root):
    text = root.parent / "localization.txt"
    text.write_text("wren/a.png,1,2,3,4\nwren/a.png,0.5,0.25,9,9\ngull/a.png,1,1,2,2\n")
    records = load_folder(root, text)
    file = root.parent / "truth.json"
    file.write_text(json.dumps(records_to_coco(records)))
    for again in (load_folder(root, file), load_coco_images(root, file)):
        for before, after in zip(records, again, strict=True):
            for name in ("image_id", "file_name", "width", "height", "key", "class_id"):
                assert getattr(after, name) == getattr(before, name)
            assert after.gt_boxes.tolist() == before.gt_boxes.tolist()


def test_no_folder_and_no_images_are_named(tmp_path):
    with pytest.raises(MissingFileError, match=re.escape(f"{tmp_path / 'no'}: there is no such")):
        load_folder(tmp_path / "no")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(MissingFileError, match=r"holds no image \(other files: \{'\.txt': 1\}\)"):
        load_folder(tmp_path)
