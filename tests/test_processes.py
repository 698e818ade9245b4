"""wend.processes: one process is the identity; two hear of each other."""

import pytest
import torch
from torch import distributed as dist
from two_processes import in_two_processes

from wend import processes


def test_a_single_process_is_the_main_one_and_everything_is_the_identity():
    value = torch.tensor([3, 5])
    assert (processes.world_size(), processes.rank(), processes.is_main()) == (1, 0, True)
    assert processes.gather("a") == ["a"]
    assert processes.mean(value) is value
    processes.wait_for_all()


def _work(index, folder):
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", rank=index, world_size=2)
    given = torch.tensor([index, 10])
    answers = {
        "rank": processes.rank(),
        "size": processes.world_size(),
        "main": processes.is_main(),
        "gathered": processes.gather({"rank": index}),
        "mean": processes.mean(given).tolist(),
        "given": given.tolist(),
    }
    processes.wait_for_all()
    torch.save(answers, f"{folder}/{index}.pt")
    dist.destroy_process_group()


@pytest.mark.early
def test_two_processes_hear_of_each_other(tmp_path):
    in_two_processes(_work, str(tmp_path))
    for index in range(2):
        answers = torch.load(tmp_path / f"{index}.pt", weights_only=True)
        assert answers == {
            "rank": index,
            "size": 2,
            "main": index == 0,
            "gathered": [{"rank": 0}, {"rank": 1}],
            "mean": [0.5, 10.0],  # (0 + 1) / 2, (10 + 10) / 2
            "given": [index, 10],
        }
