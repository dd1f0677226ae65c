"""Usual chats of one form: their native calls are those that the ordinary way makes, whatever comes of them."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import native as native_side
import pytest
from dashscope_samples import MESSAGE_ANSWER, TEXT_FRAMES, sse
from native import KEY, MULTIMODAL, TEXT, URL_ERROR, Native, answer, events, refusal, translator, until
from skipping import run
from upstreams import Peer, Received

from protocol.dashscope.mapping.chat import plan_chat
from protocol.dashscope.mapping.usual_chat import UsualChat, usual_chat
from protocol.errors import ApiError
from protocol.exchange import Request
from protocol.wire.json_text import parse_json

CHAT = "/v1/chat/completions"
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.fixture(autouse=True)
def connection_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first call be made without a task, and so have its form looked for."""
    monkeypatch.setattr(native_side, "has_connection_at_rest", True)


def chat(text: str, **members: Any) -> bytes:
    """Return a usual chat that asks a text."""
    body = {"model": "qwen-plus", "messages": [SYSTEM, {"role": "user", "content": text}], **members}
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace")


def form_in(data: bytes) -> UsualChat | None:
    body = parse_json(data)
    return usual_chat(data, body, plan_chat(body))


def in_the_ordinary_way(data: bytes) -> bytes:
    """Return the body of the only native call for a chat, b"" where there is none: the plain twin."""
    try:
        plan = plan_chat(parse_json(data))
    except ApiError:
        return b""
    return plan.calls[0].encode() if len(plan.calls) == 1 else b""


MEMBERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "a stream": {"stream": True},
    "a stream with usage": {"stream": True, "stream_options": {"include_usage": True}},
    "the SDK's": {"max_tokens": 256, "stream": False, "temperature": 0.7, "user": "u", "seed": 3},
    "limits": {
        "max_tokens": 9999,
        "max_completion_tokens": 5,
        "temperature": 2,
        "top_p": 1,
        "stop": ["a", "Be brief."],
    },
    "extensions": {"enable_search": True, "top_k": 3, "translation_options": {"source_lang": "auto"}},
    "a model whose endpoint takes parts": {"model": "qwen3-vl-plus"},
    "farui": {"model": "farui-plus", "max_tokens": 9999},
    "nearly too much around the messages": {"user": "u" * 900},
    "odd names": {"user": '"messages": [7]', "metadata": {"messages": [{"role": "user"}]}, "租约": None},
}

