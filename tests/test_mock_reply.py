"""What the mock says: which tools a prompt asks for, with which arguments, which JSON, and which token figures."""

from __future__ import annotations

import itertools
import json
import math

import pytest
from json_schemas import violations
from steps import assert_grows_in_proportion

from protocol.errors import ApiError
from protocol.mock.answer.logprobs import token_logprobs
from protocol.mock.answer.reply import OfferedTool, Question, Reply, ToolCall, ToolResult, count_tokens, reply
from protocol.openai.answers import split_words

TEXT = "powered by openai"
STRING, INTEGER, NUMBER, BOOLEAN = {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "boolean"}
STRINGS = {"type": "array", "items": STRING}


def record(**properties):
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def tool(called, about="", /, **properties):
    return OfferedTool(called, about, record(**properties))


WEATHER = tool("get_weather", "Get the current weather in a given location", city=STRING,
               unit={"enum": ["celsius", "fahrenheit"]})  # fmt: skip
CLOCK = tool("get_current_time", "Get the current time in a timezone", timezone=STRING)
MAIL = tool("send_email", "Send an email to a recipient", to=STRING, subject=STRING, body=STRING)
SUMS = tool("calculate", "Evaluate a mathematical expression", expression=STRING)
ADD, TIMES = tool("add", "Add two numbers", a=NUMBER, b=NUMBER), tool("multiply", a=NUMBER, b=NUMBER)
STOCK = tool("get_stock_price", "Get the current stock price for a ticker symbol", ticker=STRING)
SEARCH = tool("search_web", "Search the web for information", query=STRING)
FLIGHT = tool("bookFlight", "Book a flight", origin=STRING, destination=STRING, date={"format": "date", **STRING})
ORDER = tool("get_order_status", "Look up an order in the shop's database", order_id=STRING)
LIGHT = tool("set_light", "Turn a light on or off", room=STRING, on=BOOLEAN)
EVENT = tool("create_event", "Create a calendar event", title=STRING, date=STRING, attendees=STRINGS)
CUSTOMER = tool("lookup", "Find a customer in the customer database", name=STRING)
READ, LIST = tool("read_file", "Read a file", path=STRING), tool("list_files", directory=STRING)
TRANSLATE = tool("translate_text", "Translate text", text=STRING, target_language=STRING)
TABLE = tool("reserve_table", "Reserve a table in a restaurant", restaurant=STRING, guests=INTEGER, time=STRING)
CHINESE = tool("chaxun", "查询快递的物流进度", number=STRING)
ALL = [WEATHER, CLOCK, MAIL, SUMS, STOCK, SEARCH, FLIGHT, ORDER, LIGHT, EVENT, CUSTOMER, READ, LIST, TRANSLATE, TABLE]
ALL += [CHINESE]


def weather(city, unit="celsius"):
    return ("get_weather", {"city": city, "unit": unit})


def called(prompt, tools=ALL, **others):
    answer = reply(Question(prompt, tools, **others), TEXT)
    assert bool(answer.text) != bool(answer.calls)
    return [(call.name, json.loads(call.arguments)) for call in answer.calls]


