"""What each family of endpoints makes of a script, over raw HTTP and WebSockets."""

from __future__ import annotations

import http.client
import json
import os
import socket

import pytest
from mocks import make_form
from scripted import ALL, Client, client_of, deltas

import oaiserve

TALK = {
    "turns": ["Who are you?", {"tools": [{"name": "lookup", "arguments": {"id": 1}}]}, "Found {{tool.result.name}}. Bye."],
}  # fmt: skip
LOOKUP = {"type": "function", "name": "lookup", "parameters": {"type": "object"}}
RESPONSES = "/v1/responses"


@pytest.fixture(scope="module")
def server():
    with oaiserve.start("mock") as server:
        yield server


@pytest.fixture
def client(server, request):
    client = client_of(server, request)
    yield client
    client.ask("DELETE", "/_oaiserve/session")


def texts(response):
    """Return the types of a response's items, each with its text or arguments."""
    told = []
    for item in response["output"]:
        content = (item.get("content") or item.get("summary") or [{}])[0]
        told.append((item["type"], content.get("text") or content.get("refusal") or item.get("arguments")))
    return told


# ---- Responses ------------------------------------------------------------------------------------------------------


def respond(client, input, **members):
    return client.ask("POST", RESPONSES, {"model": "gpt-4o", "input": input, **members})


def test_a_response_has_items_in_the_order_of_the_parts(client):
    client.script({"answer": ALL})
    response = respond(client, "x").json()
    assert texts(response) == [
        ("reasoning", "Let me think."), ("message", "Look now: "), ("function_call", '{"a": "b c"}'), ("message", "Done."),
    ]  # fmt: skip
    assert response["output"][2]["call_id"] == "call_7"
    usage = response["usage"]
    assert (usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"]) == (50, 20)
    assert usage["output_tokens_details"]["reasoning_tokens"] == 3
    streamed = respond(client, "x", stream=True).events
    assert streamed[-1]["type"] == "response.completed"
    assert texts(streamed[-1]["response"]) == texts(response)
    arguments = [event["delta"] for event in streamed if event["type"] == "response.function_call_arguments.delta"]
    assert "".join(arguments) == '{"a": "b c"}'


def test_a_response_refuses(client):
    client.script({"answer": {"refusal": "I will not."}})
    assert texts(respond(client, "x").json()) == [("message", "I will not.")]
    streamed = respond(client, "x", stream=True).events
    assert "".join(event["delta"] for event in streamed if event["type"] == "response.refusal.delta") == "I will not."
    assert [event["refusal"] for event in streamed if event["type"] == "response.refusal.done"] == ["I will not."]


@pytest.mark.parametrize("stream", [False, True])
def test_turns_go_through_a_chain_of_responses(client, stream):
    client.script(TALK)

    def ask(input, before=None):
        answer = respond(client, input, tools=[LOOKUP], previous_response_id=before, stream=stream)
        return answer.events[-1]["response"] if stream else answer.json()

    first = ask("Hi")
    assert texts(first) == [("message", "Who are you?")]
    for _ in range(2):  # a retry changes nothing
        second = ask("Me", first["id"])
        assert texts(second) == [("function_call", '{"id": 1}')]
    output = {"type": "function_call_output", "call_id": second["output"][0]["call_id"], "output": '{"name": "Ann"}'}
    third = ask([output], second["id"])
    assert texts(third) == [("message", "Found Ann. Bye.")]


def test_turns_go_through_a_conversation(client):
    client.script(TALK)
    conversation = client.ask("POST", "/v1/conversations", {}).json()["id"]
    assert texts(respond(client, "Hi", conversation=conversation).json()) == [("message", "Who are you?")]
    assert texts(respond(client, "Me", conversation=conversation).json()) == [("function_call", '{"id": 1}')]


def test_a_response_ends_as_it_is_told(client):
    client.script({"answer": {"text": "x", "finish": "length"}}, {"answer": "never"})
    response = respond(client, "x").json()
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert respond(client, "x", stream=True).events[-1]["type"] == "response.incomplete"


def test_a_response_is_an_error_or_a_whole_answer(client):
    client.script(
        {"when": {"user": "a"}, "answer": {"error": "rate_limit_exceeded"}},
        {"when": {"system": "brief", "any": {"not": "z"}}, "answer": {"raw": "data: {}\n\n"}},
    )
    assert respond(client, "a", stream=True).status == 429
    assert respond(client, "b", instructions="Be brief.", stream=True).text == "data: {}\n\n"


# ---- over WebSockets ------------------------------------------------------------------------------------------------


class Socket:
    """A client of a WebSocket (RFC 6455), blocking."""

    def __init__(self, client, path):
        self._socket = socket.create_connection(("127.0.0.1", client.server.port), timeout=60)
        head = (
            f"GET {client.session}{path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        )
        head += "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        self._socket.sendall(head.encode())
        self._data = b""
        while b"\r\n\r\n" not in self._data:
            self._more()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head

    def _more(self):
        data = self._socket.recv(65536)
        assert data, "the server has closed the connection"
        self._data += data

    def send(self, **message):
        payload = json.dumps(message).encode()
        assert len(payload) < 65536
        mask = os.urandom(4)
        size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
        self._socket.sendall(b"\x81" + size + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)))

    def receive(self):
        while len(self._data) < 10:
            self._more() if len(self._data) < 2 or self._data[1] > 125 else None
            if len(self._data) >= 2 and self._data[1] < 126:
                break
        size, at = self._data[1], 2
        if size > 125:
            at = 4 if size == 126 else 10
            while len(self._data) < at:
                self._more()
            size = int.from_bytes(self._data[2:at], "big")
        while len(self._data) < at + size:
            self._more()
        payload, self._data = self._data[at : at + size], self._data[at + size :]
        return json.loads(payload)

    def until(self, *types):
        """Return the first event of one of these types."""
        for _ in range(1000):
            event = self.receive()
            if event["type"] in types:
                return event
        raise AssertionError(f"none of {types} came")

    def close(self):
        self._socket.close()


