"""The refinements: boxes and scores by hand."""

import pytest
import torch

from wend.errors import InputError
from wend.schedules import Progress, Scheduled
from wend.teaching.refine import REFINEMENTS, Refinement, refinement

pytestmark = pytest.mark.usefixtures("own_registries")
GIVEN = torch.tensor([[0.0, 0, 10, 10], [20.0, 20, 30, 30]])
SCORES = torch.tensor([1.0, 0.5])
# near the first (IoU 0.64 and 0.9), near none, and near the second (IoU 0.8)
TEACHERS = torch.tensor([[0.0, 0, 8, 8], [0.0, 0, 10, 9], [40.0, 40, 50, 50], [20.0, 20, 30, 28]])
TEACHER_SCORES = torch.tensor([0.8, 0.7, 0.6, 0.2])
TEACHER = (TEACHERS, TEACHER_SCORES)
START = Progress()
NOTHING = (torch.zeros(0, 4), torch.zeros(0))


def refined(name, teacher=TEACHER, given=(GIVEN, SCORES), progress=START, **parameters):
    boxes, scores = Refinement(name, parameters)(given, teacher, progress)
    assert boxes.dtype == scores.dtype == torch.float32
    return boxes, scores


def test_none_is_none():
    boxes, scores = refined("none")
    assert torch.equal(boxes, GIVEN)
    assert torch.equal(scores, SCORES)
    assert Refinement().is_none


def test_average_moves_to_the_best_scoring_box_near_not_to_the_nearest():
    boxes, scores = refined("average", iou=0.5, weight=0.25)
    assert boxes.tolist() == [[0, 0, 9.5, 9.5], [20, 20, 30, 29.5]]
    assert scores.tolist() == pytest.approx([0.95, 0.425])


def test_average_leaves_a_box_that_the_teacher_has_none_near():
    boxes, scores = refined("average", iou=0.85, weight=0.5)
    assert boxes.tolist() == [[0, 0, 10, 9.5], [20, 20, 30, 30]]
    assert scores.tolist() == pytest.approx([0.85, 0.5])
    boxes, _ = refined("average", iou=0.95, weight=1.0)
    assert torch.equal(boxes, GIVEN)


@pytest.mark.parametrize(("iteration", "side"), [(0, 10.0), (50, 9.0), (100, 8.0)])
def test_the_weight_of_average_follows_its_schedule(iteration, side):
    weight = Scheduled(0.0, 1.0, "linear")
    boxes, _ = refined("average", progress=Progress(iteration, 100), weight=weight)
    assert boxes[0].tolist() == [0, 0, side, side]


def test_softs_weight_is_the_score_to_the_gamma_at_most_theta():
    """γ 2: 0.8² = 0.64, cut at 0.5; 0.2² = 0.04."""
    boxes, scores = refined("soft", iou=0.5, gamma=2.0, most=0.5)
    assert boxes[0].tolist() == [0, 0, 9, 9]
    assert boxes[1].tolist() == pytest.approx([20, 20, 30, 30 - 2 * 0.04])
    assert scores.tolist() == pytest.approx([0.9, 0.5 - 0.3 * 0.04])


def test_replace_takes_as_many_of_the_best_as_there_are_given_ones():
    """The first two lie on the first box: the second of them takes the place that is left."""
    boxes, scores = refined("replace")
    assert torch.equal(boxes, TEACHERS[:2])
    assert torch.equal(scores, TEACHER_SCORES[:2])


def test_replace_puts_each_box_in_the_place_that_it_overlaps():
    boxes, scores = refined("replace", teacher=(TEACHERS[[3, 0]], TEACHER_SCORES[[3, 0]]))
    assert torch.equal(boxes, TEACHERS[[0, 3]])
    assert torch.equal(scores, TEACHER_SCORES[[0, 3]])


def test_replace_keeps_given_ones_where_the_teacher_has_too_few():
    boxes, scores = refined("replace", teacher=(TEACHERS[3:], TEACHER_SCORES[3:]))
    assert torch.equal(boxes, torch.stack([GIVEN[0], TEACHERS[3]]))
    assert scores.tolist() == pytest.approx([1.0, 0.2])


def test_replace_corrects_a_single_box_that_is_wrong_altogether():
    boxes, _ = refined("replace", given=(GIVEN[1:], SCORES[1:]), teacher=(TEACHERS[:1], SCORES[:1]))
    assert torch.equal(boxes, TEACHERS[:1])


@pytest.mark.parametrize("name", sorted(REFINEMENTS.names()))
def test_where_the_teacher_predicts_nothing_all_stays(name):
    boxes, scores = refined(name, teacher=NOTHING)
    assert torch.equal(boxes, GIVEN)
    assert torch.equal(scores, SCORES)
    boxes, scores = refined(name, given=NOTHING)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


@pytest.mark.parametrize("name", sorted(REFINEMENTS.names()))
def test_given_boxes_are_not_written_to(name):
    given = GIVEN.clone(), SCORES.clone()
    refined(name, given=given)
    assert torch.equal(given[0], GIVEN)
    assert torch.equal(given[1], SCORES)


@pytest.mark.parametrize("name", ["average", "soft", "replace"])
def test_scr_whose_score_is_always_1(name):
    """Its one box: moved to by 0.5, by θ, or altogether, however wrong it is."""
    boxes, scores = refined(name, given=(GIVEN[:1], SCORES[:1]), teacher=(TEACHERS[:1], SCORES[:1]))
    side = {"average": 9.0, "soft": 10 - 2 * 0.85, "replace": 8.0}[name]
    assert boxes[0].tolist() == pytest.approx([0, 0, side, side])
    assert scores.item() == 1.0


def test_a_refinement_of_the_users_own_and_what_it_gets():
    @refinement("grow", node="TEACHER")
    def grow(boxes, scores, teacher_boxes, teacher_scores, progress, *, weight=1.0):
        return torch.cat([boxes, teacher_boxes * weight]), torch.cat([scores, teacher_scores])

    boxes, scores = refined("grow", weight=Scheduled(0.5))
    assert torch.equal(boxes, torch.cat([GIVEN, TEACHERS / 2]))
    assert torch.equal(scores, torch.cat([SCORES, TEACHER_SCORES]))


@pytest.mark.parametrize(
    ("result", "got"),
    [
        (None, "NoneType"),
        (torch.zeros(0, 4), "Tensor"),
        ((torch.zeros(0, 5), torch.zeros(0)), r"\(0, 5\)"),
        ((torch.zeros(0, 4), torch.zeros(3)), r"\(3,\)"),
    ],
)
def test_one_that_returns_something_else_is_refused_at_the_start(result, got):
    refinement("wrong")(lambda *arguments: result)
    with pytest.raises(InputError, match=rf"refinement 'wrong'.*got.*{got}"):
        Refinement("wrong")


def test_unknown_names_and_parameters_are_refused():
    with pytest.raises(InputError, match=r"unknown refinement 'avrage'.*average"):
        Refinement("avrage")
    with pytest.raises(InputError, match=r"refinement 'average'.*'width'"):
        Refinement("average", {"width": 1})
