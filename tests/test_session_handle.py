"""A session in a program's hands, and the pytest plugin that gives each test one."""

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

import oaiserve

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


def chat(url, **more):
    body = json.dumps({**CHAT, **more}).encode()
    request = urllib.request.Request(f"{url}/v1/chat/completions", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def server():
    with oaiserve.start("mock") as server:
        yield server


def test_the_servers_own_calls_are_at_hand():
    with oaiserve.start("mock") as server:
        answered = chat(server.url)
        call = server.calls[-1]
        assert call.request["json"] == CHAT and call.answer["json"] == answered
        assert (call.status, call.attempt, call.rule, call.fault, call.ended) == (200, 1, None, None, "done")
        assert 0 <= call.times["first"] <= call.times["total"]


def test_sessions_are_told_apart(server):
    one, other = server.session("one"), server.session("other")
    chat(one.url)
    chat(one.url, model="o3")
    chat(other.url)
    assert [call.model for call in one.calls] == ["gpt-4o", "o3"] and len(other.calls) == 1
    one.reset("calls")
    assert one.calls == [] and len(other.calls) == 1


def test_verify_names_the_nearest_calls(server):
    session = server.session("verified")
    chat(session.url)
    session.verify(model="gpt-4o", times=1)
    with pytest.raises(AssertionError) as caught:
        session.verify(model="o3", at_least=1, status=200)
    assert str(caught.value).splitlines() == [
        "expected at_least 1 calls with model='o3', status=200, found 0",
        "  call 1: model: 'gpt-4o'",
    ]


def test_wait_for_sees_what_comes_meanwhile(server):
    session = server.session("awaited")
    later = threading.Timer(0.05, chat, [session.url])
    later.start()
    (call,) = session.wait_for(model="gpt-4o", timeout=60)
    later.join()
    assert call.number == 1
    with pytest.raises(AssertionError, match="expected 2 within 0 s calls"):
        session.wait_for(2, timeout=0)


def test_the_clock_is_the_sessions(server):
    session = server.session("timed")
    before = session.clock.now
    assert session.clock.advance(3600) >= before + 3600
    assert session.clock.now >= before + 3600 > server.clock.now


def test_a_session_that_has_ended_begins_anew(server):
    session = server.session("ended")
    chat(session.url)
    session.end()
    assert session.calls == []


def test_what_the_server_refuses_is_told_in_its_words(server):
    with pytest.raises(Exception, match="did you mean model"):
        server.find(modle="x")


def test_a_rule_says_how_often_it_spoke(server):
    session = server.session("scripted")
    rule = session.script({"when": {"user": "hi"}, "answer": "Sunny."})
    first = session.script({"when": {"user": "other"}, "answer": "Rain."})
    assert [chat(session.url)["choices"][0]["message"]["content"] for _ in range(2)] == ["Sunny.", "Sunny."]
    assert (rule.used, first.used) == (2, 0)
    session.verify(user="hi", rule=rule.name, times=2)
    with pytest.raises(AssertionError, match=f"rule '{first.name}' has never spoken"):
        session.verify(all_rules_used=True)
    session.verify(no_unmatched=True)
    chat(session.url, messages=[{"role": "user", "content": "unheard of"}])
    with pytest.raises(AssertionError, match="call 3: rule: "):
        session.verify(no_unmatched=True)


def test_faults_are_put_and_taken_away(server):
    session = server.session("faulty")
    session.use_faults({"*": "status 503"})
    with pytest.raises(urllib.error.HTTPError):
        chat(session.url)
    session.use_faults(None)
    assert chat(session.url)["choices"]
    assert [call.fault for call in session.calls] == ["status 503", None]


@pytest.mark.parametrize(
    "conditions",
    [
        {"user": "Oslo"},
        {"user": {"re": "^weather in (Oslo|Rome)$"}},
        {"system": "Be brief", "tool": "get_weather"},
        {"any": "Be brief", "stream": False},
        {"json": {"temperature": 0.5}},
        {"header": {"x-team": "red"}},
    ],
)
def test_calls_are_found_by_what_they_asked(server, conditions):
    session = server.session("sought")
    session.reset()
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "weather in Oslo"}]
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
    body = json.dumps({"model": "m", "messages": messages, "tools": [tool], "temperature": 0.5}).encode()
    fields = {"content-type": "application/json", "x-team": "red"}
    urllib.request.urlopen(urllib.request.Request(f"{session.url}/v1/chat/completions", body, fields)).read()
    chat(session.url)
    (found,) = session.find(**conditions)
    assert found.request["json"]["temperature"] == 0.5
    session.verify(**conditions, times=1)