def test_responses_over_a_websocket_are_scripted(client):
    client.script(
        {"when": {"user": "raw"}, "answer": {"raw": "x"}}, {"when": {"user": "no"}, "answer": {"error": 418}}, TALK
    )
    talk = Socket(client, RESPONSES)
    ends = ("response.completed", "error")
    talk.send(type="response.create", model="gpt-4o", input="Hi", store=False)
    first = talk.until(*ends)["response"]
    assert texts(first) == [("message", "Who are you?")]
    talk.send(type="response.create", model="gpt-4o", input="Me", previous_response_id=first["id"], store=False)
    assert texts(talk.until(*ends)["response"]) == [("function_call", '{"id": 1}')]
    talk.send(type="response.create", model="gpt-4o", input="no")
    assert talk.until(*ends)["status"] == 418
    talk.send(type="response.create", model="gpt-4o", input="raw")  # which cannot be told here
    assert texts(talk.until(*ends)["response"]) == [("message", "Who are you?")]
    talk.close()


def item(text):
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def test_realtime_sessions_are_scripted(client):
    client.script({"when": {"user": "no"}, "answer": {"error": "server_error"}}, TALK)
    talk = Socket(client, "/v1/realtime?model=gpt-realtime")
    talk.until("session.created")
    talk.send(type="session.update", session={"type": "realtime", "output_modalities": ["text"], "tools": [LOOKUP]})

    def ask(**item):
        talk.send(type="conversation.item.create", item=item)
        talk.send(type="response.create")
        return talk.until("response.done", "error")

    assert texts(ask(**item("Hi"))["response"]) == [("message", "Who are you?")]
    (call,) = ask(**item("Me"))["response"]["output"]
    assert (call["name"], call["arguments"]) == ("lookup", '{"id": 1}')
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": '{"name": "Ann"}'}
    assert texts(ask(**result)["response"]) == [("message", "Found Ann. Bye.")]
    assert ask(**item("no"))["error"]["code"] == "server_error"
    talk.close()


