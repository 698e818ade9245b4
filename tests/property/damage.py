"""Damaged files: what can happen to bytes, and to the values of a JSON file."""

import json
import re

from hypothesis import strategies as st

HUGE = ("1e308", "-1e308", "1e400", "1" + "0" * 400, "1" * 5000)
NO_NUMBERS = ("NaN", "Infinity", "-Infinity", "nan", "inf", "", "abc", "0x10", "1,5", "--1", "१e")
WORDS = (*HUGE, *NO_NUMBERS, "-1", "0", "1e-320", "1.5", "99999999999999999999")
NUMBER = re.compile(rb"-?\d+(\.\d+)?(e-?\d+)?")
HARMLESS = ("crlf", "bom", "newlines at the end")
BROKEN_TEXT = ("utf-16", "no utf-8", "empty")  # no reader can take these


class Raw(str):
    """Text that goes into the JSON as it is."""


class Pairs(list):
    """A JSON object that may hold a key twice."""


def dump(value):
    """JSON text of a value with Raw and Pairs in it."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        value = Pairs(value.items())
    if isinstance(value, Pairs):
        inside = ", ".join(f"{json.dumps(key)}: {dump(held)}" for key, held in value)
        return f"{{{inside}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(dump, value))}]"
    return json.dumps(value)


def nested(depth, kind="[]"):
    """A value so many levels deep."""
    if kind == "[]":
        return Raw("[" * depth + "]" * depth)
    return Raw('{"a": ' * depth + "1" + "}" * depth)


odd_values = st.one_of(
    st.sampled_from([None, True, False, [], {}, "x", "", "\0", "\ud800", "..", "../x", "/x/y"]),
    st.sampled_from([-1, 0, 1, 2**31, 2**53 + 1, 2**63, 2**64, 1.5, -0.0, 1e15, 1e155, 1e299]),
    st.sampled_from([1e308, -1e308, 5e-324, "1", "1.5", [1], [[1, 2, 3, 4]], {"id": 1}]),
    st.sampled_from([Raw("NaN"), Raw("Infinity"), Raw("-Infinity"), Raw("1e400"), Raw("01")]),
    st.sampled_from([Raw("1" + "0" * 400), Raw("1" * 5000), Raw("-1" + "0" * 400)]),
    st.builds(nested, st.sampled_from([5, 700, 870, 900, 930, 950, 970, 2000, 100_000])),
    st.builds(nested, st.sampled_from([5, 400, 450, 480, 2000]), st.just("{}")),
)


def places(value, path=()):
    """The path of each value in a tree of dicts and lists."""
    yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
    else:
        items = ()
    for key, held in items:
        yield from places(held, (*path, key))


def replaced(value, path, change):
    """A copy with ``change(old)`` at a path."""
    if not path:
        return change(value)
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], change)
    return copy


@st.composite
def damaged_json(draw, value, fields=None, unread=()):
    """Text of a JSON value with one thing wrong in it, and what that is.

    Kinds: "odd value" (of one of the fields), "no key", "same key twice" (with the same value:
    harmless), "key twice" (with another value: only an error is right), "unread key twice" (of the
    fields that no reader looks at, as paths without indices: anything valid may come).
    """
    kind = draw(
        st.sampled_from(["odd value", "odd value", "no key", "key twice", "same key twice"])
    )
    inside = [path for path in places(value) if path and (not fields or set(path) & set(fields))]
    if kind == "odd value":
        path = draw(st.sampled_from([(), *inside]))
        return dump(replaced(value, path, lambda old: draw(odd_values))), kind
    path = draw(st.sampled_from([path for path in inside if isinstance(path[-1], str)]))
    key = path[-1]

    def change(held):
        rest = [(k, v) for k, v in held.items() if k != key]
        if kind == "no key":
            return Pairs(rest)
        second = held[key] if kind == "same key twice" else other(held[key])
        return Pairs(draw(st.permutations([*rest, (key, held[key]), (key, second)])))

    names = tuple(name for name in path if isinstance(name, str))
    if kind == "key twice" and any(names[: len(field)] == field for field in unread):
        kind = "unread key twice"
    return dump(replaced(value, path[:-1], change)), kind


def other(value):
    """A value of the same type that is not the same."""
    if isinstance(value, list):
        return [other(value[0]), *value[1:]] if value else [1]
    if isinstance(value, dict):
        return {**value, "more": 1}
    return f"{value}2" if isinstance(value, str) else (value or 0) + 1


@st.composite
def damaged_bytes(draw, data):
    """A file's bytes with something wrong, and what: see HARMLESS and BROKEN_TEXT."""
    kind = draw(
        st.sampled_from(
            [
                *("cut", "cut", "byte", "byte", "inserted", "removed", "line twice", "number"),
                *("number", "number", "binary", *HARMLESS, *BROKEN_TEXT),
            ]
        )
    )
    place = draw(st.integers(0, max(len(data) - 1, 0)))
    end = draw(st.integers(place, min(len(data), place + 20)))
    if kind == "byte":
        damaged = data[:place] + bytes([draw(st.integers(0, 255))]) + data[place + 1 :]
    elif kind == "inserted":
        damaged = data[:place] + draw(st.binary(min_size=1, max_size=20)) + data[place:]
    elif kind == "removed":
        damaged = data[:place] + data[end:]
    elif kind == "line twice":
        lines = data.splitlines(keepends=True) or [b""]
        line = draw(st.sampled_from(range(len(lines))))
        damaged = b"".join([*lines[: line + 1], *lines[line:]])
    elif kind == "number":
        numbers = list(NUMBER.finditer(data))
        if numbers:
            chosen = draw(st.sampled_from(numbers))
            word = draw(st.sampled_from(WORDS)).encode()
            damaged = data[: chosen.start()] + word + data[chosen.end() :]
        else:
            damaged = data
    else:
        damaged = {
            "cut": data[:place],
            "binary": draw(st.binary(max_size=200)),
            "crlf": data.replace(b"\n", b"\r\n"),
            "bom": b"\xef\xbb\xbf" + data,
            "newlines at the end": data + b"\n\n",
            "utf-16": data.decode().encode("utf-16"),
            "no utf-8": data[:place] + b"\xff\xfe\xfa" + data[place:],
            "empty": b"",
        }[kind]
    return damaged, kind
