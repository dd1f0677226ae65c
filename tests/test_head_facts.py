"""What a head decides for all heads of its kind: nobody may choose an endpoint by a field that tells nothing."""

from __future__ import annotations

import asyncio

import pytest
from mocks import load_all

from oaiserve import Service, load_settings
from protocol.errors import ApiError
from protocol.exchange import TELLING_FIELDS, HeadFacts, Request
from protocol.service.log import Log
from protocol.wire.http1.memo import RequestMemo
from protocol.wire.http1.messages import Fields, RequestHead
from protocol.wire.http1.readers import RequestReader

# These tell what the message is, and so they tell heads apart whatever else does.
OF_THE_MESSAGE = {"host", "connection", "upgrade", "expect", "transfer-encoding", "content-length"}

RELAY = {"relay.base_url": "http://127.0.0.1:9/v1", "relay.api_key": "sk-owner"}
SERVICES = [
    ("mock", {}),
    ("relay", {**RELAY, "relay.keepalive": "5"}),
    ("relay", {**RELAY, "relay.models": "gpt-4o = other", "relay.model_in_answer": "asked"}),
    ("dashscope", {"dashscope.api_key": "sk-owner"}),
]
PATHS = [
    "/v1/chat/completions", "/v1/chat/completions?model=x", "/v1/files", "/v1/files/file-1/content", "/v1/models",
    "/v1/models/gpt-4o", "/v1/realtime?model=gpt-realtime", "/v1/audio/transcriptions", "/v1/responses/resp_1",
    "/openai/deployments/d/chat/completions?api-version=1", "/health", "/metrics", "/", "/chat", "/nowhere", "/s/one/v1/chat/completions",
    "/api/v1/services/aigc/text-generation/generation",
]  # fmt: skip
LINES = [
    [],
    ["content-type: application/json", "content-length: 5", "authorization: Bearer k", "accept: text/event-stream"],
    ["content-type: multipart/form-data; boundary=x", "content-length: 500000", "content-encoding: gzip"],
    ["origin: https://app.example", "sec-fetch-site: cross-site", "via: 1.1 other", "content-length: 2"],
    ["x-oaiserve-fault: status=503", "content-length: 2"],
    ["connection: upgrade", "upgrade: websocket", "sec-websocket-protocol: openai-insecure-api-key.k"],
]


class Watched(Fields):
    """Fields that note which of them somebody looks at."""

    __slots__ = ("seen",)

    def get(self, name, default=""):
        self.seen.add(name)
        return super().get(name, default)

    def count(self, name):
        self.seen.add(name)
        return super().count(name)

    def tokens(self, name):
        self.seen.add(name)
        return super().tokens(name)

    def __contains__(self, name):
        self.seen.add(name)
        return super().__contains__(name)


def looked_at(service, method, path, lines):
    """Return the names of fields that are looked at to choose who answers, and the same again from a watched head."""
    reader = RequestReader()
    reader.feed("\r\n".join([f"{method} {path} HTTP/1.1", "host: 127.0.0.1", *lines, "", ""]).encode())
    head = reader.next_event()
    fields = Watched(head.fields.pairs)
    fields.seen = set()
    watched = RequestHead(method, head.target, 1, fields, HeadFacts())
    fields.seen.clear()
    try:
        service._server.route(Request(watched, "req_1", "127.0.0.1"))
    except ApiError:
        pass
    return fields.seen


@pytest.mark.parametrize(("kind", "options"), SERVICES, ids=[f"{kind} {len(set)}" for kind, set in SERVICES])
def test_only_fields_that_tell_something_choose_who_answers(kind, options):
    async def run():
        settings = load_settings(kind, set={"server.cors_origins": "auto", **options})
        service = Service(settings, Log("off", print))
        seen = set()
        for method in ("GET", "POST", "DELETE", "OPTIONS"):
            for path in PATHS:
                for lines in LINES:
                    seen |= looked_at(service, method, path, lines)
        await service.close()
        return seen

    load_all()
    seen = asyncio.run(run())
    telling = {name.decode() for name in TELLING_FIELDS}
    assert "content-encoding" in seen, "somebody must have been watched"
    assert seen <= telling | OF_THE_MESSAGE


def test_every_field_that_tells_who_calls_tells_heads_apart():
    """The key, the label in the log and the pages that may read are worked out once for a kind."""
    for line, other in (
        (b"Authorization: Bearer a", b"Authorization: Bearer b"), (b"Api-Key: a", b"Api-Key: b"),
        (b"Origin: https://a.example", b"Origin: https://b.example"), (b"X-Request-Id: a", b"X-Other-Id: a"),
        (b"Sec-WebSocket-Protocol: openai-insecure-api-key.a", b"Sec-WebSocket-Protocol: openai-insecure-api-key.b"),
    ):  # fmt: skip
        memo = RequestMemo(HeadFacts, TELLING_FIELDS)
        facts = []
        for one in (line, other, line):
            reader = RequestReader(memo=memo)
            reader.feed(b"POST / HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % one)
            facts.append(reader.next_event().facts)
        assert facts[0] is facts[2] is not facts[1], line
