"""DashScope's event streams as OpenAI's chat completion chunks.

Theory of operation
-------------------
    bytes ──► NativeEventReader ──► ChatStreamTranslator ──► chunk dicts ──► ChatAggregator ──► chat completion

The translator keeps, for each choice, one state:

    WAITING ──first frame──► OPEN ──finish reason──► CLOSED        (the role chunk on the way out of WAITING)

Frames are deltas (`incremental_output` is always asked for); `cumulative` is for models that ignore this and repeat all
so far in each frame. Whether a stream is cumulative cannot be told from its text: a delta may repeat what was said.

An error is not raised, because the chunks before it must still go out: `feed` returns those and `error` is set. After
that the translator stays silent. Nothing has been returned yet: answer with the error's status. Otherwise: send
`error.as_dict()` as an event, and end.
"""

from __future__ import annotations

import typing

from protocol.dashscope.mapping.answer import (
    NativeChoice,
    answer_extensions,
    as_object,
    completion_choice,
    completion_id,
    native_choices,
    openai_finish_reason,
    openai_usage,
    sum_usages,
    tool_arguments,
)
from protocol.dashscope.mapping.errors import DashScopeError, upstream_bad_response
from protocol.dashscope.mapping.events import NativeEvent, NativeEventReader


class ChatStreamTranslator:
    """Turns the bytes of one native stream into OpenAI's chunks.

    `model` is the client's name for the model, `created` is in Unix seconds, `make_id` returns fresh hex digits,
    `forced_tool` says that one function was named in `tool_choice`, `first_index` is added to the index of each choice.
    """

    def __init__(
        self,
        *,
        model: str,
        created: int,
        make_id: typing.Callable[[], str],
        include_usage: bool = False,
        forced_tool: bool = False,
        cumulative: bool = False,
        first_index: int = 0,
        identity: str = "",
    ) -> None:
        self.error: DashScopeError | None = None
        self.usage: object = None
        self._model = model
        self._created = created
        self._make_id = make_id
        self._include_usage = include_usage
        self._forced_tool = forced_tool
        self._cumulative = cumulative
        self._first_index = first_index
        self._identity = identity
        self._reader = NativeEventReader()
        self._choices: dict[int, _StreamedChoice] = {}
        self._extensions: dict[str, typing.Any] = {}
        self._told_extensions: set[str] = set()

    def feed(self, data: bytes) -> list[dict[str, typing.Any]]:
        """Return the chunks that these bytes give; look at `error` afterwards."""
        if self.error is not None:
            return []
        return self._translate(self._reader.feed(data))

    def close(self) -> list[dict[str, typing.Any]]:
        """Return the last chunks after a clean end of the stream; look at `error` afterwards.

        A choice that got no finish reason was cut: "length". For a connection that broke, do not call this, but end
        with an error.
        """
        if self.error is not None:
            return []
        chunks = self._translate(self._reader.close())
        if self.error is None and not self._choices:
            self.error = upstream_bad_response("the stream ended before the first choice")
        if self.error is not None:
            return chunks
        for index, choice in self._choices.items():
            if not choice.closed:
                chunks.append(self._finish_chunk(index, choice, None))
        if self._include_usage:
            chunks.append(self.usage_chunk(openai_usage(self.usage)))
        return chunks

    def usage_chunk(self, usage: dict[str, typing.Any]) -> dict[str, typing.Any]:
        """Return the chunk without choices that tells the usage."""
        chunk = self._chunk([])
        chunk["usage"] = usage
        return chunk

    def _translate(self, events: list[NativeEvent]) -> list[dict[str, typing.Any]]:
        """Return the chunks of all events up to the first error, which is set."""
        chunks: list[dict[str, typing.Any]] = []
        for event in events:
            if event.error is not None:
                self.error = event.error
                break
            chunks.extend(self._translate_frame(event.answer))
        return chunks

    def _translate_frame(self, answer: dict[str, typing.Any]) -> list[dict[str, typing.Any]]:
        self._identity = self._identity or completion_id(answer, self._make_id)
        self.usage = as_object(answer.get("usage")) or self.usage
        for name, value in answer_extensions(answer).items():
            if name not in self._told_extensions:
                self._told_extensions.add(name)
                self._extensions[name] = value
        chunks = []
        for frame in native_choices(answer):
            chunks.extend(self._translate_choice(frame))
        return chunks

    def _translate_choice(self, frame: NativeChoice) -> list[dict[str, typing.Any]]:
        index = frame.index + self._first_index
        chunks = []
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _StreamedChoice(self._cumulative, self._make_id)
            chunks.append(self._delta_chunk(index, {"role": "assistant", "content": ""}))
        if choice.closed:
            return []
        reasoning, text = choice.take_reasoning(frame.reasoning), choice.take_text(frame.text)
        if reasoning:
            chunks.append(self._delta_chunk(index, {"reasoning_content": reasoning}))
        if text or frame.logprobs:
            chunks.append(self._delta_chunk(index, {"content": text}, frame.logprobs))
        calls = choice.take_tool_calls(frame.tool_calls)
        if calls:
            chunks.append(self._delta_chunk(index, {"tool_calls": calls}))
        if frame.finished:
            chunks.append(self._finish_chunk(index, choice, frame.finish_reason))
        elif self._extensions:
            chunks.append(self._delta_chunk(index, {}))
        return chunks

    def _finish_chunk(self, index: int, choice: _StreamedChoice, reason: object) -> dict[str, typing.Any]:
        choice.closed = True
        mapped = openai_finish_reason(reason, choice.has_tool_calls, self._forced_tool)
        return self._chunk([{"index": index, "delta": {}, "logprobs": None, "finish_reason": mapped}])

    def _delta_chunk(
        self, index: int, delta: dict[str, typing.Any], logprobs: dict[str, typing.Any] | None = None
    ) -> dict[str, typing.Any]:
        return self._chunk([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}])

    def _chunk(self, choices: list[dict[str, typing.Any]]) -> dict[str, typing.Any]:
        chunk: dict[str, typing.Any] = {
            "id": self._identity,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "system_fingerprint": None,
            "choices": choices,
        }
        if self._include_usage:
            chunk["usage"] = None
        if self._extensions:
            chunk.update(self._extensions)
            self._extensions = {}
        return chunk