ASKING = [
    ("What is the weather in Paris?", [weather("Paris")]),
    ("what's the weather like in San Francisco, CA in fahrenheit?", [weather("San Francisco, CA", "fahrenheit")]),
    ("weather in oslo", [weather("Oslo")]),
    ("Weather for New York tomorrow please", [weather("New York")]),
    ("Is it raining in London right now?", [weather("London")]),
    ("Do I need an umbrella in Rome tomorrow?", [weather("Rome")]),
    ("Tell me the weather in Rome.", [weather("Rome")]),
    ("I'd like to know the current temperature in Madrid", [weather("Madrid")]),
    ("Call get_weather for Oslo", [weather("Oslo")]),
    ("please use getWeather, for 'Bergen'", [weather("Bergen")]),
    ("Write a poem about rain. Then tell me the weather in Oslo.", [weather("Oslo")]),
    ("What time is it in Asia/Tokyo?", [("get_current_time", {"timezone": "Asia/Tokyo"})]),
    ("Send an email to bob@example.com saying hi",
     [("send_email", {"to": "bob@example.com", "subject": "subject", "body": "hi"})]),
    ("Email Alice that the meeting moved",
     [("send_email", {"to": "Alice", "subject": "subject", "body": "the meeting moved"})]),
    ("Could you please send 'hello' to bob@x.org by email?",
     [("send_email", {"to": "bob@x.org", "subject": "subject", "body": "hello"})]),
    ("Send an email, subject: Lunch, to ann@x.org",
     [("send_email", {"to": "ann@x.org", "subject": "Lunch", "body": "body"})]),
    ("What is 23 * (7 + 2)?", [("calculate", {"expression": "23 * (7 + 2)"})]),
    ("calculate 5 + 6", [("calculate", {"expression": "5 + 6"})]),
    ("What's the stock price of AAPL?", [("get_stock_price", {"ticker": "AAPL"})]),
    ("How is Apple stock doing?", [("get_stock_price", {"ticker": "Apple"})]),
    ("Search the web for quantum computing", [("search_web", {"query": "quantum computing"})]),
    ("Google the best pizza in Naples", [("search_web", {"query": "the best pizza in Naples"})]),
    ("Book a flight from London to Paris on 2030-05-01",
     [("bookFlight", {"origin": "London", "destination": "Paris", "date": "2030-05-01"})]),
    ("I want to book a flight to Paris from London on May 5, 2031",
     [("bookFlight", {"origin": "London", "destination": "Paris", "date": "2031-05-05"})]),
    ("Where is my order ORD-123?", [("get_order_status", {"order_id": "ORD-123"})]),
    ("What is the status of order 12345?", [("get_order_status", {"order_id": "12345"})]),
    ("Turn on the light in the kitchen", [("set_light", {"room": "kitchen", "on": True})]),
    ("Set the light off in the bedroom", [("set_light", {"room": "bedroom", "on": False})]),
    ("Schedule a meeting with Ann and Bob on Friday",
     [("create_event", {"title": "title", "date": "Friday", "attendees": ["Ann", "Bob"]})]),
    ("Find customer Jane Doe", [("lookup", {"name": "Jane Doe"})]),
    ("read the file notes.txt", [("read_file", {"path": "notes.txt"})]),
    ("Which files are there in src/?", [("list_files", {"directory": "src/"})]),
    ('Translate "good morning" to French', [("translate_text", {"text": "good morning", "target_language": "French"})]),
    ("translate hello to German", [("translate_text", {"text": "hello", "target_language": "German"})]),
    ('Reserve a table for 4 people at 7pm at "Chez Ada"',
     [("reserve_table", {"restaurant": "Chez Ada", "guests": 4, "time": "7pm"})]),
    ("北京今天天气怎么样？", [weather("北京")]),
    ("查询上海的天气，用华氏度", [weather("上海", "fahrenheit")]),
    ("北京和上海的天气怎么样？", [weather("北京"), weather("上海")]),
    ("帮我计算 12*7", [("calculate", {"expression": "12*7"})]),
    ("请搜索量子计算", [("search_web", {"query": "量子计算"})]),
    ("给bob@x.org发一封邮件", [("send_email", {"to": "bob@x.org", "subject": "subject", "body": "body"})]),
    ('帮我把"早上好"翻译成英语', [("translate_text", {"text": "早上好", "target_language": "English"})]),
    ("帮我查快递 SF123456 的物流", [("chaxun", {"number": "SF123456"})]),
    ("What's the weather like in San Francisco, Tokyo, and Paris?",
     [weather("San Francisco"), weather("Tokyo"), weather("Paris")]),
    ("What's the weather in Paris and what time is it in Asia/Tokyo?",
     [weather("Paris"), ("get_current_time", {"timezone": "Asia/Tokyo"})]),
    ("Get the weather for Oslo, and email bob@example.com",
     [weather("Oslo"), ("send_email", {"to": "bob@example.com", "subject": "subject", "body": "body"})]),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "calls"), ASKING, ids=[row[0] for row in ASKING])
