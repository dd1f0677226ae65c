"""What one request costs, from its admission to its end: taken from who asks, settled, and written into the ledger."""

from __future__ import annotations

import re
import typing

from protocol.errors import ApiError
from protocol.exchange import Body, FieldsToSend, Paced, Request, Response
from protocol.openai.usage import Usage, UsageReader, find_usage
from protocol.team.admission import Demand
from protocol.team.draining import Drains
from protocol.team.ledger.entry import CLOSED, line_of, opening_line
from protocol.team.money import cost
from protocol.team.stores.store import Amounts, Drawn, Store
from protocol.team.terms import Terms
from protocol.team.usage_event import with_usage_asked, with_wish, without_usage_event
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject
from protocol.witness import witnessed

_LEFT = 499

# A stream tells its usage in one of its last events; behind it may come the end of the stream, and an empty frame.
_LAST_FRAMES = 4


# What a Usage says.
Tokens = typing.Tuple[int, int, int, int]


class Ledger(typing.Protocol):
    """Where calls are noted (protocol/team/ledger/spool.py)."""

    def write(self, line: bytes) -> None:
        """Note that a call has begun, or how it has ended (protocol/team/ledger/entry.py)."""


class Tally(typing.Protocol):
    """Who counts what is used, and what is refused (protocol/service/metrics.py)."""

    def rows(self, key: str, model: str) -> typing.Sequence[int]:
        """Return where it is counted what a key takes of a model."""

    def used(self, rows: typing.Sequence[int], tokens: typing.Sequence[int], nano: int | None) -> None:
        """Count there tokens in, cached, out and of reasoning, and nano-dollars if that is known."""

    def limit_hit(self, key: str, limit: str) -> None:
        """Count a request that a limit refused: of requests, tokens, budget or at_once."""


