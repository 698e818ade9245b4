"""Copies of a photo are one group, other photos are not."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from wend.images.near_duplicates import group, thumbnail


def scene(seed, size=(120, 90)):
    """Smooth random colours, as different from each other as photos of the same kind of place."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (5, 6, 3)).astype(np.float32)
    pixels = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def recompressed(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(file)


COPIES = {
    "half": lambda image: image.resize((60, 45)),
    "jpeg": recompressed,
    "brighter": lambda image: image.point(lambda level: min(255, int(1.1 * level + 10))),
    "mirrored": ImageOps.mirror,
    "trimmed": lambda image: image.crop((2, 1, 118, 89)),
}


def groups(images):
    thumbnails = np.array([thumbnail(image) for image in images])
    return group(thumbnails, [image.tobytes().hex() for image in images]).tolist()


@pytest.mark.parametrize("copy", list(COPIES))
def test_a_copy_is_in_its_originals_group_and_others_are_not(copy):
    originals = [scene(seed) for seed in range(8)]
    copied = [COPIES[copy](image.convert("RGB")).convert("RGB") for image in originals]
    assert groups(originals) == list(range(8))
    assert groups([*originals, *copied]) == [*range(8), *range(8)]


def test_flat_photos_are_the_same_only_where_their_pixels_are():
    flat = [Image.new("RGB", (9, 9), (level, 0, 0)) for level in (10, 200, 10)]
    assert groups(flat) == [0, 1, 0]
    assert group(np.zeros((0, 16, 16), np.uint8), []).tolist() == []


def test_groups_are_joined_through_common_members():
    first, last = scene(0), scene(1)
    halfway = Image.blend(first, last, 0.5)
    chain = [Image.blend(first, last, share) for share in np.linspace(0, 1, 9)]
    assert groups([first, last]) == [0, 1]
    assert groups([first, halfway, last]) != [0, 0, 0]
    assert groups(chain) == [0] * 9
