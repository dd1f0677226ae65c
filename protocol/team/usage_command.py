"""The command `usage`: what was used and what it cost, as a table, CSV or JSON.

python oaiserve.py usage [FILE] [--by key|team|model|backend|day] [--since DATE|30d] [--csv|--json]
python oaiserve.py usage --from-log FILES…     the same from JSON logs, of several hosts together

Names that clients chose go to a terminal here: they are shown without control characters.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import json
import re
import sys
import typing

from protocol.errors import UsageError, evidence
from protocol.team.ledger.query import read_ledger, read_logs, waiting_bytes
from protocol.team.ledger.sums import GROUPS, Group, Sums
from protocol.team.money import dollars

_DAYS = re.compile(r"([1-9][0-9]{0,4})d")
_HEADS = ("requests", "tokens in", "cached", "out", "reasoning", "USD", "no usage", "no price")

Rows = typing.List[typing.Tuple[Group, Sums]]


def run_usage(
    ledger: str,
    logs: typing.Sequence[str],
    *,
    by: str,
    since: str | None,
    form: str,
    out: typing.TextIO,
    err: typing.TextIO,
    now: float,
) -> int:
    """Write what was used to `out`; return the exit status. `now` is in seconds since the epoch.

    `by` names one of GROUPS, or several with commas; `form` is "table", "csv" or "json". UsageError for a mistake, and
    for a file that cannot be read.
    """
    groups = _parse_groups(by)
    first_day = _parse_since(since, now) if since else ""
    if logs and ledger:
        raise UsageError("usage: expected a ledger or --from-log, not both")
    if logs:
        with contextlib.ExitStack() as files:
            try:
                sums = read_logs([_open(files, path) for path in logs], groups, first_day)
            except OSError as exc:
                raise UsageError(f"{exc.filename}: cannot be read: {exc.strerror}") from exc
    else:
        sums = read_ledger(ledger, groups, first_day)
        waiting = waiting_bytes(ledger, now)
        if waiting:
            err.write(
                f"oaiserve: {waiting} bytes of calls wait beside {ledger}: its service was killed, or cannot write it; "
                "they are in it once one runs\n"
            )
    rows = sorted(sums.items(), key=_by_day if groups[0] == "day" else _by_cost)
    total = Sums()
    for _, values in rows:
        total = total.plus(values)
    _FORMS[form](groups, first_day, rows, total, out)
    return 0


def _parse_groups(text: str) -> tuple[str, ...]:
    groups = tuple(word.strip() for word in text.split(","))
    if not set(groups) <= set(GROUPS) or len(set(groups)) < len(groups):
        raise UsageError(f"--by {evidence(text)}: expected of {', '.join(GROUPS)} one, or several with commas")
    return groups


def _parse_since(text: str, now: float) -> str:
    match = _DAYS.fullmatch(text)
    try:
        if match:
            today = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).date()
            return (today - datetime.timedelta(days=int(match[1]) - 1)).isoformat()
        return datetime.date.fromisoformat(text).isoformat()
    except (ValueError, OverflowError) as exc:
        raise UsageError(f"--since {evidence(text)}: expected a day (UTC), e.g. 2026-11-30, or days, e.g. 30d") from exc


def _open(files: contextlib.ExitStack, path: str) -> typing.Iterable[str]:
    if path == "-":
        return sys.stdin
    return files.enter_context(open(path, encoding="utf-8", errors="replace"))


def _by_day(row: tuple[Group, Sums]) -> typing.Any:
    return row[0]


def _by_cost(row: tuple[Group, Sums]) -> typing.Any:
    group, sums = row
    return -sums.cost_nano, -sums.tok_in - sums.tok_out, -sums.requests, group


def _write_table(groups: Group, first_day: str, rows: Rows, total: Sums, out: typing.TextIO) -> None:
    if not rows:
        out.write(f"no calls{f' since {first_day} (UTC)' if first_day else ''}\n")
        return
    places = max(len(dollars(sums.cost_nano).partition(".")[2]) for _, sums in rows)
    cells = [[*groups, *_HEADS]]
    cells += [[*map(_shown, group), *_counts(sums, max(2, places))] for group, sums in rows]
    cells.append(["total", *[""] * (len(groups) - 1), *_counts(total, max(2, places))])
    widths = [max(map(len, column)) for column in zip(*cells)]
    for row in cells:
        names = [cell.ljust(width) for cell, width in zip(row, widths[: len(groups)])]
        numbers = [cell.rjust(width) for cell, width in zip(row[len(groups) :], widths[len(groups) :])]
        out.write("  ".join([*names, *numbers]).rstrip() + "\n")
    if total.unknown or total.unpriced:
        out.write(
            f"\nCalls that the cost leaves out: {total.unknown:,} that told no usage, {total.unpriced:,} of models "
            "without a price.\n"
        )


def _counts(sums: Sums, places: int) -> list[str]:
    whole, _, fraction = dollars(sums.cost_nano).partition(".")
    cost = f"{int(whole):,}.{fraction.ljust(places, '0')}"
    return [*(f"{count:,}" for count in sums[:5]), cost, f"{sums.unknown:,}", f"{sums.unpriced:,}"]


def _shown(name: str) -> str:
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in name) or "-"


def _write_csv(groups: Group, first_day: str, rows: Rows, total: Sums, out: typing.TextIO) -> None:
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow([*groups, *Sums._fields, "cost_usd"])
    lines.writerows([*group, *sums, dollars(sums.cost_nano)] for group, sums in rows)


def _write_json(groups: Group, first_day: str, rows: Rows, total: Sums, out: typing.TextIO) -> None:
    told = {
        "by": groups,
        "since": first_day or None,
        "rows": [{**dict(zip(groups, group)), **_as_json(sums)} for group, sums in rows],
        "total": _as_json(total),
    }
    json.dump(told, out, indent=2)
    out.write("\n")


def _as_json(sums: Sums) -> dict[str, typing.Any]:
    return {**sums._asdict(), "cost_usd": dollars(sums.cost_nano)}


_FORMS = {"table": _write_table, "csv": _write_csv, "json": _write_json}
