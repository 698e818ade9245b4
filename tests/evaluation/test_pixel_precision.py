"""PxAP and the masks of OpenImages30k: the peer's loop and published values, identities, files."""

import cv2
import numpy as np
import pytest

from tests.map_peers import normalized, pixel_truth, pxap
from wend.errors import InputError, MissingFileError
from wend.evaluation.map_sweep import MapOptions
from wend.evaluation.pixel_precision import PixelCurve, bin_edges, count_pixels
from wend.formats.masks import BACKGROUND, IGNORED, OBJECT, read_pixel_truth
from wend.structures.masks import MaskFiles

THRESHOLDS = MapOptions(0.01).thresholds
EDGES = bin_edges(THRESHOLDS)


def curve(maps, truths):
    counts = sum(count_pixels(m, t, EDGES) for m, t in zip(maps, truths, strict=True))
    return PixelCurve.from_counts(counts, EDGES)


def truth_of(objects, background, ignored=0):
    """Pixels (224, 224) of so many of each kind; the ignored fill the rest."""
    kinds = np.full(224 * 224, IGNORED, dtype=np.uint8)
    kinds[:objects] = OBJECT
    kinds[objects : objects + background] = BACKGROUND
    return kinds.reshape(224, 224)


# numbers of pixels of objects and background in wsolevaluation's test masks, 96f4b88
# evaluation_test.py:345-421
PUBLISHED = [(43031, 7145), (833, 49342), (347, 13909)]


@pytest.mark.parametrize(("objects", "background"), PUBLISHED)
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_map_has_the_published_precision(objects, background, value):
    truth = truth_of(objects, background)
    made = curve([np.full((224, 224), value)], [truth]).average_precision
    assert made == pytest.approx(100 * objects / (objects + background), abs=1e-9)


@pytest.mark.parametrize("ignored", [0.0, 1.0])
def test_a_perfect_map_has_100_whatever_it_says_of_ignored_pixels(ignored):
    truth = truth_of(4000, 30000)
    score_map = (truth == OBJECT).astype(float)
    score_map[truth == IGNORED] = ignored
    assert curve([score_map], [truth]).average_precision == 100


def test_masks_without_background_give_100_and_without_objects_an_error():
    assert curve([np.zeros((224, 224))], [truth_of(224 * 224, 0)]).average_precision == 100
    with pytest.raises(InputError, match="no pixel of any image is an object's"):
        curve([np.zeros((224, 224))], [truth_of(0, 9)])


def random_truths(number, rng):
    return [
        np.where(normalized(rng.random((8, 8))) > 0.6, OBJECT, BACKGROUND)
        * np.where(rng.random((224, 224)) > 0.9, IGNORED, 1).astype(np.uint8)
        for _ in range(number)
    ]


def test_it_is_that_of_the_peers_loop():
    rng = np.random.default_rng(0)
    truths = random_truths(5, rng)
    maps = [normalized(normalized(rng.random((7, 7))) + 0.5 * (t == OBJECT)) for t in truths]
    maps[0] = np.round(maps[0], 1)  # scores on the bins' edges, 0 and 1 among them
    made = curve(maps, truths)
    assert made.average_precision == pytest.approx(pxap(maps, truths, 0.01), abs=1e-9)
    assert 20 < made.average_precision < 95
    assert made.recall[-1] == 1
    assert (np.diff(made.recall) >= 0).all()
    assert len(made.thresholds) == len(made.precision) == len(made.recall) == 102


def test_a_monotone_change_of_the_scores_changes_nothing():
    """As long as scores in different bins stay in different bins, and those of one in one."""
    rng = np.random.default_rng(1)
    truths = random_truths(3, rng)
    steps = np.round(np.linspace(0, 1, 11) ** 2, 2)  # 0, 0.01, 0.04 ... 1: each in its own bin
    levels = [rng.integers(0, 11, (224, 224)) for _ in truths]
    made = [curve([scale[each] for each in levels], truths).average_precision
            for scale in (np.linspace(0, 1, 11), steps, np.linspace(0.3, 1, 11))]  # fmt: skip
    assert made[0] == pytest.approx(made[1], abs=1e-9) == pytest.approx(made[2], abs=1e-9)


def test_images_in_two_batches_count_as_in_one():
    rng = np.random.default_rng(2)
    truths = random_truths(2, rng)
    maps = [normalized(rng.random((7, 7))) for _ in truths]
    stacked = curve([np.concatenate(maps)], [np.concatenate(truths)])
    assert curve(maps, truths).average_precision == stacked.average_precision


def write_mask(path, mask):
    assert cv2.imwrite(str(path), (mask * 255).astype(np.uint8))
    return str(path)


@pytest.mark.parametrize("shape", [(224, 224), (100, 150), (768, 1024), (31, 7)])
def test_masks_are_joined_and_squashed_as_the_peer_does(tmp_path, shape):
    rng = np.random.default_rng(3)
    objects = [rng.random(shape) > 0.8 for _ in range(3)]
    ignored = rng.random(shape) > 0.5
    files = MaskFiles(
        tuple(write_mask(tmp_path / f"{i}.png", m) for i, m in enumerate(objects)),
        write_mask(tmp_path / "i.png", ignored),
    )
    assert np.array_equal(read_pixel_truth(files, 224), pixel_truth(objects, ignored))
    without = MaskFiles(files.objects[:1])
    assert np.array_equal(read_pixel_truth(without, 224), pixel_truth(objects[:1], None))


def test_a_mask_that_is_not_there_or_no_image_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"none.png: there is no such mask"):
        read_pixel_truth(MaskFiles((str(tmp_path / "none.png"),)), 224)
    (tmp_path / "bad.png").write_text("no image")
    good = write_mask(tmp_path / "good.png", np.ones((4, 4)))
    with pytest.raises(InputError, match=r"bad.png: cannot be read as a mask image"):
        read_pixel_truth(MaskFiles((good,), str(tmp_path / "bad.png")), 224)
