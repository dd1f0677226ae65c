"""The arguments of calls: no more than the prompt says, read by the schemas that real clients send, and loops that end.

Schemas are written as Pydantic, Zod, FastMCP and the agents named beside them write them.
"""

from __future__ import annotations

import itertools
import json

import pytest
from json_schemas import violations
from steps import assert_grows_in_proportion

from protocol.mock.answer.modest import described_range
from protocol.mock.answer.reply import OfferedTool, Question, ToolResult, reply

TEXT = "powered by openai"
STRING, INTEGER, NUMBER, BOOLEAN = {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "boolean"}
STRINGS = {"type": "array", "items": STRING}
OBJECT = {"type": "object", "additionalProperties": STRING}


def described(schema, description):
    return {**schema, "description": description}


def tool(named, about, required="", /, **properties):
    return OfferedTool(
        named, about, {"type": "object", "properties": properties, "required": required.split()}
    )  # fmt: skip


def called(prompt, *tools, **members):
    answer = reply(Question(prompt, tools, **members), TEXT)
    return [(call.name, json.loads(call.arguments)) for call in answer.calls]


def arguments(prompt, one, **members):
    [(name, said)] = called(prompt, one, named=one.name, **members)
    assert name == one.name
    return said


# ---- no more than the prompt says

# The tools of coding agents: Claude Code's and codex' shells, qwen-code's, opencode's.
BASH = tool("bash", "Executes a given bash command", "command", command=STRING,
            timeout=described(NUMBER, "Optional timeout in milliseconds (max 600000)"),
            description=described(STRING, "Clear, concise description of what this command does"),
            run_in_background=BOOLEAN)  # fmt: skip
SHELL = tool("shell", "Runs a shell command and returns its output.", "command", command=STRINGS, workdir=STRING,
             timeout_ms=NUMBER, with_escalated_permissions=BOOLEAN, justification=STRING)  # fmt: skip
DELETE = tool("delete_file", "Delete a file", "path", recursive=BOOLEAN, force=BOOLEAN, path=STRING)
FETCH = tool("http_request", "Make an HTTP request", "url", method={"enum": ["DELETE", "POST", "GET"]}, url=STRING,
             timeout=NUMBER, headers=OBJECT, body=STRING)  # fmt: skip
SEARCH = tool("web_search", "Search the web", "query", query=STRING, max_results=INTEGER, domains=STRINGS,
              topic=STRING, recency_days=INTEGER)  # fmt: skip
WEATHER = tool("get_weather", "Get the weather", "location", location=STRING,
               unit={"type": "string", "enum": ["celsius", "fahrenheit"]})  # fmt: skip
MAIL = tool("send_email", "Send an email", "to subject body", to=STRING, subject=STRING, body=STRING, cc=STRINGS,
            html=BOOLEAN)  # fmt: skip
PAGES = tool("list_issues", "List issues of a repository", "repo", repo=STRING,
             limit={"type": "integer", "default": 30}, labels={"type": "array", "items": STRING, "default": []},
             state={"anyOf": [{"enum": ["open", "closed"]}, {"type": "null"}], "default": None})  # fmt: skip
READ_FILES = tool("read_file", "Read files", "files", files={"type": "array", "items": {
    "type": "object", "required": ["path"],
    "properties": {"path": STRING, "line_ranges": {"type": ["array", "null"], "items": STRING}}}})  # fmt: skip
FILTERED = tool(
    "find_papers",
    "Find papers",
    "query",
    query=STRING,
    filters={"type": "object", "properties": {"author": STRING, "year": INTEGER, "exact": BOOLEAN}},
)

