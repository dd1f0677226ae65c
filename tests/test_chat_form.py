"""The form of usual chats: what it takes for a chat of its own is one, with as many words as the ordinary way counts."""

from __future__ import annotations

import json
import random
import re

import pytest
from mocks import make_mock, make_request

from protocol.errors import ApiError
from protocol.mock.inference.chat_form import form_of
from protocol.mock.inference.simple_chat import usual_words
from protocol.openai.chat_form import MOST_BYTES, ChatForms
from protocol.wire.json_text import parse_json

TOKENS = 3
SYSTEM = {"role": "system", "content": "Be brief."}


def chat(text: str, **members: object) -> bytes:
    """Return a usual chat that asks a text."""
    body = {"model": "gpt-4o", "messages": [SYSTEM, {"role": "user", "content": text}], **members}
    return json.dumps(body).encode()


def form_in(data: bytes):
    """Return the form of a body that is a usual chat."""
    body = parse_json(data)
    return form_of(data, body, usual_words(body, TOKENS))


def words_of(data: bytes) -> int:
    """Return how many words the ordinary way counts, 0 for what is no usual chat."""
    try:
        body = parse_json(data)
    except ApiError:
        return 0
    return usual_words(body, TOKENS) if isinstance(body, dict) else 0


def test_counts_the_words_of_a_chat_with_another_text():
    form = form_in(chat("two words", stream=True))
    for text in ("two words", "", " ", "one", "no  more\u2003than these", "日本語 と", "a" * 5000, "x\x7fy"):
        data = json.dumps(json.loads(chat(text, stream=True)), ensure_ascii=False).encode()
        assert form.words(data) == words_of(data) > 0, text


