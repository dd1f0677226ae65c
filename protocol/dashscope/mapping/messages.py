"""OpenAI's chat messages as DashScope's, for both chat endpoints.

The text endpoint takes strings. The multimodal endpoint takes a list of one-key parts in every role. Both take one
system message, and only as the first; but models for long documents take documents as further system messages.

A mark of the explicit cache (`cache_control`) stands on a part: what comes before its end is cached. On the text
endpoint a message with such a part is a list of parts, too. Sources: OpenAI API reference, "Create chat completion";
DashScope API reference, "Text generation" and "Multimodal conversation"; Alibaba Cloud Model Studio, "Context cache"
and "Long context (Qwen-Long)".
"""

from __future__ import annotations

import json
import typing

from protocol.dashscope.mapping.fields import refuse_field
from protocol.dashscope.mapping.parts import CACHE_MARK, is_structured, joined_texts, native_part, text_parts
from protocol.errors import ApiError
from protocol.wire.json_text import JsonObject, parse_json

_SYSTEM_SEPARATOR = "\n\n"
_FILE_REFERENCE = "fileid://"
_NO_ARGUMENTS = "{}"
_LEGACY_CALL_ID = "call_function_%d"


def native_messages(
    messages: typing.Sequence[object],
    multimodal: bool,
    system_notes: typing.Sequence[str] = (),
    *,
    one_system: bool = True,
) -> list[JsonObject]:
    """Return the messages in DashScope's form; `system_notes` are appended to the system message.

    Several system messages are joined to one, which comes first. Without `one_system` each stays where it is, and the
    notes go to the first that is no reference to files. Raises the 400 that names the message and the part at fault.
    """
    talk = None if system_notes or not one_system else plain_talk(messages)
    if talk is None:
        return _Mapper(multimodal, one_system).map_all(messages, system_notes)
    return [{"role": role, "content": [{"text": text}] if multimodal else text} for role, text in talk]


def plain_talk(messages: typing.Sequence[object]) -> list[tuple[str, str]] | None:
    """Return roles and texts of a talk in plain texts, as nearly all are, with one system; None for any other.

    They are what the _Mapper makes of the messages, in a third of the time.
    """
    instructions: list[str] = []
    talk: list[tuple[str, str]] = []
    for message in messages:
        if type(message) is not dict or len(message) != 2:
            return None
        role, text = message.get("role"), message.get("content")
        if type(text) is not str or not text:
            return None
        if role == "user" or role == "assistant":
            talk.append((role, text))
        elif role == "system" or role == "developer":
            instructions.append(text)
        else:
            return None
    if instructions:
        talk.insert(0, ("system", _SYSTEM_SEPARATOR.join(instructions)))
    return talk


def mentions_json(messages: typing.Sequence[object]) -> bool:
    """Tell whether some message has the word "json" in its text: in JSON mode DashScope refuses a prompt without it."""
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        texts = [content] if isinstance(content, str) else _texts(content)
        if any("json" in text.lower() for text in texts):
            return True
    return False


