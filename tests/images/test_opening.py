"""wend.images.opening: which files are opened at all, and what is refused before it is decoded."""

import os
import re
import socket
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, features

from wend.errors import BadImageError, MissingImageError
from wend.images.opening import FORMATS, open_image
from wend.images.orientation import read_orientation
from wend.images.reading import read_image, read_image_size


def chunk(name: bytes, content: bytes) -> bytes:
    body = name + content
    return len(content).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


def stated_png(path, width: int, height: int, *more: bytes):
    """A PNG whose header states a size, and whose pixels are no pixels: decoding it is an error."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", b"no pixels"), *more, chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def test_a_stated_size_beyond_the_limit_is_refused_before_it_is_decoded(tmp_path):
    path = stated_png(tmp_path / "bomb.png", 30_000, 30_000)
    assert read_image_size(path) == (30_000, 30_000)  # a header is harmless
    limits = {89.5: ({},), 899.9: ({"max_megapixels": 899.9},)}
    for limit, (arguments,) in limits.items():
        with pytest.raises(BadImageError) as caught:
            read_image(path, **arguments)
        assert str(caught.value).startswith(
            f"{path}: states 30000x30000 pixels, 900.0 megapixels, and more than {limit:g} are not"
        )
        assert "--max-megapixels, in a config WEND.DATA.MAX_MEGAPIXELS" in str(caught.value)
    with pytest.raises(BadImageError, match="cannot be read as an image"):  # it was decoded
        read_image(stated_png(tmp_path / "b.png", 30, 30), max_megapixels=900)


def test_the_limit_itself_is_allowed(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_megapixels=200e-6).size == (20, 10)
    with pytest.raises(BadImageError, match="states 20x10"):
        read_image(tmp_path / "a.png", max_megapixels=199e-6)


def test_pillows_own_limit_for_the_whole_process_is_neither_used_nor_set(tmp_path, monkeypatch):
    before = Image.MAX_IMAGE_PIXELS
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / "a.png").size == (30, 30)
    assert Image.MAX_IMAGE_PIXELS == 100
    monkeypatch.undo()
    assert Image.MAX_IMAGE_PIXELS == before


@pytest.mark.parametrize("exif", ["ignore", "apply"])
def test_another_size_than_recorded_is_told_before_it_is_decoded(tmp_path, exif):
    path = stated_png(tmp_path / "a.png", 4000, 3000)
    with pytest.raises(BadImageError, match="is 4000x3000, expected 40x30 as recorded"):
        read_image(path, exif, recorded=(40, 30))


@pytest.mark.parametrize("read", [read_image, read_image_size])
def test_what_is_no_file_is_not_opened(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait for a writer for ever
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "a.jpg").symlink_to("b.jpg")
    (tmp_path / "b.jpg").symlink_to("a.jpg")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.jpg"))
    for name, problem in (
        ("pipe.jpg", "is a pipe or a device, and no file"),
        ("socket.jpg", "is a pipe or a device, and no file"),
        ("folder.jpg", "is a folder, and no file"),
        ("a.jpg", "symbolic links"),
        ("gone.jpg", "there is no such image file"),
        ("/dev/zero", "is a pipe or a device, and no file"),
    ):
        with pytest.raises(BadImageError, match=problem) as caught:
            read(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert isinstance(caught.value, MissingImageError) == (name == "gone.jpg")


def test_a_format_whose_reader_starts_a_program_is_not_read(tmp_path, monkeypatch):
    trace = tmp_path / "trace"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {trace}\nexit 1\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / "photo.jpg"
    path.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    )
    with pytest.raises(Exception), Image.open(path) as image:  # noqa: B017, PT011
        image.load()
    assert trace.exists()  # so Pillow does
    trace.unlink()
    for read in (read_image, read_image_size):
        with pytest.raises(BadImageError, match=r"it is EPS or PostScript; expected JPEG, PNG"):
            read(path)
    assert not trace.exists()


@pytest.mark.parametrize("format", ["JPEG2000", "AVIF", "ICO", "TGA", "PCX", "SGI"])
def test_formats_that_no_list_of_images_names_are_refused(tmp_path, format):
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    Image.new("RGB", (16, 16), (1, 2, 3)).save(tmp_path / "a.jpg", format)
    names = {"JPEG2000": "JPEG 2000", "AVIF": "AVIF"}
    with pytest.raises(BadImageError, match=names.get(format, "it is of no known image format")):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("format", [*FORMATS, "MPO"])
def test_each_format_is_read_whatever_the_name_ends_in(tmp_path, format):
    image = Image.new("RGB", (16, 12), (9, 9, 9))
    options = {"save_all": True, "append_images": [image]} if format == "MPO" else {}
    image.save(tmp_path / "a.xyz", format, **options)
    with open_image(tmp_path / "a.xyz") as opened:
        assert opened.format == format
    loaded = read_image(tmp_path / "a.xyz")
    assert loaded.size == (16, 12)
    assert abs(np.asarray(loaded, dtype=int) - 9).max() <= 2


def test_a_pngs_orientation_is_read_without_a_pixel_wherever_it_stands(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif_chunk = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    path = stated_png(tmp_path / "a.png", 40_000, 30_000, exif_chunk)  # behind the pixels
    assert read_orientation(path) == 6
    assert read_image_size(path, "apply") == (30_000, 40_000)
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="8"/>'
    assert read_orientation(stated_png(tmp_path / "b.png", 9, 9, chunk(b"iTXt", xmp))) == 8


def test_a_jpeg_of_a_thousand_scans_is_refused(tmp_path):
    Image.new("L", (64, 64), 9).save(tmp_path / "a.jpg", progressive=True)
    assert read_image(tmp_path / "a.jpg").size == (64, 64)
    whole = (tmp_path / "a.jpg").read_bytes()
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    (tmp_path / "a.jpg").write_bytes(whole[:-2] + 1000 * scan + whole[-2:])
    with pytest.raises(BadImageError, match=r"a progressive JPEG of 10\d\d scans"):
        read_image(tmp_path / "a.jpg")


def test_long_texts_of_a_png_are_not_unpacked(tmp_path):
    packed = zlib.compress(bytes(1 << 24), 9)
    path = stated_png(tmp_path / "a.png", 9, 9, chunk(b"zTXt", b"Comment\0\0" + packed))
    assert read_orientation(path) == 1
    with pytest.raises(BadImageError, match=re.escape(f"{path}: cannot be read as an image")):
        read_image(path)
