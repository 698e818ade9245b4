"""What importing costs and needs: each module of the package and of the projects, by rules."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.early
REPOSITORY = Path(__file__).resolve().parents[1]
HAS_DETECTRON2 = importlib.util.find_spec("detectron2") is not None
# library -> the rooms that may load it, and nobody else; each has less than the next
MAY_LOAD = {
    "detectron2": ("wend.d2",),
    "pycocotools": ("wend.d2",),
    "torchvision": ("wend.d2", "wend.tv", "wend.modeling.backbones"),
    "torch": (
        *("wend.auto", "wend.classes", "wend.config", "wend.d2", "wend.devices"),
        *(
            "wend.inference",
            "wend.loading",
            "wend.localize",
            "wend.losses",
            "wend.modeling",
            "wend.processes",
            "wend.randomness",
        ),
        *("wend.reports", "wend.rounds", "wend.run", "wend.teaching", "wend.training", "wend.tv"),
        *("wend.pretrained.transformer_names", "wend.weight_files"),
        *("wend.cli.auto", "wend.cli.classify", "wend.cli.doctor", "wend.cli.config"),
        *("wend.cli.fine_tune", "wend.cli.predict", "wend.cli.report", "wend.cli.rounds"),
    ),
}


def package_modules():
    """Names of all modules of wend; those of wend.d2 where Detectron2 is installed."""
    files = sorted((REPOSITORY / "wend").rglob("*.py"))
    parts = [path.relative_to(REPOSITORY).with_suffix("").parts for path in files]
    names = [".".join(each).removesuffix(".__init__") for each in parts if each[-1] != "__main__"]
    assert len(names) > 100
    return [name for name in names if HAS_DETECTRON2 or not name.startswith("wend.d2")]


def python(code):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True
    )


IMPORTS = """
import builtins, dataclasses, functools, gc, importlib, json, logging, sys
from importlib.machinery import SourceFileLoader

# Whatever is imported hundreds of times is compiled once: files, and the methods of dataclasses
codes, compiled = {{}}, SourceFileLoader.get_code

def get_code(loader, name):
    if loader.path not in codes:
        codes[loader.path] = compiled(loader, name)
    return codes[loader.path]

SourceFileLoader.get_code = get_code
code_of = functools.cache(lambda text: compile(text, "<string>", "exec"))
dataclasses.exec = lambda text, *names: builtins.exec(code_of(text), *names)
said = {{"libraries": [], "first": []}}

def load(module, part):
    try:
        importlib.import_module(module)
    except BaseException as error:
        said[part].append(f"{{module}}: {{type(error).__name__}}: {{error}}")

for module, forbidden in {libraries}:
    load(module, "libraries")
    loaded = [library for library in forbidden if library in sys.modules]
    if loaded:
        said["libraries"].append(f"{{module}} loads {{loaded}}")
        break
gc.freeze()  # what the libraries hold is looked through no more
of_libraries = set()
for folder, module in {first}:
    for name in set(sys.modules) - of_libraries:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith({ours!r}):  # no .venv
            del sys.modules[name]
        else:
            of_libraries.add(name)
    sys.path.insert(0, folder)
    load(module, "first")
    sys.path.remove(folder)
    if logging.getLogger("wend").handlers:
        said["first"].append(f"{{module}} adds a log handler")
for module in {of_detectron2}:
    load(module, "libraries")
open({result!r}, "w").write(json.dumps(said))
"""


@pytest.fixture(scope="module")
def imports(tmp_path_factory):
    """What a process said that imported each module: first by rooms, then each as the first.

    It is one process, in which PyTorch and Detectron2 are imported once.
    """

    def may_load(module):
        return {
            library
            for library, rooms in MAY_LOAD.items()
            if any(f"{module}.".startswith(f"{room}.") for room in rooms)
        }

    result, root = tmp_path_factory.mktemp("imports") / "said.json", str(REPOSITORY)
    others = [name for name in package_modules() if not name.startswith("wend.d2")]
    of_detectron2 = [name for name in package_modules() if name.startswith("wend.d2.")]
    scripts = sorted((REPOSITORY / "projects").rglob("*.py"))
    assert len(scripts) > 5
    first = [(str(path.parent), path.stem) for path in scripts] + [(root, each) for each in others]
    if HAS_DETECTRON2:  # the last: what it registers stays registered
        first.append((root, "wend.d2"))
    # those that may load nothing come first: a library that appears is loaded by that module
    others.sort(key=lambda module: len(may_load(module)))
    code = IMPORTS.format(
        libraries=[(module, sorted(set(MAY_LOAD) - may_load(module))) for module in others],
        first=first,
        of_detectron2=of_detectron2,
        ours=(f"{root}/wend/", f"{root}/projects/"),
        result=str(result),
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    return done, json.loads(result.read_text())


def test_each_module_can_be_the_first_and_prints_nothing(imports):
    """No circle; of wend.d2, whose every import begins with the room's, that and its projects."""
    done, said = imports
    assert said["first"] == []
    assert (done.stdout, done.stderr) == ("", "")


def test_libraries_are_loaded_by_their_rooms_alone(imports):
    """Those of wend.d2, which may load all of them, can be imported."""
    assert imports[1]["libraries"] == []


def test_help_waits_for_no_tensor_library():
    code = (
        "import sys; from wend.cli.parser import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print([m for m in ('torch', 'numpy', 'pyarrow') if m in sys.modules])"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("[]\n")
    for verb in ("classify", "compare", "doctor", "evaluate", "report", "toy", "train"):
        assert f"\n    {verb} " in done.stdout


def test_without_detectron2_the_error_says_what_to_do():
    done = python("import sys; sys.modules['detectron2'] = None; import wend.d2")
    assert done.returncode == 1
    assert "README" in done.stderr
    assert "--engine torchvision" in done.stderr
