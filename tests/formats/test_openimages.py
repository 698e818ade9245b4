"""wend.formats.openimages: wsolevaluation's lists of boxes and, of OpenImages30k, of masks."""

import re

import numpy as np
import pytest
from PIL import Image

from wend.errors import InputError, MissingFileError, MissingImageError
from wend.formats.openimages import load_lists, load_mask_lists, mask_box
from wend.images.sizes import SizeReader
from wend.structures.masks import MaskFiles

NAMES = ["val/0bt_c3/1c.jpg", "val/01226z/32.jpg", "val/01226z/14.jpg"]
SIZES = [(40, 20), (30, 30), (10, 50)]


@pytest.fixture
def layout(tmp_path):
    """Images and lists as OpenImages30k's: no image_sizes.txt."""
    for name, size in zip(NAMES, SIZES, strict=True):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(tmp_path / "images" / name)
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "image_ids.txt").write_text("\n".join(NAMES))
    labels = "".join(f"{n},{c}\n" for n, c in zip(NAMES, (4, 0, 0), strict=True))
    (lists / "class_labels.txt").write_text(labels)
    return tmp_path / "images", lists


def write_mask(path, size, box=None):
    """A mask of this size, white in the half-open box."""
    mask = np.zeros(size[::-1], dtype=np.uint8)
    if box:
        mask[box[1] : box[3], box[0] : box[2]] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def test_masks_become_tight_boxes_scaled_to_the_image(layout, caplog):
    images, lists = layout
    (lists / "localization.txt").write_text(
        f"{NAMES[1]},val/01226z/32_m0.png,val/01226z/32_ignore.png\n"
        f"{NAMES[0]},val/0bt_c3/1c_m0.png,val/0bt_c3/1c_ignore.png\n"
        f"{NAMES[0]},val/0bt_c3/1c_m1.png,\n"
        f"{NAMES[2]},val/01226z/14_m0.png,\n"
    )
    write_mask(images / "val/0bt_c3/1c_m0.png", (20, 10), (3, 2, 15, 9))  # half the image's size
    write_mask(images / "val/0bt_c3/1c_m1.png", (40, 20), (0, 0, 1, 1))
    write_mask(images / "val/01226z/32_m0.png", (60, 15), (10, 5, 60, 15))
    write_mask(images / "val/01226z/14_m0.png", (10, 50))  # empty
    with caplog.at_level("INFO", logger="wend"):
        records = load_lists(images, lists)
    assert [r.image_id for r in records] == [r.key for r in records] == NAMES
    assert [(r.width, r.height) for r in records] == SIZES
    assert [r.class_id for r in records] == [4, 0, 0]
    # (3, 2, 15, 9) of 20x10 in 40x20: times 2; (10, 5, 60, 15) of 60x15 in 30x30: x / 2, y * 2
    assert records[0].gt_boxes.tolist() == [[6, 4, 30, 18], [0, 0, 1, 1]]
    assert records[1].gt_boxes.tolist() == [[5, 10, 30, 30]]
    assert records[2].gt_boxes.shape == (0, 4)
    assert "4 masks, 1 of them empty" in caplog.text
    assert "3 images, 1 without a true box" in caplog.text


def test_boxes_and_sizes_are_taken_from_lists_where_these_are_there(layout):
    images, lists = layout
    rows = [(1, "3,4,20,30"), (0, "0,0,39,19"), (1, "1,1,2,2.5"), (2, "0,0,9,9")]
    text = "".join(f"{NAMES[i]},{box}\n" for i, box in rows)
    (lists / "localization.txt").write_text(text)
    sizes = "".join(f"{n},{w},{h}\n" for n, (w, h) in zip(NAMES, SIZES, strict=True))
    (lists / "image_sizes.txt").write_text(sizes)
    (images / NAMES[2]).write_bytes(b"its header is not looked at")
    records = load_lists(images, lists)
    assert [(r.width, r.height) for r in records] == SIZES
    assert records[1].gt_boxes.tolist() == [[3, 4, 20, 30], [1, 1, 2, 2.5]]
    assert records[0].gt_boxes.tolist() == [[0, 0, 39, 19]]
    assert records[0].file_name == str(images / NAMES[0])


def test_without_labels_and_localization_class_and_truth_are_unknown(layout):
    images, lists = layout
    (lists / "class_labels.txt").unlink()
    records = load_lists(images, lists)
    assert [(r.class_id, len(r.gt_boxes)) for r in records] == [(None, 0)] * 3


