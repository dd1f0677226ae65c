"""What is printed: one line a ratio, as a Markdown table, or the same as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """One comparison. `ratio` and `raw` are for people; `figures` holds the same as numbers, units in their names."""

    work: str
    subject: str
    against: str
    ratio: str
    raw: str
    figures: dict[str, float]


class Findings(NamedTuple):
    """What one measurement gives: its rows, and sentences that belong under the table."""

    rows: list[Row]
    notes: list[str]


def times(ratios: Sequence[float]) -> str:
    """Show the median of paired ratios and, where there are several, their range."""
    middle = f"{statistics.median(ratios):.2f}x"
    return middle if len(ratios) < 2 else f"{middle} ({min(ratios):.2f} to {max(ratios):.2f})"


def as_table(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """Return the rows as a Markdown table that also reads well in a terminal, and the notes as a list below it."""
    return table(("Work", "Measured", "Against", "Ratio", "Raw, this machine"), [row[:5] for row in rows], notes)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """Return such a table of any columns; without rows, the notes alone."""
    lines = [head, *rows] if rows else []
    widths = [max(map(len, column)) for column in zip(*lines)]
    shown = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines]
    if shown:
        shown[1:1] = ["|" + "|".join("-" * (width + 2) for width in widths) + "|"]
        shown.append("")
    return "\n".join([*shown, *(f"- {note}" for note in notes)])


def as_json(rows: Sequence[Row], notes: Sequence[str], circumstances: dict[str, str]) -> str:
    """Return everything that the table says, the single figures behind it, and what `--compare` holds against it."""
    told = {"circumstances": circumstances, "rows": [row._asdict() for row in rows], "notes": list(notes)}
    return json.dumps(told, indent=2)
