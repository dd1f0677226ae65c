"""An id that one route's backend has made is asked of that backend, whatever the other routes say."""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib

import pytest
from relays import JSON, house
from skipping import run
from upstreams import Peer, Script, Upstream, breaking_off, chunked, sized

from protocol.config import Route
from protocol.service.makers import Makers, names_id

ROUTES = [Route("gpt-*", ("relay",)), Route("*", ("other",))]
TO_RELAY = b'{"model":"gpt-4o","input":"x"}'


def knowing(name: str, made: list[str], answer=None) -> Script:
    """Make an id at each POST to a collection, and know those that were made, as an API does."""

    async def script(peer: Peer) -> None:
        while True:
            received = await peer.read()
            path = received.target.partition("?")[0]
            if received.method == "POST" and path.rsplit("/", 1)[-1] in ("responses", "completions", "videos", "jobs"):
                id = f"{name}_{len(made):04d}"
                made.append(id)
                body = json.dumps({"id": id, "object": "x"}).encode()
                await peer.send(answer(body) if answer else sized(body))
            elif any(id in path for id in made):
                await peer.send(sized(json.dumps({"from": name}).encode()))
            else:
                await peer.send(sized(b'{"error":{"message":"unknown"}}', "404 Not Found"))

    return script


def event_stream(body: bytes) -> bytes:
    event = b'event: response.created\ndata: {"type":"response.created","response":%b}\n\n' % body
    return chunked(event[:30], event[30:], fields=("content-type: text/event-stream",))


