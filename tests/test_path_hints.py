"""The 404 of a client that is set up wrongly says what to set: no hint where nothing can be told."""

from __future__ import annotations

import pytest
from mocks import make_mock, make_request
from test_router import Named, request, router

from protocol.config import Route
from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.openai.refusals import path_hint
from protocol.service.cors import CorsPolicy
from protocol.service.origins import Origins
from protocol.service.router import Router, no_doors

HINTS = [
    ("/api/v1/chat/completions", "/v1/chat/completions is meant"),
    ("/api/v1/models/gpt-4o", "/v1/models/gpt-4o is meant"),
    ("/v2/chat/completions", "/v1/chat/completions is meant"),
    ("/proxy/openrouter/v1/responses", "/v1/responses is meant"),
    ("/v1beta/openai/chat/completions", "/v1/chat/completions is meant"),
    ("/v1/chat/completions/chat/completions", "not with /chat/completions: /v1/chat/completions is meant"),
    ("/v1/chat/completions/images/generations", "not with /chat/completions: /v1/images/generations is meant"),
    ("/chat/completions/v1/chat/completions", ""),
    ("/v1/embeddings/embeddings", "not with /embeddings: /v1/embeddings is meant"),
    ("/v1/api/v1/models", "/v1/models is meant"),
    ("/api/tags", "Ollama"), ("/api/chat", "Ollama"), ("/api/generate", "Ollama"), ("/api/version", "Ollama"),
    ("/api/show", "Ollama"), ("/api/embeddings", "Ollama"), ("/api/embed", "Ollama"), ("/api/ps", "Ollama"),
    ("/api/blobs/sha256:0", "Ollama"),
    ("/v1/messages", "Anthropic"), ("/v1/messages/count_tokens", "Anthropic"), ("/messages", "Anthropic"),
    ("/anthropic/v1/messages", "Anthropic"), ("/v1/complete", "Anthropic"), ("/v1/messages/batches/b_1", "Anthropic"),
    ("/v1beta/models/gemini-pro:generateContent", "Gemini"),
    ("/v1/openai/deployments/d/chat/completions", "Azure"),
    ("/v1/nothing", ""), ("/v1/files/x/y/models", ""), ("/v1/responses/resp_1/nothing", ""), ("/nothing", ""),
    ("/v1/models/org/name", ""), ("/favicon.ico", ""), ("/api/nothing", ""), ("/v1/threads/t/messages/m/x", ""),
]  # fmt: skip


@pytest.mark.parametrize(("path", "hint"), HINTS)
def test_says_what_is_meant(path, hint):
    found = path_hint(path)
    assert (hint in found) if hint else found == ""
    assert "\n" not in found


@pytest.mark.parametrize(("path", "hint"), [row for row in HINTS if row[1]])
def test_the_mock_says_so_in_its_404(path, hint):
    mock = make_mock()
    made = Router([Route("*", ("mock",))], {"mock": mock}, CorsPolicy(Origins(("*",))), no_doors)
    asked = make_request("POST", path, {})
    with pytest.raises(ApiError) as caught:
        made.route(asked).answer(asked)
    assert (caught.value.status, caught.value.code) == (404, "unknown_url")
    assert f"POST {path}" in caught.value.message and hint in caught.value.message


@pytest.mark.parametrize("path", ["/api/tags", "/api/v1/chat/completions", "/v2/models", "/anthropic/v1/messages"])
def test_a_service_without_the_mock_says_so_too(path):
    made = router([("*", "first")], Named("first"))
    with pytest.raises(ApiError, match="Unknown request URL: GET .* (base URL|API)") as caught:
        made.route(request(f"GET {path}"))
    assert caught.value.status == 404


def test_an_upstream_may_have_the_paths_of_others():
    assert router([("*", "first")], Named("first")).route(request("POST /v1/messages")).label == "first"


def test_a_slash_behind_a_door_is_named():
    made = router([("*", "first")], Named("first"))
    with pytest.raises(ApiError, match=r"GET /health/.* There is /health, without the slash\.$"):
        made.route(request("GET /health/"))
    assert made.route(request("GET /health")).label == "health"


def test_dashscopes_own_paths_stay_dashscopes():
    mock = make_mock()
    for path in ("/api/v1/services/aigc/nothing", "/api/v1/tasks/t"):
        answer = mock.endpoint(make_request("GET", path)).answer(make_request("GET", path))
        assert isinstance(answer, Response) and answer.status == 401
    key = [("authorization", "Bearer sk-0123456789")]
    listed = make_request("GET", "/api/v1/models", fields=key)
    assert mock.endpoint(listed).answer(listed).status == 200
    with pytest.raises(ApiError, match="/v1/models is meant"):
        mock.endpoint(make_request("GET", "/api/v1/models"))


def test_a_path_of_many_slashes_is_looked_at_once():
    path = "/x" * 30_000
    assert path_hint(path) == ""
    assert path_hint(f"{path}/chat/completions").endswith("/v1/chat/completions is meant.")
