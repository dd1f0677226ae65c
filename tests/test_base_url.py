"""Where an API begins, what is appended to its requests, and what is asked of it for its models."""

from __future__ import annotations

import json

import pytest
from relays import CHAT, KEY, echo_received, house, settings_of
from skipping import run
from upstreams import Upstream, answering, sized

from protocol.errors import UsageError
from protocol.upstream.destination import parse_destination

PLACES = [
    ("", "/v1", ""),
    ("/", "", ""),
    ("//", "", ""),
    ("/v1", "/v1", ""),
    ("/v1/", "/v1", ""),
    ("//v1", "/v1", ""),
    ("/api//v4//", "/api/v4", ""),
    ("/v1beta/openai/", "/v1beta/openai", ""),
    ("/v1/chat/completions", "/v1", ""),
    ("/v1/chat/completions/", "/v1", ""),
    ("/v1/completions", "/v1", ""),
    ("/v1/responses", "/v1", ""),
    ("/v1/embeddings", "/v1", ""),
    ("/v1/models", "/v1", ""),
    ("/chat/completions", "", ""),
    ("/deployments/d/chat/completions?api-version=1", "/deployments/d", "api-version=1"),
    ("/models", "/models", ""),
    ("/v1?api-version=2024-10-21", "/v1", "api-version=2024-10-21"),
    ("?a=b&c", "/v1", "a=b&c"),
    ("/?a=b", "", "a=b"),
]


@pytest.mark.parametrize(("text", "base_path", "query"), PLACES, ids=[text for text, *_ in PLACES])
def test_where_the_api_begins(text: str, base_path: str, query: str) -> None:
    destination = parse_destination(f"https://h{text}")
    assert (destination.base_path, destination.query) == (base_path, query)
    if text and text[0] == "/":
        over_socket = parse_destination(f"unix:/run/llm.sock:{text}")
        assert (over_socket.base_path, over_socket.query) == (base_path, query)