def test_a_realtime_response_has_its_parts_in_order(client):
    client.script(
        {"answer": {"parts": ["Look: ", {"name": "f"}, "Bye."], "finish": "length", "usage": {"input_tokens": 9}}}
    )
    talk = Socket(client, "/v1/realtime?model=gpt-realtime")
    talk.send(type="session.update", session={"type": "realtime", "output_modalities": ["text"]})
    talk.send(type="response.create")
    response = talk.until("response.done")["response"]
    assert texts(response) == [("message", "Look: "), ("function_call", "{}"), ("message", "Bye.")]
    assert (response["status"], response["usage"]["input_tokens"]) == ("incomplete", 9)
    talk.close()


# ---- completions, runs, DashScope -----------------------------------------------------------------------------------


def test_completions_are_scripted(client):
    client.script(
        {"when": {"user": "hi"}, "answer": {"text": "one two", "finish": "length", "usage": {"prompt_tokens": 7}}}
    )
    body = {"model": "gpt-3.5-turbo-instruct", "prompt": ["hi", "there"], "n": 2}
    answer = client.ask("POST", "/v1/completions", body).json()
    assert [(choice["text"], choice["finish_reason"]) for choice in answer["choices"]] == [("one two", "length")] * 4
    assert answer["usage"]["prompt_tokens"] == 7
    streamed = client.ask("POST", "/v1/completions", {**body, "stream": True, "n": 1, "prompt": "hi"}).events
    assert "".join(event["choices"][0]["text"] for event in streamed) == "one two"


