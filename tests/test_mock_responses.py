"""The mock's Responses API: shapes, the order of events, what is remembered, tools and loops that end."""

from __future__ import annotations

import asyncio
import base64
import json
import random

import pytest
from json_schemas import violations
from mocks import load_all, mock_settings, world_of

from protocol.errors import ApiError
from protocol.exchange import Paced, Request, Response
from protocol.mock.backend import Mock
from protocol.mock.media.picture import read_picture_head
from protocol.mock.responses.events import response_frames
from protocol.mock.responses.program import program_for
from protocol.mock.responses.responses import Responses
from protocol.wire.http1.readers import RequestReader

TEXT = "powered by openai"
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
EMAIL = {
    "type": "function",
    "name": "send_email",
    "description": "Send an email",
    "parameters": {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
}
TWO_TOOLS_PROMPT = "What is the weather in Oslo? Then send an email to bob@example.com."


class Server:
    """A mock behind its endpoints, with a clock that goes when somebody sleeps or the test says so."""

    def __init__(self, **settings):
        self.seconds = 1700000000.0
        made = mock_settings(**{"text": TEXT, "max_stored": 1 << 28, **settings})
        bits = random.Random(7).getrandbits
        load_all()
        self.backend = Mock("mock", made, clock=lambda: self.seconds, random_bits=bits, sleep=self.sleep, forward=None)

    async def sleep(self, seconds):
        self.seconds += max(seconds, 0.001)

    def send(self, method, path, body=None):
        head = f"{method} /v1{path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\r\n"
        reader = RequestReader()
        reader.feed(head.encode())
        request = Request(reader.next_event(), "req_1", "127.0.0.1")
        request.body = b"" if body is None else json.dumps(body).encode()
        answer = self.backend.endpoint(request).answer(request)
        return answer if isinstance(answer, Response) else asyncio.run(answer)

    def ask(self, method, path, body=None):
        return json.loads(self.send(method, path, body).body)

    def create(self, input="Hello", **members):
        return self.ask("POST", "/responses", {"model": "gpt-4o", "input": input, **members})

    def stream(self, input="Hello", **members):
        return self.events("POST", "/responses", {"model": "gpt-4o", "input": input, "stream": True, **members})

    def events(self, method, path, body=None):
        body = self.send(method, path, body).body
        return read_events(b"".join(body.frames) if isinstance(body, Paced) else asyncio.run(gathered(body)))

    def refused(self, method, path, body=None):
        with pytest.raises(ApiError) as caught:
            self.ask(method, path, body)
        error = caught.value
        return error.status, error.message, error.param


async def gathered(body):
    return b"".join([piece async for piece in body])


def read_events(data):
    """Read a stream of the strictest form: `event: …`, `data: …` and an empty line, again and again."""
    *parts, nothing = data.decode().split("\n\n")
    assert nothing == ""
    events = []
    for part in parts:
        name, line = part.split("\n")
        event = json.loads(line[len("data: ") :])
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def types(events):
    return [event["type"][len("response.") :] for event in events]


def item_types(response):
    return [item["type"] for item in response["output"]]


def said(response):
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part["text"] for part in parts)


def calls(response):
    return [(item["name"], json.loads(item["arguments"])) for item in response["output"] if "arguments" in item]


# ---- the response -----------------------------------------------------------------------------------------------


def test_response_has_openai_s_shape():
    response = Server().create("Hello there", metadata={"a": "b"}, temperature=0.5)
    assert response["id"].startswith("resp_") and response["output"][0]["id"].startswith("msg_")
    assert response == {
        "id": response["id"], "object": "response", "created_at": 1700000000, "status": "completed",
        "background": False, "completed_at": 1700000000, "error": None, "incomplete_details": None, "model": "gpt-4o",
        "output": [
            {
                "id": response["output"][0]["id"], "type": "message", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": TEXT}],
            }
        ],
        "reasoning": {"effort": None, "summary": None}, "service_tier": "default",
        "text": {"format": {"type": "text"}, "verbosity": "medium"}, "tools": [],
        "usage": {
            "input_tokens": 2, "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
            "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 5,
        },
        "metadata": {"a": "b"}, "instructions": None, "max_output_tokens": None, "max_tool_calls": None,
        "parallel_tool_calls": True, "previous_response_id": None, "prompt": None, "prompt_cache_key": None,
        "prompt_cache_retention": None, "safety_identifier": None, "store": True, "temperature": 0.5,
        "tool_choice": "auto", "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "user": None,
    }  # fmt: skip


