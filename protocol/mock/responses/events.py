"""The typed events of a streamed response (OpenAI API reference, "Streaming events"), as pure functions.

Theory of operation. Everything that a stream tells is in the response that it ends with, so the events are made from
that one: the response as it was at its beginning, then each item of the output grown from nothing to what it is, and
the response itself. A stream that is resumed is therefore the same stream again, cut at a sequence number.

Events come in frames, one for each word: what is sent at one moment.
"""

from __future__ import annotations

import typing

from protocol.openai.answers import split_words
from protocol.wire.json_text import JsonObject

Obfuscate = typing.Callable[[str], str]

#: An event stream's events: frames of events, each event with its `type` and `sequence_number`.
Frames = typing.List[typing.List[JsonObject]]

# What a response does not know yet while it is being made.
_BLANKS = {"output": [], "usage": None, "incomplete_details": None, "error": None, "completed_at": None}


def started_response(response: JsonObject, status: str) -> JsonObject:
    """Return a response as it was before there was any output."""
    blanks = {name: value for name, value in _BLANKS.items() if name in response}
    return {**response, **blanks, "status": status}


def response_frames(response: JsonObject, obfuscate: Obfuscate | None = None) -> Frames:
    """Return the events that end with a response, whose status is completed, incomplete or failed.

    `obfuscate` gives the padding for a delta; None leaves it out.
    """
    writer = _EventWriter(obfuscate)
    if response.get("background"):
        queued = started_response(response, "queued")
        writer.emit("response.created", response=queued)
        writer.emit("response.queued", response=queued)
    else:
        writer.emit("response.created", response=started_response(response, "in_progress"))
    writer.emit("response.in_progress", response=started_response(response, "in_progress"))
    for index, item in enumerate(response["output"]):
        _ITEM_WRITERS.get(item["type"], _write_plainly)(writer, index, item, response)
    writer.emit(f"response.{response['status']}", response=response)
    return writer.frames


class _EventWriter:
    """Numbers events and gathers them in frames."""

    def __init__(self, obfuscate: Obfuscate | None) -> None:
        self.frames: Frames = [[]]
        self._obfuscate = obfuscate
        self._number = 0
        self._has_word = False

    def emit(self, type: str, **members: typing.Any) -> None:
        self.frames[-1].append({"type": type, "sequence_number": self._number, **members})
        self._number += 1

    def delta(self, type: str, word: str, **members: typing.Any) -> None:
        """Emit a word: each but the first begins a new frame."""
        if self._has_word:
            self.frames.append([])
        self._has_word = True
        padding = {} if self._obfuscate is None else {"obfuscation": self._obfuscate(word)}
        self.emit(type, **members, **padding)

    def added(self, index: int, item: JsonObject) -> None:
        self.emit("response.output_item.added", output_index=index, item=item)

    def done(self, index: int, item: JsonObject) -> None:
        self.emit("response.output_item.done", output_index=index, item=item)


def _write_plainly(writer: _EventWriter, index: int, item: JsonObject, response: JsonObject) -> None:
    """Write an item that comes in one piece."""
    writer.added(index, _in_progress(item))
    writer.done(index, item)


def _in_progress(item: JsonObject, **blanks: typing.Any) -> JsonObject:
    known = {**item, **{name: value for name, value in blanks.items() if name in item}}
    return {**known, "status": "in_progress"} if "status" in item else known


# ---- what the model writes --------------------------------------------------------------------------------------


def _write_message(writer: _EventWriter, index: int, item: JsonObject, response: JsonObject) -> None:
    writer.added(index, _in_progress(item, content=[]))
    for number, part in enumerate(item["content"]):
        where = {"item_id": item["id"], "output_index": index, "content_index": number}
        blank = {**part, "text": "", "annotations": [], "logprobs": []}
        writer.emit("response.content_part.added", **where, part=blank)
        words, logprobs = split_words(part["text"]), part.get("logprobs") or []
        for at, word in enumerate(words):
            writer.delta("response.output_text.delta", word, **where, delta=word, logprobs=logprobs[at : at + 1])
        for at, annotation in enumerate(part["annotations"]):
            writer.emit("response.output_text.annotation.added", **where, annotation_index=at, annotation=annotation)
        writer.emit("response.output_text.done", **where, text=part["text"], logprobs=logprobs)
        writer.emit("response.content_part.done", **where, part=part)
    writer.done(index, item)


def _write_reasoning(writer: _EventWriter, index: int, item: JsonObject, response: JsonObject) -> None:
    writer.added(index, _in_progress(item, summary=[]))
    for number, part in enumerate(item["summary"]):
        where = {"item_id": item["id"], "output_index": index, "summary_index": number}
        writer.emit("response.reasoning_summary_part.added", **where, part={**part, "text": ""})
        for word in split_words(part["text"]):
            writer.delta("response.reasoning_summary_text.delta", word, **where, delta=word)
        writer.emit("response.reasoning_summary_text.done", **where, text=part["text"])
        writer.emit("response.reasoning_summary_part.done", **where, part=part)
    writer.done(index, item)


