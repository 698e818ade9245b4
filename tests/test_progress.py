"""A command's progress where there is no terminal: lines with the rate and the time left."""

import logging

from wend import progress


def test_a_log_has_a_line_now_and_then_with_rate_and_time_left(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "wend")
    seconds = iter([0.0, 10.0, 40.0, 50.0, 60.0, 70.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    bar = progress.Progress("DDT", 1000, 200)
    for _ in range(5):
        bar.update(40)
    bar.close()
    # 80 images in 40 s and 200 in 70 s; 720 and 600 are left
    assert [record.message for record in caplog.records] == [
        "DDT: 280 of 1000 images, 2.0 images/s, 06:00 left",
        "DDT: 400 of 1000 images, 2.9 images/s, 03:30 left",
    ]
