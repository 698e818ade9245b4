"""wend.formats.imagenet, imagenet_truth and voc: every layout and list of ImageNet, one answer."""

import os
import random
import re

import numpy as np
import pytest
from PIL import Image

from wend.errors import BadImageError, InputError, MissingFileError
from wend.formats.imagenet import load_imagenet, read_wnids
from wend.formats.voc import read_voc
from wend.formats.wsoleval import load_wsoleval
from wend.images.sizes import SizeReader

# wnid, number of the validation image, size, boxes; sorted by wnid the classes are 0, 1, 2
SAMPLES = [
    ("n01440764", 293, (50, 40), [(9, 7, 41, 30)]),
    ("n02119789", 7, (30, 60), [(0, 0, 29, 59), (2, 3, 10, 20)]),
    ("n02119789", 5, (20, 20), [(1, 2, 3, 4)]),
    ("n13133613", 1, (45, 33), [(5, 6, 40, 30), (0, 1, 9, 9), (3, 3, 44, 32)]),
]
DEVKIT_ORDER = ["n02119789", "n13133613", "n01440764"]  # the devkit's first id is n02119789


def name_of(number):
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def write_images(root, samples, flat=False):
    for wnid, number, size, _ in samples:
        path = root / ("" if flat else wnid) / name_of(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(path)
    return root


def xml_text(wnid, number, size, boxes):
    objects = "".join(
        f"<object><name>{wnid}</name><pose>Unspecified</pose><bndbox><xmin>{x0}</xmin>"
        f"<ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for x0, y0, x1, y1 in boxes
    )
    return (
        f"<annotation><folder>val</folder><filename>{name_of(number)[:-5]}</filename><size>"
        f"<width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>{objects}"
        f"</annotation>"
    )


def write_xml(root, samples, flat=True):
    for sample in samples:
        path = root / ("" if flat else sample[0]) / f"{name_of(sample[1])[:-5]}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(xml_text(*sample))
    return root


def write_wsoleval(root, samples, order, sizes=True):
    root.mkdir(parents=True)
    lines = {"image_ids": [], "class_labels": [], "image_sizes": [], "localization": []}
    for wnid, number, size, boxes in samples:
        listed = f"val/{name_of(number)}"
        lines["image_ids"].append(listed)
        lines["class_labels"].append(f"{listed},{order.index(wnid)}")
        lines["image_sizes"].append(f"{listed},{size[0]},{size[1]}")
        lines["localization"] += [f"{listed},{','.join(map(str, box))}" for box in boxes]
    for name, of in lines.items():
        if name != "image_sizes" or sizes:
            (root / f"{name}.txt").write_text("".join(f"{line}\n" for line in of))
    return root


def flatten(boxes):
    return " ".join(str(value) for box in boxes for value in box)


def write_list(path, kind, samples, order):
    lines = {
        "ts-cam": "{wnid}/{name} {label} {boxes}",
        "bas": "{wnid}\\\\{name} {w} {h} ; {boxes}",
        "c2am": "{name} {label} {wnid}",
    }
    path.write_text(
        "".join(
            lines[kind].format(
                wnid=wnid, name=name_of(number), label=order.index(wnid), w=size[0], h=size[1],
                boxes=flatten(boxes),
            ) + "\n"
            for wnid, number, size, boxes in samples
        )
    )  # fmt: skip
    return path


def facts(records, boxes=True):
    return [
        (r.image_id, r.key, r.class_id, r.width, r.height, r.gt_boxes.tolist() if boxes else None)
        for r in sorted(records, key=lambda r: r.image_id)
    ]


WNIDS = sorted(DEVKIT_ORDER)
EXPECTED = sorted(
    (name_of(n), f"{wnid}/{name_of(n)}", WNIDS.index(wnid), *size, [list(b) for b in boxes])
    for wnid, n, size, boxes in SAMPLES
)


@pytest.mark.parametrize("flat", [False, True], ids=["by wnid", "flat"])
@pytest.mark.parametrize("truth", ["xml flat", "xml by wnid", "wsoleval", "ts-cam", "bas"])
def test_every_layout_and_truth_gives_the_same_records(tmp_path, flat, truth):
    images = write_images(tmp_path / "val", SAMPLES, flat)
    classes = None
    if truth.startswith("xml"):
        annotations = write_xml(tmp_path / "xml", SAMPLES, flat=truth == "xml flat")
    elif truth == "wsoleval":
        annotations = write_wsoleval(tmp_path / "lists", SAMPLES, WNIDS)
        if flat:  # the lists know class numbers only
            classes = tmp_path / "wnids.txt"
            classes.write_text("\n".join(DEVKIT_ORDER))
    else:
        annotations = write_list(tmp_path / "val.txt", truth, SAMPLES, WNIDS)
    records = load_imagenet(images, annotations, classes)
    assert facts(records) == EXPECTED
    assert all(os.path.isfile(r.file_name) for r in records)


@pytest.mark.parametrize("flat", [False, True])
def test_c2ams_list_gives_classes_without_boxes_and_sizes_come_from_headers(tmp_path, flat):
    images = write_images(tmp_path / "val", SAMPLES, flat)
    annotations = write_list(tmp_path / "val.txt", "c2am", SAMPLES, WNIDS)
    records = load_imagenet(images, annotations)
    assert facts(records, boxes=False) == [(*of[:5], None) for of in EXPECTED]
    assert [len(r.gt_boxes) for r in records] == [0] * 4


def test_without_truth_the_folders_give_the_classes(tmp_path, caplog):
    with caplog.at_level("INFO", logger="wend"):
        records = load_imagenet(write_images(tmp_path / "val", SAMPLES))
    assert facts(records, boxes=False) == [(*of[:5], None) for of in EXPECTED]
    assert "4 images of 3 classes" in caplog.text
    assert "0 with true boxes" in caplog.text


def test_flat_images_with_class_numbers_only_have_their_name_as_key(tmp_path):
    images = write_images(tmp_path / "val", SAMPLES, flat=True)
    records = load_imagenet(images, write_wsoleval(tmp_path / "lists", SAMPLES, WNIDS))
    assert facts(records) == [(of[0], of[0], *of[2:]) for of in EXPECTED]


def test_sizes_missing_in_lists_or_zero_in_xml_come_from_the_headers(tmp_path):
    images = write_images(tmp_path / "val", SAMPLES)
    lists = write_wsoleval(tmp_path / "lists", SAMPLES, WNIDS, sizes=False)
    assert facts(load_imagenet(images, lists)) == EXPECTED
    zero = [(w, n, (0, 0) if n == 7 else size, boxes) for w, n, size, boxes in SAMPLES]
    assert facts(load_imagenet(images, write_xml(tmp_path / "xml", zero))) == EXPECTED


def test_an_unreadable_header_is_of_its_image_though_only_some_headers_are_read(tmp_path):
    images = write_images(tmp_path / "val", SAMPLES)
    zero = [(w, n, (0, 0) if n in (5, 7) else size, boxes) for w, n, size, boxes in SAMPLES]
    xml = write_xml(tmp_path / "xml", zero)
    (images / "n02119789" / name_of(7)).write_bytes(b"no picture")
    (images / "n13133613" / name_of(1)).write_bytes(b"its header is not looked at")
    with pytest.raises(BadImageError, match=r"00000007\.JPEG: cannot be read as an image"):
        load_imagenet(images, xml)
    data_set = load_imagenet(images, xml, sizes=SizeReader(keep_unreadable=True))
    (index,) = data_set.unreadable
    assert data_set.image_ids[index] == name_of(7)
    sizes = dict(zip(data_set.image_ids, data_set.sizes.tolist(), strict=True))
    assert sizes == {name_of(n): [0, 0] if n == 7 else list(size) for _, n, size, _ in SAMPLES}


def test_the_order_of_the_directory_listing_does_not_matter(tmp_path, monkeypatch):
    """PSOL takes classes from os.listdir: in another order, or with a stray file, all shift."""
    images = write_images(tmp_path / "val", SAMPLES)
    (images / "A_README.txt").touch()
    (images / ".DS_Store").touch()
    listdir, scandir = os.listdir, os.scandir

    class Shuffled:
        def __init__(self, path):
            with scandir(path) as entries:
                self.entries = sorted(entries, key=lambda e: e.name, reverse=True)
            random.Random(3).shuffle(self.entries)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __iter__(self):
            return iter(self.entries)

        def __next__(self):
            if not self.entries:
                raise StopIteration
            return self.entries.pop()

        def close(self):
            pass

    monkeypatch.setattr(os, "scandir", Shuffled)
    monkeypatch.setattr(os, "listdir", lambda path: listdir(path)[::-1])
    records = load_imagenet(images)
    monkeypatch.undo()
    assert facts(records, boxes=False) == [(*of[:5], None) for of in EXPECTED]
    assert [r.key for r in records] == sorted(r.key for r in records)


@pytest.mark.parametrize("kind", ["ts-cam", "wsoleval", "c2am"])
def test_a_list_in_the_devkits_order_is_an_error(tmp_path, kind):
    """Numbers by ILSVRC2012_ID (n02119789 first) look as right as those by sorted WordNet id."""
    images = write_images(tmp_path / "val", SAMPLES)
    if kind == "wsoleval":
        annotations = write_wsoleval(tmp_path / "val.txt", SAMPLES, DEVKIT_ORDER)
    else:
        annotations = write_list(tmp_path / "val.txt", kind, SAMPLES, DEVKIT_ORDER)
    with pytest.raises(
        InputError,
        match=r"val\.txt, .*: image n01440764/.* is of class 2 there, but its n01440764 is number "
        r"0 of the 3 sorted WordNet ids of .*devkit's order\?",
    ):
        load_imagenet(images, annotations)


def test_the_devkits_list_of_numbers_is_refused_by_name(tmp_path):
    images = write_images(tmp_path / "val", SAMPLES, flat=True)
    (tmp_path / "truth.txt").write_text("490\n361\n")
    with pytest.raises(
        InputError, match=r"truth\.txt, line 1: .*ILSVRC2012_validation_ground_truth"
    ):
        load_imagenet(images, tmp_path / "truth.txt")


def test_a_file_of_wnids_is_sorted_whatever_its_order_and_numbers(tmp_path):
    for text in (
        "".join(f"{wnid} {i} name_{i}\n" for i, wnid in enumerate(DEVKIT_ORDER, 1)),  # map_clsloc
        "".join(f"{wnid} some name, other name\n" for wnid in DEVKIT_ORDER),  # LOC_synset_mapping
        "".join(f"{i},{wnid}\n" for i, wnid in enumerate(DEVKIT_ORDER)),
    ):
        (tmp_path / "classes.txt").write_text(text)
        assert read_wnids(tmp_path / "classes.txt") == WNIDS


def test_with_some_of_the_classes_the_file_of_all_gives_the_numbers(tmp_path):
    some = [sample for sample in SAMPLES if sample[0] != "n01440764"]
    images = write_images(tmp_path / "val", some)
    lists = write_wsoleval(tmp_path / "lists", SAMPLES, WNIDS)
    with pytest.raises(InputError, match="name a file of all WordNet ids as 'classes'"):
        load_imagenet(images, lists)
    (tmp_path / "classes.txt").write_text("\n".join(DEVKIT_ORDER))
    records = load_imagenet(images, lists, tmp_path / "classes.txt")
    assert {r.class_id for r in records} == {1, 2}
    (tmp_path / "classes.txt").write_text("n01440764\nn02119789\n")
    with pytest.raises(InputError, match=r"classes\.txt: does not hold n13133613, the class of"):
        load_imagenet(images, lists, tmp_path / "classes.txt")


def test_boxes_of_another_class_are_kept_and_counted(tmp_path, caplog):
    images = write_images(tmp_path / "val", SAMPLES[:1])
    xml = write_xml(tmp_path / "xml" / "n01440764", SAMPLES[:1])
    file = next(xml.iterdir())
    other = "<object><name>n99999999</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax>"
    file.write_text(
        file.read_text().replace(
            "</annotation>", f"{other}<ymax>3</ymax></bndbox></object></annotation>"
        )
    )
    with caplog.at_level("INFO", logger="wend"):
        (record,) = load_imagenet(images, xml.parent)
    assert record.gt_boxes.tolist() == [[9, 7, 41, 30], [1, 1, 2, 3]]
    assert "2 boxes (1 of them of another class" in caplog.text


def test_images_and_truth_of_more_images_are_counted(tmp_path, caplog):
    images = write_images(tmp_path / "val", SAMPLES)
    xml = write_xml(tmp_path / "xml", [SAMPLES[0], ("n02119789", 99, (9, 9), [(0, 0, 1, 1)])])
    with caplog.at_level("INFO", logger="wend"):
        records = load_imagenet(images, xml)
    assert sorted(len(r.gt_boxes) for r in records) == [0, 0, 0, 1]
    assert "4 images of 3 classes" in caplog.text
    assert "1 with true boxes; truth of 1 more images is not used" in caplog.text


def test_truth_of_another_split_is_an_error(tmp_path):
    images = write_images(tmp_path / "val", SAMPLES)
    xml = write_xml(tmp_path / "xml", [("n02119789", 99, (9, 9), [(0, 0, 1, 1)])])
    with pytest.raises(InputError, match=r"xml: none of its 1 images \(ILSVRC2012_val_00000099\)"):
        load_imagenet(images, xml)


def test_folder_and_xml_of_different_classes_are_an_error(tmp_path):
    images = write_images(tmp_path / "val", SAMPLES)
    wrong = [("n13133613", *sample[1:]) for sample in SAMPLES]
    with pytest.raises(InputError, match=r"\.xml: image n01440764/.* is of n13133613 there"):
        load_imagenet(images, write_xml(tmp_path / "xml", wrong))


def test_flat_images_without_a_class_are_an_error(tmp_path):
    images = write_images(tmp_path / "val", SAMPLES, flat=True)
    with pytest.raises(InputError, match=r"4 of 4 images have no class .*no annotations tell it"):
        load_imagenet(images)
    xml = write_xml(tmp_path / "xml", SAMPLES[:3])
    with pytest.raises(InputError, match=r"1 of 4 images have no class \(ILSVRC2012_val_00000001"):
        load_imagenet(images, xml)


def test_other_layouts_are_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"nowhere: there is no such folder"):
        load_imagenet(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match="empty: holds no image"):
        load_imagenet(tmp_path / "empty")
    images = write_images(tmp_path / "val", SAMPLES)
    Image.new("L", (2, 2)).save(images / "stray.JPEG")
    with pytest.raises(InputError, match=r"1 images lie beside folders of images \(stray\.JPEG\)"):
        load_imagenet(images)
    (images / "stray.JPEG").unlink()
    (images / "17").mkdir()  # ImageNetV2's folders are numbers, whose text order is another one
    Image.new("L", (2, 2)).save(images / "17/a.JPEG")
    with pytest.raises(InputError, match=r"1 folders of images have no WordNet id as name \(17\)"):
        load_imagenet(images)


