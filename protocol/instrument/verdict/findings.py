"""The habits of a program that its calls show, one function each.

A journal may hold tens of thousands of calls, and each repeats the talk so far. So each body is read once, before any
habit is judged, and what comes back of an answer is looked up and not searched.
"""

from __future__ import annotations

import bisect
import email.utils
import json
import re
import typing

from protocol.budget import spend_turn
from protocol.instrument.journal import Entry
from protocol.instrument.verdict.bodies import Answered, answered, repeated
from protocol.instrument.verdict.chains import chains, has_failed, is_partial, may_be_retried

#: Seconds that a retry may come before its time: clocks are read at two places.
_TOLERANCE = 0.05
# A retry that comes sooner has not waited: the shortest pause of OpenAI's SDKs is 0.375 s.
_NO_PAUSE = 0.1
# Attempts at one thing, in all and within a second, beyond which it is a storm.
_MOST_ATTEMPTS = 10
_MOST_A_SECOND = 5
# Seconds of silence that a program should not bear, and for which a call may stay open.
_PATIENCE = 60.0
# Characters of a partial text by which it can be known again.
_FEWEST_CHARACTERS = 3
# Of a tool's result, in which it may say that something went wrong.
_MOST_CHARACTERS = 10_000
# What a call costs wherever all are looked at (protocol/budget.py).
_CALL_STEPS = 10

_REFUSAL = re.compile(r"error|invalid|fail|unknown|cannot|could not|malformed|parse|not found|no such", re.IGNORECASE)


class Finding(typing.NamedTuple):
    """What is known of one habit: "good", "bad" or "unknown", the numbers of the calls that show it, and why."""

    habit: str
    verdict: str
    calls: tuple[int, ...] = ()
    why: str = ""


_Thing = typing.TypeVar("_Thing")


def _each(things: typing.Iterable[_Thing]) -> typing.Iterator[_Thing]:
    """Yield what there may be as much of as there are calls, in turns with everybody else."""
    for thing in things:
        spend_turn(_CALL_STEPS)
        yield thing


class _Repeats:
    """What later requests repeat of answers, by a text or an id: the calls in the order of time, and what each says."""

    def __init__(self) -> None:
        self._came: dict[str, list[float]] = {}
        self._calls: dict[str, list[tuple[Entry, str]]] = {}

    def add(self, known: str, entry: Entry, said: str = "") -> None:
        self._came.setdefault(known, []).append(entry.came)
        self._calls.setdefault(known, []).append((entry, said))

    def first(self, known: str, since: float | None) -> tuple[Entry, str] | None:
        """Return the first that came at a time or later, None for none, and where there is no such time."""
        came = self._came.get(known, [])
        at = len(came) if since is None else bisect.bisect_left(came, since)
        return self._calls[known][at] if at < len(came) else None


class Evidence:
    """What findings are made of: the calls of a journal in the order of time, and `now`, the session's time."""

    def __init__(self, entries: typing.Sequence[Entry], now: float) -> None:
        self.entries = entries
        self.now = now
        self.chains = chains(entries)
        #: When the last call came.
        self.last_came = entries[-1].came if entries else 0.0
        #: Answers that are not whole: broken off, and cut at their limit.
        self.partial: list[tuple[Entry, str]] = []
        self.short: list[tuple[Entry, str]] = []
        #: Answers with calls of tools that cannot be understood, by the ids of these.
        self.broken: list[tuple[Entry, list[str]]] = []
        #: Who takes these texts for answers, and gives results of these calls.
        self.takers = _Repeats()
        self.results = _Repeats()
        self._worth_a_retry: dict[int, bool | None] = {}
        self._read_answers()
        self._read_requests()

    def may_be_retried(self, entry: Entry) -> bool | None:
        """Tell whether a failed call is worth another attempt; None where that is a matter of taste."""
        if entry.number not in self._worth_a_retry:
            self._worth_a_retry[entry.number] = may_be_retried(entry)
        return self._worth_a_retry[entry.number]

    def _read_answers(self) -> None:
        for entry in _each(self.entries):
            if entry.status != 200:
                continue
            said = answered(bytes(entry.answer_body))
            text = said.text.strip()
            if is_partial(entry) or said.reason == "length":
                (self.partial if is_partial(entry) else self.short).append((entry, text))
            broken = _broken_calls(entry, said)
            if broken:
                self.broken.append((entry, broken))

    def _read_requests(self) -> None:
        texts = {text for _, text in (*self.partial, *self.short) if len(text) >= _FEWEST_CHARACTERS}
        ids = {id for _, broken in self.broken for id in broken}
        if not texts and not ids:
            return
        for entry in _each(self.entries):
            again = repeated(entry.request_body)
            for text in texts.intersection(said.strip() for said in again.said):
                self.takers.add(text, entry)
            for id, result in again.results:
                if id in ids:
                    self.results.add(id, entry, result)