def test_runs_are_scripted(client):
    client.script({"when": {"user": "no"}, "answer": {"error": "server_error"}}, {"when": {"endpoint": "runs"}, **TALK})
    assistant = client.ask("POST", "/v1/assistants", {"model": "gpt-4o"}).json()["id"]
    thread = client.ask("POST", "/v1/threads", {}).json()["id"]

    def say(text):
        client.ask("POST", f"/v1/threads/{thread}/messages", {"role": "user", "content": text})
        answer = client.ask("POST", f"/v1/threads/{thread}/runs", {"assistant_id": assistant, "stream": True})
        assert answer.status == 200, answer.text
        return [event for event in answer.events if event.get("object") == "thread.run"][-1]

    def last():
        (part,) = client.ask("GET", f"/v1/threads/{thread}/messages").json()["data"][0]["content"]
        return part["text"]["value"]

    assert (say("Hi")["status"], last()) == ("completed", "Who are you?")
    run = say("Me")
    (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert call["function"] == {"name": "lookup", "arguments": '{"id": 1}'}
    outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": '{"name": "Ann"}'}], "stream": True}
    client.ask("POST", f"/v1/threads/{thread}/runs/{run['id']}/submit_tool_outputs", outputs)
    assert last() == "Found Ann. Bye."
    failed = say("no")
    assert (failed["status"], "server" in failed["last_error"]["message"]) == ("failed", True)


@pytest.fixture
def streamed_run(client):
    """Return what asks for a run as a stream, with a fault."""
    assistant = client.ask("POST", "/v1/assistants", {"model": "gpt-4o"}).json()["id"]
    told = {"messages": [{"role": "user", "content": "Hi"}]}

    def ask(fault):
        asked = {"assistant_id": assistant, "thread": told, "stream": True}
        answer = client.ask("POST", "/v1/threads/runs", asked, x_oaiserve_fault=fault)
        return answer, client.ask("GET", "/_oaiserve/calls").json()["calls"][-1]

    return ask


def test_faults_count_the_words_of_runs_and_know_their_end(streamed_run):
    answer, call = streamed_run("cut after=2tok")
    kinds = [event["object"] for event in answer.events]
    assert kinds[-1] == "thread.message.delta" and kinds.count("thread.message.delta") == 2 and not call["notes"]
    answer, call = streamed_run("no-finish")
    runs = [event["status"] for event in answer.events if event["object"] == "thread.run"]
    assert runs == ["queued", "queued", "in_progress"] and not call["notes"]
    answer, call = streamed_run("no-usage")
    assert all(not event.get("usage") for event in answer.events) and not call["notes"]


@pytest.mark.parametrize("fault", ["filter", "refusal", "empty", "args-bad", "unknown-tool"])
def test_faults_of_meaning_are_not_for_what_is_kept(client, streamed_run, fault):
    """A thread tells later what a run has said: the two would not agree."""
    answer, call = streamed_run(fault)
    assert answer.events[-1]["status"] == "completed"
    assert call["fault"] is None and "a script can have it say this" in call["notes"][0]
    agent = {"environment": {"type": "none"}, "agent": {"model": "gpt-5"}, "input": "Hi", "stream": True}
    assert client.ask("POST", "/v1/agents/sessions", agent, x_oaiserve_fault=fault).status == 200
    call = client.ask("GET", "/_oaiserve/calls").json()["calls"][-1]
    assert call["fault"] is None and "a script can have it say this" in call["notes"][0]


def agent_tool(name):
    return {"type": "function", "name": name, "description": "A tool", "parameters": {"type": "object"}}


def test_agents_are_scripted(client):
    client.script(
        {"when": {"user": "no"}, "answer": {"error": "server_overloaded"}},
        {
            "when": {"user": "count"},
            "answer": {"text": "Counted.", "usage": {"prompt_tokens": 50, "cached_tokens": 20}},
        },
        {"when": {"endpoint": "agents", "system": "brief", "model": "gpt-5"}, **TALK},
    )
    agent = {"model": "gpt-5", "instructions": "Be brief.", "tools": [agent_tool("lookup")]}
    session = client.ask(
        "POST", "/v1/agents/sessions", {"environment": {"type": "none"}, "agent": agent, "input": "Hi", "stream": True}
    )
    assert session.headers["x-oaiserve-rule"] == "rule 3" and session.events[0]["session"]["object"] == "agent.session"
    path = f"/v1/agents/sessions/{session.events[0]['session']['id']}"

    def send(*events):
        assert client.ask("POST", f"{path}/events", {"events": list(events)}).status == 202
        client.ask("POST", "/_oaiserve/clock", {"advance": 5})
        return client.ask("GET", path).json()

    def say(text):
        content = [{"type": "input_text", "text": text}]
        return send({"type": "agent.session.input.message", "input": [{"role": "user", "content": content}]})

    def last(kind="items"):
        return client.ask("GET", f"{path}/{kind}?order=desc").json()["data"][0]

    assert last()["content"][0]["text"] == "Who are you?"
    (action,) = say("Me")["required_actions"]
    assert (action["name"], action["arguments"]) == ("lookup", {"id": 1})
    result = {"type": "agent.session.input.tool_result", "call_id": action["call_id"], "turn_id": action["turn_id"]}
    send({**result, "success": True, "output": '{"name": "Ann"}'})
    assert last()["content"][0]["text"] == "Found Ann. Bye."
    before = client.ask("GET", path).json()["usage"]
    after = say("count")["usage"]
    assert last("turns")["usage"]["input_tokens_details"] == {"cached_tokens": 20}
    assert after["input_tokens"] == before["input_tokens"] + 50
    say("no")
    assert (last("turns")["status"], last("turns")["error"]["code"]) == ("failed", "server_overloaded")
    assert [call["rule"] for call in client.ask("GET", "/_oaiserve/calls?status=202").json()["calls"]] == [
        "rule 3", "rule 3", "rule 2", "rule 1",
    ]  # fmt: skip


def test_an_agent_says_something_before_it_calls(client):
    client.script({"answer": ALL}, {"answer": "never"})
    agent = {"model": "gpt-5", "tools": [agent_tool("f")]}
    asked = {"environment": {"type": "none"}, "agent": agent, "input": "x"}
    session = client.ask("POST", "/v1/agents/sessions", asked).json()
    assert session["status"] == "in_progress"
    client.ask("POST", "/_oaiserve/clock", {"advance": 5})
    path = f"/v1/agents/sessions/{session['id']}"
    assert client.ask("GET", path).json()["status"] == "idle"  # a rule with reasoning does not fit
    client.script({"answer": {"parts": ["Look now.", {"name": "f", "arguments": "{", "id": "call_7"}]}})
    session = client.ask("POST", "/v1/agents/sessions", asked).json()
    client.ask("POST", "/_oaiserve/clock", {"advance": 5})
    path = f"/v1/agents/sessions/{session['id']}"
    (action,) = client.ask("GET", path).json()["required_actions"]
    assert (action["call_id"], action["arguments"]) == ("call_7", "{")
    said = client.ask("GET", f"{path}/items?order=asc").json()["data"][1]
    assert (said["phase"], said["content"][0]["text"]) == ("commentary", "Look now.")


def test_what_an_automation_asks_is_scripted(client):
    client.script({"when": {"endpoint": "agents", "user": "daily"}, "answer": "Done."})
    target = {
        "type": "new_session", "agent": {"model": "gpt-5"}, "environment": {"type": "none"},
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "daily work"}]}],
    }  # fmt: skip
    made = client.ask("POST", "/v1/agents/automations", {"type": "once", "name": "n", "run_at": 1, "target": target})
    assert made.status == 200, made.text
    client.ask("GET", f"/v1/agents/automations/{made.json()['id']}")
    client.ask("POST", "/_oaiserve/clock", {"advance": 5})
    (session,) = client.ask("GET", "/v1/agents/sessions").json()["data"]
    items = client.ask("GET", f"/v1/agents/sessions/{session['id']}/items?order=asc").json()["data"]
    assert [item["content"][0]["text"] for item in items] == ["daily work", "Done."]


