"""A backbone whose frozen stages are computed once for each view of an image, in whatever run.

``MODEL.BACKBONE.NAME build_remembered_timm_backbone`` with ``WEND.IMPORTS [remembered.py]`` is
``build_timm_backbone`` for timm's EfficientNets and the like (networks of ``conv_stem``, ``bn1``
and ``blocks``). What the stages up to ``MODEL.BACKBONE.FREEZE_AT`` (3 to 5, with
``MODEL.RESNETS.NORM FrozenBN``) make of an image's pixels is kept in
``<WEND.DATA.CACHE>/remembered/<digest of their weights>.db``, by the digest of the pixels. Runs of
a study that differ in the loss alone see the same crops in the same order, so that all of them but
the first only train what is not frozen. Earlier maps than the last frozen one are not there.
Without a cache, as in ``wend predict`` and in the looks of ``wend rounds``, nothing is kept.
"""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import Any, cast

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from wend.errors import InputError
from wend.modeling.backbones.build import BODIES, WHOLE
from wend.modeling.backbones.timm_body import TimmBody
from wend.pretrained import WEIGHT_PACKAGES

STRIDES = {3: 8, 4: 16, WHOLE: 32}  # FREEZE_AT -> stride of the last frozen map


class FeatureStore:
    """Feature maps by the digest of an image, in one SQLite file that several runs may share.

    Args:
        path: the file; made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.connection = sqlite3.connect(path, timeout=600)
        self.connection.execute("CREATE TABLE IF NOT EXISTS maps (key BLOB PRIMARY KEY, map BLOB)")

    def get(self, key: bytes) -> bytes | None:
        """The map of a key; None where it is not known."""
        row = self.connection.execute("SELECT map FROM maps WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def add(self, maps: dict[bytes, bytes]) -> None:
        """Keep maps; one that is there stays."""
        with self.connection:
            self.connection.executemany("INSERT OR IGNORE INTO maps VALUES (?, ?)", maps.items())


class RememberedBody(TimmBody):
    """A :class:`TimmBody` that remembers its frozen stages.

    Args:
        name: timm's.
        folder: of the stores; None: nothing is remembered.
        freeze_at: 3 to 5.
    """

    def __init__(self, name: str, folder: Path | None, freeze_at: int) -> None:
        super().__init__(name)
        if not all(hasattr(self.net, part) for part in ("conv_stem", "bn1", "blocks")):
            raise InputError(
                f"config entry WEND.TIMM.MODEL: expected an EfficientNet for "
                f"build_remembered_timm_backbone, got {name!r}"
            )
        net = cast("Any", self.net)
        last = STRIDES[freeze_at]
        stages = {row["reduction"]: row["stage"] for row in net.feature_info.get_dicts()}
        self.folder, self.frozen_blocks = folder, stages[last]
        self.strides = {key: stride for key, stride in self.strides.items() if stride >= last}
        self.channels = {key: self.channels[key] for key in self.strides}
        self.last_frozen = min(self.strides, key=self.strides.__getitem__)
        self.stage_of = {key: stages[stride] for key, stride in self.strides.items()}
        self.store: FeatureStore | None = None

    def _frozen_part(self) -> list[nn.Module]:
        net = cast("Any", self.net)
        return [net.conv_stem, net.bn1, *net.blocks[: self.frozen_blocks]]

    def _open(self, folder: Path) -> FeatureStore:
        digest = hashlib.blake2b(digest_size=8)
        for part in self._frozen_part():
            for tensor in part.state_dict().values():
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return FeatureStore(folder / f"{digest.hexdigest()}.db")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) -> the maps (N, C, ., .) from the last frozen one on, by name."""
        if self.store is None and self.folder is not None:  # only now the weights are there
            self.store = self._open(self.folder)
        x = self._frozen(x) if self.store is None else self._remembered(x, self.store)
        maps = {self.frozen_blocks: x}
        blocks = cast("Any", self.net).blocks
        for stage, block in enumerate(blocks[self.frozen_blocks :], self.frozen_blocks + 1):
            x = maps[stage] = block(x)
        return {key: maps[stage] for key, stage in self.stage_of.items()}

    @torch.no_grad()
    def _frozen(self, x: Tensor) -> Tensor:
        for part in self._frozen_part():
            x = part(x)
        return x

    def _remembered(self, images: Tensor, store: FeatureStore) -> Tensor:
        keys = [
            hashlib.blake2b(image.cpu().contiguous().numpy().tobytes(), digest_size=16).digest()
            for image in images
        ]
        known = {key: store.get(key) for key in dict.fromkeys(keys)}
        new = [keys.index(key) for key, value in known.items() if value is None]
        if new:
            x = self._frozen(images[new])
            made = {keys[i]: row.cpu().numpy().tobytes() for i, row in zip(new, x, strict=True)}
            store.add(made)
            known |= made
        joined = bytearray(b"".join(cast("bytes", known[key]) for key in keys))
        height, width = (-(-side // self.strides[self.last_frozen]) for side in images.shape[2:])
        maps = torch.frombuffer(joined, dtype=torch.float32)
        return maps.reshape(len(keys), -1, height, width).to(images.device)


@BODIES.register("remembered_timm")
def remembered_timm(cfg: CfgNode, _: int) -> RememberedBody:
    """The body that a config describes.

    Raises:
        InputError: stages that are not frozen, or another network than an EfficientNet.
    """
    if cfg.MODEL.BACKBONE.FREEZE_AT not in STRIDES or cfg.MODEL.RESNETS.NORM != "FrozenBN":
        raise InputError(
            "build_remembered_timm_backbone: expected MODEL.BACKBONE.FREEZE_AT 3 to 5 and "
            f"MODEL.RESNETS.NORM FrozenBN, got {cfg.MODEL.BACKBONE.FREEZE_AT} and "
            f"{cfg.MODEL.RESNETS.NORM!r}"
        )
    folder = Path(cfg.WEND.DATA.CACHE) / "remembered" if cfg.WEND.DATA.CACHE else None
    return RememberedBody(cfg.WEND.TIMM.MODEL, folder, cfg.MODEL.BACKBONE.FREEZE_AT)


WEIGHT_PACKAGES.register("remembered_timm")(WEIGHT_PACKAGES.get("timm:tf_efficientnet_lite0"))
