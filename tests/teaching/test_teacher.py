"""The teacher's lessons of a batch: predictions by hand, two views, confidence, and the numbers."""

import pytest
import torch

from wend.schedules import Progress
from wend.structures.frame import Frame
from wend.teaching.refine import Refinement, refinement
from wend.teaching.teacher import Teacher, Teaching, both_views

pytestmark = pytest.mark.usefixtures("own_registries")
SIDE = 20
FRAME = Frame(SIDE, SIDE, 1.0, 1.0, 0.0, 0.0)
NOTHING = torch.zeros(0, 4), torch.zeros(0)


def boxes(*corners):
    return torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)


def predictions(*pairs):
    """A prediction of (box, score), ..."""
    return boxes(*(box for box, _ in pairs)), torch.tensor([score for _, score in pairs])


class Looks:
    """Predicts what it is told, batch after batch, and keeps the images."""

    def __init__(self, *batches):
        self.batches, self.images = list(batches), []

    def __call__(self, images):
        assert not torch.is_grad_enabled()
        self.images.append(images)
        return self.batches.pop(0)


def given(*corners):
    return boxes(*corners), torch.ones(len(corners))


def lessons(looks, givens, frames=None, **teaching):
    teacher = Teacher(looks, Teaching(Refinement(teaching.pop("refine", "replace")), **teaching))
    images = [torch.arange(3.0 * SIDE * SIDE).view(3, SIDE, SIDE) for _ in givens]
    return teacher, teacher.teach(images, frames or [FRAME] * len(givens), givens)


def test_each_image_has_its_own_teachers_boxes():
    looks = Looks([predictions(((0, 0, 8, 8), 0.9)), predictions(((5, 5, 9, 9), 0.3))])
    _, (first, second) = lessons(looks, [given((0, 0, 10, 10)), given((1, 1, 4, 4))])
    assert first.boxes.tolist() == [[0, 0, 8, 8]]
    assert second.boxes.tolist() == [[5, 5, 9, 9]]
    assert second.scores.tolist() == second.teacher[1].tolist() == pytest.approx([0.3])
    assert second.teacher[0].tolist() == [[5, 5, 9, 9]]


def test_without_a_refinement_the_given_boxes_stay_and_the_teachers_are_there():
    given_boxes = given((0, 0, 10, 10))
    looks = Looks([predictions(((0, 0, 8, 8), 0.9))])
    _, (lesson,) = lessons(looks, [given_boxes], refine="none")
    assert torch.equal(lesson.boxes, given_boxes[0])
    assert lesson.teacher[0].tolist() == [[0, 0, 8, 8]]


def test_an_image_without_boxes_stays_one_and_so_does_one_where_nothing_is_predicted():
    looks = Looks([predictions(((0, 0, 8, 8), 0.9)), NOTHING])
    _, (empty, unseen) = lessons(looks, [NOTHING, given((1, 1, 4, 4))], score_quantile=0.5)
    assert empty.boxes.shape == (0, 4)
    assert len(empty.teacher[0]) == 1
    assert unseen.boxes.tolist() == [[1, 1, 4, 4]]
    assert len(unseen.teacher[0]) == 0


def test_predictions_are_cut_at_the_crop_sorted_and_slivers_left_out():
    looks = Looks(
        [predictions(((18, 0, 40, 5), 0.2), ((-5, -5, 8, 8), 0.9), ((19.5, 0, 40, 5), 1.0))]
    )
    _, (lesson,) = lessons(looks, [given((0, 0, 10, 10))])
    assert lesson.teacher[0].tolist() == [[0, 0, 8, 8], [18, 0, 20, 5]]
    assert lesson.teacher[1].tolist() == pytest.approx([0.9, 0.2])


def test_predictions_are_cut_at_the_image_in_a_padded_crop():
    padded = Frame(SIDE, SIDE, 1.0, 1.0, 0.0, 5.0, image=(SIDE, 10.0))
    looks = Looks([predictions(((0, 0, 20, 20), 0.9))])
    _, (lesson,) = lessons(looks, [given((0, 5, 20, 10))], frames=[padded])
    assert lesson.boxes.tolist() == [[0, 5, 20, 15]]


