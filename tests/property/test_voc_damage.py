"""Damaged VOC XML: the right boxes, or an InputError that names the file."""

import pytest
from damage import HARMLESS
from data_sets import voc_xml
from hypothesis import strategies as st
from property_cases import answer, cases, scratch
from test_truth_damage import IMAGES, damage_file

from wend.errors import InputError
from wend.formats.voc import read_voc


def test_a_first_xml_is_read():
    with scratch() as folder:
        file = folder / "a.xml"
        file.write_text(voc_xml("a", *xml_of(IMAGES[1])), encoding="utf-8")
        assert read_voc(file).boxes.tolist() == [list(box) for box in IMAGES[1].boxes]


def xml_of(image):
    return image.size, image.boxes, image.path.split("/")[0]


@cases(times=6, image=st.sampled_from(IMAGES), data=st.data())
def test_voc(image, data):
    with scratch() as folder:
        file = folder / "a.xml"
        file.write_text(voc_xml("ü", *xml_of(image)), encoding="utf-8")
        before = file.read_bytes()
        kind = damage_file(file, data.draw)
        found = answer(lambda: read_voc(file), file)
        if found is None:
            assert kind not in HARMLESS
            return
        cut_short = kind == "cut" and file.read_bytes().rstrip() != before.rstrip()
        assert not cut_short
        assert kind not in ("no utf-8", "empty")  # XML in UTF-16 is right XML
        if kind in (*HARMLESS, "utf-16"):
            assert found.size == image.size
            assert found.boxes.tolist() == [list(box) for box in image.boxes]


@cases(
    tag=st.sampled_from(["xmin", "ymin", "xmax", "ymax", "width", "height", "bndbox", "size"]),
    first=st.booleans(),
)
def test_voc_with_a_tag_twice(tag, first):
    """Which one counts cannot be known."""
    with scratch() as folder:
        file = folder / "a.xml"
        text = voc_xml("a", *xml_of(IMAGES[0]))
        start, end = text.index(f"<{tag}>"), text.index(f"</{tag}>") + len(tag) + 3
        again = "".join("9" if char.isdecimal() else char for char in text[start:end])
        place = start if first else end
        file.write_text(text[:place] + again + text[place:], encoding="utf-8")
        with pytest.raises(InputError, match=r"a\.xml"):
            read_voc(file)


@cases(depth=st.integers(1, 20_000), closed=st.booleans())
def test_voc_nested_deeply(depth, closed):
    with scratch() as folder:
        file = folder / "a.xml"
        inside = "<object>" * depth + "</object>" * (depth if closed else depth - 1)
        file.write_text(f"<annotation>{inside}</annotation>", encoding="utf-8")
        assert answer(lambda: read_voc(file), file) is None