def test_one_image_in_two_folders_is_an_error(tmp_path):
    images = write_images(tmp_path / "val", SAMPLES)
    Image.new("L", (2, 2)).save(images / "n01440764" / name_of(7))
    with pytest.raises(InputError, match=r"n01440764/.*0007\.JPEG and n02119789/.*0007\.JPEG"):
        load_imagenet(images)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("n01440764/a.JPEG 0 1 2 3", "expected four numbers per box, got 3"),
        ("n01440764/a.JPEG zero 1 2 3 4", "expected numbers, got 'zero'"),
        ("n01440764/a.JPEG 0 1 2 nan 4", "expected numbers, got '1 2 nan 4'"),
        ("n01440764/a.JPEG 0 9 2 3 4", "ends before it starts"),
        ("n01440764/a.JPEG -1 1 2 3 4", "expected numbers, got '-1'"),
        ("n01440764/a.JPEG 1e300 1 2 3 4", "expected numbers, got '1e300'"),
        ("n01440764/a.JPEG 0 1 2 3 1e999", "expected numbers, got '1 2 3 1e999'"),
        ("n01440764/a.JPEG 0 1 2 3 4_0", "expected numbers, got '1 2 3 4_0'"),
        ("n01440764/a.JPEG 0 1 2 3 ４", "expected numbers, got '1 2 3 ４'"),
        ("n01440764/a.JPEG 1.5 1 2 3 4", "expected numbers, got '1.5'"),
        ("n01440764/a.JPEG", "expected '<wnid>/<image> <class>"),
        ("n01440764\\\\a.JPEG 5 ; 1 2 3 4", "expected '<wnid>/<image> <class>"),
        ("n01440764\\\\a.JPEG 0 5 ; 1 2 3 4", r"expected a width and height from 1"),
        ("n01440764\\\\a.JPEG inf 5 ; 1 2 3 4", "expected numbers, got 'inf 5'"),
        ("n01440764/a.JPEG 0 n02119789", "is not of n02119789"),
        ("n01440764/b.JPEG 0", r"b stands already in .*list\.txt, line 1"),
    ],
)
def test_malformed_line_of_a_list_is_named(tmp_path, line, problem):
    images = write_images(tmp_path / "val", SAMPLES)
    (tmp_path / "list.txt").write_text(f"n01440764/b.JPEG 0 1 2 3 4\n\n{line}\n")
    with pytest.raises(InputError, match=rf"list\.txt, line 3: .*{problem}"):
        load_imagenet(images, tmp_path / "list.txt")