class ChatStreamMerger:
    """Turns several native streams of one choice each into one stream of chunks, where `n` had to be fanned out.

    All chunks carry one id. The usage chunk, with the sum, comes when the last stream has been closed.
    """

    def __init__(
        self,
        sources: int,
        *,
        model: str,
        created: int,
        make_id: typing.Callable[[], str],
        include_usage: bool = False,
        forced_tool: bool = False,
    ) -> None:
        self.error: DashScopeError | None = None
        self._include_usage = include_usage
        self._open = set(range(sources))
        identity = completion_id({}, make_id)
        self._translators = [
            ChatStreamTranslator(
                model=model,
                created=created,
                make_id=make_id,
                forced_tool=forced_tool,
                first_index=source,
                identity=identity,
            )
            for source in range(sources)
        ]

    def feed(self, data: bytes, source: int = 0) -> list[dict[str, typing.Any]]:
        """Return the chunks that these bytes of one stream give; look at `error` afterwards."""
        if self.error is not None:
            return []
        return self._finished_chunks(source, self._translators[source].feed(data))

    def close(self, source: int = 0) -> list[dict[str, typing.Any]]:
        """Return the last chunks of one stream, and of all when it was the last one open."""
        if self.error is not None:
            return []
        chunks = self._finished_chunks(source, self._translators[source].close())
        self._open.discard(source)
        if self._include_usage and not self._open and self.error is None:
            usages = [openai_usage(translator.usage) for translator in self._translators]
            chunks.append(self._translators[0].usage_chunk(sum_usages(usages)))
        return chunks

    def _finished_chunks(self, source: int, chunks: list[dict[str, typing.Any]]) -> list[dict[str, typing.Any]]:
        self.error = self._translators[source].error
        if self._include_usage:
            for chunk in chunks:
                chunk["usage"] = None
        return chunks


class ChatAggregator:
    """Puts a native stream together to one chat completion, for clients that did not ask for a stream.

    Errors are raised at once: nothing has gone to the client.
    """

    def __init__(
        self,
        *,
        model: str,
        created: int,
        make_id: typing.Callable[[], str],
        forced_tool: bool = False,
        cumulative: bool = False,
    ) -> None:
        self._translator = ChatStreamTranslator(
            model=model,
            created=created,
            make_id=make_id,
            include_usage=True,
            forced_tool=forced_tool,
            cumulative=cumulative,
        )
        self._choices: dict[int, _AggregatedChoice] = {}
        self._extensions: dict[str, typing.Any] = {}

    def feed(self, data: bytes) -> None:
        """Take in bytes of the stream; raise DashScopeError if there is an error in it."""
        self._take(self._translator.feed(data))

    def close(self) -> dict[str, typing.Any]:
        """Return the chat completion after a clean end of the stream, or raise DashScopeError."""
        chunks = self._translator.close()
        self._take(chunks)
        completion = {**chunks[-1], "object": "chat.completion"}  # the usage chunk: id, date, model and usage
        search_info = self._extensions.get("search_info")
        completion["choices"] = [
            choice.completion_choice(index, search_info) for index, choice in sorted(self._choices.items())
        ]
        completion.update(self._extensions)
        return completion

    def _take(self, chunks: list[dict[str, typing.Any]]) -> None:
        if self._translator.error is not None:
            raise self._translator.error
        for chunk in chunks:
            self._extensions.update(answer_extensions({"output": chunk}))
            for choice in chunk["choices"]:
                self._choices.setdefault(choice["index"], _AggregatedChoice()).add(choice)


