"""One launcher from a laptop to a cluster: how a command runs in its processes.

It runs alone, as one of those that torchrun or srun started (:mod:`wend.launchers`), or starts them
itself. A command says what is prepared (its input read and checked, nothing written) and what is
done with it. Alone it does both; members of a group each prepare, once they have met, and go on
when all can; ``--num-gpus`` prepares once and hands on what was read.
"""

from wend.launch.group import is_lost, joined
from wend.launch.processes import TIMEOUT, Processes, check_devices, settle
from wend.launch.restarts import go_on_if_restarted, note_start
from wend.launch.running import run

__all__ = [
    "TIMEOUT",
    "Processes",
    "check_devices",
    "go_on_if_restarted",
    "is_lost",
    "joined",
    "note_start",
    "run",
    "settle",
]
