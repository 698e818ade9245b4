"""A method of the user's own that does not do what a method does is named, with what it did."""

import numpy as np
import pytest
import torch

from wend.errors import InputError
from wend.localize.boxes import NOTHING_FOUND
from wend.localize.methods import with_options
from wend.localize.patch_run import PatchOptions, boxes_of_maps

FLOAT32 = np.float32(1)
MAPS = torch.arange(24.0).reshape(1, 2, 3, 4)


def fails(descriptors, shape):
    raise ZeroDivisionError("a bug of mine")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            fails,
            r"--method mine failed; its own traceback:\n(.*\n)+ZeroDivisionError: a bug of mine",
        ),
        (lambda _, shape: None, "--method mine: expected a list of masks, got NoneType"),
        (lambda _, shape: np.ones(shape, bool), "expected a list of masks, got ndarray"),
        (lambda _, shape: [np.ones(shape)], r"masks of bool \(3, 4\) .*, got float64 \(3, 4\)"),
        (lambda _, shape: [np.zeros(shape, bool)], "got bool .*, which is empty"),
        (lambda _, shape: [np.ones(shape[::-1], bool)], r"got bool \(4, 3\)"),
    ],
    ids=["raises", "none", "array", "floats", "empty", "transposed"],
)
def test_it_ends_in_one_error(method, message):
    with pytest.raises(InputError, match=message):
        boxes_of_maps(MAPS, PatchOptions("mine", method))


def test_no_mask_is_nothing_found():
    assert boxes_of_maps(MAPS, PatchOptions("mine", lambda _, shape: [])) == [(NOTHING_FOUND,)]


def without(descriptors, shape, *, wide):
    return []


@pytest.mark.parametrize(
    ("method", "given", "has"),
    [
        (without, {"wide": "2"}, "none"),
        (without, {}, "none"),
        (lambda _, shape, *, wide=None: [], {"wide": "2"}, "None"),
        (lambda _, shape, *, wide=(1, 2): [], {}, r"\(1, 2\)"),
        (lambda _, shape, *, wide=FLOAT32: [], {}, "1.0"),
    ],
    ids=["none", "none given", "None", "tuple", "float32"],
)
def test_an_option_needs_a_default_that_says_its_type(method, given, has):
    with pytest.raises(InputError, match=f"--method mine: .* its option wide .*; it has .*{has}"):
        with_options("mine", method, given)
