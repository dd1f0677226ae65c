"""DashScope's event streams as OpenAI's chat completion chunks.

Theory of operation
-------------------
    bytes ──► NativeEventReader ──► ChatStreamTranslator ──► chunks ──► server-sent events, or a ChatAggregator

The translator keeps one state for each choice:

    (not seen) ──first event──► open ──finish reason, or end of the stream──► closed

The role chunk goes out with the first event. Then each event adds chunks for what it brings, in this order: reasoning,
text, fragments of tool calls. The chunk with the finish reason closes the choice; what a closed choice is still given
is dropped. The usage is that of the last event that has one.

An event's text is a delta, because `incremental_output` is asked for. Models that do not have it repeat all they have
said in each event: `cumulative` is for them. The text itself does not tell which it is, since a delta may repeat
what was said before.

Tool calls come in fragments. A fragment's `index` names the call that it continues, and a fresh id begins a new call,
even where the index is missing or, as from some gateways, always 0.

An error leaves the chunks before it to be sent (protocol/dashscope/mapping/events.py). Where none has been sent yet,
the client can still get the error as an answer with its own status. After the first one it gets the error as an event.
"""

from __future__ import annotations

import typing

from protocol.dashscope.mapping.answer import (
    CompletionFacts,
    NativeChoice,
    answer_extensions,
    as_object,
    completion_id,
    native_choices,
    openai_finish_reason,
    openai_usage,
    sum_usages,
    tool_arguments,
)
from protocol.dashscope.mapping.errors import upstream_bad_response
from protocol.dashscope.mapping.events import StreamTranslator
from protocol.dashscope.mapping.usual_answer import EVENT_NAME, EVENT_STATUS
from protocol.wire.json_text import JsonObject
from protocol.wire.long_json import STRICT_JSON


