"""Where a model runs."""

from __future__ import annotations

import torch

from wend.errors import InputError


def reads_pinned(device: str) -> bool:
    """Whether a device copies pinned memory of the host while the host goes on: a GPU does."""
    return torch.device(device).type == "cuda" and torch.cuda.is_available()


def choose_device(name: str | None, setting: str) -> torch.device:
    """The named device, or where none is named a GPU if there is one, else the CPU.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1`` or another of torch's.
        setting: the option or config entry that names it, for the message.

    Raises:
        InputError: torch knows no such device, or it is not there.
    """
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    try:
        device = torch.device(name or ("cuda" if num_gpus else "cpu"))
        if device.type != "cuda":  # a tensor on a GPU would keep 0.4 GB in a process that only asks
            torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{setting} {name}: cannot be used here ({reason}); try cpu") from error
    if device.type == "cuda" and (device.index or 0) >= num_gpus:
        raise InputError(
            f"{setting} {name}: cannot be used here (there are {num_gpus} GPUs that torch can "
            f"use); try cpu"
        )
    return device
