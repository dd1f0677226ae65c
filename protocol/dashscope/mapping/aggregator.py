"""A native chat stream, put together to one chat completion, for a client that did not ask for a stream.

Some models answer in no other way, and what a call that is not streamed has not said within 300 s is lost.
"""

from __future__ import annotations

import typing

from protocol.dashscope.mapping.answer import CompletionFacts, answer_extensions, completion_choice
from protocol.dashscope.mapping.stream import ChatStreamTranslator
from protocol.wire.json_text import JsonObject


class ChatAggregator:
    """Takes the bytes of a native stream and gives one chat completion.

    It raises an error at once: nothing has gone to the client. `cumulative` is as in ChatStreamTranslator.
    """

    def __init__(self, facts: CompletionFacts, *, cumulative: bool = False) -> None:
        self._translator = ChatStreamTranslator(facts, include_usage=True, cumulative=cumulative)
        self._choices: dict[int, _AggregatedChoice] = {}
        self._extensions: JsonObject = {}

    def feed(self, data: bytes) -> None:
        """Take in bytes of the stream; raise DashScopeError if there is an error in it."""
        self._take(self._translator.feed(data))

    def close(self) -> JsonObject:
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

    def _take(self, chunks: list[JsonObject]) -> None:
        if self._translator.error is not None:
            raise self._translator.error.anew()
        for chunk in chunks:
            self._extensions.update(answer_extensions({"output": chunk}))
            for choice in chunk["choices"]:
                self._choices.setdefault(choice["index"], _AggregatedChoice()).add(choice)


class _AggregatedChoice:
    """One choice of a completion, as it grows chunk by chunk."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._reasonings: list[str] = []
        self._calls: dict[int, _AggregatedCall] = {}
        self._logprobs: list[typing.Any] = []
        self._finish_reason = ""

    def add(self, choice: JsonObject) -> None:
        delta = choice["delta"]
        self._texts.append(delta.get("content", ""))
        self._reasonings.append(delta.get("reasoning_content", ""))
        for call_delta in delta.get("tool_calls", ()):
            self._calls.setdefault(call_delta["index"], _AggregatedCall()).add(call_delta)
        if choice["logprobs"]:
            self._logprobs.extend(choice["logprobs"]["content"])
        self._finish_reason = choice["finish_reason"] or self._finish_reason

    def completion_choice(self, index: int, search_info: object) -> JsonObject:
        return completion_choice(
            index,
            text="".join(self._texts),
            reasoning="".join(self._reasonings),
            tool_calls=[call.tool_call() for _, call in sorted(self._calls.items())],
            logprobs={"content": self._logprobs, "refusal": None} if self._logprobs else None,
            finish_reason=self._finish_reason,
            search_info=search_info,
        )


class _AggregatedCall:
    """One tool call, as it grows delta by delta."""

    def __init__(self) -> None:
        self._id = ""
        self._name = ""
        self._arguments: list[str] = []

    def add(self, delta: JsonObject) -> None:
        function = delta["function"]
        self._id = delta.get("id") or self._id
        self._name = function.get("name") or self._name
        self._arguments.append(function["arguments"])

    def tool_call(self) -> JsonObject:
        function = {"name": self._name, "arguments": "".join(self._arguments) or "{}"}
        return {"id": self._id, "type": "function", "function": function}
