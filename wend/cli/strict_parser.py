"""The parser of every command: no flag twice, no number that only Python reads.

A list that is given twice is both lists (``--protocol a --protocol b``); a single value that is
given twice is an error, and so is a flag that is not written out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from wend.numerals import decimal_number, whole_number

Number = TypeVar("Number", int, float)


class _Given(argparse.Action):
    """Keeps a flag's value; of a flag with any number of values, those of all its mentions."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        assert isinstance(parser, StrictParser)
        if option_string is not None and self.dest in parser.given:
            if self.nargs not in ("+", "*"):
                parser.error(f"argument {option_string}: is given twice; give it once")
            values = [*getattr(namespace, self.dest), *values]
        parser.given.add(self.dest)
        setattr(namespace, self.dest, values)


class Gone(argparse.Action):
    """A flag of earlier versions: an error that says what is instead of it (its ``help``).

    It stands in no help text.
    """

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs="?", default=argparse.SUPPRESS)
        self.instead = help
        self.help = argparse.SUPPRESS

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Refuse the flag."""
        parser.error(f"argument {option_string}: is gone; {self.instead}")


def _argument(read: Callable[[str], Number]) -> Callable[[str], Number]:
    def value(text: str) -> Number:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return value


class StrictParser(argparse.ArgumentParser):
    """``ArgumentParser`` with the rules above, for its subparsers, too.

    Attributes:
        given: destinations of the flags that came so far.
        intermixed: whether flags may stand between the words that are no flags.
    """

    intermixed = False

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **arguments})
        for name in (None, "store"):
            self.register("action", name, _Given)
        self.register("type", int, _argument(whole_number))
        self.register("type", float, _argument(decimal_number))
        self.given: set[str] = set()

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse anew: nothing is given yet."""
        self.given = set()
        if self.intermixed:
            self.intermixed = False  # it parses twice by this method
            try:
                return self.parse_known_intermixed_args(args, namespace)
            finally:
                self.intermixed = True
        return super().parse_known_args(args, namespace)
