"""wend.classes.preprocessing: the pixels of torchvision's transforms."""

import numpy as np
import pytest
import torch
from PIL import Image

from wend.classes.preprocessing import Preprocessing, c2am
from wend.errors import InputError


def picture(width, height):
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def torchvision_steps(kind, resize, crop, interpolation):
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import v2 as T

    size = (resize, resize) if kind == "squash" else resize
    return T.Compose([T.Resize(size, InterpolationMode(interpolation)), T.CenterCrop(crop)]), [
        T.PILToTensor(),
        T.ToDtype(torch.float32, scale=True),
        T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]


@pytest.mark.parametrize("size", [(90, 61), (61, 90), (40, 40), (77, 300)], ids=str)
@pytest.mark.parametrize(
    ("kind", "resize", "crop", "interpolation"),
    [
        ("squash", 69, 60, "bilinear"),
        ("short side", 63, 60, "bicubic"),
        ("squash", 64, 64, "bicubic"),
    ],
)
def test_pixels_are_those_of_torchvisions_transforms(size, kind, resize, crop, interpolation):
    image = picture(*size)
    ours = Preprocessing("x", resize, crop, kind == "short side", interpolation)(image)
    cropping, steps = torchvision_steps(kind, resize, crop, interpolation)
    theirs = cropping(image)
    for step in steps:
        theirs = step(theirs)
    assert ours.shape == (1, 3, crop, crop)
    torch.testing.assert_close(ours[0], theirs, rtol=0, atol=1e-6)


def test_ten_crops_are_torchvisions():
    from torchvision.transforms import v2 as T

    image = picture(90, 61)
    ours = Preprocessing("x", 71, 60, True, "bilinear")(image, ten_crop=True)
    _, steps = torchvision_steps("short side", 71, 60, "bilinear")
    theirs = T.TenCrop(60)(T.Resize(71)(image))
    theirs = torch.stack([T.Compose(steps)(crop) for crop in theirs])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_c2ams_preprocessing_is_squash_to_685_and_crop_600():
    settings = c2am().settings()
    assert (settings["resize"], settings["crop"], settings["keep_aspect"]) == (685, 600, False)
    assert settings["interpolation"] == "bilinear"
    assert settings["mean"] == [0.485, 0.456, 0.406]


def test_crop_larger_than_the_resized_image_is_an_error():
    with pytest.raises(InputError, match="crop 700 and resize 685; set both --crop-size"):
        c2am(crop=700)
