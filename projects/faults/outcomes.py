"""The table: what was done, what came of it, what was promised."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """A row.

    Attributes:
        group: the group of faults.
        fault: what was done.
        where: engine and detector, or the command.
        moment: when.
        expected: what is promised.
        outcome: what came of it.
        lost: iterations that had to be done again; None where that is no question.
        kept: whether the promise was kept.
    """

    group: str
    fault: str
    where: str
    moment: str
    expected: str
    outcome: str
    lost: int | None = None
    kept: bool = True


COLUMNS = ("fault", "on", "moment", "outcome", "lost work", "expected")


@dataclass
class Table:
    """Outcomes in their order, each printed as it comes."""

    rows: list[Outcome] = field(default_factory=list)

    def add(self, row: Outcome) -> None:
        """Take up and print an outcome."""
        self.rows.append(row)
        sys.stdout.write(f"{'ok  ' if row.kept else 'FAIL'} {' | '.join(_cells(row))}\n")
        sys.stdout.flush()

    def failures(self) -> int:
        """How many promises were not kept."""
        return sum(not row.kept for row in self.rows)

    def summary(self) -> str:
        """Faults and broken promises of each group, in Markdown."""
        all_of, failed = Counter(), Counter()  # type: ignore[var-annotated]
        for row in self.rows:
            all_of[row.group] += 1
            failed[row.group] += not row.kept
        lines = ["| group | faults | as promised |", "|---|---|---|"]
        lines += [f"| {g} | {n} | {n - failed[g]} |" for g, n in all_of.items()]
        total = len(self.rows)
        return "\n".join([*lines, f"| all | {total} | {total - self.failures()} |"])

    def markdown(self) -> str:
        """The whole table; what is not as promised stands in bold."""
        lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
        for row in self.rows:
            cells = [cell.replace("|", "\\|") for cell in _cells(row)]
            if not row.kept:
                cells[3] = f"**{cells[3]}**"
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)

    def write(self, path: Path, title: str) -> None:
        """Write ``path`` as Markdown, and the rows beside it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = f"# {title}\n\n{self.summary()}\n\n{self.markdown()}\n"
        path.write_text(text, encoding="utf-8")
        rows = [asdict(row) for row in self.rows]
        path.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _cells(row: Outcome) -> list[str]:
    lost = "" if row.lost is None else str(row.lost)
    return [row.fault, row.where, row.moment, row.outcome, lost, row.expected]
