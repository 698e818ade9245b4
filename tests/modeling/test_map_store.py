"""The files of WEND.DATA.FEATURE_CACHE: what is kept, and disks that refuse."""

import os
import sqlite3
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from wend.errors import InputError
from wend.modeling.feature_cache import FeatureCache, MapStore

KEYS = [bytes([i]) * 16 for i in range(3)]
MAPS = {key: torch.full((2, 3, 4), float(i)) for i, key in enumerate(KEYS)}


def test_a_folder_that_may_only_be_read_gives_its_maps_and_takes_no_more(tmp_path, monkeypatch):
    path = tmp_path / "res4-56x56"
    store = MapStore(path)
    store.add({key: MAPS[key] for key in KEYS[:2]})
    store.close()
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    monkeypatch.setattr(os, "access", lambda *_: False)
    store = MapStore(path)
    known = store.get(KEYS)
    assert known.keys() == set(KEYS[:2])
    assert all(torch.equal(known[key], MAPS[key]) for key in known)
    with pytest.raises(InputError, match=r"res4-56x56\.f16: may be read only, and lacks maps of 1"):
        store.add({KEYS[2]: MAPS[KEYS[2]]})
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_full_disk_is_named_and_what_was_kept_stays(tmp_path, monkeypatch):
    path = tmp_path / "res4-56x56"
    store = MapStore(path)
    store.add({KEYS[0]: MAPS[KEYS[0]]})

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match=r"No space left on device: .*res4-56x56\.f16"):
            store.add({KEYS[1]: MAPS[KEYS[1]]})
    (pages,) = store.connection.execute("PRAGMA page_count").fetchone()
    store.connection.execute(f"PRAGMA max_page_count = {pages}")
    many = {i.to_bytes(16, "big"): MAPS[KEYS[1]] for i in range(2000)}
    with pytest.raises(InputError, match=r"res4-56x56\.db: .* cannot be used \(.*full\); set conf"):
        store.add(many)
    assert len(store) == 1
    assert torch.equal(MapStore(path).get(KEYS)[KEYS[0]], MAPS[KEYS[0]])


def test_two_writers_keep_each_map_once(tmp_path):
    first, second = (MapStore(tmp_path / "res4-56x56") for _ in range(2))
    first.add({KEYS[0]: MAPS[KEYS[0]], KEYS[1]: MAPS[KEYS[1]]})
    second.add({KEYS[2]: MAPS[KEYS[2]], KEYS[1]: torch.zeros(2, 3, 4)})
    assert len(first) == len(second) == 3
    for store in (first, second):
        assert all(torch.equal(value, MAPS[key]) for key, value in store.get(KEYS).items())
    connection = sqlite3.connect(tmp_path / "res4-56x56.db")
    assert sorted(row for (row,) in connection.execute("SELECT row FROM maps")) == [0, 1, 2]


def _place(cache, network):
    cache.maps(network, network, torch.zeros(1, 3, 4, 4))
    return cache._place


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = nn.Conv2d(3, 2, 1)
    network.channels = {"res4": 2}
    return network


def test_weights_that_are_replaced_or_written_to_are_another_folder(tmp_path, network):
    cache = FeatureCache(tmp_path, "own")
    places = [_place(cache, network)]
    network.weight = nn.Parameter(network.weight.detach() + 1)
    places.append(_place(cache, network))
    network.weight.data = network.weight.data + 1
    places.append(_place(cache, network))
    with torch.no_grad():
        network.weight.add_(1)
    places.append(_place(cache, network))
    assert len(set(places)) == 4
    assert _place(cache, network) == places[-1]
    with torch.no_grad():
        network.weight.sub_(1)
    assert _place(cache, network) == places[2]
    assert _place(FeatureCache(tmp_path, "own"), network) == places[2]


def test_other_settings_of_the_same_weights_are_another_folder(tmp_path, network):
    """As Detectron2's MODEL.RESNETS.STRIDE_IN_1X1, or an entry that a backbone of one's own has."""

    def place():
        return _place(FeatureCache(tmp_path, "own"), network)

    places = [place()]
    network.stride = (2, 2)
    places.append(place())
    network.temperatures = {"res4": [0.5]}
    places.append(place())
    assert len(set(places)) == 3
    network.eval()
    assert place() == places[-1]


def test_other_code_is_another_folder(tmp_path, network, monkeypatch):
    def place():
        return _place(FeatureCache(tmp_path, "own"), network)

    before = place()
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert place() != before
    monkeypatch.undo()
    own = ModuleType("own_backbone")
    own.__file__ = str(tmp_path / "own_backbone.py")
    (tmp_path / "own_backbone.py").write_text("def forward(x): return x\n")
    monkeypatch.setitem(sys.modules, "own_backbone", own)
    network.__class__ = type("Own", (nn.Conv2d,), {"__module__": "own_backbone"})
    first = place()
    (tmp_path / "own_backbone.py").write_text("def forward(x): return 2 * x\n")
    assert place() != first != before
