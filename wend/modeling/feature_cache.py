"""Maps of a frozen backbone on the disk: a view of an image goes through the network once.

A map is known by the normalized pixels that it is made of and, as the folder, by the weights, the
settings and the code that make it, so that there are no stale ones: another image, crop,
normalization, network, its strides and paddings, or version of timm is another key. Training needs
views that come again, ``WEND.DATA.VIEWS``; those of testing do so anyway.

A folder ``<digest of the network>`` has for each map that a detector reads ``<map>-<H>x<W>.f16``,
rows of float16, and beside it ``.db``, which row has which key and its checksum. Processes and runs
share them, on a file system whose locks SQLite can use. One that may only be read is read.

Shape letters: N = images, H, W = pixels, C = channels, h, w = cells.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from wend.errors import InputError
from wend.files import writing
from wend.modeling.initial_weights import network_of

FORMAT = 1
_ENTRY = "config entry WEND.DATA.FEATURE_CACHE"
logger = logging.getLogger(__name__)
_is_kept = ContextVar("_is_kept", default=True)
Maps = Mapping[str, Tensor]


class MapStore:
    """One map of one network, of images of one size, as rows of float16 by the images' keys.

    Args:
        path: of both files, without an ending; made where they are not there.
    """

    def __init__(self, path: Path) -> None:
        self.index, self.rows = path.with_suffix(".db"), path.with_suffix(".f16")
        self.is_writable = os.access(path.parent, os.W_OK)
        access = os.O_RDWR | os.O_CREAT if self.is_writable else os.O_RDONLY
        self.file = os.open(self.rows, access, 0o666)
        how = "rwc" if self.is_writable else "ro"
        with self._said():
            self.connection = sqlite3.connect(
                f"{self.index.absolute().as_uri()}?mode={how}",
                uri=True,
                timeout=600,
                isolation_level=None,
            )
            if self.is_writable:
                self._create()

    def _create(self) -> None:
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS maps (key BLOB PRIMARY KEY, row INTEGER, crc INTEGER)"
        )
        self.connection.execute("CREATE TABLE IF NOT EXISTS shape (c, h, w, dtype)")

    def close(self) -> None:
        """Close both files."""
        self.connection.close()
        os.close(self.file)

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # the disk is full, locks, rights
            raise InputError(
                f"{self.index}: the index of maps cannot be used ({error}); set {_ENTRY} to a "
                f"folder on a disk with space and locks, or to '' for none"
            ) from error
        except sqlite3.Error as error:
            raise InputError(
                f"{self.index}: is no index of maps ({error}); remove it and {self.rows.name}, "
                f"they are made anew"
            ) from error

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Tensor]:
        """The maps (C, h, w) of those keys that are known, in the numbers of the network.

        Raises:
            InputError: a row is damaged.
        """
        known: dict[bytes, Tensor] = {}
        with self._said():
            row = self.connection.execute("SELECT c, h, w, dtype FROM shape").fetchone()
            if row is None:
                return known
            (*shape, dtype), size = row, 2 * row[0] * row[1] * row[2]
            for key in dict.fromkeys(keys):
                where = self.connection.execute("SELECT row, crc FROM maps WHERE key = ?", (key,))
                if (place := where.fetchone()) is None:
                    continue
                data = os.pread(self.file, size, place[0] * size)
                if len(data) != size or zlib.crc32(data) != place[1]:
                    raise InputError(
                        f"{self.rows}: row {place[0]} is damaged; remove it and {self.index.name}, "
                        f"they are made anew"
                    )
                values = torch.frombuffer(bytearray(data), dtype=torch.float16).reshape(shape)
                known[key] = values.to(getattr(torch, dtype))
        return known

    def add(self, maps: Mapping[bytes, Tensor]) -> None:
        """Keep maps (C, h, w) on the CPU; one that is known stays.

        Raises:
            InputError: the folder may be read only, or its disk is full.
        """
        if not self.is_writable:
            raise InputError(
                f"{self.rows}: may be read only, and lacks maps of {len(maps)} images of this "
                f"batch; let {_ENTRY} be a folder that can be written to, or '' for none"
            )
        first = next(iter(maps.values()))
        about = (*first.shape, str(first.dtype).removeprefix("torch."))
        size = 2 * first.numel()
        with writing(self.rows), self._said():
            self.connection.execute("BEGIN IMMEDIATE")  # one process at a time finds the end
            try:
                if self.connection.execute("SELECT 1 FROM shape").fetchone() is None:
                    self.connection.execute("INSERT INTO shape VALUES (?, ?, ?, ?)", about)
                (end,) = self.connection.execute("SELECT COUNT(*) FROM maps").fetchone()
                for key, values in maps.items():
                    if self.connection.execute(
                        "SELECT 1 FROM maps WHERE key = ?", (key,)
                    ).fetchone():
                        continue
                    data = values.half().contiguous().numpy().tobytes()
                    _write(self.file, data, end * size)
                    entry = (key, end, zlib.crc32(data))
                    self.connection.execute("INSERT INTO maps VALUES (?, ?, ?)", entry)
                    end += 1
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:  # else SQLite has: the disk is full
                    self.connection.execute("ROLLBACK")
                raise

    def __len__(self) -> int:
        with self._said():
            return self.connection.execute("SELECT COUNT(*) FROM maps").fetchone()[0]


def _write(file: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(file, data, at)
        data, at = data[written:], at + written


_Seen = tuple[Tensor, int, int]  # a tensor of a network, its version and its memory


def _are_same(ours: Sequence[_Seen], theirs: Sequence[_Seen]) -> bool:
    """Whether two looks at a network saw the same tensors, which nothing has written to between."""
    return len(ours) == len(theirs) and all(
        a is b and rest == other for (a, *rest), (b, *other) in zip(ours, theirs, strict=True)
    )


def _code(part: nn.Module) -> Iterator[bytes]:
    """What says which code a network is: versions of packages, and sources of what has none."""
    for name in sorted({type(module).__module__ for module in part.modules()}):
        package = name.split(".")[0]
        version = getattr(sys.modules.get(package), "__version__", None)
        file = getattr(sys.modules.get(name), "__file__", None)
        if version is not None and package != "wend":
            yield f"{name} {version}".encode()
        elif file is not None:
            yield Path(file).read_bytes()


def _settings(part: nn.Module) -> Iterator[bytes]:
    """Numbers and words that a network's modules hold beside weights: strides, paddings, ..."""
    for path, module in part.named_modules():
        for name, value in sorted(vars(module).items()):
            if name != "training" and not name.startswith("_") and _is_plain(value):
                yield f"{path} {name} {value}".encode()


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return _is_plain([*value, *value.values()])
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


