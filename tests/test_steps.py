"""Steps are done once, go on after an interruption, and are done anew where settings change."""

import pytest

from wend.errors import InputError
from wend.steps import Step, Steps


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out"


def step(folder, done, settings, fail=False):
    def work(resumes):
        done.append(resumes)
        (folder / "left.tmp").write_text("x")
        if fail:
            raise KeyboardInterrupt
        (folder / "result").mkdir(exist_ok=True)

    return Step("work", settings, ["result"], work, leftovers=["*.tmp"])


def test_a_finished_step_is_done_once_and_again_where_its_settings_or_files_change(folder, caplog):
    done = []
    for settings, expected in (({"a": 1}, True), ({"a": 1}, False), ({"a": 2}, True)):
        assert Steps(folder, {}).run(step(folder, done, settings)) is expected
    assert done == [False, False]
    assert "work: a: 1, now 2; done anew" in caplog.text
    (folder / "result").rmdir()
    assert Steps(folder, {}).run(step(folder, done, {"a": 2}))
    assert "some of its files are gone" in caplog.text


def test_an_interrupted_step_goes_on_only_with_the_same_settings(folder):
    done = []
    with pytest.raises(KeyboardInterrupt):
        Steps(folder, {}).run(step(folder, done, {"a": 1}, fail=True))
    with pytest.raises(KeyboardInterrupt):
        Steps(folder, {}).run(step(folder, done, {"a": 1}, fail=True))
    assert (folder / "left.tmp").exists()
    assert Steps(folder, {}).run(step(folder, done, {"a": 2}))
    assert done == [False, True, False]


def test_a_folder_of_other_photos_or_of_another_run_is_refused(folder):
    Steps(folder, {"photos": "/a"})
    with pytest.raises(InputError, match=r"made of something else \(photos: '/a', now '/b'\)"):
        Steps(folder, {"photos": "/b"})
    (folder / "steps.json").unlink()
    (folder / "config.yaml").write_text("x")
    with pytest.raises(InputError, match="holds a run that wend auto has not made"):
        Steps(folder, {"photos": "/a"})