class Books:
    """What all charges share: the store, the ledger if there is one, and clocks.

    `clock` gives seconds since the epoch, `ticks` seconds for spans of time.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger | None,
        clock: typing.Callable[[], float],
        ticks: typing.Callable[[], float],
        tally: Tally,
        *,
        finishes: bool = False,
    ) -> None:
        self.store = store
        self.tally = tally
        self.ledger = ledger
        self.clock = clock
        self.ticks = ticks
        #: Where answers go on whose clients have left; None where they end then.
        self.drains = Drains() if finishes else None


class Charge:
    """A request that was admitted (exchange.Charge), and the witness of its answer. `at` is in seconds since the epoch.

    An answer without a usage keeps what was reserved for it: nobody knows what it was. One that failed gives it back.
    """

    __slots__ = (
        "_at", "_books", "_demand", "_ended", "_first_at", "_hearers", "_id", "_is_cut", "_last", "_makes_tokens",
        "_ms_first", "_paid", "_reader", "_reserved", "_started_at", "_status", "_taken_at", "_takes_event", "_usage",
        "_wants_usage", "is_drained", "limit_fields", "terms",
    )  # fmt: skip

    def __init__(
        self,
        books: Books,
        terms: Terms,
        demand: Demand | None,
        reserved: Amounts,
        id: str,
        at: float,
        makes_tokens: bool,
        wants_usage: bool,
    ) -> None:
        self._books = books
        self.terms = terms
        # Of what something is taken, how much is before it is known, and when it was (Store.take).
        self._demand = demand
        self._reserved = reserved
        self._taken_at = 0
        self._id = id
        self._makes_tokens = makes_tokens
        # Whether the usage of its stream is wanted, and whether it was asked for here: then its event is taken out.
        self._wants_usage = wants_usage
        self._takes_event = False
        self._at = int(at * 1000)
        self._started_at = books.ticks()
        self._first_at: float | None = None
        self._reader: UsageReader | None = None
        self._last = b""  # what ends a paced answer
        self._status = 0
        self._is_cut = self.is_drained = False
        self._ended = ""  # until it is closed
        self._usage: Tokens | None = None
        self._paid: int | None = None
        self._ms_first: int | None = None
        self._hearers: list[typing.Callable[[JsonObject], object]] | None = None
        #: What every answer tells of its limits, as field lines.
        self.limit_fields = b""

    def admit(self, taken: Drawn) -> None:
        """Note what was taken of what the request demands."""
        _, standings, self._taken_at = taken
        if standings and self._demand is not None:
            self.limit_fields = self._demand.lines.of(standings)

    def refusal(self, taken: Drawn, now: float) -> ApiError:
        """Return what the request is told where the limits have no room for it; `now` is in seconds since the epoch."""
        assert self._demand is not None
        return self._demand.refusal(self._reserved, taken[1], self.terms.asked, now)

    def early_fields(self) -> bytes:
        """Return field lines for a head that goes out before its answer is there: what is left of the limits."""
        return self.limit_fields

    def ask_usage(self, request: Request, chat: JsonObject | None = None) -> None:
        """Let the request ask for the usage of its stream, if that is wanted (exchange.Charge).

        `chat` is what it says as ChatForms reads it, if that is known.
        """
        if self._wants_usage and not self._takes_event:
            self._takes_event = True
            body = b"" if chat is None or request.is_read else with_wish(request.body, chat)
            if body:  # nobody needs to read it only for that
                request.replace_body(None, body)
            else:
                request.replace_body(*with_usage_asked(request.body, request.json()))

    def open(self) -> None:
        """Write that the request has begun: its answer is not there at once."""
        if self._books.ledger is not None:
            self._books.ledger.write(opening_line(self._id, self._at, self.terms.names))

    # ---- the answer -------------------------------------------------------------------------------------------------

    def passing(self, response: Response) -> Response:
        """Return an answer as its client gets it; it is counted as it passes."""
        if response.attempts:  # of several backends the last one that was asked has answered
            self.terms = self.terms.at(response.attempts[-1].rpartition("=")[0])
        status = self._status = response.status
        body: Body = response.body
        told = self._makes_tokens and status == 200
        if isinstance(body, bytes):
            self._close("done", (response.usage or _usage_in(body)) if told else None)
        elif isinstance(body, Paced):
            if body.frames and not body.first_delay and not body.delay:
                self._close("done", (response.usage or _usage_in(_last_of(body))) if told else None)
            else:  # the server sends it, and says when it is over
                self._last = _last_of(body)
                self._first_at = self._books.ticks() + body.first_delay
        else:
            body = witnessed(body, self)
            drains = self._books.drains
            if drains is not None:
                body = drains.finishing(body, self)
        if self._takes_event:
            response.length = None
            if status == 200:
                body = without_usage_event(body)
        response.body = body
        if self.limit_fields:
            response.fields = _with_limits(response.fields, self.limit_fields)
        return response

    def took(self, data: bytes) -> None:
        """Learn that a piece of the answer leaves (Witness)."""
        if self._first_at is None:
            self._first_at = self._books.ticks()
        if self._makes_tokens:
            if self._reader is None:
                self._reader = UsageReader()
            self._reader.took(data)

    def whole(self) -> None:
        """Learn that the answer has come to its end, which is about to leave (Witness)."""
        if not self._ended:
            self._close("left" if self.is_drained else "done", self._told())

    def cut(self, error: Exception | None = None) -> None:
        """Learn that the answer breaks off (Witness)."""
        self._is_cut = True

    # ---- the end ----------------------------------------------------------------------------------------------------

    def end(self, status: int) -> None:
        """Learn that the request is over (exchange.Charge)."""
        if self._ended or self.is_drained:
            return
        if not self._status:  # else the answer has one, however it went on
            self._status = status
        usage = _usage_in(self._last) if status != _LEFT and self._last and self._makes_tokens else self._told()
        self._close("left" if status == _LEFT else "broke" if self._is_cut else "done", usage)

    def end_drained(self) -> None:
        """Learn that an answer has come to its end whose client had left before."""
        self.is_drained = False
        if not self._ended:
            self._close("left", self._told())
        for hear in self._hearers or ():
            self.tell(hear)

    def _told(self) -> Usage | None:
        """Return what the answer has told of its usage so far."""
        return None if self._reader is None else self._reader.usage

    def _close(self, ended: str, usage: Tokens | None) -> None:
        """Settle, count and write down what was used; `usage` is None where the answer told none."""
        self._ended = ended
        books, terms, demand = self._books, self.terms, self._demand
        paid = None
        if usage is not None:
            if terms.price is not None:
                paid = cost(terms.price, usage)
            if terms.rows is None:
                terms.rows = books.tally.rows(terms.caller.name, terms.sent)
            books.tally.used(terms.rows, usage, paid)
            if usage[2]:
                terms.length.note(usage[2])
        elif not self._makes_tokens or 400 <= self._status != _LEFT:
            usage, paid = _NOTHING, 0
        if demand is not None:
            if usage is None:  # what was reserved stays
                demand.account.leave()
            else:
                demand.account.settle(self._reserved, (1, usage[0] + usage[2], paid or 0), self._taken_at)
        self._usage, self._paid = usage, paid
        first = total = round((books.ticks() - self._started_at) * 1000)
        if self._first_at is not None:
            first = round((self._first_at - self._started_at) * 1000)
        self._ms_first = first
        if books.ledger is not None:
            books.ledger.write(line_of(
                CLOSED, self._id, self._at, terms.names, self._status, ended, first, total, usage or _UNKNOWN, paid
            ))  # fmt: skip

    def tell(self, hear: typing.Callable[[JsonObject], object]) -> None:
        """Tell the log what it is (exchange.Charge), None for what is not known; of one that goes on, at its end."""
        if self.is_drained:
            self._hearers = [*(self._hearers or ()), hear]
            return
        terms, (read, cached, said, reasoning) = self.terms, self._usage or _UNKNOWN
        hear({
            "id": self._id, "at": self._at, "key": terms.caller.name, "team": terms.caller.team, "asked": terms.asked,
            "sent": terms.sent, "backend": terms.backend, "endpoint": terms.endpoint, "ended": self._ended,
            "ms_first": self._ms_first, "tok_in": read, "tok_cached": cached, "tok_out": said,
            "tok_reasoning": reasoning, "cost_nano": self._paid,
        })  # fmt: skip


def _last_of(body: Paced) -> bytes:
    """Return the end of a stream, where its usage is told."""
    return b"".join(body.frames[-_LAST_FRAMES:])


def _usage_in(body: bytes) -> Usage | None:
    found = find_usage(body)
    return None if found is None else found[0]


_NOTHING = Usage(0)
_UNKNOWN = (None, None, None, None)


_LIMIT_LINES = re.compile(rb"^x-ratelimit-[^\r\n]*\r\n", re.IGNORECASE | re.MULTILINE)


def _with_limits(fields: FieldsToSend, limits: bytes) -> bytes:
    """Return field lines with those of our limits: an upstream's own describe the key that all share."""
    block = fields if isinstance(fields, bytes) else encode_fields(fields)
    if b"x-ratelimit-" in block.lower():
        block = _LIMIT_LINES.sub(b"", block)
    return block + limits
