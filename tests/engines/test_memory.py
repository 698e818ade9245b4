"""A step that does not fit into memory: the micro-batches that are chosen, and what is said."""

import re

import pytest
import torch
from engine_runs import go_on, run
from torch import nn

from wend.errors import InputError
from wend.losses import LocalizationLoss
from wend.training import memory, micro_batches
from wend.training.memory import fits, memory_named

CHOSEN = {"WEND.ACCUMULATE": "0", "WEND.EPOCHS": "1"}
SGD = {"WEND.OPTIMIZER": "SGD"}
OUT = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB."


@pytest.fixture
def room_for(monkeypatch):
    """Let losses of more images than that find no memory."""

    def limit(number):
        start_batch = LocalizationLoss.start_batch

        def limited(loss, images):
            if len(images.image_ids) > number:
                raise torch.OutOfMemoryError(OUT)
            return start_batch(loss, images)

        monkeypatch.setattr(LocalizationLoss, "start_batch", limited)

    return limit


def number_of(folder):
    return int(re.search(r"ACCUMULATE: (\d+)", (folder / "config.yaml").read_text())[1])


def test_the_smallest_number_that_fits_is_chosen_and_written(engine, room_for, tmp_path, capsys):
    room_for(3)  # of 8: 2 micro-batches of 4 do not fit, 4 of 2 do
    assert run(engine, tmp_path / "chosen", detector="scr", changes=CHOSEN) == 0
    said = "".join(capsys.readouterr())
    assert "WEND.ACCUMULATE 0: 4, micro-batches of 2 images fit into the memory of cpu" in said
    assert number_of(tmp_path / "chosen") == 4


@pytest.mark.slow
def test_a_training_is_that_of_the_number_that_was_chosen(engine, room_for, tmp_path):
    """The training is that of the number; a resume takes it though it would be another today."""
    told = {**SGD, **CHOSEN, "WEND.ACCUMULATE": "4"}
    assert run(engine, tmp_path / "told", changes=told) == 0
    room_for(3)  # of 8: 2 micro-batches of 4 do not fit, 4 of 2 do
    assert run(engine, tmp_path / "chosen", changes={**SGD, **CHOSEN}) == 0
    assert number_of(tmp_path / "chosen") == 4
    told, chosen = (
        torch.load(tmp_path / name / "model_final.pth", weights_only=True)
        for name in ("told", "chosen")
    )
    for name, value in told["model"].items():
        assert torch.equal(value, chosen["model"][name]), name
    assert chosen["training"]["first_epoch"] == told["training"]["first_epoch"]
    room_for(1)
    longer = {**SGD, **CHOSEN, "WEND.EPOCHS": "1", "WEND.TEST_BATCH": "2"}
    last = tmp_path / "chosen" / "model_final.pth"
    assert go_on(engine, last, tmp_path / "on", changes=longer) == 0
    assert number_of(tmp_path / "on") == 4


def test_a_trial_leaves_no_trace():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Dropout())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = [torch.rand(3, 4, 4)] * 3
    state = torch.get_rng_state()
    sizes = []

    def losses(batch):
        sizes.append(len(batch))
        return {"loss": model(torch.stack(batch)).sum()}

    cfg = _config()
    micro_batches._step(cfg, model.eval(), losses, batch)
    assert sizes == [3]
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def _config():
    from engine_runs import tv_config

    return tv_config("fcos", CHOSEN)


def _settled(monkeypatch, cfg, largest):
    tried = []

    def losses(batch):
        tried.append(len(batch))
        return {"loss": model.weight.sum()}

    class Selection:
        box_counts = torch.tensor([1, 3, 2]).numpy()

    model = nn.Linear(2, 1)
    monkeypatch.setattr(micro_batches, "largest", largest)
    micro_batches.settle_micro_batches([cfg], model, Selection, ["a", "b", "c"], losses)
    return cfg.WEND.ACCUMULATE, tried


def test_what_fits_one_process_but_not_another_does_not_fit(monkeypatch):
    answers = iter([[1], [1], [0]])
    assert _settled(monkeypatch, _config(), lambda *_: next(answers)) == (4, [8, 4, 2])


def test_where_no_image_fits_the_entry_is_named(monkeypatch):
    with pytest.raises(InputError, match=r"WEND\.ACCUMULATE: not even a training step of one"):
        _settled(monkeypatch, _config(), lambda *_: [1])


def test_a_margin_of_a_gpus_memory_stays_free(monkeypatch):
    free = []
    monkeypatch.setattr(memory, "_let_go", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free.pop(), 1000))
    gpu = torch.device("cuda")
    for left, expected in ((1000 * memory.MARGIN, True), (1000 * memory.MARGIN - 1, False)):
        free.append(left)
        assert fits(lambda: None, gpu) is expected


def _raises(error):
    raise error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(OUT),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["cuda", "python", "cpu"],
)
def test_errors_of_memory_are_told_from_others(error):
    cpu = torch.device("cpu")
    assert not fits(lambda: _raises(error), cpu)
    with pytest.raises(RuntimeError, match="shape"):
        fits(lambda: _raises(RuntimeError("shape")), cpu)
    with pytest.raises(InputError, match=r"^cuda:0: too little memory for a step.*; lower it$"):
        with memory_named("cuda:0", "a step", "lower it"):
            raise error
    with pytest.raises(RuntimeError, match=r"^shape$"), memory_named("cuda:0", "a step", ""):
        raise RuntimeError("shape")


def test_a_step_that_does_not_fit_ends_in_a_line_that_names_the_entries(
    engine, room_for, tmp_path, capsys
):
    room_for(3)
    assert run(engine, tmp_path / "out", changes={"WEND.EPOCHS": "1"}) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "cpu: too little memory for a training step (CUDA out of memory. Tried to" in error
    assert "WEND.ACCUMULATE 0" in error
    assert "Traceback" not in error


def test_an_evaluation_that_does_not_fit_names_its_batch(engine, tmp_path, capsys, monkeypatch):
    forward = nn.Conv2d.forward

    def limited(layer, images):
        if not layer.training:
            raise torch.OutOfMemoryError(OUT)
        return forward(layer, images)

    monkeypatch.setattr(nn.Conv2d, "forward", limited)
    assert run(engine, tmp_path / "out", detector="scr", changes={"WEND.EPOCHS": "1"}) == 2
    assert "lower WEND.TEST_BATCH" in capsys.readouterr().err.splitlines()[-1]
