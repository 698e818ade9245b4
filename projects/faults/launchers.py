"""Several processes: torchrun, Slurm's environment, a rank that dies, a rank that never comes."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from cases import STEPS, Case
from comparing import differences
from kills import SAME, References, last_line
from outcomes import Outcome
from running import Ended, Machine, Started

ENDS = (
    180  # seconds in which ranks that have lost another one must end, on a machine that others use
)
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port")


def free_port() -> str:
    """A port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def launchers(
    machine: Machine, references: References, cases: list[Case], *, short: bool
) -> Iterator[Outcome]:
    """Trainings of two processes, started in every way, and what befalls them; none if short."""
    if short:
        return
    engines = {case.engine: case for case in reversed(cases) if case.detector == "fcos"}
    engines = engines or {cases[0].engine: cases[0]}
    for single in engines.values():
        pair = Case(single.engine, single.detector, 2)
        reference, _ = references.of(pair)
        test = _Launchers(machine, pair, Case(single.engine, single.detector), reference)
        yield test.torchrun()
        yield from test.rank_killed()
        yield test.torchrun_terminated()
        yield test.slurm_tasks()
        yield test.slurm_batch(references)
        yield from test.never_comes()
        yield from test.unfitting()


class _Launchers:
    def __init__(self, machine: Machine, pair: Case, single: Case, reference: Path) -> None:
        self.machine, self.pair, self.single = machine, pair, single
        self.reference = reference
        self.place = machine.work / "launchers" / reference.name

    def _outcome(
        self, fault: str, moment: str, expected: str, problems: list[str], said: str = "the same",
        lost: int | None = None,
    ) -> Outcome:  # fmt: skip
        outcome = "; ".join(problems) or said
        return Outcome(
            "launch", fault, str(self.pair), moment, expected, outcome, lost, kept=not problems
        )

    def _torchrun(self, folder: Path, *flags: str, **options: object) -> Started:
        words = [free_port(), "-m", "wend", *self.single.arguments(folder, *flags)]
        return self.machine.start(words, folder=folder, python=TORCHRUN, **options)  # type: ignore[arg-type]

    def torchrun(self) -> Outcome:
        """``torchrun -m wend train``: one training of two processes."""
        folder = self.place / "torchrun"
        ended = self._torchrun(folder).wait()
        problems = [] if ended.status == 0 else [_words(ended)]
        problems += differences(folder, self.reference)
        return self._outcome("torchrun, 2 processes", "", "as --num-gpus 2", problems)

    def rank_killed(self) -> Iterator[Outcome]:
        """SIGKILL of one of two ranks; the other ends, and the run goes on."""
        for number, (role, launcher) in enumerate(
            [("rank1", "--num-gpus"), ("rank0", "--num-gpus"), ("rank1", "torchrun"),
             ("rank0", "torchrun")]
        ):  # fmt: skip
            folder = self.place / f"rank-{number}"
            steps = self.machine.random.randrange(8, STEPS - 2)
            at = {"kind": "step", "number": steps, "role": role, "whom": "self"}
            if launcher == "torchrun":
                first = self._torchrun(folder, at=at).wait()
            else:
                first = self.machine.run(self.pair.arguments(folder), folder=folder, at=at)
            problems = []
            if first.status in (0, None):
                problems.append(f"after its loss: {first.said()}")
            if first.seconds > ENDS:
                problems.append(f"took {first.seconds:.0f} s to end")
            if first.left:
                problems.append(f"{first.left} processes left")
            if launcher != "torchrun" and first.traceback:
                problems.append("traceback")
            yield self._gone_on(
                f"SIGKILL of {role}, {launcher}",
                f"in step {steps}; ended in {first.seconds:.0f} s",
                folder,
                first,
                problems,
            )

    def _gone_on(
        self, fault: str, moment: str, folder: Path, first: Ended, problems: list[str]
    ) -> Outcome:
        second = self.machine.run(self.pair.arguments(folder, "--resume"), folder=folder)
        if second.status != 0:
            problems.append(f"resuming: {_words(second)}")
        problems += differences(folder, self.reference)
        lost = first.steps + second.steps - STEPS
        return self._outcome(fault, moment, SAME, problems, lost=lost)

    def torchrun_terminated(self) -> Outcome:
        """SIGTERM of torchrun, as a scheduler sends it."""
        folder = self.place / "terminated"
        running = self._torchrun(folder)
        running.wait_until(lambda: running.steps() >= 9)
        running.signal(15, group=False)
        first = running.wait()
        problems = []
        if first.left:
            problems.append(f"{first.left} processes left")
        if first.status in (0, None) and first.steps < STEPS:
            problems.append(first.said())
        outcome = self._gone_on("SIGTERM of torchrun", "in a step", folder, first, problems)
        return outcome

    def slurm_tasks(self) -> Outcome:
        """Two tasks with the environment that srun gives."""
        folder, port = self.place / "slurm", free_port()
        running = []
        for task in range(2):
            environment = {
                "SLURM_JOB_ID": "7",
                "SLURM_STEP_ID": "0",
                "SLURM_NTASKS": "2",
                "SLURM_STEP_NUM_TASKS": "2",
                "SLURM_STEP_TASKS_PER_NODE": "2",
                "SLURM_STEP_NUM_NODES": "1",
                "SLURM_NNODES": "1",
                "SLURM_NODEID": "0",
                "SLURM_STEP_NODELIST": "localhost",
                "SLURM_NODELIST": "localhost",
                "SLURM_PROCID": str(task),
                "SLURM_LOCALID": str(task),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            }
            words = self.single.arguments(folder)
            running.append(self.machine.start(words, folder=folder, environment=environment))
        ends = [each.wait() for each in running]
        problems = [_words(end) for end in ends if end.status != 0]
        problems += differences(folder, self.reference)
        return self._outcome("srun, 2 tasks", "", "as --num-gpus 2", problems)

    def slurm_batch(self, references: References) -> Outcome:
        """A batch script of an allocation of two tasks, without srun: one process."""
        folder = self.place / "batch"
        environment = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}
        environment |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NODELIST": "localhost"}
        words = self.single.arguments(folder)
        ended = self.machine.run(words, folder=folder, environment=environment)
        reference, _ = references.of(self.single)
        problems = [] if ended.status == 0 else [_words(ended)]
        problems += differences(folder, reference)
        return self._outcome("sbatch without srun", "", "as one process", problems)

    def never_comes(self) -> Iterator[Outcome]:
        """One of two ranks is not started."""
        for rank in ("0", "1"):
            folder = self.place / f"alone-{rank}"
            environment = _environment(rank, "2")
            words = self.single.arguments(folder, "--dist-timeout", "0.1")
            ended = self.machine.run(words, folder=folder, environment=environment, limit=90)
            problems = []
            if ended.status in (0, None):
                problems.append(ended.said())
            if ended.traceback or not ended.error:
                problems.append(f"no line that says why: {last_line(ended)}")
            yield self._outcome(
                f"rank {rank} alone of 2, --dist-timeout 0.1", f"after {ended.seconds:.0f} s",
                "ends in time, one line", problems, _words(ended),
            )  # fmt: skip

    def unfitting(self) -> Iterator[Outcome]:
        """Environments that contradict themselves or the arguments."""
        for name, environment, flags in (
            ("RANK 2 of WORLD_SIZE 2", _environment("2", "2"), ()),
            ("WORLD_SIZE 2 without RANK", {"WORLD_SIZE": "2"}, ()),
            ("RANK=x", _environment("x", "2"), ()),
            ("torchrun and --num-gpus 2", _environment("0", "2"), ("--num-gpus", "2")),
        ):  # fmt: skip
            folder = self.place / f"unfitting-{len(name)}"
            words = self.single.arguments(folder, *flags)
            ended = self.machine.run(words, folder=folder, environment=environment, limit=90)
            refused = ended.status == 2 and ended.error and not ended.traceback
            problems = [] if refused else [f"not refused: {_words(ended)}"]
            yield self._outcome(name, "", "refused in one line", problems, _words(ended))
            shutil.rmtree(folder, ignore_errors=True)


def _environment(rank: str, world_size: str) -> dict[str, str]:
    return {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": world_size,
        "LOCAL_WORLD_SIZE": world_size,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
    }


def _words(ended: Ended) -> str:
    return f"{ended.said()}: {ended.error or last_line(ended)}"