def test_masks_of_their_own_folder_and_a_missing_one(layout, tmp_path):
    images, lists = layout
    (lists / "localization.txt").write_text(f"{NAMES[0]},a/m.png,\n")
    with pytest.raises(MissingFileError, match=r"images/a/m\.png: there is no such mask.*'masks'"):
        load_lists(images, lists)
    write_mask(tmp_path / "masks/a/m.png", (4, 4), (1, 1, 3, 3))
    record = load_lists(images, lists, tmp_path / "masks")[0]
    assert record.gt_boxes.tolist() == [[10, 5, 30, 15]]
    (tmp_path / "masks/a/m.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"masks/a/m\.png: cannot be read as a mask image"):
        load_lists(images, lists, tmp_path / "masks")


def test_the_files_of_masks_are_kept_and_need_no_images(layout, tmp_path):
    """From the lists alone "original pixels" are those of an image's first mask."""
    _, lists = layout
    (lists / "localization.txt").write_text(
        f"{NAMES[0]},a/0.png,\n{NAMES[0]},a/1.png,a/ignored.png\n"
        f"{NAMES[1]},b.png,\n{NAMES[2]},c.png,c_ignored.png\n"
    )
    root = tmp_path / "masks"
    for name, size in (("a/0", (8, 4)), ("a/1", (16, 8)), ("b", (5, 5)), ("c", (6, 2))):
        write_mask(root / f"{name}.png", size, (1, 1, 3, 2))
    data_set = load_mask_lists(lists, root)
    assert data_set.sizes.tolist() == [[8, 4], [5, 5], [6, 2]]
    assert data_set.truth[0].tolist() == [[1, 1, 3, 2], [0.5, 0.5, 1.5, 1]]
    assert data_set.class_ids.tolist() == [4, 0, 0]
    assert data_set.masks == [
        MaskFiles((f"{root}/a/0.png", f"{root}/a/1.png"), f"{root}/a/ignored.png"),
        MaskFiles((f"{root}/b.png",)),
        MaskFiles((f"{root}/c.png",), f"{root}/c_ignored.png"),
    ]
    assert data_set.take([2, 0]).masks == [data_set.masks[2], data_set.masks[0]]
    (lists / "image_sizes.txt").write_text("".join(f"{name},40,30\n" for name in NAMES))
    assert load_mask_lists(lists, root).truth[0].tolist() == [
        [5, 7.5, 15, 15],
        [2.5, 3.75, 7.5, 7.5],
    ]
    (lists / "localization.txt").write_text(f"{NAMES[0]},0,0,1,1\n")
    with pytest.raises(
        InputError, match=r"localization.txt: expected lines of masks, not of boxes"
    ):
        load_mask_lists(lists, root)


@pytest.mark.parametrize("mode", ["L", "1", "P", "I;16"])
def test_masks_of_every_mode(tmp_path, mode):
    mask = np.zeros((6, 8), dtype=np.uint16 if mode == "I;16" else np.uint8)
    mask[2:5, 3:7] = 1  # as small as can be: 0 and 1, not 0 and 255
    image = Image.fromarray(mask > 0) if mode == "1" else Image.fromarray(mask)
    if mode == "P":
        image.putpalette([0, 0, 0, 255, 255, 255])
    image.save(tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as stored:
        assert stored.mode == mode
    assert mask_box(tmp_path / "m.png", 8, 6).tolist() == [[3, 2, 7, 5]]


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("image_ids.txt", "a.jpg\n../../b.jpg\n", r"image_ids\.txt, image '../../b.jpg': .* le"),
        ("image_ids.txt", "/etc/a.jpg\n", r"image_ids\.txt, .*leaves the images' root"),
        ("image_ids.txt", "", r"image_ids\.txt: is empty"),
        ("class_labels.txt", f"{NAMES[0]},-1\n{NAMES[1]},0\n{NAMES[2]},0\n", "class from 0"),
        ("class_labels.txt", f"{NAMES[0]},1\n", r"class_labels\.txt: no line for 2 images"),
        ("class_labels.txt", f"{NAMES[0]},x\n", r"class_labels\.txt, line 1: expected"),
        ("class_labels.txt", f"{NAMES[0]},{'9' * 400}\n", r"class_labels\.txt, line 1: expected"),
        ("localization.txt", f"{NAMES[0]},0,0,1,1e999\n", r"localization\.txt, line 1: expected"),
        ("localization.txt", f"{NAMES[0]},0,0,1,nan\n", r"localization\.txt, line 1: expected"),
        ("localization.txt", f"{NAMES[0]},../m.png,\n", r"localization\.txt, line 1: .* leaves"),
        ("localization.txt", f"{NAMES[0]},m.png,\n\n{NAMES[0]}\n", r"localization\.txt, line 3:"),
        ("localization.txt", f"{NAMES[0]},m.png,../i.png\n", r"line 1: .* leaves"),
        ("localization.txt", f"{NAMES[0]},m.png,i\n{NAMES[0]},n.png,j\n", "line 2: .* i and j"),
        ("localization.txt", "z.jpg,m.png,\n", r"line 1: image_ids\.txt does not list .* 'z\.jpg'"),
        ("localization.txt", f"{NAMES[0]},5,5,4,9\n", r"localization\.txt: image .* ends before"),
        ("image_sizes.txt", "".join(f"{n},0,5\n" for n in NAMES), "width and height from 1"),
    ],
)  # fmt: skip
def test_malformed_lists_are_named(layout, file, text, problem):
    images, lists = layout
    (lists / file).write_text(text)
    with pytest.raises(InputError, match=problem):
        load_lists(images, lists)


def test_a_missing_image_is_kept_if_asked_for_where_sizes_come_from_headers(layout):
    images, lists = layout
    (images / NAMES[1]).unlink()
    data_set = load_lists(images, lists, sizes=SizeReader(keep_unreadable=True))
    assert data_set.sizes.tolist() == [[40, 20], [0, 0], [10, 50]]
    assert isinstance(data_set.unreadable[1], MissingImageError)


@pytest.mark.parametrize("sizes", [False, True])
def test_missing_images_are_counted_and_named(layout, sizes):
    images, lists = layout
    if sizes:
        (lists / "image_sizes.txt").write_text("".join(f"{n},5,5\n" for n in NAMES))
    (images / NAMES[1]).unlink()
    with pytest.raises(MissingFileError, match=rf"1 of 3 .*not there \(.*{re.escape(NAMES[1])}\)"):
        load_lists(images, lists)
