"""Images that several formats are read beside."""

import pytest
from PIL import Image

NAMES = ["wren/ä b.jpg", "gull/a.png", "wren/a.png"]


@pytest.fixture
def root(tmp_path):
    """A folder with three images, 20, 21 and 22 pixels wide and 10 high."""
    for number, name in enumerate(NAMES):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + number, 10)).save(tmp_path / "images" / name)
    return tmp_path / "images"
