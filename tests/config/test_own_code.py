"""WEND.IMPORTS and --import: the user's modules, and the config entries that they bring."""

import re

import pytest
from fvcore.common.config import CfgNode

from wend.cli.parser import main as wend
from wend.config import Entry, at_least, check_config, config_entries, localization_loss
from wend.config.reading import merge_config
from wend.errors import InputError, MissingFileError
from wend.tv.config import get_cfg
from wend.user_code import UserCodeError

pytestmark = pytest.mark.usefixtures("own_registries")

MINE = """
from wend.config import Entry, at_least, config_entries
from wend.losses import unsupervised_loss
from wend.schedules import schedule

config_entries("MINE", [Entry("WIDTH", 64, "Width of mine in cells.", at_least(8))])


@unsupervised_loss("wide", node="MINE")
def wide(context, *, width, gamma=1.0):
    return context.logits.sum() * width * gamma


@schedule("half", node="MINE")
def half(progress, start, end, *, width):
    return width / 2


def plain(context, *, gamma):
    return context.logits.sum() * gamma
"""


def merge(config_file="", *opts, imports=()):
    cfg = get_cfg()
    merge_config(cfg, str(config_file), opts, "Ask the manual", imports)
    return cfg


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory, beside it ``code/mine.py``."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code/mine.py").write_text(MINE)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def test_entries_of_a_yamls_own_module_are_known_checked_and_given_to_the_loss(folder):
    run = folder / "code/run.yaml"
    text = "WEND: {IMPORTS: [./mine.py], LOSS: wide, ETA_SCHEDULE: half, MINE: {WIDTH: %s}}\n"
    run.write_text(text % 16)
    cfg = merge(run)
    assert cfg.WEND.MINE.WIDTH == 16
    assert cfg.WEND.IMPORTS == (str(folder / "code/mine.py"),)
    loss = localization_loss(cfg)
    assert loss.parameters == {"width": 16}  # gamma is no entry of MINE and keeps its default
    assert (loss.eta.parameters, loss.eta.at(loss.progress)) == ({"width": 16}, 8)
    run.write_text(text % 7)
    with pytest.raises(InputError, match=r"^config entry WEND\.MINE\.WIDTH: expected >= 8, got 7$"):
        merge(run)
    run.write_text(text % "wide")
    with pytest.raises(InputError, match=r"WEND\.MINE\.WIDTH"):
        merge(run)


def test_what_a_base_imports_is_relative_to_it_and_comes_first(folder):
    (folder / "code/other.py").write_text("import wend_none\n")
    (folder / "code/base.yaml").write_text("WEND: {IMPORTS: [./mine.py], MINE: {WIDTH: 9}}\n")
    run = folder / "run.yaml"
    run.write_text("_BASE_: code/base.yaml\nWEND: {MINE: {WIDTH: 10}}\n")
    assert merge(run).WEND.MINE.WIDTH == 10
    run.write_text("_BASE_: [code/base.yaml]\nWEND: {IMPORTS: [./later.py]}\n")
    (folder / "later.py").write_text("from wend.losses import LOSSES\nassert 'wide' in LOSSES\n")
    cfg = merge(run, imports=["../code/mine.py"])
    assert [path.rpartition("/")[2] for path in cfg.WEND.IMPORTS] == ["mine.py", "later.py"]
    assert merge(run, "WEND.IMPORTS", "['../later.py']").WEND.IMPORTS == cfg.WEND.IMPORTS


def test_what_was_read_can_be_read_again_from_elsewhere(folder, monkeypatch):
    cfg = merge("", "WEND.LOSS", "wide", "WEND.MINE.WIDTH", "20", imports=["../code/mine.py"])
    dumped = folder / "work/config.yaml"
    dumped.write_text(cfg.dump())
    monkeypatch.chdir(folder)
    assert merge(dumped) == cfg


@pytest.mark.parametrize("by", ["yaml", "command line"])
def test_a_function_by_its_file_needs_no_import(folder, by):
    (folder / "code/run.yaml").write_text("WEND: {LOSS: './mine.py:wide', MINE: {WIDTH: 11}}\n")
    if by == "yaml":
        cfg = merge(folder / "code/run.yaml")
    else:
        cfg = merge("", "WEND.LOSS", "../code/mine.py:wide", "WEND.MINE.WIDTH", "11")
    assert cfg.WEND.LOSS == f"{folder}/code/mine.py:wide"
    assert localization_loss(cfg).parameters == {"width": 11}
    cfg = merge(folder / "code/run.yaml", "WEND.LOSS", "../code/mine.py:plain")
    assert localization_loss(cfg).parameters == {"gamma": 6.0}  # without a node: WEND.GAMMA
    cfg = merge(folder / "code/run.yaml", "WEND.LOSS", "'entropy'")
    assert (cfg.WEND.LOSS, cfg.WEND.MINE.WIDTH) == ("entropy", 11)


def test_an_entry_of_ones_own_that_is_not_known_yet_says_how_it_becomes_so(folder):
    with pytest.raises(
        InputError, match=r"WEND\.MINE\.WIDTH\. Ask the manual; one of your own .* --import names"
    ):
        merge("", "WEND.MINE.WIDTH", "20")


