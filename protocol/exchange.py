"""One request and its answer, as a backend sees them: the whole border between the server and what answers.

The server reads a head and asks the application for the Endpoint that will answer it. Most endpoints want the body in
one piece: they are called when it is there, and those that need not wait return their Response at once, without a
task. An endpoint that streams its body is called with the head and reads `request.stream` as it goes.

An answer that has to be waited for is a coroutine, and its body an asynchronous iterator. That is easy to read and
costs a task: 10 µs, and 4 µs more for each piece of a body (CPython 3.11). Where that matters there are a Pending
answer and a Pushed body: whoever makes them is called back when there is something to do, and calls the server.
"""

from __future__ import annotations

import asyncio
import re
import typing

from protocol.errors import ApiError
from protocol.held_bytes import HeldBytes, Stay
from protocol.turns import in_turns
from protocol.wire.gathering import Gathering
from protocol.wire.http1.messages import Fields, RequestHead
from protocol.wire.http1.writers import ResponseWriter
from protocol.wire.json_text import JsonObject, parse_json
from protocol.wire.long_json import RoomToRead

#: A held body of more bytes takes long to read, so its endpoint is asked in turns with everybody else
#: (protocol/turns.py). A shorter one is read in some milliseconds, whatever it says.
LONG_BODY = 65536

_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)

# The subprotocol by which a browser, which cannot set fields on a WebSocket, hands over its key (OpenAI, "Realtime").
_KEY_SUBPROTOCOL = "openai-insecure-api-key."


#: The fields from which HeadFacts are worked out, beside the names of all that there are. Whoever chooses an endpoint
#: by a head (`Backend.endpoint`) may look at no others.
TELLING_FIELDS = frozenset((
    b"authorization", b"api-key", b"sec-websocket-protocol", b"origin", b"sec-fetch-site", b"content-encoding",
    b"content-type", b"via", b"x-oaiserve-fault",
))  # fmt: skip


class HeadFacts:
    """What a head says of every request that has it, or another one that differs in no field that tells something.

    Most clients repeat most of their head. So the server keeps these facts beside the kinds of heads that it remembers
    (RequestHead.facts), and each is worked out once, when somebody first asks: until then it is None.
    """

    __slots__ = (
        "cors_fields", "direct_endpoint", "endpoint", "figures", "has_no_id", "key", "key_label", "log_words",
        "logged_target", "plans", "session",
    )  # fmt: skip

    def __init__(self) -> None:
        #: The API key that the caller sent, "" for none, and the label by which the log tells it from others.
        self.key: str | None = None
        self.key_label: str | None = None
        #: Method and path as the log shows them.
        self.logged_target: tuple[str, str] | None = None
        #: What its lines in the log have in common; of a type that only the log knows.
        self.log_words: typing.Any = None
        #: Whether it is known that the caller chose no request id.
        self.has_no_id = False
        #: The field lines of the answer that browsers want.
        self.cors_fields: bytes | None = None
        #: Who answers. `direct_endpoint` is the same one, or None where the endpoint reads the body itself or the head
        #: asks for more than HTTP/1.1's usual answer: then the connection must look closer before it answers.
        self.endpoint: Endpoint | None = None
        self.direct_endpoint: Endpoint | None = None
        #: Where its requests are counted; of a type that only the metrics know.
        self.figures: typing.Any = None
        #: By the name of a backend, what that has worked out; of a type that only the backend knows.
        self.plans: dict[str, typing.Any] = {}
        #: The session that it belongs to while the instrument is on (protocol/instrument), None else.
        self.session: Session | None = None


class Follower(typing.Protocol):
    """Who has to know when time goes ahead all at once."""

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass at once."""


class Session(typing.Protocol):
    """What a backend needs to know of a session: what it remembers is kept apart for it, and goes by its clock.

    `name` is "" for the server's own. Once it `has_ended`, nothing is to be kept for it any more.
    """

    name: str
    seed: str
    has_ended: bool

    def now(self) -> float:
        """Return the session's time, in seconds since the epoch."""

    def sleep(self, seconds: float) -> typing.Awaitable[object]:
        """Wait for so many seconds of the session's time."""

    def follow(self, follower: Follower) -> None:
        """Let a follower know by how much the session's time goes ahead, for as long as somebody else holds it."""