class _Mapper:
    """Maps the messages of one request. A legacy function's answer refers to the call before it, which is kept."""

    def __init__(self, multimodal: bool, one_system: bool) -> None:
        self._multimodal = multimodal
        self._one_system = one_system
        self._legacy_call_id = ""

    def map_all(self, messages: typing.Sequence[object], system_notes: typing.Sequence[str]) -> list[JsonObject]:
        notes: list[list[JsonObject]] = [[{"text": note}] for note in system_notes]
        system_contents: list[list[JsonObject]] = []
        mappers = {
            "user": self._map_user,
            "assistant": self._map_assistant,
            "tool": self._map_tool,
            "function": self._map_function,
        }
        mapped: list[JsonObject] = []
        for position, message in enumerate(messages):
            where = f"messages[{position}]"
            if not isinstance(message, dict):
                raise refuse_field(where, "an object", message)
            role = message.get("role")
            if role in ("system", "developer"):
                parts = _marked(text_parts(message.get("content"), where + ".content"), message)
                if self._one_system:
                    system_contents.append(parts)
                elif notes and not joined_texts(parts).startswith(_FILE_REFERENCE):
                    mapped.extend(self._system_message([parts, *notes]))
                    notes = []
                else:
                    mapped.extend(self._system_message([parts]))
            elif isinstance(role, str) and role in mappers:
                mapped.append(mappers[role](message, where, position))
            else:
                raise refuse_field(where + ".role", "system, developer, " + ", ".join(mappers), role)
        return self._system_message(system_contents + notes) + mapped

    def _system_message(self, contents: list[list[JsonObject]]) -> list[JsonObject]:
        """Join the system messages. An empty one is left out: DashScope refuses it, OpenAI does not."""
        filled = [parts for parts in contents if any(part.get("text") for part in parts)]
        if not filled:
            return []
        if any(is_structured(part) for parts in filled for part in parts):
            return [{"role": "system", "content": self._structured_content(_parts_with_separators(filled))}]
        text = _SYSTEM_SEPARATOR.join(joined_texts(parts) for parts in filled)
        return [{"role": "system", "content": self._text_content(text)}]

    def _map_user(self, message: JsonObject, where: str, position: int) -> JsonObject:
        where += ".content"
        content = message.get("content")
        if isinstance(content, list) and self._multimodal:
            parts = [native_part(part, f"{where}[{number}]") for number, part in enumerate(content)]
        else:
            parts = text_parts(content, where)
        parts = _marked(parts, message)
        if not any(part.get("text") or "text" not in part for part in parts):
            raise refuse_field(where, "some text or another part, for DashScope refuses an empty message", content)
        if self._multimodal:
            return {"role": "user", "content": parts}
        if any(is_structured(part) for part in parts):
            return {"role": "user", "content": self._structured_content(parts)}
        return {"role": "user", "content": joined_texts(parts)}

    def _map_assistant(self, message: JsonObject, where: str, position: int) -> JsonObject:
        mapped: JsonObject = {"role": "assistant", "content": self._answer_content(message, where)}
        calls = self._tool_calls(message, where, position)
        if calls:
            mapped["tool_calls"] = calls
        # An empty one is passed on, too: models that think refuse a turn of theirs without it.
        if isinstance(message.get("reasoning_content"), str):
            mapped["reasoning_content"] = message["reasoning_content"]
        if isinstance(message.get("partial"), bool):
            mapped["partial"] = message["partial"]
        if not mapped["content"] and message.get(CACHE_MARK):
            mapped[CACHE_MARK] = message[CACHE_MARK]
        return mapped

    def _tool_calls(self, message: JsonObject, where: str, position: int) -> list[JsonObject]:
        legacy_call = message.get("function_call")
        if legacy_call is not None:
            self._legacy_call_id = _LEGACY_CALL_ID % position
            function = _called_function(legacy_call, where + ".function_call")
            return [{"id": self._legacy_call_id, "type": "function", "function": function, "index": 0}]
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list):
            raise refuse_field(where + ".tool_calls", "a list", calls)
        return [_tool_call(call, number, f"{where}.tool_calls[{number}]") for number, call in enumerate(calls)]

    def _map_tool(self, message: JsonObject, where: str, position: int) -> JsonObject:
        # Qwen-Agent puts it into `id`.
        call_id = message.get("tool_call_id") or message.get("id")
        if not isinstance(call_id, str) or not call_id:
            raise refuse_field(where + ".tool_call_id", "the id of the tool call that is answered", call_id)
        return self._tool_answer(message, where, call_id)

    def _map_function(self, message: JsonObject, where: str, position: int) -> JsonObject:
        if not self._legacy_call_id:
            raise refuse_field(where, "an assistant message with function_call before it", message.get("name"))
        return self._tool_answer(message, where, self._legacy_call_id)

    def _tool_answer(self, message: JsonObject, where: str, call_id: str) -> JsonObject:
        content = self._answer_content(message, where)
        if self._multimodal and not content:
            content = [{"text": ""}]
        return {"role": "tool", "tool_call_id": call_id, "content": content}

    def _answer_content(self, message: JsonObject, where: str) -> object:
        """Return the content of a model's or a tool's message, which may be null."""
        content = message.get("content")
        parts = [] if content is None else _marked(text_parts(content, where + ".content"), message)
        if any(is_structured(part) for part in parts):
            return self._structured_content(parts)
        return self._text_content(joined_texts(parts))

    def _text_content(self, text: str) -> object:
        if not self._multimodal:
            return text
        return [{"text": text}] if text else []

    def _structured_content(self, parts: list[JsonObject]) -> list[JsonObject]:
        """Return parts that cannot be joined. On the text endpoint each names its type, on the other one none does."""
        if self._multimodal:
            return parts
        return [{"type": "text", **part} if "text" in part else part for part in parts]


def _texts(content: object) -> list[str]:
    if not isinstance(content, list):
        return []
    return [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]


def _parts_with_separators(contents: list[list[JsonObject]]) -> list[JsonObject]:
    """Return the parts of several messages as one list; the later message's first text begins with the blank line."""
    chained: list[JsonObject] = []
    for parts in contents:
        for number, part in enumerate(parts):
            if chained and number == 0 and "text" in part:
                part = {**part, "text": _SYSTEM_SEPARATOR + part["text"]}
            chained.append(part)
    return chained


def _marked(parts: list[JsonObject], message: JsonObject) -> list[JsonObject]:
    """Return the parts with a mark of the cache that stands on their message: its place is the end of the last one."""
    mark = message.get(CACHE_MARK)
    if not mark or not parts or parts[-1].get("text") == "":
        return parts
    return [*parts[:-1], {CACHE_MARK: mark, **parts[-1]}]


def _tool_call(call: object, number: int, where: str) -> JsonObject:
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
    return {"name": function["name"], "arguments": _arguments(function.get("arguments"), where + ".arguments")}


def _arguments(arguments: object, where: str) -> str:
    """Return arguments as the JSON text that DashScope wants there; it refuses any other, at each turn that follows."""
    if arguments is None or isinstance(arguments, dict):
        return json.dumps(arguments, ensure_ascii=False) if arguments else _NO_ARGUMENTS
    if isinstance(arguments, str) and not arguments.strip():
        return _NO_ARGUMENTS
    try:
        if isinstance(arguments, str):
            # Some SDKs write null for no arguments.
            return _NO_ARGUMENTS if parse_json(arguments.encode("utf-8", "replace")) is None else arguments
    except ApiError as exc:
        raise refuse_field(where, "a JSON object as text (empty: no arguments)", arguments) from exc
    raise refuse_field(where, "a JSON object as text (empty: no arguments)", arguments)