ITEM = {"type": "message", "role": "user", "content": "x"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "x"}
CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
REFUSALS = [
    ({"input": "x"}, 400, "Missing required parameter: 'model'.", "model"),
    ({"model": "m"}, 400, "Missing required parameter: 'input'.", "input"),
    (
        {"model": "m", "input": "x", "previous_response_id": "resp_x"}, 400,
        "Previous response with id 'resp_x' not found.", "previous_response_id",
    ),
    (
        {"model": "m", "input": "x", "conversation": "conv_x"}, 404, "Conversation with id 'conv_x' not found.",
        "conversation",
    ),
    (
        {"model": "m", "input": "x", "conversation": "conv_x", "previous_response_id": "resp_x"}, 400,
        "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Ensure you are only providing one"
        " of: 'previous_response_id' or 'conversation'.", "previous_response_id",
    ),
    (
        {"model": "m", "input": [OUTPUT]}, 400,
        "No tool call found for function call output with call_id call_1.", "input",
    ),
    ({"model": "m", "input": [ITEM, CALL]}, 400, "No tool output found for function call call_1.", "input"),
    (
        {"model": "m", "input": [{"type": "item_reference", "id": "rs_1"}]}, 404,
        "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false. Try again with `store`"
        " set to true, or remove this item from your input.", "input",
    ),
    (
        {"model": "m", "input": "x", "top_logprobs": 21}, 400,
        "Invalid 'top_logprobs': integer above maximum value. Expected a value <= 20, but got 21 instead.",
        "top_logprobs",
    ),
    (
        {"model": "m", "input": "x", "tools": [WEATHER], "tool_choice": {"type": "function", "name": "other"}}, 400,
        "Tool choice 'other' not found in 'tools' parameter.", "tool_choice",
    ),
    (
        {"model": "m", "input": "x", "tool_choice": "required"}, 400,
        "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.", "tool_choice",
    ),
]  # fmt: skip


@pytest.mark.parametrize("body, status, message, param", REFUSALS, ids=[case[2][:30] for case in REFUSALS])
def test_refuses_in_openai_s_words(body, status, message, param):
    assert Server().refused("POST", "/responses", body) == (status, message, param)


def test_unsatisfiable_schema_is_told_at_its_parameter():
    form = {"type": "json_schema", "name": "n", "schema": {"type": "integer", "minimum": 2, "maximum": 1}}
    body = {"model": "m", "input": "x", "text": {"format": form}}
    assert Server().refused("POST", "/responses", body)[2] == "text.format.schema"


@pytest.mark.parametrize("validate", ["off", "warn"])
@pytest.mark.parametrize(
    "body",
    [
        {"input": 5, "tools": 7, "include": "x", "text": [], "reasoning": 3, "max_output_tokens": "y"},
        {"input": [{"type": []}, 4, {"role": "user", "content": [5]}], "tools": [{"type": "function"}]},
        {"tools": [{"type": "mcp"}], "tool_choice": {"type": []}, "context_management": [1], "stream_options": 1},
        {},
    ],
)
def test_malformed_body_is_let_pass_without_checks(validate, body):
    assert said(Server(validate=validate).ask("POST", "/responses", body)) == TEXT


def test_text_that_is_too_long_leaves_an_incomplete_response():
    response = Server().create(max_output_tokens=2)
    assert (response["status"], response["completed_at"]) == ("incomplete", None)
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert said(response) == "powered by " and response["output"][0]["status"] == "incomplete"
    assert response["usage"]["output_tokens"] == 2


def test_thoughts_count_toward_the_longest_output():
    usage = Server().create(model="gpt-5", max_output_tokens=20)["usage"]
    assert usage["output_tokens_details"]["reasoning_tokens"] == 10 and usage["output_tokens"] == 13