class Take(typing.Protocol):
    """What is known of one request while the instrument is on (protocol/instrument/take.py)."""

    def early_fields(self) -> bytes:
        """Return field lines for a head that goes out before its answer is there."""

    def end(self, status: int) -> None:
        """Learn that the request is over; status 499 says that the client had gone."""

    def told(self) -> JsonObject:
        """Return what the live view tells of it."""


class Charge(typing.Protocol):
    """What one request costs who has asked (protocol/team)."""

    def early_fields(self) -> bytes:
        """Return field lines for a head that goes out before its answer is there."""

    def end(self, status: int) -> None:
        """Learn that the request is over; status 499 says that the client had gone."""

    def tell(self, hear: typing.Callable[[JsonObject], object]) -> None:
        """Let `hear` have what the log tells of it: now, or when an answer ends that goes on without its client."""

    def ask_usage(self, request: Request) -> None:
        """Let the request ask for the usage of its stream, if that is to be known and it does not.

        Whoever says `tells_usage` (Backend) calls it before he answers a chat's stream without Response.usage.
        """


class Sight(typing.Protocol):
    """What is seen of one request and its answer while somebody tells of them afterwards (protocol/service/seen.py)."""

    def queued(self, seconds: float) -> None:
        """Learn for how long the request has waited until there could be a connection."""

    def connected(self, seconds: float) -> None:
        """Learn for how long a connection was opened for the request."""

    def told(self, request: Request, seconds: float, attempts: typing.Sequence[str]) -> JsonObject:
        """Return what there is to tell of a request that is over now and took so many seconds."""


