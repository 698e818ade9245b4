"""wend.launchers: who this process is, by the variables that launchers set."""

import pytest

from wend.errors import InputError
from wend.launchers import first_host, member

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29501",
}
# As Slurm 23's srun sets them for 3 tasks on two nodes (man srun, OUTPUT ENVIRONMENT VARIABLES)
SRUN = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_NTASKS": "3",
    "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_STEP_TASKS_PER_NODE": "2,1",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_NODELIST": "gpu[07-08]",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
    "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1",
}


def test_torchrun():
    this = member(TORCHRUN)
    assert (this.launcher, this.rank, this.world_size) == ("torchrun", 3, 4)
    assert (this.local_rank, this.local_size, this.url) == (1, 2, "tcp://node0:29501")
    assert not this.is_served
    served = member({**TORCHRUN, "TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert served.is_served


def test_srun():
    this = member(SRUN)
    assert (this.launcher, this.rank, this.world_size) == ("srun", 2, 3)
    assert (this.local_rank, this.local_size) == (0, 1)
    # rank 0 is on the first node of the step; srun itself may run elsewhere
    assert this.url == f"tcp://gpu07:{20000 + 4711 * 31 % 12000}"
    chosen = member({**SRUN, "MASTER_ADDR": "10.1.1.1", "MASTER_PORT": "1234"})
    assert chosen.url == "tcp://10.1.1.1:1234"


def test_srun_with_the_least_that_it_can_say():
    least = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"}
    this = member({**least, "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1"})
    assert (this.rank, this.local_rank, this.local_size) == (1, 1, None)
    assert this.url == "tcp://127.0.0.1:29500"


@pytest.mark.parametrize(
    ("variables", "own"),
    [
        ({"SLURM_GPUS_PER_TASK": "1"}, True),
        ({"SLURM_TRES_PER_TASK": "cpu=8,gres/gpu=1"}, True),
        ({"SLURM_GPUS_PER_TASK": "a100:1"}, True),
        ({"SLURM_GPUS_PER_TASK": "2"}, False),
        ({"SLURM_TRES_PER_TASK": "cpu=1"}, False),
        ({}, False),
    ],
)
def test_a_task_that_sees_its_own_gpu_alone(variables, own):
    assert member({**SRUN, **variables}).has_own_gpu is own


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WORLD_SIZE": "1"},
        {"WORLD_SIZE": ""},
        # a batch script, an salloc shell, a task of an array
        {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
        {"SLURM_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8"},
        {**SRUN, "SLURM_STEP_NUM_TASKS": "1"},
        {"OMPI_COMM_WORLD_SIZE": "1", "PMI_SIZE": "1"},
    ],
)
def test_a_single_process(environment):
    assert member(environment) is None


def test_torchrun_started_by_srun_counts():
    one_per_node = {**SRUN, "SLURM_STEP_NUM_TASKS": "2"}
    assert member({**one_per_node, **TORCHRUN}).launcher == "torchrun"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 but no RANK"),
        ({"RANK": "0"}, "RANK=0 but no WORLD_SIZE"),
        ({**TORCHRUN, "LOCAL_RANK": ""}, "but no LOCAL_RANK"),
        ({**TORCHRUN, "MASTER_PORT": ""}, "but no MASTER_PORT"),
        ({**TORCHRUN, "RANK": "four"}, "RANK: expected a whole number from 0 to 3, got 'four'"),
        ({**TORCHRUN, "RANK": "4"}, "RANK: expected a whole number from 0 to 3, got '4'"),
        ({**TORCHRUN, "RANK": "-1"}, "RANK: expected a whole number from 0 to 3, got '-1'"),
        ({**TORCHRUN, "WORLD_SIZE": "2.0"}, "WORLD_SIZE: expected a whole number from 0"),
        ({**TORCHRUN, "WORLD_SIZE": "0"}, "WORLD_SIZE: expected a whole number from 1"),
        ({**TORCHRUN, "LOCAL_RANK": "2"}, "LOCAL_RANK: expected a whole number from 0 to 1"),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "8"}, "LOCAL_WORLD_SIZE: expected a whole number from 1"),
        ({**TORCHRUN, "MASTER_PORT": "99999"}, "MASTER_PORT: expected a whole number from 0 to"),
        ({**SRUN, "SLURM_PROCID": "3"}, "SLURM_PROCID: expected a whole number from 0 to 2"),
        ({**SRUN, "SLURM_LOCALID": ""}, "SLURM_STEP_NUM_TASKS=3 but no SLURM_LOCALID"),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, "OMPI_COMM_WORLD_SIZE is '4': MPI started several"),
        ({"PMI_SIZE": "2"}, "PMI_SIZE is '2': MPI started several processes"),
    ],
)
def test_variables_that_do_not_fit_are_refused(environment, said):
    with pytest.raises(InputError) as caught:
        member(environment)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node7", "node7"),
        ("a,b,c", "a"),
        ("gpu[007-010,12],login1", "gpu007"),
        ("gpu[3,5-6]", "gpu3"),
        ("rack[1-2]n[04-05]-ib", "rack1n04-ib"),
    ],
)
def test_the_first_host_of_a_list(nodes, first):
    assert first_host(nodes) == first
