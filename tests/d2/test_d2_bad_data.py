import pytest

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
import bad_data_runs

ENGINE = "detectron2"


def test_an_unreadable_image_ends_the_run_and_is_named(own_toy, tmp_path, capsys):
    bad_data_runs.raise_ends_the_run(ENGINE, own_toy, tmp_path / "out", capsys)


def test_skip_counts_and_names_what_it_skipped(own_toy, tmp_path, capsys):
    bad_data_runs.skip_goes_on(ENGINE, own_toy, tmp_path / "out", capsys)


def test_more_than_the_share_ends_the_run(own_toy, tmp_path, capsys):
    bad_data_runs.too_many_end_the_run(ENGINE, own_toy, tmp_path / "out", capsys)


def test_quarantined_images_are_left_out_before_training(own_toy, tmp_path, capsys):
    bad_data_runs.quarantine_leaves_out(ENGINE, own_toy, tmp_path / "out", capsys)


def test_a_bad_test_image_is_an_error_or_a_miss(own_toy, tmp_path, capsys):
    bad_data_runs.a_bad_test_image_is_an_error_or_a_miss(ENGINE, own_toy, tmp_path / "out", capsys)


def test_a_cache_changes_no_number(own_toy, tmp_path, capsys):
    bad_data_runs.a_cache_changes_no_number(ENGINE, own_toy, tmp_path / "out", capsys)


@pytest.mark.slow
def test_two_processes_skip_the_same_and_end_together(own_toy, toy_root, tmp_path):
    bad_data_runs.two_processes(own_toy, tmp_path)
