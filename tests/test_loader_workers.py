"""A loader whose processes lack memory ends with a line; signals of a group are not for them."""

import os
import signal

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from wend.errors import InputError
from wend.loader_workers import begin_worker, told_of_memory


class Groups(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return os.getpgid(0), os.getpid()


class Unsendable(Groups):
    def __getitem__(self, index):
        return lambda: None  # cannot be pickled, as a tensor without shared memory


def test_workers_leave_the_group():
    loader = DataLoader(Groups(), num_workers=1, collate_fn=list, worker_init_fn=begin_worker)
    pairs = [pair for batch in loader for pair in batch]
    assert all(group == pid != os.getpgid(0) for group, pid in pairs)


def test_a_batch_that_cannot_be_handed_on_ends_the_loader():
    loader = DataLoader(Unsendable(), num_workers=1, collate_fn=list, worker_init_fn=begin_worker)
    with pytest.raises(InputError, match=r"^--num-workers: a process .* ended .*Set --num-workers"):
        with told_of_memory("--num-workers"):
            list(loader)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGBUS"])
def test_a_process_that_the_system_ends_is_told(name):
    class Ended(Groups):
        def __getitem__(self, index):
            os.kill(os.getpid(), getattr(signal, name))

    loader = DataLoader(Ended(), num_workers=1, collate_fn=list)
    with pytest.raises(InputError, match="is killed by signal"), told_of_memory("X"):
        list(loader)


def test_other_errors_stay():
    with pytest.raises(RuntimeError, match="mat1"), told_of_memory("X"):
        torch.zeros(2, 3) @ torch.zeros(2, 3)
