"""The border and centre prior: obvious objects, degenerate images, and CUB's first birds."""

import cv2
import numpy as np
import pytest
from PIL import Image

from wend.errors import InputError
from wend.formats.cub import load_cub
from wend.localize.border_prior import BorderPriorConfig, find_boxes, localize, object_map
from wend.localize.boxes import LEAST_SHARE, WHOLE_IMAGE, boxes_of_map, largest_component
from wend.structures.boxes import paired_iou


def textured(rng, height, width, colour, spread):
    noise = cv2.GaussianBlur(rng.normal(0, 1, (height, width, 3)), (0, 0), 1.5)
    return np.clip(np.array(colour) + spread * noise / noise.std(), 0, 255).astype(np.uint8)


def scene(rng, ground):
    """An ellipse of another colour on a ground, and its true box (4,) in fractions."""
    height, width = (int(n) for n in rng.integers(150, 400, 2))
    image = textured(rng, height, width, (90, 120, 70), 25 if ground == "textured" else 0.5)
    half = rng.uniform(0.15, 0.3, 2) * (width, height)
    centre = rng.uniform(0.4, 0.6, 2) * (width, height)
    mask = np.zeros((height, width), np.uint8)
    ellipse = (tuple(map(float, centre)), tuple(map(float, 2 * half)), 0.0)
    cv2.ellipse(mask, ellipse, 1, -1)
    image[mask == 1] = (190, 60, 60)
    size = np.array([width, height])
    return image, np.concatenate([(centre - half) / size, (centre + half) / size])


@pytest.mark.parametrize("ground", ["flat", "textured"])
def test_an_obvious_object_is_boxed_wherever_it_lies(ground):
    rng = np.random.default_rng(0)
    overlaps = []
    for _ in range(40):
        image, true = scene(rng, ground)
        (located,) = find_boxes(image)
        overlaps.append(paired_iou(np.array([located.box]), true[None])[0])
        assert located.score > 0.5
    assert np.mean(overlaps) > 0.75
    assert min(overlaps) > 0.5


def test_texture_alone_tells_an_object_from_ground_of_the_same_mean_colour():
    rng = np.random.default_rng(1)
    image = np.full((120, 120, 3), 128, np.uint8)
    image[40:80, 30:90] = textured(rng, 40, 60, (128, 128, 128), 40)[..., :1]
    box = np.array([find_boxes(image)[0].box])
    assert paired_iou(box, np.array([[30, 40, 90, 80]]) / 120)[0] > 0.6
    blind = BorderPriorConfig(texture=0, lightness=0)
    assert object_map(image, blind).max() == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (700, 2), (3, 3), (200, 100)])
def test_a_flat_image_of_any_size_gets_the_whole_image_and_no_score(size):
    (located,) = find_boxes(np.full((*size, 3), 77, np.uint8))
    assert (located.box, located.score, located.whole_image) == (WHOLE_IMAGE, 0.0, True)


def test_any_noise_ends_in_a_box_inside_the_image():
    rng = np.random.default_rng(2)
    for _ in range(20):
        height, width = rng.integers(1, 60, 2)
        (located,) = find_boxes(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        x0, y0, x1, y1 = located.box
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1
        assert 0 <= located.score <= 1


def test_the_largest_component_joins_diagonally_and_ends_behind_its_last_cell():
    mask = np.array(
        [
            [1, 0, 0, 0, 1],
            [0, 1, 0, 0, 0],
            [0, 0, 0, 0, 1],
            [0, 0, 0, 1, 1],
        ]
    )
    component, box = largest_component(mask)
    assert box == (3 / 5, 2 / 4, 5 / 5, 4 / 4)
    assert component.sum() == 3
    assert largest_component(np.zeros((2, 2))) is None


def test_several_boxes_of_a_map_score_by_their_share_of_it():
    values = np.zeros((4, 12))
    values[0:2, 0:2] = 1.0  # sum 4, the largest component
    values[0:3, 4] = 2.0  # sum 6
    values[3, 7:10] = 1.0  # sum 3, half of the largest share
    values[0, 11] = 1.0  # a sixth: below LEAST_SHARE
    assert 1 / 6 < LEAST_SHARE <= 1 / 2

    def made(number):
        return boxes_of_map(values, 0.0, number, lambda _, part, box: values[part].sum() / 12)

    assert [(b.box, b.score) for b in made(9)] == [
        ((4 / 12, 0, 5 / 12, 3 / 4), 6 / 12),
        ((0, 0, 2 / 12, 2 / 4), pytest.approx(4 / 12)),
        ((7 / 12, 3 / 4, 10 / 12, 1), 3 / 12),
    ]
    assert made(2) == made(9)[:2]
    assert [(b.box, b.score) for b in made(1)] == [((0, 0, 2 / 12, 2 / 4), 4 / 12)]


def test_two_objects_get_a_box_each():
    image = np.full((100, 200, 3), 90, np.uint8)
    image[30:70, 30:70] = image[35:75, 110:160] = (200, 40, 40)
    located = find_boxes(image, number=5)
    assert len(located) == 2
    boxes = np.array([box.box for box in located]) * (200, 100, 200, 100)
    truth = np.array([[110, 35, 160, 75], [30, 30, 70, 70]])
    assert paired_iou(boxes, truth).min() > 0.6
    assert located[0].score > located[1].score > 0


def test_processes_give_the_same_boxes_in_order_and_errors_as_values(tmp_path):
    rng = np.random.default_rng(3)
    files = []
    for number in range(6):
        files.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(scene(rng, "textured")[0]).save(files[-1])
    (tmp_path / "bad.png").write_bytes(b"not an image")
    files.insert(2, str(tmp_path / "bad.png"))
    alone = list(localize(files))
    assert isinstance(alone[2], InputError)
    assert "bad.png" in str(alone[2])
    together = list(localize(files, num_workers=2))
    assert str(alone.pop(2)) == str(together.pop(2))
    assert alone == together


@pytest.mark.parametrize(("split", "floor"), [("train", 76.4), ("test", 76.4)])
def test_cubs_boxes_are_better_than_the_reference_ones_and_a_centre_box(shared, split, floor):
    """c2am_boxes of shared/data/cub10: 74.0 % (train), 79.4 % (test), 76.4 % of both."""
    records = load_cub(shared / "data/cub10/CUB_200_2011", split)
    boxes = list(localize([r.file_name for r in records]))
    sizes = np.array([[r.width, r.height] * 2 for r in records])
    true = np.array([r.gt_boxes[0] for r in records])
    overlaps = paired_iou(np.array([located.box for (located,) in boxes]) * sizes, true)
    centre = paired_iou(np.array([0.175, 0.175, 0.825, 0.825]) * sizes, true)
    assert 100 * np.mean(overlaps > 0.5) >= floor
    assert np.mean(overlaps > 0.5) > np.mean(centre > 0.5) + 0.1
