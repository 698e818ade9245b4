import pytest
from bad_data_runs import own_toy  # noqa: F401
from engine_runs import _one_thread, _own_loggers, _toy_datasets, finished_run  # noqa: F401


@pytest.fixture(scope="session")
def d2_run(toy_root, tmp_path_factory):
    """OUTPUT_DIR of two epochs of FCOS + WE on Detectron2."""
    return finished_run("detectron2", toy_root, tmp_path_factory.mktemp("d2") / "run")


@pytest.fixture
def _event_storage():
    """Detectron2's models put scalars into one when they compute losses."""
    from detectron2.utils.events import EventStorage

    with EventStorage():
        yield
