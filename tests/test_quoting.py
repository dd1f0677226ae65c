"""Quotations and scripts: what stands in marks of any kind, and texts without capitals or spaces, in arguments."""

from __future__ import annotations

import json

import pytest
from steps import assert_grows_in_proportion

from protocol.mock.answer.hints import read_hints
from protocol.mock.answer.reply import OfferedTool, Question, reply

TEXT = "powered by openai"
STRING = {"type": "string"}


def tool(named, about, /, **properties):
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return OfferedTool(named, about, schema)


WEATHER = tool("get_weather", "Get the current weather in a given location", location=STRING)
SEARCH = tool("search_web", "Search the web for information", query=STRING)
TRANSLATE = tool("translate_text", "Translate text", text=STRING)
MAIL = tool("send_email", "Send an email to a recipient", to=STRING, subject=STRING, body=STRING)
ISSUE = tool("create_issue", "Create an issue", title=STRING)
ALL = [WEATHER, SEARCH, TRANSLATE, MAIL, ISSUE]


def called(prompt, tools=ALL, **members):
    answer = reply(Question(prompt, tools, **members), TEXT)
    return [(call.name, json.loads(call.arguments)) for call in answer.calls]


WHOLE = [
    '"What is the weather in Paris?"', "'What is the weather in Paris?'", "`What is the weather in Paris?`",
    "“What is the weather in Paris?”", "„What is the weather in Paris?“", "«What is the weather in Paris?»",
    "»What is the weather in Paris?«", "「What is the weather in Paris?」", "‘What is the weather in Paris?’",
    '"""What is the weather in Paris?"""', '  "Weather in Paris please"\n',
]  # fmt: skip


@pytest.mark.parametrize("prompt", WHOLE)
def test_a_prompt_that_is_quoted_as_a_whole_is_no_literal(prompt):
    assert called(prompt) == [("get_weather", {"location": "Paris"})]
    assert called(prompt, [WEATHER], named="get_weather") == [("get_weather", {"location": "Paris"})]


WRITE = tool("write", "Writes a file to the local filesystem.", content=STRING, filePath=STRING)


@pytest.mark.parametrize(
    "said",
    ['Write the text "abc" to the file /tmp/w.txt', 'Write "abc" to the file `/tmp/w.txt`.\nMind my\tback\\slash'],
)
def test_a_prompt_that_a_program_quoted_and_escaped_is_read_as_it_was(said):
    """Terminal agents hand their arguments on so: opencode's `run`, for one."""
    quoted = json.dumps(said, ensure_ascii=False)
    assert read_hints(quoted).text == said
    assert called(quoted, [WRITE]) == [("write", {"content": "abc", "filePath": "/tmp/w.txt"})]


@pytest.mark.parametrize("prompt", ['"Oslo"', "「Oslo」", '"Oslo" "Rome"', '"Is it Oslo?" or "Rome"'])
def test_short_quotations_and_several_ones_are_literals(prompt):
    assert [hint.kind for hint in read_hints(prompt).literals][:1] == ["quoted"]


QUOTED = [
    "“Tea’s ready”", '"Tea’s ready"', "„Tea’s ready“", "„Tea’s ready”", "«Tea’s ready»", "»Tea’s ready«", "‹Tea’s ready›",
    "「Tea’s ready」", "『Tea’s ready』", "《Tea’s ready》", "〈Tea’s ready〉", "`Tea’s ready`", "”Tea’s ready”",
    "＂Tea’s ready＂", "〝Tea’s ready〟", "｢Tea’s ready｣",
]  # fmt: skip


@pytest.mark.parametrize("quoted", [*QUOTED, "'Tea”s ready'", "‘Tea”s ready’", "‚Tea”s ready‘"])
@pytest.mark.parametrize("form", ["Create an issue titled {} right now", "Create an issue, title: {}, please"])
def test_a_quotation_in_any_marks_is_the_value_without_them(quoted, form):
    assert called(form.format(quoted)) == [("create_issue", {"title": quoted[1:-1]})]


def test_an_apostrophe_opens_no_quotation():
    prompt = "It's Ann's and Bob’s idea, isn’t it? The players' and the coaches' words don't count"
    assert [hint.value for hint in read_hints(prompt).literals if hint.kind == "quoted"] == []


SCRIPTS = [
    ("「東京」の天気を教えて", [("get_weather", {"location": "東京"})]),
    ("東京の天気を教えてください。", [("get_weather", {"location": "東京"})]),
    ("明日、ニューヨークの天気は？", [("get_weather", {"location": "ニューヨーク"})]),
    ("“上海”的天气怎么样？", [("get_weather", {"location": "上海"})]),
    ("《上海》今天的天气", [("get_weather", {"location": "上海"})]),
    ("서울 날씨 알려줘", [("get_weather", {"location": "서울"})]),
    ("부산의 내일 날씨 어때?", [("get_weather", {"location": "부산"})]),
    ("Какая погода в Москве?", [("get_weather", {"location": "Москве"})]),
    ("Какая погода в городе «Нижний Новгород» завтра?", [("get_weather", {"location": "Нижний Новгород"})]),
    ("ما هو الطقس في القاهرة؟", [("get_weather", {"location": "القاهرة"})]),
    ("Переведи на английский: Привет, мир", [("translate_text", {"text": "Привет, мир"})]),
    ("「おはよう」を英語に翻訳して", [("translate_text", {"text": "おはよう"})]),
    ("ترجم «صباح الخير» إلى الإنجليزية", [("translate_text", {"text": "صباح الخير"})]),
    ("bob@x.org に件名「会議」、本文「十時です」でメールを送って",
     [("send_email", {"to": "bob@x.org", "subject": "会議", "body": "十時です"})]),
    ("Search the web for Владимир Набоков", [("search_web", {"query": "Владимир Набоков"})]),
    ("Search the web for 量子コンピュータ", [("search_web", {"query": "量子コンピュータ"})]),
    ("Create an issue titled «Ошибка при запуске»", [("create_issue", {"title": "Ошибка при запуске"})]),
    ("Create an issue titled „Größe ändern“", [("create_issue", {"title": "Größe ändern"})]),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "calls"), SCRIPTS, ids=[row[0] for row in SCRIPTS])
def test_text_of_any_script_reaches_arguments_as_it_is(prompt, calls):
    assert called(prompt) == calls


@pytest.mark.parametrize("prompt", ["こんにちは", "안녕하세요", "Привет!", "Спасибо", "مرحبا", "ありがとうございます"])
def test_greetings_of_any_script_call_no_tool(prompt):
    assert called(prompt) == []


def test_arguments_have_the_characters_themselves_and_no_escapes():
    (call,) = reply(Question("東京の天気を教えて", [WEATHER]), TEXT).calls
    assert call.arguments == '{"location": "東京"}'


@pytest.mark.parametrize("piece", ["「", "„x", "の", "東京の", "서울 날씨 ", "في القاهرة ", "’", "«»", "‚"])
def test_long_texts_of_marks_and_scripts_are_read_in_proportion(piece):
    assert_grows_in_proportion(lambda count: read_hints(piece * count), 1200)
