"""How the ratios of this run differ from those of an earlier one that `--json` wrote: nothing is measured here."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from peers import CannotMeasure
from report import Row, table

# The figures of a row that hold on another machine, too, and what the table calls them.
_COMPARED = {"ratio": "ratio", "cpu_ratio": "by CPU time", "p50": "p50", "p99": "p99", "calls": "calls"}


class Run(NamedTuple):
    """What `--json` wrote: the rows by work, measured and against whom; and under which circumstances."""

    rows: dict[tuple[str, str, str], dict[str, float]]
    circumstances: dict[str, str]


def read_run(file: pathlib.Path) -> Run | None:
    """Return the run that this file holds, or None where it is no JSON object, which a program never is.

    Raises CannotMeasure for an object that `--json` did not write, and where there is no file.
    """
    try:
        content = file.read_bytes()
        if not content.lstrip().startswith(b"{"):
            return None
        found = json.loads(content)
        rows = {(row["work"], row["subject"], row["against"]): dict(row["figures"]) for row in found["rows"]}
        return Run(rows, dict(found["circumstances"]))
    except OSError as reason:
        raise CannotMeasure(f"--compare {file}: {reason.strerror}") from reason
    except (ValueError, LookupError, TypeError):
        raise CannotMeasure(
            f"--compare {file}: it begins as a JSON object does, but --json writes other ones"
        ) from None


def as_changes(rows: Sequence[Row], circumstances: dict[str, str], before: Run) -> str:
    """Return a table of each ratio here, there and their quotient, and below it what cannot be compared."""
    lines, here = [], {row[:3]: row.figures for row in rows}
    for key, figures in here.items():
        for figure, called in _COMPARED.items():
            now, then = figures.get(figure), before.rows.get(key, {}).get(figure)
            if now and then:
                lines.append((*key, called, f"{now:.2f}", f"{then:.2f}", f"{now / then:.2f}x"))
    compared = {line[:3] for line in lines}
    both = here.keys() & before.rows.keys()
    notes = [
        *_named("Only in this run", [key for key in here if key not in both]),
        *_named("Only in that run", [key for key in before.rows if key not in both]),
        *_named("Without a ratio in both", [key for key in here if key in both and key not in compared]),
        *_differences(circumstances, before.circumstances),
    ]
    return table(("Work", "Measured", "Against", "Figure", "This run", "That run", "Quotient"), lines, notes)


def _named(what: str, keys: Sequence[tuple[str, str, str]]) -> list[str]:
    names = [f"{work}: {subject} against {against}" for work, subject, against in keys]
    return [f"{what}: {'; '.join(names)}."] if names else []


def _differences(here: dict[str, str], there: dict[str, str]) -> list[str]:
    """Say in one line which circumstances differ; a peer that only one run has is among the rows already."""
    differ = [f"{name} {here[name]}, there {there[name]}" for name in here if there.get(name, here[name]) != here[name]]
    return [f"Ratios may differ for another reason than the program: {'; '.join(differ)}."] if differ else []