def test_a_tool_that_is_asked_for_is_called_with_what_the_prompt_says(prompt, calls):
    assert called(prompt) == calls


NOT_ASKING = """\
hello
thank you
test
ok
Say this is a test
Count to 10
How are you?
Who are you?
What can you do?
Hello! Can you help me?
write a poem about rain
Write a poem about the weather in Paris
Tell me a joke about the weather
I like the weather in Paris.
Why is the weather in London so bad?
What is a weather balloon?
What does the weather report mean?
Explain how to get weather data from an API
Don't call get_weather
Answer without using get_weather for Oslo
What is email?
How do I send an email?
My email is bob@example.com
I read a book about flight.
In order to win, what should I do?
Once upon a time there was a king.
What is the capital of France?
Remember that the price of the stock was 5
Summarize this text: the weather is bad in Paris.
你好
谢谢你
写一首关于天气的诗
不要查天气"""


@pytest.mark.parametrize("prompt", NOT_ASKING.splitlines())
def test_small_talk_and_texts_call_no_tool(prompt):
    assert reply(Question(prompt, ALL), TEXT) == Reply(TEXT)


def test_of_two_tools_the_one_that_the_prompt_names_better_is_called():
    forecast = tool("get_weather_forecast", "Get the forecast", city=STRING)
    assert [name for name, _ in called("Weather forecast for Rome", [WEATHER, forecast])] == ["get_weather_forecast"]
    assert [name for name, _ in called("What is the weather in Rome?", [forecast, WEATHER])] == ["get_weather"]
    assert called("What is 3 + 4?", [ADD, TIMES]) == [("add", {"a": 3, "b": 4})]
    assert called("multiply 6 by 7", [ADD, TIMES]) == [("multiply", {"a": 6, "b": 7})]


# ---- choices and loops


def loop(question, rounds=12):
    """Play a client that answers each call; return the names of the calls, a list for each turn, and the last text."""
    turns, results = [], []
    for _ in range(rounds):
        answer = reply(question._replace(results=tuple(results)), TEXT)
        if not answer.calls:
            return turns, answer.text
        turns.append([call.name for call in answer.calls])
        results += [ToolResult(call.name, "{}") for call in answer.calls]
    raise AssertionError("the loop does not end")


TWO = "What's the weather in Paris and Tokyo, and email the result to bob@x.org"


@pytest.mark.parametrize(
    ("parallel", "turns"),
    [
        (True, [["get_weather", "get_weather", "send_email"]]),
        (False, [["get_weather"], ["get_weather"], ["send_email"]]),
    ],
    ids=["at_once", "one_by_one"],
)
def test_a_loop_of_calls_and_results_ends_with_the_text(parallel, turns):
    assert loop(Question(TWO, [WEATHER, MAIL], parallel=parallel)) == (turns, TEXT)


def test_a_loop_ends_whatever_the_results_are_called():
    unnamed = [ToolResult("", "x")] * 3
    assert reply(Question(TWO, [WEATHER, MAIL], results=unnamed), TEXT) == Reply(TEXT)
    stray = [ToolResult("other", "x")]
    assert len(reply(Question(TWO, [WEATHER, MAIL], results=stray), TEXT).calls) == 3


def test_results_give_later_calls_their_values():
    find = tool("find_user", "Find a user", name=STRING)
    orders = tool("list_orders", "List the orders of a user", user_id=INTEGER)
    asked = Question("Find user Ada, then list orders", [find, orders], parallel=False)
    first = reply(asked, TEXT).calls
    second = reply(asked._replace(results=[ToolResult("find_user", '{"user_id": 4711}')]), TEXT).calls
    assert [(call.name, call.arguments) for call in (*first, *second)] == [
        ("find_user", '{"name": "Ada"}'),
        ("list_orders", '{"user_id": 4711}'),
    ]