class Request:
    """A request: its head, and its body held (`body`) or on its way (`stream`), as its endpoint chose.

    `id` is the caller's x-request-id when that is sane, else made here. The log knows the request by it, and so does
    the client, unless the answer carries another one. `peer` is the client's address. `path` is the target's,
    percent-encoded as it came and without the query; a door may lead to another one. `deadline` is when all attempts
    must be over, in the loop's time, 0 for never. `came_at` is when its endpoint could be asked, in the same time: with
    its body, where that is held; 0 where nobody has noted it. `key_origin` is the only one that may get the caller's
    own key, None while any may.

    What a backend holds for a request besides its body is counted here, in the server's account of all that is held
    (`account`), and given back when the request is over. `take` is what the instrument knows of it, None while that is
    off; `charge` is what it costs, None where nobody counts that; `seen` is what is seen of its answer, None where
    nobody looks.
    """

    __slots__ = (
        "_account", "_first", "_json", "body", "came_at", "charge", "deadline", "facts", "head", "held_bytes", "id",
        "key_origin", "made_room", "path", "peer", "seen", "stream", "take",
    )  # fmt: skip

    def __init__(self, head: RequestHead, id: str, peer: str, account: HeldBytes | None = None) -> None:
        self._account = account  # None where nobody counts, and once the request is over
        self._first: Request | None = None  # the request that this one is by another id
        #: What is held besides the body, in bytes.
        self.held_bytes = 0
        self.head = head
        facts: HeadFacts | None = head.facts
        self.facts = HeadFacts() if facts is None else facts  # None of a head that no server has read
        self.id = id
        self.path = head.path
        self.peer = peer
        self.body = b""
        #: Bytes that are counted already for what will be read of the body, which was let in with them.
        self.made_room = 0
        self.stream: typing.AsyncIterator[bytes] | None = None
        self.came_at = 0.0
        self.deadline = 0.0
        self.key_origin: str | None = None
        self.take: Take | None = None
        self.charge: Charge | None = None
        self.seen: Sight | None = None
        self._json: typing.Any = None

    @property
    def method(self) -> str:
        """The method, as it came: methods are case-sensitive (RFC 9110 §9.1)."""
        return self.head.method

    @property
    def fields(self) -> Fields:
        """The header fields."""
        return self.head.fields

    @property
    def key(self) -> str:
        """The API key that the caller sent, "" for none (RFC 6750 §2.1, and the browser's WebSocket way)."""
        key = self.facts.key
        if key is None:
            key = self.facts.key = _find_key(self.head.fields)
        return key

    def json(self) -> typing.Any:
        """Return the held body as JSON, read once; ApiError 400 when it is not JSON (RFC 8259, UTF-8).

        What a body of more than 64 kB says is held beside it; ApiError 503 where there is no room for that, nor was
        made while it came.
        """
        if self._json is None:
            self._json = parse_json(self.body, self.hold_part)
        return self._json

    def json_object(self) -> dict[str, typing.Any]:
        """Return the held body as a JSON object; ApiError 400 for anything else."""
        value = self._json
        if value is None:
            value = self._json = parse_json(self.body, self.hold_part)
        if type(value) is not dict:
            raise ApiError(400, f"The body must be a JSON object, but it is {_json_kind(value)}.")
        return value

    async def read_json_object(self) -> dict[str, typing.Any]:
        """Return what json_object does, for who can wait: a long body is read in turns with everybody else."""
        return await in_turns(self.json_object) if len(self.body) > LONG_BODY else self.json_object()

    def end_within(self, seconds: float) -> float:
        """Let all attempts be over in so many seconds, 0 for never; return when that is, in the loop's time.

        The backend that is asked first says it for those that are asked after it.
        """
        if seconds and not self.deadline:
            self.deadline = asyncio.get_running_loop().time() + seconds
        return self.deadline

    def keep_key_for(self, origin: str) -> None:
        """Let the caller's own key go to this origin (Backend.origin) alone, whoever else is asked; "" is none."""
        if self.key_origin != "":  # what goes to nobody stays so
            self.key_origin = origin

    def may_show_key(self, origin: str) -> bool:
        """Tell whether the caller's own key may go to an origin."""
        return self.key_origin is None or self.key_origin == origin

    def named(self, id: str) -> Request:
        """Return the same request under another id."""
        other = Request(self.head, id, self.peer)
        other.path, other.body, other.stream, other.made_room = self.path, self.body, self.stream, self.made_room
        other.came_at, other.deadline, other.key_origin, other.take = (
            self.came_at, self.deadline, self.key_origin, self.take,
        )  # fmt: skip
        other.charge, other.seen = self.charge, self.seen
        other._first = self._first or self
        return other

    def with_head(self, head: RequestHead) -> Request:
        """Return the same request with another head, which leads to the same endpoint, and without its body."""
        other = Request(head, self.id, self.peer)
        other.path, other.deadline, other.key_origin = self.path, self.deadline, self.key_origin
        other.came_at, other.take, other.charge, other.seen = self.came_at, self.take, self.charge, self.seen
        other._first = self._first or self
        return other

    # ---- what is held for it ------------------------------------------------------------------------------------

    def hold(self, size: int) -> None:
        """Hold so many bytes more until the request is over; ApiError 503 where there is no room for them."""
        first = self._first or self
        if not self.may_hold(size) and first._account is not None:
            raise first._account.refusal()

    def hold_part(self, size: int) -> None:
        """Hold so many bytes that are read of the body, for which room may be made already; ApiError 503 as `hold`."""
        made = min(size, self.made_room)
        self.made_room -= made
        if size > made:
            self.hold(size - made)

    def may_hold(self, size: int) -> bool:
        """Hold so many bytes more if there is room for them, and tell whether there is."""
        first = self._first or self
        account = first._account
        if account is not None:
            if not account.has_room(size):
                return False
            account.add(size)
            first.held_bytes += size
        return True

    def let_go(self, size: int) -> None:
        """Hold so many bytes less."""
        first = self._first or self
        if first._account is not None:
            first._account.add(-size)
            first.held_bytes -= size

    def hold_no_more(self) -> None:
        """Give back all that is held, and count nothing any more: the request is over."""
        account, self._account = self._account, None
        if account is not None and self.held_bytes:
            account.add(-self.held_bytes)
            self.held_bytes = 0

    def stay(self) -> Stay:
        """Return what counts all that the WebSocket holds that the request opens; ApiError 503 without room for one."""
        return Stay((self._first or self)._account)

    def held_stream(self) -> typing.AsyncIterator[bytes]:
        """Return the stream for whoever holds all that comes; reading it raises ApiError 503 as `hold` does."""
        assert self.stream is not None, "the endpoint streams its body"
        return _HeldStream(self.stream, self)

    # ---- other bodies -------------------------------------------------------------------------------------------

    @property
    def is_read(self) -> bool:
        """Whether the body has been read as JSON."""
        return self._json is not None

    def replace_body(self, value: dict[str, typing.Any] | None, body: bytes) -> None:
        """Put another JSON object, which is written as `body`, in the place of what came; None to have it read."""
        self._json = value
        self.body = body


