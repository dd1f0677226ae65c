"""What is done for every request, however long its answer takes: count it, log it, ask its endpoint, render an answer.

These are functions and not methods of an object, because for most requests no object is made: what is ready is rendered
to one block of bytes and written (Connection._answer_whole). The others are an Exchange (sending.py).
"""

from __future__ import annotations

import asyncio
import functools
import re
import typing

from protocol.errors import ApiError
from protocol.exchange import Answer, BackendFailed, Endpoint, ErrorShapes, HeadFacts, Paced, Request, Response
from protocol.held_bytes import HeldBytes
from protocol.server.slicing import SLICE_BYTES
from protocol.service.log import RequestLog
from protocol.service.metrics import Metrics
from protocol.service.trace import begin_trace
from protocol.wire.http1.messages import RequestHead
from protocol.wire.http1.writers import ResponseWriter, chunked_answer, encode_fields, sized_answer

# A caller's request id is passed on and logged, so it must be short and of harmless characters.
_SANE_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")


class ServerForRequests(typing.Protocol):
    """What is needed of the server for every request."""

    loop: asyncio.AbstractEventLoop
    #: The loop's time.
    time: typing.Callable[[], float]
    log: RequestLog
    metrics: Metrics
    errors: ErrorShapes
    held: HeldBytes
    on_request: typing.Callable[[Request], None] | None
    #: Whether requests that belong to no trace begin one.
    begins_traces: bool

    def new_id(self) -> str:
        """Return a request id that no other request has."""

    def common_fields(self, request: Request, request_id: str) -> bytes:
        """Return the field lines of every answer to a request, with the id that the answer carries."""

    def common_fields_without_request(self) -> bytes:
        """Return the same, where no request could be read."""


# ---- the beginning and the end --------------------------------------------------------------------------------------


def new_request(server: ServerForRequests, head: RequestHead, facts: HeadFacts, peer: str) -> Request:
    """Make a request of a head that came from `peer`, and count it."""
    request_id = (not facts.has_no_id and _callers_id(head, facts)) or server.new_id()
    server.metrics.in_flight += 1
    request = Request(head, request_id, peer, server.held)
    if server.begins_traces:
        begin_trace(request)
    return request


def note_begun(server: ServerForRequests, request: Request) -> None:
    """Log a request that has begun."""
    if server.log.records_requests:
        server.log.started(request)


class Leaving:
    """When the pieces of an answer leave, in the loop's time."""

    __slots__ = ("first_at", "gaps_at", "last_at")

    def __init__(self, now: float, gaps_at: int) -> None:
        self.first_at = now
        #: When the latest piece left; whoever sends another one counts the time since then.
        self.last_at = now
        #: Where that is counted (EndpointFigures.gaps).
        self.gaps_at = gaps_at


def note_first_piece(server: ServerForRequests, request: Request, endpoint: Endpoint) -> Leaving:
    """Note that the first piece of an answer leaves now, and others will follow."""
    server.metrics.streams += 1
    return Leaving(server.time(), server.metrics.of_endpoint(request, endpoint).gaps)


def note_completed(
    server: ServerForRequests,
    request: Request,
    endpoint: Endpoint,
    status: int,
    started_at: float,
    response: Response | None,
    leaving: Leaving | None = None,
) -> float:
    """Count and log a request that is over; return the time, which is the loop's like `started_at`.

    `response` is its answer, None where there was none; `leaving` tells of one that left in pieces.
    """
    now = server.time()
    seconds = now - started_at
    metrics, log = server.metrics, server.log
    metrics.in_flight -= 1
    request.hold_no_more()
    if leaving is not None:
        metrics.streams -= 1
        gaps = leaving.last_at - leaving.first_at
        metrics.streamed(request, endpoint, status, seconds, leaving.first_at - started_at, gaps)
    elif response is not None and response.status == status:
        metrics.completed(request, endpoint, status, seconds)
    else:
        metrics.unanswered(request, endpoint, status, seconds)
    if response is not None and response.attempts:
        metrics.attempted(response.attempts)
    if request.take is not None:
        request.take.end(status)
    if request.charge is not None:
        request.charge.end(status)
    if log.records_requests:
        if response is None:
            log.completed(request, status, seconds)
        else:
            log.completed(request, status, seconds, response.request_id, response.attempts)
    return now


