"""Frames of a batch take each box where its own frame does, to the last bit."""

import numpy as np

from wend.structures.frame import fit_and_crop, resize_and_crop
from wend.structures.frames import Frames


def test_boxes_of_many_images_go_back_as_those_of_each():
    draw = np.random.default_rng(0)
    frames = [None]
    for make in (resize_and_crop, fit_and_crop):
        for flip in (False, True):
            for upside_down in (False, True):
                width, height = draw.integers(20, 900, 2).tolist()
                left, top = draw.integers(0, 9, 2).tolist()
                frames.append(
                    make(
                        *(width, height, 64, 56),
                        left=left,
                        top=top,
                        flip=flip,
                        upside_down=upside_down,
                    )
                )
    owner = draw.integers(0, len(frames), 200)
    boxes = draw.uniform(-20, 90, (200, 4)).astype(np.float32)
    result = Frames.of(frames).to_original(boxes, owner)
    assert result.dtype == np.float64
    for row, image, box in zip(result, owner, boxes.astype(np.float64), strict=True):
        expected = box if frames[image] is None else frames[image].to_original(box)
        np.testing.assert_array_equal(row, expected)
    pads = Frames.of(frames).pads.tolist()
    assert pads == [frame is not None and frame.image is not None for frame in frames]
    none = np.zeros((0, 4)), np.zeros(0, int)
    assert Frames.of(frames).to_original(*none).shape == (0, 4)
