"""A session in a program's hands: what the control paths do, as methods. It speaks HTTP, whoever runs the server.

Every method waits for its answer. Within an event loop that is the server's own, call it with `asyncio.to_thread`.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import typing
import urllib.parse

from protocol.wire.json_text import JsonObject

# Seconds that the server may take for what does not wait.
_PATIENCE = 60.0


class ControlFailed(Exception):
    """The server refused what was asked of a session; the message is its own, and says what it expected."""


class Call:
    """One call of the journal: `request`, `answer` and `times` as the control API shows them, and the rest by name."""

    def __init__(self, told: JsonObject) -> None:
        self.number: int = told["number"]
        self.endpoint: str = told["endpoint"]
        self.model: str = told["model"]
        self.stream: bool = told["stream"]
        #: The status of the answer, None while there is none.
        self.status: int | None = told["status"]
        #: The rule that answered, and the fault that was injected; None for none.
        self.rule: str | None = told["rule"]
        self.fault: str | None = told["fault"]
        #: Which of the equal requests it is, from 1.
        self.attempt: int = told["attempt"]
        #: "done", "cut" or "left"; None while it is on its way.
        self.ended: str | None = told["ended"]
        #: Seconds: `came` since the epoch, `first` and `total` since then.
        self.times: JsonObject = told["times"]
        self.notes: list[str] = told["notes"]
        self.request: JsonObject = told["request"]
        self.answer: JsonObject | None = told["answer"]

    def __repr__(self) -> str:
        how = " ".join(
            str(part) for part in (self.status or "-", self.ended or "running", self.rule, self.fault) if part
        )
        return f"<call {self.number}: {self.request['method']} {self.request['path']} {how}>"


class Rule:
    """A rule of a session's script, by its name."""

    def __init__(self, name: str, ask: typing.Callable[..., JsonObject]) -> None:
        self.name = name
        self._ask = ask

    @property
    def used(self) -> int:
        """How many calls it has taken."""
        return next((int(rule["used"]) for rule in self._ask("GET", "script")["rules"] if rule["name"] == self.name), 0)


class Clock:
    """A session's clock."""

    def __init__(self, ask: typing.Callable[..., JsonObject]) -> None:
        self._ask = ask

    @property
    def now(self) -> float:
        """The session's time, in seconds since the epoch."""
        return float(self._ask("GET", "clock")["now"])

    def advance(self, seconds: float) -> float:
        """Let so many seconds pass at once, and return the time then."""
        return float(self._ask("POST", "clock", {"advance": seconds})["now"])


class Verdict:
    """What the calls of a session tell of the program that made them (protocol/instrument/verdict)."""

    def __init__(self, told: JsonObject) -> None:
        #: Whether no habit is bad.
        self.ok: bool = told["ok"]
        #: A line a habit, the bad ones first.
        self.text: str = told["text"]
        self._findings: typing.Sequence[JsonObject] = told["findings"]

    def __getitem__(self, habit: str) -> str:
        """Return "good", "bad" or "unknown"."""
        return next(str(finding["verdict"]) for finding in self._findings if finding["habit"] == habit)

    def calls(self, habit: str) -> list[int]:
        """Return the numbers of the calls that show a habit."""
        return next(list(finding["calls"]) for finding in self._findings if finding["habit"] == habit)

    def check(self, *allowed: str) -> None:
        """Raise AssertionError for bad habits, but for those that are allowed."""
        if self.ok:
            return
        bad = [one["habit"] for one in self._findings if one["verdict"] == "bad" and one["habit"] not in allowed]
        if bad:
            raise AssertionError(f"{', '.join(bad)}\n{self.text}")


