from __future__ import annotations

import random

import pytest

from protocol.dashscope.mapping.messages import _Mapper, mentions_json, native_messages, plain_talk
from protocol.dashscope.mapping.parts import has_media_parts
from protocol.errors import ApiError

USER = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
LEGACY_CALL = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
CACHED = {"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}
DOCUMENT = {"type": "doc_url", "doc_url": ["https://a.invalid/x.pdf"], "file_parsing_strategy": "auto"}


def text(role: str, content: object, **rest: object) -> dict:
    return {"role": role, "content": content, **rest}


# messages; on the text endpoint; on the multimodal endpoint
ROWS = {
    "strings": (
        [text("system", "be"), USER],
        [text("system", "be"), USER],
        [text("system", [{"text": "be"}]), text("user", [{"text": "hi"}])],
    ),
    "developer becomes system": (
        [text("developer", "be"), USER],
        [text("system", "be"), USER],
        [text("system", [{"text": "be"}]), text("user", [{"text": "hi"}])],
    ),
    "system messages are merged to the front": (
        [text("system", "a"), USER, text("developer", [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}])],
        [text("system", "a\n\nbc"), USER],
        [text("system", [{"text": "a\n\nbc"}]), text("user", [{"text": "hi"}])],
    ),
    "an empty system message is left out": (
        [text("system", ""), USER],
        [USER],
        [text("user", [{"text": "hi"}])],
    ),
    "text parts are joined where a string is wanted": (
        [text("user", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, {"text": "c"}])],
        [text("user", "abc")],
        [text("user", [{"text": "a"}, {"text": "b"}, {"text": "c"}])],
    ),
    "cache markers keep the list": (
        [text("system", [CACHED]), text("system", "b"), text("user", [CACHED, {"type": "text", "text": "q"}])],
        [
            text("system", [CACHED, {"type": "text", "text": "\n\nb"}]),
            text("user", [CACHED, {"type": "text", "text": "q"}]),
        ],
        [
            text("system", [{"text": "long", "cache_control": {"type": "ephemeral"}}, {"text": "\n\nb"}]),
            text("user", [{"text": "long", "cache_control": {"type": "ephemeral"}}, {"text": "q"}]),
        ],
    ),
    "names are dropped": ([{**USER, "name": "Ann"}], [USER], [text("user", [{"text": "hi"}])]),
    "assistant without content": (
        [USER, text("assistant", None, tool_calls=[CALL], refusal=None, audio=None, name="x")],
        [USER, text("assistant", "", tool_calls=[{**CALL, "index": 0}])],
        [text("user", [{"text": "hi"}]), text("assistant", [], tool_calls=[{**CALL, "index": 0}])],
    ),
    "assistant with parts": (
        [USER, text("assistant", [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]), USER],
        [USER, text("assistant", "ab"), USER],
        [text("user", [{"text": "hi"}]), text("assistant", [{"text": "ab"}]), text("user", [{"text": "hi"}])],
    ),
    "assistant extensions": (
        [USER, text("assistant", "x", reasoning_content="r", partial=True, tool_calls=[])],
        [USER, text("assistant", "x", reasoning_content="r", partial=True)],
        [text("user", [{"text": "hi"}]), text("assistant", [{"text": "x"}], reasoning_content="r", partial=True)],
    ),
    "arguments that are an object become text": (
        [USER, text("assistant", "", tool_calls=[{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}])],
        [
            USER,
            text(
                "assistant",
                "",
                tool_calls=[
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}, "index": 0}
                ],
            ),
        ],
        None,
    ),
    "tool": (
        [text("tool", "sunny, 21 C", tool_call_id="call_a1")],
        [text("tool", "sunny, 21 C", tool_call_id="call_a1")],
        [text("tool", [{"text": "sunny, 21 C"}], tool_call_id="call_a1")],
    ),
    "tool with parts": (
        [text("tool", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], tool_call_id="c")],
        [text("tool", "ab", tool_call_id="c")],
        [text("tool", [{"text": "ab"}], tool_call_id="c")],
    ),
    "tool with its id in another field, as Qwen-Agent has it (its issue 917)": (
        [text("tool", "x", id="c")],
        [text("tool", "x", tool_call_id="c")],
        [text("tool", [{"text": "x"}], tool_call_id="c")],
    ),
    "tool without content": ([text("tool", None, tool_call_id="c")], [text("tool", "", tool_call_id="c")], None),
    "function_call and function": (
        [USER, LEGACY_CALL, text("function", "21", name="f")],
        [
            USER,
            text(
                "assistant",
                "",
                tool_calls=[
                    {
                        "id": "call_function_1",
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}"},
                        "index": 0,
                    }
                ],
            ),
            text("tool", "21", tool_call_id="call_function_1"),
        ],
        None,
    ),
    "documents": ([text("user", [DOCUMENT])], [text("user", [DOCUMENT])], None),
}