class Paced:
    """A streamed body whose frames are known: the first goes after `first_delay` seconds, each other one `delay` later.

    The server paces it with timers that all such bodies share; with no delays it leaves as one piece with the head.
    """

    __slots__ = ("delay", "first_delay", "frames")

    def __init__(self, frames: typing.Sequence[bytes], *, first_delay: float, delay: float) -> None:
        self.frames = frames
        self.first_delay = first_delay
        self.delay = delay


class Sink(typing.Protocol):
    """Where a pushed body goes. `end` and `fail` come last, and after `Producer.cancel` nothing comes at all."""

    def push(self, data: bytes) -> None:
        """Send a piece of the body."""

    def end(self, data: bytes) -> None:
        """Send the last piece, perhaps b"", and end the body."""

    def fail(self, error: Exception) -> None:
        """Break the body off; an ApiError tells the client why, where that can still be told."""


class _HeldStream:
    """A request's stream whose pieces count as held. It is no generator: that would have to be closed."""

    __slots__ = ("_request", "_stream")

    def __init__(self, stream: typing.AsyncIterator[bytes], request: Request) -> None:
        self._stream = stream
        self._request = request

    def __aiter__(self) -> _HeldStream:
        return self

    async def __anext__(self) -> bytes:
        data = await self._stream.__anext__()
        self._request.hold(len(data))
        return data


class Producer:
    """What makes an answer, or its body, without a task."""

    __slots__ = ()

    def pause(self) -> None:
        """Send no more for now: the client reads too slowly."""

    def resume(self) -> None:
        """Send again."""

    def cancel(self) -> None:
        """Stop, and give back what is held: the client has gone."""


class Pushed(Producer):
    """A streamed body that sends itself as it comes."""

    __slots__ = ()

    @property
    def held_bytes(self) -> int:
        """How many bytes of it are there beforehand, and stay until it is out."""
        return 0

    def begin(self, sink: Sink) -> None:
        """Send to `sink` from now on, beginning at once with what has come already."""
        raise NotImplementedError


class Around(Pushed):
    """A pushed body around another one, which it lets send to a sink of its own: `begin` says to which."""

    __slots__ = ("_body",)

    def __init__(self, body: Pushed) -> None:
        self._body = body

    @property
    def held_bytes(self) -> int:
        return self._body.held_bytes

    def pause(self) -> None:
        self._body.pause()

    def resume(self) -> None:
        self._body.resume()

    def cancel(self) -> None:
        self._body.cancel()


#: How the connection goes on behind an answer that is sent as it is: it stays, ends in good order, or is reset.
AnswerEnd = typing.Literal["keep", "close", "reset"]


class Stage(typing.Protocol):
    """What the server gives an answer that is sent as it is. After its `end`, or `Verbatim.cancel`, none of it works.

    `fields` are the field lines of the head, framing and Connection not among them; they are b"" where `has_begun`: the
    head is out already. `writer` frames what is to be framed as usual, and its `keep_alive` can forbid "keep".
    """

    loop: asyncio.AbstractEventLoop
    fields: bytes
    writer: ResponseWriter
    has_begun: bool

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""

    def end(self, end: AnswerEnd) -> None:
        """Let the answer be over; a connection that is reset is reset once what was sent has left."""

    def timed(self, paced: Paced) -> Pushed:
        """Return a body that sends a paced one at its pace, from now on."""

    def run(self, work: typing.Coroutine[typing.Any, typing.Any, None]) -> asyncio.Task[None]:
        """Begin a task for the answer."""

    def stop(self, task: asyncio.Task[None]) -> None:
        """Cancel a task of the answer, once; the server waits for its end."""


