"""wend config: an entry's default, values, meaning and source; the configs; the schema."""

import json

import pytest

from wend.cli.parser import main as wend
from wend.config.shipped import config_names

TV = ("--engine", "torchvision")


@pytest.fixture
def config(capsys):
    """Runs ``wend config`` on the torchvision engine; returns what it prints."""

    def run(*words, status=0):
        assert wend(["config", *map(str, words), *TV]) == status
        printed = capsys.readouterr()
        return printed.err if status else printed.out

    return run


def fields(text):
    """The lines of an entry's explanation, by their first word."""
    lines = [line for line in text.splitlines() if line]
    return {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in lines if "  " in line}


def test_an_entry_is_explained(config):
    shown = config("WEND.TAU1")
    assert shown.startswith("WEND.TAU1\nτ1 of eq. (3): samples with p >= τ1 look like foreground")
    assert fields(shown) == {
        "type": "a number, written with a point",
        "values": "in (0, 1)",
        "default": "0.3",
    }
    assert config("tau1") == config("TAU1") == shown


def test_an_entry_of_detectron2s_is_explained(config):
    shown = config("solver.base_lr")
    assert "Learning rate of the backbone" in shown
    assert "default  0.001" in shown


def test_a_table_shows_the_values_as_they_are(config):
    lines = {line.split()[0]: line.split()[1] for line in config("WEND.EMA").splitlines()[2:]}
    assert (lines["WEND.EMA.EVALUATE"], lines["WEND.EMA.DECAY"]) == ("True", "0.0")
    lines = {line.split()[0]: line for line in config("WEND.TEACHER").splitlines()[2:]}
    assert lines["WEND.TEACHER.ENABLED"].split()[1] == "False"


def test_where_an_entry_was_set_is_named_in_the_order_of_the_chain(config, tmp_path):
    (tmp_path / "base.yaml").write_text("WEND: {ETA: 0.5, GAMMA: 2.0}\n")
    run = tmp_path / "run.yaml"
    run.write_text("_BASE_: base.yaml\nWEND: {ETA: 0.25}\n")
    lines = config("WEND.ETA", "--config-file", run, "WEND.ETA", "0.75").splitlines()
    assert lines[-4:] == [
        "value    0.75",
        f"set by   {tmp_path / 'base.yaml'}: 0.5",
        f"set by   {run}: 0.25",
        "set by   command line: 0.75, which holds",
    ]
    lines = config("WEND.GAMMA", "--config-file", run).splitlines()
    assert lines[-2:] == ["value    2.0", f"set by   {tmp_path / 'base.yaml'}: 2.0"]
    lines = config("WEND.ALPHA", "--config-file", run).splitlines()
    assert lines[-2:] == ["value    0.1", "set by   nothing: the default"]


def test_flags_may_stand_before_between_and_after_the_words(config):
    expected = config("SEED", "SEED", "-1", "--config-file", "demo")
    assert "set by   configs/demo.yaml: 0\nset by   command line: -1, which holds" in expected
    assert config("--config-file", "demo", "SEED", "SEED", "-1") == expected
    assert config("SEED", "--config-file", "demo", "SEED", "-1") == expected


def test_a_node_is_a_table_and_a_config_alone_shows_what_it_sets(config):
    rows = config("FCOS").splitlines()
    assert rows[0].split() == ["entry", "default", "values", "meaning"]
    assert all(row.startswith(("WEND.FCOS.", " ")) for row in rows[2:])
    assert "WEND.FCOS.NUM_CLASSES" in config("WEND.FCOS")
    table = config("--config-file", "CUB/fcos_R50_we")
    entries = {row.split()[0] for row in table.splitlines()[2:] if not row.startswith(" ")}
    assert {"WEND.ETA", "SOLVER.BASE_LR", "DATASETS.TRAIN"} <= entries
    assert "WEND.FCOS.NUM_CLASSES" not in entries
    assert "WEND.SCR.LOSS" in config()


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("WEND.GAMA", "WEND.GAMMA"),
        ("GAMA", "WEND.GAMMA"),
        ("base_lrs", "SOLVER.BASE_LR"),
        ("FCSO", "WEND.FCOS"),
        ("WEND.FCOS.NORMS", "WEND.FCOS.NORM"),
    ],
)
def test_the_nearest_name_is_named(config, key, near):
    said = config(key, status=2)
    assert f"no config entry and no node {key.upper()}. Did you mean '{near}'?" in said


def test_what_is_wrong_in_a_config_is_an_error(config, tmp_path):
    assert "Did you mean 'demo'?" in config("SEED", "--config-file", "dmeo", status=2)
    assert "command line: " in config("SEED", "SEED", "x", status=2)


def test_the_configs_are_listed_with_their_first_comment(config):
    rows = config("--list").splitlines()
    assert [row.split()[0] for row in rows] == config_names()
    assert any(row.startswith("demo ") and "make demo" in row for row in rows)


@pytest.mark.usefixtures("own_registries")
def test_own_entries_are_explained_and_in_the_schema_with_their_import(config, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from wend.config import Entry, at_least, config_entries\n"
        "config_entries('MINE', [Entry('WIDTH', 64, 'Width of mine in cells.', at_least(8))])\n"
    )
    run = tmp_path / "run.yaml"
    run.write_text("WEND: {IMPORTS: [./mine.py], MINE: {WIDTH: 16}}\n")
    shown = config("MINE.WIDTH", "--config-file", run)
    assert "Width of mine in cells." in shown
    assert "default  64\nvalue    16\n" in shown
    schema = json.loads(config("--schema", "--import", tmp_path / "mine.py"))
    width = schema["properties"]["WEND"]["properties"]["MINE"]["properties"]["WIDTH"]
    assert (width["type"], width["minimum"], width["default"]) == ("integer", 8, 64)


def test_the_schema_is_written_to_a_file(config, tmp_path):
    path = tmp_path / "ö rt/schema.json"
    assert config("--schema", path) == f"written: {path}\n"
    assert path.read_text("utf-8") == config("--schema")


def test_entries_is_another_name(capsys, config):
    expected = config("SCR")
    assert wend(["entries", "SCR", *TV]) == 0
    assert capsys.readouterr().out == expected
