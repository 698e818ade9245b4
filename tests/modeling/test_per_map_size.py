import torch

from wend.modeling.layers.per_map_size import PerMapSize


def test_it_is_made_once_for_each_size_of_maps_and_holds_no_inference_tensors():
    made = []

    def make():
        made.append(torch.ones(3) * 2)
        return made[-1]

    known = PerMapSize(most=2)
    maps = [torch.zeros(1, 1, side, side) for side in (7, 4)]
    with torch.inference_mode():
        first = known.of(maps, make)
    assert known.of(maps, make) is first
    assert not first.is_inference()
    assert known.of(maps, make, "more") is not first
    known.of([torch.zeros(1, 1, 3, 3)], make)
    assert known.of(maps, make) is not first  # forgotten: the oldest of three
    assert len(made) == 4
