"""Logs of a training that goes on: nothing of it stands twice."""

import json
import logging

from wend.training.log_files import cut_logs


def lines_of(iterations):
    return [json.dumps({"iteration": i, "total_loss": 0.5}) + "\n" for i in iterations]


def test_what_comes_again_is_taken_out_and_counted(tmp_path, caplog):
    losses, curve = tmp_path / "metrics.json", tmp_path / "curve.csv"
    losses.write_text("".join(lines_of([1, 3, 5])) + '{"iteration": 7, "to')  # killed while writing
    header = "iteration,epoch,dataset,protocol,metric,value\n"
    rows = ["2,1,toy,original,gt_known_loc,50.0\n", "4,2,toy,original,gt_known_loc,60.0\n"]
    curve.write_text(header + "".join(rows) + "6,3,toy,origi")
    with caplog.at_level(logging.INFO, logger="wend"):
        cut_logs(tmp_path, 4)  # iterations 0 to 3 are done
    assert losses.read_text() == "".join(lines_of([1, 3]))
    assert curve.read_text() == header + "".join(rows)
    assert "2 lines of metrics.json and 1 lines of curve.csv are taken out" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="wend"):
        cut_logs(tmp_path, 4)
    assert not caplog.records


def test_a_file_that_is_open_for_adding_goes_on_at_its_new_end(tmp_path):
    """Also where an earlier version left lines of two starts among each other."""
    losses = tmp_path / "metrics.json"
    losses.write_text("".join(lines_of([1, 3, 9, 2, 3])))
    with losses.open("a") as file:  # as Detectron2's writer, which opens it first
        cut_logs(tmp_path, 4)
        file.write(*lines_of([4]))
    assert losses.read_text() == "".join(lines_of([1, 3, 2, 3, 4]))


def test_all_is_taken_out_where_a_resume_starts_anew(tmp_path):
    (tmp_path / "metrics.json").write_text("".join(lines_of([1, 3])))
    cut_logs(tmp_path, 0)
    assert (tmp_path / "metrics.json").read_text() == ""
    cut_logs(tmp_path / "new", 0)


def test_lines_that_are_still_to_be_written_whole_come_again(tmp_path):
    """Detectron2 writes what came since its last line where a training is interrupted."""
    (tmp_path / "metrics.json").write_text("".join(lines_of([17, 19, 20, 23, 26])))
    cut_logs(tmp_path, 27, first_line=20)
    assert (tmp_path / "metrics.json").read_text() == "".join(lines_of([17, 19]))


def test_held_out_losses_of_an_evaluation_that_was_cut_off_come_again(tmp_path):
    losses = tmp_path / "metrics.json"
    held_out = [f'{{"iteration": {i}, "held_out/total_loss": 1.0}}\n' for i in (1, 3)]
    losses.write_text("".join([held_out[0], *lines_of([3]), held_out[1]]))
    header = "iteration,epoch,dataset,protocol,metric,value\n"
    (tmp_path / "curve.csv").write_text(header + "2,1,held_out,,total_loss,1.0\n")
    cut_logs(tmp_path, 4)
    assert losses.read_text() == "".join([held_out[0], *lines_of([3])])
