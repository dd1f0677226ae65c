"""Agents of the mock: sessions whose turns leave items, their events, environments, automations and vaults."""

from __future__ import annotations

import asyncio
import json
import time

import mocks
import pytest

from protocol.errors import ApiError

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
NOWHERE = {"type": "none"}
MOST_EVENTS = 100


def said(text):
    return {"type": "agent.session.input.message", "input": [message(text)]}


def message(text):
    return {"role": "user", "content": [{"type": "input_text", "text": text}]}


class Office:
    """A mock with a session of an agent, whose clock the test moves."""

    def __init__(self, text=None, settings=None, **body):
        self.clock = mocks.Clock()
        self.mock = mocks.make_mock(clock=self.clock, **(settings or {}))
        agent = {"model": "gpt-5", "tools": [WEATHER]}
        given = {} if text is None else {"input": text}
        self.session = self.ask("POST", "/agents/sessions", {"environment": NOWHERE, "agent": agent, **given, **body})
        self.path = f"/agents/sessions/{self.session['id']}"

    def ask(self, method, path, body=None):
        return mocks.ask(self.mock, method, f"/v1{path}", body)

    def send(self, *events):
        return mocks.respond(self.mock, "POST", f"/v1{self.path}/events", {"events": list(events)}).status

    def later(self, seconds=2.0):
        self.clock.now += seconds
        return self.ask("GET", self.path)

    def items(self, path=""):
        return self.ask("GET", f"{self.path}{path}/items?order=asc")["data"]

    def turns(self):
        return self.ask("GET", f"{self.path}/turns?order=asc")["data"]


def refused(call, *arguments):
    with pytest.raises(ApiError) as caught:
        call(*arguments)
    return caught.value


def result(action, **members):
    known = {"type": "agent.session.input.tool_result", "call_id": action["call_id"], "turn_id": action["turn_id"]}
    return {**known, "success": True, "output": "12 degrees", **members}


# ---- turns


def test_input_runs_a_turn_that_leaves_items():
    office = Office("Hello there")
    assert office.session["status"] == "in_progress"
    assert [turn["status"] for turn in office.turns()] == ["queued"]
    office.clock.now += 0.6
    assert [turn["status"] for turn in office.turns()] == ["in_progress"]
    session = office.later()
    assert session["status"] == "idle" and session["usage"]["total_tokens"] == 5
    (turn,) = office.turns()
    assert turn["status"] == "completed" and turn["started_at"] and turn["completed_at"]
    assert turn["agent_id"] == session["agent"]["id"]
    asked, answered = office.items()
    assert (asked["role"], asked["content"]) == ("user", [{"type": "input_text", "text": "Hello there"}])
    assert (answered["role"], answered["phase"]) == ("assistant", "final_answer")
    assert answered["content"] == [{"type": "output_text", "text": "powered by openai"}]


def test_a_session_without_input_is_idle():
    office = Office()
    assert office.session["status"] == "idle" and office.turns() == []


def test_items_belong_to_their_turns():
    office = Office("one")
    office.later()
    assert office.send(said("two")) == 202
    office.later()
    first, second = office.turns()
    texts = [item["content"][0]["text"] for item in office.items(f"/turns/{second['id']}")]
    assert texts == ["two", "powered by openai"]
    assert len(office.items()) == 4 and {item["turn_id"] for item in office.items()} == {first["id"], second["id"]}


def test_what_is_said_meanwhile_goes_to_the_turn_under_way():
    office = Office("one")
    office.send(said("two"))
    office.later()
    assert len(office.turns()) == 1 and len(office.items()) == 3


def test_functions_are_called_and_their_results_end_the_turn():
    office = Office("What is the weather in Oslo?")
    session = office.later()
    (action,) = session["required_actions"]
    assert (session["status"], office.turns()[0]["status"]) == ("requires_action", "waiting")
    assert (action["name"], action["arguments"]) == ("get_weather", {"city": "Oslo"})
    office.send(result(action))
    assert office.ask("GET", office.path)["status"] == "in_progress"
    assert office.later()["status"] == "idle"
    kinds = [(item["type"], item["status"]) for item in office.items()]
    assert kinds == [
        ("message", "completed"), ("function_call", "completed"), ("function_call_output", "completed"),
        ("message", "completed"),
    ]  # fmt: skip