def _broken_calls(entry: Entry, said: Answered) -> list[str]:
    """Return the ids of the calls that a fault has made such that nobody can understand them."""
    kind = entry.fault.partition(" ")[0]
    if kind not in ("args-bad", "unknown-tool"):
        return []
    return [id for id, _, arguments in said.calls if kind != "args-bad" or _is_bad(arguments)]


def findings(evidence: Evidence) -> list[Finding]:
    """Return a finding for every habit."""
    made = []
    for habit, judge in _HABITS.items():
        occasions, bad, why = judge(evidence)
        verdict = "bad" if bad else "good" if occasions else "unknown"
        made.append(Finding(habit, verdict, tuple(sorted(set(bad))), why if bad else ""))
    return made


# Each judge returns how many occasions there were, the calls that show the habit, and what they show.
_Judgement = typing.Tuple[int, typing.List[int], str]


# ---- retries -------------------------------------------------------------------------------------------------------


def _retry_after_ignored(evidence: Evidence) -> _Judgement:
    occasions, bad, why = 0, [], ""
    for before, entry in _retries(evidence):
        asked = _asked_pause(before)
        if asked is None:
            continue
        occasions += 1
        waited = _waited(before, entry)
        if waited < asked - _TOLERANCE:
            bad += [before.number, entry.number]
            why = f"waited {waited:.2f} s where the answer asked for {asked:g} s"
    return occasions, bad, why


def _no_backoff(evidence: Evidence) -> _Judgement:
    occasions, bad, why = 0, [], ""
    for before, entry in _retries(evidence):
        if _asked_pause(before) is not None:
            continue
        occasions += 1
        waited = _waited(before, entry)
        if waited < _NO_PAUSE:
            bad += [before.number, entry.number]
            why = f"came again after {waited:.3f} s"
    return occasions, bad, why


def _retried_non_retryable(evidence: Evidence) -> _Judgement:
    final = [
        (entry, chain[at + 1] if at + 1 < len(chain) else None)
        for chain in evidence.chains
        for at, entry in enumerate(_each(chain))
        if evidence.may_be_retried(entry) is False
    ]
    bad = [number for entry, after in final if after is not None for number in (entry.number, after.number)]
    statuses = sorted({entry.status for entry, after in final if after is not None})
    return len(final), bad, f"asked again after {', '.join(map(str, statuses))}, which no attempt changes"


def _retry_storm(evidence: Evidence) -> _Judgement:
    retried = [chain for chain in evidence.chains if len(chain) > 1]
    bad, why = [], ""
    for chain in retried:
        burst = _most_within(1.0, [entry.came for entry in _each(chain)])
        if len(chain) > _MOST_ATTEMPTS or burst > _MOST_A_SECOND:
            bad += [entry.number for entry in chain]
            why = f"{len(chain)} attempts at one thing, {burst} of them within a second"
    return len(retried), bad, why


def _most_within(seconds: float, times: typing.Sequence[float]) -> int:
    """Return how many of these times, which are in their order, lie within so many seconds at the most."""
    most = first = 0
    for number, time in enumerate(times, 1):
        while time - times[first] >= seconds:
            first += 1
        most = max(most, number - first)
    return most


def _gave_up_early(evidence: Evidence) -> _Judgement:
    occasions, bad = 0, []
    for chain in _each(evidence.chains):
        first = chain[0]
        if evidence.may_be_retried(first) is not True or first.ended_at is None:
            continue
        if len(chain) > 1:
            occasions += 1
        elif evidence.now - first.ended_at > max(_asked_pause(first) or 0.0, _PATIENCE):
            occasions += 1
            bad.append(first.number)
    return occasions, bad, "made no second attempt at what was worth one"


