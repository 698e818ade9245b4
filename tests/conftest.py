"""Fixtures of all tests, and the line that says whether Detectron2's tests ran."""

import gc
import importlib.util
import logging
from contextlib import ExitStack
from pathlib import Path

import pytest
from layouts import write_c2am, write_cub  # noqa: F401

SHARED = Path(__file__).resolve().parents[2] / "shared"
HAS_DETECTRON2 = importlib.util.find_spec("detectron2") is not None


@pytest.fixture(scope="session")
def shared():
    """The reference data beside the repository; not committed."""
    if not SHARED.is_dir():
        pytest.skip("the folder shared/ with the reference data is not beside the repository")
    return SHARED


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory):
    """A tiny toy set; with DETECTRON2_DATASETS at its parent it is toy_train_c2am and toy_test."""
    from wend.datasets.toy import ToyConfig, write_toy

    root = tmp_path_factory.mktemp("datasets") / "toy"
    write_toy(root, ToyConfig(num_train=24, num_test=12, num_classes=6, image_size=(48, 72)))
    return root


@pytest.fixture
def register():
    """``register_records`` for the time of a test."""
    from wend.datasets.catalog import REGISTERED, register_records

    with REGISTERED.temporary():
        yield register_records


@pytest.fixture(autouse=True)
def _no_leaked_state(monkeypatch):
    """Each test starts without DETECTRON2_DATASETS and with loggers that caplog sees."""
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    yield
    for name in ("wend", "fvcore.common.checkpoint", "fvcore", "detectron2"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


@pytest.fixture
def own_registries(monkeypatch):
    """What a test registers, or a file that it imports, is forgotten at its end."""
    from wend.config.entries import NODES
    from wend.datasets.catalog import REGISTERED
    from wend.evaluation.metrics import METRICS
    from wend.event_sinks import EVENT_SINKS
    from wend.label_files import WRITERS
    from wend.losses import CLASSIFICATION_LOSSES, IMAGE_WEIGHTS, LOSSES, SAMPLE_WEIGHTS
    from wend.modeling.backbones.build import BODIES
    from wend.modeling.detectors import DETECTORS
    from wend.pseudo_boxes import SOURCES
    from wend.schedules import SCHEDULES
    from wend.teaching.refine import REFINEMENTS
    from wend.tv import META_ARCH_REGISTRY

    with ExitStack() as stack:
        ours = (LOSSES, SCHEDULES, NODES, SOURCES, BODIES, DETECTORS, METRICS, WRITERS, EVENT_SINKS)
        weights = (CLASSIFICATION_LOSSES, SAMPLE_WEIGHTS, IMAGE_WEIGHTS)
        for registry in (*ours, *weights, REFINEMENTS, REGISTERED, META_ARCH_REGISTRY):
            stack.enter_context(registry.temporary())
        if HAS_DETECTRON2:
            import detectron2.modeling as theirs

            import wend.d2  # noqa: F401  (registers what is to stay)

            for registry in (theirs.META_ARCH_REGISTRY, theirs.BACKBONE_REGISTRY):
                monkeypatch.setattr(registry, "_obj_map", dict(registry._obj_map))
        yield


@pytest.fixture
def undrawn_figures(monkeypatch):
    """Figures of a report are made but not drawn, which takes seconds: for tests of the rest."""
    from matplotlib.figure import Figure

    def savefig(figure, file, *, format, **_):
        file.write("<svg></svg>" if format == "svg" else b"")

    monkeypatch.setattr(Figure, "savefig", savefig)


@pytest.fixture(params=["detectron2", "torchvision"])
def engine(request):
    """Each engine; :func:`pytest_collection_modifyitems` skips the one that is not installed."""
    return request.param


@pytest.fixture(scope="session")
def finished(toy_root, tmp_path_factory):
    """Engine and detector -> OUTPUT_DIR of a run of two epochs on two test sets; made once."""
    from engine_runs import TWO_TESTS, run

    made = {}

    def make(engine, detector="fcos"):
        if (engine, detector) not in made:
            folder = tmp_path_factory.mktemp("finished") / "run"
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))
                assert run(engine, folder, detector=detector, changes=TWO_TESTS) == 0
            made[engine, detector] = folder
        return made[engine, detector]

    return make


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Look for no garbage while thousands of tests are made, nor among them afterwards."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items):
    """A test whose parameter ``engine`` is Detectron2 needs it, as one that is marked so does.

    Those that are marked early come first: none of several workers waits for one at the end.
    """
    items.sort(key=lambda item: item.get_closest_marker("early") is None)
    skip = pytest.mark.skip(reason="Detectron2 is not installed")
    for item in items:
        callspec = getattr(item, "callspec", None)
        on_it = callspec is not None and callspec.params.get("engine") == "detectron2"
        if on_it:
            item.add_marker("detectron2")
        if not HAS_DETECTRON2 and item.get_closest_marker("detectron2"):
            item.add_marker(skip)


def pytest_terminal_summary(terminalreporter):
    """Say how many of Detectron2's tests ran or skipped."""
    stats = terminalreporter.stats
    if HAS_DETECTRON2:
        ended = stats.get("passed", []) + stats.get("failed", [])
        ran = sum("detectron2" in report.keywords for report in ended)
        terminalreporter.write_line(f"Detectron2 is installed: {ran} tests that need it ran")
        return
    skipped = [report for report in stats.get("skipped", []) if "etectron2" in str(report.longrepr)]
    tests = sum(isinstance(report, pytest.TestReport) for report in skipped)
    # Each of several worker processes reports the files that it did not collect.
    files = {report.nodeid for report in skipped if isinstance(report, pytest.CollectReport)}
    terminalreporter.write_line(
        f"Detectron2 is not installed: {len(files)} whole test files and {tests} further tests "
        f"skipped"
    )
