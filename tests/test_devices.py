"""wend.devices: one choice, one message."""

import pytest
import torch

from wend.devices import choose_device
from wend.errors import InputError


@pytest.fixture
def gpus(monkeypatch):
    """Sets how many GPUs torch sees."""

    def see(number):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)

    return see


def test_without_a_name_it_is_a_gpu_if_there_is_one(gpus):
    gpus(0)
    assert choose_device(None, "--device") == torch.device("cpu")
    gpus(2)
    assert choose_device(None, "--device") == torch.device("cuda")
    assert choose_device("cpu", "--device") == torch.device("cpu")
    assert choose_device("cuda:1", "--device") == torch.device("cuda", 1)


@pytest.mark.parametrize(
    ("name", "number", "reason"),
    [
        ("nonsense", 0, "nonsense"),
        ("cuda", 0, "there are 0 GPUs"),
        ("cuda:2", 2, "there are 2 GPUs"),
        ("mps", 0, ""),
    ],
)
def test_a_device_that_is_not_there_is_an_error_that_names_the_setting(gpus, name, number, reason):
    gpus(number)
    with pytest.raises(
        InputError, match=rf"^--device {name}: cannot be used here \(.*{reason}.*\); try cpu$"
    ):
        choose_device(name, "--device")
