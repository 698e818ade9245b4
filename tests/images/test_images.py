"""wend.images.reading: every kind of file becomes RGB as stored; a bad one is named."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import Resize

from wend.errors import BadImageError, InputError, MissingFileError
from wend.images.reading import read_image, read_image_size, squash


def save(image: Image.Image, path, **options):
    image.save(path, **options)
    return path


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_rgb_pixels_are_unchanged_and_the_size_is_width_then_height(tmp_path):
    path = save(noise(7, 5), tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(read_image(path)), np.asarray(noise(7, 5)))
    assert read_image(path).size == read_image_size(path) == (7, 5)
    assert read_image_size(str(path)) == (7, 5)


@pytest.mark.parametrize(
    ("image", "suffix", "colour"),
    [
        (Image.new("L", (4, 3), 77), "png", (77, 77, 77)),
        (Image.new("LA", (4, 3), (77, 10)), "png", (77, 77, 77)),
        (Image.new("1", (4, 3), 1), "png", (255, 255, 255)),
        (Image.new("RGBA", (4, 3), (10, 20, 30, 40)), "png", (10, 20, 30)),
        (Image.new("RGB", (4, 3), (10, 200, 30)).quantize(4), "png", (10, 200, 30)),
        # no ink but full magenta: all red and blue, no green
        (Image.new("CMYK", (4, 3), (0, 255, 0, 0)), "tif", (255, 0, 255)),
        (Image.new("CMYK", (4, 3), (0, 255, 0, 0)), "jpg", (255, 0, 255)),
    ],
    ids=["grey", "grey with alpha", "bilevel", "alpha", "palette", "CMYK", "CMYK JPEG"],
)
def test_greyscale_palette_alpha_and_cmyk_load_as_rgb(tmp_path, image, suffix, colour):
    path = save(image, tmp_path / f"a.{suffix}")
    with Image.open(path) as stored:
        assert stored.mode == image.mode  # the file really is of that kind
    loaded = read_image(path)
    assert loaded.mode == "RGB"
    np.testing.assert_allclose(np.asarray(loaded), np.full((3, 4, 3), colour), atol=2)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_rotated_jpeg_is_not_rotated(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.new("RGB", (32, 16), (250, 0, 0))
    image.paste((0, 0, 250), (16, 0, 32, 16))  # red on the left, blue on the right
    path = save(image, tmp_path / "a.jpg", exif=exif, quality=95)
    with Image.open(path) as stored:
        assert stored.getexif()[0x0112] == orientation
    assert read_image_size(path) == (32, 16)
    pixels = np.asarray(read_image(path)).astype(int)
    assert pixels.shape == (16, 32, 3)
    assert (pixels[:, :12, 0] > 200).all()
    assert (pixels[:, 20:, 2] > 200).all()


def test_16_bit_greyscale_keeps_its_high_byte(tmp_path):
    """Pillow's own conversion would make everything above 255 white."""
    values = np.array([[0, 255, 256, 0x1234], [0x7FFF, 0x8000, 0xFF00, 0xFFFF]], dtype=np.uint16)
    path = save(Image.fromarray(values), tmp_path / "a.png")
    with Image.open(path) as stored:
        assert stored.mode == "I;16"
    expected = np.array([[0, 0, 1, 0x12], [0x7F, 0x80, 0xFF, 0xFF]], dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(read_image(path)), np.stack([expected] * 3, 2))


def test_16_bit_rgb_keeps_its_high_byte(tmp_path):
    # OpenCV writes 16-bit RGB, which Pillow cannot write; OpenCV's order is blue, green, red
    import cv2

    values = np.zeros((2, 3, 3), dtype=np.uint16) + np.array([0x30FF, 0x2010, 0xFE00], np.uint16)
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), values)
    np.testing.assert_array_equal(
        np.asarray(read_image(path)), np.full((2, 3, 3), (0xFE, 0x20, 0x30))
    )


GREYS = np.array([[0, 51, 102], [153, 204, 255]], dtype=np.uint8)


@pytest.mark.parametrize(
    "values",
    [
        GREYS.astype(np.float32) / 255,
        GREYS.astype(np.uint16) * 257,
        GREYS == 255,
        GREYS,
        np.stack([GREYS] * 3, 2),
    ],
    ids=["float32", "uint16", "one bit", "uint8", "RGB"],
)
def test_every_kind_of_tiff_has_its_greys(tmp_path, values):
    path = save(Image.fromarray(values), tmp_path / "a.tif")
    expected = np.where(GREYS == 255, GREYS, 0) if values.dtype == bool else GREYS
    np.testing.assert_array_equal(np.asarray(read_image(path)), np.stack([expected] * 3, 2))