def note_answered(
    server: ServerForRequests, request: Request, endpoint: Endpoint, started_at: float, answer_id: str
) -> float:
    """Count and log a request that was answered with 200 as soon as it had begun: `note_begun` and `note_completed`."""
    now = server.time()
    seconds = now - started_at
    metrics, log = server.metrics, server.log
    metrics.in_flight -= 1
    request.hold_no_more()
    metrics.completed(request, endpoint, 200, seconds)
    if log.records_requests:
        log.answered(request, 200, seconds, answer_id)
    return now


def _callers_id(head: RequestHead, facts: HeadFacts) -> str:
    """Return the request id that the caller chose, "" for none that is fit to be passed on."""
    request_id = head.fields.get("x-request-id")
    facts.has_no_id = "x-request-id" not in head.fields
    return request_id if _SANE_ID.fullmatch(request_id) else ""


# ---- the endpoint ---------------------------------------------------------------------------------------------------


def _never_asked(request: Request) -> Answer:
    raise RuntimeError("a request without an endpoint was asked to be answered")


#: Stands for the endpoint of a request for which there is none.
UNROUTED = Endpoint(_never_asked, "none")


def ask(server: ServerForRequests, endpoint: Endpoint, request: Request) -> Answer:
    """Return the endpoint's answer, or the one to what it raised."""
    if server.on_request is not None:
        server.on_request(request)
    try:
        return endpoint.answer(request)
    except Exception as exc:
        return answer_to(exc, server, endpoint, request)


def answer_to(exc: Exception, server: ServerForRequests, endpoint: Endpoint, request: Request) -> Response:
    """Return the answer to what an endpoint raised; what is no error of ours is logged, and the client is not told."""
    if isinstance(exc, BackendFailed):
        return exc.response
    if not isinstance(exc, ApiError):
        server.log.failure(request, exc)
        exc = internal_error("while processing your request")
    return error_answer(exc, server, endpoint)


def error_answer(error: ApiError, server: ServerForRequests, endpoint: Endpoint) -> Response:
    """Return the answer that tells of an error, in the shape that the endpoint's clients expect."""
    return (endpoint.errors or server.errors).response(error)


def internal_error(when: str) -> ApiError:
    """Return the error for a defect of ours; where it is, the log says."""
    return ApiError(500, f"The server had an error {when}.", code="internal_error")


# ---- answers as bytes -----------------------------------------------------------------------------------------------


def rendered(response: Response, request: Request, server: ServerForRequests) -> bytes:
    """Return all of an answer that is ready and not large, b"" for any other.

    Only for status 200, and for a request whose head has a `direct_endpoint` (HeadFacts).
    """
    body, fields = response.body, response.fields
    if type(body) is bytes:
        data, framed = body, sized_answer
    elif type(body) is Paced and not body.first_delay and not body.delay and body.frames:
        data, framed = b"".join(body.frames), chunked_answer
    else:
        return b""
    if type(fields) is not bytes or len(data) > SLICE_BYTES:
        return b""
    if response.attempts:
        fields += _attempts_field(response.attempts)
    return framed(server.common_fields(request, response.request_id or request.id), fields, data)


def refusal(error: ApiError, server: ServerForRequests) -> bytes:
    """Return the answer to what cannot be read as a request; the connection must end behind it."""
    response = server.errors.response(error)
    fields = server.common_fields_without_request() + own_fields(response)
    return ResponseWriter(None).whole(error.status, fields, error_body(response))


def own_fields(response: Response) -> bytes:
    """Return the field lines that an answer has besides the common ones."""
    fields = response.fields if isinstance(response.fields, bytes) else encode_fields(response.fields)
    return fields + _attempts_field(response.attempts) if response.attempts else fields


def error_body(response: Response) -> bytes:
    """Return the body of an error's answer, which is never a stream."""
    if not isinstance(response.body, bytes):
        raise TypeError("the body of an answer that tells of an error must be bytes")
    return response.body


@functools.lru_cache(maxsize=128)  # nearly all say that the first backend answered 200
def _attempts_field(attempts: tuple[str, ...]) -> bytes:
    return b"x-oaiserve-attempts: %b\r\n" % ",".join(attempts).encode("ascii")