class Verbatim(Producer):
    """A body with the answer's head, framing and end: whoever breaks HTTP on purpose sends it byte for byte."""

    __slots__ = ()

    def begin(self, stage: Stage) -> None:
        """Send to `stage` from now on."""
        raise NotImplementedError


class Pending(Producer):
    """An answer that is on its way. Whoever makes it calls `deliver`, once, and later than it was returned.

    What is delivered is the Response; or a Rest, where it turned out that more has to be waited for than callbacks can
    do. Before somebody awaits the Rest, `cancel` may still be called.
    """

    __slots__ = ("deliver",)

    deliver: typing.Callable[[typing.Union[Response, Rest]], typing.Any]

    def __await__(self) -> typing.Generator[typing.Any, None, Response]:
        return _Delivery(self).__await__()


class _Delivery:
    """What a Pending answer is to become, whoever awaits it and when."""

    __slots__ = ("_delivered", "_pending")

    def __init__(self, pending: Pending) -> None:
        self._pending = pending
        self._delivered: asyncio.Future[Response | Rest] = asyncio.get_running_loop().create_future()
        pending.deliver = _delivery_to(self._delivered)

    def cancel(self) -> None:
        """Stop: nobody will await it."""
        self._pending.cancel()
        came = self._delivered.result() if self._delivered.done() and not self._delivered.cancelled() else None
        if isinstance(came, Response):
            cancel_body(came)

    def __await__(self) -> typing.Generator[typing.Any, None, Response]:
        try:
            answer = yield from self._delivered
        except asyncio.CancelledError:
            self.cancel()
            raise
        return answer if isinstance(answer, Response) else (yield from answer.__await__())


def _delivery_to(delivered: asyncio.Future[Response | Rest]) -> typing.Callable[[Response | Rest], None]:
    """Return what puts an answer into the future; it refers to nothing else: no cycle."""

    def deliver(answer: Response | Rest) -> None:
        if not delivered.cancelled():
            delivered.set_result(answer)
        elif isinstance(answer, Response):
            cancel_body(answer)  # whoever awaited it is about to leave, and has not come to it yet

    return deliver


class Rest:
    """What is left to do for an answer, as a coroutine that `make` makes.

    It is made when it is awaited and not before: a coroutine that nobody comes to await is warned of by Python, and
    what it had taken would not be given back.
    """

    __slots__ = ("_make",)

    def __init__(self, make: typing.Callable[[], typing.Coroutine[typing.Any, typing.Any, Response]]) -> None:
        self._make = make

    def __await__(self) -> typing.Generator[typing.Any, None, Response]:
        return self._make().__await__()


def cancel_body(response: Response) -> None:
    """Let an answer's pushed body give back what it holds: nobody wants the answer."""
    if isinstance(response.body, Producer):
        response.body.cancel()


def discard_answer(answer: Answer | _Delivery) -> None:
    """Let an answer give back what it holds before anybody has waited for it: nobody wants it."""
    if isinstance(answer, Response):
        cancel_body(answer)
    elif isinstance(answer, (Producer, _Delivery)):
        answer.cancel()
    elif isinstance(answer, typing.Coroutine):
        answer.close()  # Python warns of one that is never awaited


Body = typing.Union[bytes, Paced, Pushed, Verbatim, typing.AsyncIterator[bytes]]
FieldsToSend = typing.Union[bytes, typing.Sequence[typing.Tuple[str, str]]]


