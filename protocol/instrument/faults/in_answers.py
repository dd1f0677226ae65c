"""What goes wrong with what an answer means: filtered, refused, empty, or with a call that nobody can carry out.

An answer is one JSON object or a stream that tells the same in pieces. Whatever is changed is changed everywhere: a
stream's last event repeats what its pieces said, and a client that looks at either must see the same fault.

Sources: OpenAI API reference, "Chat", "Completions", "Responses", "Streaming events"; DashScope API reference.
"""

from __future__ import annotations

import typing

from protocol.instrument.faults.events import (
    Event,
    EventCutter,
    ServerSentEvent,
    brings_token,
    choices_of,
    encode,
    finishes,
    is_of_run,
    shape_of,
)
from protocol.instrument.faults.in_streams import EventChange, Gauge, Note
from protocol.instrument.faults.language import After, Fault
from protocol.openai.answers import split_words
from protocol.wire.json_text import JsonObject
from protocol.wire.sse import encode_native_event

_REFUSAL = "I'm sorry, but I can't help with that."
_UNKNOWN_TOOL = "no_such_tool"
# DashScope has no answer that is filtered in part: it tells of an error, also behind words that it has said.
_NATIVE_FILTER = {"code": "DataInspectionFailed", "message": "Output data may contain inappropriate content."}
NATIVE_FILTER_STATUS = 400
_ELSEWHERE = "what runs and agents say is kept, and other answers tell it as it was: a script can have it say this"
_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")
_CALLS = ("tool_calls", "function_call")


def broken_arguments(text: str) -> str:
    """Return arguments of a call that are no JSON any more: without their last character."""
    return text[:-1] if len(text) > 1 else "{"


def changed_answer(fault: Fault, value: JsonObject) -> str:
    """Change what a whole answer says; return "" where it was, else why it could not be."""
    shape = shape_of(value)
    if is_of_run(value):
        return _ELSEWHERE
    if shape is None or shape not in fault.kind.shapes:
        return f"{fault.kind.name} does not know the shape of this answer"
    if is_filtered_natively(fault, value):
        told = _native_error(value)
        value.clear()
        value.update(told)
        return ""
    if value.get("object") == "response":
        return "" if _change_response(fault, value) else _missing(fault)
    changed = False
    for choice in choices_of(value):
        changed = _change_choice(fault, choice) or changed
    output = value.get("output")
    if fault.kind.name == "empty" and type(output) is dict and output.get("text"):
        output["text"], changed = "", True
    return "" if changed else _missing(fault)


def is_filtered_natively(fault: Fault, value: JsonObject) -> bool:
    """Tell whether an error stands in the place of a filtered answer."""
    return fault.kind.name == "filter" and shape_of(value) == "native"


def _native_error(value: JsonObject) -> JsonObject:
    return {**_NATIVE_FILTER, "request_id": value.get("request_id", "")}


def _missing(fault: Fault) -> str:
    is_of_calls = fault.kind.name in ("args-bad", "unknown-tool")
    return "the answer calls no function" if is_of_calls else "the answer says nothing that could be changed"


def _kept_words(fault: Fault, text: typing.Any) -> str:
    """Return what is left of a text that is filtered."""
    number = fault.after.number if fault.after is not None else 0
    return "".join(split_words(text)[:number]) if type(text) is str else ""


# ---- whole answers of choices ------------------------------------------------------------------------------------


def _change_choice(fault: Fault, choice: JsonObject) -> bool:
    kind = fault.kind.name
    if "text" in choice:
        choice["text"] = _kept_words(fault, choice["text"])
        choice["finish_reason"] = "content_filter" if kind == "filter" else "stop"
        return True
    message = choice.get("message")
    if type(message) is not dict:
        return False
    if kind in ("args-bad", "unknown-tool"):
        return _change_calls(fault, message)
    content = message.get("content")
    for name in _CALLS:
        message.pop(name, None)
    message["content"] = _kept_words(fault, content) if kind == "filter" else "" if kind == "empty" else None
    if kind == "refusal":
        message["refusal"] = fault.word("message", _REFUSAL)
    choice["finish_reason"] = "content_filter" if kind == "filter" else "stop"
    return True