OPTIONAL = [
    ("Run `ls -la` in the shell", BASH, {"command": "ls -la"}),
    ("Run `sleep 5` in the background with a timeout of 2 minutes", BASH,
     {"command": "sleep 5", "timeout": 120000, "run_in_background": True}),
    ("Run git status in the terminal", SHELL, {"command": ["bash", "-lc", "git status"]}),
    ("Delete the file a.txt", DELETE, {"path": "a.txt"}),
    ("Delete the folder /tmp/x recursively, recursive=true", DELETE, {"recursive": True, "path": "/tmp/x"}),
    ("Fetch https://example.com/a", FETCH, {"url": "https://example.com/a"}),
    ("POST to https://example.com/a", FETCH, {"method": "POST", "url": "https://example.com/a"}),
    ("Search the web for cats", SEARCH, {"query": "cats"}),
    ("Search the web for 'cats', max results 3", SEARCH, {"query": "cats", "max_results": 3}),
    ("What is the weather in Oslo?", WEATHER, {"location": "Oslo"}),
    ("What is the weather in Oslo in fahrenheit?", WEATHER, {"location": "Oslo", "unit": "fahrenheit"}),
    ("Send an email to bob@x.org with subject 'Hi' saying see you", MAIL,
     {"to": "bob@x.org", "subject": "Hi", "body": "see you"}),
    ("List issues of 'widgets'", PAGES, {"repo": "widgets", "limit": 30}),
    ("List the closed issues of 'widgets'", PAGES, {"repo": "widgets", "limit": 30, "state": "closed"}),
    ("Read a.txt and b.txt", READ_FILES, {"files": [{"path": "a.txt"}, {"path": "b.txt"}]}),
    ("Find papers on 'graphs'", FILTERED, {"query": "graphs"}),
    ("Find papers on 'graphs', author: Ada Lovelace", FILTERED,
     {"query": "graphs", "filters": {"author": "Ada Lovelace"}}),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "one", "said"), OPTIONAL, ids=[row[0] for row in OPTIONAL])
def test_optional_members_are_there_when_the_prompt_or_a_default_gives_them(prompt, one, said):
    found = arguments(prompt, one)
    assert found == said
    assert list(found) == [name for name in one.parameters["properties"] if name in found]


def test_a_strict_schema_has_null_for_what_nobody_gave_with_a_prompt_or_without_one():
    optional = {"anyOf": [INTEGER, {"type": "null"}]}
    strict = tool("get_weather", "Get the weather", "days city", days=optional, city={"type": ["string", "null"]})
    assert arguments("", strict) == {"days": None, "city": None}
    assert arguments("The weather in Oslo", strict) == {"days": None, "city": "Oslo"}


REQUIRED = [
    ("a_flag", BOOLEAN, "force", False),
    ("a_number_is_whole", NUMBER, "amount", 1),
    ("a_share_is_not", {"type": "number", "minimum": 0, "maximum": 1}, "threshold", 0.7),
    ("a_step_is_kept", {"type": "number", "multipleOf": 0.25}, "size", 1),
    ("no_whole_number_fits", {"type": "number", "exclusiveMinimum": 1, "maximum": 1.5}, "size", 1.1),
    ("the_first_method_deletes", {"enum": ["DELETE", "POST", "GET"]}, "method", "GET"),
    ("the_first_action_deletes", {"enum": ["delete_all", "remove", "list"]}, "action", "list"),
    ("all_do_harm_alike", {"enum": ["delete", "purge"]}, "action", "delete"),
    ("a_method_without_an_enum", described(STRING, "The HTTP method to use"), "method", "GET"),
    ("seconds_to_wait", described(NUMBER, "Timeout in seconds"), "timeout", 30),
    ("milliseconds_to_wait", INTEGER, "timeout_ms", 30000),
    ("milliseconds_by_the_description", described(NUMBER, "How long to wait, in milliseconds"), "timeout", 30000),
    ("as_long_as_it_may_be", described(INTEGER, "Seconds to wait. Must be between 1 and 20"), "wait", 20),
    ("a_default_in_words", described(INTEGER, "Results a page (1-100, default 20)"), "per_page", 20),
    ("a_least_number", described(INTEGER, "Number of items, at least 3"), "count", 3),
    ("a_share_in_words", described(NUMBER, "A score from 0 to 1"), "score", 0.5),
    ("the_schema_overrules", {**described(INTEGER, "default 20"), "maximum": 10}, "count", 1),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "name", "value"), [row[1:] for row in REQUIRED], ids=[row[0] for row in REQUIRED])
