"""The prompts of people who build on tools: which of a realistic set are called, with what, and how the loop ends."""

from __future__ import annotations

import json

import pytest
from steps import assert_grows_in_proportion, steps_of

from protocol.errors import ApiError
from protocol.mock.answer.reply import OfferedTool, Question, ToolResult, reply

TEXT = "powered by openai"
STRING = {"type": "string"}
INTEGER = {"type": "integer"}


def optional(schema):
    return {"anyOf": [schema, {"type": "null"}]}


def listed(schema):
    return {"type": "array", "items": schema}


def strict(**properties):
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False
    }  # fmt: skip


TOOLS = {
    name: OfferedTool(name, description, strict(**properties))
    for name, description, properties in (
        ("get_weather", "Get the current weather in a given location",
         {"location": STRING, "unit": optional({"type": "string", "enum": ["celsius", "fahrenheit"]})}),
        ("get_city_weather", "Get the weather", {"city": STRING, "country": STRING}),
        ("create_calendar_event", "Create an event in the user's calendar",
         {"title": STRING, "duration_minutes": optional(INTEGER), "attendees": optional(listed(STRING)),
          "location": optional(STRING)}),
        ("list_calendar_events", "List events of a day in the calendar", {"date": STRING}),
        ("web_search", "Search the web for current information", {"query": STRING, "max_results": optional(INTEGER)}),
        ("search_docs", "Search internal documentation", {"query": STRING}),
        ("run_sql", "Execute a read-only SQL query against the orders database", {"query": STRING}),
        ("send_email", "Send an email to a recipient",
         {"to": STRING, "subject": STRING, "body": STRING, "cc": optional(listed(STRING))}),
        ("read_file", "Read the contents of a file", {"path": STRING}),
        ("write_file", "Write content to a file, replacing what is there", {"path": STRING, "content": STRING}),
        ("str_replace_editor", "Edit a file by replacing a string",
         {"path": STRING, "old_str": STRING, "new_str": STRING}),
        ("list_directory", "List files in a directory", {"path": STRING}),
        ("bash", "Run a shell command", {"command": STRING}),
        ("grep", "Search file contents with a regular expression", {"pattern": STRING, "path": optional(STRING)}),
        ("mcp__github__list_pull_requests", "List pull requests in a repository",
         {"repo": STRING, "state": {"type": "string", "enum": ["open", "closed", "all"]}}),
        ("mcp__github__create_issue", "Create an issue in a repository", {"title": STRING, "body": optional(STRING)}),
        ("slack_post_message", "Post a message to a Slack channel", {"channel": STRING, "text": STRING}),
        ("convert_currency", "Convert an amount between currencies",
         {"amount": {"type": "number"}, "from_currency": STRING, "to_currency": STRING}),
        ("set_light", "Turn lights on or off in a room",
         {"room": STRING, "state": {"type": "string", "enum": ["on", "off"]}, "brightness": optional(INTEGER)}),
        ("set_reminder", "Set a reminder for the user", {"text": STRING, "time": STRING}),
        ("create_order", "Place an order for products",
         {"customer": strict(name=STRING), "items": listed(strict(sku=STRING, quantity=INTEGER))}),
        ("get_order_status", "Look up the status of an order", {"order_id": STRING}),
        ("process_refund", "Refund a customer's order", {"order_id": STRING, "reason": optional(STRING)}),
        ("Query", "", {"table_name": {"type": "string", "enum": ["orders", "customers"]},
                       "order_by": {"type": "string", "enum": ["asc", "desc"]}}),
        ("transfer_to_billing_agent", "Handoff to the billing agent to handle the request.", {}),
        ("transfer_to_refund_agent", "Handoff to the refund agent to handle the request.", {}),
        ("transfer_to_spanish_agent", "Handoff to the Spanish agent to handle the request.", {}),
    )
}  # fmt: skip


def called(prompt, names, results=(), **members):
    question = Question(prompt, [TOOLS[name] for name in names.split()], results=results, **members)
    return [(call.name, json.loads(call.arguments)) for call in reply(question, TEXT).calls]