# ---- answers that are not whole -------------------------------------------------------------------------------------


def _truncated_accepted(evidence: Evidence) -> _Judgement:
    return _taken_for_whole(evidence, evidence.partial, "took a text that had broken off for an answer")


def _length_ignored(evidence: Evidence) -> _Judgement:
    return _taken_for_whole(evidence, evidence.short, "took a text that was cut at its limit for an answer")


def _taken_for_whole(evidence: Evidence, suspects: typing.Sequence[tuple[Entry, str]], why: str) -> _Judgement:
    occasions, bad = 0, []
    for entry, text in _each(suspects):
        if len(text) < _FEWEST_CHARACTERS or entry.ended_at is None or evidence.last_came < entry.ended_at:
            continue
        occasions += 1
        taker = evidence.takers.first(text, entry.ended_at)
        if taker is not None:
            bad += [entry.number, taker[0].number]
    return occasions, bad, why


def _no_read_timeout(evidence: Evidence) -> _Judgement:
    stalls = [entry for entry in _each(evidence.entries) if entry.fault.partition(" ")[0] in ("stall", "latency")]
    long_ones = [entry for entry in stalls if (entry.ended_at or evidence.now) - entry.came >= _PATIENCE]
    bad = [entry.number for entry in long_ones if entry.ended != "left"]
    left = [entry for entry in stalls if entry.ended == "left"]
    return len(long_ones) + len(left), bad, f"waited for more than {_PATIENCE:g} s in silence"


def _left_open(evidence: Evidence) -> _Judgement:
    open_ones = [
        entry
        for entry in _each(evidence.entries)
        if not entry.ended and entry.first is not None and evidence.now - entry.first > _PATIENCE
    ]
    bad = [entry.number for entry in open_ones if not entry.fault]
    streams = sum(1 for entry in _each(evidence.entries) if entry.stream and entry.ended)
    return streams + len(bad), bad, "did not read a stream to its end, nor close it"


# ---- calls of tools -------------------------------------------------------------------------------------------------


def _bad_args_executed(evidence: Evidence) -> _Judgement:
    occasions, bad = 0, []
    for entry, ids in _each(evidence.broken):
        for id in _each(dict.fromkeys(ids)):
            found = evidence.results.first(id, entry.ended_at)
            if found is not None:
                occasions += 1
                later, result = found
                if not _REFUSAL.search(result[:_MOST_CHARACTERS]):
                    bad += [entry.number, later.number]
    return occasions, bad, "gave a result for a call that it could not have understood"


def _is_bad(arguments: str) -> bool:
    try:
        return not isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        return True


# ---- pauses ---------------------------------------------------------------------------------------------------------


def _retries(evidence: Evidence) -> typing.Iterator[tuple[Entry, Entry]]:
    """Yield each failed attempt with the one that follows it."""
    for chain in evidence.chains:
        for before, entry in zip(chain, _each(chain[1:])):
            if has_failed(before):
                yield before, entry


def _waited(before: Entry, entry: Entry) -> float:
    return entry.came - (before.ended_at if before.ended_at is not None else before.came)


def _asked_pause(entry: Entry) -> float | None:
    """Return how many seconds an answer asks its client to wait (RFC 9110 §10.2.3, and OpenAI's retry-after-ms)."""
    fields = dict(entry.answer_fields)
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = fields.get(name, "")
        if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text):
            return float(text) * factor
    try:
        moment = email.utils.parsedate_to_datetime(fields.get("retry-after", ""))
    except (TypeError, ValueError):
        return None
    return max(0.0, moment.timestamp() - (entry.ended_at if entry.ended_at is not None else entry.came))


_HABITS: dict[str, typing.Callable[[Evidence], _Judgement]] = {
    "retry_after_ignored": _retry_after_ignored,
    "no_backoff": _no_backoff,
    "retried_non_retryable": _retried_non_retryable,
    "retry_storm": _retry_storm,
    "gave_up_early": _gave_up_early,
    "truncated_accepted": _truncated_accepted,
    "no_read_timeout": _no_read_timeout,
    "bad_args_executed": _bad_args_executed,
    "length_ignored": _length_ignored,
    "left_open": _left_open,
}
