"""Where an answer of the upstream's sends its client, and that its event streams pass through proxies at once."""

from __future__ import annotations

import pytest
from programs import ANY_CHAT, ask, running
from scripted_upstream import scripted

from protocol.relay.locations import Locations
from protocol.upstream.destination import parse_destination

# (base_url, what the upstream says, what the client reads)
LOCATIONS = [
    ("https://api.example/v1", "https://api.example/v1/files/a", "/v1/files/a"),
    ("https://api.example/v1", "https://API.example:443/v1/files/a?b=c#d", "/v1/files/a?b=c#d"),
    ("https://api.example/v1", "/v1/files/a", "/v1/files/a"),
    ("https://api.example/v1", "//api.example/v1/files/a", "/v1/files/a"),
    ("https://api.example/v1", "https://api.example/v1", "/v1"),
    ("https://api.example/openai/v1", "https://api.example/openai/v1/jobs/1", "/v1/jobs/1"),
    ("https://api.example/openai/v1", "/openai/v1?x", "/v1?x"),
    ("http://127.0.0.1:9000", "http://127.0.0.1:9000/v1/files/", "/v1/files/"),
    ("http://[::1]:9000/v1", "http://[::1]:9000/v1/a", "/v1/a"),
    ("unix:/run/llm.sock", "http://localhost/v1/a", "/v1/a"),
    ("https://api.example/", "https://api.example/files/a", "/v1/files/a"),
    ("https://api.example/", "/", "/v1/"),
    # Outside the API: nothing that we could answer for.
    ("https://api.example/v1", "https://api.example/login", "https://api.example/login"),
    ("https://api.example/v1", "/login?next=/v1/files", "https://api.example/login?next=/v1/files"),
    ("https://api.example/v1", "/v1beta/files", "https://api.example/v1beta/files"),
    ("https://api.example/v1", "https://api.example", "https://api.example"),
    # Elsewhere.
    ("https://api.example/v1", "https://files.example/v1/a", "https://files.example/v1/a"),
    ("https://api.example/v1", "http://api.example/v1/a", "http://api.example/v1/a"),
    ("https://api.example/v1", "https://api.example:8443/v1/a", "https://api.example:8443/v1/a"),
    ("https://api.example/v1", "https://api.example.evil/v1/a", "https://api.example.evil/v1/a"),
    ("https://api.example/v1", "https://user@api.example/v1/a", "https://user@api.example/v1/a"),
    ("https://api.example/v1", "//files.example/v1/a", "//files.example/v1/a"),
    # Relative to the request, whose path the client knows as well as the upstream.
    ("https://api.example/openai/v1", "b?c", "b?c"),
    ("https://api.example/openai/v1", "?after=b", "?after=b"),
    ("https://api.example/openai/v1", "../files/b", "../files/b"),
    ("https://api.example/v1", "", ""),
    ("https://api.example/v1", "http://[", "http://["),
    ("https://api.example/v1", "mailto:a@api.example", "mailto:a@api.example"),
]


@pytest.mark.parametrize(("base_url", "said", "read"), LOCATIONS, ids=[f"{base} {said}" for base, said, _ in LOCATIONS])
def test_a_location_in_the_upstreams_api_is_one_of_ours_and_no_other(base_url, said, read):
    assert Locations(parse_destination(base_url)).for_client(said) == read


def test_a_client_follows_a_redirect_to_us(command):
    def script(came):
        here = f"http://{came.fields['host']}"
        if came.path == "/openai/v1/files/b":
            assert came.fields["authorization"] == "Bearer sk-owner-0123456789"
            return 200, {}, b"followed"
        fields = {"location": f"{here}/openai/v1/files/b", "content-location": f"{here}/openai/v1/files/a",
                  "operation-location": f"{here}/openai/v1/operations/1", "link": f"<{here}/x>"}  # fmt: skip
        return (
            (302, fields, b"") if came.path.endswith("/a") else (307, {"location": "https://elsewhere.example/"}, b"")
        )

    with scripted(script) as upstream:
        options = (f"relay.base_url={upstream.url}/openai/v1", "relay.api_key=sk-owner-0123456789")
        with running(command, "relay", *[word for option in options for word in ("--set", option)]) as program:
            status, fields, _ = ask(program.port, "GET", "/v1/files/a")
            assert (status, fields["location"]) == (302, "/v1/files/b")
            assert (fields["content-location"], fields["operation-location"]) == ("/v1/files/a", "/v1/operations/1")
            assert fields["link"] == f"<{upstream.url}/x>"
            assert ask(program.port, "GET", fields["location"])[2] == b"followed"
            status, fields, _ = ask(program.port, "GET", "/v1/files/c")
            assert (status, fields["location"]) == (307, "https://elsewhere.example/")


@pytest.mark.parametrize(
    "own", [{}, {"x-accel-buffering": "yes"}, {"x-accel-buffering": "no"}], ids=["silent", "yes", "no"]
)
def test_proxies_are_told_to_let_events_through_at_once(command, own):
    def script(came):
        if came.json.get("stream"):
            return 200, {"content-type": "text/event-stream; charset=utf-8", **own}, [b"data: [DONE]\n\n"]
        return 200, {"content-type": "application/json", **own}, b"{}"

    with scripted(script) as upstream, running(command, "relay", "--set", f"relay.base_url={upstream.url}") as program:
        _, fields, _ = ask(program.port, "POST", "/v1/chat/completions", {**ANY_CHAT, "stream": True})
        assert fields["x-accel-buffering"] == "no"
        _, fields, _ = ask(program.port, "POST", "/v1/chat/completions", ANY_CHAT)
        assert fields.get("x-accel-buffering") == own.get("x-accel-buffering")