def test_a_result_must_be_of_a_call_that_waits():
    office = Office("What is the weather in Oslo?")
    (action,) = office.later()["required_actions"]
    assert refused(office.send, result({**action, "call_id": "call_x"})).status == 400
    office.send(result(action, success=False, output=None, error="no signal"))
    assert office.items()[-1]["error"] == "no signal" and office.items()[-2]["status"] == "failed"
    assert refused(office.send, result(action)).status == 400


def test_a_cancelled_turn_says_nothing():
    office = Office("Hello")
    office.send({"type": "agent.session.input.cancel"})
    assert office.later()["status"] == "idle"
    assert [turn["status"] for turn in office.turns()] == ["cancelled"] and len(office.items()) == 1


def test_an_answer_takes_the_form_that_the_agent_has():
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    agent = {"model": "gpt-5", "text": {"format": {"type": "json_schema", "schema": schema}}}
    office = Office("Ann is 44 years old", agent=agent)
    office.later()
    assert json.loads(office.items()[-1]["content"][0]["text"]) == {"age": 44}


# ---- sessions and agents


def test_a_session_takes_a_saved_agent_over_and_changes_it():
    office = Office()
    agent = office.ask("POST", "/agents", {"model": "gpt-5", "name": "helper", "tools": [WEATHER]})
    assert agent["tools"][0]["defer_loading"] is False and agent["instructions"] is None
    body = {"environment": NOWHERE, "agent_id": agent["id"], "agent": {"model": "gpt-5-mini"}}
    session = office.ask("POST", "/agents/sessions", body)
    taken = session["agent"]
    assert (taken["id"], taken["name"], taken["model"]) == (agent["id"], "helper", "gpt-5-mini")
    listed = office.ask("GET", f"/agents/sessions?agent_id={agent['id']}")["data"]
    assert [one["id"] for one in listed] == [session["id"]]
    assert refused(office.ask, "POST", "/agents/sessions", {**body, "agent_id": "agent_0"}).status == 404


def test_a_change_of_a_session_leaves_the_rest_of_its_agent_alone():
    office = Office(spend_control={"limit": 5}, metadata={"a": "b"})
    body = {"agent": {"model": "gpt-5-mini"}, "spend_control": {"limit": None}}
    session = office.ask("POST", office.path, body)
    assert session["agent"] == {**office.session["agent"], "model": "gpt-5-mini"}
    assert "spend_control" not in session and session["metadata"] == {"a": "b"}
    assert len(office.ask("GET", "/agents/sessions?metadata[a]=b")["data"]) == 1
    assert office.ask("GET", "/agents/sessions?metadata[a]=c")["data"] == []


@pytest.mark.parametrize(
    "body, param",
    [
        ({}, "environment"),
        ({"environment": {"type": "moon"}}, "environment.type"),
        ({"environment": NOWHERE, "input": [{"role": "system", "content": []}]}, "input[0].role"),
    ],
)
def test_refuses_what_the_description_does_not_allow(body, param):
    error = refused(Office().ask, "POST", "/agents/sessions", body)
    assert (error.status, error.param) == (400, param)


@pytest.mark.parametrize(
    "body",
    [
        {"environment": 3, "agent": [], "input": {}},
        {"environment": {"type": "openai_hosted", "files": [3, {"path": 4, "data": 5}]}, "input": [{"content": 7}]},
        {"agent": {"tools": 5, "text": "x"}, "spend_control": 4, "metadata": 1, "vault_ids": 2, "input": "hi"},
    ],
)
def test_unchecked_bodies_break_nothing(body):
    office = Office(settings={"validate": "off"})
    session = office.ask("POST", "/agents/sessions", body)
    office.path = f"/agents/sessions/{session['id']}"
    assert office.later()["status"] == "idle"
    assert mocks.respond(office.mock, "POST", f"/v1{office.path}/events", {"events": 3}).status == 202


# ---- events


