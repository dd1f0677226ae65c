"""What one request costs, from its admission to its end: taken from who asks, settled, and written into the ledger."""

from __future__ import annotations

import typing

from protocol.exchange import Body, FieldsToSend, Paced, Response
from protocol.limiter import Claim
from protocol.openai.usage import Usage, UsageReader
from protocol.team.callers import Caller
from protocol.team.draining import Drains
from protocol.team.ledger.entry import Entry
from protocol.team.money import Price, cost
from protocol.team.stores.store import Store
from protocol.team.usage_event import without_usage_event
from protocol.wire.http1.writers import decode_fields, encode_fields
from protocol.wire.json_text import JsonObject
from protocol.witness import witnessed

_LEFT = 499

# A stream tells its usage in one of its last events; behind it may come the end of the stream, and an empty frame.
_LAST_FRAMES = 4

# How much an answer changes the mean of its key and model, and of how many of these the means are kept.
_WEIGHT = 0.1
_MOST_MEANS = 10_000


class Ledger(typing.Protocol):
    """Where entries are written (protocol/team/ledger/spool.py)."""

    def opened(self, entry: Entry) -> None:
        """Write that a call has begun."""

    def closed(self, entry: Entry) -> None:
        """Write how a call has ended."""


class Tally(typing.Protocol):
    """Who counts what is used, and what is refused (protocol/service/metrics.py)."""

    def used(self, key: str, model: str, tokens: typing.Sequence[int], nano: int | None) -> None:
        """Count tokens in, cached, out and of reasoning, and nano-dollars if that is known."""

    def limit_hit(self, key: str, limit: str) -> None:
        """Count a request that a limit refused: of requests, tokens, budget or at_once."""


