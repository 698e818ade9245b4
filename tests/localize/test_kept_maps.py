"""Which batches are made and which are kept, and that a network's pass keeps to it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from wend.classes.preprocessing import Preprocessing
from wend.errors import InputError
from wend.localize.backbones import Backbone
from wend.localize.kept_maps import KeptMaps
from wend.localize.network_pass import NetworkPass
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

A, B, C = (0, 1), (2, 3), (4,)


@pytest.mark.parametrize(
    ("limit", "plan", "again", "made", "kept"),
    [
        # each image takes 10 bytes, so that a pair takes 20
        (0, [A, A], True, [True, True], [False, False]),
        (100, [A, B, C], False, [True, True, True], [False, False, False]),
        (100, [A, B, A, B], False, [True, True, False, False], [True, True, False, False]),
        (20, [A, B, A, B], False, [True, True, False, True], [True, False, False, False]),
        (20, [A, A, B, B], False, [True, False, True, False], [True, False, True, False]),
        (39, [A, B, C], True, [True, True, True], [True, False, True]),
        (40, [A, B, A], True, [True, True, False], [True, True, True]),
        (float("inf"), [A, B, A], True, [True, True, False], [True, True, True]),
        (20, [A, B, B, A], False, [True, True, True, False], [True, False, False, False]),
    ],
)
def test_batches_that_come_first_are_kept_till_their_last_turn(limit, plan, again, made, kept):
    turns = KeptMaps(limit).turns("net", plan, 10, again)
    assert [turn.made for turn in turns] == made
    assert [turn.kept for turn in turns] == kept
    # a second account: never more in memory than allowed, and only what is there is not made
    there = set()
    for turn in turns:
        assert turn.made == (turn.batch not in there)
        (there.add if turn.kept else there.discard)(turn.batch)
        assert 10 * sum(map(len, there)) <= limit


def test_memory_is_shared_by_networks_whose_maps_are_told_apart():
    memory = KeptMaps(40)
    memory.keep("first", A, "a", 20)
    assert [turn.made for turn in memory.turns("first", [A, B], 10, True)] == [False, True]
    turns = memory.turns("second", [A, B], 10, True)
    assert [(turn.made, turn.kept) for turn in turns] == [(True, True), (True, False)]
    memory.keep("first", A, "anew", 20)  # in the place of the old one
    assert memory.get("first", A) == "anew"
    memory.drop("first", A)
    memory.drop("first", A)
    assert all(turn.kept for turn in memory.turns("second", [A, B], 10, True))


class Counted(nn.Module):
    """A map of colours, whose values depend on who else is in the batch, as rounding may."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, images):
        self.sizes.append(len(images))
        return nn.functional.avg_pool2d(images, 8) + 1e-3 * images.mean()


@pytest.fixture
def network(tmp_path):
    """Six images, of which the fourth is damaged; makes a pass over them."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(6):
        file = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file)
        records.append(ImageRecord(number, str(file), 16, 16, f"c/{number}.png", 0))
    file = tmp_path / "3.png"
    file.write_bytes(file.read_bytes()[:50])
    data_set = DataSet.from_records(records)

    def make(limit=0, **options):
        pixels = Preprocessing("squash", 16, 16, False, "bilinear")
        options = {"num_workers": 0, "skip_unreadable": True, **options}
        backbone = Backbone(Counted(), pixels, {})
        return NetworkPass(backbone, data_set, torch.device("cpu"), kept=KeptMaps(limit), **options)

    return make


PLAN = [range(0, 2), range(2, 4), range(4, 6)]


@pytest.mark.parametrize(("images", "passes"), [(6, 3), (4, 4), (0, 6)])
def test_what_is_kept_is_what_the_network_gave(network, images, passes):
    """A channel has 2x2 cells, so that an image takes 48 bytes."""
    every = network()
    first = [(p.maps, p.errors) for p in every.batches(PLAN)]
    assert every.model.sizes == [2, 1, 2]
    some = network(48 * images)
    assert some.fits(images)
    assert not some.fits(images + 1)
    list(some.batches(PLAN, again=True))
    for passed, (maps, errors) in zip(some.batches(PLAN), first, strict=True):
        assert torch.equal(passed.maps, maps)
        assert passed.errors == errors
    assert len(some.model.sizes) == 1 + passes  # and one to learn the maps' size
    if images:
        assert next(some.batches(PLAN[:1])).network > 0  # it went with its last look
    with pytest.raises(InputError, match=r"3\.png: cannot be read"):
        list(network(skip_unreadable=False).batches(PLAN))


def test_batches_of_other_images_are_not_mistaken(network):
    kept = network(1000, shared=True)
    list(kept.batches([range(0, 2), range(4, 6)]))
    (mixed,) = kept.batches([[1, 4]])
    (alone,) = network().batches([[1, 4]])
    assert torch.equal(mixed.maps, alone.maps)
    assert kept.model.sizes == [1, 2, 2, 2]
    list(kept.batches([[0, 1], [1, 4], [4, 5]]))  # all are there, whoever asks
    assert kept.model.sizes == [1, 2, 2, 2]


def test_what_does_not_fit_is_said_once(network, caplog):
    caplog.set_level("INFO", "wend")
    some = network(48 * 4)
    for _ in range(3):
        list(some.batches(PLAN, again=True))
    assert caplog.text.count("maps of 4 of 6 images fit; the others go through the network") == 1
