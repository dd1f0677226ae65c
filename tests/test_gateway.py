"""The gateway within a whole service: who may ask, what it takes of limits, what is noted, and what goes upstream."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading

import pytest
from programs import running

import oaiserve


def hash_of(key):
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


ALICE, BOB, EVE = "sk-oai-alice-0123456789", "sk-oai-bob-0123456789", "sk-oai-eve-0123456789"
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


def ask(server, path="/v1/chat/completions", body=CHAT, key=ALICE, method=None, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {"content-type": "application/json", **fields}
    if key:
        headers["authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body)
    connection.request(method or ("GET" if body is None else "POST"), path, data, headers)
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


def test_work_that_is_done_later_is_not_for_keys_that_are_counted(server):
    batch = {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    answer, text = ask(server, "/v1/batches", batch)
    assert answer.status == 403 and error(text)["code"] == "not_counted"
    assert ask(server, "/v1/batches", batch, key=BOB)[0].status != 403


@pytest.mark.parametrize("asks", [False, True])
def test_a_stream_has_its_usage_event_only_where_it_was_asked_for(server, asks):
    body = {**CHAT, "stream": True, **({"stream_options": {"include_usage": True}} if asks else {})}
    answer, text = ask(server, body=body)
    assert answer.status == 200 and text.endswith(b"data: [DONE]\n\n")
    assert (b'"total_tokens"' in text) is asks
    assert b"powered " in text


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
