"""The lines of Detectron2's log of a training that goes on are those of an uninterrupted one."""

import json

import pytest

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.utils.events import EventStorage, JSONWriter

from wend.d2.log_window import LogWindow
from wend.training.log_files import cut_logs

LAST = 50


def take(storage, iteration):
    """A step; the evaluation after each six is of the step."""
    storage.iter = iteration
    storage.put_scalar("total_loss", (iteration * 37 % 11) / 7, smoothing_hint=True)
    storage.put_scalar("time", 1.0)
    if iteration % 20 == 0:
        storage.put_scalar("positive_share", iteration / 3, smoothing_hint=False)


def train(folder, start, window, *, stops_at=None, writes=False):
    """Steps from ``start`` on; the window as of the checkpoint after each.

    Where it stops the lines that are due are written, or not.
    """
    path = folder / "metrics.json"
    writer = JSONWriter(str(path))
    with EventStorage(start) as storage:
        if window is not None:
            known = LogWindow()
            known.load_state_dict(window)
            cut_logs(folder, start, min(start, known.first_line))
            known.restore(storage)
            if start % 20 == 0:
                writer.write()
        for iteration in range(start, LAST):
            take(storage, iteration)
            window = LogWindow().state_dict()
            if iteration == stops_at:
                if writes:
                    writer.write()
                break
            if (iteration + 1) % 20 == 0 or iteration + 1 == LAST:
                writer.write()
    writer.close()
    return window


def lines(folder):
    read = map(json.loads, (folder / "metrics.json").read_text().splitlines())
    rows = [{k: v for k, v in row.items() if k != "time"} for row in read]
    return sorted((row for row in rows if len(row) > 1), key=lambda row: row["iteration"])


@pytest.mark.parametrize("writes", [False, True])
@pytest.mark.parametrize("stops", [[0], [18], [19], [20], [38], [39], [44], [3, 25, 26], [39, 40]])
def test_lines_are_those_of_an_uninterrupted_training(stops, writes, tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    for folder in (whole, resumed):
        folder.mkdir()
    train(whole, 0, None)
    assert [row["iteration"] for row in lines(whole)] == [0, 19, 20, 39, 40, 49]
    start, window = 0, None
    for stop in (*stops, None):
        window = train(resumed, start, window, stops_at=stop, writes=writes)
        start = LAST if stop is None else stop + 1
    assert lines(resumed) == lines(whole)


def test_of_a_number_that_is_not_smoothed_the_latest_alone_is_kept():
    """So a checkpoint is the same whether a training was resumed after an earlier value or not."""
    with EventStorage(0) as storage:
        for iteration, value in ((11, 0.25), (17, 0.5), (23, 0.75)):
            storage.put_scalar("gt_known_loc", value, smoothing_hint=False, cur_iter=iteration)
            storage.put_scalar("total_loss", value, smoothing_hint=True, cur_iter=iteration)
        storage.iter = 29
        numbers = LogWindow().state_dict()["numbers"]
    assert numbers["gt_known_loc"]["values"] == [[0.75, 23]]
    assert numbers["total_loss"]["values"] == [[0.25, 11], [0.5, 17], [0.75, 23]]
