"""wend.formats.wsoleval: lists read by columns are those read line by line."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wend.errors import InputError
from wend.formats import wsoleval
from wend.formats.wsoleval import read_list

NAMES = ["a.jpg", "b, c.jpg", '"d', " e", "0xf", "", "NULL"]
NUMBERS = ["1", "-7", "+2", "1.50", " 3 ", "1e3", "0x10", "nan", "inf", "007", "1" * 40, "1e400"]
ODD_NUMBERS = [".1", "5e-324", "4_0", "\u0663", "\u00a05"]
FIELDS = st.sampled_from([*NAMES, *NUMBERS, *ODD_NUMBERS])


def line_by_line(monkeypatch):
    monkeypatch.setattr(wsoleval, "_read_columns", lambda *_: None)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.lists(FIELDS, min_size=1, max_size=4), max_size=4),
    end=st.sampled_from(["\n", "\r\n", "\r", "\n\n", " \n"]),
    columns=st.integers(0, 2),
    kind=st.sampled_from([int, float]),
)
@example([["a.jpg", "1", "2"], ["b.jpg", "3", "0.1"]], "\n", 2, float)
@example([["a.jpg", "1"], ["a.jpg", "4_0"]], "\n", 1, int)
@example([["\u2028x", "1"], ["y\x0b", "2"]], "\n", 1, int)
def test_by_columns_and_line_by_line_agree(tmp_path_factory, rows, end, columns, kind):
    path = tmp_path_factory.mktemp("list") / "list.txt"
    path.write_bytes("".join(",".join(row) + end for row in rows).encode())
    titles = ["x", "y"][:columns]
    results = []
    for by_columns in (True, False):
        with pytest.MonkeyPatch.context() as monkeypatch:
            if not by_columns:
                line_by_line(monkeypatch)
            try:
                names, numbers = read_list(path, titles, kind)
                results.append((names, numbers.tolist(), numbers.shape))
            except InputError as error:
                results.append(str(error))
    assert results[0] == results[1]


def test_a_plain_list_is_read_by_columns(tmp_path, monkeypatch):
    path = tmp_path / "list.txt"
    path.write_text("c/a.jpg,1,2.5\nc/b.jpg,3,4\n")
    monkeypatch.setattr(wsoleval, "read_lines", None)
    names, numbers = read_list(path, ("x", "y"), float)
    assert names == ["c/a.jpg", "c/b.jpg"]
    assert numbers.tolist() == [[1, 2.5], [3, 4]]