@typing.final
class Response:
    """An answer. `fields` are pairs, or a block of lines, of which Content-Type and Content-Encoding are written as by
    `encode_fields`.

    `body` is bytes, a Paced, Pushed or Verbatim body, or an asynchronous iterator of bytes; the iterator is closed
    (`aclose`) in every case, at once when the client goes. When it raises, the client sees a broken-off body, never a
    clean end. `length` is the body's length in bytes where a stream's is known beforehand. After status 101 the
    request's `stream` and this body are the two directions of the new protocol.

    `request_id` is the id that the answer carries, "" for the request's own: an upstream's support knows the request by
    no other. `attempts` lists what was tried upstream, as `name=status`; the client reads it in x-oaiserve-attempts.
    `usage` is what an answer that is ready has taken, where its backend knows it: tokens of the prompt, how many of
    them were cached, of the answer, and how many of those of reasoning. Else it is looked for in the body.
    Each request has an answer of its own, which whoever passes it on may change.
    """

    __slots__ = ("attempts", "body", "fields", "length", "request_id", "status", "usage")

    def __init__(
        self,
        status: int,
        fields: FieldsToSend,
        body: Body = b"",
        length: int | None = None,
        request_id: str = "",
        attempts: tuple[str, ...] = (),
        usage: tuple[int, int, int, int] | None = None,
    ) -> None:
        self.status = status
        self.fields = fields
        self.body = body
        self.length = length
        self.request_id = request_id
        self.attempts = attempts
        self.usage = usage

    def known_as(self, request_id: str, attempts: tuple[str, ...] = ()) -> Response:
        """Return the same answer with another id, and with what was tried for it where that is given."""
        tried = attempts or self.attempts
        return Response(self.status, self.fields, self.body, self.length, request_id, tried, self.usage)

    def after(self, attempts: tuple[str, ...]) -> Response:
        """Return the same answer with what was tried before it, if it tells of attempts at all."""
        if not attempts or not self.attempts:
            return self
        tried = attempts + self.attempts
        return Response(self.status, self.fields, self.body, self.length, self.request_id, tried, self.usage)


def split_request_id(fields: typing.Sequence[tuple[str, str]]) -> tuple[str, list[tuple[str, str]]]:
    """Return the x-request-id among an error's fields, "" for none, and the others. An answer carries one id."""
    request_id = ""
    others = []
    for name, value in fields:
        if name == "x-request-id":
            request_id = value
        else:
            others.append((name, value))
    return request_id, others


Answer = typing.Union[Response, Pending, typing.Awaitable[Response]]


class EarlyHead(typing.NamedTuple):
    """The head of an event stream that goes out before its answer is there: status 200 and `fields`.

    It does after `seconds`, if it `is_wanted` for the request, which asks for a stream then. From then on a comment
    follows whenever as many seconds have passed.
    """

    seconds: float
    fields: bytes
    is_wanted: typing.Callable[[Request], bool]


class Endpoint:
    """What answers a request: `answer(request)`, once the body is held, or with the head alone if `streams_body`.

    `label` is the endpoint's name in the metrics: one of few, whatever clients send. `errors` says how an error looks
    there; None is the server's own way, OpenAI's. `is_vital` lets it answer even where memory is full: whoever watches
    over the server asks it, and it holds next to nothing. `early_head` begins answers that keep their clients waiting.
    """

    __slots__ = ("answer", "early_head", "errors", "is_vital", "label", "streams_body")

    def __init__(
        self,
        answer: typing.Callable[[Request], Answer],
        label: str,
        *,
        streams_body: bool = False,
        errors: ErrorShapes | None = None,
        is_vital: bool = False,
        early_head: EarlyHead | None = None,
    ) -> None:
        self.answer = answer
        self.label = label
        self.streams_body = streams_body
        self.errors = errors
        self.is_vital = is_vital
        self.early_head = early_head


def _as_it_came(response: Response) -> Response:
    return response


class LateEndpoint(Endpoint):
    """Stands for an endpoint that is not there yet: `find(request)` waits for it. It holds for one request.

    ApiError where nobody answers the request, as `Backend.endpoint` has it.
    """

    __slots__ = ("find",)

    def __init__(
        self,
        find: typing.Callable[[Request], typing.Coroutine[typing.Any, typing.Any, Endpoint]],
        *,
        streams_body: bool,
    ) -> None:
        super().__init__(_never_asked, "none", streams_body=streams_body)
        self.find = find


def _never_asked(request: Request) -> Answer:
    raise RuntimeError("an endpoint that is not there yet was asked to answer")


class _RoomForCopy:
    """As many bytes as a body has: a form's parts are copied, and what else is read of it is not known beforehand."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Count the next piece of the body."""
        self.size += len(piece)


def room_to_read(fields: Fields) -> RoomToRead | _RoomForCopy:
    """Return what counts how many bytes it takes to read a body with these fields, while that comes."""
    kind = fields.get("content-type").lower()
    is_json = ("json" in kind or not kind) and "content-encoding" not in fields
    return RoomToRead() if is_json else _RoomForCopy()


