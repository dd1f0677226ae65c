"""Endpoints that read a body themselves, and so without its Content-Encoding: all but those that pass it on."""

from __future__ import annotations

from protocol.exchange import Answer, Endpoint, LateEndpoint, Request, answer_in_turns, one_part
from protocol.openai.asked_model import decoded_body
from protocol.wire.http1.messages import Fields, RequestHead


def decoding_endpoint(endpoint: Endpoint, request: Request, most_bytes: int) -> Endpoint:
    """Return the endpoint for a request whose body may have a Content-Encoding: that one itself where it has none.

    The body is held and decoded before the endpoint gets it, in turns with everybody else, since a short one may become
    a long one. It is refused with ApiError 400, 413 for more than `most_bytes` once it is decoded, 415 (see
    protocol/wire/content_coding.py), or 503 where there is no room for what it becomes. A request to change the
    protocol has no body.
    """
    if "content-encoding" not in request.fields or request.head.upgrade:
        return endpoint
    if isinstance(endpoint, LateEndpoint):
        late = endpoint

        async def find(request: Request) -> Endpoint:
            return decoding_endpoint(await late.find(request), request, most_bytes)

        return LateEndpoint(find, streams_body=endpoint.streams_body)

    def answer(request: Request) -> Answer:
        return answer_in_turns(lambda: _answer_decoded(endpoint, request, most_bytes))

    return Endpoint(
        answer, endpoint.label, errors=endpoint.errors, is_vital=endpoint.is_vital, early_head=endpoint.early_head
    )


def _answer_decoded(endpoint: Endpoint, request: Request, most_bytes: int) -> Answer:
    if not request.body:
        return endpoint.answer(request)
    head = request.head
    body = decoded_body(request, request.body, most_bytes)
    plain = Fields([pair for pair in head.fields if pair[0] != "content-encoding"])
    # Its facts are those of the head that came: who calls, and who answers, is the same.
    decoded = request.with_head(RequestHead(head.method, head.target, head.minor_version, plain, request.facts))
    decoded.body = body
    if endpoint.streams_body:
        decoded.stream = one_part(body)
    return endpoint.answer(decoded)