@pytest.mark.parametrize("name", ROWS)
def test_maps_messages_for_the_text_endpoint(name: str) -> None:
    messages, expected, _ = ROWS[name]
    assert native_messages(messages, multimodal=False) == expected


@pytest.mark.parametrize("name", [name for name in ROWS if ROWS[name][2] is not None])
def test_maps_messages_for_the_multimodal_endpoint(name: str) -> None:
    messages, _, expected = ROWS[name]
    assert native_messages(messages, multimodal=True) == expected


PARTS = {
    "text": ({"type": "text", "text": "a"}, {"text": "a"}),
    "image": (
        {"type": "image_url", "image_url": {"url": "https://a.invalid/x.png", "detail": "high"}},
        {"image": "https://a.invalid/x.png"},
    ),
    "image as a string": ({"type": "image_url", "image_url": "oss://b/k"}, {"image": "oss://b/k"}),
    "image with pixels inside": (
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "min_pixels": 4}},
        {"image": "data:image/png;base64,iVBORw0KGgo=", "min_pixels": 4},
    ),
    "image with pixels beside": (
        {"type": "image_url", "image_url": {"url": "https://a.invalid/x"}, "max_pixels": 9},
        {"image": "https://a.invalid/x", "max_pixels": 9},
    ),
    "audio": (
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"audio": "data:audio/wav;base64,UklGRg=="},
    ),
    "audio by URL": (
        {"type": "input_audio", "input_audio": {"data": "https://a.invalid/x.mp3"}},
        {"audio": "https://a.invalid/x.mp3"},
    ),
    "audio as a data URL": (
        {"type": "input_audio", "input_audio": {"data": "data:;base64,UklGRg==", "format": "wav"}},
        {"audio": "data:;base64,UklGRg=="},
    ),
    "video": ({"type": "video_url", "video_url": {"url": "https://a.invalid/v"}}, {"video": "https://a.invalid/v"}),
    "video frames": (
        {"type": "video", "video": ["https://a.invalid/1", "https://a.invalid/2"], "fps": 2},
        {"video": ["https://a.invalid/1", "https://a.invalid/2"], "fps": 2},
    ),
    "refusal": ({"type": "refusal", "refusal": "no"}, {"text": "no"}),
    "native image": ({"image": "https://a.invalid/x", "enable_rotate": True},) * 2,
    "native video": ({"video": ["https://a.invalid/1"], "fps": 1},) * 2,
    "native text": ({"text": "a"}, {"text": "a"}),
}


@pytest.mark.parametrize("name", PARTS)
def test_maps_parts_for_the_multimodal_endpoint(name: str) -> None:
    part, expected = PARTS[name]
    question = {"type": "text", "text": "?"}
    (mapped,) = native_messages([text("user", [part, question])], multimodal=True)
    assert mapped == text("user", [expected, {"text": "?"}])


@pytest.mark.parametrize("name", PARTS)
def test_only_media_parts_force_the_endpoint(name: str) -> None:
    part, expected = PARTS[name]
    assert has_media_parts([text("user", [part])]) is ("text" not in expected)


