"""The configs that come with the package, by name: ``CUB/fcos_R50_we`` from any folder.

They are the folder ``configs`` of a checkout, which lies in the package once that is installed.
"""

from __future__ import annotations

import difflib
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def configs_folder() -> Path:
    """The folder of the configs: in the installed package, or beside it in a checkout."""
    installed = PACKAGE / "configs"
    return installed if installed.is_dir() else PACKAGE.parent / "configs"


def config_names() -> list[str]:
    """The names of the configs, sorted: their paths in the folder without ``.yaml``."""
    folder = configs_folder()
    files = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml"))
    return sorted(file.as_posix() for file in files)


def find_config(name: str, folder: Path | None = None) -> Path | None:
    """The file that a config's name or path stands for; None if there is none.

    Args:
        name: a path, or a name of :func:`config_names`, perhaps as ``configs/<name>.yaml``. An
            existing file goes before a name.
        folder: where a relative path starts; the working directory by default.
    """
    path = (folder or Path()) / name
    if path.is_file():
        return path
    key = _key(name)
    return configs_folder() / f"{key}.yaml" if key in config_names() else None


def _key(name: str) -> str:
    return name.removeprefix("./").removeprefix("configs/").removesuffix(".yaml")


def no_config(name: str) -> str:
    """What to say of a name that :func:`find_config` does not know, with the nearest ones."""
    key, names = _key(name), config_names()
    near = [other for other in names if other.rpartition("/")[2] == key.rpartition("/")[2]]
    near += difflib.get_close_matches(key, names, n=3)
    hint = f" Did you mean {' or '.join(map(repr, dict.fromkeys(near)))}?" if near else ""
    return f"there is no file {name}, nor a config of WEND's of that name.{hint}"
