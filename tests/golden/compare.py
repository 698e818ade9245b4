"""Compares two golden records file by file and byte by byte.

    python tests/golden/compare.py A B [--ignore PATTERN ...] [--accept FILE]

Prints a line for each file; the exit status is 1 if any differs or is only in one of them, unless
a file of accepted differences explains all that is different (``README.md`` describes its rules).
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

TEXT = (".json", ".jsonl", ".csv", ".md", ".tex", ".txt", ".yaml")
LONGEST = 2_000_000  # bytes; of larger files only the first difference is said
APART = 64  # of 255; pixels that differ by more show something else, not another edge of a line


@dataclass(frozen=True)
class Accepted:
    """Differences that are meant, and why; the rest of the files must still be equal.

    Attributes:
        reason: why it is meant.
        files: patterns of paths in the record.
        replace: regular expression -> replacement, over the lines of A.
        added: regular expressions of whole lines that do not count.
        table: rows of Markdown tables are compared by their cells instead: as many first cells say
            which row it is, and each number behind them in A must be in a row of that name in B.
        pixels: of pictures: ``from_row``, and ``share`` of the pixels below it that may be apart.
        only_in_b: the files are new.
    """

    reason: str
    files: Sequence[str]
    replace: Mapping[str, str] = field(default_factory=dict)
    added: Sequence[str] = ()
    table: int = 0
    pixels: Mapping[str, Any] | None = None
    only_in_b: bool = False

    def is_for(self, name: str) -> bool:
        """Whether a file's path has one of the patterns."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.files)


def table_numbers(lines: Sequence[str], first: int) -> dict[tuple[str, ...], set[float]]:
    """The numbers in the rows of Markdown tables, by a row's first cells."""
    numbers: dict[tuple[str, ...], set[float]] = {}
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        row = numbers.setdefault(tuple(cells[:first]), set())
        row |= {float(cell) for cell in cells[first:] if re.fullmatch(r"[0-9.]+", cell)}
    return {name: row for name, row in numbers.items() if row}


def same_pictures(a: Path, b: Path, from_row: int, share: float) -> bool:
    """Whether two pictures show the same, but for the edges of lines and the rows at the top."""
    from PIL import Image

    before, after = (np.asarray(Image.open(path).convert("RGB"), dtype=int) for path in (a, b))
    if before.shape != after.shape:
        return False
    return bool((abs(before - after).max(2)[from_row:] > APART).mean() <= share)


def same_texts(before: list[str], after: list[str], rules: Sequence[Accepted]) -> bool:
    """Whether the lines of A are those of B once all rules were followed."""
    added = [re.compile(pattern) for rule in rules for pattern in rule.added]
    before, after = (
        [line for line in lines if not any(pattern.fullmatch(line) for pattern in added)]
        for lines in (before, after)
    )
    for rule in rules:
        for pattern, replacement in rule.replace.items():
            before = [re.sub(pattern, replacement, line) for line in before]
        if rule.table:
            rows = [[line for line in lines if line.startswith("|")] for lines in (before, after)]
            a, b = (table_numbers(lines, rule.table) for lines in rows)
            if a.keys() != b.keys() or any(not a[name] <= b[name] for name in a):
                return False
            before, after = ([t for t in s if not t.startswith("|")] for s in (before, after))
    return before == after


def explains(name: str, a: Path, b: Path, accepted: Sequence[Accepted]) -> bool:
    """Whether all that differs in a file is accepted."""
    rules = [rule for rule in accepted if rule.is_for(name)]
    if not rules:
        return False
    if not name.endswith(TEXT):
        return any(rule.pixels and same_pictures(a, b, **rule.pixels) for rule in rules)
    before, after = (path.read_text(encoding="utf-8").splitlines() for path in (a, b))
    return same_texts(before, after, rules)


def list_files(folder: Path, ignored: Sequence[str]) -> dict[str, Path]:
    """The files below a folder by their relative path, without those that a pattern names."""
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return {
        name: path
        for name, path in files.items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in ignored)
    }


def describe(a: bytes, b: bytes, name: str, lines: int) -> list[str]:
    """Where two contents differ: lines of text, else the first byte."""
    if name.endswith(TEXT) and max(len(a), len(b)) <= LONGEST:
        before, after = (data.decode("utf-8", "replace").splitlines() for data in (a, b))
        changed = [
            line[:200]
            for line in difflib.unified_diff(before, after, "A", "B", n=0, lineterm="")
            if not line.startswith(("---", "+++", "@@"))
        ]
        return [*changed[:lines], *([f"... {len(changed)} lines"] if len(changed) > lines else [])]
    pairs = zip(a, b, strict=False)
    first = next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))
    return [f"{len(a)} and {len(b)} bytes, different from byte {first} on"]


def compare(
    a: Path,
    b: Path,
    ignored: Sequence[str],
    accepted: Sequence[Accepted],
    lines: int,
    quiet: bool,
) -> int:
    """Print how each file compares; returns how many differ otherwise than accepted."""
    files_a, files_b = list_files(a, ignored), list_files(b, ignored)
    different = explained = 0
    for name in sorted({*files_a, *files_b}):
        if name not in files_a or name not in files_b:
            if name in files_b and any(rule.only_in_b and rule.is_for(name) for rule in accepted):
                explained += 1
                continue
            sys.stdout.write(f"only in {'A' if name in files_a else 'B'}: {name}\n")
            different += 1
            continue
        content_a, content_b = files_a[name].read_bytes(), files_b[name].read_bytes()
        if content_a == content_b:
            if not quiet:
                sys.stdout.write(f"equal      {name}\n")
            continue
        if explains(name, files_a[name], files_b[name], accepted):
            explained += 1
            if not quiet:
                sys.stdout.write(f"accepted   {name}\n")
            continue
        sys.stdout.write(f"DIFFERENT  {name}\n")
        for line in describe(content_a, content_b, name, lines):
            sys.stdout.write(f"           {line}\n")
        different += 1
    total = len({*files_a, *files_b})
    equal = total - different - explained
    sys.stdout.write(f"{total} files, {equal} equal, {explained} accepted, {different} different\n")
    return different


def main() -> int:
    """Compare two records; returns the exit status."""
    parser = argparse.ArgumentParser(description="Compare two golden records.")
    parser.add_argument("a", metavar="A", type=Path, help="the earlier record")
    parser.add_argument("b", metavar="B", type=Path, help="the later record")
    parser.add_argument(
        "--ignore",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATTERN",
        help="files to leave out, such as '*.png' or 'detectors/configs_*'; * matches / too",
    )
    parser.add_argument(
        "--accept",
        type=Path,
        metavar="FILE",
        help="YAML with the differences that are meant, such as tests/golden/accepted.yaml",
    )
    parser.add_argument("--lines", type=int, default=6, help="differing lines that are shown (6)")
    parser.add_argument("--quiet", action="store_true", help="do not print the equal files")
    args = parser.parse_args()
    for folder in (args.a, args.b):
        if not folder.is_dir():
            parser.error(f"{folder}: there is no such folder")
    if not list_files(args.a, ()):
        parser.error(f"{args.a}: holds no file")
    accepted = []
    if args.accept:
        accepted = [Accepted(**rule) for rule in yaml.safe_load(args.accept.read_text("utf-8"))]
    return int(compare(args.a, args.b, args.ignore, accepted, args.lines, args.quiet) > 0)


if __name__ == "__main__":
    sys.exit(main())
