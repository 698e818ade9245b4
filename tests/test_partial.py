"""wend.partial: what an interrupted run noted is taken up whole, or not at all."""

import pytest

from wend.partial import PartialFile, differences, read_record

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
    ],
)
def test_a_file_that_is_none_is_not_trusted(tmp_path, caplog, content):
    path = tmp_path / "x.partial"
    path.write_text(content)
    started = open_file(path)
    assert (started.resumed, started.items) == (False, [])
    assert "x.partial: is no record of an interrupted run of this version" in caplog.text
    started.add(rows(1))
    assert open_file(path).items == items(1)


@pytest.mark.parametrize("damage", [b"\x00\x00", b"[]", b"nonsense", b'{"key": 1, "n": 2}'])
def test_a_damaged_line_costs_its_own_work_alone(tmp_path, caplog, damage):
    path = tmp_path / "x.partial"
    open_file(path).add(rows(1, 2, 3))
    lines = path.read_bytes().split(b"\n")
    lines[2] = damage
    path.write_bytes(b"\n".join(lines))
    again = open_file(path)
    assert again.items == items(1, 3)
    assert "x.partial: 1 of 3 lines are damaged; what they held is done again" in caplog.text
    again.add(rows(2))
    caplog.clear()
    assert open_file(path).items == items(1, 3, 2)
    assert caplog.text == ""


def test_every_changed_bit_of_a_line_is_seen(tmp_path):
    path = tmp_path / "x.partial"
    open_file(path).add(rows(1, 2))
    content = path.read_bytes()
    start = content.index(b"\n") + 1
    for place in range(start, content.index(b"\n", start)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        assert read_record(path, FORMAT, lambda row: (row["key"], row["n"])).items == items(2)


def test_a_line_of_other_rows_is_damaged(tmp_path, caplog):
    path = tmp_path / "x.partial"
    open_file(path).add([{"key": "x"}, *rows(1)])
    assert open_file(path).items == items(1)


def test_what_was_added_is_on_the_disk_at_the_end_and_now_and_then(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", synced.append)
    record = open_file(tmp_path / "x.partial")
    synced.clear()
    record.add(rows(1))
    assert not synced
    monkeypatch.setattr("wend.partial.SYNC_SECONDS", 0.0)
    record.add(rows(2))
    assert len(synced) == 1
    record.close()
    assert len(synced) == 2
    record.close()
    assert len(synced) == 2


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, monkeypatch):
    record = open_file(tmp_path / "x.partial")
    record.add(rows(1))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left") as raised:
        record.close()
    assert raised.value.filename == str(tmp_path / "x.partial")


def test_a_change_is_said_without_digests_and_of_a_config_by_its_lines():
    old = {"side": 1, "photos": "0" * 64, "config": "A: 1\nB:\n  C: 2\n", "tests": {"x": "a" * 64}}
    new = {"side": 2, "photos": "1" * 64, "config": "A: 1\nB:\n  C: 3\n", "tests": {}}
    assert differences(old, new) == (
        "config: now C: 3, photos: of other content, side: 1, now 2, tests: of other content"
    )
    gone = differences({"config": "A: 1\nB: 2\n"}, {"config": "A: 1\n"})
    assert gone == "config: lines are gone"