class Books:
    """What all charges share: the store, the ledger if there is one, clocks, and how long answers usually are.

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
        self._means: dict[tuple[str, str], float] = {}

    def usual_tokens(self, caller: str, model: str, otherwise: int) -> int:
        """Return how many tokens an answer to a caller by a model usually has."""
        return int(self._means.get((caller, model), otherwise))

    def note_tokens(self, caller: str, model: str, count: int) -> None:
        """Learn how many tokens an answer had."""
        means, key = self._means, (caller, model)
        mean = means.get(key)
        if mean is None and len(means) >= _MOST_MEANS:
            means.pop(next(iter(means)))
        means[key] = count if mean is None else mean + (count - mean) * _WEIGHT


class Estimate(typing.NamedTuple):
    """What is reserved for a request: claims by kind, tokens and money, and when that was (Store.take)."""

    tokens: typing.Sequence[Claim] = ()
    money: typing.Sequence[Claim] = ()
    taken_at: int = 0


class Charge:
    """A request that was admitted (exchange.Charge), and the witness of its answer.

    An answer without a usage keeps what was reserved for it: nobody knows what it was. One that failed gives it back.
    """

    __slots__ = (
        "_at", "_books", "_caller", "_ended", "_estimate", "_first_at", "_hearers", "_id", "_is_closed", "_is_cut",
        "_last", "_makes_tokens", "_price", "_reader", "_started_at", "_status", "_takes_event", "asked", "backend",
        "endpoint", "is_drained", "limit_fields", "sent", "upstream_key",
    )  # fmt: skip

    def __init__(
        self, books: Books, caller: Caller, id: str, *, makes_tokens: bool, takes_event: bool, price: Price | None
    ) -> None:
        self._books = books
        self._caller = caller
        self._id = id
        self._makes_tokens = makes_tokens
        self._takes_event = takes_event
        self._price = price
        self._estimate = Estimate()
        self._at = int(books.clock() * 1000)
        self._started_at = books.ticks()
        self._first_at: float | None = None
        self._reader = UsageReader()
        self._last = b""  # what ends a paced answer
        self._status = 0
        self._is_closed = self._is_cut = False
        self._ended = ""
        self.is_drained = False
        self._hearers: list[typing.Callable[[JsonObject], object]] = []
        self.asked = self.sent = self.backend = self.endpoint = self.upstream_key = ""
        #: What every answer tells of its limits, as field lines.
        self.limit_fields = b""

    def reserve(self, estimate: Estimate) -> None:
        """Note what was taken for the request."""
        self._estimate = estimate

    def early_fields(self) -> bytes:
        """Return field lines for a head that goes out before its answer is there: what is left of the limits."""
        return self.limit_fields

    def open(self) -> None:
        """Write that the request has begun: its answer is not there at once."""
        if self._books.ledger is not None:
            self._books.ledger.opened(self._entry(None, None))

    # ---- the answer -------------------------------------------------------------------------------------------------

    def passing(self, response: Response) -> Response:
        """Return an answer as its client gets it; it is counted as it passes."""
        if response.attempts:  # of several backends the last one that was asked has answered
            self.backend = response.attempts[-1].rpartition("=")[0]
        self._status = response.status
        body: Body = response.body
        is_ready = isinstance(body, bytes) or (
            type(body) is Paced and not body.first_delay and not body.delay and bool(body.frames)
        )
        if is_ready:
            self._take_ready(body)
        elif isinstance(body, Paced):  # the server sends it, and says when it is over
            self._last = b"".join(body.frames[-_LAST_FRAMES:])
            self._first_at = self._books.ticks() + body.first_delay
        else:
            body = witnessed(body, self)
            drains = self._books.drains
            if drains is not None:
                body = drains.finishing(body, self)
        if self._takes_event and response.status == 200:
            body = without_usage_event(body)
        fields = response.fields if not self.limit_fields else _with_limits(response.fields, self.limit_fields)
        length = None if self._takes_event else response.length
        return Response(response.status, fields, body, length, response.request_id, response.attempts)

    def _take_ready(self, body: Body) -> None:
        if self._makes_tokens and self._status == 200:
            if isinstance(body, bytes):
                self._reader.took(body)
            elif isinstance(body, Paced):
                self._reader.took(b"".join(body.frames[-_LAST_FRAMES:]))
        self._close("done")

    def took(self, data: bytes) -> None:
        """Learn that a piece of the answer leaves (Witness)."""
        if self._first_at is None:
            self._first_at = self._books.ticks()
        if self._makes_tokens:
            self._reader.took(data)

    def whole(self) -> None:
        """Learn that the answer has come to its end, which is about to leave (Witness)."""
        if not self._is_closed:
            self._close("left" if self.is_drained else "done")

    def cut(self, error: Exception | None = None) -> None:
        """Learn that the answer breaks off (Witness)."""
        self._is_cut = True

    # ---- the end ----------------------------------------------------------------------------------------------------

    def end(self, status: int) -> None:
        """Learn that the request is over (exchange.Charge)."""
        if self._is_closed or self.is_drained:
            return
        if not self._status:  # else the answer has one, however it went on
            self._status = status
        if status != _LEFT and self._last and self._makes_tokens:
            self._reader.took(self._last)
        self._close("left" if status == _LEFT else "broke" if self._is_cut else "done")

    def end_drained(self) -> None:
        """Learn that an answer has come to its end whose client had left before."""
        self.is_drained = False
        if not self._is_closed:
            self._close("left")
        for hear in self._hearers:
            self.tell(hear)

    def _close(self, ended: str) -> None:
        self._is_closed = True
        self._ended = ended
        books, estimate = self._books, self._estimate
        usage, paid = self._used()
        if usage is not None:
            if usage is not _NOTHING:
                books.tally.used(self._caller.name, self.sent, usage, paid)
            if estimate.tokens or estimate.money:
                units = [usage.input + usage.output] * len(estimate.tokens) + [paid or 0] * len(estimate.money)
                books.store.settle([*estimate.tokens, *estimate.money], units, estimate.taken_at)
            if usage.output:
                books.note_tokens(self._caller.name, self.asked, usage.output)
        if self._caller.places:
            books.store.leave(self._caller.places)
        if books.ledger is not None:
            books.ledger.closed(self._entry(usage, paid))

    def _used(self) -> tuple[Usage | None, int | None]:
        """Return what was used, and what it cost in nano-dollars; None for what nobody knows."""
        usage = self._reader.usage
        if usage is None and (not self._makes_tokens or 400 <= self._status != _LEFT):
            usage = _NOTHING
        if usage is None:
            return None, None
        if usage is _NOTHING:
            return usage, 0
        return usage, None if self._price is None else cost(self._price, usage)

    def _entry(self, usage: Usage | None, paid: int | None) -> Entry:
        caller, status = self._caller, self._status
        first = total = None
        if self._is_closed:
            now = self._books.ticks()
            total = round((now - self._started_at) * 1000)
            first = total if self._first_at is None else round((self._first_at - self._started_at) * 1000)
        tokens: tuple[int | None, int | None, int | None, int | None] = usage or (None, None, None, None)
        return Entry(
            self._id, self._at, caller.name, caller.team, self.asked, self.sent, self.backend, self.upstream_key,
            self.endpoint, status, self._ended, first, total, *tokens, paid,
        )  # fmt: skip

    def tell(self, hear: typing.Callable[[JsonObject], object]) -> None:
        """Tell the log what it is (exchange.Charge), None for what is not known; of one that goes on, at its end."""
        if self.is_drained:
            self._hearers.append(hear)
            return
        entry = self._entry(*self._used())
        hear({name: getattr(entry, name) for name in _LOGGED})


_NOTHING = Usage(0)
_LOGGED = (
    "id", "at", "key", "team", "asked", "sent", "backend", "endpoint", "ended", "ms_first", "tok_in", "tok_cached",
    "tok_out", "tok_reasoning", "cost_nano",
)  # fmt: skip


def _with_limits(fields: FieldsToSend, limits: bytes) -> bytes:
    """Return field lines with those of our limits: an upstream's own describe the key that all share."""
    block = fields if isinstance(fields, bytes) else encode_fields(fields)
    if b"x-ratelimit-" in block.lower():
        kept = [pair for pair in decode_fields(block) if not pair[0].lower().startswith("x-ratelimit-")]
        block = encode_fields(kept)
    return block + limits
