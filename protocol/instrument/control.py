"""The control paths: what a tester asks of a session, below /_oaiserve/ and /s/NAME/_oaiserve/.

Whoever can reach them can read what was asked and change what is answered. So they answer to this machine alone, as
its own programs reach it: from a loopback address, by a name that nobody can point elsewhere, and to no page of
another site. With [server] control_key, whoever sends that key may call from anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import math
import typing
import urllib.parse

from protocol.budget import spend_turn
from protocol.errors import ApiError, evidence
from protocol.exchange import Answer, Endpoint, Request, Response
from protocol.instrument.calls import Sought, read_sought
from protocol.instrument.limits import read_limits
from protocol.instrument.script.script import Script, ScriptReader
from protocol.instrument.session import Session
from protocol.on_demand import load
from protocol.openai.answers import JSON_FIELDS, json_response
from protocol.openai.long_json import encode_long_json
from protocol.openai.refusals import method_not_allowed
from protocol.service.own_machine import stranger
from protocol.turns import in_turns
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject, encode_json
from protocol.wire.long_json import value_bytes

#: Below which path a session is controlled.
CONTROL_ROOT = "/_oaiserve/"

# How long `calls/wait` may wait, in seconds.
_MOST_SECONDS = 600.0
# Calls shown at once, and bytes of them; a listing says how many there are.
_MOST_SHOWN = 1_000
_MOST_SHOWN_BYTES = 32 << 20
# What it costs to show a call: by itself, and so many bytes of its bodies in a step (protocol/budget.py).
_CALL_STEPS = 100
_BYTES_A_STEP = 50

Handler = typing.Callable[[Session, Request], Answer]


class Cassette(typing.Protocol):
    """What a relay's answers are recorded on: protocol/cassette/deck.py."""

    def state(self) -> JsonObject:
        """Return file, mode, and how many recordings there are."""

    async def set_mode(self, mode: str) -> None:
        """Read the file anew, in turns, and go on in another mode; ValueError where that cannot be."""


class Controlled(typing.Protocol):
    """What is controlled besides a session."""

    #: By the name of the relay.
    cassettes: typing.Mapping[str, Cassette]

    def end(self, session: Session) -> bool:
        """End a session; return whether there was one that can end."""

    def all(self) -> list[Session]:
        """Return all sessions."""

    def names(self) -> list[str]:
        """Return the names of all sessions."""

    def forget(self, session: Session) -> None:
        """Let every backend forget what it remembers for a session."""