FILES = "read_file write_file str_replace_editor list_directory grep"
ASKED = [
    ("What is the weather in SF and in Boston?", "get_weather",
     [("get_weather", {"location": "SF", "unit": None}), ("get_weather", {"location": "Boston", "unit": None})]),
    ("What's the weather like in Paris, France and in Tokyo, Japan?", "get_city_weather",
     [("get_city_weather", {"city": "Paris", "country": "France"}),
      ("get_city_weather", {"city": "Tokyo", "country": "Japan"})]),
    ("How hot is it in New York City in fahrenheit?", "get_weather send_email",
     [("get_weather", {"location": "New York City", "unit": "fahrenheit"})]),
    ("Schedule a meeting with ana@x.org and bob@x.org for 30 minutes titled 'Roadmap'",
     "create_calendar_event list_calendar_events send_email",
     [("create_calendar_event", {"title": "Roadmap", "duration_minutes": 30, "attendees": ["ana@x.org", "bob@x.org"],
                                 "location": None})]),
    ("Who won the 2022 world cup? Search the web.", "web_search",
     [("web_search", {"query": "Who won the 2022 world cup", "max_results": None})]),
    ("What's the latest news on the James Webb telescope?", "web_search get_weather",
     [("web_search", {"query": "the James Webb telescope", "max_results": None})]),
    ("What does our documentation say about rate limits?", "search_docs",
     [("search_docs", {"query": "What does our documentation say about rate limits"})]),
    ("Run SELECT count(*) FROM orders WHERE status = 'open'", "run_sql",
     [("run_sql", {"query": "SELECT count(*) FROM orders WHERE status = 'open'"})]),
    ("look up all my orders that were late", "Query", [("Query", {"table_name": "orders", "order_by": "asc"})]),
    ("Send an email to john@x.org with subject 'Lunch' saying that I will be late", "send_email slack_post_message",
     [("send_email", {"to": "john@x.org", "subject": "Lunch", "body": "I will be late", "cc": None})]),
    ("Read src/main.py and tell me what it does", FILES, [("read_file", {"path": "src/main.py"})]),
    ("Create a file hello.txt with the content 'hi there'", FILES,
     [("write_file", {"path": "hello.txt", "content": "hi there"})]),
    ("In config.py replace 'DEBUG = True' with 'DEBUG = False'", FILES,
     [("str_replace_editor", {"path": "config.py", "old_str": "DEBUG = True", "new_str": "DEBUG = False"})]),
    ("Read README.md", FILES, [("read_file", {"path": "README.md"})]),
    ("List the files in /tmp/data", FILES, [("list_directory", {"path": "/tmp/data"})]),
    ("Find all uses of 'foo_bar' in src/", FILES, [("grep", {"pattern": "foo_bar", "path": "src/"})]),
    ("Run `ls -la` in the shell", "bash read_file", [("bash", {"command": "ls -la"})]),
    ("Run git status in the terminal", "bash read_file", [("bash", {"command": "git status"})]),
    ("Show me the open pull requests of 'widgets'", "mcp__github__list_pull_requests mcp__github__create_issue",
     [("mcp__github__list_pull_requests", {"repo": "widgets", "state": "open"})]),
    ('Open an issue titled "Crash on start"', "mcp__github__list_pull_requests mcp__github__create_issue",
     [("mcp__github__create_issue", {"title": "Crash on start", "body": None})]),
    ("Post 'deploy done' to #releases on Slack", "slack_post_message send_email",
     [("slack_post_message", {"channel": "#releases", "text": "deploy done"})]),
    ("How much is 250 dollars in yen?", "convert_currency",
     [("convert_currency", {"amount": 250, "from_currency": "USD", "to_currency": "JPY"})]),
    ("100美元等于多少人民币？", "convert_currency",
     [("convert_currency", {"amount": 100, "from_currency": "USD", "to_currency": "CNY"})]),
    ("Turn off the lights in the kitchen", "set_light",
     [("set_light", {"room": "kitchen", "state": "off", "brightness": None})]),
    ("Remind me to call mom at 6pm", "set_reminder create_calendar_event",
     [("set_reminder", {"text": "call mom", "time": "6pm"})]),
    ("Order 3 of SKU-123 and 2 of SKU-999 for Jane Roe", "create_order get_order_status",
     [("create_order", {"customer": {"name": "Jane Roe"},
                        "items": [{"sku": "SKU-123", "quantity": 3}, {"sku": "SKU-999", "quantity": 2}]})]),
    ("I want a refund for order A-1001, it arrived broken", "get_order_status process_refund",
     [("process_refund", {"order_id": "A-1001", "reason": None})]),
    ("帮我给 li@x.org 发一封邮件，主题是'开会'，内容是'明天十点'", "send_email",
     [("send_email", {"to": "li@x.org", "subject": "开会", "body": "明天十点", "cc": None})]),
    ("I have a question about my bill", "transfer_to_billing_agent transfer_to_refund_agent",
     [("transfer_to_billing_agent", {})]),
    ("I want a refund, and the billing is wrong", "transfer_to_billing_agent transfer_to_refund_agent",
     [("transfer_to_refund_agent", {})]),
    ("Hola, ¿cómo estás?", "transfer_to_billing_agent transfer_to_spanish_agent", [("transfer_to_spanish_agent", {})]),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "names", "calls"), ASKED, ids=[row[0] for row in ASKED])