USER, MODEL = {"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}
TALKS: dict[str, list[Any]] = {
    "one": [USER],
    "some turns": [SYSTEM, USER, MODEL, USER],
    "two systems": [SYSTEM, USER, {"role": "developer", "content": "Be long."}],
    "the model last": [USER, MODEL],
    "escapes": [{"role": "user", "content": '"\\\b\f\n\r\t\0\x7f/ \u2028'}],
    "wide": [{"content": "日本語 と 😀", "role": "user"}],
    "half a surrogate pair": [{"role": "user", "content": "\ud83d"}],
    "JSON": [{"role": "user", "content": json.dumps({"model": "x", "messages": [USER]})}],
    "long": [{"role": "user", "content": "a " * 20_000}],
}

#: Messages that are no plain texts, or not to be sent.
OTHER_TALKS: dict[str, Any] = {
    "none": [],
    "null": None,
    "a text": "one",
    "a number": 7,
    "an object": USER,
    "an empty text": [{"role": "user", "content": ""}],
    "an empty system": [{"role": "system", "content": ""}, USER],
    "no content": [{"role": "user", "content": None}],
    "a part": [{"role": "user", "content": [{"type": "text", "text": "one"}]}],
    "a picture": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.invalid"}}]}],
    "a name": [{**USER, "name": "n"}],
    "a mark": [{**USER, "cache_control": {"type": "ephemeral"}}],
    "a tool's": [{"role": "tool", "tool_call_id": "c", "content": "one"}],
    "another role": [{"role": "other", "content": "one"}],
    "no object": [USER, 7],
    "deep": json.loads("[" * 90 + "]" * 90),
    "a URL of the store": [{"role": "user", "content": "oss://a/b"}],
    "a URL of the store in the system": [{"role": "system", "content": "oss://a/b"}, USER],
}


@pytest.mark.parametrize("members", MEMBERS.values(), ids=MEMBERS)
@pytest.mark.parametrize("is_ascii", [True, False])
def test_writes_what_the_ordinary_way_writes(members: dict[str, Any], is_ascii: bool) -> None:
    def asked(talk: Any) -> bytes:
        body = {**json.loads(chat("one", **members)), "messages": talk}
        return json.dumps(body, ensure_ascii=is_ascii).encode("utf-8", "backslashreplace")

    form = form_in(asked([USER]))
    assert form is not None
    for name, talk in {**TALKS, **OTHER_TALKS}.items():
        body = form.native_body(asked(talk))
        assert body == (b"" if name in OTHER_TALKS else in_the_ordinary_way(asked(talk))), name
    assert all(in_the_ordinary_way(asked(talk)) for talk in TALKS.values())


OTHERS = {
    "another member": chat("one", seed=1),
    "another number": chat("one", temperature=0.5),
    "a number written otherwise": chat("one", temperature=0.70),
    "another model": chat("one").replace(b"qwen-plus", b"qwen-plut"),
    "another order": json.dumps({"messages": [USER], "model": "qwen-plus", "temperature": 0.7}).encode(),
    "messages twice": chat("one").replace(b'"messages"', b'"messages": [], "messages"'),
    "no JSON": chat("one").replace(b"]", b",]"),
    "a value that is none": chat("one").replace(b'"one"', b"NaN"),
    "a number that is too long": chat("one").replace(b'"one"', b"9" * 5000),
    "two values": chat("one").replace(b"}]", b"}] []"),
    "a comma before": chat("one").replace(b"[{", b", [{"),
    "a control character": chat("one").replace(b"one", b"o\x1fe"),
    "no UTF-8": chat("one").replace(b"one", b"o\xffe"),
    "half a surrogate pair in UTF-8": chat("one").replace(b"one", b"\xed\xa0\x80"),
    "an escape that is none": chat("one").replace(b"one", b"\\x"),
    "nested deeply": chat("one").replace(b'"one"', b"[" * 50_000 + b"]" * 50_000),
    "cut short": chat("one")[:-1],
    "one byte more": chat("one") + b" ",
    "nothing": b"",
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_has_another_form_goes_the_ordinary_way(name: str) -> None:
    form = form_in(chat("one"))
    assert form is not None and form.native_body(OTHERS[name]) == b""


def test_beginning_and_end_do_not_overlap() -> None:
    data = b'{"model":"qwen-plus","messages":[{"role":"user","content":"a"}],"user":"b"}'
    form = form_in(data)
    assert form is not None
    start, end = data[: data.index(b"[")], data[data.index(b"]") + 1 :]
    for size in range(1, len(end)):
        assert form.native_body(start + end[size:]) == form.native_body(start[:-size] + end) == b""


#: Chats whose calls depend on what the messages say, or whose messages stand where that cannot be told.
FORMLESS = {
    "tools": chat("a", tools=[{"type": "function", "function": {"name": "f"}}]),
    "JSON, in a prompt that must have the word": chat("a", response_format={"type": "json_object"}),
    "native parameters": chat("a", parameters={"seed": 1}),
    "modalities": chat("a", modalities=["text"]),
    "several calls": chat("a", model="qwen-turbo", n=2),
    "a model that takes one message": chat("a", model="qwen-mt-plus", messages=[USER]),
    "a model that takes documents": chat("a", model="qwen-long"),
    "parts": chat("a", messages=[{"role": "user", "content": [{"type": "text", "text": "a"}]}]),
    "a message with a name": chat("a", messages=[{"role": "user", "content": "a", "name": "b"}]),
    "a URL of the store in a parameter": chat("a", translation_options={"domains": "oss://a"}),
    "much around the messages": chat("a", user="u" * 1000),
    "the name in many places": chat("a", metadata=[{"messages": []}] * 9).replace(b'"messages"', b'"m"', 1)[:-1]
    + b', "messages": [{"role": "user", "content": "a"}]}',
    "a name with an escape": chat("a").replace(b'"messages"', b'"mess\\u0061ges"'),
}


@pytest.mark.parametrize("name", FORMLESS)
def test_no_form_is_found_where_it_might_not_hold(name: str) -> None:
    assert in_the_ordinary_way(FORMLESS[name]) or name == "several calls"
    assert form_in(FORMLESS[name]) is None


def test_a_form_is_found_behind_other_messages() -> None:
    for data in (
        b'{"metadata":{"messages":[]},"model":"qwen-plus","messages":[{"role":"user","content":"a"}]}',
        b'{"user":"\\"messages\\":[]","model":"qwen-plus","messages" : [{"role":"user","content":"a"}] , "seed":1}',
        b'{"model":"qwen-plus","messages":[],"messages":[{"role":"user","content":"\\"messages\\":"}]}',
        b'\xef\xbb\xbf{"messages":\r\n[{"role":"user","content":"a"}]\t,"model":"qwen-plus"}\n',
    ):
        form = form_in(data)
        assert form is not None
        other = data.replace(b'[{"role"', b'[{"content":"b","role":"system"},{"role"')
        assert form.native_body(other) == in_the_ordinary_way(other) != b""


def test_a_form_writes_as_the_ordinary_way_whatever_comes() -> None:
    """Chats of a form with bytes changed at random: the call that it gives is the ordinary one."""
    chance = random.Random(5)
    given = 0
    for name, talk in TALKS.items():
        if name == "long":
            continue
        data = chat("", messages=talk, stream=True, user="u", temperature=0.7)
        form = form_in(data)
        assert form is not None
        for _ in range(1500):
            changed = bytearray(data)
            for _ in range(chance.randrange(1, 3)):
                at = chance.randrange(len(changed))
                texts = (
                    b'"',
                    b"\\",
                    b"}",
                    b" ",
                    b"x",
                    b"\xc3",
                    b"\n",
                    b",",
                    b"0",
                    b"\x7f",
                    b"[",
                    b"{",
                    b"]",
                    b"\\u00e9",
                )
                changed[at : at + chance.randrange(2)] = chance.choice(texts)
            body = form.native_body(bytes(changed))
            assert body in (b"", in_the_ordinary_way(bytes(changed)))
            given += body != b""
    assert given > 500


# ---- through the server ---------------------------------------------------------------------------------------------


class Asked:
    """A translator's requests: whether the body of each had to be read."""

    def __init__(self) -> None:
        self._requests: list[Request] = []
        self.note = self._requests.append

    def were_read(self) -> list[bool]:
        """Return this of the requests so far, and forget them."""
        were_read = [request._json is not None for request in self._requests]
        self._requests.clear()
        return were_read


def texts_of(native: Native) -> list[str]:
    return [call["input"]["messages"][-1]["content"] for call in native.calls]


GOOD = answer(MESSAGE_ANSWER)
STREAM = events(sse(TEXT_FRAMES))


@pytest.mark.parametrize("stream", [False, True])
def test_a_form_is_found_in_a_chat_and_used_for_the_next(stream: bool) -> None:
    async def main() -> None:
        asked = Asked()
        good = STREAM if stream else GOOD
        async with Native({TEXT: good}) as native, translator(native, on_request=asked.note) as house:
            first = await house.post(CHAT, chat("one", stream=stream))
            others = [
                await house.post(CHAT, chat(text, stream=stream)) for text in ("two words", "三", "one", 'an "escape"')
            ]
            assert asked.were_read() == [True, False, False, False, False]
            assert all((other.status, other.body) == (200, first.body) for other in others)
            for received, text in zip(native.received, ("one", "two words", "三", "one", 'an "escape"')):
                assert received.body == in_the_ordinary_way(chat(text, stream=stream))
                assert received.fields[:-1] == native.received[0].fields[:-1]

    run(main)


def test_each_caller_has_a_form_and_a_key_of_his_own() -> None:
    async def main() -> None:
        asked = Asked()
        async with Native({TEXT: GOOD}) as native, translator(native, on_request=asked.note) as house:
            for _ in range(2):
                for key in (KEY, "sk-another-0123456789"):
                    await house.post(CHAT, chat("one"), authorization=f"Bearer {key}")
                    assert native.received[-1].get("authorization") == f"Bearer {key}"
            assert asked.were_read() == [True, True, False, False]

    run(main)


def test_a_renamed_model_is_sent_and_told_by_the_form_too() -> None:
    async def main() -> None:
        asked = Asked()
        async with (
            Native({TEXT: GOOD}) as native,
            translator(native, on_request=asked.note, models="gpt-4o = qwen-plus", default_model="qwen-max") as house,
        ):
            for body, sent in ((chat("one", model="gpt-4o"), "qwen-plus"), (chat("one", model=None), "qwen-max")):
                first, second = [
                    await house.post(CHAT, body, authorization=f"Bearer sk-caller-for-{sent}") for _ in range(2)
                ]
                assert first.json() == second.json() and first.json()["model"] == sent
                assert native.calls[-1] == native.calls[-2] and native.calls[-1]["model"] == sent
            assert asked.were_read() == [True, False, True, False]

    run(main)


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_by_a_form_that_is_refused_is_made_anew_and_the_forms_are_forgotten(stream: bool) -> None:
    async def main() -> None:
        asked = Asked()
        good = STREAM if stream else GOOD
        native_answers = {TEXT: [good, good, URL_ERROR], MULTIMODAL: good}
        async with Native(native_answers) as native, translator(native, on_request=asked.note) as house:
            for text in ("one", "two", "three", "four", "five"):
                assert (await house.post(CHAT, chat(text, stream=stream))).status == 200
            assert native.paths == [TEXT, TEXT, TEXT, *[MULTIMODAL] * 3]
            assert texts_of(native) == [
                "one",
                "two",
                "three",
                *([{"text": text}] for text in ("three", "four", "five")),
            ]
            assert asked.were_read() == [True, False, True, True, False]

    run(main)


def test_a_refusal_is_judged_by_what_was_known_when_the_call_was_made() -> None:
    async def main() -> None:
        may_refuse = asyncio.Event()

        async def refuse_late(peer: Peer, received: Received) -> None:
            if b"late" in received.body:
                await may_refuse.wait()
            await peer.send(GOOD if b"good" in received.body else URL_ERROR)

        async with Native({TEXT: refuse_late, MULTIMODAL: GOOD}) as native, translator(native) as house:
            await asyncio.gather(house.post(CHAT, chat("good")), house.post(CHAT, chat("good")))
            late = asyncio.ensure_future(house.post(CHAT, chat("late")))
            await until(lambda: "late" in texts_of(native))
            assert (await house.post(CHAT, chat("two"))).status == 200  # and so the other endpoint is learned
            may_refuse.set()
            assert (await late).status == 200
            assert native.paths == [*[TEXT] * 4, MULTIMODAL, MULTIMODAL]

    run(main)


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_that_answers_a_call_by_a_form_is_the_clients(stream: bool) -> None:
    async def main() -> None:
        good = STREAM if stream else GOOD
        busy = refusal("Throttling", "too many", "429 Too Many Requests")
        async with Native({TEXT: [good, busy]}) as native, translator(native) as house:
            statuses = [(await house.post(CHAT, chat(text, stream=stream))).status for text in ("one", "two")]
            assert statuses == [200, 429] and texts_of(native) == ["one", "two"]

    run(main)


def test_a_connection_that_was_closed_lets_the_call_be_made_again() -> None:
    async def main() -> None:
        async with (
            Native({TEXT: answer(MESSAGE_ANSWER, "200 OK", "connection: close")}) as native,
            translator(native) as house,
        ):
            for text in ("one", "two"):
                assert (await house.post(CHAT, chat(text))).status == 200
            assert texts_of(native) == ["one", "two"]

    run(main)


def test_a_url_of_the_store_is_resolved_though_the_form_fits() -> None:
    async def main() -> None:
        async with Native({TEXT: GOOD}) as native, translator(native) as house:
            for text in ("one", "two", "oss://a/b"):
                await house.post(CHAT, chat(text))
            resolved = [received.get("x-dashscope-ossresourceresolve") for received in native.received]
            assert resolved == ["", "", "enable"]

    run(main)


def test_a_field_of_the_client_that_goes_on_leaves_no_form() -> None:
    async def main() -> None:
        asked = Asked()
        async with Native({TEXT: GOOD}) as native, translator(native, on_request=asked.note) as house:
            for space in ("one", "two"):
                await house.post(CHAT, chat("one"), x_dashscope_workspace=space)
            assert [received.get("x-dashscope-workspace") for received in native.received] == ["one", "two"]
            assert asked.were_read() == [True, True]

    run(main)


def test_a_legacy_completion_is_no_chat_whatever_its_body_looks_like() -> None:
    async def main() -> None:
        async with Native({TEXT: GOOD}) as native, translator(native) as house:
            assert (await house.post(CHAT, chat("one"))).status == 200
            assert (await house.post("/v1/completions", chat("one"))).status == 400

    run(main)


def test_a_caller_may_have_some_forms() -> None:
    async def main() -> None:
        asked = Asked()
        async with Native({TEXT: GOOD}) as native, translator(native, on_request=asked.note) as house:
            for round in range(3):
                for seed in range(4):
                    assert (await house.post(CHAT, chat(f"{round}", seed=seed))).status == 200
                    assert native.calls[-1]["parameters"]["seed"] == seed
            assert asked.were_read() == [True] * 4 + [False, False, False, True] + [False] * 4
            for seed in (4, 4, 4, 4, 4, 1, 0):  # the fifth takes the place of the first
                await house.post(CHAT, chat("one", seed=seed))
            assert asked.were_read() == [True] * 4 + [False, False, True]

    run(main)


def test_forms_are_looked_for_now_and_then() -> None:
    parts = chat("", messages=[{"role": "user", "content": [{"type": "text", "text": "one"}]}])

    async def main() -> None:
        asked = Asked()
        async with Native({TEXT: GOOD}) as native, translator(native, on_request=asked.note) as house:
            for body in [parts] * 21 + [chat("one")] * 14:
                await house.post(CHAT, body)
            assert asked.were_read() == [True] * 33 + [False] * 2

    run(main)


def test_a_long_chat_is_read_in_turns_though_the_form_fits() -> None:
    async def main() -> None:
        asked = Asked()
        async with Native({TEXT: GOOD}) as native, translator(native, on_request=asked.note) as house:
            for text in ("one", "a " * 30_000, "a " * 40_000):
                assert (await house.post(CHAT, chat(text))).status == 200
            assert asked.were_read() == [True, False, True]

    run(main)


def test_forms_keep_to_the_operators_endpoints() -> None:
    async def main() -> None:
        asked = Asked()
        options = {"endpoints": "qwen-plus = multimodal"}
        async with Native({MULTIMODAL: GOOD}) as native, translator(native, on_request=asked.note, **options) as house:
            for text in ("one", "two"):
                assert (await house.post(CHAT, chat(text))).status == 200
            assert asked.were_read() == [True, False]
            assert texts_of(native) == [[{"text": "one"}], [{"text": "two"}]]

    run(main)


def test_few_forms_are_kept() -> None:
    async def main() -> None:
        asked = Asked()
        async with Native({TEXT: GOOD}) as native, translator(native, on_request=asked.note) as house:
            keys = [f"sk-caller-{number:010}" for number in range(257)]
            for key in [*keys, keys[0], keys[256]]:
                await house.post(CHAT, chat("one"), authorization=f"Bearer {key}")
            assert asked.were_read() == [True] * 258 + [False]

    run(main)