class Control:
    """Finds who answers a control path. `key` is [server] control_key, "" for none."""

    def __init__(self, controlled: Controlled, reader: ScriptReader, key: str = "") -> None:
        self._reader = reader
        self._controlled = controlled
        self._key = key
        self._handlers: dict[str, dict[str, Handler]] = {
            "calls": {"GET": _list_calls},
            "calls/wait": {"GET": _wait_for_calls},
            "verify": {"POST": _verify},
            "script": {"GET": _show_script, "PUT": self._put_script, "POST": self._add_rules, "DELETE": _clear_script},
            "reset": {"POST": self._reset},
            "verdict": {"GET": _judge},
            "verdict.xml": {"GET": _judge_for_junit},
            "limits": {"PUT": _limit, "DELETE": _limit_nothing},
            "clock": {"GET": _tell_time, "POST": _advance},
            "faults": {"GET": _show_faults, "PUT": self._put_faults, "DELETE": self._delete_faults},
            "cassette": {"GET": self._show_cassettes, "PUT": self._set_cassettes},
            "sessions": {"GET": self._list_sessions},
            "session": {"DELETE": self._end_session},
        }

    def endpoint(self, request: Request, session: Session, path: str) -> Endpoint:
        """Return the endpoint of a path below the root; ApiError 403 for a stranger, 404 or 405 as for any path."""
        self._refuse_strangers(request)
        methods = self._handlers.get(path)
        if methods is None:
            there = ", ".join(CONTROL_ROOT + name for name in self._handlers)
            raise ApiError(404, f"There is no {evidence(CONTROL_ROOT + path)}; there are {there}.")
        handler = methods.get(request.method)
        if handler is None:
            raise method_not_allowed(request, list(methods))
        chosen = handler

        def answer(request: Request) -> Answer:
            # The server remembers the endpoint beside the head, which a stranger may send as well.
            self._refuse_strangers(request)
            return chosen(session, request)

        return Endpoint(answer, "control")

    def _refuse_strangers(self, request: Request) -> None:
        if self._key and hmac.compare_digest(request.key.encode(), self._key.encode()):
            return
        refused = stranger(request)
        if refused:
            raise _refusal(refused)

    # ---- scripts --------------------------------------------------------------------------------------------------

    # Rules are held against one another, so that a short script may take long to read.

    async def _put_script(self, session: Session, request: Request) -> Response:
        script, size = await in_turns(lambda: (self._reader.script(request.body), value_bytes(request.body)))
        session.hold("script", size)
        session.use_script(script)
        return _show_script(session, request)

    async def _add_rules(self, session: Session, request: Request) -> Response:
        before = session.script or Script([])
        script, size = await in_turns(
            lambda: (self._reader.with_first(before, request.body), value_bytes(request.body))
        )
        session.hold("script", size, more=True)
        session.use_script(script)
        return _show_script(session, request)

    # ---- what is asked --------------------------------------------------------------------------------------------

    def _reset(self, session: Session, request: Request) -> Answer:
        asked = _query(request).get("what", "all")
        parts = {word.strip() for word in asked.split(",")}
        unknown = parts - {*session.parts, "state", "all"}
        if unknown:
            there = ", ".join([*session.parts, "state", "all"])
            raise ApiError(400, f"what={evidence(asked)}: expected some of {there}.", param="what")
        session.reset([part for part in session.parts if part in parts or "all" in parts])
        if parts & {"state", "all"}:
            self._controlled.forget(session)
        return Response(204, ())

    # ---- faults -----------------------------------------------------------------------------------------------------

    def _put_faults(self, session: Session, request: Request) -> Answer:
        asked = request.json()
        texts = {"*": asked} if type(asked) is str else asked
        if type(texts) is not dict:
            raise ApiError(400, 'Expected faults by model, {"gpt-*": "status 503 first 2"}, or one as a text.')
        for one in self._of(session, request):
            try:
                one.hold("faults", value_bytes(request.body))
                one.put_faults(texts)
            except ValueError as exc:
                raise ApiError(400, str(exc), code="invalid_fault") from exc
        return _show_faults(session, request)

    def _delete_faults(self, session: Session, request: Request) -> Answer:
        for one in self._of(session, request):
            one.hold("faults", 0)
            one.put_faults({})
        return Response(204, ())

    def _of(self, session: Session, request: Request) -> list[Session]:
        """Return the sessions that are meant: the one that is asked, or all with ?sessions=all."""
        asked = _query(request).get("sessions", "")
        if asked not in ("", "all"):
            raise ApiError(400, f"sessions={evidence(asked)}: expected all, or nothing.", param="sessions")
        return self._controlled.all() if asked else [session]

    # ---- sessions ---------------------------------------------------------------------------------------------------

    def _show_cassettes(self, session: Session, request: Request) -> Response:
        return json_response({name: cassette.state() for name, cassette in self._controlled.cassettes.items()})

    async def _set_cassettes(self, session: Session, request: Request) -> Response:
        mode: typing.Any = request.json_object().get("mode")
        if not self._controlled.cassettes:
            raise ApiError(400, "No relay has a cassette; [relay] cassette = FILE gives it one.")
        for cassette in self._controlled.cassettes.values():
            try:
                await cassette.set_mode(mode)
            except ValueError as exc:
                raise ApiError(400, f'{{"mode": …}}: {exc}.', param="mode") from exc
        return self._show_cassettes(session, request)

    def _list_sessions(self, session: Session, request: Request) -> Answer:
        return json_response({"sessions": self._controlled.names()})

    def _end_session(self, session: Session, request: Request) -> Answer:
        if not self._controlled.end(session):
            raise ApiError(400, "The server's own session does not end; POST reset?what=all empties it.")
        return Response(204, ())


# ---- calls ----------------------------------------------------------------------------------------------------------


