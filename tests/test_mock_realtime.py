"""Realtime sessions of the mock, over WebSockets: what is said to what, in which order, and how it ends."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import struct

import pytest
from mocks import LateSleep, ask, make_mock, make_request, no_sleep, pace_settings
from test_long_joins import pauses_of

from protocol.errors import ApiError
from protocol.mock.media.sound import encode_g711
from protocol.mock.realtime import wire
from protocol.mock.realtime.audio import MOST_BUFFERED_SOUND, InputSound, TurnDetection, decode_sound, encode_sound
from protocol.mock.realtime.items import MOST_REALTIME_ITEMS, RealtimeItems
from protocol.wire.websocket import (
    BinaryMessage,
    Close,
    FrameReader,
    Pong,
    TextMessage,
    encode_close,
    encode_text,
)

MASK = b"\x01\x02\x03\x04"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", KEY),
]
BETA = [("openai-beta", "realtime=v1")]
HELLO = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say hello"}]}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
LOUD = struct.pack("<24h", *[9000, -9000] * 12)  # a millisecond
QUIET = bytes(48)
SPEECH = 400 * QUIET + 600 * LOUD + 600 * QUIET


def masked(first, payload):
    """Return a short frame as a client sends it; `first` is its first byte (RFC 6455 §5.2)."""
    return bytes((first, 0x80 | len(payload))) + MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))


class Socket:
    """A client of one WebSocket of a mock, in process."""

    def __init__(self, mock, path="/v1/realtime?model=gpt-realtime", fields=(), account=None):
        self.request = make_request("GET", path, fields=[*UPGRADE, *fields], account=account)
        self._sent = asyncio.Queue()
        self.request.stream = self._stream()
        self.response = mock.endpoint(self.request).answer(self.request)
        self._body = self.response.body.__aiter__()
        self._reader = FrameReader("client")

    async def _stream(self):
        while True:
            data = await self._sent.get()
            if not data:
                return
            yield data

    def put(self, data):
        """Send bytes; b"" ends the connection."""
        self._sent.put_nowait(data)

    def send(self, type, **members):
        """Send an event."""
        self.put(encode_text(json.dumps({"type": type, **members}), MASK))

    async def pull(self):
        """Return the next piece of the body, b"" at its end."""
        async for piece in self._body:
            return piece
        return b""

    async def frame(self):
        """Return the next frame from the server, None at the end."""
        while True:
            event = self._reader.next_event()
            if isinstance(event, (TextMessage, BinaryMessage, Pong, Close)):
                return event
            piece = await asyncio.wait_for(self.pull(), 60)
            if not piece:
                return None
            self._reader.feed(piece)

    async def event(self):
        """Return the next event."""
        frame = await self.frame()
        assert isinstance(frame, TextMessage), frame
        return json.loads(frame.text)

    async def until(self, type):
        """Return the events up to one of that type."""
        events = [await self.event()]
        while events[-1]["type"] != type:
            assert events[-1]["type"] != "error" or type == "error", events[-1]
            events.append(await self.event())
        return events

    async def close(self):
        await self.response.body.aclose()


def refused(mock, path, fields=()):
    """Return the error that answers a handshake."""
    request = make_request("GET", path, fields=[*UPGRADE, *fields])
    with pytest.raises(ApiError) as caught:
        mock.endpoint(request).answer(request)
    return caught.value


def talk(story, *, path="/v1/realtime?model=gpt-realtime", fields=(), sleep=no_sleep, **settings):
    """Run a story with a socket whose first event, the session, is read; return what the story returns."""

    async def run():
        socket = Socket(make_mock(sleep=sleep, **settings), path, fields)
        socket.session = (await socket.event())["session"]
        try:
            return await story(socket)
        finally:
            await socket.close()

    return asyncio.run(run())


def types(events):
    return [event["type"] for event in events]


def b64(sound):
    return base64.b64encode(sound).decode()


def text_session(socket, **changes):
    socket.send("session.update", session={"type": "realtime", "output_modalities": ["text"], **changes})


async def never(seconds):
    """A pace at which no word is ever due."""
    await asyncio.get_running_loop().create_future()


# ---- the handshake ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/v1/realtime", "/realtime", "/v1/realtime/translations", "/v1/responses", "/v1/live/sessions"]
)
def test_plain_get_is_told_to_upgrade(path):
    request = make_request("GET", path)
    with pytest.raises(ApiError) as caught:
        make_mock().endpoint(request).answer(request)
    assert caught.value.status == 426
    assert ("upgrade", "websocket") in caught.value.fields


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/realtime/translations"])
def test_session_needs_a_model(path):
    error = refused(make_mock(), path)
    assert (error.status, error.code) == (400, "missing_model")


def test_unknown_call_cannot_be_joined():
    assert refused(make_mock(), "/v1/realtime?call_id=rtc_1").status == 404


def test_browsers_subprotocol_is_agreed_to_and_its_key_is_not_repeated():
    async def story(socket):
        return socket.response.fields

    offered = "realtime, openai-insecure-api-key.sk-secret, openai-beta.realtime-v1"
    fields = talk(story, fields=[("sec-websocket-protocol", offered)])
    assert ("sec-websocket-protocol", "realtime") in fields
    assert ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") in fields
    assert "secret" not in str(fields)


# ---- text and sound ---------------------------------------------------------------------------------------------

ITEM = ["conversation.item.added", "conversation.item.done"]
RESPONSE_BEGIN = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
]
RESPONSE_END = [
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
    "rate_limits.updated",
]


def test_text_turn_has_the_events_in_their_order():
    async def story(socket):
        text_session(socket)
        socket.send("conversation.item.create", item=HELLO)
        socket.send("response.create")
        return await socket.until("rate_limits.updated")

    events = talk(story)
    words = ["response.output_text.delta"] * 3 + ["response.output_text.done"]
    assert types(events) == ["session.updated", *ITEM, *RESPONSE_BEGIN, *words, *RESPONSE_END]
    assert [event["delta"] for event in events if "delta" in event] == ["powered ", "by ", "openai"]
    response = events[-2]["response"]
    assert response["status"] == "completed"
    assert response["output"][0]["content"] == [{"type": "output_text", "text": "powered by openai"}]
    assert response["output"][0]["status"] == "completed"
    # "Say hello" and the five words of the default instructions.
    assert (response["usage"]["input_tokens"], response["usage"]["output_tokens"]) == (7, 3)
    assert len({event["event_id"] for event in events}) == len(events)


def test_first_events_show_nothing_of_what_comes_later():
    async def story(socket):
        text_session(socket)
        socket.send("response.create")
        return {event["type"]: event for event in await socket.until("response.done")}

    events = talk(story)
    assert (events["response.created"]["response"]["output"], events["response.created"]["response"]["status"]) == (
        [],
        "in_progress",
    )
    assert events["response.output_item.added"]["item"]["content"] == []
    assert events["response.content_part.added"]["part"] == {"type": "text", "text": ""}


@pytest.mark.parametrize(
    "audio_format, bytes_a_second",
    [("audio/pcm", 48000), ("audio/pcmu", 8000), ("audio/pcma", 8000)],
)
def test_sound_of_an_answer_lasts_as_long_as_its_words(audio_format, bytes_a_second):
    async def story(socket):
        output = {"format": {"type": audio_format}, "voice": "marin"}
        socket.send("session.update", session={"type": "realtime", "audio": {"output": output}})
        socket.send("conversation.item.create", item=HELLO)
        socket.send("response.create")
        return await socket.until("response.done")

    events = talk(story)
    sound = b"".join(base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta")
    assert len(sound) == 0.6 * bytes_a_second
    said = "".join(e["delta"] for e in events if e["type"] == "response.output_audio_transcript.delta")
    assert said == "powered by openai"
    response = events[-1]["response"]
    assert response["output"][0]["content"] == [{"type": "output_audio", "transcript": said}]
    assert response["usage"]["output_token_details"] == {"text_tokens": 3, "audio_tokens": 12}
    assert response["audio"]["output"]["voice"] == "marin"


# ---- functions --------------------------------------------------------------------------------------------------


def test_function_is_called_and_its_output_is_followed_by_text():
    async def story(socket):
        text_session(socket, tools=[WEATHER])
        question = {**HELLO, "content": [{"type": "input_text", "text": "What is the weather in Oslo?"}]}
        socket.send("conversation.item.create", item=question)
        socket.send("response.create")
        asked = await socket.until("response.done")
        call = asked[-1]["response"]["output"][0]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": '{"degrees": 3}'}
        socket.send("conversation.item.create", item=output)
        socket.send("response.create")
        return asked, (await socket.until("response.done"))[-1]["response"]

    asked, response = talk(story)
    done = next(event for event in asked if event["type"] == "response.function_call_arguments.done")
    assert (done["name"], json.loads(done["arguments"])) == ("get_weather", {"city": "Oslo"})
    deltas = [e["delta"] for e in asked if e["type"] == "response.function_call_arguments.delta"]
    assert "".join(deltas) == done["arguments"]
    assert done["call_id"] == asked[-1]["response"]["output"][0]["call_id"]
    assert response["output"][0]["content"][0]["text"] == "powered by openai"


def test_output_of_a_call_that_nobody_made_is_refused():
    async def story(socket):
        socket.send(
            "conversation.item.create",
            event_id="mine",
            item={"type": "function_call_output", "call_id": "call_0", "output": ""},
        )
        return (await socket.event())["error"]

    error = talk(story)
    assert (error["code"], error["event_id"]) == ("invalid_tool_call_id", "mine")


# ---- the client's sound -----------------------------------------------------------------------------------------


def test_speech_is_found_committed_transcribed_and_answered():
    async def story(socket):
        audio = {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}
        text_session(socket, audio=audio, include=["item.input_audio_transcription.logprobs"])
        await socket.event()
        socket.send("input_audio_buffer.append", audio=b64(SPEECH))
        return await socket.until("response.done")

    events = talk(story)
    heard = "conversation.item.input_audio_transcription"
    assert types(events)[:10] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        *ITEM,
        "response.created",
        *[f"{heard}.delta"] * 3,
        f"{heard}.completed",
    ]
    started, stopped, committed = events[:3]
    # 300 ms of padding before it, 200 ms of silence after it.
    assert (started["audio_start_ms"], stopped["audio_end_ms"]) == (100, 1200)
    assert started["item_id"] == stopped["item_id"] == committed["item_id"] == events[3]["item"]["id"]
    assert events[3]["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    completed = events[9]
    assert completed["transcript"] == "powered by openai"
    assert [entry["token"] for entry in completed["logprobs"]] == ["powered ", "by ", "openai"]
    assert completed["usage"]["input_token_details"]["audio_tokens"] == 11


def test_client_commits_where_no_turns_are_detected():
    async def story(socket):
        audio = {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}
        text_session(socket, audio=audio)
        socket.send("input_audio_buffer.append", audio=b64(SPEECH))
        socket.send("input_audio_buffer.commit")
        return await socket.until("conversation.item.input_audio_transcription.completed")

    events = talk(story)
    delta = "conversation.item.input_audio_transcription.delta"
    assert types(events)[1:5] == ["input_audio_buffer.committed", *ITEM, delta]
    assert events[4]["delta"] == "powered by openai"
    assert events[5]["usage"] == {"type": "duration", "seconds": 1.6}


def test_speech_interrupts_a_response():
    async def story(socket):
        socket.send("response.create")
        await socket.until("response.created")
        socket.send("input_audio_buffer.append", audio=b64(600 * LOUD))
        return await socket.until("response.done")

    events = talk(story, delay=1, first_delay=1, sleep=never)
    assert events[0]["type"] == "input_audio_buffer.speech_started"
    assert events[-1]["response"]["status_details"] == {"type": "cancelled", "reason": "turn_detected"}


@pytest.mark.parametrize(
    "event, code",
    [
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty"),
        ({"type": "input_audio_buffer.append", "audio": "=== no base64"}, "invalid_value"),
        ({"type": "input_audio_buffer.append", "audio": "h\u00e9"}, "invalid_value"),
        ({"type": "input_audio_buffer.append"}, "missing_required_parameter"),
        ({"type": "output_audio_buffer.clear"}, "invalid_value"),
        ({"type": "nonsense"}, "invalid_value"),
        ({"type": None}, "missing_required_parameter"),
        ({"type": 7}, "invalid_type"),
        ({"type": "session.update", "session": {"type": "transcription"}}, "invalid_value"),
        (
            {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text", "audio"]}},
            "invalid_value",
        ),
        ({"type": "session.update", "session": {"type": "realtime", "tools": 5}}, "invalid_type"),
        ({"type": "conversation.item.retrieve", "item_id": "item_0"}, "item_retrieve_invalid_item_id"),
        ({"type": "conversation.item.delete", "item_id": "item_0"}, "item_delete_invalid_item_id"),
        (
            {"type": "conversation.item.truncate", "item_id": "item_0", "content_index": 0, "audio_end_ms": 1},
            "item_truncate_invalid_item_id",
        ),
        (
            {"type": "conversation.item.create", "item": HELLO, "previous_item_id": "item_0"},
            "item_create_invalid_previous_item_id",
        ),
        ({"type": "response.cancel"}, "response_cancel_not_active"),
        ({"type": "response.create", "response": {"tool_choice": "required"}}, "invalid_value"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["type"],
)
def test_mistake_is_answered_by_an_error_and_the_session_goes_on(event, code):
    async def story(socket):
        socket.put(encode_text(json.dumps({"event_id": "mine", **event}), MASK))
        error = await socket.event()
        socket.send("input_audio_buffer.clear")
        return error, await socket.event()

    error, after = talk(story)
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    assert (error["error"]["code"], error["error"]["event_id"]) == (code, "mine")
    assert after["type"] == "input_audio_buffer.cleared"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"type": "input_audio_buffer.clear"} x'])
def test_message_that_is_no_json_object_is_an_error(text):
    async def story(socket):
        socket.put(encode_text(text, MASK))
        return (await socket.event())["error"]["code"]

    assert talk(story) == "invalid_json"


@pytest.mark.parametrize("validate", ["off", "warn"])
def test_unchecked_rubbish_never_breaks_a_session(validate):
    rubbish = [None, 5, "x", [], {}, [5], {"type": 5}, {"content": 5, "type": "message"}, {"audio": {"input": 5}}]
    known = ["session.update", "input_audio_buffer.append", "conversation.item.create", "conversation.item.truncate"]
    known += ["conversation.item.retrieve", "conversation.item.delete", "response.create", "response.cancel"]

    async def story(socket):
        for type in known:
            for value in rubbish:
                members = ("session", "item", "response", "audio", "item_id", "content_index", "previous_item_id")
                socket.send(type, event_id=value, **dict.fromkeys(members, value))
        socket.send("input_audio_buffer.clear", event_id="last")
        while (await socket.event())["type"] != "input_audio_buffer.cleared":
            pass
        return "alive"

    for fields in ((), BETA):
        assert talk(story, validate=validate, fields=fields) == "alive"


# ---- the conversation -------------------------------------------------------------------------------------------


def test_items_are_retrieved_truncated_and_deleted():
    async def story(socket):
        socket.send("response.create")
        id = (await socket.until("rate_limits.updated"))[-2]["response"]["output"][0]["id"]
        socket.send("conversation.item.retrieve", item_id=id)
        whole = await socket.event()
        socket.send("conversation.item.truncate", item_id=id, content_index=0, audio_end_ms=250)
        truncated = await socket.event()
        socket.send("conversation.item.retrieve", item_id=id)
        cut = await socket.event()
        socket.send("conversation.item.truncate", item_id=id, content_index=0, audio_end_ms=251)
        error = await socket.event()
        socket.send("conversation.item.delete", item_id=id)
        return whole, truncated, cut, error, await socket.event()

    whole, truncated, cut, error, deleted = talk(story)
    assert len(base64.b64decode(whole["item"]["content"][0]["audio"])) == 600 * 48
    assert (truncated["type"], truncated["audio_end_ms"]) == ("conversation.item.truncated", 250)
    assert len(base64.b64decode(cut["item"]["content"][0]["audio"])) == 250 * 48
    assert cut["item"]["content"][0]["transcript"] == ""
    assert error["error"]["param"] == "audio_end_ms"
    assert deleted["type"] == "conversation.item.deleted"


def test_items_are_put_where_the_client_says():
    async def story(socket):
        for id, previous in (("a", None), ("b", None), ("c", "a"), ("d", "root")):
            socket.send("conversation.item.create", item={**HELLO, "id": id}, previous_item_id=previous)
        return [(e["item"]["id"], e["previous_item_id"]) for e in [await socket.event() for _ in range(8)][::2]]

    assert talk(story) == [("a", None), ("b", "a"), ("c", "a"), ("d", None)]


def test_an_id_is_used_once():
    async def story(socket):
        socket.send("conversation.item.create", item={**HELLO, "id": "a"})
        socket.send("conversation.item.create", item={**HELLO, "id": "a"})
        return (await socket.until("error"))[-1]["error"]["code"]

    assert talk(story) == "item_create_duplicate_id"


def test_a_response_is_made_from_so_many_items():
    async def story(socket):
        text_session(socket)
        await socket.until("session.updated")
        item = {"id": "a", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
        socket.send("conversation.item.create", item=item)
        await socket.until("conversation.item.done")
        asked = {"conversation": "none", "input": [{"type": "item_reference", "id": "a"}] * 1001}
        socket.send("response.create", response=asked)
        error = (await socket.until("error"))[-1]["error"]
        asked["input"].pop()
        socket.send("response.create", response=asked)
        return error, (await socket.until("response.done"))[-1]["response"]

    error, response = talk(story)
    assert (error["code"], error["param"]) == ("array_above_max_length", "response.input")
    assert response["usage"]["input_token_details"]["text_tokens"] >= 1000


def test_others_have_turns_while_long_sound_is_read_and_written():
    sound = random.Random(1).randbytes(4_000_001)
    text = encode_sound(sound)
    assert text == base64.b64encode(sound).decode() and decode_sound(text) == sound
    assert pauses_of(lambda: encode_sound(sound)) >= 4 and pauses_of(lambda: decode_sound(text)) >= 4
    for wrong in ("A" * 300_000 + "=" + text, text[:-1], text[:500_000] + "?" + text[500_001:]):
        with pytest.raises(ApiError) as caught:
            decode_sound(wrong)
        assert caught.value.code == "invalid_value"


@pytest.mark.parametrize(
    "sent",
    [masked(0x8A, b"") * 10_000, masked(0x01, b"{") + masked(0x00, b" ") * 10_000 + masked(0x80, b"}")],
    ids=["pongs", "pieces of a message"],
)
def test_others_have_turns_while_tiny_frames_come(sent):
    rounds = 0

    async def others():
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    async def story(socket):
        nonlocal rounds
        beside = asyncio.ensure_future(others())
        await asyncio.sleep(0)
        rounds = 0
        socket.put(sent)  # at once, as a socket's buffer may have it
        socket.send("input_audio_buffer.clear")
        event = await socket.event()
        beside.cancel()
        return event

    talk(story)
    assert rounds >= len(sent) // 4096


def test_a_short_message_of_a_long_talk_is_answered_in_turns(monkeypatch):
    in_turns, asked = wire.in_turns, []

    def counted(work):
        asked.append(work)
        return in_turns(work)

    async def story(socket):
        monkeypatch.setattr(wire, "in_turns", counted)
        tools = [
            {"type": "function", "name": f"get_{number}", "parameters": {"type": "object"}} for number in range(400)
        ]
        counts = []
        for change in ({"instructions": "a"}, {"tools": tools}, {"instructions": "b"}):
            socket.send("session.update", session={"type": "realtime", **change})
            await socket.until("session.updated")
            counts.append(len(asked))
        return counts

    assert talk(story) == [0, 1, 2]


def test_oldest_items_go_when_there_are_too_many():
    items = RealtimeItems()
    for number in range(MOST_REALTIME_ITEMS + 5):
        items.add({"id": str(number), "type": "message", "content": []})
    assert items.find("4") is None
    assert items.find("5") is not None
    assert len(list(items)) == MOST_REALTIME_ITEMS


def test_oldest_sounds_go_when_there_is_too_much():
    items = RealtimeItems()
    for number in range(3):
        item = {"id": str(number), "type": "message", "content": [{"type": "input_audio"}]}
        items.add(item)
        items.add_sound(item, 0, bytes(MOST_BUFFERED_SOUND), "audio/pcm")
    assert [item["id"] for item in items] == ["1", "2"]


# ---- responses --------------------------------------------------------------------------------------------------


def test_response_out_of_band_leaves_the_conversation_alone():
    async def story(socket):
        text_session(socket)
        asked = {"conversation": "none", "metadata": {"topic": "x"}, "input": [HELLO], "instructions": "Be short."}
        socket.send("response.create", response=asked)
        return await socket.until("rate_limits.updated")

    events = talk(story)
    assert not [type for type in types(events) if type.startswith("conversation.")]
    response = events[-2]["response"]
    assert (response["conversation_id"], response["metadata"]) == (None, {"topic": "x"})
    assert response["usage"]["input_tokens"] == 4


def test_one_response_at_a_time_is_made_for_the_conversation():
    async def story(socket):
        socket.send("response.create")
        created = (await socket.until("response.created"))[-1]
        socket.send("response.create")
        error = (await socket.event())["error"]
        socket.send("response.create", response={"conversation": "none"})
        return created, error, await socket.event()

    created, error, aside = talk(story, delay=1, first_delay=1, sleep=never)
    assert error["code"] == "conversation_already_has_active_response"
    assert created["response"]["id"] in error["message"]
    assert aside["type"] == "response.created"


def test_cancelled_response_ends_at_once_with_what_it_has_said():
    gate = []

    async def one_word(seconds):
        if gate:
            await never(seconds)
        gate.append(seconds)

    async def story(socket):
        text_session(socket)
        socket.send("response.create")
        await socket.until("response.output_text.delta")
        socket.send("response.cancel")
        return await socket.until("rate_limits.updated")

    events = talk(story, delay=2, first_delay=1, sleep=one_word)
    assert types(events) == ["response.output_text.done", *RESPONSE_END]
    response = events[-2]["response"]
    assert (response["status"], response["status_details"]["reason"]) == ("cancelled", "client_cancelled")
    assert response["output"][0]["content"][0]["text"] == "powered "
    assert response["output"][0]["status"] == "incomplete"
    assert gate == [1]


def test_words_come_at_the_pace_of_the_mock():
    slept = []

    async def note(seconds):
        slept.append(seconds)

    async def story(socket):
        text_session(socket)
        socket.send("response.create")
        await socket.until("response.done")

    talk(story, delay=0.5, first_delay=2, sleep=note)
    assert slept == [2, 0.5, 0.5]


def test_words_come_at_a_pace_whose_errors_do_not_add_up():
    clock = LateSleep()

    async def story(socket):
        text_session(socket)
        socket.send("response.create")
        await socket.until("response.done")

    talk(story, pace="p", find_pace=lambda name: pace_settings(first=2, between=0.5), clock=clock, sleep=clock.sleep)
    assert clock.slept == [2, 0.4, 0.4]


def test_a_response_may_follow_as_soon_as_the_last_is_done():
    slept = []

    async def three_words(seconds):
        if len(slept) == 3:
            await never(seconds)
        slept.append(seconds)

    async def story(socket):
        for _ in range(2):
            socket.send("response.create")
            await socket.until("response.done" if len(slept) < 3 else "response.created")

    talk(story, delay=1, first_delay=1, sleep=three_words)


def test_answer_is_cut_at_max_output_tokens():
    async def story(socket):
        text_session(socket, max_output_tokens=2)
        socket.send("response.create")
        return (await socket.until("response.done"))[-1]["response"]

    response = talk(story)
    assert (response["status"], response["status_details"]["reason"]) == ("incomplete", "max_output_tokens")
    assert response["output"][0]["content"][0]["text"] == "powered by "


def test_session_keeps_what_an_update_does_not_name():
    async def story(socket):
        audio = {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.9}}, "output": {"speed": 1.5}}
        text_session(socket, instructions="Be kind.", audio=audio)
        await socket.event()
        socket.send(
            "session.update",
            session={"type": "realtime", "audio": {"input": {"noise_reduction": {"type": "near_field"}}}},
        )
        return socket.session, (await socket.event())["session"]

    before, after = talk(story)
    assert before["output_modalities"] == ["audio"]
    assert (after["output_modalities"], after["instructions"]) == (["text"], "Be kind.")
    assert after["audio"]["input"]["turn_detection"]["threshold"] == 0.9
    assert after["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 200
    assert after["audio"]["input"]["noise_reduction"] == {"type": "near_field"}
    assert after["audio"]["output"] == {**before["audio"]["output"], "speed": 1.5}


def test_voice_stays_once_it_was_heard():
    async def story(socket):
        socket.send("response.create")
        await socket.until("rate_limits.updated")
        socket.send("session.update", session={"type": "realtime", "audio": {"output": {"voice": "cedar"}}})
        return (await socket.event())["error"]["code"]

    assert talk(story) == "cannot_update_voice"


def test_transcription_session_hears_and_does_not_answer():
    async def story(socket):
        audio = {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}
        socket.send("session.update", session={"type": "transcription", "audio": audio})
        socket.send("response.create")
        socket.send("input_audio_buffer.append", audio=b64(SPEECH))
        events = [await socket.event() for _ in range(2)]
        return socket.session, events, await socket.until("conversation.item.input_audio_transcription.completed")

    session, (updated, error), heard = talk(story, path="/v1/realtime?intent=transcription")
    assert (session["type"], updated["session"]["type"], error["type"]) == ("transcription", "transcription", "error")
    assert "response.created" not in types(heard)


# ---- the older form ---------------------------------------------------------------------------------------------


def test_older_form_has_its_own_events_and_shapes():
    async def story(socket):
        socket.send(
            "session.update",
            session={"modalities": ["text", "audio"], "output_audio_format": "g711_ulaw", "temperature": 1},
        )
        socket.send("conversation.item.create", item=HELLO)
        socket.send("response.create", response={"max_response_output_tokens": 2})
        return socket.session, await socket.until("rate_limits.updated")

    session, events = talk(story, fields=BETA)
    assert (session["modalities"], session["input_audio_format"]) == (["text", "audio"], "pcm16")
    assert types(events) == [
        "session.updated",
        "conversation.item.created",
        "response.created",
        "response.output_item.added",
        "conversation.item.created",
        "response.content_part.added",
        *["response.audio_transcript.delta", "response.audio.delta"] * 2,
        "response.audio.done",
        "response.audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    assert events[0]["session"]["temperature"] == 1
    response = events[-2]["response"]
    assert (response["modalities"], response["output_audio_format"]) == (["text", "audio"], "g711_ulaw")
    assert response["output"][0]["content"] == [{"type": "audio", "transcript": "powered by "}]
    assert "audio" not in response


def test_older_form_is_asked_for_by_a_subprotocol_too():
    async def story(socket):
        return socket.session

    fields = [("sec-websocket-protocol", "realtime, openai-beta.realtime-v1")]
    assert "modalities" in talk(story, fields=fields)


def test_older_transcription_session_has_its_own_event():
    async def story(socket):
        socket.send("transcription_session.update", session={"input_audio_transcription": {"model": "whisper-1"}})
        return await socket.event()

    updated = talk(story, path="/v1/realtime?intent=transcription", fields=BETA)
    assert updated["type"] == "transcription_session.updated"
    assert updated["session"]["input_audio_transcription"] == {"model": "whisper-1"}


# ---- client secrets and calls -----------------------------------------------------------------------------------


def test_client_secret_opens_the_session_that_it_was_made_for():
    async def run():
        mock = make_mock()
        body = {"session": {"type": "realtime", "model": "gpt-realtime-mini", "instructions": "Be kind."}}
        secret = ask(mock, "POST", "/v1/realtime/client_secrets", body)
        protocols = f"realtime, openai-insecure-api-key.{secret['value']}"
        socket = Socket(mock, "/v1/realtime", [("sec-websocket-protocol", protocols)])
        session = (await socket.event())["session"]
        await socket.close()
        return secret, session

    secret, session = asyncio.run(run())
    assert secret["value"].startswith("ek_")
    assert (session["model"], session["instructions"]) == ("gpt-realtime-mini", "Be kind.")
    assert session["id"] == secret["session"]["id"]


def test_client_secret_expires():
    now = [1000.0]
    mock = make_mock(clock=lambda: now[0])
    body = {"expires_after": {"anchor": "created_at", "seconds": 10}}
    secret = ask(mock, "POST", "/v1/realtime/client_secrets", body)
    assert secret["expires_at"] == 1010
    now[0] = 1010.0
    assert refused(mock, "/v1/realtime", [("authorization", f"Bearer {secret['value']}")]).status == 401


@pytest.mark.parametrize(
    "path, body, member",
    [
        ("/v1/realtime/sessions", {"voice": "sage", "modalities": ["text"]}, "voice"),
        ("/v1/realtime/transcription_sessions", {"input_audio_format": "g711_alaw"}, "input_audio_format"),
    ],
)
def test_older_session_has_a_client_secret(path, body, member):
    answer = ask(make_mock(), "POST", path, body)
    assert answer[member] == body[member]
    assert answer["client_secret"]["value"].startswith("ek_")


@pytest.mark.parametrize(
    "path, body",
    [
        ("/v1/realtime/calls", {"sdp": "v=0"}),
        ("/v1/live/sessions", {"session": {"model": "gpt-live-1"}, "transport": {"type": "webrtc", "sdp": "v=0"}}),
    ],
)
def test_web_rtc_is_said_not_to_be_there(path, body):
    with pytest.raises(ApiError) as caught:
        ask(make_mock(), "POST", path, body)
    assert (caught.value.status, caught.value.code) == (400, "webrtc_not_available")


def test_unknown_call_cannot_be_hung_up():
    with pytest.raises(ApiError) as caught:
        ask(make_mock(), "POST", "/v1/realtime/calls/rtc_1/hangup")
    assert caught.value.status == 404


# ---- translations, and responses over a WebSocket ---------------------------------------------------------------


def test_speech_is_translated_until_the_session_is_closed():
    async def story(socket):
        audio = {"input": {"transcription": {"model": "gpt-realtime-whisper"}}, "output": {"language": "fr"}}
        socket.send("session.update", session={"audio": audio})
        socket.send("session.input_audio_buffer.append", audio=b64(SPEECH))
        socket.send("session.close")
        return await socket.until("session.closed"), await socket.frame(), await socket.frame()

    events, close, nothing = talk(story, path="/v1/realtime/translations?model=gpt-realtime-translate")
    word = ["session.input_transcript.delta", "session.output_transcript.delta", "session.output_audio.delta"]
    assert types(events) == ["session.updated", *word * 3, "session.closed"]
    assert events[0]["session"]["audio"]["output"] == {"language": "fr"}
    assert [event["elapsed_ms"] for event in events if event["type"] == word[2]] == [1200, 1400, 1600]
    assert (close.code, nothing) == (1000, None)


def live_talk(story, **settings):
    async def run():
        socket = Socket(make_mock(**settings), "/v1/live/sessions")
        try:
            return await story(socket)
        finally:
            await socket.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    "form, sound, second",
    [
        ({"type": "audio/pcm", "rate": 24000}, SPEECH, 48000),
        ({"type": "audio/pcm", "rate": 16000}, (SPEECH + bytes(96))[: len(SPEECH) // 3 * 2], 32000),
    ],
    ids=["24 kHz", "16 kHz"],
)
def test_live_session_listens_and_speaks(form, sound, second):
    async def story(socket):
        socket.send("session.start", event_id="mine", session={"model": "gpt-live-1", "audio": {"format": form}})
        socket.send("session.instructions.append", content="Be kind.")
        socket.send("session.input_audio.mute")
        socket.send("session.input_audio.append", audio=b64(sound))
        socket.send("session.input_audio.unmute")
        socket.send("session.input_audio.append", audio=b64(sound + bytes(2 * second)))
        said = await socket.until("session.usage.updated")
        socket.send("session.close")
        return said, await socket.event(), await socket.frame()

    said, closed, close = live_talk(story)
    assert types(said) == [
        "session.started",
        "session.instructions.appended",
        "session.input_audio.muted",
        "session.input_audio.unmuted",
        *["session.input_transcript.delta"] * 3,
        *["session.output_transcript.delta", "session.output_audio.delta"] * 3,
        "session.usage.updated",
    ]
    assert (said[0]["client_event_id"], said[0]["session"]["audio"]["format"]) == ("mine", form)
    sounds = [base64.b64decode(event["delta"]) for event in said if event["type"] == "session.output_audio.delta"]
    assert sum(map(len, sounds)) == 0.6 * second
    assert (closed["reason"], closed["session"]["id"], close.code) == (
        "close_requested",
        said[0]["session"]["id"],
        1000,
    )


QUESTIONS = [
    {"type": "choice", "name": "mood", "instructions": "How?", "choices": [{"value": "calm"}, {"value": "angry"}]}
]
TOOL = {
    "type": "function",
    "name": "look_up",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def started(delegation, **members):
    async def story(socket):
        socket.send("session.start", session={"model": "gpt-live-1", "delegation": delegation, **members})
        await socket.event()
        return socket

    return story


def test_live_responses_are_made_of_the_items_that_came():
    async def story(socket):
        await started({"type": "responses", "responses": {"model": "gpt-5.5", "tools": [TOOL]}})(socket)
        ask = {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "Call look_up with city Rome."}],
        }
        socket.send("response.item.create", item=ask)
        socket.send("response.create", event_id="mine")
        called = []
        while not called or called[-1]["event"]["type"] != "response.completed":
            called.append(await socket.event())
        items = [event["event"]["item"] for event in called if event["event"]["type"] == "response.output_item.done"]
        done = next(item for item in items if item["type"] == "function_call")
        result = {"type": "function_call_output", "call_id": done["call_id"], "output": "Sunny"}
        socket.send("response.item.create", item=result)
        socket.send(
            "session.update", session={"delegation": {"type": "responses", "responses": {"max_output_tokens": 99}}}
        )
        socket.send("response.create")
        updated, said = await socket.event(), []
        while not said or said[-1]["event"]["type"] != "response.completed":
            said.append(await socket.event())
        socket.send("response.item.create", item={**result, "call_id": "call_unknown"})
        socket.send("response.create")
        return called, done, updated, said, await socket.event()

    called, done, updated, said, error = live_talk(story)
    assert {(event["type"], event["client_event_id"]) for event in called} == {("response.event", "mine")}
    assert (done["name"], json.loads(done["arguments"])) == ("look_up", {"city": "Rome"})
    response = called[-1]["event"]["response"]
    assert (response["instructions"], response["tools"], response["output"]) == (None, [], [])
    assert "input" not in response
    assert updated["session"]["delegation"]["responses"] == {
        "model": "gpt-5.5",
        "tools": [TOOL],
        "max_output_tokens": 99,
    }
    assert [event["event"]["delta"] for event in said if "delta" in event["event"]] == ["powered ", "by ", "openai"]
    assert "call_unknown" in error["error"]["message"]


def test_live_decisions_know_what_was_said_and_what_the_client_added():
    async def story(socket):
        decisions = {"type": "decisions", "decisions": {"model": "d-1", "questions": QUESTIONS}}
        trigger = {
            "type": "decisions",
            "event_type": "session.output_transcript.delta",
            "decisions": {"questions": QUESTIONS},
        }
        await started(decisions, triggers=[trigger])(socket)
        socket.send("decision.item.create", event_id="a", item={"role": "user", "content": "I am angry"})
        socket.send("decision.create", event_id="b")
        socket.send("decision.create", event_id="b")
        told = [await socket.event() for _ in range(3)]
        socket.send("decision.item.delete", item_id=told[0]["item"]["id"])
        socket.send("decision.item.delete", item_id=told[0]["item"]["id"])
        told += [await socket.event() for _ in range(2)]
        socket.send("session.input_audio.append", audio=b64(SPEECH + bytes(96000)))
        return told, await socket.until("session.usage.updated")

    told, spoken = live_talk(story)
    created, decided, again, deleted, unknown = told
    assert (created["item"]["content"], created["client_event_id"]) == ("I am angry", "a")
    decision = decided["event"]["decision"]
    assert (decision["model"], decision["answers"][0]["choice"]) == ("d-1", "angry")
    assert (decided["trigger_id"], decided["source_event_id"]) == (None, None)
    assert (again["error"]["param"], unknown["error"]["param"]) == ("event_id", "item_id")
    assert deleted["item_id"] == created["item"]["id"]
    words = [event["event_id"] for event in spoken if event["type"] == "session.output_transcript.delta"]
    fired = [event for event in spoken if event["type"] == "decision.event"]
    assert ([event["source_event_id"] for event in fired], len(words)) == (words, 3)
    assert len({event["trigger_id"] for event in fired}) == 3


@pytest.mark.parametrize(
    ("form", "second"),
    [({"type": "audio/pcm", "rate": 24000}, 48000), ({"type": "audio/pcm", "rate": 16000}, 32000),
     ({"type": "audio/pcmu", "rate": 8000}, 8000)],
    ids=["24 kHz", "16 kHz", "G.711"],
)  # fmt: skip
def test_a_live_fixture_plays_and_silences_the_model(form, second):
    async def story(socket):
        await started(None, audio={"format": form})(socket)
        spoken = SPEECH + bytes(96000) if form["type"] == "audio/pcm" else b""
        socket.send("session.input_audio.append", audio=b64(spoken))
        socket.send("session.output_audio.fixture.play", event_id="f", audio=b64(bytes(60000)))
        played = await socket.until("session.output_audio.fixture.played")
        for audio in (bytes(3), bytes(31 * 48000), b""):
            socket.send("session.output_audio.fixture.play", audio=b64(audio))
        return played, [await socket.event() for _ in range(3)]

    played, refused = live_talk(story, delay=0.001)
    begun = types(played).index("session.output_audio.fixture.playing")
    assert types(played[begun + 1 : -1]) == ["session.output_audio.delta"] * 7
    assert sum(len(base64.b64decode(event["delta"])) for event in played[begun + 1 : -1]) == 1.25 * second
    assert (played[begun]["client_event_id"], played[-1]["client_event_id"]) == ("f", "f")
    assert [event["error"]["param"] for event in refused] == ["audio"] * 3


@pytest.mark.parametrize(
    ("event", "param"),
    [({"type": "response.create"}, "type"), ({"type": "decision.create", "event_id": "x"}, "type"),
     ({"type": "response.item.create", "item": {"role": "user", "content": "x"}}, "type"),
     ({"type": "transport.dtmf.send", "event": "5"}, "type"), ({"type": "decision.create"}, "event_id")],
)  # fmt: skip
def test_live_events_that_the_session_is_not_for_are_refused(event, param):
    async def story(socket):
        await started(None)(socket)
        socket.send(**event)
        refused = await socket.event()
        socket.send("session.close")
        return refused, await socket.event()

    refused, closed = live_talk(story)
    assert (refused["type"], refused["error"]["param"], closed["type"]) == ("error", param, "session.closed")


def test_a_stored_live_session_is_forked():
    async def run():
        mock = make_mock()
        first = Socket(mock, "/v1/live/sessions")
        audio = {"output": {"voice": "marin"}}
        first.send(
            "session.start",
            session={"model": "gpt-live-1.1", "instructions": "Be kind.", "store": True, "audio": audio},
        )
        id = (await first.event())["session"]["id"]
        first.send("session.close")
        await first.until("session.closed")
        second = Socket(mock, f"/v1/live/sessions/{id}/fork")
        second.send("session.start", session={"audio": {"format": {"type": "audio/pcm", "rate": 16000}}})
        forked = (await second.event())["session"]
        for path in (f"{id}/attach", "live_unknown/fork"):
            with pytest.raises(ApiError) as refused:
                Socket(mock, f"/v1/live/sessions/{path}")
            assert refused.value.param == "session_id"
        for socket in (first, second):
            await socket.close()
        return id, forked

    id, forked = asyncio.run(run())
    assert forked["id"] != id
    assert (forked["model"], forked["instructions"]) == ("gpt-live-1.1", "Be kind.")
    assert forked["audio"] == {"output": {"voice": "marin"}, "format": {"type": "audio/pcm", "rate": 16000}}


def test_live_session_must_be_started_once():
    async def story(socket):
        socket.send("session.close")
        early = await socket.event()
        for _ in range(2):
            socket.send("session.start", session={"model": "gpt-live-1"})
        return early, (await socket.until("error"))[-1]

    assert [error["error"]["code"] for error in live_talk(story)] == ["invalid_session_state"] * 2


def responses_talk(story, **settings):
    async def run():
        socket = Socket(make_mock(**settings), "/v1/responses")
        try:
            return await story(socket)
        finally:
            await socket.close()

    return asyncio.run(run())


def test_responses_come_over_a_web_socket():
    async def story(socket):
        socket.send("response.create", model="gpt-4o", input="Hello", store=False, stream_id="lane")
        first = await socket.until("response.completed")
        id = first[-1]["response"]["id"]
        socket.send("response.create", model="gpt-4o", input="Again", previous_response_id=id)
        return first, await socket.until("response.completed")

    first, second = responses_talk(story)
    assert [event["sequence_number"] for event in first] == list(range(len(first)))
    assert {event["stream_id"] for event in first} == {"lane"}
    assert [event["delta"] for event in first if "delta" in event] == ["powered ", "by ", "openai"]
    assert second[-1]["response"]["previous_response_id"] == first[-1]["response"]["id"]
    assert "stream_id" not in second[-1]


@pytest.mark.parametrize(
    "event, code",
    [
        ({"type": "response.create", "model": "gpt-4o", "input": 5}, "invalid_type"),
        ({"type": "response.create", "input": "x"}, "missing_required_parameter"),
        (
            {"type": "response.create", "model": "m", "input": "x", "previous_response_id": "resp_0"},
            "previous_response_not_found",
        ),
        ({"type": "nonsense"}, "invalid_value"),
        ({"type": "response.steer", "input": "x", "previous_response_id": "resp_0"}, "steering_not_supported"),
    ],
)
def test_mistake_about_responses_is_an_error(event, code):
    async def story(socket):
        socket.put(encode_text(json.dumps(event), MASK))
        return await socket.event()

    assert responses_talk(story)["error"]["code"] == code


def test_what_is_injected_into_a_response_that_is_over_comes_back():
    given = [{"type": "function_call_output", "call_id": "call_1", "output": "x"}]

    async def story(socket):
        socket.send("response.create", model="gpt-4o", input="x", store=False)
        id = (await socket.until("response.completed"))[-1]["response"]["id"]
        socket.send("response.inject", response_id=id, input=given, stream_id="lane")
        known = await socket.event()
        socket.send("response.inject", response_id="resp_0", input=given)
        return id, known, await socket.event()

    id, known, unknown = responses_talk(story)
    told = {"type": "response.inject.failed", "input": given}
    assert {**known, "error": known["error"]["code"]} == {
        **told, "response_id": id, "sequence_number": 0, "stream_id": "lane", "error": "response_already_completed",
    }  # fmt: skip
    assert {**unknown, "error": unknown["error"]["code"]} == {
        **told, "response_id": "resp_0", "sequence_number": 1, "error": "response_not_found",
    }  # fmt: skip


# ---- how a connection ends, and what it holds -------------------------------------------------------------------


@pytest.mark.parametrize(
    "data, code",
    [
        (encode_close(1000, "bye", MASK), 1000),
        (encode_close(4000, "mine", MASK), 4000),
        (masked(0x82, b"x"), 1003),
        (encode_text("unmasked"), 1002),
        (masked(0x81, b"\xff\xff"), 1007),
        (b"\x81\xff" + (2**32).to_bytes(8, "big") + MASK, 1009),
    ],
    ids=["closed", "closed with its own code", "binary", "no mask", "no UTF-8", "too long"],
)
def test_connection_closes_with_the_code_for_why(data, code):
    async def story(socket):
        socket.put(data)
        return await socket.frame(), await socket.frame()

    close, nothing = talk(story)
    assert (close.code, nothing) == (code, None)


def test_ping_is_answered_while_a_response_waits_for_its_pace():
    async def story(socket):
        socket.send("response.create")
        await socket.until("response.created")
        socket.put(masked(0x89, b"here?"))
        return (await socket.frame()).data

    assert talk(story, delay=1, first_delay=1, sleep=never) == b"here?"


def test_connection_ends_with_the_clients():
    async def story(socket):
        socket.send("response.create")
        await socket.until("response.created")
        socket.put(b"")
        return await socket.frame()

    assert talk(story, delay=1, first_delay=1, sleep=never) is None


def test_nothing_is_left_running_when_the_client_goes():
    async def run():
        socket = Socket(make_mock(sleep=never, delay=1, first_delay=1))
        await socket.event()
        socket.send("response.create")
        await socket.until("response.created")
        waiting = asyncio.ensure_future(socket.pull())
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await socket.close()
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    assert asyncio.run(run()) == []


def test_server_that_goes_away_says_so():
    async def run():
        mock = make_mock(sleep=never, delay=1, first_delay=1)
        socket = Socket(mock)
        await socket.event()
        socket.send("response.create")
        await socket.until("response.created")
        waiting = asyncio.ensure_future(socket.frame())
        await asyncio.sleep(0)
        mock.leave()
        return (await waiting).code, await socket.frame()

    assert asyncio.run(run()) == (1001, None)


def test_one_message_is_answered_before_the_next_is_looked_at():
    async def story(socket):
        for _ in range(3):
            socket.send("input_audio_buffer.clear")
        reader = FrameReader("client")
        reader.feed(await socket.pull())
        return json.loads(reader.next_event().text)["type"], type(reader.next_event())

    first, second = talk(story)
    assert first == "input_audio_buffer.cleared"
    assert second is not TextMessage


def test_long_answer_is_made_as_it_is_read():
    text = "word " * 5000  # a thousand seconds of sound: 48 MB, 64 MB in base64

    async def story(socket):
        socket.send("response.create")
        await socket.until("response.created")
        return [len(await socket.pull()) for _ in range(20)]

    assert max(talk(story, text=text)) < 100_000


def test_frozen_sessions_are_equal_to_the_byte():
    async def story(socket):
        socket.send("conversation.item.create", item=HELLO)
        socket.send("response.create")
        return socket.session, await socket.until("rate_limits.updated")

    assert talk(story, freeze=True) == talk(story, freeze=True)


# ---- speech -----------------------------------------------------------------------------------------------------

VAD = TurnDetection(0.5, 300, 200)


def marks_of(sound, audio_format="audio/pcm", detection=VAD, size=None):
    buffer = InputSound(audio_format, detection)
    size = size or len(sound)
    marks = [mark for at in range(0, len(sound), size) for mark in buffer.append(sound[at : at + size])]
    return [(mark.kind, mark.at_ms, len(mark.sound)) for mark in marks]


@pytest.mark.parametrize("size", [None, 7, 960, 10_000])
def test_speech_is_found_however_the_sound_is_cut(size):
    assert marks_of(SPEECH, size=size) == [("started", 100, 0), ("stopped", 1200, 1100 * 48)]


@pytest.mark.parametrize("audio_format, law", [("audio/pcmu", "ulaw"), ("audio/pcma", "alaw")])
def test_speech_is_found_in_the_sound_of_telephones(audio_format, law):
    # The same samples, taken at a third of the rate.
    sound = encode_g711(struct.pack(f"<{len(SPEECH) // 6}h", *struct.unpack(f"<{len(SPEECH) // 2}h", SPEECH)[::3]), law)
    assert marks_of(sound, audio_format) == [("started", 100, 0), ("stopped", 1200, 1100 * 8)]


def test_two_stretches_of_speech_are_two_turns():
    kinds = [kind for kind, _, _ in marks_of(SPEECH + SPEECH)]
    assert kinds == ["started", "stopped"] * 2


@pytest.mark.parametrize(
    "sound",
    [1000 * QUIET, 20 * LOUD + 1000 * QUIET, struct.pack("<24h", *[300, -300] * 12) * 1000],
    ids=["silence", "click", "murmur"],
)
def test_little_sound_is_no_speech(sound):
    assert marks_of(sound) == []


def test_threshold_says_how_loud_speech_is():
    murmur = struct.pack("<24h", *[300, -300] * 12) * 1000
    assert marks_of(murmur, detection=VAD._replace(threshold=0.1))[0][0] == "started"


def test_silence_is_not_hoarded():
    buffer = InputSound("audio/pcm", VAD)
    for _ in range(100):
        buffer.append(10_000 * QUIET)
    assert len(buffer.commit()) <= 400 * 48


def test_buffer_is_bounded():
    buffer = InputSound("audio/pcm", None)
    buffer.append(bytes(MOST_BUFFERED_SOUND))
    with pytest.raises(ApiError) as caught:
        buffer.append(b"\0\0")
    assert caught.value.code == "input_audio_buffer_full"
    buffer.clear()
    assert buffer.append(b"\0\0") == []
