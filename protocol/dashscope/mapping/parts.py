"""The parts of a message's content: OpenAI's, or already DashScope's own, as DashScope's endpoints take them.

Source: OpenAI API reference, "Create chat completion", messages; DashScope API reference, "Multimodal conversation".
"""

from __future__ import annotations

import re
import typing

from protocol.dashscope.mapping.fields import refuse_field
from protocol.wire.json_text import JsonObject

_MEDIA_KEYS = ("image", "audio", "video")
_MEDIA_TYPES = ("image_url", "input_audio", "video_url", "video")

#: With this a client says, on a part, a message or a tool, up to where DashScope shall cache the prompt.
CACHE_MARK = "cache_control"

# DashScope's options for one part, which may stand beside OpenAI's own members.
_OPTIONS = (
    "min_pixels",
    "max_pixels",
    "total_pixels",
    "fps",
    "max_frames",
    "enable_rotate",
    CACHE_MARK,
)
_MEDIA_URL = re.compile(r"(?:https?|oss)://.+|data:.*", re.IGNORECASE | re.DOTALL)
_AUDIO_FORMAT = re.compile(r"[A-Za-z0-9.+-]+")

# A part with one of these says more than its text: it must stay a part.
_STRUCTURED_KEYS = (CACHE_MARK, "doc_url")


def has_media_parts(messages: typing.Sequence[object]) -> bool:
    """Tell whether a picture, a sound or a video is among the parts: only the multimodal endpoint takes those."""
    for message in messages:
        content = message.get("content") if type(message) is dict else None
        if type(content) is list and any(isinstance(part, dict) and _is_media_part(part) for part in content):
            return True
    return False


def native_part(part: object, where: str) -> JsonObject:
    """Return one part as the multimodal endpoint takes it; the 400 names `where` it stands."""
    if not isinstance(part, dict):
        raise refuse_field(where, "an object", part)
    kind = part.get("type")
    if kind is None:
        return _check_native(part, where)
    mapper = _MAPPERS.get(kind) if isinstance(kind, str) else None
    if mapper is None:
        raise refuse_field(where + ".type", "one of " + ", ".join(_MAPPERS), kind)
    return mapper(part, where)


def text_parts(content: object, where: str) -> list[JsonObject]:
    """Return content that may only be text as parts `{"text", "cache_control"?}`; those of type doc_url stay.

    Raises the 400 that names the part at fault.
    """
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


def joined_texts(parts: list[JsonObject]) -> str:
    """Return the texts of the parts as one."""
    return "".join(part.get("text", "") for part in parts)


def is_structured(part: JsonObject) -> bool:
    """Tell whether a part says more than its text, so that it cannot be joined with others to one text."""
    return any(key in part for key in _STRUCTURED_KEYS)


def _is_media_part(part: JsonObject) -> bool:
    kind = part.get("type")
    return kind in _MEDIA_TYPES or (kind is None and any(key in part for key in _MEDIA_KEYS))


def _check_native(part: JsonObject, where: str) -> JsonObject:
    if isinstance(part.get("text"), str) or any(part.get(key) for key in _MEDIA_KEYS):
        return part
    raise refuse_field(where, "a part with a type, or one of text, image, audio, video", part)


def _map_text(part: JsonObject, where: str) -> JsonObject:
    if not isinstance(part.get("text"), str):
        raise refuse_field(where + ".text", "a string", part.get("text"))
    return {"text": part["text"], **_options(part, (CACHE_MARK,))}


def _map_refusal(part: JsonObject, where: str) -> JsonObject:
    if not isinstance(part.get("refusal"), str):
        raise refuse_field(where + ".refusal", "a string", part.get("refusal"))
    return {"text": part["refusal"], **_options(part, (CACHE_MARK,))}


def _map_image(part: JsonObject, where: str) -> JsonObject:
    # `detail` is dropped: in DashScope min_pixels and max_pixels say how finely a picture is read.
    return _map_url("image", "image_url", part, where)


def _map_video_url(part: JsonObject, where: str) -> JsonObject:
    return _map_url("video", "video_url", part, where)


def _map_audio(part: JsonObject, where: str) -> JsonObject:
    audio = part.get("input_audio")
    where += ".input_audio"
    if not isinstance(audio, dict) or not isinstance(audio.get("data"), str) or not audio["data"]:
        raise refuse_field(where, "an object with data and format", audio)
    if _MEDIA_URL.fullmatch(audio["data"]):
        return {"audio": audio["data"], **_options(part, _OPTIONS)}
    audio_format = audio.get("format")
    if not isinstance(audio_format, str) or not _AUDIO_FORMAT.fullmatch(audio_format):
        raise refuse_field(where + ".format", "the name of an audio format, e.g. wav or mp3", audio_format)
    return {"audio": f"data:audio/{audio_format};base64,{audio['data']}", **_options(part, _OPTIONS)}


def _map_video(part: JsonObject, where: str) -> JsonObject:
    frames = part.get("video")
    if isinstance(frames, str) and _MEDIA_URL.fullmatch(frames):
        return {"video": frames, **_options(part, _OPTIONS)}
    if not isinstance(frames, list) or not frames or not all(_is_media_url(frame) for frame in frames):
        raise refuse_field(where + ".video", "a URL or a list of the URLs of its frames", frames)
    return {"video": frames, **_options(part, _OPTIONS)}


def _map_url(native_key: str, openai_key: str, part: JsonObject, where: str) -> JsonObject:
    holder = part.get(openai_key)
    url = holder.get("url") if isinstance(holder, dict) else holder
    if not _is_media_url(url):
        raise refuse_field(f"{where}.{openai_key}", "an http, https, oss or data URL", holder)
    mapped = {native_key: url}
    if isinstance(holder, dict):
        mapped.update(_options(holder, _OPTIONS))
    mapped.update(_options(part, _OPTIONS))
    return mapped


def _is_media_url(value: object) -> bool:
    return isinstance(value, str) and _MEDIA_URL.fullmatch(value) is not None


def _options(source: JsonObject, names: typing.Sequence[str]) -> JsonObject:
    return {name: source[name] for name in names if source.get(name) is not None}


_MAPPERS: dict[str, typing.Callable[[JsonObject, str], JsonObject]] = {
    "text": _map_text,
    "image_url": _map_image,
    "input_audio": _map_audio,
    "video_url": _map_video_url,
    "video": _map_video,
    "refusal": _map_refusal,
}