async def _list_calls(session: Session, request: Request) -> Response:
    sought = read_sought(_query(request))

    def work() -> Response:
        found = sought.among(session.journal)
        # Each call is written before the next one is read: small values take twenty times their text in memory.
        shown: list[bytes] = []
        size = 0
        for entry in found[: -_MOST_SHOWN - 1 : -1]:
            spend_turn(_CALL_STEPS + (len(entry.request_body) + len(entry.answer_body)) // _BYTES_A_STEP)
            shown.append(encode_long_json(entry.as_json()))
            size += len(shown[-1])
            if size > _MOST_SHOWN_BYTES:
                break
        told = encode_json({"found": len(found), "dropped": session.journal.dropped})
        return Response(200, JSON_FIELDS, b'{"calls":[%b],%b' % (b",".join(reversed(shown)), told[1:]))

    return await in_turns(work)


async def _wait_for_calls(session: Session, request: Request) -> Response:
    query = _query(request)
    count = int(_number(query, "count", 1))
    seconds = min(_number(query, "timeout", 5), _MOST_SECONDS)
    sought = read_sought(query)
    journal = session.journal

    async def until_there() -> None:
        while True:
            changes = journal.changes
            if len(await in_turns(lambda: sought.among(journal))) >= count:
                break
            if journal.changes == changes:  # others had their turns during the search
                await journal.changed()

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(until_there(), seconds)
    return await in_turns(lambda: json_response(_verdict_on(session, sought, at_least=count)))


async def _verify(session: Session, request: Request) -> Response:
    return await in_turns(lambda: _verified(session, request))


def _verified(session: Session, request: Request) -> Response:
    body = dict(request.json_object())
    times, at_least, at_most = (_whole(body, name) for name in ("times", "at_least", "at_most"))
    flags = [name for name in ("no_unmatched", "all_rules_used") if body.pop(name, False) is True]
    sought = read_sought(body)
    if times is not None:
        at_least = at_most = times
    elif at_least is None and at_most is None and (body or not flags):
        at_least = 1
    verdict = _verdict_on(session, sought, at_least=at_least or 0, at_most=at_most)
    if "no_unmatched" in flags:
        unmatched = [entry for entry in session.journal.entries if entry.missed]
        verdict["nearest"] += [{"call": entry.number, "failed": f"rule: {entry.missed}"} for entry in unmatched]
        verdict["ok"] &= not unmatched
    if "all_rules_used" in flags:
        rules = () if session.script is None else session.script.rules
        unused = [rule.name for rule in rules if not session.script_state.used(rule)]
        verdict["nearest"] += [{"failed": f"rule '{name}' has never spoken"} for name in unused]
        verdict["ok"] &= not unused
    return json_response(verdict)


def _verdict_on(session: Session, sought: Sought, *, at_least: int, at_most: int | None = None) -> JsonObject:
    """Say whether as many calls fit as are expected, and which came nearest."""
    found = sought.among(session.journal)
    is_good = len(found) >= at_least and (at_most is None or len(found) <= at_most)
    nearest = [] if is_good else sought.nearest(session.journal)
    return {"ok": is_good, "found": len(found), "nearest": nearest}


def _show_faults(session: Session, request: Request) -> Answer:
    return json_response({"faults": session.faults.texts})


# ---- the verdict -----------------------------------------------------------------------------------------------------


async def _judge(session: Session, request: Request) -> Response:
    def judge_in_turns() -> Response:
        judge, as_json, _ = load("verdict")
        entries = list(session.journal.entries)
        made = judge(entries, session.now())
        return json_response(as_json(made, calls=len(entries), dropped=session.journal.dropped))

    return await in_turns(judge_in_turns)


async def _judge_for_junit(session: Session, request: Request) -> Response:
    def judge_in_turns() -> Response:
        judge, _, as_junit = load("verdict")
        made = judge(list(session.journal.entries), session.now())
        fields = encode_fields([("content-type", "application/xml; charset=utf-8")])
        return Response(200, fields, as_junit(made, f"oaiserve {session.name}".rstrip()).encode())

    return await in_turns(judge_in_turns)


# ---- limits ---------------------------------------------------------------------------------------------------------


def _limit(session: Session, request: Request) -> Answer:
    try:
        rules = read_limits(request.json())
    except ValueError as exc:
        raise ApiError(400, str(exc), param="limits") from exc
    session.hold("limits", value_bytes(request.body))
    session.limit(rules)
    return Response(204, ())


def _limit_nothing(session: Session, request: Request) -> Answer:
    session.hold("limits", 0)
    session.limit(())
    return Response(204, ())


# ---- the script -----------------------------------------------------------------------------------------------------


def _show_script(session: Session, request: Request) -> Response:
    script, state = session.script or Script([]), session.script_state
    rules = [{"name": rule.name, "used": state.used(rule)} for rule in script.rules]
    return json_response({"rules": rules, "warnings": list(script.warnings)})


def _clear_script(session: Session, request: Request) -> Answer:
    session.use_script(None)
    return Response(204, ())


# ---- the clock ------------------------------------------------------------------------------------------------------


def _tell_time(session: Session, request: Request) -> Answer:
    return json_response({"now": session.now()})


def _advance(session: Session, request: Request) -> Answer:
    seconds: typing.Any = request.json_object().get("advance")
    if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
        raise ApiError(400, 'Expected {"advance": SECONDS}, 0 or more.', param="advance")
    session.clock.advance(float(seconds))
    return _tell_time(session, request)


# ---- what a request says --------------------------------------------------------------------------------------------


def _query(request: Request) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(request.head.query, keep_blank_values=True))


def _number(query: typing.MutableMapping[str, str], name: str, default: float) -> float:
    text = query.pop(name, str(default))
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise ApiError(400, f"{name}={evidence(text)}: expected a number, 0 or more.", param=name)
    return number


def _whole(body: JsonObject, name: str) -> int | None:
    value: int | None = body.pop(name, None)
    if value is not None and (type(value) is not int or value < 0):
        raise ApiError(400, f"{name}: expected a whole number, 0 or more.", param=name)
    return value


def _refusal(who: str) -> ApiError:
    message = f"The control paths answer {who}; set [server] control_key, and send it as the API key."
    return ApiError(403, message, code="control_not_allowed")