NATIVE = "/api/v1/services/aigc/text-generation/generation"


def ask_native(client, text, stream=False, **parameters):
    fields = {"authorization": "Bearer sk-1", **({"x_dashscope_sse": "enable"} if stream else {})}
    messages = [{"role": "user", "content": text}]
    body = {
        "model": "qwen-plus",
        "input": {"messages": messages},
        "parameters": {"result_format": "message", **parameters},
    }
    return client.ask("POST", NATIVE, body, **fields)


def test_dashscopes_chat_is_scripted(client):
    client.script(
        {"when": {"user": "no"}, "answer": {"error": "rate_limit_exceeded"}},
        {"when": {"user": "raw"}, "answer": {"raw": "as it is"}},
        {"answer": ALL},
    )
    answer = ask_native(client, "x").json()
    (choice,) = answer["output"]["choices"]
    message = choice["message"]
    assert (message["content"], message["reasoning_content"]) == ("Look now: Done.", "Let me think.")
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": "b c"}'}
    assert (choice["finish_reason"], answer["usage"]["input_tokens"]) == ("tool_calls", 50)
    lines = [line for line in ask_native(client, "x", stream=True).text.split("\n") if line.startswith("data:")]
    last = json.loads(lines[-1].removeprefix("data:"))
    assert last["output"]["choices"][0]["finish_reason"] == "tool_calls"
    assert ask_native(client, "no").status == 429
    assert ask_native(client, "raw").text == "as it is"


# ---- what makes no words --------------------------------------------------------------------------------------------


def test_images_speech_and_vectors_are_errors_and_whole_answers(client):
    client.script(
        {"when": {"endpoint": "images", "user": "cat"}, "answer": {"raw": {"body": {"data": []}}}},
        {"when": {"endpoint": "speech"}, "answer": {"raw": {"b64": "AAE=", "headers": {"content-type": "audio/mpeg"}}}},
        {"when": {"endpoint": "embeddings", "user": "b"}, "answer": {"error": "context_length_exceeded"}},
        {"answer": "a text, which they cannot say"},
    )
    picture = client.ask("POST", "/v1/images/generations", {"model": "gpt-image-1", "prompt": "a cat"})
    assert picture.json() == {"data": []}
    speech = client.ask("POST", "/v1/audio/speech", {"model": "tts-1", "voice": "alloy", "input": "Hello"})
    assert (speech.text.encode(), speech.headers["content-type"]) == (b"\x00\x01", "audio/mpeg")
    body = {"model": "text-embedding-3-small", "input": ["a", "b"]}
    assert client.ask("POST", "/v1/embeddings", body).json()["error"]["code"] == "context_length_exceeded"
    assert client.ask("POST", "/v1/embeddings", {**body, "input": "a"}).status == 200


