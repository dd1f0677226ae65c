"""OpenAI's chat messages as DashScope's, for both chat endpoints.

The text endpoint takes strings; the multimodal endpoint takes a list of one-key parts in every role. Both take one
system message, and only as the first. Source: OpenAI API reference, "Create chat completion"; DashScope API reference,
"Text generation" and "Multimodal conversation".
"""

from __future__ import annotations

import json
import re
import typing

from protocol.dashscope.mapping.fields import refuse_field

_PART_MEDIA_KEYS = ("image", "audio", "video")
_PART_MEDIA_TYPES = ("image_url", "input_audio", "video_url", "video")
_PART_SIBLINGS = (
    "min_pixels",
    "max_pixels",
    "total_pixels",
    "fps",
    "max_frames",
    "enable_rotate",
    "cache_control",
)
_PART_MEDIA_URL = re.compile(r"(?:https?|oss)://.+|data:.*", re.IGNORECASE | re.DOTALL)
_PART_AUDIO_FORMAT = re.compile(r"[A-Za-z0-9.+-]+")
_SYSTEM_SEPARATOR = "\n\n"
_LEGACY_CALL_ID = "call_function_%d"

# A part in DashScope's own form, or a text with a cache marker: cannot be joined to a string.
_PART_UNJOINED_KEYS = ("cache_control", "doc_url")

JsonPart = typing.Dict[str, typing.Any]


def has_media_parts(messages: typing.Sequence[object]) -> bool:
    """Tell whether a picture, a sound or a film is among the parts: only the multimodal endpoint takes those."""
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and any(isinstance(part, dict) and _is_media_part(part) for part in content):
            return True
    return False


def native_messages(
    messages: typing.Sequence[object], multimodal: bool, system_notes: typing.Sequence[str] = ()
) -> list[dict[str, typing.Any]]:
    """Return the messages in DashScope's form; `system_notes` are appended to the system message.

    Several system messages become one, the first. Raises the 400 that names the message and the part at fault.
    """
    return _Mapper(multimodal).map_all(messages, system_notes)


def mentions_json(messages: typing.Sequence[object]) -> bool:
    """Tell whether some message has the word "json" in its text, which DashScope demands in JSON mode."""
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        texts = [content] if isinstance(content, str) else _part_texts(content)
        if any("json" in text.lower() for text in texts):
            return True
    return False


def native_part(part: object, where: str) -> JsonPart:
    """Return one part of a message (OpenAI's, or already DashScope's) as the multimodal endpoint takes it."""
    if not isinstance(part, dict):
        raise refuse_field(where, "an object", part)
    kind = part.get("type")
    if kind is None:
        return _check_native_part(part, where)
    mapper = _PART_MAPPERS.get(kind) if isinstance(kind, str) else None
    if mapper is None:
        raise refuse_field(where + ".type", "one of " + ", ".join(_PART_MAPPERS), kind)
    return mapper(part, where)


