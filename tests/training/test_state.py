"""What a checkpoint says of a training beside its weights."""

import pytest

from wend import processes
from wend.training.state import TrainingState


class Count:
    def __init__(self, number=0):
        self.number = number

    def state_dict(self):
        return {"number": self.number}

    def load_state_dict(self, state):
        self.number = int(state["number"])


def as_process(monkeypatch, rank, counts):
    """Let this be one of several processes, which have these counts."""
    monkeypatch.setattr(processes, "rank", lambda: rank)
    monkeypatch.setattr(processes, "world_size", lambda: len(counts))
    monkeypatch.setattr(processes, "gather", lambda _: [{"number": count} for count in counts])


@pytest.fixture
def saved(monkeypatch):
    """What the first of two processes saves."""
    as_process(monkeypatch, 0, [3, 5])
    state = TrainingState({"shared": Count(8)}, {"own": Count(3)})
    state.exchange()
    return state.state_dict()


def test_each_process_goes_on_with_its_own(saved, monkeypatch):
    for rank, number in enumerate((3, 5)):
        as_process(monkeypatch, rank, [0, 0])
        shared, own = Count(), Count()
        TrainingState({"shared": shared}, {"own": own}).load_state_dict(saved)
        assert (shared.number, own.number) == (8, number)


def test_a_process_that_there_was_not_begins_anew(saved, monkeypatch):
    as_process(monkeypatch, 2, [0, 0, 0])
    shared, own = Count(), Count()
    TrainingState({"shared": shared}, {"own": own}).load_state_dict(saved)
    assert (shared.number, own.number) == (8, 0)
