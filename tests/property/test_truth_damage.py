"""Damaged files of true boxes: the right records, or an InputError that names the file."""

import ntpath
import os
from string import ascii_letters

from damage import BROKEN_TEXT, HARMLESS, damaged_bytes, damaged_json
from data_sets import (
    Image,
    box_lines,
    check_records,
    coco,
    plain_record,
    write_cub,
    write_images,
    write_lines,
    write_wsoleval,
)
from hypothesis import strategies as st
from PIL import Image as Pixels
from property_cases import answer, cases, known_sizes, scratch

from wend.datasets.store import open_store
from wend.datasets.store_writer import write_store
from wend.files import write_json
from wend.formats.coco import load_coco, records_to_coco
from wend.formats.coco_images import load_coco_images
from wend.formats.cub import load_cub
from wend.formats.folder import load_folder
from wend.formats.imagenet import load_imagenet, read_wnids
from wend.formats.openimages import load_lists
from wend.formats.wsoleval import load_wsoleval
from wend.images.paths import check_relative
from wend.pseudo_boxes.keys import path_key

IMAGES = [
    Image("n01440764/a b.JPEG", (500, 375), [(1.0, 2.5, 300.25, 370.0)], 0),
    Image("n01440764/b.JPEG", (20, 30), [(0.0, 0.0, 20.0, 30.0), (3.0, 4.0, 5.0, 6.0)], 0),
    Image("n02119789/ü.JPEG", (640, 480), [(10.5, 20.0, 600.0, 400.75)], 1),
]
ONE_WORD = [Image(i.path.replace(" ", "_"), i.size, i.boxes, i.label) for i in IMAGES]


def go_on(records, folder, unique_keys=True):
    """Accepted records are valid, and can be stored and written as COCO's JSON."""
    check_records(records, unique_keys)
    write_json(folder / "on.json", records_to_coco(records))
    again = load_coco(folder / "on.json")
    assert [r.image_id for r in again] == [r.image_id for r in records]
    if unique_keys and len(records):
        answer(lambda: store_them(records, folder), "store")


def store_them(records, folder):
    write_store(folder / "store", records, folder)
    store = open_store(folder / "store", folder)
    assert [plain_record(one) for one in store] == [plain_record(one) for one in records]


def check(read, kind, folder, whole, unique_keys=True, refused=()):
    """Read damaged files; ``whole`` are the records of the undamaged ones."""
    records = answer(read, folder)
    if records is None:
        assert kind not in HARMLESS
        return
    assert kind not in (*BROKEN_TEXT, *refused), kind
    if kind in HARMLESS:
        assert [plain_record(one) for one in records] == whole
    go_on(records, folder, unique_keys)


def damage_file(file, draw):
    damaged, kind = draw(damaged_bytes(file.read_bytes()))
    file.write_bytes(damaged)
    return kind


INDEX = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt")
LISTS = ("image_ids.txt", "class_labels.txt", "image_sizes.txt", "localization.txt")


@cases(times=4, file=st.sampled_from(INDEX), data=st.data())
def test_cub(file, data):
    with scratch() as folder:
        sizes = write_cub(folder, IMAGES)
        reader = known_sizes(sizes)
        whole = [plain_record(one) for one in load_cub(folder, "train", sizes=reader)]
        kind = damage_file(folder / file, data.draw)
        twice = () if file == "bounding_boxes.txt" else ("line twice",)
        check(lambda: load_cub(folder, "train", sizes=reader), kind, folder, whole, refused=twice)


@cases(times=4, file=st.sampled_from(LISTS), data=st.data())
def test_wsolevaluations_lists(file, data):
    with scratch() as folder:
        write_wsoleval(folder, IMAGES)
        whole = [plain_record(one) for one in load_wsoleval(folder)]
        kind = damage_file(folder / file, data.draw)
        twice = () if file == "localization.txt" else ("line twice",)
        check(lambda: load_wsoleval(folder), kind, folder, whole, False, twice)


@cases(times=4, file=st.sampled_from(LISTS), data=st.data())
def test_image_lists(file, data):
    with scratch() as folder:
        write_wsoleval(folder, IMAGES)
        sizes = write_images(folder / "images", IMAGES)
        reader = known_sizes(sizes)
        whole = [plain_record(one) for one in load_lists(folder / "images", folder, sizes=reader)]
        kind = damage_file(folder / file, data.draw)
        twice = () if file == "localization.txt" else ("line twice",)
        read = lambda: load_lists(folder / "images", folder, sizes=reader)  # noqa: E731
        check(read, kind, folder, whole, refused=twice)


def peers_line(kind, image):
    boxes = " ".join(repr(value) for box in image.boxes for value in box)
    return {
        "tscam": f"{image.path} {image.label} {boxes}",
        "bas": f"{image.path} {image.size[0]} {image.size[1]} ; {boxes}",
        "c2am": f"any/{image.path} {image.label} {image.path.split('/')[0]}",
    }[kind]


@cases(times=4, form=st.sampled_from(["tscam", "bas", "c2am"]), data=st.data())
def test_the_peers_lists_of_imagenet(form, data):
    with scratch() as folder:
        sizes = write_images(folder / "images", ONE_WORD)
        source = write_lines(folder / "list.txt", [peers_line(form, i) for i in ONE_WORD])
        reader = known_sizes(sizes)
        whole = [
            plain_record(one) for one in load_imagenet(folder / "images", source, sizes=reader)
        ]
        kind = damage_file(source, data.draw)
        read = lambda: load_imagenet(folder / "images", source, sizes=reader)  # noqa: E731
        check(read, kind, folder, whole, refused=("line twice",))


