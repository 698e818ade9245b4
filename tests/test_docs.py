"""What the docs name exists: modules and functions, files, links, and the floors of design.md."""

import importlib
import importlib.util
import re
import sys
from types import ModuleType

import pytest
from engine_runs import REPOSITORY

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # of pytest

PATTERNS = ("README.md", "docs/*.md", "datasets/*.md", "projects/**/*.md", "tests/**/*.md")
DOCS = [path for pattern in PATTERNS for path in sorted(REPOSITORY.glob(pattern))]
documented = pytest.mark.parametrize(
    "path", DOCS, ids=[str(path.relative_to(REPOSITORY)) for path in DOCS]
)
FOLDERS = "configs|docs|projects|tests|tools|wend"
HAS_DETECTRON2 = importlib.util.find_spec("detectron2") is not None


def exists(name: str) -> bool:
    """Whether ``wend.a.b`` is a module, or something in one."""
    thing = importlib.import_module("wend")
    for part in name.split(".")[1:]:
        if isinstance(thing, ModuleType) and not hasattr(thing, part):
            try:
                importlib.import_module(f"{thing.__name__}.{part}")
            except ModuleNotFoundError:
                return False
        if not hasattr(thing, part):
            return False
        thing = getattr(thing, part)
    return True


@documented
def test_modules_and_functions_exist(path):
    names = set(re.findall(r"(?<![\w./-])wend(?:\.[A-Za-z_]\w*)+", path.read_text("utf-8")))
    if not HAS_DETECTRON2:
        names = {name for name in names if not name.startswith("wend.d2")}
    assert not {name for name in names if not exists(name)}


@documented
def test_files_and_links_exist(path):
    text = path.read_text("utf-8")
    named = re.findall(rf"(?<![\w./-])((?:{FOLDERS})/[\w./*-]*\w)", text)
    missing = {name for name in named if not list(REPOSITORY.glob(name))}
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text):
        file = path.parent / target if target else path
        if not file.exists() or (anchor and anchor not in anchors(file.read_text("utf-8"))):
            missing.add(f"{target}#{anchor}")
    assert not missing


def anchors(text: str) -> set[str]:
    """GitHub's anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_design_draws_the_floors_that_lint_checks():
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    layers = contracts["tool"]["importlinter"]["contracts"][0]["layers"]
    expected = [set(layer.split(" | ")) for layer in layers]
    rows = re.findall(
        r"^\| (\d+) \| (.*?) \|", (REPOSITORY / "docs/design.md").read_text("utf-8"), re.MULTILINE
    )
    drawn: dict[int, set[str]] = {}
    for floor, rooms in rows:
        names = {name.removesuffix(".py") for name in re.findall(r"`([\w.]+)`", rooms)}
        drawn.setdefault(int(floor), set()).update(names)
    assert [drawn[floor] for floor in sorted(drawn, reverse=True)] == expected
