"""Assistants, threads, runs and ChatKit of the mock: what one request makes, the next ones find."""

from __future__ import annotations

import json

import mocks
import pytest

from protocol.budget import work_with_pauses
from protocol.errors import ApiError

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TIME = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "Get the time in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Desk:
    """A mock with an assistant and a thread, whose clock the test moves."""

    def __init__(self, prompt="Tell me a joke", tools=(), settings=None, thread=None, **assistant):
        self.clock = mocks.Clock()
        self.mock = mocks.make_mock(clock=self.clock, **(settings or {}))
        self.assistant = self.ask("POST", "/assistants", {"model": "gpt-4o", "tools": list(tools), **assistant})
        messages = [{"role": "user", "content": prompt}] if prompt else []
        self.thread = self.ask("POST", "/threads", {"messages": messages, **(thread or {})})
        self.path = f"/threads/{self.thread['id']}"

    def ask(self, method, path, body=None):
        return mocks.ask(self.mock, method, f"/v1{path}", body)

    def run(self, **body):
        made = self.ask("POST", f"{self.path}/runs", {"assistant_id": self.assistant["id"], **body})
        self.run_path = f"{self.path}/runs/{made['id']}"
        return made

    def later(self, seconds=2.0):
        self.clock.now += seconds
        return self.ask("GET", self.run_path)

    def messages(self, query=""):
        return self.ask("GET", f"{self.path}/messages?order=asc{query}")["data"]

    def texts(self):
        return [message["content"][0]["text"]["value"] for message in self.messages()]

    def steps(self, query=""):
        return self.ask("GET", f"{self.run_path}/steps?order=asc{query}")["data"]

    def submit(self, run, *outputs, **body):
        calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        given = [{"tool_call_id": call["id"], "output": output} for call, output in zip(calls, outputs)]
        return self.ask("POST", f"{self.run_path}/submit_tool_outputs", {"tool_outputs": given, **body})

    def stream(self, path, body):
        response = mocks.respond(self.mock, "POST", f"/v1{path}", {**body, "stream": True})
        return read_events(b"".join(response.body.frames).decode())


def read_events(text):
    events = []
    for block in text.split("\n\n")[:-1]:
        event, data = block.split("\n")
        events.append((event[len("event: ") :], data[len("data: ") :]))
    assert events.pop() == ("done", "[DONE]")
    return [(event, json.loads(data)) for event, data in events]


def refused(call, *arguments, **named):
    with pytest.raises(ApiError) as caught:
        call(*arguments, **named)
    return caught.value


# ---- assistants and messages


def test_an_assistant_says_what_its_request_left_out():
    assistant = Desk(name="helper", temperature=0.5).assistant
    assert assistant["id"].startswith("asst_")
    assert (assistant["name"], assistant["description"], assistant["instructions"]) == ("helper", None, None)
    assert (assistant["temperature"], assistant["top_p"], assistant["response_format"]) == (0.5, 1.0, "auto")
    assert (assistant["tools"], assistant["tool_resources"], assistant["metadata"]) == ([], {}, {})


def test_text_becomes_a_part_with_annotations():
    desk = Desk("Hello")
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    content = [{"type": "text", "text": "Look"}, image]
    message = desk.ask("POST", f"{desk.path}/messages", {"role": "user", "content": content})
    assert message["content"] == [{"type": "text", "text": {"value": "Look", "annotations": []}}, image]
    assert message["thread_id"] == desk.thread["id"] and message["run_id"] is None and message["attachments"] == []
    assert desk.texts() == ["Hello", "Look"]


@pytest.mark.parametrize(
    "path, body, param",
    [
        ("/assistants", {}, "model"),
        ("/assistants", {"model": "gpt-4o", "tools": [{"type": "magic"}]}, "tools[0].type"),
        ("/threads", {"messages": [{"role": "user"}]}, "messages[0].content"),
        ("/threads/runs", {}, "assistant_id"),
        ("/threads/runs", {"assistant_id": "asst_1", "temperature": 3}, "temperature"),
        ("/chatkit/sessions", {"user": "u"}, "workflow"),
    ],
)
def test_refuses_what_the_description_does_not_allow(path, body, param):
    error = refused(Desk().ask, "POST", path, body)
    assert (error.status, error.param) == (400, param)


