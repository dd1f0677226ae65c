"""The log: one line when a request starts and one when it ends, or one alone, and what the server itself has to say.

Lines are gathered and written once a turn of the event loop, and under load less often. Keys, bodies and query strings
are never logged; a key shows as the first eight hex digits of its MD5: a label that tells callers apart, not a
protection.
"""

from __future__ import annotations

import json
import time
import traceback
import typing

from protocol.errors import without_keys
from protocol.exchange import Request
from protocol.on_demand import load
from protocol.service.trace import trace_of
from protocol.wire.json_text import JsonObject

# The status of a request whose client had gone.
_LEFT = 499
# What is less is written as 0.00.
_NO_SECONDS = 0.005

#: The forms whose lines tell what is seen of answers (protocol/service/seen.py).
TELLING_FORMS = frozenset(("json", "line"))


class RequestLog(typing.Protocol):
    """What the server asks of a log."""

    @property
    def records_requests(self) -> bool:
        """Whether it wants to know of requests."""

    def started(self, request: Request) -> None:
        """Learn that a request came."""

    def completed(
        self, request: Request, status: int, seconds: float, answer_id: str = "", attempts: typing.Sequence[str] = ()
    ) -> None:
        """Learn that its answer has been sent."""

    def answered(self, request: Request, status: int, seconds: float, answer_id: str = "") -> None:
        """Learn both at once."""

    def say(self, message: str) -> None:
        """Take a line of the server's own."""

    def say_of(self, request: Request, message: str) -> None:
        """Take a line about a request."""

    def failure(self, request: Request, exc: BaseException) -> None:
        """Learn where a defect of ours came up."""

    def flush(self) -> None:
        """Write what has been gathered."""


class Log:
    """Writes lines of the form "text", "line", "json" or "off" with `write` (which takes a str of whole lines).

    `call_soon` runs a callable a little later, for gathering; without it each line goes out at once.
    `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        form: str,
        write: typing.Callable[[str], typing.Any],
        *,
        clock: typing.Callable[[], float] = time.time,
        call_soon: typing.Callable[[typing.Callable[[], typing.Any]], typing.Any] | None = None,
    ) -> None:
        self.use(form)
        self._write = write
        self._clock = clock
        self._call_soon = call_soon
        self._lines: list[str] = []
        self._stamp = ""

    def use(
        self,
        form: str,
        unlogged: typing.Collection[str] = (),
        *,
        records_requests: bool = True,
        has_colours: bool = False,
    ) -> None:
        """Write lines of this form from now on, and none about requests for the paths that are `unlogged`.

        Where requests are not recorded at all, what the server itself has to say is left. `has_colours` is for
        terminals.
        """
        self.form = form
        self._unlogged = frozenset(unlogged)
        self._has_colours = has_colours
        self._second = -1  # each form has a stamp of its own
        #: Whether `started` and `completed` write anything.
        self.records_requests = records_requests and form != "off"

    def started(self, request: Request) -> None:
        """Note that a request came."""
        if request.head.path in self._unlogged or self.form == "line":
            return
        if self.form == "text":
            self._add_stamped(_words(request).started)
        else:
            label = request.facts.key_label or key_label(request)
            self._add(json.dumps(self._record("request_started", request, label, {})) + "\n")

    def completed(
        self, request: Request, status: int, seconds: float, answer_id: str = "", attempts: typing.Sequence[str] = ()
    ) -> None:
        """Note that its answer has been sent, after so many seconds; status 499 says that the client had gone.

        `answer_id` is the id that the answer carried, if that was not the request's own; `attempts` is what was tried
        upstream (Response.attempts).
        """
        if request.head.path in self._unlogged:
            return
        if self.form == "text":
            words = _words(request)
            self._add_stamped(f"{words.completed}{status}, Time: {seconds:.2f}{words.end}")
        else:
            label = request.facts.key_label or key_label(request)
            # An upstream may repeat the caller's own key there.
            is_told = answer_id and answer_id != request.id and not (request.key and request.key in answer_id)
            more: JsonObject = {"answer_id": answer_id} if is_told else {}
            more.update(status=status, seconds=round(seconds, 6), **_seen(request, status, seconds, attempts))
            record = self._record("request_completed", request, label, more)
            if request.charge is None:
                self._write_record(record)
            else:
                request.charge.tell(lambda told: self._write_record({**record, **told}))

    def _write_record(self, record: JsonObject) -> None:
        if self.form == "line":
            (request_line,) = load("line of a request")
            self._add(request_line(record, self._has_colours))
        else:
            self._add(json.dumps(record) + "\n")

    def answered(self, request: Request, status: int, seconds: float, answer_id: str = "") -> None:
        """Note what `started` and `completed` do, for a request that was answered as soon as it came."""
        if self.form != "text":
            self.started(request)
            self.completed(request, status, seconds, answer_id)
            return
        if request.head.path in self._unlogged:
            return
        words: _Words | None = request.facts.log_words
        if words is None or words.peer != request.peer:
            words = _words(request)
        lines = self._lines
        now = self._stamp if lines else self._now()
        if status == 200 and seconds < _NO_SECONDS:
            # Half of what the log costs is to write numbers that are the same for nearly every such request.
            text = f"{now}{words.started}{now}{words.completed_at_once}"
        else:
            text = f"{now}{words.started}{now}{words.completed}{status}, Time: {seconds:.2f}{words.end}"
        if lines:
            lines.append(text)
        else:
            self._add(text)

    def say(self, message: str) -> None:
        """Write a line of the server's own: something it had to do that its owner should know."""
        if self.form == "json":
            self._add(json.dumps({"time": self._now(), "event": "message", "message": message}) + "\n")
        elif self.form == "line":
            self._add(f"{self._now()} {message}\n")
        elif self.form == "text":
            self._add(f"{self._now()} - {message}\n")

    def say_of(self, request: Request, message: str) -> None:
        """Write a line about a request. Its id may be the caller's own choice, and that his key."""
        self.say(f"Request {without_keys(request.id, request.key)}: {message}")

    def failure(self, request: Request, exc: BaseException) -> None:
        """Write where a defect of ours came up: frames only, for a message or value may hold what is secret."""
        frames = traceback.extract_tb(exc.__traceback__)
        places = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames[-8:]))
        self.say(f"Request {without_keys(request.id, request.key)} failed inside with {type(exc).__name__} at {places}")

    def flush(self) -> None:
        """Write what has been gathered."""
        lines, self._lines = self._lines, []
        if lines:
            self._write("".join(lines))

    def _record(self, event: str, request: Request, label: str, more: JsonObject) -> JsonObject:
        method, path = request.facts.logged_target or logged_target(request)
        trace = trace_of(request.fields)
        if trace is not None:
            # Of the caller, whose field a relay passes on as it came, or begun here.
            more = {"trace_id": trace.trace_id, "span_id": trace.span_id, **more}
        return {
            "time": self._now(), "event": event, "request_id": without_keys(request.id, request.key),
            "ip": request.peer, "method": method, "path": path, "api_key_hash": label, **more,
        }  # fmt: skip

    def _add_stamped(self, line: str) -> None:
        """Add a line with the time before it, which is that of the first of those that are written together."""
        lines = self._lines
        if lines:
            lines.append(f"{self._stamp}{line}")
        else:
            self._add(f"{self._now()}{line}")

    def _add(self, line: str) -> None:
        if self._lines:
            self._lines.append(line)
            return
        self._lines = [line]
        if self._call_soon is None:
            self.flush()
        else:
            self._call_soon(self.flush)

    def _now(self) -> str:
        second = int(self._clock())
        if second != self._second:
            self._second = second
            local = time.localtime(second)
            if self.form in TELLING_FORMS:
                # RFC 3339: logs of hosts in several zones are put together. Older Pythons read no zone without ":".
                text = time.strftime("%Y-%m-%dT%H:%M:%S%z", local)
                self._stamp = f"{text[:-2]}:{text[-2:]}"
            else:
                self._stamp = time.strftime("%Y-%m-%d %H:%M:%S", local)
        return self._stamp


