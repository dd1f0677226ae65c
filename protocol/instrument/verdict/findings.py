"""The habits of a program that its calls show, one function each."""

from __future__ import annotations

import email.utils
import json
import re
import typing

from protocol.instrument.journal import Entry
from protocol.instrument.verdict.bodies import answered, repeated
from protocol.instrument.verdict.chains import Chain, has_failed, is_partial, may_be_retried

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

_REFUSAL = re.compile(r"error|invalid|fail|unknown|cannot|could not|malformed|parse|not found|no such", re.IGNORECASE)


class Finding(typing.NamedTuple):
    """What is known of one habit: "good", "bad" or "unknown", the numbers of the calls that show it, and why."""

    habit: str
    verdict: str
    calls: tuple[int, ...] = ()
    why: str = ""


class Evidence(typing.NamedTuple):
    """What findings are made of. `now` is the session's time."""

    entries: typing.Sequence[Entry]
    chains: typing.Sequence[Chain]
    now: float


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
        for at, entry in enumerate(chain)
        if may_be_retried(entry) is False
    ]
    bad = [number for entry, after in final if after is not None for number in (entry.number, after.number)]
    statuses = sorted({entry.status for entry, after in final if after is not None})
    return len(final), bad, f"asked again after {', '.join(map(str, statuses))}, which no attempt changes"


def _retry_storm(evidence: Evidence) -> _Judgement:
    retried = [chain for chain in evidence.chains if len(chain) > 1]
    bad, why = [], ""
    for chain in retried:
        burst = max(sum(1 for entry in chain if 0 <= entry.came - first.came < 1) for first in chain)
        if len(chain) > _MOST_ATTEMPTS or burst > _MOST_A_SECOND:
            bad += [entry.number for entry in chain]
            why = f"{len(chain)} attempts at one thing, {burst} of them within a second"
    return len(retried), bad, why


def _gave_up_early(evidence: Evidence) -> _Judgement:
    occasions, bad = 0, []
    for chain in evidence.chains:
        first = chain[0]
        if may_be_retried(first) is not True or first.ended_at is None:
            continue
        if len(chain) > 1:
            occasions += 1
        elif evidence.now - first.ended_at > max(_asked_pause(first) or 0.0, _PATIENCE):
            occasions += 1
            bad.append(first.number)
    return occasions, bad, "made no second attempt at what was worth one"


# ---- answers that are not whole -------------------------------------------------------------------------------------


def _truncated_accepted(evidence: Evidence) -> _Judgement:
    partial = [entry for entry in evidence.entries if is_partial(entry)]
    return _taken_for_whole(evidence, partial, "took a text that had broken off for an answer")


def _length_ignored(evidence: Evidence) -> _Judgement:
    short = [
        entry
        for entry in evidence.entries
        if entry.status == 200 and not is_partial(entry) and answered(bytes(entry.answer_body)).reason == "length"
    ]
    return _taken_for_whole(evidence, short, "took a text that was cut at its limit for an answer")


def _taken_for_whole(evidence: Evidence, suspects: typing.Sequence[Entry], why: str) -> _Judgement:
    occasions, bad = 0, []
    for entry in suspects:
        text = answered(bytes(entry.answer_body)).text.strip()
        later = [one for one in evidence.entries if entry.ended_at is not None and one.came >= entry.ended_at]
        if len(text) < _FEWEST_CHARACTERS or not later:
            continue
        occasions += 1
        takers = [one.number for one in later if any(said.strip() == text for said in repeated(one.request_body).said)]
        if takers:
            bad += [entry.number, takers[0]]
    return occasions, bad, why


def _no_read_timeout(evidence: Evidence) -> _Judgement:
    stalls = [entry for entry in evidence.entries if entry.fault.partition(" ")[0] in ("stall", "latency")]
    long_ones = [entry for entry in stalls if (entry.ended_at or evidence.now) - entry.came >= _PATIENCE]
    bad = [entry.number for entry in long_ones if entry.ended != "left"]
    left = [entry for entry in stalls if entry.ended == "left"]
    return len(long_ones) + len(left), bad, f"waited for more than {_PATIENCE:g} s in silence"


def _left_open(evidence: Evidence) -> _Judgement:
    open_ones = [
        entry
        for entry in evidence.entries
        if not entry.ended and entry.first is not None and evidence.now - entry.first > _PATIENCE
    ]
    bad = [entry.number for entry in open_ones if not entry.fault]
    streams = sum(1 for entry in evidence.entries if entry.stream and entry.ended)
    return streams + len(bad), bad, "did not read a stream to its end, nor close it"


# ---- calls of tools -------------------------------------------------------------------------------------------------


def _bad_args_executed(evidence: Evidence) -> _Judgement:
    occasions, bad = 0, []
    for entry in evidence.entries:
        kind = entry.fault.partition(" ")[0]
        if entry.status != 200 or kind not in ("args-bad", "unknown-tool"):
            continue
        broken = {
            id
            for id, _, arguments in answered(bytes(entry.answer_body)).calls
            if kind != "args-bad" or _is_bad(arguments)
        }
        for later in evidence.entries:
            if entry.ended_at is None or later.came < entry.ended_at:
                continue
            for id, result in repeated(later.request_body).results:
                if id in broken:
                    occasions += 1
                    if not _REFUSAL.search(result):
                        bad += [entry.number, later.number]
                    broken.discard(id)
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
        for before, entry in zip(chain, chain[1:]):
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