class _Mapper:
    """Maps the messages of one request; remembers what a later message refers to."""

    def __init__(self, multimodal: bool) -> None:
        self._multimodal = multimodal
        self._legacy_call_id = ""

    def map_all(
        self, messages: typing.Sequence[object], system_notes: typing.Sequence[str]
    ) -> list[dict[str, typing.Any]]:
        system_contents: list[list[JsonPart]] = []
        mappers = {
            "user": self._map_user,
            "assistant": self._map_assistant,
            "tool": self._map_tool,
            "function": self._map_function,
        }
        mapped = []
        for position, message in enumerate(messages):
            where = f"messages[{position}]"
            if not isinstance(message, dict):
                raise refuse_field(where, "an object", message)
            role = message.get("role")
            if role in ("system", "developer"):
                system_contents.append(_text_parts(message.get("content"), where + ".content"))
            elif isinstance(role, str) and role in mappers:
                mapped.append(mappers[role](message, where, position))
            else:
                raise refuse_field(where + ".role", "system, developer, " + ", ".join(mappers), role)
        system_contents.extend([{"text": note}] for note in system_notes)
        return self._system_message(system_contents) + mapped

    def _system_message(self, contents: list[list[JsonPart]]) -> list[dict[str, typing.Any]]:
        """Merge system messages. An empty one is left out: DashScope refuses it, OpenAI does not."""
        filled = [parts for parts in contents if any(part.get("text") for part in parts)]
        if not filled:
            return []
        if any(_is_unjoined_part(part) for parts in filled for part in parts):
            return [{"role": "system", "content": self._unjoined_content(_parts_with_separators(filled))}]
        text = _SYSTEM_SEPARATOR.join(_joined_part_texts(parts) for parts in filled)
        return [{"role": "system", "content": self._text_content(text)}]

    def _map_user(self, message: dict[str, typing.Any], where: str, position: int) -> dict[str, typing.Any]:
        where += ".content"
        content = message.get("content")
        if isinstance(content, list) and self._multimodal:
            parts = [native_part(part, f"{where}[{number}]") for number, part in enumerate(content)]
        else:
            parts = _text_parts(content, where)
        if not any(part.get("text") or "text" not in part for part in parts):
            raise refuse_field(where, "some text or another part, for DashScope refuses an empty message", content)
        if self._multimodal:
            return {"role": "user", "content": parts}
        if any(_is_unjoined_part(part) for part in parts):
            return {"role": "user", "content": self._unjoined_content(parts)}
        return {"role": "user", "content": _joined_part_texts(parts)}

    def _map_assistant(self, message: dict[str, typing.Any], where: str, position: int) -> dict[str, typing.Any]:
        content = message.get("content")
        text = "" if content is None else _joined_part_texts(_text_parts(content, where + ".content"))
        mapped: dict[str, typing.Any] = {"role": "assistant", "content": self._text_content(text)}
        calls = self._tool_calls(message, where, position)
        if calls:
            mapped["tool_calls"] = calls
        if isinstance(message.get("reasoning_content"), str) and message["reasoning_content"]:
            mapped["reasoning_content"] = message["reasoning_content"]
        if isinstance(message.get("partial"), bool):
            mapped["partial"] = message["partial"]
        return mapped

    def _tool_calls(self, message: dict[str, typing.Any], where: str, position: int) -> list[JsonPart]:
        legacy_call = message.get("function_call")
        if legacy_call is not None:
            self._legacy_call_id = _LEGACY_CALL_ID % position
            function = _called_function(legacy_call, where + ".function_call")
            return [{"id": self._legacy_call_id, "type": "function", "function": function, "index": 0}]
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list):
            raise refuse_field(where + ".tool_calls", "a list", calls)
        return [_tool_call(call, number, f"{where}.tool_calls[{number}]") for number, call in enumerate(calls)]

    def _map_tool(self, message: dict[str, typing.Any], where: str, position: int) -> dict[str, typing.Any]:
        call_id = message.get("tool_call_id")
        if not isinstance(call_id, str) or not call_id:
            raise refuse_field(where + ".tool_call_id", "the id of the tool call that is answered", call_id)
        return self._tool_answer(message, where, call_id)

    def _map_function(self, message: dict[str, typing.Any], where: str, position: int) -> dict[str, typing.Any]:
        if not self._legacy_call_id:
            raise refuse_field(where, "an assistant message with function_call before it", message.get("name"))
        return self._tool_answer(message, where, self._legacy_call_id)

    def _tool_answer(self, message: dict[str, typing.Any], where: str, call_id: str) -> dict[str, typing.Any]:
        content = message.get("content")
        text = "" if content is None else _joined_part_texts(_text_parts(content, where + ".content"))
        native_content: object = [{"text": text}] if self._multimodal else text
        return {"role": "tool", "tool_call_id": call_id, "content": native_content}

    def _text_content(self, text: str) -> object:
        if not self._multimodal:
            return text
        return [{"text": text}] if text else []

    def _unjoined_content(self, parts: list[JsonPart]) -> list[JsonPart]:
        """Return the parts as a list; on the text endpoint such a part names its type, on the other it does not."""
        if self._multimodal:
            return parts
        return [{"type": "text", **part} if "text" in part else part for part in parts]


def _text_parts(content: object, where: str) -> list[JsonPart]:
    """Return content that may only be text as parts `{"text", "cache_control"?}`, or doc_url parts as they are."""
    if isinstance(content, str):
        return [{"text": content}]
    if not isinstance(content, list):
        raise refuse_field(where, "a string or a list of parts", content)
    parts = []
    for number, part in enumerate(content):
        if isinstance(part, dict) and part.get("type") == "doc_url":
            parts.append(part)
            continue
        mapped = native_part(part, f"{where}[{number}]")
        if "text" not in mapped:
            raise refuse_field(f"{where}[{number}]", "a text part", part)
        parts.append(mapped)
    return parts


def _joined_part_texts(parts: list[JsonPart]) -> str:
    return "".join(part.get("text", "") for part in parts)


def _is_unjoined_part(part: JsonPart) -> bool:
    return any(key in part for key in _PART_UNJOINED_KEYS)


def _parts_with_separators(contents: list[list[JsonPart]]) -> list[JsonPart]:
    """Chain the parts of several messages; the blank line between two goes to the front of the later one."""
    chained: list[JsonPart] = []
    for parts in contents:
        for number, part in enumerate(parts):
            if chained and number == 0 and "text" in part:
                part = {**part, "text": _SYSTEM_SEPARATOR + part["text"]}
            chained.append(part)
    return chained


