"""Compares two golden records file by file and byte by byte.

    python tests/golden/compare.py A B [--ignore PATTERN ...]

Prints a line for each file; the exit status is 1 if any differs or is only in one of them.
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import sys
from collections.abc import Sequence
from pathlib import Path

TEXT = (".json", ".jsonl", ".csv", ".md", ".tex", ".txt", ".yaml")
LONGEST = 2_000_000  # bytes; of larger files only the first difference is said


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


def compare(a: Path, b: Path, ignored: Sequence[str], lines: int, quiet: bool) -> int:
    """Print how each file compares; returns how many differ."""
    files_a, files_b = list_files(a, ignored), list_files(b, ignored)
    different = 0
    for name in sorted({*files_a, *files_b}):
        if name not in files_a or name not in files_b:
            sys.stdout.write(f"only in {'A' if name in files_a else 'B'}: {name}\n")
            different += 1
            continue
        content_a, content_b = files_a[name].read_bytes(), files_b[name].read_bytes()
        if content_a == content_b:
            if not quiet:
                sys.stdout.write(f"equal      {name}\n")
            continue
        sys.stdout.write(f"DIFFERENT  {name}\n")
        for line in describe(content_a, content_b, name, lines):
            sys.stdout.write(f"           {line}\n")
        different += 1
    total = len({*files_a, *files_b})
    sys.stdout.write(f"{total} files, {total - different} equal, {different} different\n")
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
    parser.add_argument("--lines", type=int, default=6, help="differing lines that are shown (6)")
    parser.add_argument("--quiet", action="store_true", help="do not print the equal files")
    args = parser.parse_args()
    for folder in (args.a, args.b):
        if not folder.is_dir():
            parser.error(f"{folder}: there is no such folder")
    if not list_files(args.a, ()):
        parser.error(f"{args.a}: holds no file")
    return int(compare(args.a, args.b, args.ignore, args.lines, args.quiet) > 0)


if __name__ == "__main__":
    sys.exit(main())
