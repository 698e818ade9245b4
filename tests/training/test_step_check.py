"""When a step's losses are looked at, and what that keeps from happening."""

import math

import pytest
import torch
from torch import nn

from wend.errors import NonFiniteLossError
from wend.training.interruption import Interruption
from wend.training.step_check import StepCheck


@pytest.fixture
def training():
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    check = StepCheck(model, Interruption())
    check.before_steps_of(optimizer)
    return model, optimizer, check


def _terms(model, factor=1.0):
    return {"loss_cls": model.weight.sum(), "loss_box": factor * model.bias.sum()}


def test_no_step_is_taken_of_losses_that_nobody_looked_at(training):
    model, optimizer, check = training
    before = [parameter.clone() for parameter in model.parameters()]
    for ids, factor in (([1, 2], 1.0), ([3], math.nan)):  # two micro-batches of the user's own
        terms = _terms(model, factor)
        check.add(terms, ids, 6)
        sum(terms.values()).backward()
    with pytest.raises(NonFiniteLossError, match="iteration 6: process 0: loss_box is nan on the"):
        optimizer.step()
    assert all(map(torch.equal, before, model.parameters()))


def test_losses_wait_no_longer_than_for_those_of_the_next_step(training):
    model, _, check = training
    check.add(_terms(model, math.inf), [1], 6)
    with pytest.raises(NonFiniteLossError, match=r"iteration 6.*on the images 1;"):
        check.add(_terms(model), [2], 7)


def test_numbers_that_were_looked_at_are_copied_once(training, monkeypatch):
    model, optimizer, check = training
    terms = _terms(model)
    check.add(terms, [1], 0)
    optimizer.step()
    monkeypatch.setattr("wend.training.step_check.on_host", lambda _: pytest.fail("copied again"))
    assert check.numbers(terms) == {name: term.item() for name, term in terms.items()}