class ChatStreamTranslator(StreamTranslator[JsonObject]):
    """Turns the bytes of one native stream into OpenAI's chunks.

    `include_usage` asks for the usage chunk at the end. `first_index` is added to the index of each choice. `identity`
    is the id of the completion; by default it follows from the first event's request id.
    """

    def __init__(
        self,
        facts: CompletionFacts,
        *,
        include_usage: bool = False,
        cumulative: bool = False,
        first_index: int = 0,
        identity: str = "",
    ) -> None:
        super().__init__()
        #: That of the last event that has one, or its JSON text.
        self.last_usage: JsonObject | bytes = {}
        self._facts = facts
        self._include_usage = include_usage
        self._cumulative = cumulative
        self._first_index = first_index
        #: The id of the completion, "" until it is known.
        self.identity = identity
        self._choices: dict[int, _StreamedChoice] = {}
        # What was found and goes with the next chunk; and the names of all that was ever found.
        self._extensions: JsonObject = {}
        self._known_extensions: set[str] = set()

    @property
    def native_usage(self) -> JsonObject:
        """The usage of the last event that has one."""
        usage = self.last_usage
        return usage if isinstance(usage, dict) else as_object(STRICT_JSON.decode(usage.decode()))

    def usage_chunk(self, usage: JsonObject) -> JsonObject:
        """Return the chunk without choices that tells the usage."""
        chunk = self._chunk([])
        chunk["usage"] = usage
        return chunk

    def take(self, answer: JsonObject) -> list[JsonObject]:
        self.identity = self.identity or completion_id(answer, self._facts.make_id)
        self.last_usage = as_object(answer.get("usage")) or self.last_usage
        for name, value in answer_extensions(answer).items():
            if name not in self._known_extensions:
                self._known_extensions.add(name)
                self._extensions[name] = value
        chunks = []
        for choice in native_choices(answer):
            chunks.extend(self._take_choice(choice))
        return chunks

    @property
    def takes_usual_events(self) -> bool:
        """Whether a usual event (usual_answer.py) opens the first choice or goes on with it and does nothing else."""
        choice = self._choices.get(self._first_index)
        is_open = choice is None or not (choice.closed or choice.has_tool_calls)
        is_plain = self.error is None and not self._cumulative and not self._extensions
        return is_open and is_plain and self._reader.is_between_events

    def begin_usual_events(self, request_id: str) -> bool:
        """Be as after a usual event whose words go elsewhere, and tell whether it has opened the first choice."""
        self._reader.pass_over_event(EVENT_NAME, EVENT_STATUS)
        self.identity = self.identity or completion_id({"request_id": request_id}, self._facts.make_id)
        return self._open_choice(self._first_index)[1]

    def end_usual_events(self) -> None:
        """Be as after the usual event that ends the first choice."""
        self._choices[self._first_index].closed = True

    def usual_chunk(self, delta: JsonObject) -> JsonObject:
        """Return the chunk that says what a usual event adds to the first choice."""
        return self._delta_chunk(self._first_index, delta)

    def _take_choice(self, native: NativeChoice) -> list[JsonObject]:
        index = native.index + self._first_index
        chunks = []
        choice, is_new = self._open_choice(index)
        if is_new:
            chunks.append(self._delta_chunk(index, {"role": "assistant", "content": ""}))
        if choice.closed:
            return []
        reasoning, text = choice.take_reasoning(native.reasoning), choice.take_text(native.text)
        if reasoning:
            chunks.append(self._delta_chunk(index, {"reasoning_content": reasoning}))
        if text or native.logprobs:
            chunks.append(self._delta_chunk(index, {"content": text}, native.logprobs))
        calls = choice.take_tool_calls(native.calls_as_asked(self._facts.stand_ins))
        if calls:
            chunks.append(self._delta_chunk(index, {"tool_calls": calls}))
        if native.finished:
            # A call without arguments has an empty text there, which is no JSON. What was cut is not made whole.
            missing = choice.missing_arguments() if native.finish_reason != "length" else []
            if missing:
                chunks.append(self._delta_chunk(index, {"tool_calls": missing}))
            chunks.append(self._finish_chunk(index, choice, native.finish_reason))
        elif self._extensions:
            chunks.append(self._delta_chunk(index, {}))
        return chunks

    def _open_choice(self, index: int) -> tuple[_StreamedChoice, bool]:
        """Return a choice, and whether it is a new one."""
        choice = self._choices.get(index)
        if choice is not None:
            return choice, False
        choice = self._choices[index] = _StreamedChoice(self._cumulative, self._facts.make_id)
        return choice, True

    def end(self) -> list[JsonObject]:
        if not self._choices:
            self.error = upstream_bad_response("the stream ended before the first choice")
            return []
        chunks = [
            self._finish_chunk(index, choice, None) for index, choice in self._choices.items() if not choice.closed
        ]
        if self._include_usage:
            chunks.append(self.usage_chunk(openai_usage(self.native_usage)))
        return chunks

    def _finish_chunk(self, index: int, choice: _StreamedChoice, native_reason: object) -> JsonObject:
        choice.closed = True
        reason = openai_finish_reason(native_reason, choice.has_tool_calls, self._facts.forced_tool)
        return self._chunk([{"index": index, "delta": {}, "logprobs": None, "finish_reason": reason}])

    def _delta_chunk(self, index: int, delta: JsonObject, logprobs: JsonObject | None = None) -> JsonObject:
        return self._chunk([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}])

    def _chunk(self, choices: list[JsonObject]) -> JsonObject:
        chunk: JsonObject = {
            "id": self.identity,
            "object": "chat.completion.chunk",
            "created": self._facts.created,
            "model": self._facts.model,
            "system_fingerprint": None,
            "choices": choices,
        }
        if self._include_usage:
            chunk["usage"] = None
        if self._extensions:
            chunk.update(self._extensions)
            self._extensions = {}
        return chunk


def parallel_translators(
    count: int, facts: CompletionFacts, *, include_usage: bool = False, cumulative: bool = False
) -> list[ChatStreamTranslator]:
    """Return a translator for each of several native streams of one choice, where `n` needs a call a choice.

    Their chunks, in the order in which they come, are one stream: they carry one id, and the choice of each has the
    number of its native stream. The usage chunk, with the sum, comes when the last native stream is closed.
    """
    identity = completion_id({}, facts.make_id)
    if not include_usage:
        return [
            ChatStreamTranslator(facts, cumulative=cumulative, first_index=number, identity=identity)
            for number in range(count)
        ]
    translators: list[ChatStreamTranslator] = []
    still_open = set(range(count))
    for number in range(count):
        translators.append(_SharingTranslator(facts, cumulative, number, identity, translators, still_open))
    return translators