REFUSALS = {
    "message is no object": (["hi"], "messages[0]"),
    "unknown role": ([text("bot", "x")], "messages[0].role"),
    "role of another type": ([text([], "x")], "messages[0].role"),
    "user without content": ([text("user", None)], "messages[0].content"),
    "user with empty content": ([USER, text("user", "")], "messages[1].content"),
    "user with no parts": ([text("user", [])], "messages[0].content"),
    "user with empty parts": ([text("user", [{"type": "text", "text": ""}])], "messages[0].content"),
    "content of another type": ([text("user", 1)], "messages[0].content"),
    "part is no object": ([text("user", ["x"])], "messages[0].content[0]"),
    "unknown part": ([text("user", [{"type": "hologram"}])], "messages[0].content[0].type"),
    "part type of another type": ([text("user", [{"type": []}])], "messages[0].content[0].type"),
    "file": ([text("user", [{"type": "file", "file": {"file_id": "f"}}])], "messages[0].content[0].type"),
    "native part without a value": ([text("user", [{"image": ""}])], "messages[0].content[0]"),
    "text without text": ([text("user", [{"type": "text"}])], "messages[0].content[0].text"),
    "image without URL": ([text("user", [{"type": "image_url", "image_url": {}}])], "messages[0].content[0].image_url"),
    "local file": (
        [text("user", [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}])],
        "messages[0].content[0].image_url",
    ),
    "audio without format": (
        [text("user", [{"type": "input_audio", "input_audio": {"data": "UklG"}}])],
        "messages[0].content[0].input_audio.format",
    ),
    "video without frames": ([text("user", [{"type": "video", "video": []}])], "messages[0].content[0].video"),
    "picture in a system message": (
        [text("system", [{"type": "image_url", "image_url": "https://a.invalid/x"}])],
        "messages[0].content[0]",
    ),
    "tool without an id": ([text("tool", "x")], "messages[0].tool_call_id"),
    "tool call of another type": (
        [text("assistant", "", tool_calls=[{"id": "c", "type": "custom"}])],
        "messages[0].tool_calls[0].type",
    ),
    "tool call without an id": (
        [text("assistant", "", tool_calls=[{"function": {"name": "f"}}])],
        "messages[0].tool_calls[0].id",
    ),
    "tool call without a name": (
        [text("assistant", "", tool_calls=[{"id": "c", "function": {}}])],
        "messages[0].tool_calls[0].function",
    ),
    "function before any function_call": ([text("function", "x", name="f")], "messages[0]"),
}


@pytest.mark.parametrize("multimodal", [False, True], ids=["text", "multimodal"])
@pytest.mark.parametrize("name", REFUSALS)
def test_refuses_messages_and_names_the_place(name: str, multimodal: bool) -> None:
    messages, param = REFUSALS[name]
    with pytest.raises(ApiError) as caught:
        native_messages(messages, multimodal)
    assert (caught.value.status, caught.value.type, caught.value.param) == (400, "invalid_request_error", param)


def test_notes_are_appended_to_the_system_message_or_make_one() -> None:
    assert native_messages([text("system", "a"), USER], False, ["b"])[0] == text("system", "a\n\nb")
    assert native_messages([USER], True, ["b"])[0] == text("system", [{"text": "b"}])


@pytest.mark.parametrize("content", ["as JSON please", [{"type": "text", "text": "Json"}]])
def test_finds_the_word_json(content: object) -> None:
    assert mentions_json([USER, text("system", content)])
    assert not mentions_json([USER, text("assistant", None), text("user", [{"type": "image_url"}])])


@pytest.mark.parametrize("multimodal", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_a_talk_in_plain_texts_is_mapped_as_any_other(seed: int, multimodal: bool) -> None:
    rolls = random.Random(seed)
    contents: list[object] = ["hi", "hi", "hi", "two\nlines", "", None, [{"type": "text", "text": "part"}], 7]
    roles: list[object] = ["user", "user", "assistant", "system", "developer", "tool", "guest", None]
    for _ in range(50):
        talk = [
            text(rolls.choice(roles), rolls.choice(contents), **rolls.choice([{}, {}, {}, {"name": "n"}]))
            for _ in range(rolls.randrange(1, 4))
        ]
        try:
            each: object = _Mapper(multimodal, one_system=True).map_all(talk, ())
        except ApiError:
            each = None
        plain = plain_talk(talk)
        assert plain is None or native_messages(talk, multimodal) == each
        is_plain = all(message["content"] in contents[:4] and len(message) == 2 for message in talk)
        assert (plain is not None) == (is_plain and {message["role"] for message in talk} <= set(roles[:5]))
