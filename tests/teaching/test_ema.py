"""The average of weights: decay, buffers, state; against sums by hand, timm's and torch's."""

import copy
import io

import pytest
import torch
from torch import nn

from wend.errors import InputError
from wend.teaching.ema import STATE_KEY, WeightAverage, after_loading


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))


def step(model, seed):
    """A step on a batch of its own; momentum-free, so that the weights are the whole state."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(8, 3, generator=generator)
    model.train()(x).square().mean().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad
            parameter.grad = None


def states(average):
    return [average.model.state_dict(), average.average.state_dict()]


def assert_equal(these, those):
    for a, b in zip(these, those, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_average_of_three_steps_by_hand():
    """Decays with power 1: 1/2, 2/3, 3/4 of the largest 0.7; so 0.5, 0.6667, 0.7."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(8.0)
    average = WeightAverage(model, 0.7, 1.0)
    values = []
    for weight in (0.0, 3.0, 5.0):
        model.weight.data.fill_(weight)
        average.update()
        values.append(average.average.weight.item())
    assert values == pytest.approx([4.0, 4 * 2 / 3 + 1, (4 * 2 / 3 + 1) * 0.7 + 1.5])


def test_power_1_is_the_mean_of_all_weights_as_mean_teachers():
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    average = WeightAverage(model, 0.999, 1.0)
    for weight in (2.0, 6.0, -1.0):
        model.weight.data.fill_(weight)
        average.update()
    assert average.average.weight.item() == pytest.approx((1 + 2 + 6 - 1) / 4)


@pytest.mark.parametrize("power", [2 / 3, 0.75])
def test_the_warm_up_is_timms(power):
    timm = pytest.importorskip("timm.utils.model_ema")
    model = nn.Linear(1, 1)
    theirs = timm.ModelEmaV3(model, decay=0.99, use_warmup=True, warmup_power=power)
    ours = WeightAverage(model, 0.99, power)
    for updates in (1, 2, 10, 100, 10_000):  # timm counts from 1 at the first step with d > 0
        assert ours.decay_at(updates) == theirs.get_decay(updates + 1)
    assert ours.decay_at(10_000) == 0.99


def test_without_warm_up_it_is_torchs_average_of_weights_and_buffers():
    model = network()
    multi = torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    ours = WeightAverage(model, 0.9, 0.0)
    theirs = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=multi, use_buffers=True)
    theirs.n_averaged.fill_(1)  # torch's begins at the first step's weights, ours at the initial
    for seed in range(5):
        step(model, seed)
        ours.update()
        theirs.update_parameters(model)
    for name, value in ours.average.state_dict().items():
        if value.is_floating_point():  # torch's would average the counter
            torch.testing.assert_close(value, theirs.module.state_dict()[name])


def test_buffers_are_averaged_and_counters_copied():
    model = network()
    average = WeightAverage(model, 0.5, 0.0)
    step(model, 0)
    average.update()
    step(model, 1)
    average.update()
    ours, theirs = average.average[1], model[1]
    assert ours.num_batches_tracked == theirs.num_batches_tracked == 2
    assert not torch.equal(ours.running_mean, theirs.running_mean)


def test_the_average_is_no_part_of_the_training():
    model = network()
    average = WeightAverage(model, 0.9)
    assert not average.average.training
    assert not any(parameter.requires_grad for parameter in average.average.parameters())
    before = copy.deepcopy(average.average.state_dict())
    step(model, 0)
    assert_equal([average.average.state_dict()], [before])


@pytest.mark.parametrize("evaluates", [True, False])
@pytest.mark.parametrize("later", [True, False])
def test_a_resumed_average_is_an_uninterrupted_one(evaluates, later):
    """Through a file, in either form, and into a training of either form."""
    whole = WeightAverage(network(), 0.9, evaluates=evaluates)
    for seed in range(6):
        if seed == 3:
            file = io.BytesIO()
            content = {"model": whole.evaluated.state_dict(), STATE_KEY: whole.state_dict()}
            torch.save(content, file)
        step(whole.model, seed)
        whole.update()
    file.seek(0)
    content = torch.load(file, weights_only=True)
    model = network(seed=1)
    resumed = WeightAverage(model, 0.9, evaluates=later)
    model.load_state_dict(content["model"])
    resumed.load_state_dict(content[STATE_KEY])
    after_loading(resumed, {}, resumed=True)
    for seed in range(3, 6):
        step(resumed.model, seed)
        resumed.update()
    assert resumed.updates == whole.updates == 6
    assert_equal(states(resumed), states(whole))


def test_loaded_weights_begin_an_average_of_their_own(caplog):
    model = network()
    average = WeightAverage(model, 0.9)
    average.update()
    model.load_state_dict(network(seed=1).state_dict())
    after_loading(average, {}, resumed=False)
    assert average.updates == 0
    assert_equal(*map(list, zip(states(average), strict=True)))
    assert not caplog.messages
    after_loading(average, {}, resumed=True)
    assert "holds no average" in caplog.text


def test_an_average_that_is_left_out_is_said(caplog):
    average = WeightAverage(network(), 0.9)
    after_loading(None, {STATE_KEY: average.state_dict()}, resumed=True)
    assert "WEND.EMA.DECAY 0 leaves out" in caplog.text
    assert "goes on with its average" in caplog.text


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"updates": 1, "model": "both", "other": {}},
        {"updates": 1, "model": "weights", "other": {"0.weight": torch.zeros(2, 2)}},
        {"updates": 1, "model": "average", "other": 3},
    ],
)
def test_a_state_of_something_else_is_refused(state):
    with pytest.raises(InputError, match=STATE_KEY):
        WeightAverage(network(), 0.9).load_state_dict(state)


def test_tied_weights_are_averaged_once():
    model = torch.nn.Sequential(
        torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    )
    model[1].weight = model[0].weight
    torch.nn.init.constant_(model[0].weight, 0.0)
    average = WeightAverage(model, 0.5, 0.0)
    torch.nn.init.constant_(model[0].weight, 1.0)
    average.update()
    assert average.average[1].weight.item() == 0.5


def test_a_buffer_that_a_module_replaces_is_followed():
    model = torch.nn.Module()
    model.register_buffer("mean", torch.zeros(1))
    model.register_buffer("absent", None)
    average = WeightAverage(model, 0.5, 0.0)
    model.mean = torch.ones(1)
    average.update()
    assert average.average.mean.item() == 0.5