class FeatureCache:
    """The maps of a frozen network that a folder has; a copy opens its files anew.

    Args:
        folder: ``WEND.DATA.FEATURE_CACHE``.
        network: its name.
    """

    def __init__(self, folder: Path, network: str) -> None:
        self.folder, self.network = folder, network
        self._numbers, self._weights = "", list[_Seen]()
        self._stores: dict[str, MapStore] = {}
        self._place = folder

    def __deepcopy__(self, _: dict[int, Any]) -> FeatureCache:
        return FeatureCache(self.folder, self.network)

    def __reduce__(self) -> tuple[type, tuple[Path, str]]:
        return FeatureCache, (self.folder, self.network)

    def _settle(self, part: nn.Module, device: torch.device) -> None:
        """Let the stores be those of the weights that the network has now."""
        numbers, state = _autocast(device), part.state_dict(keep_vars=True)
        weights = [(tensor, tensor._version, tensor.data_ptr()) for tensor in state.values()]
        if numbers == self._numbers and _are_same(weights, self._weights):
            return
        digest = hashlib.blake2b(f"{FORMAT} {self.network} {numbers}".encode(), digest_size=12)
        for name, tensor in state.items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            values = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(values.view(torch.uint8).numpy().tobytes())
        for more in (*_settings(part), *_code(part)):
            digest.update(more)
        place = self.folder / digest.hexdigest()
        self._numbers, self._weights = numbers, weights
        if place == self._place:
            return
        for store in self._stores.values():
            store.close()
        self._stores, self._place = {}, place
        with writing(place):
            place.mkdir(parents=True, exist_ok=True)
        logger.info("maps of the frozen %s are kept in %s", self.network, place)

    def store(self, name: str, images: Tensor) -> MapStore:
        """The store of a map of images (N, 3, H, W)."""
        key = f"{name}-{images.shape[-2]}x{images.shape[-1]}"
        if key not in self._stores:
            self._stores[key] = MapStore(self._place / key)
        return self._stores[key]

    def maps(self, part: nn.Module, forward: Callable[[Tensor], Maps], images: Tensor) -> Maps:
        """The maps of normalized images (N, 3, H, W), read or made when they are asked for."""
        self._settle(part, images.device)
        return _Remembered(self, partial(_computed, part, forward), _names(part), images)