class _SharingTranslator(ChatStreamTranslator):
    """One of several translators whose usage is told once, as a sum; `still_open` has the numbers of the open ones."""

    def __init__(
        self,
        facts: CompletionFacts,
        cumulative: bool,
        number: int,
        identity: str,
        all_translators: list[ChatStreamTranslator],
        still_open: set[int],
    ) -> None:
        super().__init__(facts, cumulative=cumulative, first_index=number, identity=identity)
        self._number = number
        self._all = all_translators
        self._still_open = still_open

    def end(self) -> list[JsonObject]:
        chunks = super().end()
        self._still_open.discard(self._number)
        if self.error is None and not self._still_open:
            usages = [openai_usage(translator.native_usage) for translator in self._all]
            chunks.append(self._all[0].usage_chunk(sum_usages(usages)))
        return chunks

    def _chunk(self, choices: list[JsonObject]) -> JsonObject:
        chunk = super()._chunk(choices)
        chunk["usage"] = None
        return chunk


class _StreamedChoice:
    """What was already said in one choice of a stream."""

    def __init__(self, cumulative: bool, make_id: typing.Callable[[], str]) -> None:
        self.closed = False
        self._cumulative = cumulative
        self._make_id = make_id
        self._text = ""
        self._reasoning = ""
        self._calls: list[_StreamedToolCall] = []
        self._call_by_index: dict[int, _StreamedToolCall] = {}

    @property
    def has_tool_calls(self) -> bool:
        return bool(self._calls)

    def take_text(self, text: str) -> str:
        if not self._cumulative:
            return text
        added, self._text = _added_part(self._text, text)
        return added

    def take_reasoning(self, reasoning: str) -> str:
        if not self._cumulative:
            return reasoning
        added, self._reasoning = _added_part(self._reasoning, reasoning)
        return added

    def take_tool_calls(self, fragments: list[JsonObject]) -> list[JsonObject]:
        deltas = []
        for fragment in fragments:
            function = as_object(fragment.get("function"))
            arguments = tool_arguments(function.get("arguments"))
            if fragment.get("id") or function.get("name") or arguments:
                deltas.append(self._call_of(fragment).take(fragment.get("id"), function.get("name"), arguments))
        return [delta for delta in deltas if delta is not None]

    def missing_arguments(self) -> list[JsonObject]:
        """Return the deltas that give `{}` to the calls that came without arguments."""
        return [call.without_arguments() for call in self._calls if not call.has_arguments]

    def _call_of(self, fragment: JsonObject) -> _StreamedToolCall:
        """Return the call that a fragment continues, or the new one that it begins."""
        index = fragment.get("index")
        if isinstance(index, int):
            call = self._call_by_index.get(index)
        else:
            call = self._calls[-1] if self._calls else None
        if call is None or call.is_another_call(fragment.get("id")):
            call = _StreamedToolCall(len(self._calls), self._cumulative, self._make_id)
            self._calls.append(call)
            if isinstance(index, int):
                self._call_by_index[index] = call
        return call


class _StreamedToolCall:
    """One tool call of a stream: id, type and name are said once, then only arguments."""

    def __init__(self, index: int, cumulative: bool, make_id: typing.Callable[[], str]) -> None:
        self._index = index
        self._cumulative = cumulative
        self._make_id = make_id
        self.has_arguments = False
        self._native_id = ""
        self._begun = False
        self._named = False
        self._arguments = ""

    def is_another_call(self, native_id: object) -> bool:
        return bool(native_id and self._native_id) and native_id != self._native_id

    def take(self, native_id: object, name: object, arguments: str) -> JsonObject | None:
        """Return the delta that a fragment gives, None where it adds nothing."""
        if self._cumulative:
            arguments, self._arguments = _added_part(self._arguments, arguments)
        self.has_arguments = self.has_arguments or bool(arguments)
        delta: JsonObject = {"index": self._index}
        function: JsonObject = {}
        if not self._begun:
            self._begun = True
            self._native_id = str(native_id or "")
            delta.update({"id": self._native_id or "call_" + self._make_id(), "type": "function"})
        elif not arguments and (self._named or not name):
            return None
        if name and not self._named:
            self._named = True
            function["name"] = name
        function["arguments"] = arguments
        delta["function"] = function
        return delta

    def without_arguments(self) -> JsonObject:
        """Return the delta for a call that has no arguments."""
        return {"index": self._index, "function": {"arguments": "{}"}}


def _added_part(said: str, event_text: str) -> tuple[str, str]:
    """Return what a cumulative event adds, and all that is said with it; one that repeats nothing is a delta."""
    if event_text.startswith(said):
        return event_text[len(said) :], event_text
    if said.startswith(event_text):
        return "", said  # empty, or shorter than before: nothing is added
    return event_text, said + event_text