CHOICES = [
    ("none", {"choice": "none"}, "What is the weather in Paris?", []),
    ("required_and_asked", {"choice": "required"}, "send an email to a@b.co", ["send_email"]),
    ("required_and_not_asked", {"choice": "required"}, "hello", ["get_weather"]),
    ("required_with_a_result", {"choice": "required", "results": [ToolResult("get_weather", "")]}, "hi",
     ["send_email"]),
    ("required_with_all_results",
     {"choice": "required", "results": [ToolResult("get_weather", ""), ToolResult("send_email", "")]},
     "hi", ["get_weather"]),
    ("named", {"named": "send_email"}, "What is the weather in Paris?", ["send_email"]),
    ("named_again", {"named": "send_email", "results": [ToolResult("send_email", "")]}, "hi", ["send_email"]),
]  # fmt: skip


@pytest.mark.parametrize(("others", "prompt", "names"), [row[1:] for row in CHOICES], ids=[row[0] for row in CHOICES])
def test_tool_choice_decides_who_is_called(others, prompt, names):
    assert [name for name, _ in called(prompt, [WEATHER, MAIL], **others)] == names


def test_calls_go_before_the_format_and_the_format_comes_after_the_results():
    asked = Question("What is the weather in Paris?", [WEATHER], format="json_schema", schema=record(city=STRING))
    assert [call.name for call in reply(asked, TEXT).calls] == ["get_weather"]
    assert reply(asked._replace(results=[ToolResult("get_weather", "")]), TEXT) == Reply('{"city": "Paris"}')


@pytest.mark.parametrize(
    ("prompt", "said"), [("run 'print(1)' in the shell", "print(1)"), ("what is 2 + 3 in shell", "2 + 3")]
)
def test_a_custom_tool_gets_free_text(prompt, said):
    shell = OfferedTool("shell", "Run code", None, "custom")
    assert reply(Question(prompt, [shell], named="shell"), TEXT).calls == [ToolCall("shell", said, "custom")]


def test_a_tool_without_parameters_is_called_with_an_empty_object():
    assert called("ping", [OfferedTool("ping")], choice="required") == [("ping", {})]