class _StreamedChoice:
    """What was already said in one choice of a stream."""

    def __init__(self, cumulative: bool, make_id: typing.Callable[[], str]) -> None:
        self.closed = False
        self._cumulative = cumulative
        self._make_id = make_id
        self._text = ""
        self._reasoning = ""
        self._slots: list[_StreamedToolCall] = []
        self._slot_of_index: dict[int, _StreamedToolCall] = {}

    @property
    def has_tool_calls(self) -> bool:
        return bool(self._slots)

    def take_text(self, text: str) -> str:
        if not self._cumulative:
            return text
        news, self._text = _unsaid_part(self._text, text)
        return news

    def take_reasoning(self, reasoning: str) -> str:
        if not self._cumulative:
            return reasoning
        news, self._reasoning = _unsaid_part(self._reasoning, reasoning)
        return news

    def take_tool_calls(self, fragments: list[dict[str, typing.Any]]) -> list[dict[str, typing.Any]]:
        deltas = []
        for fragment in fragments:
            function = as_object(fragment.get("function"))
            arguments = tool_arguments(function.get("arguments"))
            if fragment.get("id") or function.get("name") or arguments:
                deltas.append(self._slot_for(fragment).take(fragment.get("id"), function.get("name"), arguments))
        return [delta for delta in deltas if delta is not None]

    def _slot_for(self, fragment: dict[str, typing.Any]) -> _StreamedToolCall:
        """Return the call that a fragment goes on with, or a new one.

        A fresh id begins a new call, even where the index is missing or, as some gateways have it, always 0.
        """
        index = fragment.get("index")
        if isinstance(index, int):
            slot = self._slot_of_index.get(index)
        else:
            slot = self._slots[-1] if self._slots else None
        if slot is None or slot.is_another_call(fragment.get("id")):
            slot = _StreamedToolCall(len(self._slots), self._cumulative, self._make_id)
            self._slots.append(slot)
            if isinstance(index, int):
                self._slot_of_index[index] = slot
        return slot


class _StreamedToolCall:
    """One tool call of a stream: id, type and name are said once, then only arguments."""

    def __init__(self, index: int, cumulative: bool, make_id: typing.Callable[[], str]) -> None:
        self._index = index
        self._cumulative = cumulative
        self._make_id = make_id
        self._native_id = ""
        self._begun = False
        self._named = False
        self._arguments = ""

    def is_another_call(self, native_id: object) -> bool:
        return bool(native_id and self._native_id) and native_id != self._native_id

    def take(self, native_id: object, name: object, arguments: str) -> dict[str, typing.Any] | None:
        if self._cumulative:
            arguments, self._arguments = _unsaid_part(self._arguments, arguments)
        delta: dict[str, typing.Any] = {"index": self._index}
        function: dict[str, typing.Any] = {}
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


class _AggregatedChoice:
    """One choice of a completion, as it grows chunk by chunk."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._reasonings: list[str] = []
        self._calls: dict[int, dict[str, typing.Any]] = {}
        self._logprobs: list[typing.Any] = []
        self._finish_reason = ""

    def add(self, choice: dict[str, typing.Any]) -> None:
        delta = choice["delta"]
        self._texts.append(delta.get("content", ""))
        self._reasonings.append(delta.get("reasoning_content", ""))
        for fragment in delta.get("tool_calls", ()):
            self._add_tool_call(fragment)
        if choice["logprobs"]:
            self._logprobs.extend(choice["logprobs"]["content"])
        self._finish_reason = choice["finish_reason"] or self._finish_reason

    def completion_choice(self, index: int, search_info: object) -> dict[str, typing.Any]:
        return completion_choice(
            index,
            text="".join(self._texts),
            reasoning="".join(self._reasonings),
            tool_calls=[_aggregated_call(call) for _, call in sorted(self._calls.items())],
            logprobs={"content": self._logprobs, "refusal": None} if self._logprobs else None,
            finish_reason=self._finish_reason,
            search_info=search_info,
        )

    def _add_tool_call(self, fragment: dict[str, typing.Any]) -> None:
        call = self._calls.setdefault(fragment["index"], {"id": "", "name": "", "arguments": []})
        call["id"] = fragment.get("id") or call["id"]
        call["name"] = fragment["function"].get("name") or call["name"]
        call["arguments"].append(fragment["function"]["arguments"])


def _aggregated_call(call: dict[str, typing.Any]) -> dict[str, typing.Any]:
    function = {"name": call["name"], "arguments": "".join(call["arguments"]) or "{}"}
    return {"id": call["id"], "type": "function", "function": function}


def _unsaid_part(said: str, frame: str) -> tuple[str, str]:
    """Return what a cumulative frame adds, and all that is said with it; a frame that does not repeat is a delta."""
    if frame.startswith(said):
        return frame[len(said) :], frame
    if said.startswith(frame):
        return "", said  # empty, or shorter than before: nothing new
    return frame, said + frame
