"""How long a training is: by hand."""

import pytest

from wend.auto.schedule import choose


@pytest.mark.parametrize(
    ("seconds", "images", "gpu", "iterations"),
    [
        # 8 minutes are 480 s, of which iterations get 85 %: 408 s
        (2.0, 320, False, 204),  # 408 / 2, fewer than 12 epochs of 20 iterations
        (1.0, 320, False, 240),  # 12 epochs of 20 iterations, fewer than 408
        (0.1, 320, True, 720),  # 36 epochs of 20 iterations, fewer than 4080
        (1.0, 30, False, 150),  # 12 epochs of 2 iterations are too few
        (1000.0, 320, False, 1),
    ],
)
def test_length(seconds, images, gpu, iterations):
    schedule = choose(seconds, 8.0, images, batch=16, warmup=20, epochs=12, gpu=gpu)
    assert schedule.iterations == iterations
    assert schedule.warmup == min(20, iterations // 5)
    assert schedule.period == -(-iterations // 5)
