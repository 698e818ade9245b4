"""A folder or file has one writer, across processes, until that one ends however it does."""

import errno
import logging
import os
import signal
import subprocess
import sys
import threading

import pytest

from wend import run_lock
from wend.errors import InputError
from wend.run_lock import LOCK_FILE, locked, locked_file

HOLD = """
import sys, time
from wend.run_lock import locked
with locked(sys.argv[1], doing="wend train"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "a run")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_second_process_is_told_who_writes_and_kill_9_frees_the_folder(tmp_path, holder):
    folder = tmp_path / "a run"
    with pytest.raises(InputError, match=rf"a run: wend train \(process {holder.pid} on ") as info:
        with locked(folder, doing="wend train"):
            pass
    assert "wait until it ends" in str(info.value)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (folder / LOCK_FILE).exists()  # left by the killed one, and no lock
    with locked(folder, doing="wend train"):
        assert f'"pid": {os.getpid()}' in (folder / LOCK_FILE).read_text()
    assert list(folder.iterdir()) == []


def test_other_name_of_the_folder_is_the_same_folder(tmp_path, holder):
    (tmp_path / "link").symlink_to(tmp_path / "a run")
    with pytest.raises(InputError, match="writes here now"), locked(tmp_path / "link", doing="x"):
        pass


def test_same_process_holds_a_folder_twice(tmp_path):
    with locked(tmp_path, doing="outer"):
        with locked(tmp_path, doing="inner"):
            pass
        assert (tmp_path / LOCK_FILE).exists()
    assert list(tmp_path.iterdir()) == []


def test_new_folder_stays_where_something_was_written(tmp_path):
    with locked(tmp_path / "a/b", doing="x"):
        (tmp_path / "a/b/file").touch()
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["file"]


def test_file_is_locked_beside_it(tmp_path):
    with locked_file(tmp_path / "boxes.json", doing="x"):
        assert [path.name for path in tmp_path.iterdir()] == [f".boxes.json{LOCK_FILE}"]
        with locked(tmp_path, doing="y"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_forked_child_holds_nothing(tmp_path):
    with locked(tmp_path, doing="x"):
        descriptors = set(run_lock._descriptors)
        child = os.fork()
        if not child:  # no return from here: the child is a copy of pytest
            open_there = [d for d in descriptors if os.path.exists(f"/proc/self/fd/{d}")]
            os._exit(len(open_there) + len(run_lock._held))
        assert os.waitpid(child, 0)[1] == 0


def test_file_system_without_locks_is_said_once(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(run_lock.fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING, "wend.run_lock"), locked(tmp_path, doing="x"):
        assert list(tmp_path.iterdir()) == []
    assert [r.getMessage() for r in caplog.records] == [
        f"{tmp_path}: its file system has no locks (Operation not supported); see to it that no "
        f"second run writes there"
    ]


def test_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: is a file; expected a folder"):
        with locked(tmp_path / "file", doing="x"):
            pass


def test_lock_in_a_thread(tmp_path):
    def work():
        with locked(tmp_path, doing="x"):
            done.append(True)

    done = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done