def _functions(said: JsonObject) -> list[JsonObject]:
    """Return the functions that a message or a delta calls."""
    calls = said.get("tool_calls")
    functions = [call.get("function") for call in calls if type(call) is dict] if type(calls) is list else []
    return [function for function in [*functions, said.get("function_call")] if type(function) is dict]


def _change_calls(fault: Fault, said: JsonObject) -> bool:
    functions = _functions(said)
    for function in functions:
        if fault.kind.name == "unknown-tool":
            function["name"] = fault.word("name", _UNKNOWN_TOOL)
        else:
            function["arguments"] = broken_arguments(str(function.get("arguments", "")))
    return bool(functions)


# ---- whole responses ---------------------------------------------------------------------------------------------


def _change_response(fault: Fault, response: JsonObject) -> bool:
    kind = fault.kind.name
    output = response.get("output")
    items = [item for item in output if type(item) is dict] if type(output) is list else []
    if kind in ("args-bad", "unknown-tool"):
        changed = [_change_item(fault, item) for item in items]
        return any(changed)
    kept = [item for item in items if item.get("type") in ("message", "reasoning")]
    for item in kept:
        _change_item(fault, item)
    response["output"] = kept
    if "output_text" in response:
        response["output_text"] = ""
    if kind == "filter":
        response["status"] = "incomplete"
        response["incomplete_details"] = {"reason": "content_filter"}
        response["completed_at"] = None
    return True


def _change_item(fault: Fault, item: JsonObject) -> bool:
    """Change an item of a response's output; return whether it is one that the fault is about."""
    kind = fault.kind.name
    if item.get("type") == "function_call":
        if kind == "unknown-tool":
            item["name"] = fault.word("name", _UNKNOWN_TOOL)
        elif kind == "args-bad" and item.get("status") != "in_progress":
            item["arguments"] = broken_arguments(str(item.get("arguments", "")))
        return True
    if item.get("type") != "message" or kind in ("args-bad", "unknown-tool"):
        return False
    parts = item.get("content")
    item["content"] = [_changed_part(fault, part) for part in parts] if type(parts) is list else parts
    if kind == "filter" and item.get("status") == "completed":
        item["status"] = "incomplete"
    return True


def _changed_part(fault: Fault, part: typing.Any) -> typing.Any:
    if type(part) is not dict or part.get("type") not in ("output_text", "text"):
        return part
    if fault.kind.name == "refusal":
        return {"type": "refusal", "refusal": fault.word("message", _REFUSAL)}
    text = _kept_words(fault, part.get("text")) if fault.kind.name == "filter" else ""
    return {**part, "text": text, **({"annotations": []} if "annotations" in part else {})}


# ---- streams -----------------------------------------------------------------------------------------------------