def test_what_must_be_made_up_is_harmless_and_usual(schema, name, value):
    made = arguments("go", tool("act", "Do it", name, **{name: schema}))[name]
    assert (made, type(made)) == (value, type(value))


QUANTITIES = [
    ("wait 2 minutes", "seconds", INTEGER, 120),
    ("wait 90 seconds", "duration_ms", INTEGER, 90000),
    ("wait half a day", "hours", INTEGER, 1),
    ("sleep for 1.5 seconds", "delay", described(NUMBER, "Delay in seconds"), 1.5),
    ("sleep for 1500 ms", "delay", described(NUMBER, "Delay in seconds"), 1.5),
    ("wait 2 hours", "minutes", NUMBER, 120),
    ("wait 3 days", "days", INTEGER, 3),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "name", "schema", "value"), QUANTITIES, ids=[row[0] for row in QUANTITIES])
def test_times_are_said_in_the_unit_of_the_parameter(prompt, name, schema, value):
    assert arguments(prompt, tool("wait", "Wait", name, **{name: schema})) == {name: value}


@pytest.mark.parametrize(
    ("description", "read"),
    [
        ("between 1 and 10", (None, 1, 10)), ("(1-100)", (None, 1, 100)), ("Defaults to 5.", (5, None, None)),
        ("max 600000", (None, None, 600000)), ("in 2024-05 style", (None, None, None)), ("", (None, None, None)),
        (None, (None, None, None)), ("0.5 to 2.5, default: 1.5", (1.5, 0.5, 2.5)),
    ],
)  # fmt: skip
def test_ranges_are_read_in_descriptions(description, read):
    assert described_range(description) == read


SECOND = [
    ("Read config.json and tell me what the port is", ["read_file", "search_files"], ["read_file"]),
    ("Get the weather in Oslo, then send an email to bob@x.org", ["get_weather", "send_email"], ["get_weather"]),
    ("Get the weather in Oslo and search the web", ["get_weather", "web_search"], ["get_weather", "web_search"]),
    ("Get the weather in Oslo and read a file", ["get_weather", "read_file"], ["get_weather"]),
    ("Get the weather in Oslo and use read_file", ["get_weather", "read_file"], ["get_weather", "read_file"]),
    ("Read a file and delete a file", ["read_file", "delete_file"], ["read_file", "delete_file"]),
]  # fmt: skip
TOOLS = {one.name: one for one in (WEATHER, MAIL, SEARCH, DELETE)}
TOOLS["read_file"] = tool("read_file", "Read a file", "path", path=STRING)
TOOLS["search_files"] = tool("search_files", "Search in files with a regex", "path regex", path=STRING, regex=STRING)


@pytest.mark.parametrize(("prompt", "names", "expected"), SECOND, ids=[row[0] for row in SECOND])
def test_no_second_tool_is_called_with_a_made_up_word(prompt, names, expected):
    assert [name for name, _ in called(prompt, *[TOOLS[name] for name in names])] == expected


def test_a_tool_that_waits_for_a_value_is_called_when_a_result_gives_it():
    find = tool("find_user", "Find a user", "name", name=STRING)
    orders = tool("list_orders", "List the orders of a user", "user_id", user_id=INTEGER, paid=BOOLEAN)
    prompt = "Find user Ada and list orders"
    assert called(prompt, find, orders) == [("find_user", {"name": "Ada"})]
    found = [ToolResult("find_user", '{"user_id": 4711, "paid": false}')]
    assert called(prompt, find, orders, results=found) == [("list_orders", {"user_id": 4711, "paid": False})]
    assert called(prompt, find, orders, results=[ToolResult("find_user", "nobody")]) == []


