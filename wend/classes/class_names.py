"""The names of a data set's classes: its folders, and the ways in which others write them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from wend.structures.data_set import DataSet


def class_folders(data_set: DataSet) -> dict[int, str]:
    """Class -> its folder, where each class has one folder and no two share it; else empty."""
    classes = data_set.class_ids.tolist()
    pairs = {
        (class_id, key.rpartition("/")[0])
        for class_id, key in zip(classes, data_set.keys, strict=True)
        if class_id >= 0
    }
    folders = dict(pairs)
    one_to_one = len(folders) == len(pairs) == len(set(folders.values()))
    return folders if one_to_one and all(folders.values()) else {}


def plain_name(name: str) -> str:
    """A class name without case, spaces, hyphens and CUB's number (``001.Sea-Gull``)."""
    return re.sub(r"[\s-]+", "_", re.sub(r"^\d+\.", "", name.strip())).lower()


class ClassNames:
    """Class numbers by name.

    Args:
        data_set: whose class folders are names.
        names: the classifier's own, in the order of its numbers; may be empty.
    """

    def __init__(self, data_set: DataSet, names: Sequence[str] = ()) -> None:
        self._numbers: dict[str, set[int]] = {}
        for number, folder in class_folders(data_set).items():
            for name in {folder, folder.rpartition("/")[2]}:
                self._numbers.setdefault(plain_name(name), set()).add(number)
        for number, name in enumerate(names):
            self._numbers.setdefault(plain_name(name), set()).add(number)

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, name: str) -> int | None:
        """The class that a name means; None if it means none, or several."""
        numbers = self._numbers.get(plain_name(name), ())
        return next(iter(numbers)) if len(numbers) == 1 else None

    def explain(self, name: str) -> str:
        """Why a name means no class, and what to do, for a message."""
        if len(self._numbers.get(plain_name(name), ())) > 1:
            return "means several classes; write their folders' names or numbers"
        some_name = next(iter(self._numbers), None)
        known = f"such as {some_name!r}" if some_name else "but it has no class folders"
        return (
            f"is no class of the data set, {known}; write class numbers from 0 (timm: "
            f"--include-index), or name the classifier's classes in order with --class-names FILE"
        )