def test_a_response_is_found_by_its_text(server):
    session = server.session("responses")
    body = json.dumps({"model": "gpt-4o", "instructions": "Be brief.", "input": "weather in Oslo"}).encode()
    fields = {"content-type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{session.url}/v1/responses", body, fields)).read()
    session.verify(user="Oslo", system="brief", path="/v1/responses", times=1)


def test_a_script_and_a_seed_are_given_at_the_start(tmp_path):
    script = {"rules": [{"when": {"user": "hi"}, "answer": "Sunny."}], "seed": 7}
    path = tmp_path / "script.json"
    path.write_text(json.dumps(script))
    for given in (script, path, str(path)):
        with oaiserve.start("mock", script=given) as server:
            assert chat(server.url)["choices"][0]["message"]["content"] == "Sunny."
    with pytest.raises(oaiserve.UsageError, match="answr"):
        oaiserve.start("mock", script={"rules": [{"when": {"user": "hi"}, "answr": "Sunny."}]})


@pytest.mark.parametrize("clients", [1, 8, 64])
def test_a_seed_gives_the_same_bytes_however_many_clients_there_are(clients):
    """Ids are drawn for each request, and not in the order in which requests come."""
    asked = [
        {**CHAT, "messages": [{"role": "user", "content": f"number {n}"}], "stream": n % 2 == 1} for n in range(64)
    ]

    def ask(body, url):
        fields = {"content-type": "application/json"}
        request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), fields)
        with urllib.request.urlopen(request) as answer:
            return answer.read()

    with oaiserve.start("mock", seed=7, set={"mock.freeze": "yes"}) as server:
        expected = [ask(body, server.session("alone").url) for body in asked]
        url = server.session(f"with {clients}".replace(" ", "-")).url
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            assert list(pool.map(ask, asked, [url] * len(asked))) == expected
        assert len(set(expected)) == len(expected)


def test_other_names_are_no_attributes(server):
    assert not hasattr(server, "nothing") and not hasattr(server, "_ask")


# ---- pytest ---------------------------------------------------------------------------------------------------------

TEST_FILE = """
import json, os, urllib.request, pytest
@pytest.mark.parametrize("number", range({count}))
def test_own_calls_alone(oai, number):
    assert os.environ["OPENAI_BASE_URL"] == oai.url + "/v1" and os.environ["OPENAI_API_KEY"]
    for _ in range(3):
        body = json.dumps({{"model": "m%d" % number, "messages": [{{"role": "user", "content": "hi"}}]}}).encode()
        request = urllib.request.Request(oai.url + "/v1/chat/completions", body, {{"content-type": "application/json"}})
        urllib.request.urlopen(request).read()
    assert [call.model for call in oai.calls] == ["m%d" % number] * 3
    oai.verify(model="m%d" % number, times=3)
"""

FAILING_FILE = """
import urllib.request
def test_that_fails(oai):
    try:
        urllib.request.urlopen(oai.url + "/v1/no/such/path")
    except Exception:
        pass
    assert False
"""


def run_pytest(folder: pathlib.Path, text: str, **environment: str) -> subprocess.Popen[str]:
    folder.mkdir()
    (folder / "test_it.py").write_text(text)
    program = pathlib.Path(oaiserve.__file__)
    path = os.pathsep.join([str(program.parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "oaiserve", "-q", "--rootdir", ".", "test_it.py"], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": path, **environment},
    )  # fmt: skip


def test_the_plugin_starts_a_server(tmp_path):
    process = run_pytest(tmp_path / "t", TEST_FILE.format(count=3))
    output, _ = process.communicate()
    assert "3 passed" in output, output


def test_two_processes_share_a_server(tmp_path, server):
    processes = [
        run_pytest(tmp_path / name, TEST_FILE.format(count=20), OAISERVE_URL=server.url) for name in ("one", "other")
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert ["20 passed" in output for output in outputs] == [True, True], "\n".join(outputs)


def test_a_test_that_fails_shows_its_journal(tmp_path, server):
    output, _ = run_pytest(tmp_path / "t", FAILING_FILE, OAISERVE_URL=server.url).communicate()
    assert "oaiserve's journal" in output
    assert "1 GET /v1/no/such/path  -> 404  done  first " in output