def test_a_transcript_says_the_text(client):
    client.script({"when": {"json": {"language": "en"}}, "answer": "Heard in {{json.language}}."})
    form = make_form(("model", "gpt-4o-transcribe"), ("language", "en"), ("file", "a.mp3", b"ID3" + bytes(100)))
    answer = client.ask("POST", "/v1/audio/transcriptions", form[0], content_type=form[1][0][1])
    assert answer.json()["text"] == "Heard in en."


# ---- another backend ------------------------------------------------------------------------------------------------


def test_a_rule_may_let_another_backend_answer():
    with oaiserve.start("mock", set={"mock.text": "the real one"}) as real:
        with oaiserve.start("mock", set={"relay.base_url": real.url, "routes.spied*": "relay"}) as front:
            client = Client(front, "/s/spy")
            client.script({"when": {"user": "real"}, "answer": {"route": "relay"}}, {"answer": "the script"})
            for stream in (False, True):
                answer = client.chat("be real", stream=stream)
                text = deltas(answer) if stream else answer.json()["choices"][0]["message"]["content"]
                assert text == "the real one"
            assert client.chat("hello").json()["choices"][0]["message"]["content"] == "the script"
            calls = client.ask("GET", "/_oaiserve/calls").json()["calls"]
            assert [call["rule"] for call in calls] == ["rule 1", "rule 1", "rule 2"]
            refused = client.ask("PUT", "/_oaiserve/script", {"rules": [{"answer": {"route": "rely"}}]})
            assert refused.json()["error"]["message"] == 'rule 1: there is no backend "rely"; did you mean "relay"?'


# ---- the seven rules of a tester's day -------------------------------------------------------------------------------

RULES = [
    {"name": "after", "when": {"after_tool": "get_weather"}, "answer": "It is {{tool.result.celsius}} degrees."},
    {
        "name": "call", "when": {"tool": "get_weather", "user": "weather"},
        "answer": {"tools": [{"name": "get_weather", "arguments": {"city": "Oslo"}}]},
    },
    {"name": "flaky", "when": {"user": "weather"}, "fault": "status 503 retry-after=1 first 2", "answer": "Sunny."},
    {
        "name": "stalls", "when": {"model": "slow-*", "stream": True}, "answer": "one two three four five",
        "fault": "stall after=3tok for=30s",
    },
    {"name": "broke", "when": {"key": "broke"}, "answer": {"error": "insufficient_quota"}},
    {"name": "echo", "when": {"user": {"re": "^say (.+)$"}}, "answer": "{{model}} heard: {{match.1}}"},
    {"name": "talk", **TALK},
]  # fmt: skip


class Chats:
    """A talk with the seven rules, as chats: each request has all that was said."""

    def __init__(self, client, stream):
        self._client = client
        self._stream = stream
        self._said = []

    def ask(self, said, tool="", model="gpt-4o", key="k"):
        """Return the status, and the text or the call's name and arguments; `said` goes on from what was said."""
        self._said.append({"role": "user", "content": said} if isinstance(said, str) else said)
        body = {"model": model, "messages": self._said, "stream": self._stream}
        if tool:
            body["tools"] = [{"type": "function", "function": {"name": tool, "parameters": {"type": "object"}}}]
        answer = self._client.ask("POST", "/v1/chat/completions", body, authorization=f"Bearer {key}")
        if answer.status != 200:
            return answer.status, answer.json()["error"]["code"]
        if not self._stream:
            message = answer.json()["choices"][0]["message"]
        else:
            told = [event["choices"][0]["delta"] for event in answer.events]
            calls = [call for delta in told for call in delta.get("tool_calls") or ()]
            arguments = "".join(call["function"].get("arguments") or "" for call in calls)
            first = [{**calls[0], "function": {**calls[0]["function"], "arguments": arguments}}] if calls else None
            message = {"role": "assistant", "content": deltas(answer) or None, "tool_calls": first}
        self._said.append({name: value for name, value in message.items() if value})
        return 200, message["content"] or tuple(message["tool_calls"][0]["function"].values())

    def give(self, output, tool=""):
        """Give back what the tool that was called last has found."""
        id = self._said[-1]["tool_calls"][0]["id"]
        return self.ask({"role": "tool", "tool_call_id": id, "content": output}, tool)