def test_only_confident_boxes_refine_by_score():
    looks = Looks([predictions(((0, 0, 8, 8), 0.9)), predictions(((5, 5, 9, 9), 0.3))])
    _, (first, second) = lessons(looks, [given((0, 0, 10, 10)), given((1, 1, 4, 4))], min_score=0.5)
    assert first.boxes.tolist() == [[0, 0, 8, 8]]
    assert second.boxes.tolist() == [[1, 1, 4, 4]]
    assert len(second.teacher[0]) == 1  # all the teacher's boxes are there for weights of images


@pytest.mark.parametrize(("quantile", "refined"), [(0.0, 4), (0.25, 3), (0.5, 2), (0.9, 1)])
def test_only_confident_boxes_refine_by_the_rank_in_the_batch(quantile, refined):
    """Best scores 0.1, 0.2, 0.3, 0.4: quantiles 0.1, 0.175, 0.25, 0.37; others do not count."""
    looks = Looks(
        [predictions(((0, 0, 8, 8), s), ((9, 9, 19, 19), 0.01)) for s in (0.1, 0.2, 0.3, 0.4)]
    )
    _, taught = lessons(looks, [given((1, 1, 4, 4))] * 4, score_quantile=quantile)
    assert sum(lesson.boxes.tolist() != [[1, 1, 4, 4]] for lesson in taught) == refined
    assert taught[3].boxes.tolist() == [[0, 0, 8, 8]]


def test_equal_scores_are_all_confident_as_scrs():
    looks = Looks([predictions(((0, 0, 8, 8), 1.0))] * 3)
    _, taught = lessons(looks, [given((1, 1, 4, 4))] * 3, score_quantile=0.9)
    assert all(lesson.boxes.tolist() == [[0, 0, 8, 8]] for lesson in taught)


@pytest.mark.parametrize(
    ("flip", "box"), [("horizontal", (20 - 9, 0, 20 - 1, 8)), ("vertical", (1, 20 - 8, 9, 20))]
)
def test_the_second_look_is_mirrored_and_mirrored_back(flip, box):
    looks = Looks([predictions(((0, 0, 8, 8), 0.6))], [predictions((box, 0.6))])
    _, (lesson,) = lessons(looks, [given((0, 0, 10, 10))], flip=flip)
    assert lesson.teacher[0].tolist() == [[0.5, 0, 8.5, 8]]
    straight, mirrored = (images[0] for images in looks.images)
    assert torch.equal(mirrored, straight.flip(-1 if flip == "horizontal" else -2))


@pytest.mark.parametrize(
    ("flip", "close", "mean"),
    [
        ("", (0, 0, 20, 20), (4.5, 4.5, 15.5, 15.5)),
        ("horizontal", (0, 0, 10, 20), (7.5, 4.5, 15.5, 15.5)),
        ("vertical", (0, 0, 20, 10), (4.5, 7.5, 15.5, 15.5)),
    ],
)
def test_a_closer_look_at_the_best_box_is_averaged_with_it(flip, close, mean):
    """1.2 times as large it is 12 pixels, from 4 to 16, and 20 enlarged; the right half of it in
    the mirrored one is from 10 to 16.
    """
    far = predictions(((0, 0, 4, 4), 0.5), ((5, 5, 15, 15), 0.6))
    looks = Looks([far, NOTHING], [predictions(((1, 1, 2, 2), 0.1), (close, 0.3))])
    _, (lesson, unseen) = lessons(
        looks, [given((0, 0, 9, 9)), given((0, 0, 9, 9))], flip=flip, closer_look=1.2
    )
    assert lesson.teacher[0].tolist() == [pytest.approx(mean, abs=1e-5), [0, 0, 4, 4]]
    assert lesson.teacher[1].tolist() == pytest.approx([0.6, 0.5])
    assert len(unseen.teacher[0]) == 0
    assert len(looks.images[1]) == 1
    assert looks.images[1][0].shape == (3, SIDE, SIDE)
    assert far[0].tolist() == [[0, 0, 4, 4], [5, 5, 15, 15]]  # the detector's own tensor stays


