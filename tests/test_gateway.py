"""The gateway within a whole service: who may ask, what it takes of limits, what is noted, and what goes upstream."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import http.client
import json
import random
import re
import threading

import pytest
from programs import running

import oaiserve
from protocol.budget import is_in_turns
from protocol.errors import ApiError
from protocol.exchange import Endpoint, Request, Response, answer_in_turns
from protocol.limiter import Standing
from protocol.openai.api.operations import Reference
from protocol.openai.reference.whole import API_REFERENCE
from protocol.service.metrics import Metrics
from protocol.team.asking import asking_of
from protocol.team.charge import Books, _with_limits
from protocol.team.gateway import Gateway, Rules
from protocol.team.keys_file import read_keys_file
from protocol.wire.http1.messages import Fields, RequestHead
from protocol.wire.http1.writers import encode_fields


def hash_of(key):
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


ALICE, BOB, EVE = "sk-oai-alice-0123456789", "sk-oai-bob-0123456789", "sk-oai-eve-0123456789"
CAROL = "sk-oai-carol-0123456789"
KEYS = f"""
[team web]
requests = 5/min
[key alice]
hash = {hash_of(ALICE)}
models = gpt-*
tokens = 10000/min
at_once = 2
budget = 1 USD/month
[key bob]
hash = {hash_of(BOB)}
team = web
[key carol]
hash = {hash_of(CAROL)}
models = gpt-*
[key eve]
hash = {hash_of(EVE)}
expires = 2020-01-31
[prices]
gpt-4o-mini = 0.15 in, 0.075 cached, 0.60 out
"""
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def keys_file(tmp_path):
    path = tmp_path / "keys.ini"
    path.write_text(KEYS)
    return str(path)


@pytest.fixture
def server(keys_file):
    with oaiserve.start("mock", set={"server.keys_file": keys_file, "server.journal": "no"}) as running:
        yield running


def ask(server, path="/v1/chat/completions", body=CHAT, key=ALICE, method=None, data=None, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {"content-type": "application/json", **fields}
    if key:
        headers["authorization"] = f"Bearer {key}"
    method = method or ("GET" if body is None else "POST")
    connection.request(method, path, data or (None if body is None else json.dumps(body)), headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer, text


def error(text):
    return json.loads(text)["error"]


@pytest.mark.parametrize(
    ("key", "code"), [("", "missing_api_key"), ("sk-oai-nobody", "invalid_api_key"), (EVE, "expired_api_key")]
)
@pytest.mark.parametrize("stream", [False, True])
def test_who_has_no_key_that_works_is_refused(server, key, code, stream):
    answer, text = ask(server, body={**CHAT, "stream": stream}, key=key)
    assert answer.status == 401 and error(text)["code"] == code


@pytest.mark.parametrize("path", ["/v1/models", "/models/gpt-4o", "/v1/files", "/api/v1/tasks/1"])
def test_every_path_of_an_api_needs_a_key(server, path):
    assert ask(server, path, None, key="")[0].status == 401


def test_the_chat_door_says_so_in_its_own_shape(server):
    answer, text = ask(server, "/", {"messages": CHAT["messages"]}, key="")
    assert answer.status == 401 and json.loads(text)["error"] == "Unauthorized" and "key" in json.loads(text)["message"]


def test_health_is_open_and_own_pages_are_for_this_machine(server):
    assert ask(server, "/health", None, key="")[0].status == 200
    assert ask(server, "/metrics", None, key="")[0].status == 200
    assert ask(server, "/metrics", None, key="", host="gateway.example")[0].status == 401
    assert ask(server, "/metrics", None, host="gateway.example")[0].status == 200
    assert ask(server, "/", None, key="", origin="https://page.example")[0].status == 401


def test_a_key_asks_for_its_models_alone(server):
    answer, text = ask(server, body={**CHAT, "model": "o3"})
    assert answer.status == 403 and error(text)["code"] == "model_not_found" and "alice" in error(text)["message"]
    assert ask(server, body={**CHAT, "model": "o3"}, key=BOB)[0].status == 200


def test_a_budget_needs_a_price(server):
    answer, text = ask(server, body={**CHAT, "model": "gpt-9"})
    assert answer.status == 403 and error(text)["code"] == "unpriced_model"


def test_the_requests_of_a_team_are_limited_together_and_told(server):
    told = [ask(server, key=BOB)[0] for _ in range(6)]
    assert [answer.status for answer in told] == [200] * 5 + [429]
    assert [answer.getheader("x-ratelimit-remaining-requests") for answer in told[:5]] == ["4", "3", "2", "1", "0"]
    assert int(told[5].getheader("retry-after")) > 0


def test_tokens_are_reserved_and_settled(server):
    first, _ = ask(server, body={**CHAT, "max_tokens": 4000})
    second, _ = ask(server, body={**CHAT, "max_tokens": 4000})
    left = [int(answer.getheader("x-ratelimit-remaining-tokens")) for answer in (first, second)]
    # What was reserved for the first was given back when its three words were counted.
    assert left[0] < 6000 and left[1] > left[0] - 100
    answer, text = ask(server, body={**CHAT, "max_tokens": 20000})
    assert answer.status == 429 and "tokens" in error(text)["message"]


def test_what_would_cost_more_than_the_budget_is_refused_for_good(server, keys_file):
    answer, text = ask(server, body={**CHAT, "max_tokens": 5000, "n": 128})
    assert answer.status == 429
    assert error(text)["code"] in ("insufficient_quota", "rate_limit_exceeded")


SPENDS = """
/audio/speech /audio/transcriptions /audio/translations /chat/completions /completions /decisions /embeddings
/images/edits /images/generations /images/variations /responses /responses/compact /threads/runs /threads/{}/runs
/threads/{}/runs/{}/submit_tool_outputs /videos
"""
# What only keeps things, or ends them.
FREE = """
/assistants /assistants/{} /audio/voice_consents /audio/voice_consents/{} /audio/voices /batches/{}/cancel
/chat/completions/{} /conversations /conversations/{} /conversations/{}/items /evals /evals/{} /evals/{}/runs/{}
/evals/{}/runs/{}/cancel /files /fine_tuning/alpha/graders/validate /fine_tuning/jobs/{}/cancel
/fine_tuning/jobs/{}/pause /moderations /responses/input_tokens /responses/{}/cancel /skills /skills/{}
/skills/{}/versions /threads /threads/{} /threads/{}/messages /threads/{}/messages/{} /threads/{}/runs/{}
/threads/{}/runs/{}/cancel /uploads /uploads/{}/cancel /uploads/{}/complete /uploads/{}/parts /vector_stores
/vector_stores/{} /vector_stores/{}/file_batches /vector_stores/{}/file_batches/{}/cancel /vector_stores/{}/files
/vector_stores/{}/files/{} /vector_stores/{}/search
"""


def test_of_all_paths_of_the_api_each_is_counted_or_free_or_refused_to_who_is_counted():
    seen = {"spends": set(), "free": set(), "refused": set()}
    for key in Reference(lambda: API_REFERENCE).keys():
        method, path = key.split()
        path = re.sub(r"{[^}]*}", "{}", path)
        asking = asking_of(f"/v1{path.replace('{}', 'x_1')}", method)
        if method in ("GET", "DELETE"):
            assert not asking.makes_tokens and not asking.hides
        else:
            seen["spends" if asking.makes_tokens else "refused" if asking.hides == "all" else "free"].add(path)
    assert (seen["spends"], seen["free"]) == (set(SPENDS.split()), set(FREE.split()))
    assert len(seen["refused"]) > 100
    # As lenient servers read them.
    assert [asking_of(path, "POST").hides for path in ("/v1/Chat/Completions", "/v1/embeddings;x")] == ["all", "all"]
    assert asking_of("/v1/live", "GET", is_tunnel=True).hides == "all"


def test_who_has_no_key_learns_of_no_path_whether_it_is_there(server):
    for path in ("/v1/models", "/v1/nothing", "/v1/files/x/y/z"):
        ask(server, "/v1/files", None)  # all of the mock is loaded now
        assert ask(server, path, None, key="")[0].status == 401
    assert ask(server, "/v1/nothing", None, key=BOB)[0].status == 404


@pytest.mark.parametrize(
    "path",
    ["/v1/messages", "/v1/%66ine_tuning/jobs/", "/batches", "/v1/chat/completions%2f",
     "/s/one/v1/evals/eval_1/runs", "/v1/realtime/client_secrets", "/v1/realtime/calls", "/v1/live/sessions",
     "/v1/chatkit/sessions", "/v1/agents/sessions", "/v1/videos/edits", "/v1/organization/admin_api_keys",
     "/openai/v1/batches?api-version=1", "/openai/deployments/gpt-4o-mini/batches?api-version=1"],
)  # fmt: skip
def test_what_nobody_here_could_count_is_not_for_keys_that_are_counted(server, path):
    answer, text = ask(server, path, {"model": "gpt-4o-mini"})
    assert answer.status == 403 and error(text)["code"] == "not_counted"
    assert b"not_counted" not in ask(server, path, {"model": "gpt-4o-mini"}, key=BOB)[1]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"model": "gpt-4o-mini", "input": "Hello", "background": True}),
        ("/v1/threads/runs", {"model": "gpt-4o-mini", "assistant_id": "asst_1"}),
        ("/v1/videos", {"model": "gpt-4o-mini", "prompt": "Hello"}),
    ],
)
def test_an_answer_before_its_work_is_not_for_keys_with_tokens_or_a_budget(server, path, body):
    answer, text = ask(server, path, body)
    assert answer.status == 403 and error(text)["code"] == "not_counted"
    assert b"not_counted" not in ask(server, path, body, key=BOB)[1]


def test_a_form_reserves_what_answers_usually_are(server):
    part = 'content-disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    file = part.format('file"; filename="a.wav', "RIFF")
    form = f"--x\r\n{part.format('model', 'gpt-4o-mini')}--x\r\n{file}--x--\r\n".encode()
    answer, text = ask(
        server,
        "/v1/audio/transcriptions",
        data=form,
        method="POST",
        **{"content-type": "multipart/form-data; boundary=x"},
    )
    assert (answer.status, answer.getheader("x-ratelimit-remaining-tokens")) == (200, "9000"), text


UPGRADE = {"upgrade": "websocket", "connection": "upgrade"}


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/v1/realtime?model=gpt-realtime", ALICE, 403),  # what it uses would not be known
        ("/v1/realtime?model=gpt-realtime", CAROL, 400),  # its model is known; it lacks its handshake here
        ("/v1/realtime?model=o3", CAROL, 403),
        ("/v1/responses", CAROL, 403),  # its events name models
        ("/v1/responses", BOB, 400),
    ],
)
def test_websockets_are_for_who_may_ask_for_what_is_said_in_them(server, path, key, status):
    answer, text = ask(server, path, None, key=key, **UPGRADE)
    assert (answer.status == 403) is (status == 403), (answer.status, text)


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({"content-encoding": "gzip"}, gzip.compress(json.dumps(CHAT).encode())),
        ({}, json.dumps({**CHAT, "MODEL": "o3"}).encode()),
    ],
)
def test_what_could_be_read_otherwise_is_not_for_keys_that_are_counted(server, fields, body):
    answer, text = ask(server, data=body, **fields)
    assert answer.status == 415 and error(text)["code"] == "not_counted"
    assert b"not_counted" not in ask(server, data=body, key=BOB, **fields)[1]


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "application/octet-stream"])
def test_json_is_counted_under_any_content_type(server, kind):
    big = json.dumps({**CHAT, "max_tokens": 20000}).encode()
    answer, text = ask(server, data=big, **{"content-type": kind})
    assert answer.status == 429 and "tokens" in error(text)["message"]


@pytest.mark.parametrize("asks", [False, True])
def test_a_stream_has_its_usage_event_only_where_it_was_asked_for(server, asks):
    body = {**CHAT, "stream": True, **({"stream_options": {"include_usage": True}} if asks else {})}
    answer, text = ask(server, body=body)
    assert answer.status == 200 and text.endswith(b"data: [DONE]\n\n")
    assert (b'"total_tokens"' in text) is asks
    assert b"powered " in text


def tokens_of(server, key="alice"):
    """Return how many tokens were counted for a key by now, in and out."""
    text = ask(server, "/metrics", None)[1].decode()
    counts = {}
    for kind, count in re.findall(rf'oaiserve_tokens_total{{key="{key}"[^}}]*type="(\w+)"}} (\d+)', text):
        counts[kind] = counts.get(kind, 0) + int(count)
    return counts.get("input", 0), counts.get("output", 0)


TOOLS = {"tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]}


@pytest.mark.parametrize(
    "settings",
    [{}, {"mock.delay": "0.001"}, {"mock.freeze": "yes"}, {"mock.pace": "quick", "pace quick.first": "0.001"}],
    ids=["plain", "delays", "freeze", "pace"],
)
@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/chat/completions", {}),
        ("/v1/chat/completions", TOOLS),
        ("/v1/chat/completions", {"n": 2}),
        ("/v1/chat/completions", {"max_tokens": 2}),
        ("/v1/chat/completions", {"stream_options": {"include_usage": False}}),
        ("/v1/chat/completions", {"stream_options": {}}),
        ("/openai/deployments/gpt-4o-mini/chat/completions?api-version=2024-10-21", {}),
        ("/", {}),
        ("/v1/completions", {}),
        ("/s/one/v1/chat/completions", {}),
    ],
    ids=["usual", "tools", "choices", "cut", "options", "no options", "azure", "door", "completions", "session"],
)
def test_what_a_stream_uses_is_known_whoever_asks_for_it_and_however_it_is_told(keys_file, settings, path, more):
    """It is what the same stream tells that was asked for it, and no event of it reaches who did not ask."""
    more = {"prompt": "Hello", **more} if path == "/v1/completions" else {"messages": CHAT["messages"], **more}
    body = {"model": "gpt-4o-mini", "stream": True, **more}
    asking = {**body, "stream_options": {**body.get("stream_options", {}), "include_usage": True}}
    at = {"server.keys_file": keys_file, "server.journal": "no" if path[:3] != "/s/" else "yes", "mock.seed": "7"}
    with oaiserve.start("mock", set={**at, **settings}) as server:
        answer, text = ask(server, path, asking)
        told = json.loads(re.findall(rb'"usage":({[^{}]*(?:{[^{}]*}[^{}]*)*})', text)[-1])
        counted = tokens_of(server)
        assert answer.status == 200 and counted == (told["prompt_tokens"], told["completion_tokens"]) != (0, 0)
        answer, text = ask(server, path, body)
        assert answer.status == 200 and b'"usage":{' not in text and text.endswith(b"data: [DONE]\n\n")
        again = tokens_of(server)
        assert (again[0] - counted[0], again[1] - counted[1]) == counted
        told = json.loads(ask(server, path, {**body, "stream": False, "stream_options": None})[1])["usage"]
        counted = tokens_of(server)
    assert (counted[0] - again[0], counted[1] - again[1]) == (told["prompt_tokens"], told["completion_tokens"])


def test_places_are_for_so_many_at_once(keys_file):
    settings = {"server.keys_file": keys_file, "server.journal": "no", "mock.first_delay": "0.5"}
    with oaiserve.start("mock", set=settings) as server:
        statuses = []
        body = {**CHAT, "stream": True}
        threads = [threading.Thread(target=lambda: statuses.append(ask(server, body=body)[0].status)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200, 200, 429, 429]
        assert ask(server, body=body)[0].status == 200  # all places have been left


def test_a_budget_is_not_given_again_at_a_restart(tmp_path):
    path = tmp_path / "keys.ini"
    # A request reserves 5,400 nano-dollars and takes 1,950: there is room for three, and for none beside the third.
    path.write_text(KEYS.replace("budget = 1 USD/month", "budget = 0.00001 USD/month"))
    settings = {"server.keys_file": str(path), "server.journal": "no"}
    statuses = []
    for _ in range(2):
        with oaiserve.start("mock", set=settings) as server:
            told = [ask(server, body={**CHAT, "max_tokens": 3}) for _ in range(2)]
            statuses += [answer.status for answer, _ in told]
    assert statuses == [200, 200, 200, 429]
    assert error(told[1][1])["code"] == "insufficient_quota" and told[1][0].getheader("x-should-retry") == "false"


def test_workers_share_what_is_taken(command, keys_file):
    options = ["--set", f"server.keys_file={keys_file}", "--set", "server.log=off", "--workers", "2"]
    with running(command, *options) as server:
        statuses = [ask(server, key=BOB)[0].status for _ in range(12)]
    assert statuses.count(200) == 5 and set(statuses) == {200, 429}


def test_what_a_client_calls_a_model_is_kept_at_its_first_200_characters(server, keys_file):
    for number in range(3):
        ask(server, body={**CHAT, "model": f"gpt-{number}" + "x" * 60_000}, key=BOB)
    text = ask(server, "/metrics", None)[1].decode()
    told = re.findall(r'oaiserve_tokens_total{[^}]*model="(gpt-[0-9]x+)"', text)
    assert told and all(len(model) <= 200 for model in told)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("content-type", "application/json"), ("X-RateLimit-Limit-Requests", "9"), ("server", "x-ratelimit-: 1")],
        [("x-ratelimit-reset-tokens", "0s"), ("x-ratelimited", "no"), ("not-x-ratelimit-limit", "1")],
        [("x-ratelimit-a", ""), ("x-ratelimit-b", "1"), ("x", "y"), ("X-RATELIMIT-C", "2")],
    ],
)
def test_an_answer_has_no_limits_but_ours(fields):
    ours = [("x-ratelimit-limit-requests", "5")]
    kept = [pair for pair in fields if not pair[0].lower().startswith("x-ratelimit-")]
    for told in (fields, encode_fields(fields)):
        assert _with_limits(told, encode_fields(ours)) == encode_fields(kept + ours)


class Waits:
    """A store that is asked over a network."""

    async def take(self, claims, places=()):
        return True, [Standing(1, 0, 0)] * len(claims), 1

    def settle(self, claims, units, at, places=()):
        """Forget it."""


class NoRoutes:
    def backends_for(self, model):
        raise ApiError(404, "nobody")


def make_gateway(answer):
    books = Books(Waits(), None, lambda: 1_700_000_000.0, lambda: 1.0, Metrics())
    return Gateway(
        lambda request: Endpoint(answer, "chat"), NoRoutes(), books, Rules(), read_keys_file(KEYS, "keys.ini"),
        hides_keys=False, instance="x", max_body=10**6,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("key", [ALICE, BOB])
def test_a_chat_is_counted_in_the_same_way_whatever_came_before_it(seed, key):
    """Each is asked for at a gateway that has seen many others, and at one that has seen none."""
    chance, seen = random.Random(seed), []

    def answer(request):
        charge = request.charge
        seen.append((charge.terms.asked, charge._reserved, charge._wants_usage, request.body, request.json()))
        return Response(200, b"", b"{}")

    async def told(gateway, body, path):
        fields = Fields([("authorization", f"Bearer {key}"), ("content-type", "application/json")])
        request = Request(RequestHead("POST", path, 1, fields), "id", "127.0.0.1")
        request.body = body
        try:
            await (endpoints.setdefault((gateway, path), gateway.route(request))).answer(request)
        except ApiError as exc:
            return exc.status, exc.message
        return seen.pop()

    async def run():
        old = make_gateway(answer)
        for _ in range(120):
            text = chance.choice(["Hello", "Hello, how are you?", "", 'say "no"', "x" * 5000, "gpt-4o"])
            more = chance.choice([
                {}, {}, {}, {"max_tokens": 30}, {"max_tokens": 40, "n": 2}, {"stream": True}, {"MODEL": "o3"}, {"model": "o3"},
                {"model": 3}, {"model": ALICE}, {"stream": True, "stream_options": {"include_usage": True}},
            ])  # fmt: skip
            body = json.dumps(
                {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **more}
            ).encode()
            path = chance.choice(["/v1/chat/completions", "/"])
            assert await told(old, body, path) == await told(make_gateway(answer), body, path)

    endpoints = {}
    asyncio.run(run())


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_long_body_is_answered_in_turns_behind_a_store_that_is_waited_for(size):
    seen = []

    def answer(request):
        seen.append(is_in_turns())
        return Response(200, b"", b"{}")

    class Routes:
        def backends_for(self, model):
            raise ApiError(404, "nobody")

    async def run():
        clock = asyncio.get_running_loop().time
        books = Books(Waits(), None, clock, clock, Metrics())
        keys = read_keys_file(KEYS, "keys.ini")
        gateway = Gateway(
            lambda request: Endpoint(answer, "chat"), Routes(), books, Rules(), keys,
            hides_keys=False, instance="x", max_body=10**6,
        )  # fmt: skip
        fields = Fields([("authorization", f"Bearer {BOB}"), ("content-type", "application/json")])
        request = Request(RequestHead("POST", "/v1/chat/completions", 1, fields), "id", "127.0.0.1")
        request.body = json.dumps({**CHAT, "user": "x" * size}).encode()
        return await answer_in_turns(lambda: gateway.route(request).answer(request))

    assert asyncio.run(run()).status == 200
    assert seen == [size > 65_536]
