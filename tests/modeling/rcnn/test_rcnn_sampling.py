"""wend.modeling.rcnn.sampling: how many are drawn, as torchvision's sampler does, and which."""

import pytest
import torch
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from wend.modeling.rcnn.sampling import subsample


def labels_of(*counts, size=100):
    """Images with so many positives, so many negatives; others are ignored; in a random order."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for positives, negatives in counts:
        row = torch.full((size,), -1)
        row[:positives], row[positives : positives + negatives] = 1, 0
        rows.append(row[torch.randperm(size, generator=generator)])
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("number", "fraction"), [(16, 0.5), (16, 0.25), (16, 1.0), (16, 0.0), (1, 0.5), (256, 0.5)]
)
def test_as_many_of_each_kind_as_torchvision_draws(number, fraction):
    labels = labels_of((40, 60), (2, 98), (0, 100), (100, 0), (30, 5), (0, 0), (3, 4))
    samples = subsample(labels, number, fraction)
    assert samples.row_index.shape == (7, min(number, 100))
    positive, negative = BalancedPositiveNegativeSampler(number, fraction)([*labels])
    for image in range(7):
        index, is_sample, is_positive = (each[image] for each in samples)
        assert int(is_positive.sum()) == int(positive[image].sum())
        assert int((is_sample & ~is_positive).sum()) == int(negative[image].sum())
        chosen = index[is_sample]
        assert len(chosen.unique()) == len(chosen)
        assert torch.equal(labels[image][chosen], is_positive[is_sample].long())
        # positives, negatives, none
        assert is_sample.long().diff().le(0).all()
        assert is_positive.long().diff().le(0).all()


def test_each_of_a_kind_is_as_likely():
    labels = labels_of((10, 20), size=40).expand(4000, -1)
    generator = torch.Generator().manual_seed(1)
    index, is_sample, _ = subsample(labels, 8, 0.5, generator)
    drawn = torch.zeros(40).index_add(0, index[is_sample], torch.ones(int(is_sample.sum())))
    positives, negatives = drawn[labels[0] == 1], drawn[labels[0] == 0]
    # 4 of 10: 1600, sd sqrt(4000 · 0.4 · 0.6) = 31; 4 of 20: 800, sd sqrt(4000 · 0.2 · 0.8) = 25
    assert (positives - 1600).abs().max() < 5 * 31
    assert (negatives - 800).abs().max() < 5 * 25
    assert drawn[labels[0] == -1].sum() == 0


def test_the_generator_decides():
    labels = labels_of((10, 20), (20, 10), size=40)
    first, again, other = (
        subsample(labels, 8, 0.5, torch.Generator().manual_seed(seed)).row_index
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
