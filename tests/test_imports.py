"""What importing costs and needs: each module of the package and of the projects, by rules."""

import importlib.util
import subprocess
import sys
from pathlib import Path

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
        *("wend.weight_files",),
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


FIRST = """
import importlib, logging, sys
for folder, module in {cases}:
    for name, loaded in list(sys.modules.items()):
        if (getattr(loaded, "__file__", None) or "").startswith({ours!r}):  # not its .venv
            del sys.modules[name]
    sys.path.insert(0, folder)
    try:
        importlib.import_module(module)
    except BaseException as error:
        print(f"{{module}}: {{type(error).__name__}}: {{error}}")
    sys.path.remove(folder)
    if logging.getLogger("wend").handlers:
        print(f"{{module}} adds a log handler")
"""


def test_each_module_can_be_the_first_and_prints_nothing():
    """No circle; of wend.d2, whose every import begins with the room's, that and its projects."""
    root = str(REPOSITORY)
    cases = [(root, name) for name in package_modules() if not name.startswith("wend.d2.")]
    cases.sort(key=lambda case: case[1] == "wend.d2")  # what it registers stays registered
    scripts = sorted((REPOSITORY / "projects").rglob("*.py"))
    assert len(scripts) > 5
    cases = [(str(path.parent), path.stem) for path in scripts] + cases
    ours = (f"{root}/wend/", f"{root}/projects/")
    done = python(FIRST.format(cases=cases, ours=ours))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_libraries_are_loaded_by_their_rooms_alone():
    def may_load(module):
        return {
            library
            for library, rooms in MAY_LOAD.items()
            if any(f"{module}.".startswith(f"{room}.") for room in rooms)
        }

    # those that may load nothing come first: a library that appears is loaded by that module
    modules = sorted(package_modules(), key=lambda module: len(may_load(module)))
    cases = [(module, sorted(set(MAY_LOAD) - may_load(module))) for module in modules]
    done = python(
        f"import sys\nfor module, forbidden in {cases}:\n    __import__(module)\n"
        "    if loaded := [library for library in forbidden if library in sys.modules]:\n"
        "        sys.exit(f'{module} loads {loaded}')"
    )
    assert (done.returncode, done.stderr) == (0, "")


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
