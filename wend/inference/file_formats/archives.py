"""ZIP archives, in which PyTorch keeps programs: looked through before it reads them."""

import zipfile
from collections import Counter
from pathlib import Path

from wend.errors import InputError, some


def refuse_twice(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise InputError for an archive in which a name stands twice, in whatever case.

    Of two parts of a name PyTorch may read the other one than was looked through.
    """
    counts = Counter(name.lower() for name in archive.namelist())
    twice = [name for name, number in counts.items() if number > 1]
    if twice:
        raise InputError(f"{path}: holds {some(twice)} twice; not loaded")
