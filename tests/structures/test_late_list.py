"""A list that is made when it is read is that list, whoever asks it for what."""

import copy
import json
import operator
import pickle
import weakref

import pytest

from wend.structures.late_list import LateList

ITEMS = [3, 1, 2]


class _Late(LateList):
    times = 0

    def make(self):
        self.times += 1
        return iter(ITEMS)


def _late():
    return _Late(3)


READS = {
    "list": list,
    "tuple": tuple,
    "unpacked": lambda x: [*x],
    "first": lambda x: x[0],
    "last": lambda x: x[-1],
    "slice": lambda x: x[1:],
    "step": lambda x: x[::-1],
    "iterated": lambda x: [item for item in x],  # noqa: C416
    "zipped": lambda x: list(zip(x, x, strict=True)),
    "reversed": lambda x: list(reversed(x)),
    "sorted": sorted,
    "in": lambda x: 2 in x,
    "index": lambda x: x.index(2),
    "count": lambda x: x.count(2),
    "copy": lambda x: x.copy(),
    "copied": copy.copy,
    "deeply": copy.deepcopy,
    "pickled": lambda x: pickle.loads(pickle.dumps(x)),  # noqa: S301 (our own)
    "json": json.dumps,
    "repr": repr,
    "equal": lambda x: (x == ITEMS, ITEMS == x, x != ITEMS, x < [4]),
    "plus": lambda x: x + [4],  # noqa: RUF005
    "plus of a list": lambda x: [4] + x,  # noqa: RUF005
    "times": lambda x: (x * 2, 2 * x),
    "extends": lambda x: [4].__iadd__(x),
    "into a slice": lambda x: operator.setitem(y := [0, 0], slice(0, 1), x) or y,
}
CHANGES = {
    "set": lambda x: operator.setitem(x, 1, 9),
    "set a slice": lambda x: operator.setitem(x, slice(0, 2), [9]),
    "delete": lambda x: operator.delitem(x, 0),
    "append": lambda x: x.append(9),
    "insert": lambda x: x.insert(0, 9),
    "extend": lambda x: x.extend([8, 9]),
    "in place": lambda x: operator.iadd(x, [9]),
    "repeat": lambda x: operator.imul(x, 2),
    "pop": lambda x: x.pop(),
    "remove": lambda x: x.remove(1),
    "clear": lambda x: x.clear(),
    "reverse": lambda x: x.reverse(),
    "sort": lambda x: x.sort(),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_it_is_read_as_the_list(read):
    assert read(_late()) == read(list(ITEMS))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_it_is_changed_as_the_list(change):
    late, items = _late(), list(ITEMS)
    change(late)
    change(items)
    assert list(late) == items
    assert len(late) == len(items)


def test_two_of_them_are_compared_and_joined():
    assert _late() == _late()
    assert _late() + _late() == ITEMS + ITEMS


def test_no_method_of_lists_is_left_out():
    unchanged = {"__len__", "__sizeof__", "__new__", "__init__", "__hash__", "__doc__"}
    own = vars(list).keys() - unchanged - {"__getattribute__", "__class_getitem__"}
    assert own <= vars(LateList).keys()


def test_nothing_holds_it_but_its_users():
    late = _late()
    assert late[0] == 3
    gone = weakref.ref(late)
    del late
    assert gone() is None


def test_its_items_are_made_once_and_not_before_they_are_read():
    late = _late()
    assert len(late) == 3
    assert late
    assert (late.is_made, late.times) == (False, 0)
    assert late[0] == late[0] == 3
    assert (late.is_made, late.times) == (True, 1)
