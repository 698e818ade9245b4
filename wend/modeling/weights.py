"""Weight files: never load nothing, or the wrong thing, in silence.

A file is either a whole detector that this project saved, or a backbone under any of the names that
:mod:`wend.modeling.weight_names` knows, wrapped as :mod:`wend.weight_files` says.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fvcore.common.checkpoint import Checkpointer, _IncompatibleKeys

from wend.errors import InputError, MissingFileError
from wend.modeling.backbones.body import Body
from wend.modeling.weight_names import match_names
from wend.weight_files import (
    ORIGIN_KEY,
    WeightDifferences,
    damage,
    read_checkpoint,
    without_counters,
    without_prefix,
)

logger = logging.getLogger(__name__)


def _is_backbone(name: str) -> bool:
    pyramids = (".fpn", ".simple_fpn", ".top_block")
    return name.startswith("backbone.") and not any(each in name for each in pyramids)


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
        require_all: the file must be this very detector, see :func:`check_loaded`.
        fetches: whether a URL is fetched, as Detectron2's does; otherwise it is an error.
        path: the file that was loaded last; empty for none.
    """

    require_all = False
    fetches = False
    path = ""

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Loads as fvcore's; a missing or unreadable file is an InputError that names it."""
        self.path = path
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
        if ORIGIN_KEY in content and (problem := damage(Path(filename))):
            raise InputError(f"{filename}: is damaged: {problem}; copy it again, or take another")
        wanted = self.model.state_dict().keys()
        weights = without_prefix(filename, content["model"], wanted)
        if ORIGIN_KEY not in content:
            for body in (each for each in self.model.modules() if isinstance(each, Body)):
                weights = body.converted(weights)
        weights = match_names(weights, wanted)
        if wanted & weights.keys():  # Detectron2's guess by suffix is not needed
            content["matching_heuristics"] = False
        return {**content, "model": weights}

    def _load_model(self, checkpoint: dict[str, Any]) -> _IncompatibleKeys:
        incompatible = super()._load_model(checkpoint)
        names = self.model.state_dict().keys()
        check_loaded(self.path, names, incompatible, whole=self.require_all)
        return _IncompatibleKeys([], [], [])  # reported already
