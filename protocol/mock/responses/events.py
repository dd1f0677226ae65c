"""The typed events of a streamed response (OpenAI API reference, "Streaming events"), as pure functions.

Theory of operation. The events are made from the finished response, because everything that a stream tells is in it:
first the response as it was at its beginning, then the growth of each item of the output, and at last the response
itself. So a stream that is resumed is the same stream again, cut at a sequence number.

Events come in frames: a frame is what is sent at one moment, and each word after the first begins a new one.
"""

from __future__ import annotations

import typing

from protocol.openai.answers import split_words
from protocol.wire.json_text import JsonObject

#: Gives the padding for a delta.
Obfuscate = typing.Callable[[str], str]

#: The events of a stream, frame by frame; an event has its `type` and `sequence_number`.
Frames = typing.List[typing.List[JsonObject]]

# Deltas are padded to a multiple of this length, so that their size on the wire does not tell the words.
_PADDED_LENGTH = 16
_PADDING_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789ab"

# The members of a response whose values are only known at its end.
_BLANKS: JsonObject = {"output": [], "usage": None, "incomplete_details": None, "error": None, "completed_at": None}


def started_response(response: JsonObject, status: str) -> JsonObject:
    """Return a response as it was before there was any output, in this status."""
    blanks = {name: value for name, value in _BLANKS.items() if name in response}
    return {**response, **blanks, "status": status}


def padding(random_bits: typing.Callable[[int], int]) -> Obfuscate:
    """Return a function that pads deltas with random letters; `random_bits(n)` gives an integer of n random bits."""

    def pad(word: str) -> str:
        length = _PADDED_LENGTH - len(word) % _PADDED_LENGTH
        bits = random_bits(6 * length)
        return "".join(_PADDING_ALPHABET[bits >> 6 * at & 63] for at in range(length))

    return pad


def response_frames(response: JsonObject, obfuscate: Obfuscate | None = None) -> Frames:
    """Return the events of the stream that ends with a response; its status is completed, incomplete or failed.

    With `obfuscate` None deltas are not padded.
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
        _ITEM_WRITERS.get(item["type"], _write_whole)(writer, index, item, response)
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


def _write_whole(writer: _EventWriter, index: int, item: JsonObject, response: JsonObject) -> None:
    """Write an item that comes whole, without deltas."""
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
        if part["type"] == "refusal":
            writer.emit("response.content_part.added", **where, part={**part, "refusal": ""})
            for word in split_words(part["refusal"]):
                writer.delta("response.refusal.delta", word, **where, delta=word)
            writer.emit("response.refusal.done", **where, refusal=part["refusal"])
            writer.emit("response.content_part.done", **where, part=part)
            continue
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
    """Return the writer of a call that only tells which stages it has come to."""

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
    """Return how many partial pictures the image tool was told to show (API reference: three at most)."""
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
