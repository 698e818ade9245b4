"""Signals are noted, a second one ends at once, and the handlers of before come back."""

import copy
import os
import signal
import threading
import time
from functools import partial

import pytest

from wend.errors import Interrupted
from wend.stop_signals import SIGNALS, end_at_once, handled
from wend.training.interruption import ECHO, Interruption


@pytest.fixture(autouse=True)
def _unchanged():
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_signal_is_noted_and_a_second_one_ends_at_once(number):
    interruption, saves = Interruption(), []
    with interruption.listening():
        interruption.begin_step()
        interruption.end_if_asked(saves.append)
        os.kill(os.getpid(), number)
        assert interruption.is_asked()
        assert interruption.signal == number
        assert not saves
        with pytest.raises(Interrupted) as info:
            interruption.end_if_asked(lambda: saves.append(1))
        assert saves == [1]
        assert info.value.exit_status == 128 + number
        os.kill(os.getpid(), number)  # as timeout(1) sends it: once more, at once
        time.sleep(2 * ECHO)
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), number)
    with interruption.listening():
        assert not interruption.is_asked()  # of another training


def test_signal_ends_what_may_end_at_once():
    interruption, saves = Interruption(), []
    save = partial(saves.append, 1)
    with interruption.listening():
        interruption.begin_step()
        with interruption.at_once(save):
            pass
        assert not saves
        with pytest.raises(Interrupted), interruption.at_once(save):
            os.kill(os.getpid(), signal.SIGTERM)
        assert saves == [1]
        begun: list[bool] = []
        with pytest.raises(Interrupted), interruption.at_once(save):
            begun.append(True)
        assert not begun


def test_signal_ends_the_loading_at_once():
    interruption = Interruption()
    with pytest.raises(Interrupted), interruption.listening():
        os.kill(os.getpid(), signal.SIGTERM)


def test_error_of_a_process_that_the_signal_ended_is_no_error():
    def train():
        with interruption.listening():
            interruption.begin_step()
            os.kill(os.getpid(), signal.SIGTERM)
            raise RuntimeError("DataLoader worker is killed by signal: Terminated")

    interruption = Interruption()
    with pytest.raises(Interrupted):
        train()


def test_several_processes_end_only_when_all_have_agreed(monkeypatch):
    monkeypatch.setattr("wend.training.interruption.world_size", lambda: 2)
    interruption = Interruption()
    with interruption.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # the launcher hands on what the terminal sent
        assert not interruption.is_asked()
        interruption.agree(signal.SIGTERM)
        assert interruption.is_asked()


def test_thread_changes_no_handler():
    seen: list[list] = []

    def train():
        with Interruption().listening():
            seen.append([signal.getsignal(number) for number in SIGNALS])

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert seen == [[signal.getsignal(number) for number in SIGNALS]]


def test_nohup_is_respected(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handled(end_at_once):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_message_says_the_signal_and_what_is_kept():
    assert str(Interrupted(signal.SIGTERM, "saved")) == "interrupted by SIGTERM; saved"
    again = copy.copy(Interrupted(signal.SIGINT))  # by pickle's protocol, as between processes
    assert str(again) == "interrupted by Ctrl-C; every file is either whole or as it was"
    assert isinstance(again, KeyboardInterrupt)
