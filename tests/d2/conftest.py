import pytest
from engine_runs import _hung_workers, _one_thread, _own_loggers, _toy_datasets  # noqa: F401


@pytest.fixture
def _event_storage():
    """Detectron2's models put scalars into one when they compute losses."""
    from detectron2.utils.events import EventStorage

    with EventStorage():
        yield