ANSWERS = {
    "whole": None,
    "chunked": lambda body: chunked(*[b"%c" % byte for byte in body]),
    "events": event_stream,
    "gzip": lambda body: sized(gzip.compress(body), "200 OK", "content-encoding: gzip"),
    "deflate in chunks": lambda body: chunked(
        *[b"%c" % byte for byte in zlib.compress(body)], fields=("content-encoding: deflate",)
    ),
    "what cannot be read": lambda body: sized(b"\x8b" + body[::-1], "200 OK", "content-encoding: br"),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize(
    ("collection", "body"),
    [
        ("/v1/responses", TO_RELAY),
        ("/responses", TO_RELAY),
        ("/v1/chat/completions", b'{"model":"gpt-4o","messages":[],"store":true}'),
        ("/v1/videos", b'{"model":"gpt-v","prompt":"x"}'),
        ("/v1/fine_tuning/jobs", b'{"model":"gpt-4o","training_file":"file-1"}'),
    ],
)
def test_what_a_route_made_is_asked_of_its_backend(answer, collection: str, body: bytes) -> None:
    async def main() -> None:
        made: list[str] = []
        async with Upstream(knowing("right", made, answer)) as right, Upstream(knowing("wrong", [])) as wrong:
            async with house({"relay": right, "other": wrong}, ROUTES) as relayed:
                assert (await relayed.ask("POST", collection, [JSON], body)).status == 200
                [id] = made
                for method, path in [
                    ("GET", f"{collection}/{id}"),
                    ("GET", f"{collection}/{id}/items?limit=1"),
                    ("POST", f"{collection}/{id}/cancel"),
                    ("DELETE", f"{collection}/{id}"),
                ]:
                    answered = await relayed.ask(method, path, [], b"" if method == "POST" else None)
                    assert answered.json() == {"from": "right"}, (method, path)
                assert (await relayed.ask("POST", f"{collection}/{id}/sub", [JSON], b'{"n":1}')).json() == {
                    "from": "right"
                }
                # The other one is asked at most once: where the answer that named the id could not be read.
                assert len(wrong.received) == (1 if answer is ANSWERS["what cannot be read"] else 0)

    run(main)


def test_an_id_that_nobody_remembers_is_looked_for_in_the_order_of_the_routes() -> None:
    async def main() -> None:
        async with Upstream(knowing("right", ["resp_1"])) as right, Upstream(knowing("wrong", ["resp_2"])) as wrong:
            async with house({"relay": right, "other": wrong}, ROUTES) as relayed:
                found = await relayed.ask("GET", "/v1/responses/resp_1", [])
                assert found.json() == {"from": "right"}
                assert found.get("x-oaiserve-attempts") == "other=404,relay=200"
                assert (await relayed.ask("GET", "/v1/responses/resp_2", [])).json() == {"from": "wrong"}
                assert (await relayed.ask("GET", "/v1/responses/resp_1", [])).json() == {"from": "right"}
                assert len(wrong.received) == 2  # then it is remembered
                missing = await relayed.ask("GET", "/v1/responses/resp_9", [])
                assert (missing.status, missing.json()["error"]["message"]) == (404, "unknown")

    run(main)


def test_a_key_of_the_callers_goes_to_the_first_host_only() -> None:
    async def main() -> None:
        async with Upstream(knowing("right", ["resp_1"])) as right, Upstream(knowing("wrong", [])) as wrong:
            async with house({"relay": right, "other": wrong}, ROUTES, api_key="") as relayed:
                await relayed.ask("GET", "/v1/responses/resp_1", [("authorization", "Bearer sk-theirs")])
                assert wrong.received[0].get("authorization") == "Bearer sk-theirs"
                assert right.received[0].get("authorization") == ""

    run(main)


def test_a_backend_that_fails_may_be_the_one_that_knows() -> None:
    async def main() -> None:
        async with Upstream(knowing("right", [])) as right, Upstream(breaking_off(b"")) as broken:
            async with house({"relay": right, "other": broken}, ROUTES, retries="0") as relayed:
                assert (await relayed.ask("GET", "/v1/responses/resp_1", [])).status == 502

    run(main)


def test_what_is_not_kept_is_not_looked_at() -> None:
    async def main() -> None:
        made: list[str] = []
        async with Upstream(knowing("right", made)) as right, Upstream(knowing("wrong", [])) as wrong:
            async with house({"relay": right, "other": wrong}, ROUTES) as relayed:
                chat = b'{"model":"gpt-4o","messages":[]}'
                assert (await relayed.ask("POST", "/v1/chat/completions", [JSON], chat)).status == 200
                await relayed.ask("GET", f"/v1/chat/completions/{made[0]}", [])
                assert len(wrong.received) == 1

    run(main)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/responses/resp_1", True), ("/chat/completions/c/messages", True), ("/fine_tuning/jobs/j", True),
        ("/responses", False), ("/chat/completions", False), ("/fine_tuning/jobs", False), ("/models/m", False),
        ("/audio/speech", False), ("/images/edits", False), ("/responses/", False),
    ],
)  # fmt: skip
def test_which_paths_name_an_id(path: str, names: bool) -> None:
    assert names_id(path) is names


def test_remembers_the_newest_ids_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.service.makers._MOST_IDS", 3)
    makers, backend = Makers(), object()
    for number in range(5):
        makers.note_ids(b'{"id": "resp_%d"}' % number, backend)
    makers.note_ids(b'{"id":"resp_2"}', backend)
    makers.note_ids(b'{"id":"resp_5"}', backend)
    known = [makers.maker(f"/responses/resp_{number}") is backend for number in range(6)]
    assert known == [False, False, True, False, True, True]


def test_a_client_that_leaves_frees_what_is_watched() -> None:
    async def main() -> None:
        async def endless(peer: Peer) -> None:
            await peer.read()
            await peer.send(chunked(b'data: {"id":"resp_1"}\n\n', end=b"", fields=("content-type: text/event-stream",)))
            await peer.until_gone()

        async with Upstream(endless) as right, Upstream(knowing("wrong", [])) as wrong:
            async with house({"relay": right, "other": wrong}, ROUTES) as relayed:
                async with relayed.client() as client:
                    await client.send("POST", "/v1/responses", [JSON], TO_RELAY)
                    await client.head()
                    client.leave()
                with contextlib.suppress(Exception):
                    await right.connections[0]
                assert right.open_connections == 0

    run(main)