def test_structured_output_fits_its_schema():
    schema = {
        "type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 18}},
        "required": ["name", "age"], "additionalProperties": False,
    }  # fmt: skip
    form = {"type": "json_schema", "name": "person", "schema": schema, "strict": True}
    response = Server().create("Ada is 36", text={"format": form})
    assert violations(schema, json.loads(said(response))) == []
    assert response["text"]["format"] == {**form, "description": None}


def test_json_object_has_the_keys_that_the_prompt_names():
    response = Server().create("Answer in JSON with keys name and age", text={"format": {"type": "json_object"}})
    assert sorted(json.loads(said(response))) == ["age", "name"]


def test_logprobs_come_when_they_are_included():
    server = Server()
    response = server.create(include=["message.output_text.logprobs"], top_logprobs=2)
    logprobs = response["output"][0]["content"][0]["logprobs"]
    assert "".join(entry["token"] for entry in logprobs) == TEXT
    assert [len(entry["top_logprobs"]) for entry in logprobs] == [2, 2, 2]
    plain = server.create(top_logprobs=2)
    later = server.ask("GET", f"/responses/{plain['id']}?include[]=message.output_text.logprobs")
    assert plain["output"][0]["content"][0]["logprobs"] == []
    assert later["output"][0]["content"][0]["logprobs"] == logprobs


# ---- reasoning --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model, thinks", [("o3-mini", True), ("gpt-5", True), ("gpt-5-chat-latest", False), ("gpt-4o", False)]
)
def test_reasoning_model_thinks_first(model, thinks):
    response = Server().create(model=model)
    assert item_types(response) == (["reasoning", "message"] if thinks else ["message"])
    assert (response["usage"]["output_tokens_details"]["reasoning_tokens"] > 0) is thinks


def test_more_effort_is_more_thought():
    tokens = [
        Server().create(model="gpt-5", reasoning={"effort": effort})["usage"]["output_tokens_details"][
            "reasoning_tokens"
        ]
        for effort in ("none", "minimal", "low", "medium", "high")
    ]
    assert tokens == sorted(set(tokens)) and tokens[0] == 0


def test_thoughts_are_told_only_as_asked_for():
    server = Server()
    bare = server.create(model="gpt-5")["output"][0]
    assert bare == {"id": bare["id"], "type": "reasoning", "summary": []}
    include = ["reasoning.encrypted_content"]
    full = server.create(model="gpt-5", reasoning={"summary": "auto"}, include=include)["output"][0]
    assert full["summary"][0]["type"] == "summary_text" and full["summary"][0]["text"]
    assert full["encrypted_content"].startswith("gAAAAA")


# ---- events -----------------------------------------------------------------------------------------------------

HEAD = ["created", "in_progress"]
MESSAGE = [
    "output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.delta",
    "output_text.done", "content_part.done", "output_item.done",
]  # fmt: skip
SUMMARY = "reasoning_summary_text.delta"