PARTS = [
    STRING, {"type": "string", "maxLength": 3}, {"type": "string", "pattern": r"^[A-Z]{3}-\d{4}$"},
    {"type": "string", "format": "date"}, {"type": "integer", "minimum": 3, "maximum": 4}, NUMBER, BOOLEAN,
    {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, {"enum": ["red", 1, None]}, {"const": "x"},
    {"anyOf": [INTEGER, STRING]}, {"$ref": "#/$defs/Part"}, {"allOf": [{"minLength": 2}, STRING]}, STRINGS,
    {"type": "array", "items": {"enum": ["red", "blue"]}, "uniqueItems": True, "minItems": 2},
    {"type": ["string", "null"]}, {**OBJECT, "minProperties": 1}, {"type": "object", "minProperties": 1},
]  # fmt: skip


@pytest.mark.parametrize(
    "prompt", ["", "Paris, 5 days, red", 'name: Ada, "x" a@b.co 2030-01-02 7pm', "从北京到上海，3张票"]
)
def test_arguments_satisfy_their_schema_whatever_the_prompt_says(prompt):
    names = itertools.cycle(["city", "timeout_ms", "days", "email", "method", "query", "items", "from", "force"])
    for index, (one, other) in enumerate(itertools.product(PARTS, repeat=2)):
        first, second = next(names), next(names)
        part = {"type": "object", "properties": {"x": PARTS[index % 8], "y": STRING}, "required": ["x"]}
        schema = {"type": "object", "properties": {first: one, second: other}, "required": [second],
                  "additionalProperties": False, "$defs": {"Part": part}}  # fmt: skip
        said = arguments(prompt, OfferedTool("act", "", schema), number=index % 3, seed=index % 2)
        assert violations(said, schema) == [], (schema, index)


# ---- resolved schemas

PLACE = {
    "$defs": {
        "Kind": {"enum": ["beach", "mountain"], "title": "Kind", "type": "string"},
        "Place": {"type": "object", "title": "Place", "required": ["city", "kind"],
                  "properties": {"city": STRING, "kind": {"$ref": "#/$defs/Kind"}}},
    },
    "type": "object", "required": ["place"],
    "properties": {
        "place": {"$ref": "#/$defs/Place"},
        "nights": {"anyOf": [INTEGER, {"type": "null"}], "default": None},
        "kinds": {"type": "array", "items": {"$ref": "#/$defs/Kind"}},
    },
}  # fmt: skip
ALL_OF = {
    "definitions": {"Unit": {"enum": ["kelvin", "rankine"]}},
    "type": "object", "required": ["value"],
    "properties": {"value": {"allOf": [NUMBER]}, "unit": {"allOf": [{"$ref": "#/definitions/Unit"}], "default": None}},
}  # fmt: skip
ZOD = {
    "type": "object", "required": ["shape"], "$schema": "http://json-schema.org/draft-07/schema#",
    "properties": {"shape": {"anyOf": [
        {"type": "object", "properties": {"kind": {"type": "string", "const": "circle"}, "radius": NUMBER},
         "required": ["kind", "radius"]},
        {"type": "object", "properties": {"kind": {"type": "string", "const": "square"}, "side": NUMBER},
         "required": ["kind", "side"]},
    ]}},
}  # fmt: skip
RESOLVED = [
    ("Plan a trip to the mountain near Oslo for 3 nights", "plan_trip", PLACE,
     [{"place": {"city": "Oslo", "kind": "mountain"}, "nights": 3, "kinds": ["mountain"]}]),
    ("Plan a trip to Oslo and Rome, to the beach", "plan_trip", PLACE,
     [{"place": {"city": "Oslo", "kind": "beach"}, "kinds": ["beach"]},
      {"place": {"city": "Rome", "kind": "beach"}, "kinds": ["beach"]}]),
    ("Convert 20 kelvin", "convert", ALL_OF, [{"value": 20, "unit": "kelvin"}]),
    ("Draw a circle with radius 3", "draw", ZOD, [{"shape": {"kind": "circle", "radius": 3}}]),
    ("Draw a square with side 4", "draw", ZOD, [{"shape": {"kind": "square", "side": 4}}]),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "name", "schema", "said"), RESOLVED, ids=[row[0] for row in RESOLVED])
def test_what_is_asked_for_is_read_from_the_resolved_schema(prompt, name, schema, said):
    assert called(prompt, OfferedTool(name, "", schema)) == [(name, one) for one in said]


