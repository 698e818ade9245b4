"""wend.loading.decoders: what other decoders than Pillow change of pixels, and what they keep."""

import numpy as np
import pytest
import torch
from PIL import Image

from wend.datasets.catalog import DataSets
from wend.errors import BadImageError, InputError
from wend.images.reading import fit, read_image, squash
from wend.loading import decoders
from wend.loading.crop import CropMapper
from wend.loading.decoders import read_square
from wend.loading.fill_cache import fill_cache, open_caches
from wend.structures.records import DECODERS, ImageRecord

SIDE = 32
SIZE = (61, 83)
BOX = np.array([[2.0, 1, 30, 40]])
TURBO = DECODERS[1:]


@pytest.fixture
def turbo():
    pytest.importorskip("simplejpeg")


def scene(size=SIZE, seed=0):
    """Waves and a little noise, as of a photo."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    waves = [np.sin(rows / p) * np.cos(columns / (p + 3)) for p in (5, 9, 14)]
    noise = np.random.default_rng(seed).normal(0, 4, (size[1], size[0], 3))
    return Image.fromarray((128 + 90 * np.stack(waves, 2) + noise).clip(0, 255).astype(np.uint8))


def saved(path, image, **options):
    image.save(path, **options)
    return path


def by_pillow(path, padded=False, exif="ignore"):
    return (fit if padded else squash)(read_image(path, exif), SIDE)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("exif", ["ignore", "apply"])
def test_pillows_squares_are_those_of_reading(tmp_path, padded, exif):
    tag = Image.Exif()
    tag[0x0112] = 6
    path = saved(tmp_path / "a.jpg", scene(), exif=tag)
    pixels, size = read_square(path, SIDE, padded, exif=exif)
    assert pixels.tobytes() == by_pillow(path, padded, exif).tobytes()
    assert size == (SIZE if exif == "ignore" else SIZE[::-1])


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_simplejpeg_decodes_to_pillows_pixels(tmp_path, turbo, subsampling, progressive):
    path = saved(tmp_path / "a.jpg", scene(), subsampling=subsampling, progressive=progressive)
    with Image.open(path) as image:
        pixels = decoders._by_turbo(image, None)
    assert pixels.tobytes() == np.asarray(read_image(path)).tobytes()


KINDS = {
    "JPEG": lambda path: saved(path / "a.jpg", scene()),
    "grey JPEG": lambda path: saved(path / "a.jpg", scene().convert("L")),
    "CMYK JPEG": lambda path: saved(path / "a.jpg", scene().convert("CMYK")),
    "PNG": lambda path: saved(path / "a.png", scene()),
    "palette": lambda path: saved(path / "a.gif", scene().quantize(16)),
    "16 bits": lambda path: saved(
        path / "a.png", Image.fromarray(256 * np.asarray(scene().convert("L"), np.uint16))
    ),
}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_pixel_differs_by_at_most_one(tmp_path, turbo, kind, padded):
    path = KINDS[kind](tmp_path)
    pixels, size = read_square(path, SIDE, padded, "simplejpeg")
    difference = np.abs(pixels.astype(int) - by_pillow(path, padded))
    assert (difference.max(), size) == (1, SIZE) or (difference.max(), size) == (0, SIZE)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (SIDE, SIDE, 3))
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("orientation", [1, 3, 5, 6])
@pytest.mark.parametrize("exif", ["ignore", "apply"])
def test_the_policy_on_exif_is_kept(tmp_path, turbo, exif, orientation, padded):
    tag = Image.Exif()
    tag[0x0112] = orientation
    path = saved(tmp_path / "a.jpg", scene(), exif=tag)
    pixels, size = read_square(path, SIDE, padded, "simplejpeg", exif)
    assert np.abs(pixels.astype(int) - by_pillow(path, padded, exif)).max() <= 1
    assert size == read_image(path, exif).size


def test_only_a_jpeg_of_twice_the_side_is_scaled_and_no_further_than_the_side(tmp_path, turbo):
    shapes = []
    for size in ((63, 200), (64, 64), (127, 400), (128, 131), (300, 256), (640, 300)):
        path = saved(tmp_path / "a.jpg", scene(size), subsampling=0)
        with Image.open(path) as image:
            shapes.append(decoders._by_turbo(image, SIDE).shape[1::-1])
    assert shapes == [(63, 200), (32, 32), (64, 200), (32, 33), (38, 32), (80, 38)]
    path = saved(tmp_path / "a.jpg", scene((96, 112)), subsampling=0, quality=95)
    with Image.open(path) as image:
        half = decoders._by_turbo(image, 48).astype(float)
    means = np.asarray(read_image(path)).reshape(56, 2, 48, 2, 3).mean((1, 3))
    assert half.shape == means.shape
    assert np.abs(half - means).mean() < 1
    full, scaled = (read_square(path, SIDE, decoder=name)[0] for name in TURBO)
    assert full.tobytes() != scaled.tobytes()
    small = saved(tmp_path / "b.jpg", scene())
    both = [read_square(small, SIDE, decoder=name)[0].tobytes() for name in TURBO]
    assert both[0] == both[1]


def _cut(path):
    path.write_bytes(path.read_bytes()[:-300])


def _stray_bytes(path):
    """Bytes before a marker: libjpeg says so and reads on, as Pillow does."""
    content = path.read_bytes()
    at = content.index(b"\xff\xda")
    path.write_bytes(content[:at] + b"abc" + content[at:])


@pytest.mark.parametrize("decoder", DECODERS)
def test_what_cannot_be_read_is_refused_in_the_same_words(tmp_path, request, decoder):
    if decoder != DECODERS[0]:
        request.getfixturevalue("turbo")
    path = saved(tmp_path / "a.jpg", scene())
    with pytest.raises(BadImageError, match=r"a.jpg: states 61x83 pixels"):
        read_square(path, SIDE, decoder=decoder, max_megapixels=0.005)
    with pytest.raises(BadImageError, match=r"a.jpg: is 61x83, expected 60x83 as recorded"):
        read_square(path, SIDE, decoder=decoder, recorded=(60, 83))
    _cut(path)
    with pytest.raises(BadImageError, match=r"a.jpg: cannot be read as an image \(image file is t"):
        read_square(path, SIDE, decoder=decoder)
    with pytest.raises(BadImageError, match="there is no such image file"):
        read_square(tmp_path / "b.jpg", SIDE, decoder=decoder)


def test_a_jpeg_that_is_only_odd_is_read_as_pillow_reads_it(tmp_path, turbo):
    path = saved(tmp_path / "a.jpg", scene())
    _stray_bytes(path)
    import simplejpeg

    with pytest.raises(ValueError, match="xtraneous"):
        simplejpeg.decode_jpeg(path.read_bytes())
    pixels, _ = read_square(path, SIDE, decoder="simplejpeg")
    assert np.abs(pixels.astype(int) - by_pillow(path)).max() <= 1


def test_images_to_test_on_are_read_by_pillow_whatever_the_decoder(tmp_path, turbo):
    path = str(saved(tmp_path / "a.jpg", scene((300, 280))))
    samples = [
        CropMapper(SIDE, 24, train=False, decoder=name)(path, 300, 280, BOX) for name in DECODERS
    ]
    assert len({sample.image.tobytes() for sample in samples}) == 1
    drawn = []
    for name in DECODERS:
        torch.manual_seed(3)
        mapper = CropMapper(SIDE, 24, train=True, decoder=name)
        drawn.append(mapper(path, 300, 280, BOX))
    assert drawn[0].frame == drawn[1].frame == drawn[2].frame
    assert drawn[0].image.tobytes() != drawn[2].image.tobytes()


def test_a_decoder_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("wend.distribution.is_installed", lambda name: False)
    message = r"WEND.DATA.DECODER simplejpeg: needs simplejpeg, not installed; pip install .*turbo"
    with pytest.raises(InputError, match=message):
        CropMapper(SIDE, 24, train=True, decoder="simplejpeg")
    CropMapper(SIDE, 24, train=False, decoder="simplejpeg")


@pytest.mark.parametrize("decoder", TURBO)
def test_a_cache_holds_what_its_decoder_gives_and_is_for_no_other(
    tmp_path, turbo, register, decoder
):
    root, folder = tmp_path / "data", str(tmp_path / "caches")
    root.mkdir()
    paths = [str(saved(root / f"{i}.jpg", scene((70 + i, 90), i))) for i in range(3)]
    records = [ImageRecord(p, p, 70 + i, 90, pseudo_boxes=BOX) for i, p in enumerate(paths)]
    register("scenes", lambda: records)
    scenes = DataSets(root).get("scenes")
    assert fill_cache(scenes, folder, SIDE, root, decoder=decoder) == []
    (cache,) = open_caches(folder, [scenes], SIDE, root, decoder=decoder)
    assert (cache.folder.name, cache.num_filled()) == (f"scenes-32-{decoder}", 3)
    for i, path in enumerate(paths):
        seen = []
        for caches in ((), (cache,)):
            torch.manual_seed(i)
            mapper = CropMapper(SIDE, 24, train=True, caches=caches, decoder=decoder)
            seen.append(mapper(path, 70 + i, 90, BOX).image.tobytes())
        assert seen[0] == seen[1]
    with pytest.raises(InputError, match=rf"32x32 by {decoder}, and .* ask for .*32x32 by pillow"):
        CropMapper(SIDE, 24, train=True, caches=[cache])
    (plain,) = open_caches(folder, [scenes], SIDE, root)
    assert plain.folder.name == "scenes-32"
    with pytest.raises(InputError, match="squashed to 32x32 by pillow, and"):
        CropMapper(SIDE, 24, train=True, caches=[plain], decoder=decoder)