def test_events_of_a_text_come_in_openai_s_order():
    events = Server().stream()
    assert types(events) == [*HEAD, *MESSAGE, "completed"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert "".join(event["delta"] for event in events if "delta" in event) == TEXT
    assert events[0]["response"]["output"] == [] and events[0]["response"]["usage"] is None
    assert events[2]["item"]["content"] == [] and events[2]["item"]["status"] == "in_progress"
    assert events[-1]["response"]["output"] == [events[-2]["item"]]


def test_streamed_response_is_the_one_that_is_remembered():
    server = Server()
    final = server.stream("Hello")[-1]["response"]
    assert server.ask("GET", f"/responses/{final['id']}") == final


def test_events_of_thoughts_have_their_summary():
    events = Server().stream(model="gpt-5", reasoning={"summary": "auto"})
    thoughts = types(events)[2 : types(events).index("output_item.done") + 1]
    assert [thoughts[0], thoughts[1]] == ["output_item.added", "reasoning_summary_part.added"]
    assert set(thoughts[2:-3]) == {SUMMARY}
    assert thoughts[-3:] == ["reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"]


def test_events_of_a_call_have_its_arguments():
    events = Server().stream("What is the weather in Oslo?", tools=[WEATHER])
    deltas = [event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta"]
    assert types(events)[-3:] == ["function_call_arguments.done", "output_item.done", "completed"]
    assert json.loads("".join(deltas)) == {"city": "Oslo"} and len(deltas) > 1
    assert events[2]["item"]["arguments"] == "" and events[-2]["item"]["arguments"] == "".join(deltas)


def test_a_stream_that_is_cut_ends_with_incomplete():
    assert types(Server().stream(max_output_tokens=1))[-1] == "incomplete"


def test_a_failed_response_ends_with_failed():
    response = {"id": "resp_1", "status": "failed", "output": [], "error": {"code": "server_error", "message": "x"}}
    events = [event for events in response_frames(response) for event in events]
    assert types(events) == ["created", "in_progress", "failed"]
    assert events[0]["response"]["error"] is None and events[2]["response"] == response


def test_deltas_are_padded_to_one_length_unless_told_not_to():
    padded = [event for event in Server().stream() if "delta" in event]
    assert {len(event["delta"]) + len(event["obfuscation"]) for event in padded} == {16}
    bare = [event for event in Server().stream(stream_options={"include_obfuscation": False}) if "delta" in event]
    assert not any("obfuscation" in event for event in bare)


def test_each_word_is_a_frame_when_there_is_a_delay():
    body = {"model": "gpt-4o", "input": "x", "stream": True}
    paced = Server(delay=0.5).send("POST", "/responses", body).body
    assert len(paced.frames) == 3 and paced.delay == 0.5


def test_plain_answer_takes_as_long_as_its_words():
    server = Server(delay=0.5)
    server.create()
    assert server.seconds == 1700000001.0


def test_a_stream_can_be_had_again_from_any_event():
    server = Server()
    events = server.stream(stream_options={"include_obfuscation": False})
    again = f"/responses/{events[0]['response']['id']}?stream=true&include_obfuscation=false"
    assert server.events("GET", again) == events
    assert server.events("GET", f"{again}&starting_after=6") == events[7:]


# ---- what is remembered -----------------------------------------------------------------------------------------


def test_three_chained_responses_carry_their_items_over():
    server = Server()
    first = server.create("one two")
    second = server.create("three", previous_response_id=first["id"], instructions="be brief")
    third = server.create("four", previous_response_id=second["id"])
    assert [response["usage"]["input_tokens"] for response in (first, second, third)] == [
        2,
        2 + 3 + 1 + 2,
        2 + 3 + 1 + 3 + 1,
    ]
    assert third["instructions"] is None
    page = server.ask("GET", f"/responses/{third['id']}/input_items?order=asc")
    assert [item["role"] for item in page["data"]] == ["user", "assistant", "user", "assistant", "user"]
    assert page["data"][1] == first["output"][0] and not page["has_more"]


def test_input_items_come_in_pages_the_newest_first():
    server = Server()
    items = [{"role": "user", "content": str(number)} for number in range(5)]
    path = f"/responses/{server.create(items)['id']}/input_items?limit=2"
    page = server.ask("GET", path)
    assert [item["content"][0]["text"] for item in page["data"]] == ["4", "3"] and page["has_more"]
    following = server.ask("GET", f"{path}&after={page['last_id']}")
    assert [item["content"][0]["text"] for item in following["data"]] == ["2", "1"]


def test_input_items_have_ids_by_their_type():
    server = Server()
    reasoning = {"type": "reasoning", "id": "rs_mine", "summary": []}
    response = server.create([ITEM, reasoning, CALL, OUTPUT])
    ids = [item["id"] for item in server.ask("GET", f"/responses/{response['id']}/input_items?order=asc")["data"]]
    assert [id.partition("_")[0] for id in ids] == ["msg", "rs", "fc", "fco"] and ids[1] == "rs_mine"


def test_items_can_be_referred_to():
    server = Server()
    first = server.create("Hello")
    reference = {"type": "item_reference", "id": first["output"][0]["id"]}
    second = server.create([reference, {"role": "user", "content": "and?"}])
    page = server.ask("GET", f"/responses/{second['id']}/input_items?order=asc")
    assert page["data"][0] == first["output"][0]


def test_response_that_is_not_stored_is_forgotten():
    server = Server()
    id = server.create(store=False)["id"]
    assert server.refused("GET", f"/responses/{id}")[:2] == (404, f"Response with id '{id}' not found.")
    body = {"model": "m", "input": "x", "previous_response_id": id}
    assert server.refused("POST", "/responses", body)[0] == 400


def test_deleted_response_is_gone():
    server = Server()
    id = server.create()["id"]
    assert server.ask("DELETE", f"/responses/{id}") == {"id": id, "object": "response", "deleted": True}
    assert server.refused("GET", f"/responses/{id}")[0] == 404


def test_input_tokens_are_those_of_the_usage():
    server = Server()
    first = server.create("one two three")
    body = {"model": "gpt-4o", "input": "four", "previous_response_id": first["id"], "instructions": "be brief"}
    counted = server.ask("POST", "/responses/input_tokens", body)
    assert counted == {
        "object": "response.input_tokens",
        "input_tokens": server.ask("POST", "/responses", body)["usage"]["input_tokens"],
    }


def test_compacted_context_can_be_gone_on_from():
    server = Server()
    compacted = server.ask("POST", "/responses/compact", {"model": "gpt-5", "input": "a long talk"})
    assert compacted["object"] == "response.compaction" and item_types(compacted) == ["compaction"]
    assert compacted["usage"]["input_tokens"] == 3
    assert said(server.create([*compacted["output"], ITEM])) == TEXT


def test_long_context_is_compacted_where_the_request_wants_it():
    wanted = [{"type": "compaction", "compact_threshold": 4}]
    assert item_types(Server().create("one two three", context_management=wanted)) == ["message"]
    assert item_types(Server().create("one two three four", context_management=wanted)) == ["compaction", "message"]


def test_context_that_is_too_long_is_refused_or_cut():
    server = Server()
    first = server.create("word " * 9000, model="gpt-3.5-turbo")
    body = {"model": "gpt-3.5-turbo", "input": "word " * 9000, "previous_response_id": first["id"]}
    assert server.refused("POST", "/responses", body) == (
        400, "Your input exceeds the context window of this model. Please adjust your input and try again.", "input",
    )  # fmt: skip
    cut = server.ask("POST", "/responses", {**body, "truncation": "auto"})
    assert cut["usage"]["input_tokens"] == 3 + 9000


def test_same_seed_gives_the_same_bytes():
    bodies = [
        Server(seed="s", freeze=True)
        .send("POST", "/responses", {"model": "gpt-5", "input": "x", "stream": True})
        .body.frames
        for _ in range(2)
    ]
    assert bodies[0] == bodies[1]


def test_unknown_response_is_made_up_on_demand():
    server = Server(unknown_ids="invent")
    response = server.ask("GET", "/responses/resp_mine")
    assert response["id"] == "resp_mine" and said(response) == TEXT
    assert server.ask("POST", "/responses/resp_other/cancel")["status"] == "cancelled"
    assert said(server.ask("POST", "/responses", {})) == TEXT


# ---- in the background ------------------------------------------------------------------------------------------


def test_background_response_goes_through_its_life():
    server = Server()
    made = server.create(background=True)
    path = f"/responses/{made['id']}"
    assert (made["status"], made["output"], made["usage"]) == ("queued", [], None)
    server.seconds += 1.1
    assert server.ask("GET", path)["status"] == "in_progress"
    server.seconds += 2
    done = server.ask("GET", path)
    assert (done["status"], said(done), done["completed_at"]) == ("completed", TEXT, 1700000003)


def test_background_response_shows_the_items_that_are_there():
    server = Server()
    id = server.create(model="gpt-5", background=True, reasoning={"summary": "auto"})["id"]
    server.seconds += 2.5
    response = server.ask("GET", f"/responses/{id}")
    assert (response["status"], item_types(response)) == ("in_progress", ["reasoning"])


def test_stream_of_a_background_response_takes_its_time():
    server = Server()
    events = server.stream(background=True)
    assert types(events) == ["created", "queued", "in_progress", *MESSAGE, "completed"]
    assert [events[at]["response"]["status"] for at in (0, 1, 2, -1)] == [
        "queued",
        "queued",
        "in_progress",
        "completed",
    ]
    assert server.seconds == pytest.approx(1700000003, abs=0.01)


def test_stream_of_a_background_response_is_resumed():
    server = Server()
    id = server.create(background=True)["id"]
    rest = server.events("GET", f"/responses/{id}?stream=true&starting_after=4")
    assert [event["sequence_number"] for event in rest] == list(range(5, 12))
    assert server.ask("GET", f"/responses/{id}")["status"] == "completed"


def test_cancelled_response_stays_cancelled():
    server = Server()
    path = f"/responses/{server.create(background=True)['id']}"
    server.seconds += 1.5
    assert server.ask("POST", f"{path}/cancel")["status"] == "cancelled"
    server.seconds += 10
    assert server.ask("POST", f"{path}/cancel")["status"] == "cancelled"
    assert server.ask("GET", path)["output"] == []
    told = types(server.events("GET", f"{path}?stream=true"))
    assert told[:3] == ["created", "queued", "in_progress"] and "completed" not in told


def test_only_background_responses_can_be_cancelled():
    server = Server()
    id = server.create()["id"]
    assert server.refused("POST", f"/responses/{id}/cancel")[:2] == (400, "Cannot cancel a synchronous response.")


# ---- the client's tools -----------------------------------------------------------------------------------------


def test_agent_loop_by_previous_response_ends():
    server = Server()
    made, previous, input = [], None, TWO_TOOLS_PROMPT
    for _ in range(5):
        members = {"previous_response_id": previous} if previous else {}
        response = server.create(input, tools=[WEATHER, EMAIL], parallel_tool_calls=False, **members)
        pending = [item for item in response["output"] if item["type"] == "function_call"]
        made += calls(response)
        if not pending:
            break
        previous = response["id"]
        input = [{"type": "function_call_output", "call_id": item["call_id"], "output": "3"} for item in pending]
    assert made == [("get_weather", {"city": "Oslo"}), ("send_email", {"to": "bob@example.com"})]
    assert said(response) == TEXT


def test_agent_loop_by_full_input_ends():
    server = Server()
    items = [{"role": "user", "content": TWO_TOOLS_PROMPT}]
    rounds = 0
    for _ in range(5):
        response = server.create(items, model="gpt-5", tools=[WEATHER, EMAIL], store=False)
        items += response["output"]
        pending = [item for item in response["output"] if item["type"] == "function_call"]
        items += [{"type": "function_call_output", "call_id": item["call_id"], "output": "3"} for item in pending]
        rounds += bool(pending)
        if not pending:
            break
    assert rounds == 2 and said(response) == TEXT  # the second call waits for the result of the first


ALLOWED = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "send_email"}]}
CHOICES = [
    ("nothing is asked for", "Hello", "auto", []),
    ("auto", "What is the weather in Oslo?", "auto", ["get_weather"]),
    ("none", "What is the weather in Oslo?", "none", []),
    ("required", "Hello", "required", ["get_weather"]),
    ("named", "Hello", {"type": "function", "name": "send_email"}, ["send_email"]),
    ("allowed", "What is the weather in Oslo?", ALLOWED, ["send_email"]),
]