class Chain:
    """The same as a chain of responses: each request has what is new."""

    def __init__(self, client, stream):
        self._client = client
        self._stream = stream
        self._last = {}

    def ask(self, said, tool="", model="gpt-4o", key="k"):
        before = self._last.get("id")
        body = {"model": model, "input": said, "stream": self._stream, "previous_response_id": before}
        if tool:
            body["tools"] = [{"type": "function", "name": tool, "parameters": {"type": "object"}}]
        answer = self._client.ask("POST", RESPONSES, body, authorization=f"Bearer {key}")
        if answer.status != 200:
            return answer.status, answer.json()["error"]["code"]
        self._last = answer.events[-1]["response"] if self._stream else answer.json()
        ((kind, told),) = texts(self._last)
        return 200, told if kind == "message" else (self._last["output"][0]["name"], told)

    def give(self, output, tool=""):
        call_id = self._last["output"][0]["call_id"]
        return self.ask([{"type": "function_call_output", "call_id": call_id, "output": output}], tool)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("Talk", [Chats, Chain])
def test_the_seven_rules(client, Talk, stream):
    assert client.script(*RULES)["warnings"] == []
    assert [Talk(client, stream).ask("weather?") for _ in range(3)] == [(503, None), (503, None), (200, "Sunny.")]
    talk = Talk(client, stream)
    assert talk.ask("weather in Oslo?", "get_weather") == (200, ("get_weather", '{"city": "Oslo"}'))
    assert talk.give('{"celsius": 7}', "get_weather") == (200, "It is 7 degrees.")
    assert Talk(client, stream).ask("x", key="broke") == (429, "insufficient_quota")
    assert Talk(client, stream).ask("say hi there") == (200, "gpt-4o heard: hi there")
    talk = Talk(client, stream)
    assert talk.ask("Hi") == (200, "Who are you?")
    assert talk.ask("Me", "lookup") == (200, ("lookup", '{"id": 1}'))
    assert talk.give('{"name": "Ann"}', "lookup") == (200, "Found Ann. Bye.")
    used = {rule["name"]: rule["used"] for rule in client.ask("GET", "/_oaiserve/script").json()["rules"]}
    assert used == {"after": 1, "call": 1, "flaky": 3, "stalls": 0, "broke": 1, "echo": 1, "talk": 3}


@pytest.mark.parametrize("path", ["/v1/chat/completions", RESPONSES])
def test_a_stream_that_stalls_goes_on_when_the_time_has_come(client, path):
    client.script(*RULES)
    body = {"model": "slow-1", "stream": True, "input": "x", "messages": [{"role": "user", "content": "x"}]}
    del body["input" if path.endswith("completions") else "messages"]
    connection = http.client.HTTPConnection("127.0.0.1", client.server.port, timeout=60)
    connection.request("POST", client.session + path, json.dumps(body), {"content-type": "application/json"})
    answer, text = connection.getresponse(), ""
    while "three " not in text:
        text += answer.read1().decode()
    assert "four " not in text
    client.ask("POST", "/_oaiserve/clock", {"advance": 30})
    text += answer.read().decode()
    assert "four " in text and ("[DONE]" in text or "response.completed" in text)
    connection.close()
