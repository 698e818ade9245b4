"""Weight files: never load nothing, or the wrong thing, in silence.

A file is either a whole detector that this project saved, or a backbone under any of the names that
:mod:`wend.modeling.weight_names` knows, wrapped as :mod:`wend.weight_files` says.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from fvcore.common.checkpoint import Checkpointer, _IncompatibleKeys
from torch import nn

from wend.errors import InputError, MissingFileError, shown
from wend.files import atomic_write, is_plain_name, read_text
from wend.modeling.weight_names import match_names
from wend.run_files import FINAL_WEIGHTS, LAST_CHECKPOINT
from wend.weight_files import (
    Origin,
    WeightDifferences,
    read_checkpoint,
    stated_origin,
    without_counters,
    without_prefix,
)

logger = logging.getLogger(__name__)


def _is_backbone(name: str) -> bool:
    return name.startswith("backbone.") and ".fpn" not in name and ".top_block" not in name


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that a run's ``last_checkpoint`` names; None where there is no such note.

    Raises:
        InputError: it names no file of the folder: another's weights would be taken for the run's.
    """
    note = folder / LAST_CHECKPOINT
    if not note.is_file():
        return None
    name = read_text(note, "the name of the run's last checkpoint").strip()
    if not is_plain_name(name):
        raise InputError(
            f"{note}: expected the name of a checkpoint beside it, such as {FINAL_WEIGHTS}, got "
            f"{shown(name)}; correct it, or remove it to have no last checkpoint"
        )
    return folder / name


def check_loaded(
    path: str, model_names: Iterable[str], incompatible: _IncompatibleKeys, *, whole: bool
) -> None:
    """Report what was loaded, missing and unexpected, and refuse what does not fit.

    Args:
        path: the file.
        model_names: all names of the model's weights.
        incompatible: fvcore's report on the file.
        whole: the file must be this very detector (evaluation, resuming); otherwise it must at
            least hold the whole backbone (initial weights).

    Raises:
        InputError: it does not; the message lists what differs.
    """
    shapes = incompatible.incorrect_shapes
    misshapen = {name: f"{theirs}, not {ours}" for name, theirs, ours in shapes}
    differences = WeightDifferences(
        missing=without_counters(n for n in incompatible.missing_keys if n not in misshapen),
        misshapen=misshapen,
        unexpected=without_counters(incompatible.unexpected_keys),
    )
    names = without_counters(model_names)
    num_loaded = len(names) - len(differences.missing) - len(misshapen)
    logger.info(
        "%s: loaded %d of the model's %d weights; %s",
        path,
        num_loaded,
        len(names),
        differences or "nothing missing, nothing left over",
    )
    if num_loaded <= 0 or (whole and differences):
        raise InputError(
            f"{path}: not a checkpoint of this detector: {differences or 'no weight matches'}. "
            f"Was it trained with another config (MODEL.META_ARCHITECTURE, backbone, head)?"
        )
    if any(map(_is_backbone, differences.names())):
        raise InputError(
            f"{path}: does not fit the backbone: {differences}. Are MODEL.BACKBONE.NAME, "
            f"MODEL.RESNETS.DEPTH and WEND.TIMM.MODEL those of the weights?"
        )


class CheckedLoading(Checkpointer):
    """fvcore's ``Checkpointer`` that matches names, and refuses a file that does not fit.

    It may also be mixed in before a subclass of fvcore's.

    Attributes:
        require_all: the file must be this very detector, see :func:`check_loaded`. Always so when
            training is resumed.
        fetches: whether a URL is fetched, as Detectron2's does; otherwise it is an error.
        origin: how the weights came about, which checkpoints then say; None: they do not.
        saved_model: the model whose weights are saved as the checkpoint's, such as an average of
            those that are trained; None: the one that is loaded.
    """

    require_all = False
    fetches = False
    origin: Origin | None = None
    saved_model: nn.Module | None = None
    _path = ""

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Resumes or loads as fvcore's; a resumed file must be this very detector."""
        resumes = resume and self.has_checkpoint()
        self.require_all = self.require_all or resumes
        return super().resume_or_load(path, resume=resume)

    def get_checkpoint_file(self) -> str:
        """The path of the last checkpoint, in its folder; empty where there is none."""
        path = last_checkpoint(Path(self.save_dir))
        return "" if path is None else str(path)

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Loads as fvcore's; a missing or unreadable file is an InputError that names it."""
        self._path = path
        if "://" in path and not self.fetches:
            raise InputError(
                f"config entry MODEL.WEIGHTS: {path} is a URL, which the torchvision engine does "
                f"not fetch; download the file and name it"
            )
        if path and "://" not in path and not Path(path).is_file():
            raise MissingFileError(
                f"{path}: there is no such file; config entry MODEL.WEIGHTS expects a checkpoint "
                f"or a backbone's weights"
            )
        return super().load(path, *args, **kwargs)

    def _load_file(self, filename: str) -> dict[str, Any]:
        content = read_checkpoint(filename)
        wanted = self.model.state_dict().keys()
        weights = match_names(without_prefix(filename, content["model"], wanted), wanted)
        if wanted & weights.keys():  # Detectron2's guess by suffix is not needed
            content["matching_heuristics"] = False
        return {**content, "model": weights}

    def _load_model(self, checkpoint: dict[str, Any]) -> _IncompatibleKeys:
        incompatible = super()._load_model(checkpoint)
        names = self.model.state_dict().keys()
        check_loaded(self._path, names, incompatible, whole=self.require_all)
        return _IncompatibleKeys([], [], [])  # reported already

    def save(self, name: str, **kwargs: Any) -> None:
        """Saves as fvcore's, but atomically: where writing fails, the file stays as it was."""
        if not self.save_dir or not self.save_to_disk:
            return
        parts = {key: part.state_dict() for key, part in self.checkpointables.items()}
        path = Path(self.save_dir) / f"{name}.pth"
        logger.info("saving checkpoint to %s", path)
        with atomic_write(path, "wb") as file:
            model = self.model if self.saved_model is None else self.saved_model
            content = {"model": model.state_dict(), **parts, **kwargs}
            torch.save(content | stated_origin(self.origin), file)
        self.tag_last_checkpoint(path.name)