class _Words:
    """What is said in lines of the form "text" of each request from one peer that has a head of one kind."""

    __slots__ = ("completed", "completed_at_once", "end", "peer", "started")

    def __init__(self, request: Request) -> None:
        self.peer = request.peer
        label = request.facts.key_label or key_label(request)
        method, path = request.facts.logged_target or logged_target(request)
        self.started = f" - Request started - IP: {self.peer}, Method: {method}, Path: {path}, API Key Hash: {label}\n"
        self.completed = f" - Request completed - IP: {self.peer}, Status: "
        self.end = f"s, API Key Hash: {label}\n"
        self.completed_at_once = f"{self.completed}200, Time: {0.0:.2f}{self.end}"


def _words(request: Request) -> _Words:
    """Return what the lines of a request have in common with others; worked out once for a repeated head."""
    words: _Words | None = request.facts.log_words
    if words is None or words.peer != request.peer:
        words = request.facts.log_words = _Words(request)
    return words


def _seen(request: Request, status: int, seconds: float, attempts: typing.Sequence[str]) -> JsonObject:
    """Return what was seen of an answer, and how it ended: done, left by its client, or broken off."""
    told: JsonObject = {"attempts": list(attempts)} if attempts else {}
    if request.seen is not None:
        told.update(request.seen.told(request, seconds, attempts))
    if status == _LEFT:
        told["ended"] = "left"
    told.setdefault("ended", "done")
    if request.take is not None:
        met = request.take.told()
        told.update({name: without_keys(met[name], request.key) for name in ("rule", "fault", "session") if met[name]})
    return told


def key_label(request: Request) -> str:
    """Return the first eight hex digits of the key's MD5, "-" without a key; worked out once for a repeated head."""
    key = request.key
    label = "-"
    if key:
        (md5_label,) = load("key label")
        label = md5_label(key)
    request.facts.key_label = label
    return label


def logged_target(request: Request) -> tuple[str, str]:
    """Return a request's method and path without keys; worked out once for a repeated head."""
    head = request.head
    target = without_keys(head.method, request.key), without_keys(head.path, request.key)
    request.facts.logged_target = target
    return target