class SessionHandle:
    """A session of a server at `server_url`; `name` is "" for the server's own. `control_key` is [server] control_key.

    Conditions are those of a script's `when`, and `status`, `since`, `path`, `rule`, `fault`, `ended`, `attempt`.
    ControlFailed where the server refuses, OSError where it cannot be reached.
    """

    def __init__(self, server_url: str, name: str = "", *, control_key: str = "") -> None:
        self.name = name
        self._server_url = server_url.rstrip("/")
        self._control_key = control_key
        #: Where the session's API is: `url + "/v1"` is a client's base URL.
        self.url = f"{self._server_url}/s/{name}" if name else self._server_url
        self.clock = Clock(self._ask)

    def session(self, name: str) -> SessionHandle:
        """Return another session of the same server."""
        return SessionHandle(self._server_url, name, control_key=self._control_key)

    @property
    def calls(self) -> list[Call]:
        """What came to the session and what went, the oldest first."""
        return self.find()

    def find(self, **conditions: typing.Any) -> list[Call]:
        """Return the calls that fulfil all conditions."""
        query = urllib.parse.urlencode({name: _in_query(value) for name, value in conditions.items()})
        return [Call(told) for told in self._ask("GET", f"calls?{query}")["calls"]]

    def wait_for(self, count: int = 1, timeout: float = 5, **conditions: typing.Any) -> list[Call]:
        """Wait until so many calls fulfil all conditions, and return them; AssertionError after `timeout` seconds."""
        query = urllib.parse.urlencode(
            {"count": count, "timeout": timeout, **{name: _in_query(value) for name, value in conditions.items()}}
        )
        verdict = self._ask("GET", f"calls/wait?{query}", patience=timeout + _PATIENCE)
        if not verdict["ok"]:
            raise AssertionError(_failure(verdict, conditions, f"{count} within {timeout:g} s"))
        return self.find(**conditions)

    def verify(self, **conditions: typing.Any) -> None:
        """Check that calls fulfil all conditions: `times`, or `at_least` and `at_most` of them; else one or more.

        AssertionError names the calls that came nearest, each with the condition that failed.
        """
        verdict = self._ask("POST", "verify", conditions)
        if not verdict["ok"]:
            counts = ("times", "at_least", "at_most")
            wanted = ", ".join(f"{name} {conditions[name]}" for name in counts if name in conditions)
            sought = {name: value for name, value in conditions.items() if name not in counts}
            raise AssertionError(_failure(verdict, sought, wanted or "at least 1"))

    def script(self, rule: JsonObject) -> Rule:
        """Put a rule in front of the others, `{"when": {…}, "answer": …}`, and return it."""
        name = str(rule.get("name") or f"rule-{os.urandom(4).hex()}")
        self._ask("POST", "script", {**rule, "name": name})
        return Rule(name, self._ask)

    def use_script(self, script: typing.Any) -> None:
        """Let a script, `{"rules": […], "seed": …}`, stand in the place of the one that there is; None for none."""
        self._ask("DELETE" if script is None else "PUT", "script", script)

    def use_faults(self, faults: typing.Mapping[str, typing.Any] | None) -> None:
        """Let faults, by the pattern of the model, stand in the place of those that there are; None for none."""
        self._ask("DELETE" if faults is None else "PUT", "faults", faults)

    def verdict(self) -> Verdict:
        """Return what the calls so far tell of the program that made them."""
        return Verdict(self._ask("GET", "verdict"))

    def reset(self, *what: str) -> None:
        """Put parts of the session back to how they were at first: calls, state, … ; by default all."""
        self._ask("POST", f"reset?{urllib.parse.urlencode({'what': ','.join(what) or 'all'})}")

    def end(self) -> None:
        """End the session, and forget all that hangs on it; not for the server's own."""
        self._ask("DELETE", "session")

    def _ask(self, method: str, path: str, body: typing.Any = None, *, patience: float = _PATIENCE) -> JsonObject:
        address = urllib.parse.urlsplit(self.url)
        host, port = address.hostname or "127.0.0.1", address.port
        connection: http.client.HTTPConnection
        if address.scheme == "https":
            # The certificate is the server's own, often one that nobody has signed, and nothing secret is told it.
            context = (
                ssl.create_default_context() if self._control_key else ssl._create_unverified_context()
            )  # see above
            connection = http.client.HTTPSConnection(host, port, timeout=patience, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=patience)
        fields = {"content-type": "application/json"}
        if self._control_key:
            fields["authorization"] = f"Bearer {self._control_key}"
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, f"{address.path}/_oaiserve/{path}", data, fields)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        told: JsonObject = json.loads(text) if text else {}
        if answer.status >= 400:
            raise ControlFailed(told["error"]["message"] if "error" in told else f"status {answer.status}")
        return told


def _in_query(value: typing.Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _failure(verdict: JsonObject, conditions: typing.Mapping[str, typing.Any], wanted: str) -> str:
    sought = ", ".join(f"{name}={value!r}" for name, value in conditions.items()) or "any"
    lines = [f"expected {wanted} calls with {sought}, found {verdict['found']}"]
    lines += [
        f"  call {near['call']}: {near['failed']}" if "call" in near else f"  {near['failed']}"
        for near in verdict["nearest"]
    ]
    return "\n".join(lines)