@cases(times=2, data=st.data())
def test_lists_of_wordnet_ids(data):
    with scratch() as folder:
        file = write_lines(folder / "LOC_synset_mapping.txt", ["n02119789 fox", "n01440764 tench"])
        kind = damage_file(file, data.draw)
        found = answer(lambda: read_wnids(file), file)
        if found is None:
            assert kind not in HARMLESS
        else:
            assert kind not in (*BROKEN_TEXT, "line twice")
            assert found == sorted(set(found))
            assert kind not in HARMLESS or found == ["n01440764", "n02119789"]


COCO = coco(IMAGES)
TWO_CATEGORIES = {
    "images": [{k: v for k, v in row.items() if k != "class_id"} for row in COCO["images"]],
    "annotations": [{**row, "category_id": 1 + row["id"] % 2 * 6} for row in COCO["annotations"]],
    "categories": [{"id": 7, "name": "b"}, {"id": 1, "name": "a"}],
}


UNREAD = (("info",), ("annotations", "id"), ("annotations", "area"), ("categories", "name"))


def check_coco(folder, kind, file, whole, **more):
    write_images(folder / "images", IMAGES)
    check(lambda: load_coco(file), kind, folder, whole, False, **more)
    answer(lambda: check_records(load_coco_images(folder / "images", file)), folder)


def records_of(value, folder):
    write_json(folder / "whole.json", value)
    return [plain_record(one) for one in load_coco(folder / "whole.json")]


@cases(times=12, whole=st.sampled_from([COCO, TWO_CATEGORIES]), data=st.data())
def test_coco_with_a_wrong_value(whole, data):
    with scratch() as folder:
        file = folder / "a.json"
        text, kind = data.draw(damaged_json(whole, unread=UNREAD))
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        wanted = records_of(whole, folder)
        check_coco(folder, kind, file, wanted, refused=("key twice",))
        if kind == "same key twice" and (found := answer(lambda: load_coco(file), file)):
            assert [plain_record(one) for one in found] == wanted


@cases(times=4, whole=st.sampled_from([COCO, TWO_CATEGORIES]), data=st.data())
def test_coco_with_wrong_bytes(whole, data):
    with scratch() as folder:
        file = folder / "a.json"
        write_json(file, whole, indent=1)
        kind = damage_file(file, data.draw)
        if kind == "line twice":
            kind = "byte"  # often "[" or a key; the JSON tests have keys that stand there twice
        check_coco(folder, kind, file, records_of(whole, folder), refused=("cut",))


@cases(times=3, data=st.data())
def test_folder_with_a_list_of_boxes(data):
    with scratch() as folder:
        sizes = write_images(folder / "images", IMAGES)
        source = write_lines(folder / "boxes.txt", box_lines(IMAGES))
        reader = known_sizes(sizes)
        whole = [plain_record(one) for one in load_folder(folder / "images", source, sizes=reader)]
        kind = damage_file(source, data.draw)
        check(lambda: load_folder(folder / "images", source, sizes=reader), kind, folder, whole)


@cases(times=4, data=st.data())
def test_folder_with_coco(data):
    with scratch() as folder:
        sizes = write_images(folder / "images", IMAGES)
        source = folder / "truth.json"
        text, kind = data.draw(damaged_json(COCO, unread=UNREAD))
        source.write_text(text, encoding="utf-8", errors="surrogatepass")
        reader = known_sizes(sizes)
        read = lambda: load_folder(folder / "images", source, sizes=reader)  # noqa: E731
        check(read, kind, folder, None, refused=("key twice",))


@cases(times=3, which=st.sampled_from(["list", "mask"]), data=st.data())
def test_masks(which, data):
    """OpenImages' list of masks, and the mask images."""
    with scratch() as folder:
        sizes = write_images(folder / "images", IMAGES)
        write_lines(folder / "image_ids.txt", [image.path for image in IMAGES])
        source = write_lines(folder / "localization.txt", [f"{i.path},m.png," for i in IMAGES])
        Pixels.new("L", (4, 4), 255).save(folder / "m.png")
        reader = known_sizes(sizes)
        read = lambda: load_lists(folder / "images", folder, folder, sizes=reader)  # noqa: E731
        whole = [plain_record(one) for one in read()]
        assert [record[-2] for record in whole] == [[[0.0, 0.0, *i.size]] for i in IMAGES]
        if which == "list":
            check(read, damage_file(source, data.draw), folder, whole)
            return
        mask = bytearray((folder / "m.png").read_bytes())
        mask[data.draw(st.integers(0, len(mask) - 1))] ^= data.draw(st.integers(1, 255))
        (folder / "m.png").write_bytes(mask[: data.draw(st.integers(0, len(mask)))])
        check(read, "any", folder, whole)


parts = st.sampled_from(["..", ".", "", "a", "...", "..a", "C:", "~", "\0", " ", "a.jpg", ".. "])
climbing = st.builds(
    lambda pieces, slashes: "".join(p + s for p, s in zip(pieces, slashes, strict=True)),
    *(st.lists(one, min_size=6, max_size=6) for one in (parts, st.sampled_from(["/", "\\", ""]))),
)


@cases(times=8, name=climbing | st.text(max_size=20))
def test_no_name_leaves_the_images_root(name):
    """Neither a listed image nor a key of boxes; the first, which is opened, on Windows neither."""
    for clean in (lambda: check_relative(name, "a.txt"), lambda: path_key(name, "a.txt")):
        path = answer(clean, "a.txt")
        if path is not None:
            assert os.path.normpath(f"/any/{path}").startswith("/any/") or path == "."
    listed = answer(lambda: check_relative(name, "a.txt"), "a.txt")
    if listed is not None and (listed[1:2] != ":" or listed[0] in ascii_letters):  # drives' names
        windows = ntpath.normpath(ntpath.join("D:\\root", listed))
        assert windows.startswith("D:\\root")
