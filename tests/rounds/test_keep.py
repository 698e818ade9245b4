"""Which boxes are kept, by hand."""

import numpy as np
import pytest

from wend.rounds.keep import AGREED, KEEP
from wend.rounds.looks import Fused
from wend.structures.box_table import BoxTable

LEFT, RIGHT, NEAR_LEFT = [0.0, 0, 10, 10], [50.0, 0, 60, 10], [0.0, 0, 10, 8]
SURE, UNSURE = AGREED + 0.1, AGREED - 0.1


def fused(*images):
    """Fused boxes of images, each a list of (box, agreement), best first."""
    number = max(map(len, images), default=0)
    falling = [[(number - i) / 10 for i in range(len(image))] for image in images]
    boxes = BoxTable.from_lists([[box for box, _ in image] for image in images], falling)
    return Fused(boxes, np.array([agreement for image in images for _, agreement in image]))


def kept(name, present, new):
    table = KEEP[name](BoxTable.from_lists([present]), fused(new))
    assert table.scores is not None
    return [[*map(float, box)] for box in table[0]], table.scores.tolist()


@pytest.mark.parametrize(
    ("name", "present", "new", "expected"),
    [
        # one box: the new one where the looks agree on it, or always
        ("agreed", [LEFT], [(RIGHT, SURE)], [(RIGHT, SURE)]),
        ("agreed", [LEFT], [(RIGHT, UNSURE)], [(LEFT, 0)]),
        ("agreed", [LEFT], [(NEAR_LEFT, UNSURE)], [(LEFT, 0.8 * UNSURE)]),  # IoU 0.8
        ("all", [LEFT], [(RIGHT, UNSURE)], [(RIGHT, UNSURE)]),
        ("all", [LEFT], [], [(LEFT, 0)]),  # nothing was seen
        # the number stays: of more fused boxes the best
        ("all", [LEFT], [(RIGHT, SURE), (NEAR_LEFT, 1.0)], [(RIGHT, SURE)]),
        # two boxes, of which the looks agree on one: the other stays where it is another object's
        ("agreed", [LEFT, RIGHT], [(NEAR_LEFT, SURE)], [(NEAR_LEFT, SURE), (RIGHT, 0)]),
        ("agreed", [LEFT, LEFT], [(NEAR_LEFT, SURE)], [(NEAR_LEFT, SURE)]),
        (
            "agreed",
            [LEFT, RIGHT],
            [(NEAR_LEFT, UNSURE), (RIGHT, SURE)],
            [(RIGHT, SURE), (LEFT, 0.8 * UNSURE)],
        ),
        ("agreed", [], [(RIGHT, SURE)], []),  # no box was given
    ],
)
def test_boxes_of_an_image(name, present, new, expected):
    boxes, scores = kept(name, present, new)
    assert boxes == [box for box, _ in expected]
    np.testing.assert_allclose(scores, [score for _, score in expected], atol=1e-12)


def test_images_without_agreement_are_left_out_unless_that_are_all():
    present = BoxTable.from_lists([[LEFT], [LEFT]])
    table = KEEP["only-agreed"](present, fused([(RIGHT, SURE)], [(RIGHT, UNSURE)]))
    assert table.counts.tolist() == [1, 0]
    assert table[0].tolist() == [RIGHT]
    table = KEEP["only-agreed"](present, fused([(RIGHT, UNSURE)], []))
    assert table.boxes.tolist() == [LEFT, LEFT]
