"""wend.partial: what an interrupted run noted is taken up whole, or not at all."""

import json

import pytest

from wend.partial import PartialFile, differences

FORMAT = "wend-test-partial-1"


def open_file(path, settings=None, kind=FORMAT):
    return PartialFile(path, kind, settings or {"a": 1}, lambda row: (row["key"], row["n"]))


def rows(*numbers):
    return [{"key": f"image {n} ü\u2028", "n": n} for n in numbers]


def items(*numbers):
    return [(row["key"], row["n"]) for row in rows(*numbers)]


def test_rows_are_there_again_and_more_can_be_added(tmp_path):
    path = tmp_path / "new" / "x.partial"
    first = open_file(path)
    assert (first.resumed, first.items) == (False, [])
    first.add(rows(1, 2))
    first.add(rows(3))
    again = open_file(path)
    assert (again.resumed, again.items) == (True, items(1, 2, 3))
    again.add(rows(4))
    assert open_file(path).items == items(1, 2, 3, 4)
    again.remove()
    assert not path.exists()


def test_a_line_that_was_not_finished_is_cut_off(tmp_path):
    path = tmp_path / "x.partial"
    open_file(path).add(rows(1, 2))
    path.write_bytes(path.read_bytes()[:-3])
    cut = open_file(path)
    assert cut.items == items(1)
    cut.add(rows(5))
    assert open_file(path).items == items(1, 5)


def test_a_header_that_was_not_finished_is_written_anew(tmp_path, caplog):
    path = tmp_path / "x.partial"
    path.write_text('{"format": "wend-te')
    assert not open_file(path).resumed
    open_file(path).add(rows(1))
    assert open_file(path).items == items(1)
    assert caplog.text == ""


def test_settings_are_compared_as_json_gives_them_back(tmp_path):
    path = tmp_path / "x.partial"
    open_file(path, {"sizes": (1, 2), "names": {1: "a"}})
    assert open_file(path, {"sizes": (1, 2), "names": {1: "a"}}).resumed


def test_changed_settings_start_anew_and_are_said(tmp_path, caplog):
    path = tmp_path / "x.partial"
    open_file(path, {"top_k": 5, "old": 1, "same": 0}).add(rows(1))
    other = open_file(path, {"top_k": 6, "same": 0})
    assert (other.resumed, other.items) == (False, [])
    said = "x.partial: the settings have changed (old: 1, now None, top_k: 5, now 6); starting anew"
    assert said in caplog.text.replace("'", "")
    assert open_file(path, {"top_k": 6, "same": 0}).resumed
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "content",
    [
        "nonsense\n",
        "[]\n",
        '{"format": "another", "settings": {"a": 1}}\n',
        f'{{"format": "{FORMAT}"}}\n',
        f'{{"format": "{FORMAT}", "settings": 3}}\n',
        json.dumps({"format": FORMAT, "settings": {"a": 1}}) + '\n{"key": 1}\n',
        json.dumps({"format": FORMAT, "settings": {"a": 1}}) + "\n[]\n",
        json.dumps({"format": FORMAT, "settings": {"a": 1}}) + "\n\x00\x00\n",
    ],
)
def test_a_file_that_is_none_is_not_trusted(tmp_path, caplog, content):
    path = tmp_path / "x.partial"
    path.write_text(content)
    started = open_file(path)
    assert (started.resumed, started.items) == (False, [])
    assert "x.partial: is no record of an interrupted run; starting anew" in caplog.text
    started.add(rows(1))
    assert open_file(path).items == items(1)


def test_a_change_is_said_without_digests_and_of_a_config_by_its_lines():
    old = {"side": 1, "photos": "0" * 64, "config": "A: 1\nB:\n  C: 2\n", "tests": {"x": "a" * 64}}
    new = {"side": 2, "photos": "1" * 64, "config": "A: 1\nB:\n  C: 3\n", "tests": {}}
    assert differences(old, new) == (
        "config: now C: 3, photos: of other content, side: 1, now 2, tests: of other content"
    )
    gone = differences({"config": "A: 1\nB: 2\n"}, {"config": "A: 1\n"})
    assert gone == "config: lines are gone"