@pytest.mark.parametrize(
    "url",
    [
        "https://h/v1/v1", "https://h/api/v1/v1/", "https://h/v4//v4", "https://h/v1#x", "https://h/../v1",
        "https://h/v1/./x", "https://h/%2e%2e/v1", "https://h/v1\\x", "https://h/v1?key=sk-secret",
        "https://h/v1?a=b&Api_Key=sk-secret", "https://h/v1?api%2Dkey=sk-secret", "https://h/v1?x;token=sk-secret",
        "unix:/s:/v1?key=sk-secret",
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(UsageError, match="expected") as caught:
        settings_of({"relay": {"base_url": url}})
    message = str(caught.value)
    assert "\n" not in message


def test_requests_go_where_the_api_begins() -> None:
    async def main() -> None:
        async with Upstream(echo_received()) as upstream:
            for base, target, arrives in [
                ("/", CHAT, "/chat/completions"),
                ("/", "/chat/completions?a=b", "/chat/completions?a=b"),
                ("//v1//", CHAT, CHAT),
                ("/v1/chat/completions", CHAT, CHAT),
                ("/v1/chat/completions", "/v1/embeddings", "/v1/embeddings"),
                ("?api-version=1", CHAT, f"{CHAT}?api-version=1"),
                ("/v1?api-version=1", f"{CHAT}?a=b&API-Version=9&api%2Dversion=8", f"{CHAT}?a=b&api-version=1"),
                ("", f"{CHAT}/", CHAT),
            ]:
                async with house(upstream.url + base) as relayed:
                    assert (await relayed.ask(target=target)).json()["target"] == arrives

    run(main)


def test_the_start_says_that_an_api_is_asked_at_the_root() -> None:
    async def main() -> None:
        async with Upstream(echo_received()) as upstream:
            async with house(f"{upstream.url}/") as relayed:
                [line] = [line for line in relayed.lines if "at the root" in line]
                assert f"{upstream.url}/chat/completions" in line
            async with house(upstream) as relayed:
                assert not [line for line in relayed.lines if "at the root" in line]

    run(main)


@pytest.mark.parametrize("target", ["//v1/chat/completions", "/v1//chat/completions", "/v1/v1/chat/completions"])
def test_a_doubled_slash_or_version_in_a_request_is_refused_with_a_sentence(target: str) -> None:
    async def main() -> None:
        async with Upstream(echo_received()) as upstream, house(upstream) as relayed:
            answer = await relayed.ask(target=target)
            assert answer.status in (400, 404)
            assert "base URL" in answer.json()["error"]["message"]
            assert not upstream.received

    run(main)


# ---- GET /v1/models -------------------------------------------------------------------------------------------------


def listing(*ids: str) -> bytes:
    return sized(json.dumps({"object": "list", "data": [{"id": id, "object": "model"} for id in ids]}).encode())


def test_the_list_of_models_is_asked_for_with_query_and_fields() -> None:
    async def main() -> None:
        async with Upstream(answering(listing("a"))) as upstream:
            async with house(f"{upstream.url}/v1?api-version=1", api_key=KEY) as relayed:
                fields = [
                    ("openai-organization", "org-1"), ("x-vendor", "yes"), ("authorization", "Bearer theirs"),
                    ("accept-encoding", "gzip"), ("range", "bytes=0-1"), ("if-none-match", '"x"'), ("cookie", "a"),
                ]  # fmt: skip
                for target in ("/v1/models?limit=2&after=x", "/v1/models/?limit=2&after=x"):
                    assert (await relayed.ask("GET", target, fields)).json()["data"] == [{"id": "a", "object": "model"}]
                [received] = upstream.received  # the same list is kept for both
                assert received.target == "/v1/models?limit=2&after=x&api-version=1"
                sent = dict(received.fields)
                assert sent["openai-organization"] == "org-1" and sent["x-vendor"] == "yes"
                assert sent["authorization"] == f"Bearer {KEY}" and sent["accept"] == "application/json"
                assert not {"accept-encoding", "range", "if-none-match", "cookie"} & set(sent)

    run(main)


def test_lists_under_other_queries_and_fields_are_other_lists() -> None:
    async def main() -> None:
        async with Upstream(answering(listing("a"), listing("b"), listing("c"))) as upstream:
            async with house(upstream, api_key=KEY) as relayed:
                listed = [
                    (await relayed.ask("GET", target, fields)).json()["data"][0]["id"]
                    for target, fields in [
                        ("/v1/models", [("user-agent", "x"), ("traceparent", "1")]),
                        ("/v1/models?type=chat", []),
                        ("/v1/models", [("openai-project", "p")]),
                        ("/v1/models", [("user-agent", "y"), ("x-stainless-lang", "js")]),
                    ]
                ]
                assert len(upstream.received) == 3 and listed == ["a", "b", "c", "a"]

    run(main)


@pytest.mark.parametrize(
    ("raw", "status", "ids"),
    [
        (listing(), 200, []),
        (listing("other"), 200, ["other"]),
        (listing("real"), 200, ["real", "mine"]),
        (sized(b'{"error":{"message":"no"}}', "404 Not Found"), 404, None),
        (sized(b"<html>", "405 X"), 405, None),
    ],
    ids=["an empty list", "without it", "with it", "404", "405"],
)
def test_no_model_is_made_up_that_the_upstream_has_not(raw: bytes, status: int, ids: list[str] | None) -> None:
    async def main() -> None:
        async with Upstream(answering(raw)) as upstream, house(upstream, models="mine = real\nx-* = real") as relayed:
            answer = await relayed.ask("GET", "/v1/models")
            assert answer.status == status
            if ids is not None:
                assert [model["id"] for model in answer.json()["data"]] == ids

    run(main)


def test_a_model_is_asked_for_where_the_upstream_has_no_list() -> None:
    async def main() -> None:
        answers = answering(sized(b"{}", "404 X"), sized(b'{"id":"m"}'))
        async with Upstream(answers) as upstream, house(upstream) as relayed:
            answer = await relayed.ask("GET", "/v1/models/m?x=1")
            assert (answer.status, answer.body) == (200, b'{"id":"m"}')
            assert [received.target for received in upstream.received] == ["/v1/models?x=1", "/v1/models/m?x=1"]

    run(main)