def test_plain_requests_call_the_fitting_tool(prompt, names, calls):
    assert called(prompt, names) == calls


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("delete the file notes.txt", FILES.replace("write_file ", "")),
        ("I had a nice billing story for you", "send_email"),
        ("Write a poem about billing", "transfer_to_billing_agent"),
        ("What does refund mean?", "process_refund"),
        ("I spent 20 dollars yesterday", "convert_currency"),
        ("Hello!", "transfer_to_spanish_agent transfer_to_billing_agent"),
        ("Fix this code:\n```\ndef send_email(to):\n    pass\n```", "get_weather web_search"),
        ("Show the latest orders", "web_search"),
        ("What's 5+5?", "mcp__github__create_issue create_order"),
        ("Is AAPL a good stock to buy?", "get_order_status"),
        ("Don't send any email, just tell me a joke", "send_email"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_another_order_calls_no_tool(prompt, names):
    assert called(prompt, names) == []


def test_the_question_behind_a_long_text_is_found():
    prompt = "You are given a task. " * 2000 + "\n\nWhat is the weather in Oslo?"
    assert called(prompt, "get_weather") == [("get_weather", {"location": "Oslo", "unit": None})]


def test_of_two_tools_that_fit_alike_the_first_is_called():
    names = "get_weather get_city_weather"
    assert [name for name, _ in called("Will it rain in Porto tomorrow?", names)] == ["get_weather"]
    hot = OfferedTool("get_temperature", "Get the temperature", strict(city=STRING))
    calls = reply(Question("What is the temperature in Porto?", [TOOLS["get_weather"], hot]), TEXT).calls
    assert [call.name for call in calls] == ["get_temperature"]


@pytest.mark.parametrize("joint", [", then email", "? Then email", ". After that, email"])
def test_what_comes_then_waits_for_the_result_before(joint):
    prompt = f"Get the weather in Oslo{joint} it to bob@x.org"
    names = "get_weather send_email"
    assert [name for name, _ in called(prompt, names)] == ["get_weather"]
    done = [ToolResult("get_weather", "sunny")]
    assert [name for name, _ in called(prompt, names, done)] == ["send_email"]
    assert called(prompt, names, [*done, ToolResult("send_email", "sent")]) == []


def test_agents_that_hand_over_to_one_another_come_to_an_end():
    prompt = "I want a refund, and the billing is wrong"
    handed = [ToolResult("transfer_to_refund_agent", "")]
    assert called(prompt, "transfer_to_billing_agent", handed) == [("transfer_to_billing_agent", {})]
    handed.append(ToolResult("transfer_to_billing_agent", ""))
    assert called(prompt, "transfer_to_refund_agent", handed) == []


def test_an_array_of_objects_has_one_for_each_that_the_prompt_names():
    users = strict(users=listed(strict(name=STRING, age=INTEGER)))
    said = reply(Question("Jason is 25 and Ana is 31 years old", format="json_schema", schema=users), TEXT)
    assert json.loads(said.text) == {"users": [{"name": "Jason", "age": 25}, {"name": "Ana", "age": 31}]}


def test_json_mode_keeps_to_a_schema_that_the_instructions_spell_out():
    schema = json.dumps({"type": "object", "properties": {"name": STRING, "age": INTEGER}, "required": ["name", "age"]})
    told = Question("Jason is 25 years old", format="json_object", instructions=f"Match this json_schema:\n{schema}")
    assert json.loads(reply(told, TEXT).text) == {"name": "Jason", "age": 25}


@pytest.mark.parametrize(
    "schema", [True, {"enum": True}, {"anyOf": 3}, {"type": [{}]}, {"items": 1}, [], "string", {"enum": [[], {}]}]
)
def test_odd_schemas_of_tools_are_refused_or_called(schema):
    odd = OfferedTool("get_weather", "weather", {"properties": {"city": schema}})
    assert reply(Question("Weather in Paris and Rome?", [odd], choice="none"), TEXT).text == TEXT
    try:
        calls = reply(Question("Weather in Paris and Rome?", [odd]), TEXT).calls
    except ApiError as error:
        assert error.status == 400
    else:
        assert {call.name for call in calls} == {"get_weather"}


def test_many_tools_and_many_clauses_are_read_in_a_bounded_number_of_steps():
    tools = [TOOLS["get_weather"]._replace(name=f"get_weather_{number}") for number in range(32)]

    def ask(clauses, count):
        reply(Question("What is the weather in Paris, and what is it worth? " * clauses, tools[:count]), TEXT)

    ask(20_000, 32)
    assert_grows_in_proportion(lambda count: ask(10, count), 16)
    assert_grows_in_proportion(lambda clauses: ask(clauses, 4), 10)
    # Only so many clauses of a prompt are read: without that bound these were 3,000,000.
    assert steps_of(lambda: ask(2000, 32)) < 2_400_000