def test_a_closer_look_where_nothing_is_seen_from_far_or_close():
    _, (lesson,) = lessons(Looks([NOTHING]), [given((0, 0, 9, 9))], closer_look=1.2)
    assert len(lesson.teacher[0]) == 0
    looks = Looks([predictions(((5, 5, 15, 15), 0.6))], [NOTHING])
    _, (lesson,) = lessons(looks, [given((0, 0, 9, 9))], closer_look=1.2)
    assert lesson.teacher[0].tolist() == [[5, 5, 15, 15]]


def test_two_views_average_mutual_matches_by_score_and_halve_the_rest():
    a = predictions(((0, 0, 8, 8), 0.9), ((10, 10, 20, 20), 0.4))
    b = predictions(((0, 0, 8, 10), 0.3), ((0, 0, 8, 9), 0.1), ((15, 0, 20, 5), 0.8))
    merged, scores = both_views(a, b)
    # the first of a and the second of b (IoU 8/9): (0.9 · 8 + 0.1 · 9) / 1.0, the others alone
    expected = {
        (0, 0, 8, 8.1): 0.5,
        (10, 10, 20, 20): 0.2,
        (0, 0, 8, 10): 0.15,
        (15, 0, 20, 5): 0.4,
    }
    assert len(merged) == len(expected)
    for box, score in zip(merged.tolist(), scores.tolist(), strict=True):
        rounded = tuple(round(corner, 4) for corner in box)
        assert score == pytest.approx(expected[rounded])


def test_two_views_of_nothing_and_of_scores_that_are_0():
    only = predictions(((0, 0, 8, 8), 0.9))
    for pair in ((only, NOTHING), (NOTHING, only)):
        merged = both_views(*pair)
        assert merged[0].tolist() == [[0, 0, 8, 8]]
        assert merged[1].tolist() == pytest.approx([0.45])
    assert len(both_views(NOTHING, NOTHING)[0]) == 0
    zero = predictions(((0, 0, 8, 8), 0.0))
    assert both_views(zero, zero)[0].tolist() == [[0, 0, 8, 8]]


def test_two_equal_views_are_one():
    view = predictions(((0, 0, 8, 8), 0.9), ((10, 10, 20, 20), 0.4), ((0, 0, 8, 9), 0.1))
    merged, scores = both_views(view, view)
    assert torch.equal(merged, view[0])
    torch.testing.assert_close(scores, view[1])


def test_what_a_users_refinement_makes_is_cut_and_slivers_give_way():
    @refinement("wide")
    def wide(boxes, scores, teacher_boxes, teacher_scores, progress):
        return boxes + boxes.new_tensor([10, 0, 30, 0]), scores / 2

    looks = Looks([predictions(((0, 0, 8, 8), 0.9))])
    _, (lesson,) = lessons(looks, [given((0, 0, 10, 10), (9.5, 0, 10, 10))], refine="wide")
    assert lesson.boxes.tolist() == [[10, 0, 20, 10], [9.5, 0, 10, 10]]
    assert lesson.scores.tolist() == [0.5, 1.0]


def test_it_begins_at_its_share_of_the_training():
    teacher = Teacher(Looks(), Teaching(start=0.3))
    for iteration, has_begun in ((0, False), (29, False), (30, True), (100, True)):
        teacher.progress = Progress(iteration, 100)
        assert teacher.has_begun is has_begun


def test_the_log_has_the_mean_iou_the_share_changed_and_the_mean_best_score():
    """IoU of (0, 0, 10, 10) and (0, 0, 10, 8): 0.8; the second image's box stays."""
    looks = Looks(
        [predictions(((0, 0, 10, 8), 0.9), ((0, 0, 5, 5), 0.8)), predictions(((5, 5, 9, 9), 0.3))],
        [NOTHING],
    )
    teacher, _ = lessons(looks, [given((0, 0, 10, 10)), given((1, 1, 4, 4))], min_score=0.5)
    teacher.teach([torch.zeros(3, SIDE, SIDE)], [FRAME], [NOTHING])
    assert teacher.scalars() == pytest.approx(
        {"teacher/score": 0.6, "teacher/iou_with_given": 0.9, "teacher/changed": 0.5}
    )
    assert teacher.scalars() == {}
    looks.batches.append([NOTHING])
    teacher.teach([torch.zeros(3, SIDE, SIDE)], [FRAME], [NOTHING])
    assert teacher.scalars() == {}
