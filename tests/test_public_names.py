"""``wend.load`` and the other names of the package itself: there, typed, and imported late."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import wend


def test_the_stub_has_the_same_names_from_the_same_modules():
    stub = Path(wend.__file__).with_suffix(".pyi").read_text()
    imported = {
        alias.asname: f"{node.module}:{alias.name}"
        for node in ast.parse(stub).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == wend.PUBLIC


@pytest.mark.parametrize("name", sorted(wend.PUBLIC))
def test_a_name_is_what_its_module_has(name):
    module, _, attribute = wend.PUBLIC[name].partition(":")
    value = getattr(wend, name)
    assert value is getattr(sys.modules[module], attribute)
    assert value.__doc__
    assert name in dir(wend)


def test_importing_the_package_imports_no_library():
    code = "import sys; before = set(sys.modules); import wend; print(set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    loaded = ast.literal_eval(done.stdout)
    assert "wend" in loaded
    assert not loaded & {"numpy", "torch", "PIL", "yaml", "wend.errors"}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'wend' has no attribute 'lod'"):
        _ = wend.lod
