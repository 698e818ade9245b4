"""wend.schedules: values worked out by hand, and what is said of a schedule that is wrong."""

import numpy as np
import pytest

from wend.errors import InputError
from wend.schedules import Progress, Scheduled, schedule


def test_share_of_the_training_goes_from_0_to_1():
    assert [Progress(i, 4).share for i in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    assert (Progress().share, Progress(0, 0).share) == (0, 0)


def values(*arguments):
    """Of five points of the training, from its start to its end."""
    number = Scheduled(*arguments)
    return [number.at(Progress(iteration, 4)) for iteration in range(5)]


def test_a_number_goes_from_its_start_to_its_end():
    assert values(1.0) == values(1.0, 0.2) == [1.0] * 5
    assert values(1.0, 0.2, "linear") == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    # (1 - cos(π/4)) / 2 = 0.146447: after a quarter of the time that share of the way
    way = [0, 0.146447, 0.5, 0.853553, 1]
    assert values(1.0, 0.2, "cosine") == pytest.approx([1 - 0.8 * w for w in way], rel=1e-5)
    assert values(1.0, 0.2, "step") == [1, 1, 0.2, 0.2, 0.2]
    assert values(1.0, 0.2, "step", {"step_at": 0.75}) == [1, 1, 1, 0.2, 0.2]


def test_a_schedule_of_ones_own_has_its_parameters(own_registries):
    @schedule("jump")
    def jump(progress, start, end, *, at=0.5):
        return start if progress.share < at else end

    assert values(1.0, 0.0, "jump") == [1, 1, 0, 0, 0]
    assert values(1.0, 0.0, "jump", {"at": 0.75}) == [1, 1, 1, 0, 0]
    with pytest.raises(InputError, match=r"schedule 'jump': got an unexpected keyword .* 'after'"):
        Scheduled(1.0, 0.0, "jump", {"after": 0.5})


def test_a_number_of_numpy_is_a_number(own_registries):
    schedule("single")(lambda progress, start, end: np.float32(0.5))
    assert [type(value) for value in set(values(1.0, 1.0, "single"))] == [float]


def test_what_is_out_of_range_is_an_error(own_registries):
    for wrong in (-0.5, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"expected a finite number >= 0, got {wrong}"):
            Scheduled(wrong)
        with pytest.raises(ValueError, match=f"expected a finite number >= 0, got {wrong}"):
            Scheduled(1.0, wrong)
    with pytest.raises(InputError, match=r"unknown schedule 'jump'\. Known: constant, cosine, lin"):
        Scheduled(1.0, schedule="jump")
    schedule("negative")(lambda progress, start, end: 0.5 - progress.share)
    with pytest.raises(InputError, match=r"'negative': .* got -0\.25 at iteration 3 of 4"):
        values(1.0, 1.0, "negative")
    schedule("short")(lambda progress: 1.0)
    with pytest.raises(InputError, match=r"'short': too many .* with \(progress, start, end\)"):
        Scheduled(1.0, schedule="short")
