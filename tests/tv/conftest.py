import pytest
from bad_data_runs import own_toy  # noqa: F401
from engine_runs import _one_thread, _own_loggers, _toy_datasets, finished_run  # noqa: F401


@pytest.fixture(scope="session")
def tv_run(toy_root, tmp_path_factory):
    """OUTPUT_DIR of two epochs of FCOS + WE on torchvision."""
    return finished_run("torchvision", toy_root, tmp_path_factory.mktemp("tv") / "run")
