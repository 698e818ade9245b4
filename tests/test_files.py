"""wend.files: nothing is left half-written, and what cannot be read is named."""

import gzip
import json
import os
import re
import stat

import pytest

from wend.errors import InputError, MissingFileError
from wend.files import (
    atomic_write,
    read_json,
    read_text,
    remove_unfinished,
    sha256,
    state_digest,
    whole_folder,
    write_json,
    writing,
)


@pytest.fixture
def umask():
    """Sets the umask, and back."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def test_written_text_is_utf_8_in_a_new_folder_without_leftovers(tmp_path):
    path = tmp_path / "a" / "b" / "out.txt"
    with atomic_write(path) as file:
        file.write("γ = 6\n")
    assert path.read_bytes() == "γ = 6\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_what_killed_writers_left_of_a_file_goes_and_nothing_else(tmp_path):
    stay = {"a[1].json", ".a1.json.abcdefgh", ".a[1].json.txt", ".b.json.abcdefgh"}
    for name in (*stay, ".a[1].json.x3_d4f6h", ".a[1].json.abcdefgh"):
        (tmp_path / name).write_text("")
    remove_unfinished(tmp_path / "a[1].json")
    assert {path.name for path in tmp_path.iterdir()} == stay


def test_bytes_are_written_as_they_are(tmp_path):
    with atomic_write(tmp_path / "out.bin", "wb") as file:
        file.write(b"\x00\r\n\xff")
    assert (tmp_path / "out.bin").read_bytes() == b"\x00\r\n\xff"


def test_the_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with atomic_write(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def fail_half_way(path, error):
    with atomic_write(path) as file:
        file.write("half")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_error_while_writing_leaves_nothing_behind(tmp_path, error):
    with pytest.raises(error):
        fail_half_way(tmp_path / "out.txt", error)
    assert list(tmp_path.iterdir()) == []


def test_error_while_writing_leaves_the_old_file_as_it_was(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="stop"):
        fail_half_way(path, RuntimeError("stop"))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_target_that_cannot_be_replaced_leaves_nothing_behind(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError, match="out"), atomic_write(tmp_path / "out") as file:
        file.write("text")
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.parametrize(
    ("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)]
)
def test_written_file_has_the_umasks_permissions_and_the_umask_stays(tmp_path, umask, mask, mode):
    umask(mask)
    write_json(tmp_path / "out.json", {})
    assert stat.S_IMODE((tmp_path / "out.json").stat().st_mode) == mode  # 0o666 & ~mask
    assert umask(0o022) == mask


def test_json_is_written_and_read_again(tmp_path):
    value = {"b": [1, 2.5, None, True], "ä": {"": "\n"}}
    write_json(tmp_path / "out.json", value)
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == value
    assert read_json(tmp_path / "out.json", "anything") == value
    write_json(tmp_path / "out.json", value, indent=1)
    assert (tmp_path / "out.json").read_text().startswith('{\n "b": [\n  1,')


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_number_that_json_does_not_have_is_an_error_and_leaves_the_old_file(tmp_path, value):
    path = tmp_path / "out.json"
    path.write_text("[1]")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"metric": [0.5, value]})
    assert path.read_text() == "[1]"
    assert list(tmp_path.iterdir()) == [path]


def test_value_that_json_does_not_have_leaves_nothing_behind(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "out.json", {"a": 1, "b": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", [read_text, read_json])
def test_missing_file_and_folder_are_named_with_what_was_expected(tmp_path, read):
    for path in (tmp_path / "none.json", tmp_path):
        message = re.escape(f"{path}: there is no such file; expected a list of things")
        with pytest.raises(MissingFileError, match=f"^{message}$") as error:
            read(path, "a list of things")
        assert isinstance(error.value, InputError)
        assert isinstance(error.value, FileNotFoundError)


@pytest.mark.parametrize("read", [read_text, read_json])
def test_other_encoding_is_named_with_what_was_expected(tmp_path, read):
    (tmp_path / "a.json").write_bytes('"café"'.encode("latin-1"))
    message = r"a\.json: not UTF-8 text \(.*0xe9.*\); expected a list of things"
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.json", "a list of things")


@pytest.mark.parametrize(
    ("data", "other"),
    [
        (gzip.compress(b"[]", mtime=0), "compressed by gzip; unpack it first"),
        ("[]".encode("utf-16"), "text in UTF-16, as Windows writes it; save it as UTF-8"),
    ],
)
def test_files_that_are_something_else_say_what(tmp_path, data, other):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.json: not UTF-8 text but {other}; expected a list"):
        read_json(tmp_path / "a.json", "a list of things")


def test_text_is_read_as_utf_8_whatever_the_locale(tmp_path):
    (tmp_path / "a.txt").write_bytes("τ1 ≥ τ2".encode())
    assert read_text(tmp_path / "a.txt", "text") == "τ1 ≥ τ2"


@pytest.mark.parametrize(
    "content",
    ["", " \n", '{"a": [1, 2', '{"a": 1}x', "{'a': 1}", "[" * 100_000, "[1,]", "nul"],
    ids=lambda content: repr(content[:10]),
)
def test_json_that_is_not_whole_is_named_with_what_was_expected(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    message = r"a\.json: not a whole JSON value \(.+\); expected a list of things"
    with pytest.raises(InputError, match=message):
        read_json(tmp_path / "a.json", "a list of things")


def test_pairs_of_an_object_reach_the_hook_with_their_repetitions(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1, "a": 2}')
    assert read_json(tmp_path / "a.json", "x", object_pairs_hook=list) == [("a", 1), ("a", 2)]


def test_sha256_is_the_standards_digest_also_of_a_large_file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"abc")  # FIPS 180-2, B.1 and B.3
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(b"a" * 1_000_000)
    assert sha256(path) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    with pytest.raises(MissingFileError, match=r"absent: there is no such file"):
        sha256(tmp_path / "absent")


def test_a_state_digest_tells_whether_a_file_was_changed_renamed_or_is_gone(tmp_path):
    path = tmp_path / "a ü.jpg"
    path.write_bytes(b"abc")
    os.utime(path, ns=(0, 1))
    first = state_digest([str(path)])
    assert state_digest([str(path)]) == first
    os.utime(path, ns=(0, 2))
    changed = state_digest([str(path)])
    path.unlink()
    gone = state_digest([str(path)])
    assert len({first, changed, gone, state_digest([str(tmp_path / "b.jpg")])}) == 4


def _fill_disk():
    with open("/dev/full", "w", buffering=1) as file:
        file.write("more than fits\n")


def _hide():
    try:
        _fill_disk()
    finally:
        raise RuntimeError("as torch.save's archive, which then cannot be closed")


@pytest.mark.parametrize("write", [_fill_disk, _hide])
def test_a_full_disk_is_named_with_the_file(tmp_path, write):
    path = tmp_path / "folder" / "out.json"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="No space left on device") as info, writing(path):
        write()
    assert info.value.filename == str(path)
    with pytest.raises(OSError, match="No space left on device") as info, atomic_write(path):
        write()
    assert info.value.filename == str(path)
    with pytest.raises(OSError, match="No space left") as info, whole_folder(tmp_path / "many"):
        write()
    assert info.value.filename == str(tmp_path / "many")
    assert [p.name for p in tmp_path.rglob("*")] == ["folder"]


def test_errors_that_are_not_of_a_file_stay(tmp_path):
    error = ConnectionResetError(104, "Connection reset by peer")
    with pytest.raises(ConnectionResetError) as info, writing(tmp_path):
        raise error
    assert info.value is error


def test_temporary_names_are_not_shown(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError) as info, atomic_write(tmp_path / "file" / "out.json"):  # noqa: PT011
        pass
    assert "." + "out.json" not in str(info.value.filename)
