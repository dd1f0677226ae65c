"""The older form of the realtime API ("beta"): its events and sessions, from and to those of general availability.

Clients ask for it by the field `OpenAI-Beta: realtime=v1` or the subprotocol `openai-beta.realtime-v1`. A session there
is one flat object, may have text and sound at once, and has fewer events, some of them under other names.

Source: OpenAI guide "Realtime", "Beta to GA migration"; the older reference's client and server events.
"""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.mock.realtime.wire import Events, SocketTalk, event_type
from protocol.mock.unchecked import objects_of
from protocol.wire.json_text import JsonObject

_TO_BETA_TYPES = {
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "conversation.item.added": "conversation.item.created",
}
_TO_BETA_PARTS = {"output_text": "text", "output_audio": "audio"}
_FROM_BETA_PARTS = {beta: part for part, beta in _TO_BETA_PARTS.items()}
_TO_BETA_FORMATS = {"audio/pcm": "pcm16", "audio/pcmu": "g711_ulaw", "audio/pcma": "g711_alaw"}
_FROM_BETA_FORMATS = {beta: name for name, beta in _TO_BETA_FORMATS.items()}

# By member of a beta session or response: the side and the member of `audio` where it is now.
_BETA_SOUND_MEMBERS = {
    "input_audio_transcription": ("input", "transcription"),
    "input_audio_noise_reduction": ("input", "noise_reduction"),
    "turn_detection": ("input", "turn_detection"),
    "voice": ("output", "voice"),
    "speed": ("output", "speed"),
}
_BETA_FORMAT_MEMBERS = {"input_audio_format": "input", "output_audio_format": "output"}
_BETA_MEMBERS = {"max_response_output_tokens": "max_output_tokens"}
_BETA_TEMPERATURE = 0.8

_BETA_TYPES = (
    "session.update", "transcription_session.update", "input_audio_buffer.append", "input_audio_buffer.commit",
    "input_audio_buffer.clear", "output_audio_buffer.clear", "conversation.item.create", "conversation.item.retrieve",
    "conversation.item.truncate", "conversation.item.delete", "response.create", "response.cancel",
)  # fmt: skip


