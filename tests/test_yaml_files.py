"""YAML that PyYAML reads without a word, and other YAMLs read otherwise."""

import pytest
import yaml

from wend.errors import InputError, MissingFileError
from wend.yaml_files import parse_yaml, read_yaml


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: 2\na: 3\n",
        "a: 1\nb: 2\n'a': 3\n",
        "x: {a: 1, b: 2, a: 3}\n",
        "- {a: 1,\n   a: 3}\n",
        "x: [{y: {a: 1, a: 2}}]\n",
        "base: &b {a: 1}\nx: {<<: *b, a: 2, a: 3}\n",
    ],
)
def test_a_key_that_stands_twice(text):
    with pytest.raises(InputError, match=r"f\.yaml, line \d: .*the key 'a' stands already in line"):
        parse_yaml(text, "f.yaml", "numbers")


def test_keys_of_different_mappings_and_of_merged_ones_may_be_equal():
    text = "x: &x {a: 1, b: 2}\ny: {<<: *x, a: 3}\n'1': 1\n1: 2\n"
    assert parse_yaml(text, "", "") == {"x": {"a": 1, "b": 2}, "y": {"a": 3, "b": 2}, "1": 1, 1: 2}


@pytest.mark.parametrize(
    "scalar",
    [
        *("4_00", "-1_0", "1_0.5", "0x1_0", "0b11", "1:30", "-12:30:45", "1:30.5", "010", "-07"),
        *("yes", "No", "on", "OFF", "2026-11-26", "2026-11-26 12:00:00"),
    ],
)
def test_a_scalar_that_two_yamls_read_apart(scalar):
    assert not isinstance(yaml.safe_load(f"a: {scalar}")["a"], str)  # as PyYAML would read it
    with pytest.raises(InputError, match=r"f\.yaml, line 2: .* in YAML 1\.1 .*put it in quotes"):
        parse_yaml(f"b: 1\na: [{scalar}]\n", "f.yaml", "values")
    assert parse_yaml(f"a: '{scalar}'", "", "") == {"a": scalar}
    assert parse_yaml(f"a: !!str {scalar}", "", "") == {"a": scalar}


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        *(("400", 400), ("-1.5", -1.5), ("0", 0), ("0x10", 16), ("true", True), ("False", False)),
        *((".5", 0.5), ("1.0e-3", 0.001), ("null", None), ("cub_200_2011", "cub_200_2011")),
        *(("y", "y"), ("n", "n"), ("a:1:30", "a:1:30"), ("1.2.3", "1.2.3"), ("./on", "./on")),
    ],
)
def test_what_all_read_alike_stays(scalar, value):
    assert parse_yaml(f"a: {scalar}", "", "") == {"a": value}


@pytest.mark.parametrize(
    "text", ["a: [", "a: b: c", "a: !!int ''", "---\na: 1\n---\nb: 1\n", "a\0"]
)
def test_no_yaml(text):
    with pytest.raises(InputError, match=r"^f\.yaml.*cannot be read as YAML: .*expected a list"):
        parse_yaml(text, "f.yaml", "a list")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(MissingFileError, match="no such file; expected a list"):
        read_yaml(tmp_path / "x.yaml", "a list")