class MeaningChange(EventChange):
    """Changes what a stream says, event by event."""

    def __init__(self, cutter: EventCutter, note: Note, fault: Fault) -> None:
        super().__init__(cutter, note)
        self._fault = fault
        self._kind = fault.kind.name
        self._gauge = Gauge(fault.after or After(0, "tok"))
        self._has_refused = False
        self._held: Event | None = None  # with arguments that are broken if they are the last
        self._dropped = 0  # events, which the numbers of those that follow leave out

    def take(self, event: Event, out: list[bytes]) -> None:
        """Let an event pass, changed where it says what the fault is about."""
        value = event.value
        shape = event.shape
        if value is None or shape is None:
            self._let_go(out)
            out.append(event.raw)
        elif shape not in self._fault.kind.shapes:
            self.skipped(f"{self._kind} does not know the shape of this answer")
            out.append(event.raw)
        elif shape == "typed":
            self._take_typed(event, value, out)
        elif self._kind == "filter" and shape == "native":
            self._filter_natively(event, value, out)
        else:
            self._take_chunk(event, value, out)

    def end(self, out: list[bytes]) -> None:
        """Say that there was nothing to change."""
        self._let_go(out)
        self.skipped(_missing(self._fault))

    def _let_go(self, out: list[bytes]) -> None:
        held, self._held = self._held, None
        if held is not None:
            out.append(held.raw)

    def _filter_natively(self, event: Event, value: JsonObject, out: list[bytes]) -> None:
        if self._gauge.left > 0:
            self._gauge.passes(event)
            out.append(event.raw)
            return
        self._note, self.is_over = None, True
        status = b"HTTP_STATUS/%d" % NATIVE_FILTER_STATUS
        out.append(encode_native_event(1, b"error", status, encode(_native_error(value))))

    # -- chunks of choices

    def _take_chunk(self, event: Event, value: JsonObject, out: list[bytes]) -> None:
        if self._kind == "args-bad":
            self._break_last_arguments(event, value, out)
        elif self._kind == "unknown-tool":
            named = [function for said in _deltas(value) for function in _functions(said) if function.get("name")]
            for function in named:
                function["name"] = self._fault.word("name", _UNKNOWN_TOOL)
            self._note = None if named else self._note
            out.append(event.holding(encode(value)) if named else event.raw)
        elif self._gauge.left > 0:
            self._gauge.passes(event)
            out.append(event.raw)
        else:
            self._take_silenced(event, value, out)

    def _take_silenced(self, event: Event, value: JsonObject, out: list[bytes]) -> None:
        """Let a chunk pass without what it says."""
        token, finish = brings_token(value), finishes(value)
        if not token and not finish:
            out.append(event.raw)
            return
        self._note = None
        output = value.get("output")
        if type(output) is dict and output.get("text"):
            output["text"] = ""
        for choice in choices_of(value):
            self._silence(choice)
        is_said = self._kind == "refusal" and self._has_refused is False and token
        self._has_refused = self._has_refused or is_said
        if finish or is_said or any(said.get("role") for said in _deltas(value)) or value.get("usage"):
            out.append(event.holding(encode(value)))

    def _silence(self, choice: JsonObject) -> None:
        if "text" in choice:
            choice["text"] = ""
        said = choice.get("delta") if "delta" in choice else choice.get("message")
        if type(said) is dict:
            had = [name for name in (*_TEXTS, *_CALLS, "audio") if said.get(name)]
            for name in had:
                if name == "content":
                    said[name] = ""
                else:
                    said.pop(name)
            if had and self._kind == "refusal" and not self._has_refused:
                said.pop("content", None)
                said["refusal"] = self._fault.word("message", _REFUSAL)
        if choice.get("finish_reason") not in (None, "null"):
            choice["finish_reason"] = "content_filter" if self._kind == "filter" else "stop"

    def _break_last_arguments(self, event: Event, value: JsonObject, out: list[bytes]) -> None:
        held = self._held
        brings = [function for said in _deltas(value) for function in _functions(said) if function.get("arguments")]
        if brings and finishes(value):
            self._note, self._held = None, None
            if held is not None:
                out.append(held.raw)
            brings[-1]["arguments"] = broken_arguments(brings[-1]["arguments"])
            out.append(event.holding(encode(value)))
        elif brings:
            self._let_go(out)
            self._held = event
        else:
            if held is not None and finishes(value):
                self._note, self._held = None, None
                out.append(_with_broken_arguments(held))
            out.append(event.raw)

    # -- typed events

    def _take_typed(self, event: Event, value: JsonObject, out: list[bytes]) -> None:
        kind = str(value.get("type"))
        if not kind.startswith("response."):
            if kind.startswith("agent.") or is_of_run(value):
                self.skipped(_ELSEWHERE)
            out.append(event.raw)
            return
        if self._kind == "args-bad" and kind == "response.function_call_arguments.delta":
            self._let_go(out)
            self._held = event
            return
        if self._held is not None:
            held, self._held = self._held, None
            out.append(_with_broken_arguments(held) if kind.endswith("arguments.done") else held.raw)
        changed = self._changed_typed(kind, value)
        if changed is None:
            self._dropped += 1
            return
        number = value.get("sequence_number")
        if self._dropped and type(number) is int:
            value["sequence_number"] = number - self._dropped
        elif not changed:
            out.append(event.raw)
            return
        if isinstance(event, ServerSentEvent) and value.get("type") != kind:
            event = event.named(str(value["type"]).encode())
        out.append(event.holding(encode(value)))

    def _changed_typed(self, kind: str, value: JsonObject) -> bool | None:
        """Change a typed event; return whether it was changed, None where it is to be left out."""
        fault = self._fault
        if self._kind in ("args-bad", "unknown-tool"):
            return self._change_typed_call(kind, value)
        item, part, response = value.get("item"), value.get("part"), value.get("response")
        if type(response) is dict:
            return self._change_whole(value, response)
        if type(item) is dict:
            if item.get("type") not in ("message", "reasoning"):
                return None
            return _change_item(fault, item)
        if "function_call_arguments" in kind or "custom_tool_call" in kind:
            return None
        if type(part) is dict:
            value["part"] = _changed_part(fault, part)
            return True
        if kind.endswith(".delta") and "reasoning" not in kind:
            return self._changed_delta(value)
        if kind == "response.output_text.done":
            if self._kind == "refusal":
                value.pop("text", None)
                value.pop("logprobs", None)
                value.update(type="response.refusal.done", refusal=fault.word("message", _REFUSAL))
            else:
                value["text"] = _kept_words(fault, value.get("text")) if self._kind == "filter" else ""
            return True
        return None if "annotation" in kind else False

    def _changed_delta(self, value: JsonObject) -> bool | None:
        self._note = None
        if self._gauge.left > 0:
            self._gauge.left -= 1
            return False
        if self._kind != "refusal" or self._has_refused:
            return None
        self._has_refused = True
        value.pop("logprobs", None)
        value.pop("obfuscation", None)
        value.update(type="response.refusal.delta", delta=self._fault.word("message", _REFUSAL))
        return True

    def _change_whole(self, value: JsonObject, response: JsonObject) -> bool:
        if not response.get("output"):
            return False
        self._note = None
        changed = _change_response(self._fault, response)
        if self._kind == "filter" and value["type"] == "response.completed":
            value["type"] = "response.incomplete"
        return changed

    def _change_typed_call(self, kind: str, value: JsonObject) -> bool:
        fault, item, response = self._fault, value.get("item"), value.get("response")
        changed = False
        if type(item) is dict:
            changed = _change_item(fault, item)
        elif type(response) is dict and response.get("output"):
            changed = _change_response(fault, response)
        elif kind == "response.function_call_arguments.done":
            if self._kind == "args-bad":
                value["arguments"] = broken_arguments(str(value.get("arguments", "")))
            elif "name" in value:
                value["name"] = fault.word("name", _UNKNOWN_TOOL)
            changed = True
        self._note = None if changed else self._note
        return changed


def _deltas(value: JsonObject) -> list[JsonObject]:
    """Return what the choices of a chunk say."""
    said = [choice.get("delta") or choice.get("message") for choice in choices_of(value)]
    return [one for one in said if type(one) is dict]


def _with_broken_arguments(event: Event) -> bytes:
    value = event.value or {}
    if "delta" in value:
        value["delta"] = broken_arguments(str(value["delta"]))
    for said in _deltas(value):
        for function in _functions(said)[-1:]:
            function["arguments"] = broken_arguments(str(function.get("arguments", "")))
    return event.holding(encode(value))