GOOD = xml_text(*SAMPLES[0])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD[:100], "not a whole XML file"),
        ("", "not a whole XML file"),
        ("{}", "not a whole XML file"),
        ("<html/>", "expected an <annotation> of VOC's XML, got <html>"),
        (
            GOOD.replace("<xmin>9", "<xmin>nine"),
            "<bndbox>: expected a number as <xmin>, got 'nine'",
        ),
        (GOOD.replace("<xmin>9</xmin>", ""), "expected a number as <xmin>, got ''"),
        (GOOD.replace("<xmin>9", "<xmin>nan"), "expected a number as <xmin>, got 'nan'"),
        (GOOD.replace("<xmin>9", "<xmin>0_9"), "expected a number as <xmin>, got '0_9'"),
        (GOOD.replace("<xmin>9", "<xmin>99"), "ends before it starts"),
        (GOOD.replace("bndbox", "box"), "object 1 has no <bndbox>"),
        (GOOD.replace("<width>50", "<width>-5"), "expected width and height as whole numbers"),
        (GOOD.replace("<width>50", "<width>nan"), "expected a number as <width>, got 'nan'"),
        ('<!DOCTYPE a [<!ENTITY b "cc">]><annotation>&b;</annotation>', "declares XML entities"),
        ('<?xml version="1.0" encoding="no-such"?><annotation/>', "not a whole XML file"),
    ],
)
def test_malformed_xml_is_named(tmp_path, text, problem):
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"^{re.escape(str(path))}: .*{problem}"):
        read_voc(path)


