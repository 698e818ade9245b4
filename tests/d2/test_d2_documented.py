"""docs/detectron2.md: its blocks, run one after the other as one script."""

import json
import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.data import DatasetCatalog, MetadataCatalog
from engine_runs import REPOSITORY, d2_config

from wend.datasets.catalog import DataSets
from wend.formats.coco import records_to_coco

pytestmark = pytest.mark.detectron2
DOCS = (REPOSITORY / "docs/detectron2.md").read_text(encoding="utf-8")
SCRIPT = "\n".join(re.findall(r"^```python\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL))


@pytest.fixture
def _folder(tmp_path, monkeypatch):
    """The working directory: a tiny config under the documented name, photographs, a COCO JSON."""
    truth = DataSets().get("toy_train")
    tiny = d2_config("fcos", {"WEND.EPOCHS": "1", "SOLVER.WARMUP_ITERS": "0"})
    tiny.INPUT.MIN_SIZE_TEST = 96  # of Detectron2's own mapper
    config = tmp_path / "configs/CUB/fcos_R50_we.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(tiny.dump())
    images = Path(truth.file_names[0]).parents[1]
    shutil.copytree(images, tmp_path / "photos")
    shutil.copy(truth.file_names[0], tmp_path / "photos/one.jpg")
    (tmp_path / "my_birds.json").write_text(json.dumps(records_to_coco(truth)))
    monkeypatch.chdir(tmp_path)
    yield
    if "my_birds" in DatasetCatalog.list():
        DatasetCatalog.remove("my_birds")
        MetadataCatalog.remove("my_birds")


@pytest.mark.usefixtures("_folder")
def test_the_documented_script():
    names = {}
    exec(compile(SCRIPT, "docs/detectron2.md", "exec"), names)  # noqa: S102  # our own text
    images = len(DataSets().get("toy_train"))
    assert names["ap"]["bbox"]["AP"] >= 0
    assert 0 <= names["scores"]["original"]["gt_known_loc"] <= 100
    assert len(names["instances"]) > 0
    for folder in ("inference/my_birds", "any_model"):
        entry = json.loads((Path("output") / folder / "metrics.json").read_text())
        assert entry["original"]["num_images"] == images
    batch = next(iter(names["trainer"].loader.loader))
    assert all(sample["image"].is_floating_point() for sample in batch)
