"""torch's compiler, ``torch._dynamo``, is loaded when something is compiled, not before.

torch's optimizers tell it to leave them alone, ``torchvision.ops`` and DistributedDataParallel ask
it how it is set: each loads it whole, hundreds of modules, in runs that compile nothing. The
commands (never an import of this package) therefore put modules in its place that answer these few
questions as the compiler does where nothing is compiled. Any other use, ``torch.compile`` first of
all, loads the compiler itself, and nothing of this is left.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
_left_alone: list[Callable[..., Any]] = []


def load_compiler_later() -> None:
    """Let this process load torch's compiler when it is used, unless it is there already."""
    if COMPILER in sys.modules:
        return
    for name, answers in ANSWERS.items():
        module = sys.modules[name] = _NotYet(name, answers)
        parent, _, child = name.rpartition(".")
        if parent in ANSWERS:
            setattr(sys.modules[parent], child, module)
    sys.meta_path.insert(0, _Submodules())


def _load() -> None:
    """Load the compiler, which takes its place."""
    sys.meta_path[:] = [each for each in sys.meta_path if not isinstance(each, _Submodules)]
    for name in ANSWERS:
        if isinstance(sys.modules.get(name), _NotYet):
            del sys.modules[name]
    while _left_alone:  # torch keeps with each what it was told of it, and is to ask again
        vars(_left_alone.pop()).pop("__dynamo_disable", None)
    importlib.import_module(COMPILER)


class _NotYet(ModuleType):
    """A module that loads the compiler when it is asked for more than a few answers."""

    def __init__(self, name: str, answers: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None, is_package=True)
        self.__path__ = []  # a package; _Submodules has what is in it
        vars(self).update(answers)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by tools that look through all modules
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return _ask(self.__name__, name)


def _ask(module: str, name: str) -> Any:
    """What the compiler itself has by a name."""
    _load()
    return getattr(importlib.import_module(module), name)


def _disable(fn: Any = None, recursive: bool = True, **options: Any) -> Any:
    """The function as it is: nothing compiles it."""
    if fn is None:
        return lambda function: _disable(function, recursive, **options)
    _left_alone.append(fn)
    return fn


ANSWERS: dict[str, dict[str, Callable[..., Any]]] = {
    COMPILER: {"disable": _disable, "graph_break": lambda msg="": None},
    f"{COMPILER}.utils": {
        "get_optimize_ddp_mode": lambda: "ddp_optimizer",  # its default, of graphs that it has made
        "is_compile_supported": lambda device: _ask(f"{COMPILER}.utils", "is_compile_supported")(
            device  # imported by name; called where torchvision lacks an operation
        ),
    },
    f"{COMPILER}.trace_rules": {"clear_lru_cache": lambda: None},  # of rules that were used
}


class _Submodules(MetaPathFinder):
    """Finds the compiler's modules, after it was loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(f"{COMPILER}."):
            return None
        _load()
        loaded = sys.modules.get(name)
        return ModuleSpec(name, _Loaded(loaded)) if loaded else find_spec(name)


class _Loaded(Loader):
    """Gives a module that is there, as it is."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec
