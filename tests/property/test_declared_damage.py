"""Declarations: any YAML is a right data set or an InputError that names the file, at once."""

import pytest
import yaml
from damage import BROKEN_TEXT, HARMLESS, damaged_bytes
from hypothesis import strategies as st
from property_cases import answer, cases, scratch

from wend.datasets.declared import FORMATS, Declaration, find_declarations, read_declaration

GOOD = """\
name: my_photos
format: folder
images: ./photos
annotations: ./truth ü.json
pseudo_boxes:
  source: coco
  path: boxes.json
train_on: gt_boxes
"""
KEYS = ("name", "format", "images", "annotations", "classes", "split", "lists", "masks")
ALL_KEYS = (*KEYS, "pseudo_boxes", "train_on")
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n"
    for a, b in zip("abcdefghijk", "bcdefghijkl", strict=True)
)  # 9^12 values
ODD = (
    *("", "~", "1", "1.5", ".nan", "yes", "2001-01-01", "2001-99-99", "[1, 2]", "{a: 1}", "0b_"),
    *("!!int ''", "!!float ''", "!!bool x", "!!timestamp x", "!!binary '?'", "!!set {a}", "!x y"),
    *("!!python/object/apply:os.system ['true']", "&a [*a]", "*none", "{[1]: 2}", "? [a]", "'a"),
    *("!!omap [a]", "!!pairs [1]", "!!str [a]", "!!map [a]", "{<<: 1}", "{<<: [1]}", "1:99", "|"),
    *(
        "0o9",
        "1_0",
        "._",
        '"\\ud800"',
        '"\\0"',
        "a: b: c",
        "\t",
        "%",
        "@",
        "`",
        "- - - a",
        "'\u2028'",
    ),
    *(str(10**400), "1" * 5000, "1e400", "[" * 500 + "]" * 500, "{a: " * 2000 + "}" * 2000),
    *("[" * 150 + "]" * 150, "- " * 500 + "a", "x" * 9999, "../../x", "/etc", "a/b", ".hidden"),
)


def check(file, kind="any", whole=None):
    found = answer(lambda: read_declaration(file), file)
    find_declarations([file.parent])  # a wrong file must not spoil the others
    if found is None:
        assert kind not in HARMLESS
        return
    assert kind not in BROKEN_TEXT
    assert isinstance(found, Declaration)
    assert found.format in FORMATS
    assert all(isinstance(value, str) and value.strip() for value in found.options.values())
    assert found.name
    assert "/" not in found.name
    if kind in HARMLESS:
        assert found == whole


@pytest.fixture(autouse=True)
def _no_other_declarations(monkeypatch, tmp_path):
    monkeypatch.delenv("WEND_DATASETS", raising=False)
    monkeypatch.chdir(tmp_path)


@cases(times=8, data=st.data())
def test_wrong_bytes(data):
    with scratch() as folder:
        file = folder / "a.yaml"
        file.write_text(GOOD, encoding="utf-8")
        whole = read_declaration(file)
        damaged, kind = data.draw(damaged_bytes(file.read_bytes()))
        file.write_bytes(damaged)
        if kind == "utf-16":  # YAML allows it, this reader does not
            kind = "any"
        check(file, kind, whole)


@cases(
    times=3,
    key=st.sampled_from([*ALL_KEYS, "other"]),
    value=st.sampled_from(ODD),
    before=st.sampled_from(["", "format: folder\nimages: x\n", LAUGHS, "format: cub\n"]),
)
def test_odd_values(key, value, before):
    with scratch() as folder:
        file = folder / "a.yaml"
        text = f"{before}{key}: {value}\n"
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        check(file)


@cases(times=0.4, key=st.sampled_from(ALL_KEYS), name=st.sampled_from("abl"))
def test_a_value_of_billions(key, name):
    """Anchors in anchors: small in the file, endless when it is written out."""
    with scratch() as folder:
        file = folder / "a.yaml"
        file.write_text(f"{LAUGHS}{key}: *{name}\n")
        check(file)
        file.write_text("format: folder\nimages: x\n" + f"{key}: {LAUGHS_IN_LINE}\n")
        check(file)


LAUGHS_IN_LINE = (
    "["
    + "".join(
        f"&{b} [{', '.join([f'*{a}'] * 9 if a else ['x'] * 9)}], "
        for a, b in zip(["", *"abcdefghijk"], "abcdefghijkl", strict=True)
    )
    + "*l]"
)


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=8,
)


@cases(
    times=4,
    values=st.dictionaries(st.sampled_from(ALL_KEYS) | st.text(max_size=4), trees),
    format_name=st.sampled_from([*FORMATS, None, "Folder"]),
)
def test_any_mapping(values, format_name):
    with scratch() as folder:
        file = folder / "a.yaml"
        if format_name:
            values["format"] = format_name
        file.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
        check(file)
