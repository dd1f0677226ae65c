"""Routing: paths and models to endpoints and backends."""

from __future__ import annotations

import asyncio
import json

import pytest

from protocol.config import Route
from protocol.errors import ApiError
from protocol.exchange import BackendFailed, Endpoint, Request, Response
from protocol.openai.answers import api_path, model_object
from protocol.service.cors import CorsPolicy
from protocol.service.origins import Origins
from protocol.service.router import Router
from protocol.wire.http1.readers import RequestReader


class Named:
    """A backend that answers with its own name and the path it was asked for."""

    own_root = ""
    holds_key = False
    keepalive = 0.0
    origin = ""

    def __init__(self, name, models=(), *, streams=False, fails=False, waits=False):
        self.name = name
        self.listed = [model_object(id, 0, name) for id in models]
        self.streams, self.fails, self.waits = streams, fails, waits

    def endpoint(self, request):
        return Endpoint(self.answer, self.name, streams_body=self.streams)

    def answer(self, request):
        if self.fails:
            raise BackendFailed(Response(502, (), f"{self.name} failed".encode()))
        if self.streams:
            return self.read(request)
        return Response(200, (), f"{self.name} {request.path}".encode())

    async def read(self, request):
        return Response(200, (), b"".join([part async for part in request.stream]))

    def models(self, request):
        return self.list_later() if self.waits else self.listed

    async def list_later(self):
        return self.listed

    def sent_model(self, asked):
        return asked

    def leave(self):
        pass

    async def close(self):
        pass


class Pathless(Named):
    """A backend that lists models and answers no request for a single one."""

    def endpoint(self, request):
        raise ApiError(404, "Invalid URL")


def router(routes, *backends):
    by_name = {backend.name: backend for backend in backends}
    doors = {"/health": {"GET": Endpoint(lambda request: Response(200, (), b"door"), "health")}}
    table = [Route(pattern, tuple(names.split())) for pattern, names in routes]
    return Router(table, by_name, CorsPolicy(Origins(("*",))), lambda forward: doors)


def request(line, body=b"", **fields):
    head = f"{line} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    head += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    reader = RequestReader()
    reader.feed(head.encode() + b"\r\n")
    made = Request(reader.next_event(), "req_1", "127.0.0.1")
    made.body = body
    return made


def answer(made, asked):
    found = made.route(asked).answer(asked)
    if not isinstance(found, Response):
        found = asyncio.run(found)
    return found


def said(made, asked):
    return answer(made, asked).body.decode()


def chat(model):
    return request("POST /v1/chat/completions", json.dumps({"model": model}).encode(), content_type="application/json")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/chat/completions", "/chat/completions"),
        ("/chat/completions", "/chat/completions"),
        ("/v1/anything/at/all", "/anything/at/all"),
        ("/models", "/models"),
        ("/models/a/b", "/models/a/b"),
        ("/v1/", None),
        ("/v1", None),
        ("/v2/chat/completions", None),
        ("/chats", None),
        ("/", None),
        ("*", None),
    ],
)
def test_api_paths_come_with_or_without_v1(path, expected):
    assert api_path(path) == expected


@pytest.mark.parametrize(
    ("model", "backend"),
    [
        ("farui-plus", "second"),
        ("gpt-4o", "third"),
        ("gpt-4", "third"),
        ("gpt-3.5-turbo", "first"),
        ("", "first"),
        ("Farui-plus", "first"),
        ("x1y", "fourth"),
        ("x12y", "first"),
        ("my[1]", "fourth"),
        ("my1", "first"),
    ],
)
def test_first_pattern_that_fits_the_model_wins(model, backend):
    made = router(
        [("farui-*", "second"), ("gpt-4*", "third"), ("x?y", "fourth"), ("my[1]", "fourth"), ("*", "first")],
        *map(Named, ("first", "second", "third", "fourth")),
    )
    assert said(made, chat(model)).split()[0] == backend


def test_single_backend_is_asked_from_the_head_alone():
    made = router([("*", "only")], Named("only", streams=True))
    assert made.route(request("POST /v1/files", b"x" * 9)).streams_body


def test_model_may_stand_in_the_query():
    made = router([("rt-*", "second"), ("*", "first")], Named("first"), Named("second"))
    assert said(made, request("GET /v1/realtime?model=rt-1&x=%2f")) == "second /v1/realtime"


def test_model_may_stand_in_a_form():
    made = router([("whisper-*", "second"), ("*", "first")], Named("first"), Named("second"))
    form = (
        b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n'
        b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
    )
    asked = request("POST /v1/audio/transcriptions", form, content_type="multipart/form-data; boundary=b")
    assert said(made, asked).startswith("second")


def test_upload_that_names_no_model_is_not_held():
    made = router([("gpt-*", "second"), ("*", "first")], Named("first", streams=True), Named("second"))
    assert made.route(request("POST /v1/files", b"x", content_type="multipart/form-data; boundary=b")).streams_body


def test_request_without_a_model_goes_to_the_star():
    made = router([("gpt-*", "second"), ("*", "first")], Named("first"), Named("second"))
    assert said(made, request("GET /v1/files")) == "first /v1/files"


def test_body_that_is_no_json_is_400_where_the_model_must_be_read():
    made = router([("gpt-*", "second"), ("*", "first")], Named("first"), Named("second"))
    with pytest.raises(ApiError) as caught:
        answer(made, request("POST /v1/chat/completions", b"{", content_type="application/json"))
    assert caught.value.status == 400


def test_held_body_is_streamed_to_a_backend_that_streams():
    made = router([("gpt-*", "second"), ("*", "first")], Named("first"), Named("second", streams=True))
    assert json.loads(said(made, chat("gpt-4"))) == {"model": "gpt-4"}


