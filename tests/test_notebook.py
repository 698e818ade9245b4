"""The notebook of the docs runs from its first cell to its last, in an empty folder."""

import nbformat
import pytest
from engine_runs import REPOSITORY
from nbclient import NotebookClient

NOTEBOOKS = sorted((REPOSITORY / "docs/notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_its_detector_finds_what_was_drawn(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, resources=resources).execute()
    assert (tmp_path / "demo/report.html").is_file()
    assert (tmp_path / "out/report.html").is_file()
    assert (tmp_path / "boxes/coco").is_dir()
    assert not any(cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells)


def test_there_is_a_notebook():
    assert NOTEBOOKS