def _tool_call(call: object, number: int, where: str) -> JsonPart:
    if not isinstance(call, dict):
        raise refuse_field(where, "an object", call)
    if call.get("type", "function") != "function":
        raise refuse_field(where + ".type", "function", call["type"])
    if not isinstance(call.get("id"), str) or not call["id"]:
        raise refuse_field(where + ".id", "a non-empty string", call.get("id"))
    function = _called_function(call.get("function"), where + ".function")
    return {"id": call["id"], "type": "function", "function": function, "index": number}


def _called_function(function: object, where: str) -> dict[str, str]:
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise refuse_field(where, "an object with the function's name", function)
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments or {}, ensure_ascii=False)
    return {"name": function["name"], "arguments": arguments}


def _is_media_part(part: JsonPart) -> bool:
    kind = part.get("type")
    return kind in _PART_MEDIA_TYPES or kind is None and any(key in part for key in _PART_MEDIA_KEYS)


def _part_texts(content: object) -> list[str]:
    if not isinstance(content, list):
        return []
    return [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]


def _check_native_part(part: JsonPart, where: str) -> JsonPart:
    if isinstance(part.get("text"), str) or any(part.get(key) for key in _PART_MEDIA_KEYS):
        return part
    raise refuse_field(where, "a part with a type, or one of text, image, audio, video", part)


def _map_text_part(part: JsonPart, where: str) -> JsonPart:
    if not isinstance(part.get("text"), str):
        raise refuse_field(where + ".text", "a string", part.get("text"))
    return {"text": part["text"], **_part_siblings(part, ("cache_control",))}


def _map_refusal_part(part: JsonPart, where: str) -> JsonPart:
    if not isinstance(part.get("refusal"), str):
        raise refuse_field(where + ".refusal", "a string", part.get("refusal"))
    return {"text": part["refusal"]}


def _map_image_part(part: JsonPart, where: str) -> JsonPart:
    # `detail` has no native twin: how finely a picture is read follows from min_pixels and max_pixels.
    return _map_url_part("image", "image_url", part, where)


def _map_video_url_part(part: JsonPart, where: str) -> JsonPart:
    return _map_url_part("video", "video_url", part, where)


def _map_audio_part(part: JsonPart, where: str) -> JsonPart:
    audio = part.get("input_audio")
    where += ".input_audio"
    if not isinstance(audio, dict) or not isinstance(audio.get("data"), str) or not audio["data"]:
        raise refuse_field(where, "an object with data and format", audio)
    if _PART_MEDIA_URL.fullmatch(audio["data"]):
        return {"audio": audio["data"]}
    audio_format = audio.get("format")
    if not isinstance(audio_format, str) or not _PART_AUDIO_FORMAT.fullmatch(audio_format):
        raise refuse_field(where + ".format", "the name of an audio format, e.g. wav or mp3", audio_format)
    return {"audio": f"data:audio/{audio_format};base64,{audio['data']}"}


def _map_video_part(part: JsonPart, where: str) -> JsonPart:
    frames = part.get("video")
    if isinstance(frames, str) and _PART_MEDIA_URL.fullmatch(frames):
        return {"video": frames, **_part_siblings(part, _PART_SIBLINGS)}
    if not isinstance(frames, list) or not frames or not all(_is_part_media_url(frame) for frame in frames):
        raise refuse_field(where + ".video", "a URL or a list of the URLs of its frames", frames)
    return {"video": frames, **_part_siblings(part, _PART_SIBLINGS)}


def _map_url_part(native_key: str, openai_key: str, part: JsonPart, where: str) -> JsonPart:
    holder = part.get(openai_key)
    url = holder.get("url") if isinstance(holder, dict) else holder
    if not _is_part_media_url(url):
        raise refuse_field(f"{where}.{openai_key}", "an http, https, oss or data URL", holder)
    mapped = {native_key: url}
    if isinstance(holder, dict):
        mapped.update(_part_siblings(holder, _PART_SIBLINGS))
    mapped.update(_part_siblings(part, _PART_SIBLINGS))
    return mapped


def _is_part_media_url(value: object) -> bool:
    return isinstance(value, str) and _PART_MEDIA_URL.fullmatch(value) is not None


def _part_siblings(source: JsonPart, names: typing.Sequence[str]) -> JsonPart:
    return {name: source[name] for name in names if source.get(name) is not None}


_PART_MAPPERS: dict[str, typing.Callable[[JsonPart, str], JsonPart]] = {
    "text": _map_text_part,
    "image_url": _map_image_part,
    "input_audio": _map_audio_part,
    "video_url": _map_video_url_part,
    "video": _map_video_part,
    "refusal": _map_refusal_part,
}
