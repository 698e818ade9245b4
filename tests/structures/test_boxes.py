"""wend.structures.boxes against hand values, inverses and torchvision; NumPy and torch alike."""

import numpy as np
import pytest
import reference
import torch
import torchvision
from torchvision.transforms import functional as TF

from wend.structures.boxes import box_area, box_iou, clip_boxes, xywh_to_xyxy, xyxy_to_xywh
from wend.structures.frame import resize_and_crop


def random_boxes(count, seed=0, size=100):
    corners = np.random.default_rng(seed).uniform(0, size, (count, 2, 2))
    return np.concatenate([corners.min(1), corners.max(1)], 1)


def test_iou_hand_value():
    # 2x2 and 2x2 overlapping in 1x1: 1 / (4 + 4 - 1)
    iou = box_iou(
        np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 1, 3, 3], [0, 0, 2, 2], [5, 5, 6, 6]])
    )
    np.testing.assert_allclose(iou, [[1 / 7, 1, 0]])


def test_iou_equals_torchvision():
    a, b = random_boxes(40), random_boxes(30, seed=1)
    expected = torchvision.ops.box_iou(torch.tensor(a), torch.tensor(b)).numpy()
    np.testing.assert_allclose(box_iou(a, b), expected, rtol=1e-12)


def test_torch_and_numpy_give_the_same_and_keep_their_kind():
    a, b = random_boxes(8), random_boxes(5, seed=2)
    ours = box_iou(torch.tensor(a), torch.tensor(b))
    assert isinstance(ours, torch.Tensor)
    np.testing.assert_allclose(ours.numpy(), box_iou(a, b))
    for function in (xywh_to_xyxy, xyxy_to_xywh, box_area):
        np.testing.assert_allclose(function(torch.tensor(a)).numpy(), function(a))


def test_boxes_without_area_have_iou_zero_not_nan():
    point = np.array([[5.0, 5, 5, 5]])
    inside_out = np.array([[8.0, 8, 2, 2]])
    assert box_iou(point, point).item() == 0
    assert box_iou(inside_out, np.array([[0.0, 0, 10, 10]])).item() == 0
    assert box_iou(np.zeros((0, 4)), point).shape == (0, 1)


def test_two_boxes_apart_in_both_axes_do_not_overlap():
    # C2AM's IOUFunciton_ILSRVC multiplies two negative sides to a positive area (protocols.md, 10)
    assert box_iou(np.array([[0.0, 0, 1, 1]]), np.array([[5.0, 5, 6, 6]])).item() == 0


def test_xywh_and_back():
    boxes = random_boxes(20)
    np.testing.assert_allclose(xywh_to_xyxy(xyxy_to_xywh(boxes)), boxes)
    np.testing.assert_allclose(xywh_to_xyxy(np.array([[1.0, 2, 3, 4]])), [[1, 2, 4, 6]])


def test_clip_equals_torchvision_and_leaves_no_area_outside():
    boxes = random_boxes(50, size=150) - 25
    expected = torchvision.ops.clip_boxes_to_image(torch.tensor(boxes), (80, 100)).numpy()
    np.testing.assert_allclose(clip_boxes(boxes, 100, 80), expected)
    assert box_area(clip_boxes(np.array([[110.0, 10, 120, 20]]), 100, 80)).item() == 0


def test_papers_crop_frame_hand_value():
    # 512x128 image: x halves, y doubles; the centre 224 of 256 starts at 16
    frame = resize_and_crop(512, 128)
    np.testing.assert_allclose(
        frame.to_frame(np.array([[100.0, 20, 300, 60]])), [[34, 24, 134, 104]]
    )


def test_crop_frame_equals_the_plain_python_reference():
    for width, height in ((500, 375), (333, 500), (64, 90)):
        frame = resize_and_crop(width, height)
        boxes = random_boxes(30, size=min(width, height))
        ours = clip_boxes(frame.to_frame(boxes), 224, 224)
        mapped = [reference.to_crop_frame(b, width, height) for b in boxes.tolist()]
        theirs = np.array([reference.clip_to_crop(b) for b in mapped])
        whole = (theirs[:, 2:] > theirs[:, :2]).all(1)  # boxes that the crop does not lose
        np.testing.assert_allclose(ours[whole], theirs[whole], atol=1e-9)
        assert (box_area(ours[~whole]) == 0).all()


@pytest.mark.parametrize("flip", [False, True])
def test_to_original_is_the_inverse(flip):
    frame = resize_and_crop(640, 427, 256, 224, left=3, top=29, flip=flip)
    boxes = random_boxes(25, size=224)
    np.testing.assert_allclose(frame.to_frame(frame.to_original(boxes)), boxes, atol=1e-9)
    tensors = torch.tensor(boxes)
    np.testing.assert_allclose(frame.to_original(tensors).numpy(), frame.to_original(boxes))


def test_frame_follows_torchvisions_pixels():
    """A painted block goes where the frame says, through torchvision's resize, crop and flip."""
    image = torch.zeros(1, 64, 128)
    image[:, 16:40, 32:96] = 1
    resized = TF.resize(image, [32, 32], antialias=True)
    for flip in (False, True):
        cropped = TF.crop(resized, 2, 3, 28, 28)
        cropped = TF.hflip(cropped) if flip else cropped
        frame = resize_and_crop(128, 64, 32, 28, left=3, top=2, flip=flip)
        x0, y0, x1, y1 = frame.to_frame(np.array([[32.0, 16, 96, 40]]))[0]
        rows, columns = np.nonzero(cropped[0].numpy() > 0.5)
        assert (columns.min(), columns.max() + 1) == (x0, x1)
        assert (rows.min(), rows.max() + 1) == (y0, y1)


def test_default_corner_is_torchvisions_center_crop():
    for resize, crop in ((256, 224), (73, 64), (72, 63), (10, 10)):
        ramp = torch.arange(resize).expand(1, resize, resize)
        first = TF.center_crop(ramp, [crop, crop])[0, 0, 0].item()
        assert -resize_and_crop(1, 1, resize, crop).offset_x == first


def test_frame_maps_many_images_at_once():
    widths, heights = np.array([100.0, 300]), np.array([50.0, 600])
    boxes = random_boxes(2, size=50)
    many = resize_and_crop(widths, heights).to_frame(boxes)
    for i in range(2):
        one = resize_and_crop(widths[i], heights[i]).to_frame(boxes[i : i + 1])
        np.testing.assert_allclose(many[i], one[0])


@pytest.mark.parametrize(
    "wrong", [{"resize": 200, "crop": 224}, {"crop": 0}, {"left": 40}, {"top": -1}]
)
def test_crop_outside_the_image_is_refused(wrong):
    with pytest.raises(ValueError, match=r"does not lie inside|expected 0 < crop"):
        resize_and_crop(100, 100, **{"resize": 256, "crop": 224, **wrong})


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_clipped_boxes_are_of_the_type_that_they_were(kind):
    boxes = (random_boxes(20, size=150) - 25).astype(kind)
    clipped = clip_boxes(boxes, 100, 80)
    assert clipped.dtype == kind
    assert clipped.tobytes() == clip_boxes(torch.from_numpy(boxes), 100, 80).numpy().tobytes()
