"""What may be written as label files, where it goes, and what is refused."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from label_images import NESTED, SIZES, make_images, make_table, read_xml
from PIL import Image, ImageDraw, ImageOps

from wend.errors import InputError
from wend.images.orientation import turn_boxes
from wend.label_files import WRITERS, LabelledBoxes, label_writer, write, write_all
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord
from wend.user_code import UserCodeError

FORMATS = ("coco", "csv", "cvat", "label_studio", "voc", "yolo")


@pytest.fixture
def images(tmp_path):
    return make_images(tmp_path / "photos")


@pytest.fixture
def writers():
    with WRITERS.temporary():
        yield WRITERS


def files_below(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_all_formats_are_there():
    assert {*FORMATS} <= {*WRITERS}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_is_turned_as_its_image(orientation):
    box = np.array([[5, 3, 12, 21]])
    image = Image.new("L", (40, 30))
    ImageDraw.Draw(image).rectangle((5, 3, 11, 20), fill=255)
    image.getexif()[0x0112] = orientation
    turned = ImageOps.exif_transpose(image)
    found = turn_boxes(box, np.array([[40, 30]]), np.array([orientation]))
    assert tuple(found[0]) == turned.getbbox()
    assert found.dtype == np.float64


@pytest.mark.parametrize("label_format", ["cvat", "label_studio", "voc", "yolo"])
def test_tools_that_turn_images_get_turned_boxes(tmp_path, label_format, caplog):
    """Boxes of the pixels as stored; image 2 is stored sideways."""
    caplog.set_level("INFO")
    table = make_table()
    stored = make_images(tmp_path / "photos", sideways=(2,))
    sizes = stored.sizes.copy()
    sizes[2] = sizes[2, ::-1]
    boxes = table.boxes.copy()
    boxes[3:6] = turn_boxes(boxes[3:6], np.tile(SIZES[2], (3, 1)), np.full(3, 6))
    turned = replace(stored, sizes=sizes, exif="apply")
    by_hand = write(label_format, replace(table, boxes=boxes), turned, tmp_path / "hand")
    caplog.clear()
    written = write(label_format, table, stored, tmp_path / "own")
    assert "boxes of 1 images are turned by EXIF" in caplog.text
    assert files_below(written) == files_below(by_hand)
    for name in files_below(written):
        assert (written / name).read_bytes() == (by_hand / name).read_bytes()


@pytest.mark.parametrize("upright", [False, True])
def test_coco_and_csv_are_turned_only_if_asked(tmp_path, upright):
    images = make_images(tmp_path / "photos", sideways=(2,))
    folder = write("coco", make_table(), images, tmp_path, upright=upright)
    row = json.loads((folder / "annotations.json").read_text())["images"][2]
    size = SIZES[2][::-1] if upright else SIZES[2]
    assert (row["width"], row["height"]) == size


@pytest.mark.parametrize("label_format", FORMATS)
def test_images_that_are_not_there_can_be_written_all_the_same(tmp_path, label_format, caplog):
    images = make_images(tmp_path / "photos")
    for name in NESTED:
        (tmp_path / "photos" / name).unlink()
    folder = write(label_format, make_table(), images, tmp_path)
    assert files_below(folder)
    assert ("5 of 5 image files are not there" in caplog.text) == (
        label_format not in ("coco", "csv")
    )


@pytest.mark.parametrize("label_format", FORMATS)
def test_no_box_at_all(tmp_path, images, label_format):
    folder = write(label_format, BoxTable.empty(5), images, tmp_path)
    assert files_below(folder)


@pytest.mark.parametrize("label_format", ["cvat", "label_studio", "voc", "yolo"])
def test_boxes_are_cut_at_the_border_and_counted(tmp_path, images, label_format, caplog):
    boxes = [[[-4, -3, 20, 60]], [], [[70, 50, 80, 60], [0, 0, 64, 48.0001]], [], []]
    table = BoxTable.from_lists(boxes)
    cut = [[[0, 0, 20, 30]], [], [[0, 0, 64, 48]], [], []]
    expected = write(label_format, BoxTable.from_lists(cut), images, tmp_path / "cut")
    caplog.clear()
    written = write(label_format, table, images, tmp_path / "out")
    assert (
        f"{label_format}: 1 of 3 boxes reach out of their image and are cut at its border; 1 have "
        f"no area in it and are left out"
    ) in caplog.text
    for name in files_below(expected):
        assert (written / name).read_bytes() == (expected / name).read_bytes()


@pytest.mark.parametrize("label_format", ["coco", "csv"])
def test_boxes_that_reach_out_are_kept_where_the_format_can_hold_them(
    tmp_path, images, label_format
):
    table = BoxTable.from_lists([[[-4.5, -3, 20, 60]], [], [], [], []])
    folder = write(label_format, table, images, tmp_path)
    assert "-4.5" in (folder / files_below(folder)[0]).read_text()


@pytest.mark.parametrize("label_format", FORMATS)
def test_a_folder_that_is_there_stays_as_it_was(tmp_path, images, label_format):
    folder = write(label_format, make_table(), images, tmp_path)
    before = {name: (folder / name).read_bytes() for name in files_below(folder)}
    with pytest.raises(InputError, match=r"is there already; name another folder.*--overwrite"):
        write(label_format, make_table(1), images, tmp_path)
    assert before == {name: (folder / name).read_bytes() for name in files_below(folder)}
    few = images.take([0, 1])
    assert write(label_format, make_table(1).take([0, 1]), few, tmp_path, overwrite=True) == folder
    after = {name: (folder / name).read_bytes() for name in files_below(folder)}
    assert not before.items() & (after.items() - {("data.yaml", before.get("data.yaml"))}) - {
        ("labels.xml", before.get("labels.xml"))
    }
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_overwriting_spares_the_users_own_files(tmp_path, images):
    """Photographs in yolo/images/, as ultralytics wants them."""
    folder = write("yolo", make_table(), images, tmp_path)
    photo = folder / "images/mine.jpg"
    photo.parent.mkdir()
    photo.write_bytes(b"photo")
    with pytest.raises(InputError, match=r"holds files that are no label files.*mine\.jpg"):
        write("yolo", make_table(1), images, tmp_path, overwrite=True)
    assert photo.read_bytes() == b"photo"
    assert (folder / "data.yaml").is_file()


def test_linked_photographs_are_not_touched_by_overwriting(tmp_path, images):
    for _ in range(2):
        folder = write("yolo", make_table(), images, tmp_path, overwrite=True, link_images=True)
    assert all((folder / "images" / name).is_symlink() for name in NESTED)
    assert all((tmp_path / "photos" / name).is_file() for name in NESTED)


def test_an_error_leaves_nothing_behind(tmp_path, images, writers):
    @label_writer("half")
    def write_half(labelled, folder):
        (folder / "first.txt").write_text("x")
        raise ZeroDivisionError("no")

    with pytest.raises(UserCodeError, match="label format 'half' failed"):
        write("half", make_table(), images, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_writer_of_ones_own(tmp_path, images, writers):
    @label_writer("lines")
    def write_lines(labelled, folder, separator=";"):
        lines = [
            separator.join([image.name, label, *map(str, corners)])
            for image in labelled
            for label, corners in zip(image.labels, image.boxes.tolist(), strict=True)
        ]
        (folder / "boxes.txt").write_text("\n".join(lines), encoding="utf-8")

    table = make_table()
    options = {"separator": "|", "scores": True}  # each to the format that has it
    lines, yolo = write_all(["lines", "yolo"], table, images, tmp_path, options=options)
    first = (lines / "boxes.txt").read_text(encoding="utf-8").splitlines()[0]
    assert first == "a/bird 1.jpg|foreground|0.0|0.0|40.0|30.0"
    assert len((yolo / "labels/a/bird 1.txt").read_text().splitlines()[0].split()) == 6


def records(*keys, size=(40, 30)):
    rows = [ImageRecord(i, f"/x/{key}", *size, key=key) for i, key in enumerate(keys)]
    return DataSet.from_records(rows)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        pytest.param(records(), "expected at least one image, got none", id="none"),
        pytest.param(records("a.jpg", "b/../a.jpg"), "leaves the images' root", id="climbs"),
        pytest.param(records("/etc/a.jpg"), "leaves the images' root", id="absolute"),
        pytest.param(records("a.jpg", "./a.jpg"), r"names are of several images \(a.jpg\)", id="2"),
        pytest.param(records("a\udcff.jpg"), "is no Unicode", id="surrogate"),
    ],
)
def test_images_that_cannot_be_told_apart_are_refused(tmp_path, images, message):
    for label_format in FORMATS:
        with pytest.raises(InputError, match=message):
            write(label_format, BoxTable.empty(len(images)), images, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("label_format", ["voc", "yolo"])
def test_names_that_differ_in_their_endings_only(tmp_path, label_format):
    with pytest.raises(InputError, match=r"c/a\.jpg and c/a\.png differ in their endings only"):
        write(label_format, BoxTable.empty(2), records("c/a.jpg", "c/a.png"), tmp_path)


@pytest.mark.parametrize("label_format", ["cvat", "voc"])
def test_what_xml_cannot_hold_is_refused(tmp_path, label_format):
    with pytest.raises(InputError, match="control character"):
        write(label_format, BoxTable.empty(1), records("a\x02.jpg"), tmp_path)
    assert not (tmp_path / label_format).exists()


@pytest.mark.parametrize(
    ("label_format", "options", "message"),
    [
        ("coc", {}, r"unknown label format 'coc'. Did you mean 'coco'\? Known: coco, csv, cvat"),
        ("coco", {"scores": True}, "no option scores; there are: none"),
        ("yolo", {"score": True}, "no option score; there are: yolo: link_images, scores"),
        ("yolo", {"link_images": "copy"}, "yolo: link_images must be true or false, got 'copy'"),
        ("yolo", {"scores": "yes"}, "yolo: scores must be true or false, got 'yes'"),
        ("voc", {"pixels": 1}, "voc: pixels must be one of inclusive, edges, got 1"),
        ("voc", {"whole": 1}, "voc: whole must be true or false, got 1"),
        ("label_studio", {"root": "/a", "url": "b"}, "expected root or url, got both"),
        ("label_studio", {"url": 3}, "label_studio: url: expected a text, got 3"),
        ("label_studio", {"root": "/nowhere"}, "does not lie below the root /nowhere"),
        ("coco", {"labels": ("a", "a")}, "expected different names of a line each as labels"),
        ("coco", {"labels": ("a\nb",)}, "expected different names of a line each as labels"),
        ("coco", {"labels": ()}, "expected different names of a line each as labels"),
    ],
)
def test_wrong_options(tmp_path, images, label_format, options, message):
    with pytest.raises(InputError, match=message):
        write(label_format, make_table(), images, tmp_path / "out", **options)
    assert not (tmp_path / "out" / label_format).exists()


def test_boxes_that_fit_no_image_or_label(tmp_path, images):
    with pytest.raises(InputError, match="5 images but boxes of 4"):
        write("csv", BoxTable.empty(4), images, tmp_path)
    table = replace(make_table(), class_ids=np.full(7, 2))
    with pytest.raises(InputError, match="classes up to 2, but there are 1 labels"):
        write("csv", table, images, tmp_path)
    sizes = images.sizes.copy()
    sizes[1] = 0
    with pytest.raises(InputError, match=r"1 images have no width and height \(b/bird 1\.jpg\)"):
        write("csv", make_table(), replace(images, sizes=sizes), tmp_path)
    with pytest.raises(InputError, match="scores: the boxes have no scores"):
        write("yolo", make_table(scored=False), images, tmp_path, scores=True)
    with pytest.raises(InputError, match="expected different formats"):
        write_all(["csv", "csv"], make_table(), images, tmp_path)


def test_a_file_or_link_in_the_folders_place_is_refused(tmp_path, images):
    (tmp_path / "csv").write_text("mine")
    os.symlink(tmp_path, tmp_path / "coco")
    for name in ("csv", "coco"):
        with pytest.raises(InputError, match="is a file or a link"):
            write(name, make_table(), images, tmp_path, overwrite=True)
    assert (tmp_path / "csv").read_text() == "mine"


def test_boxes_without_scores_have_none_where_a_format_can_do_without(tmp_path, images):
    table = make_table(scored=False)
    coco, cvat, voc = write_all(["coco", "cvat", "voc"], table, images, tmp_path)
    rows = json.loads((coco / "annotations.json").read_text())["annotations"]
    assert not any("score" in row for row in rows)
    assert {row["score"] for row in json.loads((coco / "results.json").read_text())} == {1.0}
    assert "attribute" not in {e.tag for e in read_xml(cvat / "annotations.xml").iter()}
    xml = read_xml(voc / "Annotations/a/bird 1.xml")
    assert xml.find("object/confidence") is None
    assert (xml.findtext("folder"), xml.findtext("filename")) == ("a", "bird 1.jpg")


def test_labelled_boxes_are_rows_of_images(tmp_path, images):
    labelled = LabelledBoxes(images, make_table(), ("a", "b"))
    assert len(labelled) == 5
    assert [image.name for image in labelled] == list(NESTED)
    last = labelled[-1]
    assert (last.index, last.width, last.height, last.labels) == (4, 333, 77, ["a"])
    with pytest.raises(IndexError):
        labelled[5]