def test_imports_that_fail_end_with_what_is_wrong(folder):
    run = folder / "run.yaml"
    for text, error, message in (
        ("[./none.py]", MissingFileError, r"run\.yaml: .*none\.py: there is no such file"),
        ("[no_such_module]", InputError, r"run\.yaml: there is no module 'no_such_module'"),
        ("./mine.py", InputError, r"run\.yaml: config entry WEND\.IMPORTS: expected a list .*mine"),
        ("[7]", InputError, r"expected a list such as \[\./mine\.py\], got \[7\]"),
    ):
        run.write_text(f"WEND: {{IMPORTS: {text}}}\n")
        with pytest.raises(error, match=message):
            merge(run)
    (folder / "broken.py").write_text("WIDTH = undefined\n")
    with pytest.raises(UserCodeError, match=r"line 1(?s:.*)name 'undefined' is not defined"):
        merge("", imports=["../broken.py"])


def test_a_base_that_names_itself_is_an_error(folder):
    (folder / "a.yaml").write_text("_BASE_: b.yaml\n")
    (folder / "b.yaml").write_text("_BASE_: a.yaml\n")
    with pytest.raises(InputError, match=r"a\.yaml: names itself as _BASE_"):
        merge(folder / "a.yaml")


def test_a_loss_with_a_parameter_that_is_no_entry_names_it(folder):
    (folder / "code/mine.py").write_text("def needs(context, *, width): ...\n")
    with pytest.raises(InputError, match=r"missing a required .*'width'; a loss is called with"):
        merge("", "WEND.LOSS", "../code/mine.py:needs")
    (folder / "code/mine2.py").write_text(
        "from wend.losses import unsupervised_loss\n"
        "@unsupervised_loss('needs', node='NONE')\n"
        "def needs(context, *, width): ...\n"
    )
    with pytest.raises(InputError, match=r"needs: its node 'NONE' has no entries; call config_ent"):
        merge("", "WEND.LOSS", "needs", imports=["../code/mine2.py"])


def test_entries_from_python_are_in_every_config_made_afterwards():
    config_entries("MINE", [Entry("WIDTH", 64, "Width.", at_least(8))])
    cfg = get_cfg()
    assert cfg.WEND.MINE == CfgNode({"WIDTH": 64})
    cfg.WEND.MINE.WIDTH = 7
    with pytest.raises(InputError, match=r"WEND\.MINE\.WIDTH: expected >= 8, got 7"):
        check_config(cfg)
    config_entries("MINE", [Entry("WIDTH", 64, "Width.", at_least(8))])  # the same once more
    with pytest.raises(InputError, match="config node 'MINE' is registered already"):
        config_entries("MINE", [Entry("HEIGHT", 64, "Height.", at_least(8))])


@pytest.mark.parametrize(
    ("node", "entries", "message"),
    [
        ("FCOS", [Entry("MINE", 1, "")], "config node 'FCOS' is registered already"),
        ("Mine", [], "expected names in upper case, got 'Mine'"),
        ("MINE", [Entry("width", 1, "")], "expected names in upper case, got 'width'"),
        ("MINE", [Entry("A", 1, ""), Entry("A", 2, "")], "two entries have the same name"),
        ("MINE", ["WIDTH"], r"expected entries of wend\.config\.Entry"),
    ],
)
def test_entries_that_would_not_work_are_refused(node, entries, message):
    with pytest.raises(InputError, match=message):
        config_entries(node, entries)


def test_a_node_that_is_called_as_an_entry_is_refused():
    config_entries("ETA", [Entry("MINE", 1, "")])
    with pytest.raises(InputError, match=r"config node 'ETA': WEND\.ETA is an entry; choose"):
        get_cfg()


def test_own_entries_are_printed_like_ours(folder, capsys):
    assert wend(["entries", "MINE", "--import", "../code/mine.py"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"WEND\.MINE\.WIDTH +64 +>= 8 +Width of mine in cells\.", shown)
    assert wend(["entries"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"WEND\.ETA +1\.0 +finite and >= 0 +η of eq\. \(4\)", shown)
    assert "WEND.FCOS.NUM_CONVS" in shown
    assert wend(["entries", "MAIN"]) == 2
    assert "there is no config entry and no node MAIN." in capsys.readouterr().err


def test_doctor_lists_what_is_registered(folder, capsys):
    wend(["doctor", "--import", "../code/mine.py"])
    shown = capsys.readouterr().out
    assert "losses (WEND.LOSS): entropy, none, weighted_entropy, wide\n" in shown
    assert "schedules (WEND.ETA_SCHEDULE): constant, cosine, half, linear, step\n" in shown
    assert "backbones (build_<name>_backbone): densenet161, googlenet, inception_v3" in shown
    sources = (
        "autodistill, c2am, coco, csv, cvat, detectron2, fiftyone, hugging_face, label_studio, "
        "labelme, localization, lost, openimages, parquet, psol, sam, supervision, tokencut, voc, "
        "yolo"
    )
    assert f"box sources: {sources}\n" in shown
    assert re.search(
        r"engine torchvision: ready: .*detectors: BinaryFCOS, BinaryRCNN,.* SCR", shown
    )