async def found_endpoint(late: LateEndpoint, request: Request) -> Endpoint:
    """Wait for an endpoint, and let the request have its body as that wants it."""
    endpoint = await late.find(request)
    while isinstance(endpoint, LateEndpoint):
        endpoint = await endpoint.find(request)
    stream = request.stream
    if endpoint.streams_body and stream is None:
        request.stream = one_part(request.body)
    elif stream is not None and not endpoint.streams_body:
        gathered, room, held = Gathering(), room_to_read(request.fields), 0
        async for data in request.held_stream():
            gathered.add(data)
            room.add(data)
            request.hold(room.size - held)
            held = room.size
        request.body, request.stream, request.made_room = gathered.take(), None, held
    return endpoint


def answer_of(endpoint: Endpoint, request: Request) -> Answer:
    """Return what an endpoint answers to a request whose body is held, however the endpoint reads bodies."""
    if endpoint.streams_body and request.head.upgrade.lower() != "websocket":
        request.stream = one_part(request.body)
    if isinstance(endpoint, LateEndpoint):
        return _answer_late(endpoint, request)
    return endpoint.answer(request)


async def _answer_late(late: LateEndpoint, request: Request) -> Response:
    endpoint = await found_endpoint(late, request)
    return await answer_in_turns(lambda: endpoint.answer(request))


async def one_part(body: bytes) -> typing.AsyncIterator[bytes]:
    """Give a body that is held to who reads it as it comes."""
    if body:
        yield body


async def answer_in_turns(ask: typing.Callable[[], Answer]) -> Response:
    """Return what an endpoint answers that is asked in turns with everybody else (protocol/turns.py)."""
    made: list[Response | typing.Awaitable[Response] | _Delivery] = []

    def work() -> None:
        answer = ask()
        # It may be delivered before anybody awaits it.
        made.append(_Delivery(answer) if isinstance(answer, Pending) else answer)

    try:
        await in_turns(work)
    except asyncio.CancelledError:
        for answer in made:
            discard_answer(answer)
        raise
    answer = made.pop()
    return answer if isinstance(answer, Response) else await answer


class ErrorShapes(typing.NamedTuple):
    """How an error looks, which is the application's to say: as an answer, and as an event within a stream.

    `event_of` makes an event of an answer that is no event stream, for where one has begun.
    `adapted` gives an answer that a backend brings this shape, where it tells of an error. It is called for what is no
    plain success, perhaps for an answer that has the shape already, and must not raise.
    """

    response: typing.Callable[[ApiError], Response]
    event: typing.Callable[[ApiError], bytes]
    event_of: typing.Callable[[Response], bytes]
    adapted: typing.Callable[[Response], Response] = _as_it_came


class ResetClient(Exception):
    """Raised by a body that is iterated: what it gave is to leave, and then the client's connection is to be reset."""


class BackendFailed(Exception):
    """A backend could not answer, and nothing has gone to the client yet: the route's next backend may.

    `response` is what the client gets if there is no next one: the upstream's own answer, or an error of ours. Whoever
    drops it calls `cancel_body`, for its body may still be on its way.
    `attempts` is what the next backend's answer tells of this one's; by default what `response` tells.
    """

    def __init__(self, response: Response, attempts: tuple[str, ...] = ()) -> None:
        super().__init__(f"status {response.status}")
        self.response = response
        self.attempts = attempts or response.attempts


class Backend(typing.Protocol):
    """What the router can send requests to. A further backend is one room with this, and a line in program/kinds.py."""

    name: str
    #: The beginning of the paths that it answers besides OpenAI's, "" for none.
    own_root: str
    #: Whether it sends a key of the owner's for whoever calls: what callers may do is done on the owner's account then.
    holds_key: bool
    #: The one that it sends requests on to, such as https://api.example:8443; "" where it answers by itself.
    origin: str
    #: Seconds of silence after which a comment goes out in an event stream, 0 for never.
    keepalive: float
    #: Whether it tells the usage of chats that it streams beside them (Response.usage), whoever asks for it or not.
    tells_usage: bool

    @property
    def is_resting(self) -> bool:
        """Whether requests keep away for a while, since too many in a row have failed."""

    def endpoint(self, request: Request) -> Endpoint:
        """Choose from the head alone who answers; ApiError 404 or 405 where nobody does."""

    def models(self, request: Request) -> list[JsonObject] | typing.Awaitable[list[JsonObject]]:
        """Return the OpenAI model objects that this backend offers."""

    def sent_model(self, asked: str) -> str:
        """Return what a model that was asked for is called where it answers."""

    def forget(self, session: Session) -> None:
        """Forget what is remembered for a session of the instrument."""

    def leave(self) -> None:
        """Begin to end what would outlast the time in which the server stops in good order: long connections."""

    async def close(self) -> None:
        """Give back what the backend holds."""