class BetaTalk(SocketTalk):
    """Speaks the older form with the client, and that of general availability with a session."""

    def __init__(self, session: SocketTalk, *, check: typing.Callable[[JsonObject], JsonObject]) -> None:
        self._session = session
        self._check = check
        self._temperature: float = _BETA_TEMPERATURE
        self.longest_seconds = session.longest_seconds

    @property
    def held_bytes(self) -> int:
        return self._session.held_bytes

    def shown_bytes(self, message: JsonObject) -> int:
        return self._session.shown_bytes(message)

    def open(self) -> Events:
        return self._told(self._session.open())

    def receive(self, message: JsonObject) -> Events:
        event_type(message, _BETA_TYPES)
        message = self._check(message)
        return self._told(self._session.receive(self._from_beta(message)))

    def error(self, error: ApiError, message: JsonObject | None) -> JsonObject:
        return self._session.error(error, message)

    def expired(self) -> Events:
        return self._session.expired()

    def pace(self) -> tuple[object, float] | None:
        return self._session.pace()

    def step(self) -> Events:
        return self._told(self._session.step())

    def end(self) -> None:
        self._session.end()

    def _told(self, events: Events) -> Events:
        return [self._to_beta(event) for event in events if event["type"] != "conversation.item.done"]

    # ---- the server's events ------------------------------------------------------------------------------------

    def _to_beta(self, event: JsonObject) -> JsonObject:
        told = {**event, "type": _TO_BETA_TYPES.get(event["type"], event["type"])}
        if "session" in event:
            if event["session"]["type"] == "transcription":
                told["type"] = "transcription_" + event["type"]
            told["session"] = self._beta_session(event["session"])
        if "item" in event:
            told["item"] = _beta_item(event["item"])
        if "response" in event:
            told["response"] = self._beta_response(event["response"])
        if event["type"] == "response.function_call_arguments.done":
            del told["name"]
        return told

    def _beta_session(self, session: JsonObject) -> JsonObject:
        sound = session["audio"]
        told = {name: session[name] for name in ("id", "object", "expires_at")}
        told.update(
            input_audio_format=_TO_BETA_FORMATS[sound["input"]["format"]["type"]],
            input_audio_transcription=sound["input"]["transcription"],
            input_audio_noise_reduction=sound["input"]["noise_reduction"],
            turn_detection=_beta_detection(sound["input"]["turn_detection"]),
            include=session["include"],
        )
        if session["type"] == "transcription":
            return told
        told.update({name: session[name] for name in ("model", "instructions", "tools", "tool_choice", "tracing")})
        return {**told, **self._beta_output(session), "speed": sound["output"]["speed"]}

    def _beta_output(self, owner: JsonObject) -> JsonObject:
        """Return the members of a session or a response that are about its output."""
        output = owner["audio"]["output"]
        return {
            "modalities": _beta_modalities(owner["output_modalities"]), "voice": output["voice"],
            "output_audio_format": _TO_BETA_FORMATS[output["format"]["type"]], "temperature": self._temperature,
            "max_response_output_tokens": owner["max_output_tokens"],
        }  # fmt: skip

    def _beta_response(self, response: JsonObject) -> JsonObject:
        left = {name: value for name, value in response.items() if name not in ("audio", "output_modalities")}
        output = self._beta_output(response)
        left["max_output_tokens"] = output.pop("max_response_output_tokens")
        return {**left, **output, "output": [_beta_item(item) for item in response["output"]]}

    # ---- the client's events ------------------------------------------------------------------------------------

    def _from_beta(self, message: JsonObject) -> JsonObject:
        given = dict(message)
        if given["type"].endswith("session.update"):
            kind = "realtime" if given["type"] == "session.update" else "transcription"
            given["type"] = "session.update"
            given["session"] = {"type": kind, **self._from_flat(message["session"], "session")}
        if type(given.get("response")) is dict:
            given["response"] = self._from_flat(given["response"], "response")
        if type(given.get("item")) is dict:
            given["item"] = _item_from_beta(given["item"])
        return given

    def _from_flat(self, flat: JsonObject, where: str) -> JsonObject:
        given: JsonObject = {}
        sound: dict[str, JsonObject] = {"input": {}, "output": {}}
        for name, value in flat.items():
            if name in _BETA_SOUND_MEMBERS:
                side, member = _BETA_SOUND_MEMBERS[name]
                sound[side][member] = value
            elif name in _BETA_FORMAT_MEMBERS:
                if value is not None:
                    sound[_BETA_FORMAT_MEMBERS[name]]["format"] = {"type": _FROM_BETA_FORMATS[value]}
            elif name == "modalities":
                given["output_modalities"] = None if value is None else _modalities_from_beta(value, where)
            elif name == "input":
                is_list = type(value) is list
                given["input"] = [_item_from_beta(item) for item in objects_of(value)] if is_list else value
            elif name not in ("client_secret", "temperature"):
                given[_BETA_MEMBERS.get(name, name)] = value
        if where == "session" and flat.get("temperature") is not None:
            self._temperature = flat["temperature"]
        given["audio"] = {side: members for side, members in sound.items() if members}
        return given


def _beta_modalities(modalities: list[str]) -> list[str]:
    return ["text", "audio"] if modalities == ["audio"] else modalities


def _modalities_from_beta(modalities: list[str], where: str) -> list[str]:
    if sorted(modalities) == ["audio", "text"]:
        return ["audio"]
    if modalities != ["text"]:
        raise ApiError(
            400,
            f"Invalid modalities: {modalities!r:.100}. Supported combinations are: ['text'] and ['audio', 'text'].",
            param=f"{where}.modalities", code="invalid_value",
        )  # fmt: skip
    return ["text"]


def _beta_detection(detection: JsonObject | None) -> JsonObject | None:
    if detection is None:
        return None
    return {name: value for name, value in detection.items() if name != "idle_timeout_ms"}


def _beta_item(item: JsonObject) -> JsonObject:
    return _with_parts(item, _TO_BETA_PARTS)


def _item_from_beta(item: JsonObject) -> JsonObject:
    # Nothing is lost: no part of a user's message is called "audio" or "text" in the newer form.
    return _with_parts(item, _FROM_BETA_PARTS)


def _with_parts(item: JsonObject, names: typing.Mapping[str, str]) -> JsonObject:
    if type(item.get("content")) is not list:
        return item
    return {
        **item,
        "content": [{**part, "type": names.get(part.get("type"), part.get("type"))} for part in item["content"]],
    }