REFUSED = [
    ("required_without_tools", Question("x", choice="required"), "tool_choice",
     "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.", "invalid_value"),
    ("named_without_tools", Question("x", named="a"), "tool_choice",
     "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.", "invalid_value"),
    ("named_but_not_offered", Question("x", [WEATHER], named="a"), "tool_choice",
     "Tool choice 'a' not found in 'tools' parameter.", "invalid_value"),
    ("impossible_schema", Question("x", format="json_schema", schema=False, schema_name="n"), "response_format",
     "Invalid schema for response_format 'n': ", "invalid_json_schema"),
    ("malformed_parameters", Question("x", [OfferedTool("t", "", {"type": "nope"})], named="t"), "tools",
     "Invalid schema for function 't': ", "invalid_json_schema"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("question", "param", "message", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_cannot_be_had_is_refused(question, param, message, code):
    with pytest.raises(ApiError) as caught:
        reply(question, TEXT)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)
    assert caught.value.message.startswith(message)


# ---- JSON

OBJECTS = [
    ("keys", "Return JSON with keys name and age for Alice, 30", {"name": "Alice", "age": 30}),
    ("sentence_with_values", "Give me a JSON object with name, age and city. Bob is 41 and lives in Rome.",
     {"name": "Bob", "age": 41, "city": "Rome"}),
    ("drawn", 'As JSON: {"name": string, "age": number, "tags": [string], "address": {"city": "..."}}',
     {"name": "Ada Lovelace", "age": 1.5, "tags": ["tag"], "address": {"city": "Paris"}}),
    ("drawn_with_values", 'return json {"person": {"first_name": "Ada", "age": 3}} for Jane Roe, age 5',
     {"person": {"first_name": "Jane Roe", "age": 5}}),
    ("drawn_choice", 'Output {"type": "cat|dog", "ok": true} as json', {"type": "cat", "ok": True}),
    ("drawn_bare", "Give me {name, age} as json", {"name": "Ada Lovelace", "age": 1}),
    ("fields", 'Extract fields: title, year, director. The movie "Heat" from 1995.',
     {"title": "Heat", "year": 1995, "director": "director"}),
    ("quoted", 'Use JSON with "city" and "population".', {"city": "Paris", "population": 1}),
    ("quoted_alone", 'Return "city" as JSON', {"city": "Paris"}),
    ("backticks", "A JSON object containing the keys `sentiment` and `score`.",
     {"sentiment": "sentiment", "score": 1.5}),
    ("typed", "JSON with properties firstName (string), isActive (boolean), price as number",
     {"firstName": "Ada", "isActive": True, "price": 1.5}),
    ("typed_after", "Return a JSON object with a 'steps' array and a 'final_answer' string",
     {"steps": ["step"], "final_answer": "final answer"}),
    ("bullets", "JSON with these fields:\n- name: the user's name\n- age: how old\n- isActive: boolean flag\nBob is 7.",
     {"name": "Bob", "age": 7, "isActive": True}),
    ("numbered", "json with keys:\n1. title - a title\n2. tags (list of strings)", {"title": "title", "tags": ["tag"]}),
    ("list", "Return JSON with a list of 3 colors", {"colors": ["blue", "blue 2", "blue 3"]}),
    ("each", "json with 2 users, each having id and name",
     {"users": [{"id": 1, "name": "Ada Lovelace"}, {"id": 2, "name": "Ada Lovelace 2"}]}),
    ("chinese", "请用JSON返回，包含字段 name、age 和 city", {"name": "Ada Lovelace", "age": 1, "city": "Paris"}),
    ("chinese_key", '输出JSON，字段："姓名"', {"姓名": "姓名"}),
    ("nothing", "json please", {"text": TEXT}),
    ("quotation_is_no_key", 'Translate "hello" to French, answer in JSON', {"text": TEXT}),
    ("prose_is_no_key", "I have a JSON file with problems, what do I do?", {"text": TEXT}),
    ("broken_drawing", "json {{{{", {"text": TEXT}),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "value"), [row[1:] for row in OBJECTS], ids=[row[0] for row in OBJECTS])
def test_json_object_has_the_keys_that_the_prompt_names(prompt, value):
    assert json.loads(reply(Question(prompt, format="json_object"), TEXT).text) == value


def test_the_instructions_may_name_the_keys_too():
    asked = Question("Bob is 3", instructions="Always answer in JSON with keys name and age", format="json_object")
    assert reply(asked, TEXT).text == '{"name": "Bob", "age": 3}'


@pytest.mark.parametrize(
    ("others", "prompt"),
    [
        ({}, "hello"),
        ({"format": "json_object"}, "json please"),
        ({"format": "json_object"}, "json with keys name and age"),
        ({"format": "json_schema", "schema": record(city=STRING)}, "in Paris"),
        ({"format": "json_schema", "schema": record(city=STRING, ok=BOOLEAN)}, "in Paris"),
    ],
)
def test_n_choices_differ_and_the_first_is_the_plain_one(others, prompt):
    asked = Question(prompt, **others)
    texts = [reply(asked._replace(number=number), TEXT).text for number in range(8)]
    assert len(set(texts)) == 8
    assert texts[0] == reply(asked, TEXT).text
    for text in texts if "schema" in others else ():
        assert violations(json.loads(text), others["schema"]) == []


def test_the_same_seed_gives_the_same_bytes_and_another_one_others():
    asked = Question("x", format="json_schema", schema=record(title=STRING, score=NUMBER))
    texts = [reply(asked._replace(seed=seed), TEXT).text for seed in (0, 1, 2, 3)]
    assert texts == [reply(asked._replace(seed=seed), TEXT).text for seed in (0, 1, 2, 3)]
    assert len(set(texts)) > 1


PROMPTS = [
    "",
    "Paris, 5 days, red",
    'name: Ada, "x" a@b.co https://x.org 2030-01-02 7pm',
    "从北京到上海，3张票",
    '{"a": ',
]
PARTS = [
    STRING, {"type": "string", "maxLength": 3}, {"type": "string", "pattern": r"^[A-Z]{3}-\d{4}$"},
    *({"type": "string", "format": name} for name in ("date", "date-time", "email", "uri", "uuid", "ipv4")),
    {"type": "integer", "minimum": 3, "maximum": 4}, {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5},
    {"enum": ["red", 1, None]}, {"const": "x"}, {"anyOf": [INTEGER, STRING]}, {"$ref": "#/$defs/Part"},
    {"allOf": [{"minLength": 2}, STRING]}, {"type": "array", "items": {"enum": ["red", "blue"]}, "uniqueItems": True},
    {"type": "array", "items": STRING, "minItems": 2, "maxItems": 2}, BOOLEAN, {"type": ["string", "null"]},
]  # fmt: skip
NAMES = ["city", "name", "days", "email", "url", "date", "time", "query", "items", "from", "to", "enabled"]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_thousand_schemas_are_satisfied_whatever_the_prompt_says(prompt):
    names = itertools.cycle(NAMES)
    for index, (one, other) in enumerate(itertools.product(PARTS, repeat=2)):
        schema = {**record(**{next(names): one, next(names): other}), "$defs": {"Part": record(x=PARTS[index % 8])}}
        asked = Question(prompt, format="json_schema", schema=schema, number=index % 3, seed=index % 2)
        assert violations(json.loads(reply(asked, TEXT).text), schema) == [], (schema, index)


@pytest.mark.parametrize(
    "piece", ["(", "1+", "a ", "Aa, ", "' ", "“", "北", "查询", "x/", "{", '{"a":', "- a\n", " .", "1,2", "a@b."]
)
@pytest.mark.parametrize("form", ["text", "json_object", "json_schema"])
def test_long_prompts_are_read_in_proportion(piece, form):
    tools = ALL if form == "text" else ()

    def ask(length):
        prompt = (piece * length)[:length]
        reply(Question(f"json: weather {prompt}", tools, format=form, schema=record(a=STRING)), TEXT)

    assert_grows_in_proportion(ask, 2000, slack=2000)
    ask(200_000)


# ---- tokens


@pytest.mark.parametrize("top", [0, 1, 5, 20])
@pytest.mark.parametrize("text", [TEXT, "你好 \U0001f600", "a the and", " the and\n", "", "\ud800"])
def test_token_figures_are_consistent(text, top):
    for seed in range(20):
        entries = token_logprobs(split_words(text), top, seed)
        assert "".join(entry["token"] for entry in entries) == text
        for entry in entries:
            likely = entry["top_logprobs"]
            assert len(likely) == top
            assert len({other["token"] for other in likely}) == top
            figures = [other["logprob"] for other in likely]
            assert figures == sorted(figures, reverse=True) and len(set(figures)) == top
            assert sum(math.exp(figure) for figure in figures) <= 1
            assert entry["logprob"] <= 0
            for other in (entry, *likely):
                assert bytes(other["bytes"]) == other["token"].encode("utf-8", "backslashreplace")
            if top:
                assert likely[0] == {name: entry[name] for name in ("token", "logprob", "bytes")}


def test_token_figures_repeat_with_the_seed():
    pieces = split_words(TEXT)
    assert token_logprobs(pieces, 3, 7) == token_logprobs(pieces, 3, 7) != token_logprobs(pieces, 3, 8)


@pytest.mark.parametrize(("text", "count"), [("", 0), ("one", 1), ("  two\n\nwords ", 2), ("你好 world", 2)])
def test_words_are_counted_as_tokens(text, count):
    assert count_tokens(text) == count
