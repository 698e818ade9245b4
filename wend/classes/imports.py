"""Class predictions of other programs as predictions of a data set's images.

What is accepted is in docs/classify.md. Images are matched by :func:`.match_names`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from wend.classes.class_names import ClassNames
from wend.classes.predictions import PredictionsFile
from wend.classes.ranking import Ranked, rank_classes
from wend.classes.tables import read_table
from wend.errors import InputError, some
from wend.structures.data_set import DataSet
from wend.structures.names import clean_path, match_names

logger = logging.getLogger(__name__)


def import_class_predictions(
    path: str | Path, data_set: DataSet, top_k: int = 5, class_names: Sequence[str] = ()
) -> PredictionsFile:
    """Read another program's file (``.json``, ``.csv``, ``.parquet``) for these images.

    Args:
        top_k: classes that are kept where the file has a score for each class.
        class_names: the classifier's class names in the order of its numbers, where the file
            writes names that are not the data set's folders.

    Raises:
        InputError: not such a file, or an image stands there twice.
    """
    path = Path(path)
    table = read_table(path)
    num_classes, rows = rank_classes(table, ClassNames(data_set, class_names), top_k)
    matched = _match(path, rows, data_set.keys)
    has_scores = all(scores for _, scores in matched.values())
    return PredictionsFile(
        predictions={key: classes for key, (classes, _) in matched.items()},
        scores={key: scores for key, (_, scores) in matched.items()} if has_scores else {},
        num_classes=num_classes,
        settings={"imported_from": path.name},
        source=str(path),
    )


def _match(
    path: Path, rows: Sequence[tuple[str, str, Ranked]], keys: Sequence[str]
) -> dict[str, Ranked]:
    """Key of each image that the file has -> its classes."""
    names = [clean_path(name) for _, name, _ in rows]
    index = match_names(names, [clean_path(key) for key in keys], str(path))
    matched: dict[str, Ranked] = {}
    unknown = []
    for (place, name, ranked), i in zip(rows, index.tolist(), strict=True):
        if i < 0:
            unknown.append(name)
        elif keys[i] in matched:
            raise InputError(
                f"{path}, {place}: image {keys[i]} stands there twice (the second as {name!r})"
            )
        else:
            matched[keys[i]] = ranked
    if unknown:
        logger.info(
            "%s: passed over %d entries of images that the data set does not have (%s)",
            path,
            len(unknown),
            some(unknown),
        )
    if not matched:
        raise InputError(
            f"{path}: none of its {len(unknown)} images is in the data set ({some(unknown)}); "
            f"expected names such as {keys[0] if len(keys) else '<class folder>/<file>'}"
        )
    return matched