class UpstreamState(typing.NamedTuple):
    """How a backend stands to its upstream: connections by what they do, and requests that wait for one.

    `has_rested` counts how often it was given a rest because it kept failing.
    """

    busy: int
    idle: int
    opening: int
    waiting: int
    has_rested: int = 0


@typing.runtime_checkable
class AsksUpstream(typing.Protocol):
    """A backend that keeps connections to an upstream."""

    def upstream_state(self) -> UpstreamState:
        """Return how it stands to its upstream."""


# ---- answers for who wants them whole -----------------------------------------------------------------------------


async def gather(answer: Answer, most_bytes: int, too_large: ApiError) -> tuple[Response, bytes]:
    """Return an answer and its body in one piece, without the pauses of a paced one.

    `too_large` is raised where the body has more than `most_bytes`; ApiError 502 where a pushed one breaks off. What
    the answer or an iterated body raises comes out.
    """
    response = answer if isinstance(answer, Response) else await answer
    body = response.body
    if isinstance(body, bytes):
        return response, body
    if isinstance(body, Paced):
        return response, b"".join(body.frames)
    if isinstance(body, Pushed):
        return response, await _gather_pushed(body, most_bytes, too_large)
    if isinstance(body, Verbatim):
        body.cancel()
        raise ApiError(502, "The answer broke off.")  # nobody can say what of it would have been the body
    gathered = Gathering()
    async for data in body:
        gathered.add(data)
        if gathered.size > most_bytes:
            raise too_large.anew()
    return response, gathered.take()


async def _gather_pushed(body: Pushed, most_bytes: int, too_large: ApiError) -> bytes:
    sink = _GatheringSink(asyncio.get_running_loop(), most_bytes, too_large)
    body.begin(sink)
    try:
        return await sink.whole
    finally:
        if not sink.is_over:
            body.cancel()
        del sink  # it may have the error, whose traceback has this frame


class _GatheringSink:
    """Takes a pushed body until it is whole; `is_over` says that nothing more will come."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most_bytes: int, too_large: ApiError) -> None:
        self.whole: asyncio.Future[bytes] = loop.create_future()
        self.is_over = False
        self._most_bytes = most_bytes
        self._too_large = too_large
        self._data = Gathering()

    def push(self, data: bytes) -> None:
        """Take a piece (Sink)."""
        self._data.add(data)
        if self._data.size > self._most_bytes and not self.whole.done():
            self.whole.set_exception(self._too_large.anew())

    def end(self, data: bytes) -> None:
        """Take the last piece (Sink)."""
        self.push(data)
        self.is_over = True
        if not self.whole.done():
            self.whole.set_result(self._data.take())

    def fail(self, error: Exception) -> None:
        """Learn that the rest does not come (Sink)."""
        self.is_over = True
        if not self.whole.done():
            known = error if isinstance(error, ApiError) else ApiError(502, "The answer broke off.")
            self.whole.set_exception(known)


# ---- what a request's head says -----------------------------------------------------------------------------------


def _json_kind(value: typing.Any) -> str:
    if value is None:
        return "null"
    return {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}.get(type(value), "a number")


def _find_key(fields: Fields) -> str:
    bearer = _BEARER.fullmatch(fields.get("authorization"))
    if bearer:
        return bearer[1]
    for protocol in fields.get("sec-websocket-protocol").split(","):
        if protocol.strip().startswith(_KEY_SUBPROTOCOL):
            return protocol.strip()[len(_KEY_SUBPROTOCOL) :]
    return fields.get("api-key")  # Azure's clients