def test_a_streamed_session_tells_its_whole_turn():
    body = {"environment": NOWHERE, "agent": {"model": "gpt-5"}, "input": "Hello", "stream": True}
    response = mocks.respond(Office().mock, "POST", "/v1/agents/sessions", body)
    events = read_events(b"".join(response.body.frames))
    assert [event["type"].replace("agent.session.", "") for event in events] == [
        "created", "in_progress", "turn.created", "turn.item.added", "turn.in_progress", "turn.item.added",
        "turn.content_part.added", "turn.output_text.delta", "turn.output_text.delta", "turn.output_text.delta",
        "turn.output_text.done", "turn.content_part.done", "turn.item.done", "turn.completed", "idle",
    ]  # fmt: skip
    assert "".join(event.get("delta", "") for event in events) == "powered by openai"
    assert events[-1]["session"]["status"] == "idle" and events[-2]["turn"]["status"] == "completed"


def test_a_streamed_session_stays_open_until_its_functions_have_given_their_results():
    mock = mocks.make_mock()  # whose clock stands still
    body = {"environment": NOWHERE, "agent": {"model": "gpt-5", "tools": [WEATHER]}, "stream": True}

    async def listen():
        stream = mocks.respond(
            mock, "POST", "/v1/agents/sessions", {**body, "input": "What is the weather in Oslo?"}
        ).body
        events = []
        async for frame in stream:
            events += read_events(frame)
            if frame.startswith(b"event: agent.session.requires_action"):
                path = f"/v1/agents/sessions/{events[-1]['session']['id']}/events"
                action = events[-1]["session"]["required_actions"][0]
                mocks.respond(mock, "POST", path, {"events": [result(action)]})
        return events

    events = asyncio.run(listen())
    kinds = [event["type"].replace("agent.session.", "") for event in events]
    assert kinds.index("requires_action") < kinds.index("turn.output_text.delta") < kinds.index("turn.completed")
    assert (kinds[-1], events[-2]["turn"]["status"]) == ("idle", "completed")
    assert len({event["event_id"] for event in events}) == len(events)


def test_the_words_of_a_feed_come_at_a_pace_and_each_turn_has_its_first():
    clock = mocks.LateSleep()
    mock = mocks.make_mock(
        pace="p", find_pace=lambda name: mocks.pace_settings(first=2, between=0.5), clock=clock, sleep=clock.sleep
    )
    session = mocks.ask(mock, "POST", "/v1/agents/sessions", {"environment": NOWHERE, "agent": {"model": "gpt-5"}})
    path = f"/v1/agents/sessions/{session['id']}"

    async def listen():
        feed, turns = mocks.respond(mock, "GET", f"{path}/events").body, 0
        async for frame in feed:
            if frame.startswith((b":", b"event: agent.session.idle")):
                turns += 1
                if turns == 3:
                    break
                mocks.respond(mock, "POST", f"{path}/events", {"events": [said("Hi")]})
                clock.now += 60

    asyncio.run(listen())
    assert clock.slept == [2, 0.4, 0.4] * 2


def read_events(data):
    blocks = [block for block in data.decode().split("\n\n") if block and not block.startswith(":")]
    return [json.loads(block.partition("\ndata: ")[2]) for block in blocks]


def test_events_are_told_as_they_happen():
    mock = mocks.make_mock(clock=time.time, speed=100.0)
    session = mocks.ask(mock, "POST", "/v1/agents/sessions", {"environment": NOWHERE, "agent": {"tools": [WEATHER]}})
    path = f"/v1/agents/sessions/{session['id']}"

    def send(event):
        mocks.respond(mock, "POST", f"{path}/events", {"events": [event]})

    async def listen():
        stream = mocks.respond(mock, "GET", f"{path}/events").body
        assert (await stream.__anext__()).startswith(b":")
        send(said("What is the weather in Oslo?"))
        kinds = []
        async for frame in stream:
            (event,) = read_events(frame)
            kinds.append(event["type"])
            if event["type"] == "agent.session.requires_action":
                send(result(event["session"]["required_actions"][0]))
            if event["type"] == "agent.session.idle" or len(kinds) > MOST_EVENTS:
                break
        await stream.aclose()
        return kinds

    kinds = asyncio.run(listen())
    assert kinds[0] == "agent.session.in_progress" and kinds[-1] == "agent.session.idle"
    assert kinds.count("agent.session.turn.output_text.delta") == 3
    assert kinds.index("agent.session.requires_action") < kinds.index("agent.session.turn.completed")