def _write_function_call(writer: _EventWriter, index: int, item: JsonObject, response: JsonObject) -> None:
    writer.added(index, _in_progress(item, arguments=""))
    _write_text(writer, "response.function_call_arguments", "arguments", index, item)
    writer.done(index, item)


def _write_custom_call(writer: _EventWriter, index: int, item: JsonObject, response: JsonObject) -> None:
    writer.added(index, _in_progress(item, input=""))
    _write_text(writer, "response.custom_tool_call_input", "input", index, item)
    writer.done(index, item)


def _write_text(writer: _EventWriter, type: str, member: str, index: int, item: JsonObject) -> None:
    """Write a member of an item word by word, and then whole."""
    where = {"item_id": item["id"], "output_index": index}
    for word in split_words(item[member]):
        writer.delta(f"{type}.delta", word, **where, delta=word)
    writer.emit(f"{type}.done", **where, **{member: item[member]})


# ---- calls that the server makes --------------------------------------------------------------------------------


def _write_stages(*stages: str) -> typing.Callable[[_EventWriter, int, JsonObject, JsonObject], None]:
    """Return the writer of a call that only tells how far it is."""

    def write(writer: _EventWriter, index: int, item: JsonObject, response: JsonObject) -> None:
        writer.added(index, _in_progress(item, results=None, tools=[]))
        for stage in stages:
            writer.emit(f"response.{item['type']}.{stage}", output_index=index, item_id=item["id"])
        writer.done(index, item)

    return write


def _write_code(writer: _EventWriter, index: int, item: JsonObject, response: JsonObject) -> None:
    where = {"output_index": index, "item_id": item["id"]}
    writer.added(index, _in_progress(item, code="", outputs=None))
    writer.emit("response.code_interpreter_call.in_progress", **where)
    _write_text(writer, "response.code_interpreter_call_code", "code", index, item)
    writer.emit("response.code_interpreter_call.interpreting", **where)
    writer.emit("response.code_interpreter_call.completed", **where)
    writer.done(index, item)


def _write_image(writer: _EventWriter, index: int, item: JsonObject, response: JsonObject) -> None:
    where = {"output_index": index, "item_id": item["id"]}
    writer.added(index, {"id": item["id"], "type": item["type"], "status": "in_progress", "result": None})
    writer.emit("response.image_generation_call.in_progress", **where)
    writer.emit("response.image_generation_call.generating", **where)
    form = {name: item[name] for name in ("size", "quality", "background", "output_format") if name in item}
    for number in range(_partial_images(response)):
        partial = {"partial_image_index": number, "partial_image_b64": item["result"]}
        writer.emit("response.image_generation_call.partial_image", **where, **partial, **form)
    writer.emit("response.image_generation_call.completed", **where)
    writer.done(index, item)


def _partial_images(response: JsonObject) -> int:
    """Return how many pictures on the way the tool was told to show; the API reference allows three."""
    for tool in response.get("tools") or []:
        if tool.get("type") == "image_generation":
            count = tool.get("partial_images")
            return min(3, max(0, count)) if type(count) is int else 0
    return 0


def _write_mcp_call(writer: _EventWriter, index: int, item: JsonObject, response: JsonObject) -> None:
    where = {"output_index": index, "item_id": item["id"]}
    writer.added(index, _in_progress(item, arguments="", output=None))
    writer.emit("response.mcp_call.in_progress", **where)
    _write_text(writer, "response.mcp_call_arguments", "arguments", index, item)
    writer.emit("response.mcp_call.completed", **where)
    writer.done(index, item)


def _write_shell_call(writer: _EventWriter, index: int, item: JsonObject, response: JsonObject) -> None:
    writer.added(index, _in_progress(item, action={**item["action"], "commands": []}))
    for number, command in enumerate(item["action"]["commands"]):
        where = {"output_index": index, "command_index": number}
        writer.emit("response.shell_call_command.added", **where, command="")
        for word in split_words(command):
            writer.delta("response.shell_call_command.delta", word, **where, delta=word)
        writer.emit("response.shell_call_command.done", **where, command=command)
    writer.done(index, item)


_ITEM_WRITERS: dict[str, typing.Callable[[_EventWriter, int, JsonObject, JsonObject], None]] = {
    "message": _write_message,
    "reasoning": _write_reasoning,
    "function_call": _write_function_call,
    "custom_tool_call": _write_custom_call,
    "file_search_call": _write_stages("in_progress", "searching", "completed"),
    "web_search_call": _write_stages("in_progress", "searching", "completed"),
    "code_interpreter_call": _write_code,
    "image_generation_call": _write_image,
    "mcp_list_tools": _write_stages("in_progress", "completed"),
    "mcp_call": _write_mcp_call,
    "shell_call": _write_shell_call,
}
