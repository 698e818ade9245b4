"""VOC, YOLO, Open Images and Kaggle as truth: the examples of docs/datasets.md, and odd files."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wend.datasets.catalog import DataSets
from wend.datasets.ground_truth import load_source
from wend.errors import InputError, MissingFileError
from wend.formats.folder import load_folder
from wend.formats.imagenet import load_imagenet
from wend.formats.voc import load_voc
from wend.formats.yolo import read_yolo
from wend.pseudo_boxes import attach_pseudo_boxes, read_boxes

DOCS = (Path(__file__).resolve().parents[2] / "docs/datasets.md").read_text("utf-8")


def example(heading: str) -> str:
    """The block below a heading of docs/datasets.md."""
    section = DOCS.split(f"### {heading}\n")[1]
    return re.search(r"```\w+\n(.*?)```", section, re.DOTALL)[1]


def write_images(folder, **sizes):
    for name, size in sizes.items():
        path = folder / f"{name.replace('__', '/')}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(path)
    return folder


VOC, YOLO = example("VOC's XML"), example("YOLO's text files")
OPEN_IMAGES, KAGGLE = example("Open Images' CSV"), example("Kaggle's CSV")


# ---- VOC ----


def voc(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.xml").write_text(text)
    return folder


def test_voc_beside_or_among_the_images(tmp_path, caplog):
    images = write_images(tmp_path / "images", wren_1=(120, 90), gull_2=(50, 40))
    for folder in (voc(tmp_path / "Annotations", wren_1=VOC), voc(images, wren_1=VOC)):
        with caplog.at_level("INFO", logger="wend"):
            gull, wren = load_folder(images, folder, "annotations")
        assert wren.gt_boxes.tolist() == [[30, 20.5, 90, 70], [1, 1, 20, 30]]
        assert (wren.image_id, wren.class_id) == ("wren_1.jpg", 0)
        assert (len(gull.gt_boxes), gull.class_id) == (0, None)
        assert "2 objects of 1 classes (1 difficult, 1 truncated; all are kept)" in caplog.text


def test_voc_alone_is_ground_truth_if_it_states_sizes(tmp_path):
    folder = voc(tmp_path / "xml", wren_1=VOC, gull_2=VOC.replace("wren", "gull"))
    gull, wren = load_source(str(folder), DataSets(tmp_path))
    assert (wren.image_id, wren.width, wren.height, wren.class_id) == ("wren_1", 120, 90, 1)
    assert (gull.key, gull.class_id) == ("gull_2", 0)
    voc(folder, b=re.sub("<size>.*</size>", "", VOC))
    with pytest.raises(InputError, match=r"xml, b\.xml: states no width and height"):
        load_source(str(folder), DataSets(tmp_path))


def test_voc_of_another_size_than_the_file_is_an_error(tmp_path):
    images = write_images(tmp_path / "images", wren_1=(90, 120))
    with pytest.raises(
        InputError, match=r"image wren_1\.jpg is 120x90 there, but its file is 90x120"
    ):
        load_folder(images, voc(tmp_path / "xml", wren_1=VOC))


def test_voc_of_two_folders_may_have_equal_names(tmp_path):
    images = write_images(tmp_path / "images", a__1=(120, 90), b__1=(120, 90))
    voc(tmp_path / "xml/a", **{"1": VOC})
    voc(tmp_path / "xml/b", **{"1": VOC.replace("<xmin>1<", "<xmin>2<")})
    a, b = load_folder(images, tmp_path / "xml")
    assert (a.gt_boxes[1, 0], b.gt_boxes[1, 0]) == (1, 2)


def test_voc_as_pseudo_boxes_of_a_resized_copy(tmp_path):
    folder = voc(tmp_path / "xml", wren_1=VOC)
    images = load_folder(write_images(tmp_path / "images", wren_1=(240, 180)))
    boxes = read_boxes({"source": "voc", "path": folder})
    joined, _ = attach_pseudo_boxes(images, boxes)
    assert joined.pseudo_boxes[0].round(9).tolist() == [[60, 41, 180, 140], [2, 2, 40, 60]]
    voc(folder, b=re.sub("<size>.*</size>", "", VOC))
    with pytest.raises(InputError, match=r"b\.xml: expected <size> with width and height"):
        read_boxes({"source": "voc", "path": folder})
    (folder / "wren_1.xml").unlink()
    assert read_boxes({"source": "voc", "path": folder}).frame == "pixel"


# ---- YOLO ----


def yolo(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def test_yolo_beside_the_images(tmp_path, caplog):
    images = write_images(tmp_path / "images", a=(100, 200), b=(60, 40), c=(5, 5))
    labels = yolo(tmp_path / "labels", a=YOLO, b="3 0.5 0.5 1 1\r\n", c="")
    with caplog.at_level("INFO", logger="wend"):
        data_set = load_folder(images, labels, "annotations")
    # centre 0.5, 0.5, sides 0.5 x 0.55 of 100 x 200: x 50 -+ 25, y 100 -+ 55
    expected = [[25, 45, 75, 155], [20, 10, 30, 70], [10, 20, 40, 120]]
    assert data_set.truth[0].round(9).tolist() == expected
    assert data_set.truth[1].tolist() == [[0, 0, 60, 40]]
    assert data_set.class_ids.tolist() == [-1, 3, -1]  # a has three classes, c has no box
    assert (
        "3 of YOLO's files, 1 of them empty; 4 boxes, 1 of them of polygons, 1 with a"
        in caplog.text
    )


@pytest.mark.parametrize(
    "line",
    ["0 0.5 0.5 0.5", "0 0.5 0.5 0.5 nan", "-1 .5 .5 .5 .5", "0.5 .5 .5 .5 .5", "a .5 .5 .5 .5",
     "0 50 50 20 20", "0 .5 .5 -.5 .5", "0,.5,.5,.5,.5",
     "0 .1 .1 .2 .2 .3 .3 .4", "0 .5 .5 .5 .5_0"],
)  # fmt: skip
def test_a_wrong_line_of_yolo_is_named(tmp_path, line):
    labels = yolo(tmp_path / "labels", a=f"0 0.5 0.5 0.5 0.5\n{line}\n")
    with pytest.raises(InputError, match=r"a\.txt, line 2: expected <class> <cx> <cy> <w> <h>"):
        read_yolo(labels)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("labels/classes.txt", "wren\ngull\n"),
        ("data.yaml", "names: [wren, gull]\n"),
        ("data.yaml", "names:\n  0: wren\n  1: gull\n"),
        ("data.yaml", "nc: 2\n"),
    ],
)
def test_a_class_that_yolos_names_lack_is_an_error(tmp_path, file, text):
    labels = yolo(tmp_path / "labels", a="0 .5 .5 .5 .5\n1 .5 .5 .2 .2\n")
    (tmp_path / file).write_text(text)
    assert read_yolo(labels).class_ids.tolist() == [0, 1]
    yolo(labels, b="2 .5 .5 .5 .5\n")
    with pytest.raises(InputError, match=r"b\.txt: expected a class below 2, as .* has 2, got 2"):
        read_yolo(labels)


def test_another_programs_data_yaml_names_no_classes_and_a_wrong_one_is_an_error(tmp_path):
    labels = yolo(tmp_path / "labels", a="7 .5 .5 .5 .5\n")
    (tmp_path / "data.yaml").write_text("format: folder\nimages: ./images\nannotations: ./labels\n")
    assert read_yolo(labels).class_ids.tolist() == [7]
    for text in ("names: wren\n", "nc: '8'\n", "nc: 0\n"):
        (tmp_path / "data.yaml").write_text(text)
        with pytest.raises(
            InputError, match=r"data\.yaml: expected names: a list or mapping, or nc"
        ):
            read_yolo(labels)


def test_yolo_as_pseudo_boxes_with_scores(tmp_path):
    labels = yolo(tmp_path / "labels", a="0 .5 .5 .5 .5 .25\n1 .5 .5 1 1 .75\n", b="")
    boxes = read_boxes({"source": "yolo", "path": labels, "max_boxes": 1})
    assert boxes.table.boxes.tolist() == [[0, 0, 1, 1]]
    assert boxes.table.scores.tolist() == [0.75]
    images = load_folder(write_images(tmp_path / "images", a=(10, 20), b=(5, 5)))
    joined, report = attach_pseudo_boxes(images, boxes)
    assert joined.pseudo_boxes[0].tolist() == [[0, 0, 10, 20]]
    assert report.number("missing") == 1
    yolo(labels, b="0 .5 .5 .5 .5")
    with pytest.raises(InputError, match=r"b\.txt: expected a confidence in each line"):
        read_boxes({"source": "yolo", "path": labels})


def test_a_folder_of_neither_or_both_is_an_error(tmp_path):
    images = write_images(tmp_path / "images", a=(9, 9))
    with pytest.raises(MissingFileError, match=r"holds neither \*\.xml nor \*\.txt"):
        load_folder(images, images)
    voc(yolo(images, a=""), a=VOC)
    with pytest.raises(InputError, match=r"holds both \*\.xml and \*\.txt"):
        load_folder(images, images)
    with pytest.raises(MissingFileError, match="there is no such file or folder; expected a COCO"):
        load_folder(images, tmp_path / "no")


# ---- Open Images ----


def test_open_images_without_and_with_groups(tmp_path, caplog):
    images = write_images(
        tmp_path / "images", **{"0001eeaf4aed83f9": (200, 100), "000595fe6fee6369": (50, 50)}
    )
    (tmp_path / "boxes.csv").write_text(OPEN_IMAGES)
    with caplog.at_level("INFO", logger="wend"):
        plane, apples = load_folder(images, tmp_path / "boxes.csv", "annotations")
    assert plane.gt_boxes.tolist() == [[50, 10, 150, 90]]  # XMin, XMax, YMin, YMax
    assert (plane.class_id, apples.class_id, len(apples.gt_boxes)) == (0, None, 0)
    assert "1 of 2 boxes are of groups and left out" in caplog.text
    (tmp_path / "open.yaml").write_text(
        "format: openimages\nimages: images\nannotations: boxes.csv\ngroups: keep\n"
    )
    data_set = DataSets(tmp_path).get(str(tmp_path / "open.yaml"))
    assert data_set.truth[1].tolist() == [[0, 0, 50, 50]]
    assert data_set.class_ids.tolist() == [1, 0]  # /m/02wbm, /m/0cmf2 by name: /m/02wbm is 0
    boxes = read_boxes({"source": "openimages", "path": tmp_path / "boxes.csv"})
    joined, _ = attach_pseudo_boxes(data_set, boxes)
    assert joined.pseudo_boxes.counts.tolist() == [1, 0]
    assert boxes.table.scores is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("0.25,0.75", "0.75,0.25"), r"row 1: expected XMin <= XMax and YMin <= YMax as fractions"),
        (("0.25,0.75", "25,75"), "row 1: expected XMin"),
        (("0.25,0.75", ",0.75"), "row 1: column XMin has no value"),
        (("0.25,0.75", "nan,0.75"), "row 1: column XMin has no value"),
        (("0.25,0.75", "-inf,0.75"), "row 1: expected XMin"),
        (("0.25,0.75", "x,0.75"), r"cannot be read as Open Images' CSV .*Row #2"),
        (("IsOccluded", "XMin"), "expected each column once, got XMin twice"),
        (("YMax", "ymax"), r"has no column YMax; expected Open Images' ImageID"),
    ],
)
def test_wrong_open_images_are_named(tmp_path, change, message):
    (tmp_path / "b.csv").write_text(OPEN_IMAGES.replace(*change))
    with pytest.raises(InputError, match=rf"b\.csv.*{message}"):
        read_boxes({"source": "openimages", "path": tmp_path / "b.csv"})
    with pytest.raises(InputError, match="groups must be one of drop, keep, got 'some'"):
        read_boxes({"source": "openimages", "path": tmp_path / "b.csv", "groups": "some"})


def test_open_images_declared_with_both_or_neither_is_an_error(tmp_path):
    for more in ("", "lists: lists\nannotations: b.csv\n"):
        (tmp_path / "open.yaml").write_text(f"format: openimages\nimages: images\n{more}")
        with pytest.raises(InputError, match=r"format openimages needs lists .* or annotations"):
            DataSets(tmp_path).get(str(tmp_path / "open.yaml"))


# ---- Kaggle ----


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_kaggle_as_imagenets_truth_and_as_a_folders(tmp_path, ends, start):
    images = write_images(
        tmp_path / "val", ILSVRC2012_val_00048981=(500, 300), ILSVRC2012_val_00037956=(499, 375)
    )
    for file in images.iterdir():
        file.rename(file.with_suffix(".JPEG"))
    (tmp_path / "LOC_val_solution.csv").write_text(start + KAGGLE, "utf-8", newline=ends)
    two, one = load_imagenet(images, tmp_path / "LOC_val_solution.csv")
    assert one.gt_boxes.tolist() == [[85, 1, 499, 272]]
    assert two.gt_boxes.tolist() == [[131, 0, 499, 254], [0, 10, 60, 80]]
    assert (one.key, one.class_id) == ("n03995372/ILSVRC2012_val_00048981.JPEG", 1)
    assert (two.class_id, two.width) == (0, 499)
    again = load_folder(images, tmp_path / "LOC_val_solution.csv", "annotations")
    np.testing.assert_array_equal(again.truth.boxes, [*two.gt_boxes, *one.gt_boxes])
    assert again.class_ids.tolist() == [0, 1]


@pytest.mark.parametrize(
    "line",
    ["a", "a,n01440764 1 2 3", "a,cat 1 2 3 4", "a,n01440764 1 2 x 4", "a,n01440764 9 2 3 4",
     "ILSVRC2012_val_00048981,"],
)  # fmt: skip
def test_a_wrong_line_of_kaggle_is_named(tmp_path, line):
    images = write_images(tmp_path / "val", a=(9, 9))
    (tmp_path / "k.csv").write_text(f"{KAGGLE}{line}\n")
    with pytest.raises(InputError, match=r"k\.csv, line 4: "):
        load_imagenet(images, tmp_path / "k.csv")


def test_files_without_sizes_say_that_a_data_set_has_to_be_declared(tmp_path):
    (tmp_path / "b.csv").write_text(OPEN_IMAGES)
    yolo(tmp_path / "labels", a=YOLO)
    for source in ("b.csv", "labels"):
        with pytest.raises(InputError, match=f"{source}: states no width and height .* declare a"):
            load_source(str(tmp_path / source), DataSets(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        MissingFileError, match=r"empty: expected a COCO JSON, .* neither image_ids"
    ):
        load_source(str(tmp_path / "empty"), DataSets(tmp_path))


def test_voc_names_and_classes_are_of_the_objects(tmp_path):
    other = VOC.replace("<name>wren</name><difficult>1", "<name>owl</name><difficult>1")
    data_set = load_voc(voc(tmp_path / "xml", a=VOC, b=other, c=VOC.replace("wren", "gull")))
    assert data_set.class_ids.tolist() == [2, -1, 0]  # gull, owl, wren; b has two names
