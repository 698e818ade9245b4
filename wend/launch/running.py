"""A command in its processes, whoever starts them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from wend.launch.group import joined
from wend.launch.processes import Processes
from wend.launch.start import start

Prepared = TypeVar("Prepared")
Result = TypeVar("Result")


def run(
    processes: Processes,
    prepare: Callable[[], Prepared],
    work: Callable[[Prepared], Result],
) -> Result | None:
    """Prepare and work, in as many processes as there are to be.

    Args:
        prepare: reads and checks, and writes nothing. Where this process starts the others it is
            called here alone, and what it returns is pickled.
        work: what each process does; pickled, too.

    Returns:
        What ``work`` returns; None where other processes do it.

    Raises:
        InputError: of ``prepare`` or ``work``, also where only another process has it; or processes
            do not come, or end without a word.
    """
    if processes.starts_them:
        start(processes, prepare(), work)
        return None
    if processes.member is None:
        return work(prepare())
    from wend.processes import agreed

    with joined(processes.member, processes.timeout):
        return work(agreed(prepare))