def test_next_backend_is_asked_when_one_fails():
    made = router([("*", "broken sound")], Named("broken", fails=True), Named("sound"))
    assert said(made, chat("any")).startswith("sound")


def test_last_failure_comes_out_when_all_fail():
    made = router([("*", "one two")], Named("one", fails=True), Named("two", fails=True))
    assert (answer(made, chat("any")).status, said(made, chat("any"))) == (502, "two failed")


def test_models_of_all_routed_backends_are_merged_once():
    made = router(
        [("a*", "two"), ("*", "one")],
        Named("one", ["x", "y"], waits=True), Named("two", ["y", "z"]), Named("unrouted", ["w"]),
    )  # fmt: skip
    listing = json.loads(said(made, request("GET /v1/models")))
    assert listing["object"] == "list"
    assert [(model["id"], model["owned_by"]) for model in listing["data"]] == [("x", "one"), ("y", "one")]


def test_models_are_offered_whose_route_leads_to_who_lists_them():
    mock, house = Named("mock", ["gpt-4o", "mock-fast"]), Named("house", ["qwen-plus"], waits=True)
    made = router([("mock-*", "mock"), ("*", "house")], mock, house)
    assert [model["id"] for model in json.loads(said(made, request("GET /v1/models")))["data"]] == [
        "mock-fast",
        "qwen-plus",
    ]
    made = router([("qwen*", "house mock")], mock, house)  # one route, and not for everything
    assert [model["id"] for model in json.loads(said(made, request("GET /v1/models")))["data"]] == ["qwen-plus"]
    made = router([("*", "house mock")], mock, house)
    listed = [model["id"] for model in json.loads(said(made, request("GET /v1/models")))["data"]]
    assert sorted(listed) == ["gpt-4o", "mock-fast", "qwen-plus"]


class Unlisted(Named):
    """A backend that cannot say what it offers."""

    def models(self, request):
        raise ApiError(503, f"{self.name} is away")


def test_backend_that_cannot_list_its_models_leaves_the_others():
    made = router([("a*", "away"), ("*", "one")], Unlisted("away"), Named("one", ["x"], waits=True))
    assert [model["id"] for model in json.loads(said(made, request("GET /v1/models")))["data"]] == ["x"]
    made = router([("a*", "away"), ("*", "off")], Unlisted("away"), Unlisted("off"))
    with pytest.raises(ApiError, match="away is away"):
        answer(made, request("GET /v1/models"))


@pytest.mark.parametrize("waits", [False, True])
def test_model_is_retrieved_by_its_percent_decoded_id(waits):
    made = router([("*", "one")], Named("one", ["deep/seek v3"], waits=waits))
    assert json.loads(said(made, request("GET /v1/models/deep/seek%20v3")))["id"] == "deep/seek v3"


@pytest.mark.parametrize("waits", [False, True])
def test_an_unlisted_model_is_asked_of_the_backend_that_would_take_it(waits):
    made = router([("gpt*", "two"), ("*", "one")], Named("one", ["m"], waits=waits), Named("two", waits=waits))
    assert said(made, request("GET /v1/models/gpt-hidden")) == "two /v1/models/gpt-hidden"
    assert said(made, request("GET /v1/models/nope")) == "one /v1/models/nope"


@pytest.mark.parametrize("waits", [False, True])
def test_a_model_of_a_backend_that_has_no_such_path_does_not_exist(waits):
    made = router([("*", "one")], Pathless("one", ["m"], waits=waits))
    with pytest.raises(ApiError, match="'nope' does not exist") as caught:
        said(made, request("GET /v1/models/nope"))
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


def test_unknown_path_is_404_and_known_path_with_another_method_405():
    made = router([("*", "one")], Named("one"))
    with pytest.raises(ApiError) as caught:
        made.route(request("GET /nowhere"))
    assert caught.value.status == 404
    with pytest.raises(ApiError) as caught:
        made.route(request("DELETE /health"))
    assert (caught.value.status, caught.value.fields) == (405, (("allow", "GET, HEAD, OPTIONS"),))
    assert made.route(request("HEAD /health")).label == "health"


@pytest.mark.parametrize("target", ["*", "/", "/v1/chat/completions", "/nowhere"])
def test_options_is_answered_everywhere(target):
    assert answer(router([("*", "one")], Named("one")), request(f"OPTIONS {target}")).status == 204


@pytest.mark.parametrize(("query", "name"), [("?model=gpt-4o-realtime", "a"), ("?model=other", "c"), ("", "c")])
def test_an_upgrade_goes_to_the_first_backend_of_its_model(query, name):
    made = router([("gpt*", "a b"), ("*", "c a")], *(Named(name) for name in "abc"))
    asked = request(f"GET /v1/realtime{query}", connection="upgrade", upgrade="websocket")
    assert made.route(asked).streams_body
    assert said(made, asked) == f"{name} /v1/realtime"


def test_an_upgrade_whose_first_backend_is_down_goes_to_the_second():
    made = router([("*", "a b")], Named("a", fails=True), Named("b"))
    assert said(made, request("GET /v1/realtime", connection="upgrade", upgrade="websocket")) == "b /v1/realtime"


def test_an_upgrade_to_anything_but_websocket_is_a_request_like_any_other():
    made = router([("gpt*", "a"), ("*", "b")], Named("a"), Named("b"))
    body = json.dumps({"model": "gpt-4o"}).encode()
    fields = {"content_type": "application/json", "connection": "upgrade", "upgrade": "h2c"}
    assert said(made, request("POST /v1/chat/completions", body, **fields)) == "a /v1/chat/completions"
