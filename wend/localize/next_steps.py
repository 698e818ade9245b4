"""What to do with boxes that are there: commands that work as they stand."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wend.localize.declaration import declaration_path
from wend.localize.writers import output_paths
from wend.pretrained.packages import package_of

NETWORK = "timm:tf_efficientnet_lite0"  # of configs/photos.yaml


@dataclass(frozen=True)
class NextStep:
    """A command and what it is for."""

    purpose: str
    words: Sequence[str]

    @property
    def command(self) -> str:
        """As it is typed into a shell."""
        return " ".join(("wend", *map(_quoted, self.words)))


def _quoted(word: str) -> str:
    """A word as a shell reads it, with the quotes that people would take."""
    if "'" in word and not set('"$`\\!') & set(word):
        return f'"{word}"'
    return shlex.quote(word)


def next_steps(
    output: str | Path, split: str, settings: Mapping[str, Any], folder: str | None
) -> list[NextStep]:
    """What to do next, the most likely first.

    Args:
        settings: how the boxes were made.
        folder: of the images, as the user named it; None for a data set.
    """
    declaration = declaration_path(output, split, settings)
    exif = settings.get("exif", "ignore")
    trained = str(Path(output) / "detector")
    package = package_of(NETWORK)
    has_weights = package is not None and package.path() is not None
    steps = []
    if folder is not None:
        boxes = str(output_paths(output, split)[1])
        words = ["auto", folder, "--output", trained, "--pseudo-boxes", boxes, "--exif", exif]
        words += [] if has_weights else ["--backbone", "small"]
        steps.append(NextStep("train a detector, with photos held out", words))
    if not declaration.is_file():
        return steps
    name = str(declaration)
    config = "photos" if has_weights else "photos_small"
    sets = repr((name,))
    words = ["train", "--config-file", config, "DATASETS.TRAIN", sets, "DATASETS.TEST", sets]
    labels = str(Path(output) / "labels")
    return [
        *steps,
        NextStep(
            "train by a config, and name test sets of yours",
            [*words, "OUTPUT_DIR", str(Path(output) / "run")],
        ),
        NextStep(
            "rank the boxes by what speaks against them",
            ["boxes", "audit", name, "--output", str(Path(output) / "audit")],
        ),
        NextStep(
            "files for a labelling tool",
            ["boxes", "export", name, "--format", "yolo", "--output", labels],
        ),
    ]