def test_a_stream_of_events_ends_with_its_session():
    mock = mocks.make_mock(clock=time.time, speed=100.0)
    session = mocks.ask(mock, "POST", "/v1/agents/sessions", {"environment": NOWHERE, "input": "Hello"})
    path = f"/v1/agents/sessions/{session['id']}"

    async def listen():
        events = []
        async for frame in mocks.respond(mock, "GET", f"{path}/events").body:
            events += read_events(frame)
            if events and events[-1]["type"] == "agent.session.idle":
                asyncio.get_running_loop().call_soon(mocks.ask, mock, "DELETE", path)
        return events

    events = asyncio.run(listen())
    # Who comes in the middle of a turn hears what it has told so far.
    assert events[0]["type"] == "agent.session.in_progress" and events[-1]["type"] == "agent.session.idle"


# ---- environments


def test_files_of_an_environment_are_listed_with_their_sizes():
    office = Office()
    file = mocks.upload(office.mock, "a.txt", b"12345")
    given = [
        {"type": "inline", "path": "/work/a.txt", "data": "aGVsbG8="},
        {"type": "file_id", "path": "/work/b.txt", "file_id": file["id"]},
    ]
    session = office.ask("POST", "/agents/sessions", {"environment": {"type": "openai_hosted", "files": given}})
    environment = session["environment"]
    path = f"/agents/environments/{environment['id']}"
    assert office.ask("GET", path)["status"] == "pending"
    office.clock.now += 2
    assert office.ask("GET", path)["status"] == "ready"
    office.ask("POST", f"{path}/files", {"type": "inline", "path": "/tmp/c.txt", "data": "YQ=="})
    files = office.ask("GET", f"{path}/files?order=asc")["data"]
    assert [(one["path"], one["size_bytes"]) for one in files] == [
        ("/work/a.txt", 5), ("/work/b.txt", 5), ("/tmp/c.txt", 1),
    ]  # fmt: skip
    assert len(office.ask("GET", f"{path}/files?path=/work")["data"]) == 2


def test_pages_of_files_follow_one_another():
    office = Office()
    environment = office.ask("POST", "/agents/environments", {"environment": {"type": "openai_hosted"}})
    path = f"/agents/environments/{environment['id']}/files"
    for number in range(5):
        office.ask("POST", path, {"type": "inline", "path": f"/{number}", "data": ""})
    found, page = [], {"next_page": ""}
    for _ in range(3):
        page = office.ask("GET", f"{path}?order=asc&limit=2&page={page['next_page']}")
        found += [file["path"] for file in page["data"]]
    assert found == ["/0", "/1", "/2", "/3", "/4"] and page["next_page"] is None and not page["has_more"]


def test_an_environment_takes_its_template_over():
    office = Office()
    files = [{"type": "inline", "path": "/a", "data": "YQ=="}]
    body = {"name": "base", "files": files, "packages": {"npm": ["left-pad"]}}
    template = office.ask("POST", "/agents/environments/templates", body)
    assert template["files"] == [{"type": "inline", "path": "/a", "size_bytes": 1}]
    environment = {"type": "openai_hosted", "environment_template_id": template["id"]}
    session = office.ask("POST", "/agents/sessions", {"environment": environment})
    assert session["environment"]["packages"]["npm"] == ["left-pad"]
    assert session["environment"]["files"][0]["path"] == "/a"
    unknown = {"environment": {"type": "openai_hosted", "environment_template_id": "envt_0"}}
    assert refused(office.ask, "POST", "/agents/sessions", unknown).status == 404


# ---- automations


def automation(office, **body):
    target = {"type": "new_session", "environment": NOWHERE, "agent": {"model": "gpt-5"}, "input": [message("Hello")]}
    known = {"type": "periodic", "name": "daily", "expression": "0 9 * * *", "timezone": "UTC", "target": target}
    return office.ask("POST", "/agents/automations", {**known, **body})


def test_an_automation_pauses_and_resumes():
    office = Office()
    path = f"/agents/automations/{automation(office)['id']}"
    assert office.ask("POST", f"{path}/pause")["status"] == "paused"
    assert office.ask("GET", path)["status"] == "paused"
    assert office.ask("POST", f"{path}/resume")["status"] == "active"


def test_an_invocation_opens_a_session_and_asks_it():
    office = Office()
    path = f"/agents/automations/{automation(office)['id']}/invocations"
    invocation = office.ask("POST", path)
    assert (invocation["status"], invocation["source"]) == ("queued", {"type": "manual"})
    office.path = f"/agents/sessions/{invocation['session_id']}"
    assert office.later()["status"] == "idle" and len(office.items()) == 2
    assert office.ask("GET", f"{path}/{invocation['id']}")["status"] == "completed"


