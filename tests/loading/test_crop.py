"""wend.loading.crop: pixels are torchvision's, and a painted box lies where the mapped box says."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import clip_boxes_to_image
from torchvision.transforms import CenterCrop, Compose, Resize
from torchvision.transforms import functional as F

from wend.errors import InputError
from wend.loading.box_counts import BoxCounts
from wend.loading.crop import CropMapper

NO_BOXES = np.zeros((0, 4))


def noise(path, width: int, height: int):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return str(path)


@pytest.mark.parametrize(
    ("resize", "crop"),
    [(32, 28), (32, 32), (32, 31), (32, 29), (33, 28), (7, 4)],  # also odd margins, which round
)
@pytest.mark.parametrize(("width", "height"), [(50, 40), (20, 61)])
def test_test_pixels_are_torchvisions_resize_and_centre_crop(tmp_path, width, height, resize, crop):
    path = noise(tmp_path / "a.png", width, height)
    expected = Compose([Resize((resize, resize)), CenterCrop(crop)])(Image.open(path))
    sample = CropMapper(resize, crop, train=False)(path, width, height, NO_BOXES)
    np.testing.assert_array_equal(sample.image, np.asarray(expected))
    assert sample.image.dtype == np.uint8
    assert not sample.frame.flip


def test_training_pixels_are_torchvisions_crop_and_flip_at_the_frames_place(tmp_path):
    path = noise(tmp_path / "a.png", 50, 40)
    resized = Resize((32, 32))(Image.open(path))
    mapper = CropMapper(32, 24, train=True)
    torch.manual_seed(0)
    flips = set()
    for _ in range(20):
        sample = mapper(path, 50, 40, NO_BOXES)
        top, left = -sample.frame.offset_y, -sample.frame.offset_x
        expected = F.crop(resized, int(top), int(left), 24, 24)
        expected = F.hflip(expected) if sample.frame.flip else expected
        np.testing.assert_array_equal(sample.image, np.asarray(expected))
        assert sample.image.transpose(2, 0, 1).flags["C_CONTIGUOUS"]  # as detectors take it
        flips.add(sample.frame.flip)
    assert flips == {False, True}


def bright(image: np.ndarray) -> list[int]:
    """x0, y0, x1, y1 around the pixels that are more white than black."""
    ys, xs = np.nonzero(image[..., 0] > 127)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


@pytest.mark.parametrize("train", [False, True])
def test_painted_rectangle_is_where_the_mapped_box_says(tmp_path, train):
    """In a 32x128 image squashed to 64x64, x doubles and y halves: 8,16,24,80 -> 16,8,48,40."""
    path = tmp_path / "a.png"
    image = Image.new("RGB", (32, 128))
    image.paste((255, 255, 255), (8, 16, 24, 80))
    image.save(path)
    mapper = CropMapper(64, 40, train=train)
    torch.manual_seed(1)
    seen = set()
    for _ in range(30):
        sample = mapper(str(path), 32, 128, np.array([[8.0, 16, 24, 80]]))
        assert sample.counts.lost == 0
        np.testing.assert_array_equal(sample.boxes, [bright(sample.image)])
        left, top = -sample.frame.offset_x, -sample.frame.offset_y
        expected = torch.tensor([[16 - left, 8 - top, 48 - left, 40 - top]], dtype=torch.float64)
        if sample.frame.flip:  # mirrored in the 40 pixels of the crop
            expected = torch.stack(
                [40 - expected[:, 2], expected[:, 1], 40 - expected[:, 0], expected[:, 3]], 1
            )
        expected = clip_boxes_to_image(expected, (40, 40))
        np.testing.assert_array_equal(sample.boxes, expected.numpy())
        seen.add((sample.frame.flip, left, top))
    assert len(seen) > 1 if train else seen == {(False, 12, 12)}  # (64 - 40) / 2 = 12


def test_frame_takes_boxes_back_to_original_pixels(tmp_path):
    path = noise(tmp_path / "a.png", 60, 45)
    box = np.array([[25.0, 20, 35, 30]])
    mapper = CropMapper(64, 56, train=True)
    torch.manual_seed(0)
    for _ in range(8):  # the box lies within every crop: nothing of it is clipped
        sample = mapper(path, 60, 45, box)
        np.testing.assert_allclose(sample.frame.to_original(sample.boxes), box, atol=1e-5)


def test_boxes_that_the_crop_cuts_off_are_left_out_and_counted(tmp_path):
    """8x8 -> centre 4x4: the crop shows 2..6, so the first pixel of it is 2..3."""
    path = noise(tmp_path / "a.png", 8, 8)
    boxes = np.array(
        [
            [0, 0, 2, 8],  # ends where the crop begins: lost
            [0, 0, 2.5, 8],  # half a pixel remains: lost
            [0, 0, 3, 8],  # one pixel remains: kept
            [3, 5.5, 5, 8],  # half a pixel of height remains: lost
            [0, 0, 8, 8],  # all of the crop
            [7, 7, 8, 8],  # outside: lost
        ]
    )
    sample = CropMapper(8, 4, train=False)(path, 8, 8, boxes)
    np.testing.assert_array_equal(sample.boxes, [[0, 0, 1, 4], [0, 0, 4, 4]])
    assert sample.counts == BoxCounts(images=1, boxes=6, thin=1, cut=3)  # the last is a pixel
    assert sample.boxes.dtype == np.float32


def test_image_without_boxes_maps_to_none(tmp_path):
    path = noise(tmp_path / "a.png", 8, 8)
    sample = CropMapper(8, 4, train=True)(path, 8, 8, NO_BOXES)
    assert sample.boxes.shape == (0, 4)
    assert sample.counts.lost == 0


def test_random_crops_reach_every_offset_with_and_without_flip():
    mapper = CropMapper(6, 4, train=True)
    torch.manual_seed(0)
    frames = [mapper.draw_frame(10, 10) for _ in range(600)]
    drawn = [(int(-f.offset_x), int(-f.offset_y), f.flip) for f in frames]
    # corners 0, 1, 2 = 6 - 4 in x and in y, two ways each: 18; each is missed by 600 draws with
    # probability (17/18)^600 = 1e-15
    every = {(x, y, flip) for x in range(3) for y in range(3) for flip in (False, True)}
    assert set(drawn) == every
    # half are flipped: 300 +- 6 standard deviations of sqrt(600)/2 = 12.2
    assert 226 < sum(flip for *_, flip in drawn) < 374


def test_random_crops_are_repeated_by_torchs_seed_and_differ_without():
    mapper = CropMapper(64, 32, train=True)

    def draw(seed):
        torch.manual_seed(seed)
        return [mapper.draw_frame(50, 40) for _ in range(5)]

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)
    assert len(set(draw(3))) > 1


def test_test_crops_draw_nothing_random():
    state = torch.get_rng_state()
    mapper = CropMapper(64, 32, train=False)
    assert mapper.draw_frame(50, 40) == mapper.draw_frame(50, 40)
    assert torch.equal(torch.get_rng_state(), state)


def test_image_of_another_size_than_recorded_is_named(tmp_path):
    path = noise(tmp_path / "a.png", 8, 6)
    message = re.escape(f"{path}: is 8x6, expected 6x8 as recorded")
    with pytest.raises(InputError, match=message):
        CropMapper(8, 4, train=False)(path, 6, 8, NO_BOXES)


def test_truncated_image_is_named(tmp_path):
    path = tmp_path / "a.png"
    noise(path, 40, 40)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=re.escape(f"{path}: cannot be read as an image")):
        CropMapper(8, 4, train=True)(str(path), 40, 40, NO_BOXES)


@pytest.mark.parametrize(("resize", "crop"), [(8, 9), (8, 0), (0, 0), (8, -1)])
def test_crop_that_does_not_fit_is_an_error_with_both_sizes(resize, crop):
    with pytest.raises(ValueError, match=rf"got crop {crop} and resize {resize}"):
        CropMapper(resize, crop, train=True)


def test_the_paper_sizes_are_the_defaults():
    mapper = CropMapper(train=False)
    frame = mapper.draw_frame(512, 128)
    assert (frame.width, frame.height) == (224, 224)
    assert (frame.scale_x, frame.scale_y) == (0.5, 2.0)  # 256 / 512, 256 / 128
    assert (frame.offset_x, frame.offset_y) == (-16, -16)  # (256 - 224) / 2


FILL = (9, 8, 7)


@pytest.mark.parametrize("view", ["squash", "pad"])
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("flip", ["horizontal", "vertical"])
def test_other_views_paint_the_rectangle_where_the_mapped_box_says(tmp_path, view, train, flip):
    """White on black: 32x128 fits 64 with 0.5, so 8,16,24,80 is 24 + 4, 8, 24 + 12, 40."""
    path = tmp_path / "a.png"
    image = Image.new("RGB", (32, 128))
    image.paste((255, 255, 255), (8, 16, 24, 80))
    image.save(path)
    mapper = CropMapper(64, 40, train=train, view=view, flip=flip, fill=FILL)
    torch.manual_seed(1)
    seen = set()
    for _ in range(30):
        sample = mapper(str(path), 32, 128, np.array([[8.0, 16, 24, 80]]))
        assert sample.image.shape == ((40, 40, 3) if train else (64, 64, 3))
        np.testing.assert_array_equal(sample.boxes, [bright(sample.image)])
        seen.add(sample.frame)
        if view == "pad":  # all around the image has the fill's colour, and nothing in it
            x0, y0, x1, y1 = sample.frame.clip(np.array([0.0, 0, 64, 64])).astype(int)
            padding = np.ones(sample.image.shape[:2], bool)
            padding[y0:y1, x0:x1] = False
            np.testing.assert_array_equal((sample.image == FILL).all(2), padding)
            assert padding.any()
    if train:
        assert len(seen) > 5
    else:
        expected = [[28, 8, 36, 40]] if view == "pad" else [[16, 8, 48, 40]]
        np.testing.assert_array_equal(sample.boxes, expected)


def test_padded_pixels_are_pillows_scaled_to_fit(tmp_path):
    path = noise(tmp_path / "a.png", 50, 31)
    sample = CropMapper(40, 30, train=False, view="pad")(path, 50, 31, NO_BOXES)
    inner = Image.open(path).resize((40, 25), Image.Resampling.BILINEAR)  # 31 * 0.8 = 24.8
    np.testing.assert_array_equal(sample.image[7:32], np.asarray(inner))  # (40 - 25) // 2
    assert not sample.image[:7].any()
    assert not sample.image[32:].any()


def test_boxes_are_cut_at_the_image_and_not_at_the_padding(tmp_path):
    path = noise(tmp_path / "a.png", 40, 20)
    boxes = np.array([[-5.0, -5, 45, 25], [0, 21, 40, 30], [0, 0, 10, 10]])
    sample = CropMapper(40, 30, train=False, view="pad")(path, 40, 20, boxes)
    np.testing.assert_array_equal(sample.boxes, [[0, 10, 40, 30], [0, 10, 10, 20]])
    assert sample.counts == BoxCounts(images=1, boxes=3, cut=1)  # outside its image


def test_a_random_crop_that_misses_a_narrow_image_loses_its_box(tmp_path):
    """10x1000 is 3 pixels wide in the middle of 256: crops of 64 at 192 corners show it seldom."""
    path = noise(tmp_path / "a.png", 10, 1000)
    mapper = CropMapper(256, 64, train=True, view="pad", fill=FILL)
    torch.manual_seed(0)
    lost = set()
    for _ in range(40):
        sample = mapper(path, 10, 1000, np.array([[0.0, 0, 10, 1000]]))
        lost.add(sample.counts.cut)
        assert len(sample.boxes) + sample.counts.lost == 1
        assert (sample.image == FILL).all() == bool(sample.counts.lost)
    assert lost == {0, 1}


def test_a_view_that_is_none_is_named():
    with pytest.raises(ValueError, match="expected one of crop, squash, pad, got 'fit'"):
        CropMapper(8, 4, train=True, view="fit")