OTHERS = {
    "another member": chat("one", seed=1),
    "another model": chat("one").replace(b"gpt-4o", b"gpt-4p"),
    "another system message": chat("one").replace(b"Be brief.", b"Be long."),
    "one message more": chat("one").replace(b"}]", b'}, {"role": "user", "content": "two"}]'),
    "a quotation mark": chat('say "no"'),
    "an escape": chat("two\nlines"),
    "a control character": chat("one").replace(b"one", b"o\x1fe"),
    "no UTF-8": chat("one").replace(b"one", b"o\xffe"),
    "half a surrogate pair": chat("one").replace(b"one", b"\xed\xa0\x80"),
    "cut short": chat("one")[:-1],
    "one byte more": chat("one") + b" ",
    "nothing": b"",
    "long": chat("one " * (MOST_BYTES // 4)),
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_what_has_another_form_is_read_the_ordinary_way(data):
    assert form_in(chat("one")).words(data) == 0


def test_beginning_and_end_do_not_overlap():
    """Both may fit where the text between them would have less than no bytes."""
    form = form_in(b'{"model":"m","messages":[{"role":"user","content":"\\"}"}]}'.replace(b'\\"}', b"x"))
    start, end = form._start, form._end
    for size in range(1, 4):
        assert form.words(start + end[size:]) == form.words(start[:-size] + end) == 0


#: Chats in which the text stands elsewhere, too, or is written otherwise: there is no form, or the right one.
HIDDEN = {
    "as another member": b'{"messages":[{"role":"user","content":"gpt-4o"}],"model":"gpt-4o"}',
    "as a name": b'{"model":"m","messages":[{"role":"user","content":"user"}],"user":"x"}',
    "twice": b'{"model":"m","messages":[{"role":"user","content":"a","content":"a"}]}',
    "in a member that is said twice": b'{"model":"m","messages":[{"role":"user","content":"a"}],"user":"b","user":"a"}',
    "escaped": b'{"model":"m","messages":[{"role":"user","content":"\\u0061"}],"user":"a"}',
    "escaped, before": b'{"user":"a","model":"m","messages":[{"role":"user","content":"\\u0061"}]}',
    "between strings": b'{"model":"m","messages":[{"role":"user","content":","},{"content":":","role":"user"}]}',
    "a colon": b'{"model":"m","messages":[{"role":"user","content":":"}]}',
    "behind an escaped mark": b'{"model":"m","messages":[{"role":"user","content":"\\"a"}],"user":"a"}',
    "behind a backslash": b'{"model":"m","messages":[{"role":"user","content":"a\\\\"}]}',
    "half a surrogate pair": b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
    "nothing": b'{"model":"m","user":"","messages":[{"role":"user","content":""}]}',
}


@pytest.mark.parametrize("data", HIDDEN.values(), ids=HIDDEN)
def test_a_form_is_found_where_the_text_stands_and_nowhere_else(data):
    form = form_in(data)
    if form is not None:
        for text in ("z", "y z", ""):
            other = form._start + text.encode() + form._end
            body = parse_json(data)
            body["messages"][-1]["content"] = text
            assert parse_json(other) == body
            assert form.words(other) == words_of(other)


def test_some_texts_are_found_though_they_stand_elsewhere():
    found = [name for name, data in HIDDEN.items() if form_in(data) is not None]
    assert {"a colon", "nothing"} <= set(found)


def test_a_form_counts_as_the_ordinary_way_whatever_comes():
    """Chats of a form with bytes changed at random: what the form counts, the ordinary way counts, too."""
    chance = random.Random(5)
    counted = 0
    for text in ("two words", "a", "role", "gpt-4o", "日本 語"):
        data = json.dumps(json.loads(chat(text, stream=True, user="u")), ensure_ascii=False).encode()
        form = form_in(data)
        assert form is not None
        for _ in range(4000):
            changed = bytearray(data)
            for _ in range(chance.randrange(1, 3)):
                at = chance.randrange(len(changed))
                changed[at : at + chance.randrange(2)] = chance.choice(
                    (b'"', b"\\", b"}", b" ", b"x", b"\xc3", b"\n", b",")
                )
            words = form.words(bytes(changed))
            assert words in (0, words_of(bytes(changed)))
            counted += words > 0
    assert counted > 300


def test_answers_are_the_same_with_and_without_a_form():
    """One mock answers chat after chat, the other sees each as its first."""
    house = make_mock()
    chance = random.Random(3)

    def answered(mock, data):
        request = make_request("POST", "/v1/chat/completions", data)
        said = mock.endpoint(request).answer(request)
        body = b"".join(getattr(said.body, "frames", [said.body]))
        return said.status, said.fields, re.sub(b"chatcmpl-[0-9a-f]{24}", b"", body)

    kinds = [{}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}, {"seed": 1}]
    for _ in range(300):
        data = chat("word " * chance.randrange(9), **chance.choice(kinds[: chance.randrange(1, 5)]))
        assert answered(house, data) == answered(make_mock(), data)


def test_another_form_is_learned_in_time():
    mock = make_mock()

    def ask(data):
        request = make_request("POST", "/v1/chat/completions", data)
        endpoint = mock.endpoint(request)
        endpoint.answer(request)
        return request._json is None  # nobody has read it

    assert [ask(chat("a")), ask(chat("b"))] == [False, True]
    assert [ask(chat("c", seed=1)) for _ in range(10)] == [*[False] * 8, True, True]


# ---- chats that are read for what else they say ---------------------------------------------------------------------


def but_for_messages(value):
    return {**value, "messages": []} if isinstance(value, dict) and "messages" in value else value


CLIENTS = [
    lambda text: chat(text),
    lambda text: chat(text, stream=True, max_tokens=5),
    lambda text: json.dumps(
        {"messages": [{"content": text, "role": "user"}], "tools": [{"a": 1}], "model": "m"}
    ).encode(),
    lambda text: json.dumps({"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]}).encode(),
    lambda text: json.dumps({"messages": [text], "model": text}).encode(),
    lambda text: json.dumps({"messages": [], "prompt": text}).encode(),
    lambda text: json.dumps([text]).encode(),
    lambda text: chat(text, model=text),
    lambda text: chat(text, user=text),
    lambda text: b'{"messages": [{"content": "a"}], "messages": [{"content": "%b"}], "n": 2}' % text.encode(),
    lambda text: b'{"messages": [{"content": "%b", "content": "a"}]}' % text.encode(),
]


@pytest.mark.parametrize("seed", range(20))
def test_reads_all_but_the_messages_as_it_is_whoever_sends_it(seed):
    chance = random.Random(seed)
    forms, clients = ChatForms(), chance.sample(CLIENTS, chance.choice([1, 2, 4]))
    for _ in range(300):
        text = "".join(
            chance.choices(["a", " ", "word ", '\\"', "\\n", "ü", "}", "]", "model", "日本"], k=chance.randint(0, 9))
        )
        request = make_request("POST", "/v1/chat/completions")
        try:
            request.body = chance.choice(clients)(text)
            whole = parse_json(request.body)
        except ApiError:
            with pytest.raises(ApiError):
                forms.read(request)
            continue
        assert but_for_messages(forms.read(request)) == but_for_messages(whole)
        assert request.json() == whole


def test_what_a_backend_makes_of_one_chat_is_not_said_by_the_next():
    forms = ChatForms()
    for text in ("one", "two", "three"):
        request = make_request("POST", "/v1/chat/completions")
        request.body = chat(text)
        assert forms.read(request)["model"] == "gpt-4o"
        request.json()["model"] = "another"
    assert "one" not in str(forms.body)  # nobody's text is kept


def test_a_form_is_looked_for_in_few_of_chats_that_have_nothing_in_common():
    forms, looked_at = ChatForms(), []
    for number in range(1000):
        request = make_request("POST", "/v1/chat/completions")
        request.body = chat("Hello", user=str(number))
        before = forms._form
        forms.read(request)
        if forms._form is not before:
            looked_at.append(number)
    assert len(looked_at) < 30
    request.body = chat("Hello", user="960")
    last = request.body
    request = make_request("POST", "/v1/chat/completions")
    request.body = last.replace(b"Hello", b"Goodbye")
    assert forms.read(request)["user"] == "960"
