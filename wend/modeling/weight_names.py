"""The names under which others save a backbone's weights -> the names that a model has for them.

Known are torchvision's names (``layer1.0.conv1.weight``, ``features.denseblock1...``), Detectron2's
ResNet (``res2.0.conv1.weight``), timm's, efficientnet_pytorch's for timm's networks, MoCo's
checkpoints (``module.encoder_q.layer1...``), and any other wrapping of the same backbone
(``backbone.bottom_up...``, ``model.net...``).
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from wend.pretrained.efficientnet_names import efficientnet_pytorch_to_timm
from wend.weight_files import prefixes, without_counters

logger = logging.getLogger(__name__)

# Where a detector keeps its backbone, and there the body of modeling.backbones, and there timm's
BACKBONE_PREFIXES = tuple(
    backbone + body
    for backbone in ("backbone.", "backbone.bottom_up.")
    for body in ("", "body.", "body.net.", "body.net.model.")
)
_ENCODER = "encoder_q."  # MoCo's; its momentum encoder, queue and heads are of no use here


def torchvision_to_detectron2(name: str) -> str:
    """A ResNet parameter's name in torchvision -> in Detectron2; other names are unchanged."""
    name = re.sub(r"^conv1\.", "stem.conv1.", name)
    name = re.sub(r"^bn1\.", "stem.conv1.norm.", name)
    name = re.sub(r"^layer(\d)\.", lambda m: f"res{int(m[1]) + 1}.", name)
    name = re.sub(r"^(res\d\.\d+)\.downsample\.0\.", r"\1.shortcut.", name)
    name = re.sub(r"^(res\d\.\d+)\.downsample\.1\.", r"\1.shortcut.norm.", name)
    return re.sub(r"^(res\d\.\d+)\.bn(\d)\.", r"\1.conv\2.norm.", name)


def detectron2_to_torchvision(name: str) -> str:
    """A ResNet parameter's name in Detectron2 -> in torchvision; other names are unchanged."""
    name = re.sub(r"^stem\.conv1\.norm\.", "bn1.", name)
    name = re.sub(r"^stem\.conv1\.", "conv1.", name)
    name = re.sub(r"^res(\d)\.", lambda m: f"layer{int(m[1]) - 1}.", name)
    name = re.sub(r"^(layer\d\.\d+)\.shortcut\.norm\.", r"\1.downsample.1.", name)
    name = re.sub(r"^(layer\d\.\d+)\.shortcut\.", r"\1.downsample.0.", name)
    return re.sub(r"^(layer\d\.\d+)\.conv(\d)\.norm\.", r"\1.bn\2.", name)


_RENAMES: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    torchvision_to_detectron2,
    detectron2_to_torchvision,
)


def _undotted(name: str) -> str:
    """Torchvision's names of DenseNet from before dots were forbidden, as they are today."""
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", name)


def _flattened(name: str, tops: set[str]) -> str:
    """``stages.0.x`` -> ``stages_0.x`` where that is a module, as timm's ``features_only`` does."""
    variants = (name.replace(".", "_", dots) for dots in range(3))
    return next((variant for variant in variants if variant.split(".")[0] in tops), name)


def match_names(state: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
    """Rename a file's entries to the model's names.

    Where they are a backbone's, entries of modules that the model's backbone does not have at all
    (classifiers, auxiliary and projection heads) are passed over, and logged.

    Args:
        state: the file's names and weights (:func:`wend.weight_files.read_weights`).
        wanted: the model's names.

    Returns:
        The weights under the names by which most of them fit; unchanged if none ever does.
    """
    wanted = set(wanted)
    state = {_undotted(name): value for name, value in state.items()}
    best = state
    most, passed_over, best_prefix = len(wanted & best.keys()), set[str](), ""
    tops_of = {prefix: _tops(wanted, prefix) for prefix in BACKBONE_PREFIXES}
    to_timm = {
        prefix: efficientnet_pytorch_to_timm(
            name.removeprefix(prefix) for name in wanted if name.startswith(prefix)
        )
        for prefix in BACKBONE_PREFIXES
    }
    under = Counter(prefix for name in state for prefix in prefixes(name))  # of other wrappings
    for removed in dict.fromkeys(("", _ENCODER, *BACKBONE_PREFIXES, *under)):
        if removed and under[removed] <= most:
            continue  # too few to be better
        inner = {n.removeprefix(removed): n for n in state if n.startswith(removed)}
        for prefix, tops in tops_of.items():
            for rename in (*_RENAMES, to_timm[prefix]) if tops else ():
                names = {_flattened(rename(short), tops): full for short, full in inner.items()}
                fitting = sum(prefix + name in wanted for name in names)
                if fitting > most:
                    most, best_prefix = fitting, removed
                    kept = {n: full for n, full in names.items() if _is_part(n, tops)}
                    passed_over = state.keys() - kept.values()
                    best = {prefix + name: state[full] for name, full in kept.items()}
    if best_prefix:
        logger.info("the backbone's weights are those under %r", best_prefix)
    if passed_over:
        logger.info("passed over, as the backbone has no such part: %s", _modules(passed_over))
    return best


def _tops(names: Iterable[str], prefix: str) -> set[str]:
    """The modules right below a prefix."""
    return {name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)}


def _is_part(name: str, tops: set[str]) -> bool:
    """Whether a name is that of a backbone with these modules; Detectron2 files have stem.fc."""
    return name.split(".")[0] in tops and not name.startswith("stem.fc.")


def _modules(names: Iterable[str]) -> str:
    """``AuxLogits (14), fc (2)``: the modules that names are of, with the number of weights."""
    tops = Counter(n.removeprefix(_ENCODER).split(".")[0] for n in without_counters(names))
    return ", ".join(f"{top} ({count})" for top, count in sorted(tops.items()))
