"""The golden record's compare.py lets pass what is accepted, and nothing else."""

import importlib
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image, ImageDraw

GOLDEN = Path(__file__).parent / "golden"
RULES = [
    {"reason": "an entry", "files": ["*config.yaml"], "added": ["  METRICS: \\[\\]"]},
    {"reason": "words", "files": ["joins/*"], "replace": {"boxes an image ": "boxes per image"}},
    {"reason": "rows", "files": ["*report.md"], "table": 2},
    {"reason": "lines", "files": ["*.png"], "pixels": {"from_row": 10, "share": 0.001}},
    {"reason": "a detector", "files": ["losses/detr_*"], "only_in_b": True},
]
ROW = "| detector | original | 58.33 | 66.67 |"
ROWS = "| detector | original | GT-known | 1 | {} |\n| detector | original | multi | 5 | 66.67 |"


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """Compares one file of two records; whether it passes. A content of None: there is no file."""
    monkeypatch.syspath_prepend(str(GOLDEN))
    module = importlib.import_module("compare")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    accepted = [module.Accepted(**rule) for rule in RULES]

    def passes(name, a, b):
        for folder, content in (("a", a), ("b", b)):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                path.write_text(content)
            elif content is not None:
                content.save(path)
        return not module.compare(tmp_path / "a", tmp_path / "b", (), accepted, 1, True)

    return passes


@pytest.mark.parametrize(
    ("name", "before", "after", "passes"),
    [
        ("config.yaml", "WEND:\n  ETA: 1.0", "WEND:\n  ETA: 1.0\n  METRICS: []", True),
        ("config.yaml", "WEND:\n  ETA: 1.0", "WEND:\n  ETA: 2.0\n  METRICS: []", False),
        ("config.yaml", "WEND:\n  ETA: 1.0", "WEND:\n  ETA: 1.0\n  METRICS: [x]", False),
        ("weights.json", "1", "1\n  METRICS: []", False),
        ("joins/csv.json", "boxes an image   0.38", "boxes per image  0.38", True),
        ("joins/csv.json", "boxes an image   0.38", "boxes per image  0.39", False),
        ("run/report.md", ROW, ROWS.format("58.33"), True),
        ("run/report.md", ROW, ROWS.format("58.34"), False),
        ("run/report.md", f"{ROW}\nper cent", f"{ROWS.format('58.33')}\nper mille", False),
        ("losses/detr_none.json", None, "1", True),
        ("losses/fcos_none.json", None, "1", False),
        ("losses/detr_none.json", "1", None, False),
    ],
)
def test_texts(compare, name, before, after, passes):
    assert compare(name, before, after) == passes


@pytest.mark.parametrize(
    ("color", "box", "size", "passes"),
    [
        ((60, 60, 60), (20, 20, 80, 80), (100, 100), True),  # a softer edge
        ((255, 0, 0), (20, 20, 80, 80), (100, 100), False),  # another box
        ((255, 0, 0), (20, 2, 80, 8), (100, 100), True),  # in the legend
        ((60, 60, 60), (20, 20, 80, 80), (100, 90), False),
    ],
)
def test_pictures(compare, color, box, size, passes):
    before, after = Image.new("RGB", (100, 100)), Image.new("RGB", size)
    ImageDraw.Draw(after).rectangle(box, outline=color)
    assert compare("samples.png", before, after) == passes


def test_accepted_differences_can_be_read(monkeypatch):
    monkeypatch.syspath_prepend(str(GOLDEN))
    accepted = importlib.import_module("compare").Accepted
    for rule in yaml.safe_load((GOLDEN / "accepted.yaml").read_text()):
        read = accepted(**rule)
        for pattern in (*read.replace, *read.added):
            re.compile(pattern)