@pytest.mark.parametrize(
    "body",
    [
        {"assistant_id": 3, "thread": 5, "tools": "x", "instructions": 7},
        {"assistant_id": None, "thread": {"messages": [3, {"content": 4}, {"content": [{"type": "text"}]}]}},
        {"tool_choice": {"type": "function"}, "additional_messages": 3, "response_format": {"type": "json_schema"}},
    ],
)
def test_unchecked_bodies_break_nothing(body):
    desk = Desk(settings={"validate": "off", "unknown_ids": "invent"})
    run = desk.ask("POST", "/threads/runs", body)
    desk.ask("POST", f"{desk.path}/runs", body)
    desk.clock.now += 2
    assert desk.ask("GET", f"/threads/{run['thread_id']}/runs/{run['id']}")["status"] in ("completed", "failed")


def test_a_vector_store_is_made_along_with_a_thread():
    desk = Desk(thread={"tool_resources": {"file_search": {"vector_stores": [{"file_ids": []}]}}})
    (store_id,) = desk.thread["tool_resources"]["file_search"]["vector_store_ids"]
    assert desk.ask("GET", f"/vector_stores/{store_id}")["id"] == store_id


# ---- runs


def test_a_run_goes_through_its_life_cycle_and_leaves_a_message():
    desk = Desk(instructions="Be brief.")
    run = desk.run(additional_instructions="Be kind.", metadata={"a": "b"})
    assert (run["status"], run["model"], run["instructions"]) == ("queued", "gpt-4o", "Be brief. Be kind.")
    assert run["expires_at"] == run["created_at"] + 600 and run["usage"] is None
    assert desk.later(0.6)["status"] == "in_progress" and len(desk.messages()) == 1
    run = desk.later(1)
    assert run["status"] == "completed" and run["completed_at"] and run["expires_at"] is None
    assert run["usage"] == {"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11}
    assert desk.texts() == ["Tell me a joke", "powered by openai"]
    (step,) = desk.steps()
    (message,) = desk.messages(f"&run_id={run['id']}")
    assert step["type"] == "message_creation" and step["status"] == "completed"
    assert step["step_details"]["message_creation"]["message_id"] == message["id"]
    assert message["assistant_id"] == desk.assistant["id"] and message["status"] == "completed"


def test_the_message_is_there_when_it_is_due_though_nobody_looked_at_the_run():
    desk = Desk()
    desk.run()
    desk.clock.now += 5
    assert desk.texts()[-1] == "powered by openai"


def test_a_client_is_told_how_soon_to_poll():
    desk = Desk(settings={"speed": 10.0})
    desk.run()
    response = mocks.respond(desk.mock, "GET", f"/v1{desk.run_path}")
    assert b"openai-poll-after-ms: 50\r\n" in response.fields
    desk.later()
    assert b"poll" not in mocks.respond(desk.mock, "GET", f"/v1{desk.run_path}").fields


def parts_of(count):
    """Return a content of so many parts of 200,000 characters, which are 40,000 words."""
    return [{"type": "text", "text": "word " * 40_000}] * count


def test_a_run_reads_the_newest_messages_of_a_thread_that_is_too_long_and_no_message_that_is():
    desk = Desk(thread={"messages": [{"role": "user", "content": parts_of(2)} for _ in range(5)]}, instructions="")
    desk.run()
    assert desk.later()["usage"]["prompt_tokens"] == 4 * 40_000  # two messages have room
    desk = Desk(thread={"messages": [{"role": "user", "content": parts_of(6)}]})
    desk.run()
    failed = desk.later()
    assert (failed["status"], failed["last_error"]["code"]) == ("failed", "invalid_prompt")


def test_others_have_turns_while_a_thread_of_many_messages_is_made():
    desk = Desk()
    body = {"messages": [{"role": "user", "content": "Hello"}] * 2_000}
    request = mocks.make_request("POST", "/v1/threads", body)
    pauses = []
    work_with_pauses(lambda: pauses.append(1), lambda: desk.mock.endpoint(request).answer(request))
    assert len(pauses) >= 2_000 * 50 // 5_000


def test_functions_are_called_and_their_results_end_the_loop():
    desk = Desk("What is the weather in Oslo and what time is it in Rome?", [WEATHER, TIME])
    desk.run()
    run = desk.later()
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert run["status"] == "requires_action"
    assert [call["function"] for call in calls] == [
        {"name": "get_weather", "arguments": '{"city": "Oslo"}'},
        {"name": "get_time", "arguments": '{"city": "Rome"}'},
    ]
    assert desk.steps()[0]["status"] == "in_progress"
    run = desk.submit(run, "12 degrees", "noon")
    assert (run["status"], run["required_action"]) == ("queued", None)
    assert desk.later()["status"] == "completed"
    first, second = desk.steps()
    assert [call["function"]["output"] for call in first["step_details"]["tool_calls"]] == ["12 degrees", "noon"]
    assert (first["status"], second["type"]) == ("completed", "message_creation")


def test_calls_come_one_by_one_where_they_must_not_be_parallel():
    desk = Desk("What is the weather in Oslo and what time is it in Rome?", [WEATHER, TIME])
    desk.run(parallel_tool_calls=False)
    names = []
    while (run := desk.later())["status"] == "requires_action":
        names += [call["function"]["name"] for call in run["required_action"]["submit_tool_outputs"]["tool_calls"]]
        desk.submit(run, "fine")
    assert names == ["get_weather", "get_time"] and run["status"] == "completed"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_choice_that_demands_a_call_demands_it_once(choice):
    desk = Desk("Hello", [WEATHER])
    desk.run(tool_choice=choice)
    run = desk.later()
    assert run["status"] == "requires_action"
    desk.submit(run, "rain")
    assert desk.later()["status"] == "completed"


def test_outputs_must_be_those_of_the_calls():
    desk = Desk("What is the weather in Oslo?", [WEATHER])
    desk.run()
    run = desk.later()
    error = refused(desk.submit, run)
    assert error.message.startswith("Expected tool outputs for call_ids ['call_") and error.message.endswith("got []")
    desk.submit(run, "rain")
    desk.later()
    assert refused(desk.submit, run, "rain").message == 'Runs in status "completed" do not accept tool outputs.'


def test_a_thread_has_one_active_run_and_waits_with_messages():
    desk = Desk()
    run = desk.run()
    thread_id = desk.thread["id"]
    assert refused(desk.run).message == f"Thread {thread_id} already has an active run {run['id']}."
    message = {"role": "user", "content": "x"}
    error = refused(desk.ask, "POST", f"{desk.path}/messages", message)
    assert error.message == f"Can't add messages to {thread_id} while a run {run['id']} is active."
    desk.later()
    desk.run(additional_messages=[message])
    assert desk.texts()[-1] == "x"


def test_a_cancelled_run_says_nothing():
    desk = Desk()
    desk.run()
    assert desk.ask("POST", f"{desk.run_path}/cancel")["status"] == "cancelling"
    run = desk.later()
    assert (run["status"], len(desk.messages())) == ("cancelled", 1) and run["cancelled_at"]
    assert refused(desk.ask, "POST", f"{desk.run_path}/cancel").message == "Cannot cancel run with status 'cancelled'."


def test_a_run_that_nobody_answers_expires():
    desk = Desk("What is the weather in Oslo?", [WEATHER])
    desk.run()
    assert desk.later()["status"] == "requires_action"
    run = desk.later(600)
    assert (run["status"], run["required_action"]) == ("expired", None)
    assert desk.steps()[0]["status"] == "expired"


def test_an_answer_that_is_too_long_is_incomplete():
    desk = Desk(settings={"text": "word " * 300})
    desk.run(max_completion_tokens=256)
    run = desk.later()
    assert (run["status"], run["incomplete_details"]) == ("incomplete", {"reason": "max_completion_tokens"})
    message = desk.messages()[-1]
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": "max_tokens"})
    assert len(desk.texts()[-1].split()) == 256


def test_an_answer_takes_the_form_that_is_asked_for():
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    desk = Desk("Ann is 44 years old", response_format=form)
    desk.run()
    desk.later()
    assert json.loads(desk.texts()[-1]) == {"age": 44}


def test_a_schema_that_nothing_satisfies_fails_the_run():
    schema = {"type": "integer", "minimum": 2, "maximum": 1}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    desk = Desk()
    desk.run(response_format=form)
    run = desk.later()
    assert (run["status"], run["last_error"]["code"]) == ("failed", "invalid_prompt") and run["failed_at"]


def test_a_file_search_cites_what_it_found():
    desk = Desk("Where did the Saturn rocket go?", [{"type": "file_search"}])
    file = mocks.upload(desk.mock, "space.txt", b"The Saturn rocket took astronauts to the moon.")
    store = desk.ask("POST", "/vector_stores", {"file_ids": [file["id"]]})
    desk.clock.now += 2
    desk.ask("POST", desk.path, {"tool_resources": {"file_search": {"vector_store_ids": [store["id"]]}}})
    desk.run()
    assert desk.later()["status"] == "completed"
    search, _ = desk.steps()
    (result,) = search["step_details"]["tool_calls"][0]["file_search"]["results"]
    assert (result["file_id"], result["file_name"], result["content"]) == (file["id"], "space.txt", None)
    step = desk.steps("&include[]=step_details.tool_calls[*].file_search.results[*].content")[0]
    (call,) = step["step_details"]["tool_calls"]
    assert "moon" in call["file_search"]["results"][0]["content"][0]["text"]
    text = desk.messages()[-1]["content"][0]["text"]
    (citation,) = text["annotations"]
    assert text["value"][citation["start_index"] : citation["end_index"]] == citation["text"] == "【0†space.txt】"
    assert citation["file_citation"] == {"file_id": file["id"]}


@pytest.mark.parametrize("path", ["assistants/asst_0", "threads/thread_0", "threads/thread_0/runs"])
def test_what_nobody_created_is_not_found(path):
    assert refused(Desk().ask, "GET", f"/{path}").status == 404


def test_a_deleted_thread_takes_its_messages_along():
    desk = Desk()
    desk.run()
    assert desk.ask("DELETE", desk.path)["object"] == "thread.deleted"
    assert refused(desk.messages).status == 404


# ---- streams


def test_a_stream_tells_the_whole_life_of_a_run():
    desk = Desk()
    events = desk.stream(f"{desk.path}/runs", {"assistant_id": desk.assistant["id"]})
    assert [event for event, _ in events] == [
        "thread.run.created", "thread.run.queued", "thread.run.in_progress", "thread.run.step.created",
        "thread.run.step.in_progress", "thread.message.created", "thread.message.in_progress", "thread.message.delta",
        "thread.message.delta", "thread.message.delta", "thread.message.completed", "thread.run.step.completed",
        "thread.run.completed",
    ]  # fmt: skip
    deltas = [data["delta"]["content"][0] for event, data in events if event == "thread.message.delta"]
    assert [delta["text"]["value"] for delta in deltas] == ["powered ", "by ", "openai"]
    assert deltas[0]["text"]["annotations"] == [] and "annotations" not in deltas[1]["text"]
    assert dict(events)["thread.message.created"]["content"] == []
    desk.run_path = f"{desk.path}/runs/{events[-1][1]['id']}"
    assert desk.later(0) == events[-1][1] and desk.texts()[-1] == "powered by openai"


def test_a_stream_stops_for_functions_and_goes_on_with_their_results():
    desk = Desk(None, [WEATHER])
    thread = {"messages": [{"role": "user", "content": "What is the weather in Oslo?"}]}
    events = desk.stream("/threads/runs", {"assistant_id": desk.assistant["id"], "thread": thread})
    assert events[0][0] == "thread.created" and events[-1][0] == "thread.run.requires_action"
    deltas = [data["delta"]["step_details"]["tool_calls"][0] for event, data in events if event.endswith("step.delta")]
    assert deltas[0]["id"].startswith("call_") and deltas[0]["function"]["name"] == "get_weather"
    assert "".join(delta["function"]["arguments"] for delta in deltas) == '{"city": "Oslo"}'
    run = events[-1][1]
    path = f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
    events = desk.stream(path, {"tool_outputs": [{"tool_call_id": deltas[0]["id"], "output": "rain"}]})
    assert [event for event, _ in events][:2] == ["thread.run.step.completed", "thread.run.queued"]
    assert events[-1][0] == "thread.run.completed"


def test_a_streams_words_come_at_their_pace():
    desk = Desk(settings={"delay": 0.5, "first_delay": 2.0})
    response = mocks.respond(
        desk.mock, "POST", f"/v1{desk.path}/runs", {"assistant_id": desk.assistant["id"], "stream": True}
    )
    assert (response.body.first_delay, response.body.delay) == (2.0, 0.5)
    frames = response.body.frames
    assert [frame.count(b".delta\n") for frame in frames] == [1, 1, 1, 0] and frames[-1].endswith(b"[DONE]\n\n")


def test_the_same_scenario_is_the_same_when_frozen():
    def scenario():
        desk = Desk("What is the weather in Oslo?", [WEATHER], settings={"freeze": True})
        desk.run()
        desk.submit(desk.later(), "rain")
        return [desk.later(), desk.messages(), desk.steps()]

    assert scenario() == scenario()


# ---- ids that nobody created


def test_invented_threads_and_runs_take_whatever_comes():
    desk = Desk(settings={"unknown_ids": "invent"})
    for _ in range(2):
        assert desk.ask("POST", "/threads/thread_x/runs", {"assistant_id": "asst_x"})["thread_id"] == "thread_x"
    run = "/threads/thread_x/runs/run_x"
    assert desk.ask("POST", f"{run}/submit_tool_outputs", {"tool_outputs": []})["id"] == "run_x"
    assert desk.stream(f"{run}/submit_tool_outputs", {"tool_outputs": []}) == []
    assert desk.ask("POST", f"{run}/cancel")["status"] == "cancelling"


# ---- ChatKit


def test_a_chatkit_session_has_a_secret_and_expires():
    desk = Desk()
    body = {"user": "ann", "workflow": {"id": "wf_1"}, "expires_after": {"anchor": "created_at", "seconds": 60}}
    session = desk.ask("POST", "/chatkit/sessions", body)
    assert session["client_secret"].startswith("ek_") and session["status"] == "active"
    assert session["workflow"] == {"id": "wf_1", "state_variables": None, "tracing": {"enabled": True}, "version": None}
    assert session["chatkit_configuration"]["history"] == {"enabled": True, "recent_threads": None}
    desk.clock.now += 61
    assert desk.ask("POST", f"/chatkit/sessions/{session['id']}/cancel")["status"] == "cancelled"


def test_a_chatkit_session_leaves_a_thread_with_a_greeting():
    desk = Desk()
    for user in ("ann", "bob"):
        desk.ask("POST", "/chatkit/sessions", {"user": user, "workflow": {"id": "wf_1"}})
    (thread,) = desk.ask("GET", "/chatkit/threads?user=ann")["data"]
    (item,) = desk.ask("GET", f"/chatkit/threads/{thread['id']}/items")["data"]
    assert item["type"] == "chatkit.assistant_message" and item["content"][0]["text"] == "powered by openai"
    assert desk.ask("DELETE", f"/chatkit/threads/{thread['id']}")["deleted"] is True
    assert desk.ask("GET", "/chatkit/threads?user=ann")["data"] == []
