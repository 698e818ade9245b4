"""wend.registry and wend.user_code: names, the user's own files, and what is said when it fails."""

import re

import pytest
from torch.utils.data import DataLoader

from wend.errors import InputError, MissingFileError
from wend.loading.bad_images import GuardedImages
from wend.registry import Registry
from wend.user_code import UserCodeError, load_module, load_modules


def things(**known):
    registry = Registry("thing")
    for name, thing in known.items():
        registry.register(name)(thing)
    return registry


def first():
    return 1


def second():
    return 2


def test_a_thing_is_registered_by_its_own_name_or_another():
    registry = things()
    assert registry.register()(first) is first
    assert registry.register("other")(second) is second
    assert registry.get("first") is first
    assert registry.get("other") is second
    assert registry.names() == list(registry) == ["first", "other"]
    assert "other" in registry
    assert "second" not in registry


def test_a_name_is_taken_once_and_the_error_says_by_which_file():
    registry = things(one=first)
    with pytest.raises(
        InputError, match=rf"thing 'one' is registered already \({re.escape(__file__)}\); choose"
    ):
        registry.register("one")(second)
    assert registry.get("one") is first


def test_the_same_definition_may_come_again(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def mine(): ...\n")
    registry = Registry("thing")
    registry.register()(load_module(str(file)).mine)
    again = {"__name__": "another", "__file__": str(file)}
    exec(compile(file.read_text(), str(file), "exec"), again)  # noqa: S102 (as a notebook does)
    registry.register()(again["mine"])
    assert registry.get("mine") is again["mine"]


def test_an_edited_cell_of_a_notebook_takes_the_place_of_its_former_self():
    registry, heard = Registry("thing"), []
    registry.follow(lambda name, thing: heard.append(thing()))
    for number in (1, 2):
        cell = {"__name__": "__main__"}
        code = compile(f"def mine(): return {number}", f"cell_{number}.py", "exec")
        exec(code, cell)  # noqa: S102 (as a notebook does)
        registry.register()(cell["mine"])
    assert registry.get("mine")() == 2
    assert heard == [1, 2]


def test_unknown_name_lists_the_known_and_the_nearest():
    with pytest.raises(
        InputError, match=r"unknown thing 'frist'\. Did you mean 'first'\? Known: first, second, or"
    ):
        things(first=first, second=second).get("frist")
    with pytest.raises(InputError, match=r"unknown thing 'x'\. Known: first, or your own as"):
        things(first=first).get("x")
    with pytest.raises(InputError, match=r"thing: expected a name or module:name, got 7"):
        things().get(7)


def test_what_is_registered_inside_is_forgotten_at_the_end():
    registry = things(first=first)
    with registry.temporary():
        registry.register("second")(second)
        assert registry.names() == ["first", "second"]
    assert registry.names() == ["first"]


def test_a_file_gives_its_functions_without_any_registration(tmp_path):
    (tmp_path / "mine.py").write_text("import json\nLIMIT = 3\ndef mine(): return LIMIT\n")
    registry = things()
    assert registry.get("./mine.py:mine", tmp_path)() == 3
    assert registry.get(f"{tmp_path}/mine.py:mine") is registry.get("./mine.py:mine", tmp_path)
    with pytest.raises(InputError, match=r"no 'other' in \./mine\.py; it has: mine$"):
        registry.get("./mine.py:other", tmp_path)
    with pytest.raises(InputError, match=r"'LIMIT' is no thing in \./mine\.py; it has: mine$"):
        registry.get("./mine.py:LIMIT", tmp_path)  # it cannot be called


def test_a_file_is_run_once_however_it_is_named(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("import os\nos.environ['RUNS'] += 'x'\n")
    monkeypatch.setenv("RUNS", "")
    monkeypatch.chdir(tmp_path)
    modules = [load_module("./mine.py"), load_module(str(tmp_path / "mine.py"))]
    modules.append(load_module("../mine.py", tmp_path / "folder"))
    import os

    assert os.environ["RUNS"] == "x"
    assert modules[0] is modules[1] is modules[2]


def test_missing_files_and_modules_say_what_to_write(tmp_path, monkeypatch):
    with pytest.raises(MissingFileError, match=r"mine\.py: there is no such file; expected Python"):
        load_module("./mine.py", tmp_path)
    with pytest.raises(
        InputError, match=r"no module 'a_b\.mine'; write a file as \./mine\.py, or .*PYTHONPATH"
    ):
        load_module("a_b.mine")
    (tmp_path / "wend_test_module.py").write_text("VALUE = 5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_module("wend_test_module").VALUE == 5


@pytest.mark.parametrize(
    ("code", "last"),
    [
        ("def f():\n    return 1 / 0\n\n\nf()\n", "ZeroDivisionError: division by zero"),
        ("import no_such_package\n", "No module named 'no_such_package'"),
        ("from wend.losses import no_such_loss\n", "cannot import name 'no_such_loss'"),
        ("x = (\n", "SyntaxError: '(' was never closed"),
    ],
)
def test_a_file_that_fails_shows_its_own_traceback_and_no_line_of_ours(code, last, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(code)
    with pytest.raises(UserCodeError, match=re.escape(last)) as caught:
        load_module("./mine.py", tmp_path)
    said = str(caught.value)
    assert said.startswith("./mine.py: it could not be imported; its own traceback:\n")
    assert f'File "{file}", line ' in said
    assert "user_code.py" not in said
    assert "importlib" not in said
    file.write_text("fine = True\n")  # mended, it can be imported in the same session
    assert load_module("./mine.py", tmp_path).fine


def test_a_module_beside_a_file_is_told_how_it_is_found(tmp_path):
    (tmp_path / "beside_it.py").touch()
    (tmp_path / "mine.py").write_text("import beside_it\n")
    with pytest.raises(UserCodeError) as error:
        load_module(str(tmp_path / "mine.py"))
    hint = f"{tmp_path}/beside_it.py is found with PYTHONPATH={tmp_path}"
    assert str(error.value).endswith(f"No module named 'beside_it'\n{hint}")


def test_what_a_registry_says_while_a_file_is_imported_names_the_file(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from wend.losses import unsupervised_loss\n"
        "@unsupervised_loss('entropy')\n"
        "def mine(context): ...\n"
    )
    with pytest.raises(InputError, match=r"^\./mine\.py: loss 'entropy' is registered already"):
        load_module("./mine.py", tmp_path)


IMAGES = """
from wend.pseudo_boxes import box_source


@box_source("of_a_worker")
def read(path): ...


class Images:
    def __len__(self):
        return 2

    def __getitem__(self, index):
        from wend.pseudo_boxes import SOURCES

        return f"{index} {'of_a_worker' in SOURCES}"
"""


def test_a_spawned_worker_imports_the_users_modules_before_his_objects(tmp_path, own_registries):
    (tmp_path / "mine.py").write_text(IMAGES)
    modules = load_modules([str(tmp_path / "mine.py")])
    images = load_module(modules[0]).Images()
    loader = DataLoader(
        GuardedImages(images, imports=modules),
        batch_size=None,
        num_workers=1,
        multiprocessing_context="spawn",
    )
    assert [guarded.example for guarded in loader] == ["0 True", "1 True"]