def _autocast(device: torch.device) -> str:
    enabled = torch.is_autocast_enabled(device.type)
    return str(torch.get_autocast_dtype(device.type)) if enabled else "torch.float32"


def _names(part: nn.Module) -> tuple[str, ...]:
    shapes = part.channels if hasattr(part, "channels") else part.output_shape()  # type: ignore[operator]
    return tuple(shapes)  # type: ignore[arg-type]


@torch.no_grad()
def _computed(part: nn.Module, forward: Callable[[Tensor], Maps], images: Tensor) -> Maps:
    """What the network makes of images as in testing: nothing is dropped."""
    training = part.training
    part.eval()
    try:
        return forward(images)
    finally:
        part.train(training)


class _Remembered(Mapping[str, Tensor]):
    """Maps by name; each is looked up once, and the network runs for images that lack one."""

    def __init__(
        self,
        cache: FeatureCache,
        compute: Callable[[Tensor], Maps],
        names: tuple[str, ...],
        images: Tensor,
    ) -> None:
        self.cache, self.compute, self.names, self.images = cache, compute, names, images
        self.keys_of = [
            hashlib.blake2b(image.contiguous().numpy(), digest_size=16).digest()
            for image in images.detach().float().cpu()
        ]
        self.read: dict[str, Tensor] = {}
        self.made: dict[tuple[bytes, ...], Maps] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.names:
            raise KeyError(name)
        if name not in self.read:
            self.read[name] = self._read(name)
        return self.read[name]

    def _read(self, name: str) -> Tensor:
        store = self.cache.store(name, self.images)
        known = store.get(self.keys_of)
        missing = {key: i for i, key in enumerate(self.keys_of) if key not in known}
        if missing:
            made = self._made(missing)[name].cpu()
            halves = made.half()
            if not torch.isfinite(halves).all():
                raise InputError(
                    f"{_ENTRY}: the map {name} of {self.cache.network} has numbers that float16 "
                    f"cannot hold; train without the cache"
                )
            maps = dict(zip(missing, made, strict=True))
            store.add(maps)
            known |= {key: values.half().to(values.dtype) for key, values in maps.items()}
        return torch.stack([known[key] for key in self.keys_of]).to(self.images.device)

    def _made(self, missing: Mapping[bytes, int]) -> Maps:
        keys = tuple(missing)
        if keys not in self.made:
            self.made[keys] = self.compute(self.images[[*missing.values()]])
        return self.made[keys]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@contextmanager
def views_seen_once() -> Iterator[None]:
    """Keep no maps meanwhile: views around boxes just predicted, which do not come again."""
    token = _is_kept.set(False)
    try:
        yield
    finally:
        _is_kept.reset(token)


# As a partial before a network's forward: a deep copy has its own, of a closure not
@torch.compiler.disable
def _remembering(part: nn.Module, forward: Any, cache: FeatureCache, images: Tensor) -> Maps:
    return cache.maps(part, forward, images) if _is_kept.get() else _computed(part, forward, images)


def remember_frozen(model: nn.Module, cfg: CfgNode) -> None:
    """Let a detector's frozen backbone read its maps from ``WEND.DATA.FEATURE_CACHE``, in place.

    Below a pyramid it is the network alone, whatever its weights are when it is called. Where the
    entry is empty nothing happens.

    Raises:
        InputError: the backbone is not frozen, or not known.
    """
    folder = cfg.WEND.DATA.FEATURE_CACHE
    if not folder:
        return
    backbone = getattr(model, "backbone", None)
    part = getattr(backbone, "bottom_up", backbone)
    part = getattr(part, "body", part)
    if not isinstance(part, nn.Module) or not (
        hasattr(part, "channels") or hasattr(part, "output_shape")
    ):
        raise InputError(
            f"{_ENTRY}: {type(model).__name__} has no backbone whose maps could be kept; set it "
            f"to ''"
        )
    trained = [name for name, parameter in part.named_parameters() if parameter.requires_grad]
    if trained:
        raise InputError(
            f"{_ENTRY}: expected a backbone that is frozen as a whole, MODEL.BACKBONE.FREEZE_AT 5, "
            f"got FREEZE_AT {cfg.MODEL.BACKBONE.FREEZE_AT}; set that, or the cache to ''"
        )
    cache = FeatureCache(Path(folder), network_of(cfg))
    part.forward = partial(_remembering, part, part.forward, cache)
