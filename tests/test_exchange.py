"""Requests and answers as backends see them: what is known of a head, what an answer tells, answers gathered whole."""

from __future__ import annotations

import asyncio

import pytest

from protocol.errors import ApiError
from protocol.exchange import BackendFailed, Paced, Pending, Pushed, Request, Response, Rest, gather, split_request_id
from protocol.wire.http1.messages import Fields, RequestHead

TOO_LARGE = ApiError(502, "too large")


def request(*fields):
    return Request(RequestHead("GET", "/", 1, Fields([("host", "x"), *fields])), "req_1", "127.0.0.1")


# ---- what is known of a head ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ([], ""),
        ([("authorization", "Bearer sk-1")], "sk-1"),
        ([("authorization", "bearer  sk-1 ")], "sk-1"),
        ([("authorization", "Basic sk-1")], ""),
        ([("authorization", "Bearer sk-1 sk-2")], ""),
        ([("api-key", "sk-2")], "sk-2"),
        ([("authorization", "Bearer sk-1"), ("api-key", "sk-2")], "sk-1"),
        ([("sec-websocket-protocol", "realtime, openai-insecure-api-key.sk-3")], "sk-3"),
    ],
)
def test_the_key_is_found_where_clients_put_it(fields, key):
    asked = request(*fields)
    assert asked.facts.key is None
    assert asked.key == asked.facts.key == key


def test_requests_with_a_head_that_the_server_read_share_its_facts():
    facts = request().facts
    head = RequestHead("GET", "/", 1, Fields([("host", "x")]), facts)
    assert Request(head, "req_1", "-").facts is Request(head, "req_2", "-").facts is facts


def test_a_request_under_another_id_is_the_same_otherwise():
    asked = request()
    asked.path, asked.body, asked.deadline = "/other", b"{}", 5.0
    other = asked.named("req_2")
    assert (other.id, other.path, other.body, other.deadline) == ("req_2", "/other", b"{}", 5.0)
    assert asked.id == "req_1" and other.head is asked.head


# ---- what an answer tells -------------------------------------------------------------------------------------------


def test_an_answer_tells_of_what_was_tried_before_if_it_tells_of_attempts():
    silent = Response(200, b"", b"body", 4, "theirs")
    assert silent.after(("first=503",)) is silent
    told = Response(200, b"", b"body", 4, "theirs", ("second=200",))
    assert told.after(()) is told
    assert told.after(("first=503",)).attempts == ("first=503", "second=200")
    same = told.after(("first=503",)).known_as("ours")
    assert (same.status, same.fields, same.body, same.length, same.request_id) == (200, b"", b"body", 4, "ours")


def test_a_failure_tells_the_next_backend_what_its_answer_tells_or_more():
    answer = Response(503, b"", attempts=("first=503",))
    assert BackendFailed(answer).attempts == ("first=503",)
    assert BackendFailed(Response(503, b""), ("first=503",)).attempts == ("first=503",)


def test_an_id_among_the_fields_of_an_error_is_parted_from_the_others():
    assert split_request_id([("a", "1"), ("x-request-id", "id"), ("b", "2")]) == ("id", [("a", "1"), ("b", "2")])
    assert split_request_id([("a", "1")]) == ("", [("a", "1")])


# ---- answers gathered whole -----------------------------------------------------------------------------------------


class Pushing(Pushed):
    """A body that says `words` to its sink at once, or in the next turn of the loop."""

    def __init__(self, *words, later=False):
        self.words = words
        self.later = later
        self.cancelled = 0

    def begin(self, sink):
        def talk():
            for name, value in self.words:
                getattr(sink, name)(value)

        if self.later:
            asyncio.get_running_loop().call_soon(talk)
        else:
            talk()

    def cancel(self):
        self.cancelled += 1


class Delivering(Pending):
    """An answer that comes in the next turn of the loop."""

    def __init__(self, answer):
        asyncio.get_running_loop().call_soon(lambda: self.deliver(answer))

    def cancel(self):
        raise AssertionError("cancelled")


async def pieces(*parts):
    for part in parts:
        yield part


def gathered(make, most_bytes=10):
    async def main():
        response, body = await gather(make(), most_bytes, TOO_LARGE)
        return response.status, body

    return asyncio.run(main())


async def answered(body):
    return Response(200, b"", body)


WHOLE = {
    "bytes": lambda: Response(200, b"", b"abc"),
    "paced": lambda: Response(200, b"", Paced([b"a", b"bc"], first_delay=60.0, delay=60.0)),
    "iterated": lambda: Response(200, b"", pieces(b"a", b"bc")),
    "pushed at once": lambda: Response(200, b"", Pushing(("push", b"a"), ("end", b"bc"))),
    "pushed later": lambda: Response(200, b"", Pushing(("push", b"abc"), ("end", b""), later=True)),
    "awaited": lambda: answered(b"abc"),
    "delivered": lambda: Delivering(Response(200, b"", b"abc")),
    "delivered, with a rest": lambda: Delivering(Rest(lambda: answered(b"abc"))),
}


@pytest.mark.parametrize("make", WHOLE.values(), ids=WHOLE)
def test_an_answer_is_gathered_whatever_form_it_has(make):
    assert gathered(make) == (200, b"abc")


def test_a_body_may_have_as_many_bytes_as_are_allowed_and_no_more():
    for make in (
        lambda body: Response(200, b"", pieces(body, b"c")),
        lambda body: Response(200, b"", Pushing(("push", body), ("push", b"c"), ("end", b""))),
    ):
        assert gathered(lambda make=make: make(b"ab"), 3) == (200, b"abc")
        with pytest.raises(ApiError, match="too large"):
            gathered(lambda make=make: make(b"abc"), 3)


@pytest.mark.parametrize(
    ("error", "message"), [(ValueError("secret"), "The answer broke off."), (ApiError(504, "too slow"), "too slow")]
)
def test_a_pushed_body_that_fails_is_an_error(error, message):
    body = Pushing(("push", b"a"), ("fail", error))
    with pytest.raises(ApiError, match=message):
        gathered(lambda: Response(200, b"", body))
    assert not body.cancelled


def test_a_pushed_body_that_is_too_large_is_cancelled():
    body = Pushing(("push", b"abcd"), later=True)
    with pytest.raises(ApiError, match="too large"):
        gathered(lambda: Response(200, b"", body), 3)
    assert body.cancelled == 1


# ---- an answer that comes when nobody waits any more -----------------------------------------------------------------


class Noting(Pushed):
    """A body that notes that nobody wants it."""

    def __init__(self):
        self.cancelled = 0

    def cancel(self):
        self.cancelled += 1


class Awaited(Pending):
    """An answer that comes when the test says so."""

    cancelled = 0

    def cancel(self):
        self.cancelled += 1


def test_what_comes_between_a_cancellation_and_its_arrival_gives_back_what_it_holds():
    async def main():
        pending, body = Awaited(), Noting()

        async def wait():
            await pending

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        task.cancel()
        pending.deliver(Response(200, b"", body))  # in the same turn: the task does not know yet
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (body.cancelled, pending.cancelled) == (1, 1)

    asyncio.run(main())