@pytest.mark.parametrize("is_paused", [False, True], ids=["active", "paused"])
def test_what_is_to_run_once_runs_when_its_time_has_come(is_paused):
    office = Office()
    target = {"type": "existing_session", "session_id": office.session["id"], "instructions": "Again"}
    made = automation(office, type="once", run_at=int(mocks.NOW) + 60, target=target)
    path = f"/agents/automations/{made['id']}"
    if is_paused:
        office.ask("POST", f"{path}/pause")
    office.later(61)
    invocations = office.ask("GET", f"{path}/invocations")["data"]
    assert [one["source"]["type"] for one in invocations] == ([] if is_paused else ["automation"])
    assert office.ask("GET", path)["status"] == ("paused" if is_paused else "completed")
    office.clock.now += 2
    assert len(office.items()) == (0 if is_paused else 2)


# ---- vaults


@pytest.mark.parametrize(
    "auth, changed, kept",
    [
        (
            {"type": "static_bearer", "token": "SECRET", "mcp_server_url": "https://mcp.example"},
            {"type": "static_bearer", "token": "SECRET-2"},
            {"mcp_server_url": "https://mcp.example"},
        ),
        (
            {"type": "environment_variable", "secret_name": "KEY", "secret_value": "SECRET",
             "networking": {"type": "limited", "allowed_hosts": ["a.example"]}},
            {"type": "environment_variable", "secret_value": "SECRET-2"},
            {"secret_name": "KEY", "networking": {"type": "limited", "allowed_hosts": ["a.example"]}},
        ),
        (
            {"type": "mcp_oauth", "access_token": "SECRET", "mcp_server_url": "https://mcp.example",
             "refresh": {"client_id": "c", "refresh_token": "SECRET", "token_endpoint": "https://t.example",
                         "token_endpoint_auth": {"type": "client_secret_basic", "client_secret": "SECRET"}}},
            {"type": "mcp_oauth", "refresh": {"refresh_token": "SECRET-2", "scope": "all"}},
            {"mcp_server_url": "https://mcp.example",
             "refresh": {"client_id": "c", "token_endpoint": "https://t.example", "scope": "all",
                         "token_endpoint_auth": {"type": "client_secret_basic"}}},
        ),
    ],
    ids=["bearer", "variable", "oauth"],
)  # fmt: skip
def test_credentials_never_show_their_secrets(auth, changed, kept):
    office = Office()
    vault = office.ask("POST", "/vaults", {"name": "keys"})
    path = f"/vaults/{vault['id']}/credentials"
    credential = office.ask("POST", path, {"name": "one", "auth": auth})
    updated = office.ask("POST", f"{path}/{credential['id']}", {"auth": changed})
    assert updated["auth"] == {"type": auth["type"], **kept}
    seen = [credential, updated, office.ask("GET", path), office.ask("GET", f"{path}/{credential['id']}")]
    assert "SECRET" not in json.dumps(seen)


def test_a_deleted_vault_takes_its_credentials_along():
    office = Office()
    vault = office.ask("POST", "/vaults", {})
    auth = {"type": "static_bearer", "token": "t", "mcp_server_url": "https://mcp.example"}
    credential = office.ask("POST", f"/vaults/{vault['id']}/credentials", {"name": "one", "auth": auth})
    deleted = office.ask("DELETE", f"/vaults/{vault['id']}")
    assert deleted == {"id": vault["id"], "object": "vault.deleted", "deleted": True}
    assert refused(office.ask, "GET", f"/vaults/{vault['id']}/credentials/{credential['id']}").status == 404


# ---- ids that nobody created


def test_invented_sessions_take_whatever_comes():
    office = Office(settings={"unknown_ids": "invent"})
    office.path = "/agents/sessions/asess_x"
    approval = {"request_id": "r", "response": {"decision": "approve", "type": "mcp_tool_call"}}
    assert office.send({"type": "agent.session.input.mcp_approval_request_result", **approval}) == 202
    assert office.send(result({"call_id": "c", "turn_id": "t"}), {"type": "agent.session.input.cancel"}) == 202
    assert office.send(said("Hello")) == 202
    assert office.later()["status"] == "idle" and len(office.items()) == 2
