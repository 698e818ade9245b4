"""Flags that are given twice, abbreviated, or hold what only Python reads as a number."""

import pytest

from wend.cli.parser import MODULES, _make_parser
from wend.cli.strict_parser import StrictParser
from wend.cli.train import make_parser


@pytest.fixture
def parser():
    top = StrictParser(prog="x")
    command = top.add_subparsers(dest="verb").add_parser("go")
    command.add_argument("names", nargs="*")
    command.add_argument("--many", nargs="+", default=["default"], type=int)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--pair", nargs=2, type=float)
    command.add_argument("--switch", action="store_true")
    command.add_argument("--import", dest="imports", action="append", default=[])
    return top


def test_lists_that_come_twice_are_both(parser):
    assert parser.parse_args(["go", "--many", "1", "2", "--many", "3"]).many == [1, 2, 3]
    assert parser.parse_args(["go", "--many", "4"]).many == [4]  # nothing is left of the others
    assert parser.parse_args(["go"]).many == ["default"]
    both = parser.parse_args(["go", "a", "--import", "x", "--switch", "--import", "y", "--switch"])
    assert (both.imports, both.switch, both.names) == (["x", "y"], True, ["a"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed", "1", "--seed", "1"], "argument --seed: is given twice; give it once"),
        (["--seed=0", "--seed=5"], "argument --seed: is given twice"),
        (["--pair", "1", "2", "--pair", "3", "4"], "argument --pair: is given twice"),
        (["--see", "1"], "unrecognized arguments: --see"),
        (["--seed", "4_00"], "argument --seed: expected a whole number such as 400, got '4_00'"),
        (["--seed", "１２"], "expected a whole number"),
        (["--seed", " 5"], "expected a whole number"),
        (["--seed", "1e3"], "expected a whole number"),
        (["--many", "1", "2_0"], "argument --many: expected a whole number"),
        (["--pair", "1", "0_5"], "argument --pair: expected a finite number"),
        (["--pair", "1", "nan"], "argument --pair: expected a finite number"),
    ],
)
def test_what_is_refused(parser, words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["go", *words])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["evaluate", "compare"])
@pytest.mark.parametrize("words", [["--bootstrap-rounds", "100"], ["--seed=3"], ["--seed"]])
def test_flags_of_the_bootstrap_say_that_there_is_none(verb, words, capsys):
    parser = _make_parser(verb)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args([verb, "a", *words])
    assert ended.value.code == 2
    name = words[0].partition("=")[0]
    said = capsys.readouterr().err
    assert f"argument {name}: is gone; intervals and tests are by formula" in said
    with pytest.raises(SystemExit):
        parser.parse_args([verb, "--help"])
    assert name not in capsys.readouterr().out


@pytest.mark.parametrize("verb", [*MODULES, "train"])
def test_every_verb_has_this_parser(verb):
    if verb == "train":
        assert isinstance(make_parser(), StrictParser)
        return
    parser = _make_parser(verb)
    assert all(
        isinstance(command, StrictParser)
        for command in parser._subparsers._group_actions[0].choices.values()
    )


def test_flags_of_a_training_that_come_twice(capsys):
    with pytest.raises(SystemExit):
        make_parser().parse_args(["--config-file", "a", "--num-gpus", "1", "--config-file", "a"])
    assert "argument --config-file: is given twice" in capsys.readouterr().err