def test_xml_twice_missing_or_none_is_named(tmp_path):
    images = write_images(tmp_path / "val", SAMPLES)
    xml = write_xml(tmp_path / "xml", SAMPLES)
    write_xml(xml, SAMPLES[:1], flat=False)
    with pytest.raises(InputError, match=r"00000293\.xml: there is also .*00000293\.xml"):
        load_imagenet(images, xml)
    (tmp_path / "none").mkdir()
    with pytest.raises(MissingFileError, match=r"none: holds no \*\.xml"):
        load_imagenet(images, tmp_path / "none")
    with pytest.raises(MissingFileError, match="nothing: there is no such file or folder"):
        load_imagenet(images, tmp_path / "nothing")


def test_the_real_lists_and_xml_of_the_real_boxes_give_equal_records(tmp_path, shared):
    """The first 48 small validation images (9 to 15 have several boxes), stand-in WordNet ids."""
    source = shared / "data/wsol_metadata/ILSVRC/test"
    if not source.is_dir():
        pytest.skip("the lists of ImageNet's validation set are not there")
    folder = tmp_path / "lists"
    folder.mkdir()
    for file in source.iterdir():  # the real lines of the first 999 images
        lines = file.read_text().splitlines(keepends=True)
        (folder / file.name).write_text("".join(line for line in lines if "_val_00000" in line))
    everything = load_wsoleval(folder)
    assert len(everything) == 999
    chosen = [r for r in everything if r.width * r.height < 400 * 400][:48]
    assert sum(len(r.gt_boxes) > 1 for r in chosen) in range(9, 16)
    # the lists have class numbers only: a stand-in wnid for each, in the order of the numbers
    wnids = [f"n{1_000_000 + 7 * i:08d}" for i in range(1000)]
    samples = [
        (
            wnids[r.class_id],
            int(re.search(r"\d{8}", r.file_name)[0]),
            (r.width, r.height),
            [tuple(int(v) for v in box) for box in r.gt_boxes],
        )
        for r in chosen
    ]
    (tmp_path / "classes.txt").write_text("\n".join(random.Random(0).sample(wnids, 1000)))
    tree = write_images(tmp_path / "tree", samples)
    flat = write_images(tmp_path / "flat", samples, flat=True)
    by_lists = load_imagenet(flat, folder, tmp_path / "classes.txt")
    by_xml = load_imagenet(tree, write_xml(tmp_path / "xml", samples), tmp_path / "classes.txt")
    assert len(by_lists) == 48
    assert facts(by_lists) == facts(by_xml)
    expected = {r.file_name.split("/")[1]: r for r in chosen}
    for record in by_lists:
        np.testing.assert_array_equal(record.gt_boxes, expected[record.image_id].gt_boxes)
        assert record.class_id == expected[record.image_id].class_id