@pytest.mark.parametrize("prompt, choice, called", [case[1:] for case in CHOICES], ids=[case[0] for case in CHOICES])
def test_tool_choice_is_kept(prompt, choice, called):
    response = Server().create(prompt, tools=[WEATHER, EMAIL], tool_choice=choice)
    assert [name for name, _ in calls(response)] == called


def test_custom_tool_takes_free_text():
    tool = {"type": "custom", "name": "run_code", "description": "Run code"}
    choice = {"type": "custom", "name": "run_code"}
    events = Server().stream("use run_code with 'print(1)'", tools=[tool], tool_choice=choice)
    assert types(events)[2:] == [
        "output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    assert events[-2]["item"]["input"] == "print(1)"


# ---- OpenAI's tools ---------------------------------------------------------------------------------------------

CODE = {"type": "code_interpreter", "container": {"type": "auto"}}
MCP = {"type": "mcp", "server_label": "dice", "server_url": "https://dice.example", "allowed_tools": ["roll"]}
STAGED = ["output_item.added", "web_search_call.in_progress", "web_search_call.searching", "web_search_call.completed"]
HOSTED = [
    ("web", {"type": "web_search"}, "Search the web for news on Mars", ["web_search_call", "message"]),
    ("code", CODE, "Use the code interpreter to compute 17*23", ["code_interpreter_call", "message"]),
    ("image", {"type": "image_generation"}, "Draw a picture of a cat", ["image_generation_call", "message"]),
    ("mcp", {**MCP, "require_approval": "never"}, "roll the dice", ["mcp_list_tools", "mcp_call", "message"]),
    ("mcp asks", MCP, "roll the dice", ["mcp_list_tools", "mcp_approval_request"]),
    ("shell", {"type": "shell"}, "Run `ls -la` in the shell", ["shell_call"]),
    ("local shell", {"type": "local_shell"}, "Run date in the local shell", ["local_shell_call"]),
    ("patch", {"type": "apply_patch"}, "Apply a patch to a.py", ["apply_patch_call"]),
    ("computer", {"type": "computer"}, "Use the computer to take a screenshot", ["computer_call"]),
]


@pytest.mark.parametrize("choice", ["auto", "required"])
@pytest.mark.parametrize("tool, prompt, output", [case[1:] for case in HOSTED], ids=[case[0] for case in HOSTED])
def test_hosted_tool_is_called_when_it_is_asked_for(tool, prompt, output, choice):
    assert item_types(Server().create(prompt, tools=[tool], tool_choice=choice)) == output


@pytest.mark.parametrize("tool, prompt", [case[1:3] for case in HOSTED], ids=[case[0] for case in HOSTED])
def test_response_is_as_the_description_says(tool, prompt):
    server = Server()
    include = ["file_search_call.results", "web_search_call.action.sources", "code_interpreter_call.outputs"]
    response = server.create(prompt, model="gpt-5", tools=[tool], include=include, reasoning={"summary": "auto"})
    world = world_of(server.backend)
    assert world.reference.conformity.conforms(world.reference.operation("POST /responses").result, response)


@pytest.mark.parametrize("tool", [case[1] for case in HOSTED], ids=[case[0] for case in HOSTED])
def test_hosted_tool_is_left_alone_otherwise(tool):
    assert item_types(Server().create("Hello there", tools=[tool]))[-1] == "message"


def with_search(server, *scores):
    """Give the server a vector store whose every search finds files with these scores; return the tool for it."""
    store = server.ask("POST", "/vector_stores", {"name": "manuals"})

    def search(method, path, body):
        assert (method, path) == ("POST", f"/vector_stores/{store['id']}/search")
        found = [(f"file-{number}", score) for number, score in enumerate(scores)]
        content = [{"type": "text", "text": body["query"]}]
        return {"data": [{"file_id": id, "filename": id, "score": score, "content": content} for id, score in found]}

    world_of(server.backend).ask = search
    return {"type": "file_search", "vector_store_ids": [store["id"]]}


def test_file_search_ranks_and_cites_what_it_finds():
    server = Server()
    tool = with_search(server, 0.3, 0.9)
    response = server.create("Search my files for refunds", tools=[tool], include=["file_search_call.results"])
    call, message = response["output"]
    assert [result["file_id"] for result in call["results"]] == ["file-1", "file-0"]
    assert call["queries"] == ["Search my files for refunds"] == [call["results"][0]["text"]]
    assert [annotation["file_id"] for annotation in message["content"][0]["annotations"]] == ["file-1"]
    assert server.create("Search my files for refunds", tools=[tool])["output"][0]["results"] is None


@pytest.mark.parametrize("score, output", [(0.5, ["file_search_call", "message"]), (0.0, ["message"])])
def test_file_search_is_made_unasked_when_the_files_know_something(score, output):
    server = Server()
    assert item_types(server.create("What is the refund policy?", tools=[with_search(server, score)])) == output


def test_unknown_vector_store_is_refused():
    tool = {"type": "file_search", "vector_store_ids": ["vs_x"]}
    body = {"model": "m", "input": "x", "tools": [tool], "tool_choice": "required"}
    assert Server().refused("POST", "/responses", body)[:2] == (404, "Vector store with id 'vs_x' not found.")


def test_web_search_tells_its_stages_and_is_cited():
    events = Server().stream("Search the web for news on Mars", tools=[{"type": "web_search"}])
    assert types(events)[2:7] == [*STAGED, "output_item.done"]
    annotations = events[-1]["response"]["output"][1]["content"][0]["annotations"]
    assert [annotation["type"] for annotation in annotations] == ["url_citation"]
    assert "sources" not in events[-1]["response"]["output"][0]["action"]


def test_code_prints_what_it_reckons():
    include = ["code_interpreter_call.outputs"]
    server = Server()
    call = server.create("Use the code interpreter to compute 17*23", tools=[CODE], include=include)["output"][0]
    assert (call["code"], call["outputs"]) == ("print(17*23)", [{"type": "logs", "logs": "391\n"}])
    assert server.ask("GET", f"/containers/{call['container_id']}")["status"] == "running"


@pytest.mark.parametrize(
    "asked, printed",
    [("2 + 3 * 4", "14"), ("(1+1)/4", "0.5"), ("say hi", "say hi"), ("1/0", "1/0"), ("9**9**9**9", "9**9**9**9")],
)
def test_program_reckons_plain_sums_only(asked, printed):
    assert program_for(asked)[1] == printed


def test_image_is_a_picture_of_the_size_asked_for():
    tool = {"type": "image_generation", "size": "64x32", "partial_images": 2}
    events = Server().stream("Draw a picture of a cat", tools=[tool])
    call = events[-1]["response"]["output"][0]
    assert read_picture_head(base64.b64decode(call["result"])) == ("png", 64, 32)
    assert types(events).count("image_generation_call.partial_image") == 2


def test_approved_call_is_made():
    server = Server()
    first = server.create("roll the dice", tools=[MCP])
    answer = {"type": "mcp_approval_response", "approve": True, "approval_request_id": first["output"][1]["id"]}
    second = server.create([answer], tools=[MCP], previous_response_id=first["id"])
    assert item_types(second) == ["mcp_call", "message"]
    assert second["output"][0]["approval_request_id"] == first["output"][1]["id"]


def test_secrets_of_a_tool_are_not_shown():
    tool = {**MCP, "authorization": "secret", "headers": {"x": "secret"}}
    assert "secret" not in json.dumps(Server().create(tools=[tool]))


def test_no_more_calls_than_allowed_are_made():
    response = Server().create("Search the web for news on Mars", tools=[{"type": "web_search"}], max_tool_calls=0)
    assert item_types(response) == ["message"]


# ---- other transports -------------------------------------------------------------------------------------------


def test_events_can_be_had_without_http():
    server = Server()
    recent = {}
    responses = Responses(world_of(server.backend))
    first = responses.events({"model": "gpt-4o", "input": "one", "store": False}, recent)
    assert types(first) == [*HEAD, *MESSAGE, "completed"]
    id = first[-1]["response"]["id"]
    second = responses.events({"model": "gpt-4o", "input": "two", "previous_response_id": id}, recent)
    assert second[-1]["response"]["usage"]["input_tokens"] == 5


def test_silent_response_says_nothing():
    server = Server()
    events = Responses(world_of(server.backend)).events({"model": "gpt-4o", "input": "x", "generate": False}, {})
    assert types(events) == [*HEAD, "completed"] and events[-1]["response"]["output"] == []


@pytest.mark.parametrize("background", [False, True])
def test_a_stream_that_is_asked_for_again_tells_what_it_is_to_include(background):
    server = Server()
    path = f"/responses/{server.create('Think', model='o3', background=background)['id']}?stream=true"
    asked = server.events("GET", f"{path}&include[]=reasoning.encrypted_content")
    plain = server.events("GET", path)
    assert "encrypted_content" in json.dumps(asked)
    assert "encrypted_content" not in json.dumps(plain)
    assert [event["type"] for event in asked] == [event["type"] for event in plain]
