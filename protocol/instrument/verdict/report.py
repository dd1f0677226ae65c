"""The verdict as text, as JSON and as JUnit's XML."""

from __future__ import annotations

import typing
import xml.sax.saxutils

from protocol.instrument.journal import Entry
from protocol.instrument.verdict.findings import Evidence, Finding, findings
from protocol.wire.json_text import JsonObject


def judge(entries: typing.Sequence[Entry], now: float) -> list[Finding]:
    """Return the findings about the calls of a journal; `now` is the session's time, in seconds.

    It takes time in proportion to what the journal holds, in turns with everybody else where it is called so.
    """
    return findings(Evidence(entries, now))


def as_json(made: typing.Sequence[Finding], *, calls: int, dropped: int) -> JsonObject:
    """Return the verdict as the control API gives it; `dropped` calls are those that the journal has lost."""
    return {
        "ok": all(finding.verdict != "bad" for finding in made),
        "calls": calls,
        "dropped": dropped,
        "findings": [
            {"habit": one.habit, "verdict": one.verdict, "calls": list(one.calls), "why": one.why} for one in made
        ],
        "text": as_text(made),
    }


def as_text(made: typing.Sequence[Finding]) -> str:
    """Return the verdict for who reads it: a line a habit, the bad ones first."""
    order = {"bad": 0, "good": 1, "unknown": 2}
    lines = [_line(finding) for finding in sorted(made, key=lambda one: order[one.verdict])]
    return "\n".join(lines) + "\n"


def _line(finding: Finding) -> str:
    calls = f" (calls {', '.join(map(str, finding.calls[:10]))})" if finding.calls else ""
    return f"{finding.verdict:7} {finding.habit}{f': {finding.why}' if finding.why else ''}{calls}"


def as_junit(made: typing.Sequence[Finding], name: str) -> str:
    """Return the verdict as JUnit's XML: a test case a habit, skipped where nothing is known of it."""
    cases = [_case(finding, name) for finding in made]
    bad, unknown = (sum(1 for one in made if one.verdict == word) for word in ("bad", "unknown"))
    suite = xml.sax.saxutils.quoteattr(name)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuites><testsuite name={suite} tests="{len(made)}" failures="{bad}" skipped="{unknown}">\n'
        + "".join(cases)
        + "</testsuite></testsuites>\n"
    )


def _case(finding: Finding, name: str) -> str:
    inside = ""
    if finding.verdict == "bad":
        inside = f"<failure message={xml.sax.saxutils.quoteattr(_line(finding))}/>"
    elif finding.verdict == "unknown":
        inside = '<skipped message="no call gave occasion"/>'
    classname = xml.sax.saxutils.quoteattr(name)
    return f'<testcase classname={classname} name="{finding.habit}">{inside}</testcase>\n'