def test_members_of_a_resolved_enum_ask_for_a_tool_whose_name_says_little():
    tables = {"$defs": {"Table": {"enum": ["orders", "customers"]}}, "type": "object", "required": ["table"],
              "properties": {"table": {"anyOf": [{"$ref": "#/$defs/Table"}, {"type": "null"}]}}}  # fmt: skip
    assert called("look up all my orders", OfferedTool("Query", "", tables)) == [("Query", {"table": "orders"})]


def test_people_of_a_resolved_array_are_told_apart():
    schema = {"$defs": {"Person": {"type": "object", "required": ["name"], "properties": {
                  "name": STRING, "age": {"anyOf": [INTEGER, {"type": "null"}], "default": None}}}},
              "type": "object", "required": ["people"],
              "properties": {"people": {"type": "array", "items": {"$ref": "#/$defs/Person"}}}}  # fmt: skip
    assert arguments("Jason is 25 and Ana is 31 years old", OfferedTool("People", "", schema)) == {
        "people": [{"name": "Jason", "age": 25}, {"name": "Ana", "age": 31}]
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"}, {"$ref": "#/properties/a"}, {"allOf": [{"$ref": "#/properties/a"}]}, {"$ref": "#/$defs/none"},
        {"$ref": 3}, {"type": "object", "properties": {"b": {"$ref": "#"}}}, {"enum": 3}, {"properties": []},
    ],
)  # fmt: skip
def test_references_that_lead_nowhere_or_round_are_read_to_an_end(schema):
    odd = OfferedTool("get_weather", "weather", {"type": "object", "properties": {"a": schema}})
    assert reply(Question("Hello", [odd]), TEXT).text == TEXT


def test_wide_and_deep_schemas_are_read_in_proportion():
    def ask(count):
        deep = {"$ref": "#/$defs/n0"}
        parts = {
            f"n{at}": {"type": "object", "properties": {"x": {"$ref": f"#/$defs/n{at + 1}"}}} for at in range(count)
        }
        wide = {f"p{at}": {"anyOf": [{"$ref": "#/$defs/n1"}, {"type": "null"}]} for at in range(count)}
        schema = {"$defs": parts, "type": "object", "properties": {"deep": deep, **wide}}
        reply(
            Question("What is the weather in Oslo?", [OfferedTool("get_weather", "weather", schema)], choice="none"),
            TEXT,
        )
        reply(Question("Tell me a story", [OfferedTool("get_weather", "weather", schema)]), TEXT)

    assert_grows_in_proportion(ask, 40)


# ---- loops that end

ANSWER = tool("final_answer", "Provides a final answer to the given problem.", "answer", answer=STRING)  # smolagents
CLOSING = [
    (ANSWER, {"answer": TEXT}),
    (tool("attempt_completion", "", "result", result=STRING, command=STRING), {"result": TEXT}),  # Cline, Roo
    (tool("finish", "Signals the completion", "message", message=STRING), {"message": TEXT}),  # OpenHands
    (tool("submit", "Submits the current file"), {}),  # SWE-agent
    (tool("done", "Complete task", "text success", text=STRING, success=BOOLEAN), {"text": TEXT, "success": True}),
    (tool("final_result", "The final response", "city", city=STRING), {"city": "Paris"}),  # Pydantic AI
    (tool("task_done", "Report the completion of the task"), {}),  # trae-agent
    (tool("terminate", "End", "status", status={"enum": ["success", "failure"]}), {"status": "success"}),  # OpenManus
    (tool("submit_final_answer", "", "final_answer", final_answer=STRING), {"final_answer": TEXT}),
]  # fmt: skip


@pytest.mark.parametrize(("one", "said"), CLOSING, ids=[row[0].name for row in CLOSING])
def test_an_agent_that_must_call_something_and_has_nothing_to_do_closes(one, said):
    assert called("Hello", WEATHER, one, choice="required") == [(one.name, said)]


