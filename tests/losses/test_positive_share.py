"""The share of positive samples in the log, on labels counted by hand."""

import torch

from wend.losses import FORCE_EVERY, ForceLog, LocalizationLoss, tell_progress


def steps(name, labels):
    """What the log says after each step of a detector whose samples have these labels."""
    loss = LocalizationLoss(name)
    model = torch.nn.Identity()
    model.localization_loss = loss
    log, said = ForceLog(model, len(labels)), []
    for iteration, each in enumerate(labels):
        tell_progress(model, iteration, len(labels))
        loss.start_batch()
        loss.unsupervised(torch.zeros(len(each), requires_grad=True), labels=torch.tensor(each))
        said.append(log.after_step().get("positive_share"))
    return said


def test_a_period_counts_all_its_batches_and_no_ignored_sample():
    assert FORCE_EVERY == 20
    first, second = [1, 0, 0, 0, -1, -1], [1, 1, 0, 0, -1, -1]
    said = steps("entropy", [first] * 10 + [second] * 10 + [second] * 20)
    # the first batch: 1 of 4; steps 2 to 20: 9 · 1 + 10 · 2 of 19 · 4; the next 20: 2 of 4
    assert {i: value for i, value in enumerate(said) if value is not None} == {
        **{0: 0.25, 19: 29 / 76, 39: 0.5}
    }


def test_it_is_there_without_l_unsup_and_not_without_labels():
    assert steps("none", [[1, 0, 0, 0]])[0] == 0.25
    assert steps("none", [[]]) == [None]
    loss = LocalizationLoss("entropy")
    loss.unsupervised(torch.zeros(3))
    assert loss.positive_share.read() is None
