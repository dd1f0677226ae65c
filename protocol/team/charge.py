"""What one request costs, from its admission to its end: taken from who asks, settled, and written into the ledger."""

from __future__ import annotations

import typing

from protocol.exchange import Body, FieldsToSend, Paced, Response
from protocol.limiter import Claim
from protocol.openai.usage import Usage, UsageReader, find_usage
from protocol.team.draining import Drains
from protocol.team.ledger.entry import Entry
from protocol.team.money import cost
from protocol.team.stores.store import Store
from protocol.team.terms import Terms
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


class Charge:
    """A request that was admitted (exchange.Charge), and the witness of its answer. `at` is in seconds since the epoch.

    An answer without a usage keeps what was reserved for it: nobody knows what it was. One that failed gives it back.
    """

    __slots__ = (
        "_at", "_books", "_claims", "_ended", "_first_at", "_hearers", "_id", "_is_cut", "_last", "_makes_tokens",
        "_money", "_paid", "_reader", "_started_at", "_status", "_taken_at", "_takes_event", "_usage", "backend",
        "is_drained", "limit_fields", "terms",
    )  # fmt: skip

    def __init__(
        self, books: Books, terms: Terms, id: str, at: float, *, makes_tokens: bool, takes_event: bool
    ) -> None:
        self._books = books
        self.terms = terms
        self.backend = terms.backend
        self._id = id
        self._makes_tokens = makes_tokens
        self._takes_event = takes_event
        self._at = int(at * 1000)
        self._started_at = books.ticks()
        # What is settled: claims of tokens and then of money, so many; and when they were taken (Store.take).
        self._claims: typing.Sequence[Claim] = ()
        self._money = self._taken_at = 0
        self._first_at: float | None = None
        self._reader: UsageReader | None = None
        self._last = b""  # what ends a paced answer
        self._status = 0
        self._is_cut = self.is_drained = False
        self._ended = ""  # until it is closed
        self._usage: Usage | None = None
        self._paid: int | None = None
        self._hearers: list[typing.Callable[[JsonObject], object]] | None = None
        #: What every answer tells of its limits, as field lines.
        self.limit_fields = b""

    def reserve(self, claims: typing.Sequence[Claim], money: int, at: int) -> None:
        """Note what was taken for the request and is to be settled: claims of tokens, and then so many of money."""
        self._claims = claims
        self._money = money
        self._taken_at = at

    def early_fields(self) -> bytes:
        """Return field lines for a head that goes out before its answer is there: what is left of the limits."""
        return self.limit_fields

    def open(self) -> None:
        """Write that the request has begun: its answer is not there at once."""
        if self._books.ledger is not None:
            self._books.ledger.opened(self._entry())

    # ---- the answer -------------------------------------------------------------------------------------------------

    def passing(self, response: Response) -> Response:
        """Return an answer as its client gets it; it is counted as it passes."""
        if response.attempts:  # of several backends the last one that was asked has answered
            self.backend = name = response.attempts[-1].rpartition("=")[0]
            self.terms = self.terms.others.get(name, self.terms)
        status = self._status = response.status
        body: Body = response.body
        if isinstance(body, bytes):
            self._close("done", _usage_in(body) if self._makes_tokens and status == 200 else None)
        elif isinstance(body, Paced):
            last = b"".join(body.frames[-_LAST_FRAMES:])
            if body.frames and not body.first_delay and not body.delay:
                self._close("done", _usage_in(last) if self._makes_tokens and status == 200 else None)
            else:  # the server sends it, and says when it is over
                self._last = last
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

    def _close(self, ended: str, usage: Usage | None) -> None:
        """Settle, count and write down what was used; `usage` is None where the answer told none."""
        self._ended = ended
        books, terms, claims = self._books, self.terms, self._claims
        caller, paid = terms.caller, None
        if usage is not None:
            if terms.price is not None:
                paid = cost(terms.price, usage)
            books.tally.used(caller.name, terms.sent, usage, paid)
            if usage.output:
                books.note_tokens(caller.name, terms.asked, usage.output)
        elif not self._makes_tokens or 400 <= self._status != _LEFT:
            usage, paid = _NOTHING, 0
        if usage is None:  # what was reserved stays
            claims = ()
        if claims or caller.places:
            count = len(claims) - self._money
            units = [] if usage is None else [usage.input + usage.output] * count + [paid or 0] * self._money
            books.store.settle(claims, units, self._taken_at, caller.places)
        self._usage, self._paid = usage, paid
        if books.ledger is not None:
            books.ledger.closed(self._entry())

    def _entry(self) -> Entry:
        terms, ended = self.terms, self._ended
        first = total = None
        if ended:
            spent = self._books.ticks() - self._started_at
            first = total = round(spent * 1000)
            if self._first_at is not None:
                first = round((self._first_at - self._started_at) * 1000)
        return _new_entry(Entry, (
            self._id, self._at, terms.caller.name, terms.caller.team, terms.asked, terms.sent, self.backend,
            terms.upstream_key, terms.endpoint, self._status, ended, first, total, *(self._usage or _UNKNOWN),
            self._paid,
        ))  # fmt: skip

    def tell(self, hear: typing.Callable[[JsonObject], object]) -> None:
        """Tell the log what it is (exchange.Charge), None for what is not known; of one that goes on, at its end."""
        if self.is_drained:
            self._hearers = [*(self._hearers or ()), hear]
            return
        entry = self._entry()
        hear({name: getattr(entry, name) for name in _LOGGED})


def _usage_in(body: bytes) -> Usage | None:
    found = find_usage(body)
    return None if found is None else found[0]


# A named tuple's own constructor is a Python function, and takes twice as long.
_new_entry: typing.Callable[[typing.Type[Entry], typing.Tuple[typing.Any, ...]], Entry] = tuple.__new__

_NOTHING = Usage(0)
_UNKNOWN = (None, None, None, None)
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