def test_16_bits_whose_white_is_0_are_turned_round(tmp_path):
    values = 65535 - GREYS.astype(np.uint16) * 257
    path = save(Image.fromarray(values), tmp_path / "a.tif", tiffinfo={262: 0})
    np.testing.assert_array_equal(np.asarray(read_image(path))[..., 0], GREYS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (GREYS.astype(np.int32), r"whole numbers of 32 bits \(from 0 to 255\)"),
        (GREYS.astype(np.int32) * 2**22, "whole numbers of 32 bits"),
        (GREYS.astype(np.float32), r"from 0 to 255, expected 0 \(black\) to 1 \(white\)"),
        (GREYS / np.float32(255) - 1, "from -1 to 0, expected 0"),
        (np.full((2, 2), np.nan, np.float32), "from nan to nan"),
    ],
    ids=["int32 as bytes", "int32", "float as bytes", "negative", "nan"],
)
def test_pixels_whose_white_is_not_known_are_refused_by_name(tmp_path, values, message):
    path = save(Image.fromarray(values), tmp_path / "a.tif")
    with pytest.raises(BadImageError, match=rf"a\.tif: cannot be read .*{message}"):
        read_image(path)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "CMYK", "YCbCr", "1"])
def test_every_mode_keeps_its_colour(tmp_path, mode):
    colour = (255, 255, 255) if mode == "1" else (90, 90, 90)
    # Pillow before 13 cannot read the YCbCr that it wrote without compression
    stored = Image.new("RGB", (8, 8), colour).convert(mode)
    path = save(stored, tmp_path / "a.tif", compression="tiff_lzw")
    pixels = np.asarray(read_image(path))
    assert pixels.shape == (8, 8, 3)
    assert np.abs(pixels.astype(int) - colour).max() <= 1


def test_of_several_pages_the_first_is_read(tmp_path):
    pages = [Image.new("L", (8, 8), value) for value in (10, 200)]
    path = save(pages[0], tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert np.asarray(read_image(path)).max() == 10


def test_palette_with_transparency_keeps_its_colours(tmp_path):
    image = Image.new("RGB", (4, 3), (10, 200, 30)).quantize(4)
    path = save(image, tmp_path / "a.png", transparency=bytes([0, 128]))
    with Image.open(path) as stored:
        assert stored.mode == "P"
        assert "transparency" in stored.info
    np.testing.assert_array_equal(np.asarray(read_image(path)), np.full((3, 4, 3), (10, 200, 30)))


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",  # 65535 entries, none there
        # orientation 6, then a resolution far behind the end
        b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
        b"\x1a\x01\x05\0\x01\0\0\0\xff\xff\xff\x7f",
    ],
    ids=["empty", "garbage", "cut directory", "value outside"],
)
def test_broken_exif_is_no_obstacle_and_rotates_nothing(tmp_path, exif):
    path = save(Image.new("RGB", (32, 16), (200, 40, 90)), tmp_path / "a.jpg", exif=exif)
    assert exif in path.read_bytes()
    assert read_image_size(path) == (32, 16)
    image = read_image(path)
    assert image.size == (32, 16)
    np.testing.assert_allclose(np.asarray(image)[8, 16], (200, 40, 90), atol=3)


def test_file_with_another_suffix_than_its_format_is_read(tmp_path):
    """ImageNet's n02105855_2933.JPEG is a PNG."""
    path = save(noise(5, 4), tmp_path / "n02105855_2933.JPEG", format="PNG")
    np.testing.assert_array_equal(np.asarray(read_image(path)), np.asarray(noise(5, 4)))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_truncated_image_is_named_though_its_header_tells_the_size(tmp_path, suffix):
    path = save(noise(64, 64), tmp_path / f"cut.{suffix}")
    path.write_bytes(path.read_bytes()[:2000])
    assert read_image_size(path) == (64, 64)
    with pytest.raises(InputError, match=re.escape(f"{path}: cannot be read as an image (")):
        read_image(path)


@pytest.mark.parametrize("read", [read_image, read_image_size])
@pytest.mark.parametrize("content", [b"", b"not a picture", b"\xff\xd8\xff\xe0"])
def test_file_that_is_no_image_is_named(tmp_path, read, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{path}: cannot be read as an image (")):
        read(path)


def test_damaged_png_chunk_is_named(tmp_path):
    buffer = io.BytesIO()
    noise(40, 40).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[data.index(b"IDAT") - 4 :] = b"\xff" * 40
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(InputError, match=re.escape(f"{path}: cannot be read as an image (")):
        read_image(path)


@pytest.mark.parametrize("read", [read_image, read_image_size])
def test_missing_image_and_folder_are_named(tmp_path, read):
    with pytest.raises(MissingFileError, match=r"a\.jpg: there is no such image file"):
        read(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}: cannot be read as an image")):
        read(tmp_path)


@pytest.mark.parametrize(("width", "height"), [(50, 37), (8, 100), (24, 24), (5, 3)])
def test_squash_is_torchvisions_resize_of_a_pil_image(width, height):
    image = noise(width, height)
    expected = np.asarray(Resize((24, 24))(image))
    squashed = squash(image, 24)
    assert squashed.dtype == np.uint8
    np.testing.assert_array_equal(squashed, expected)