def rounds(prompt, *tools, most=8, **members):
    names, results = [], []
    while len(names) < most and not (names and names[-1] == tools[-1].name):
        calls = called(prompt, *tools, results=results, **members)
        if not calls:
            break
        names += [name for name, _ in calls]
        results += [ToolResult(name, "sunny") for name, _ in calls]
    return names


@pytest.mark.parametrize("one", [row[0] for row in CLOSING], ids=lambda one: one.name)
def test_a_loop_that_demands_calls_does_what_is_asked_and_closes(one):
    assert rounds("What is the weather in Oslo?", WEATHER, one, choice="required") == ["get_weather", one.name]


EXEC = tool("exec_command", "Runs a command in a PTY, returning output or a session ID", "cmd", cmd=STRING,
            workdir=STRING, tty=BOOLEAN, yield_time_ms=NUMBER)  # fmt: skip


@pytest.mark.parametrize(
    ("prompt", "cmd"),
    [("Run `ls` and tell me what you see", "ls"), ("What files are here? Run ls", "ls"), ("Run 'git log -1'", "git log -1"),
     ("please run git status", "git status"),
     ("Run ls -la and git status, then fix the failing test.", "ls -la"),
     ("Run npm test in the src directory", "npm test"),
     ("Run git log --since yesterday. Then stop", "git log --since yesterday"),
     ("Run make to build it please.", "make")],
)  # fmt: skip
def test_a_command_to_run_is_run_once(prompt, cmd):
    assert called(prompt, EXEC, READ_FILES) == [("exec_command", {"cmd": cmd})]
    assert called(prompt, EXEC, READ_FILES, results=[ToolResult("exec_command", "a.txt")]) == []


def test_a_tag_around_a_task_is_no_path():
    completion = CLOSING[1][0]
    said = called("<task>\nhello\n</task>", READ_FILES, completion, choice="required")
    assert said == [("attempt_completion", {"result": TEXT})]


def test_a_result_that_comes_as_the_users_turn_asks_for_nothing():
    observed = "Observation:\nThe weather in Oslo is sunny. Search the web for more."
    assert called(observed, WEATHER, SEARCH, ANSWER, choice="required") == [("final_answer", {"answer": TEXT})]
    assert called(observed, WEATHER, SEARCH) == []
    completion = CLOSING[1][0]
    said = "[read_file for 'a.txt'] Result:\n\nget the weather in Oslo"
    assert [name for name, _ in called(said, WEATHER, completion, choice="required")] == ["attempt_completion"]


def test_an_agent_that_is_told_to_call_its_closing_tool_does_so_once():
    told = {"instructions": "When the task is done, you must call `finish`."}
    finish = CLOSING[2][0]
    assert rounds("What is the weather in Oslo?", WEATHER, finish, **told) == ["get_weather", "finish"]
    assert called("Hello", WEATHER, finish, **told) == [("finish", {"message": TEXT})]
    assert called("Hello", WEATHER, finish, results=[ToolResult("finish", "")], **told) == []
    assert called("Hello", WEATHER, finish, instructions="Be brief and finish early.") == []
    assert rounds("Get the weather in Oslo and call final_answer", WEATHER, ANSWER) == ["get_weather", "final_answer"]


@pytest.mark.parametrize("members", [["researcher", "coder", "FINISH"], ["search", "finish"], ["agent", "__end__"]])
def test_a_supervisor_who_was_asked_for_nothing_ends(members):
    schema = {"type": "object", "properties": {"next": {"enum": members}}, "required": ["next"]}
    said = reply(Question("Here it is.", format="json_schema", schema=schema), TEXT)
    assert json.loads(said.text) == {"next": members[-1]}
    asked = reply(Question(f"Let the {members[0]} work", format="json_schema", schema=schema), TEXT)
    assert json.loads(asked.text) == {"next": members[0]}


@pytest.mark.parametrize(
    "name", ["submit_order", "answer_phone", "complete_todo", "end_call", "get_weather", "finished_goods"]
)
def test_other_tools_do_not_close(name):
    other = tool(name, "Something", "a", a=STRING)
    assert called("Hello", WEATHER, other, choice="required") == [("get_weather", {"location": "Paris"})]
