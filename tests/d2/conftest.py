import pytest
import torch
from engine_runs import kept_logging, run


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """The models are tiny: more threads only wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _toy_datasets(toy_root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))


@pytest.fixture(autouse=True)
def _own_loggers():
    with kept_logging():
        yield


@pytest.fixture(scope="session")
def d2_run(toy_root, tmp_path_factory):
    """OUTPUT_DIR of two epochs of FCOS + WE on Detectron2."""
    output_dir = tmp_path_factory.mktemp("d2") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))
        assert run("detectron2", output_dir) == 0
    return output_dir


@pytest.fixture
def _event_storage():
    """Detectron2's models put scalars into one when they compute losses."""
    from detectron2.utils.events import EventStorage

    with EventStorage():
        yield
