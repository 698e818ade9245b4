import importlib.util

import pytest
from engine_runs import _one_thread, _own_loggers, _toy_datasets  # noqa: F401
from engines import ENGINES


@pytest.fixture(params=ENGINES)
def engine(request):
    """Each engine that is installed."""
    if request.param == "detectron2" and importlib.util.find_spec("detectron2") is None:
        pytest.skip("Detectron2 is not installed")
    return request.param
