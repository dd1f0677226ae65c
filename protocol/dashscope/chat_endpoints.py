"""Chat completions, and legacy completions through them: which calls are made, and what becomes of their answers."""

from __future__ import annotations

import typing

from protocol.dashscope.calls import (
    MOST_ANSWER_BYTES,
    Caller,
    NativeClient,
    StreamTranslator,
    begin_body,
    next_piece,
    run_together,
    translated_events,
)
from protocol.dashscope.mapping.answer import merge_completions, native_to_completion
from protocol.dashscope.mapping.chat import ChatPlan, final_chat_error, plan_chat, retry_plan
from protocol.dashscope.mapping.errors import DashScopeError, upstream_bad_response
from protocol.dashscope.mapping.legacy import chat_request_of_completion, completion_of_chat
from protocol.dashscope.mapping.models import EndpointMemory
from protocol.dashscope.mapping.native import NativeCall
from protocol.dashscope.mapping.stream import ChatAggregator, ChatStreamMerger, ChatStreamTranslator
from protocol.exchange import Request, Response
from protocol.openai.answers import EVENT_STREAM_FIELDS, json_response
from protocol.wire.json_text import JsonObject
from protocol.wire.sse import DONE_EVENT

_Shape = typing.Callable[[JsonObject], typing.Optional[JsonObject]]


class Talk:
    """Answers chat requests.

    `default_model` is asked where a request names none, `endpoints` says which chat endpoint takes a model (pattern →
    "text" or "multimodal"), `keepalive_seconds` of silence in a stream give a comment (0: never). `clock` gives seconds
    since the epoch, `make_id` fresh hex digits.
    """

    def __init__(
        self,
        client: NativeClient,
        *,
        default_model: str,
        endpoints: typing.Mapping[str, str],
        keepalive_seconds: float,
        clock: typing.Callable[[], float],
        make_id: typing.Callable[[], str],
    ) -> None:
        self._client = client
        self._default_model = default_model
        self._endpoints = endpoints
        self._keepalive_seconds = keepalive_seconds
        self._clock = clock
        self._make_id = make_id
        self._memory = EndpointMemory()

    async def chat(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /chat/completions`."""
        return await self._answer(self._with_model(request.json_object()), caller, _as_it_is)

    async def complete(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /completions`."""
        body = chat_request_of_completion(self._with_model(request.json_object()))
        return await self._answer(body, caller, completion_of_chat)

    def _with_model(self, body: JsonObject) -> JsonObject:
        return {**body, "model": self._default_model} if body.get("model") is None else body

    async def _answer(self, body: JsonObject, caller: Caller, shape: _Shape) -> Response:
        """Carry the request out, with the retries that may help: another endpoint, or a stream for a plain call."""
        model = body["model"]
        remembered = self._memory.recall(model) if isinstance(model, str) else None
        plan = plan_chat(body, routes=self._endpoints, remembered=remembered)
        while True:
            try:
                response = await self._carry_out(plan, caller, shape)
            except DashScopeError as error:
                retry = retry_plan(body, plan, error)
                if retry is None:
                    raise final_chat_error(plan, error) from None
                plan = retry
            else:
                if plan.endpoint_retried:
                    self._memory.remember(plan.model, plan.endpoint)
                return response

    async def _carry_out(self, plan: ChatPlan, caller: Caller, shape: _Shape) -> Response:
        if plan.stream:
            return await self._stream(plan, caller, shape)
        ask = self._ask_by_stream if plan.aggregate else self._ask
        jobs = [_chat_job(ask, plan, call, caller) for call in plan.calls]
        completions = await run_together(jobs, len(jobs))
        return json_response(shape(merge_completions(completions) if len(completions) > 1 else completions[0]))

    async def _ask(self, plan: ChatPlan, call: NativeCall, caller: Caller) -> JsonObject:
        answer = await self._client.ask(call, caller)
        completion = native_to_completion(answer, **self._stamp(plan))
        if not completion["choices"]:
            raise upstream_bad_response("the answer has no choices")
        return completion

    async def _ask_by_stream(self, plan: ChatPlan, call: NativeCall, caller: Caller) -> JsonObject:
        """Make a call as a stream and put it together, for models that answer in no other way."""
        aggregator = ChatAggregator(**self._stamp(plan))
        answer = await self._client.open(call, caller)
        size = 0
        try:
            data = await next_piece(answer)
            while data:
                size += len(data)
                if size > MOST_ANSWER_BYTES:
                    raise upstream_bad_response(f"it has more than {MOST_ANSWER_BYTES} bytes")
                aggregator.feed(data)
                data = await next_piece(answer)
        finally:
            answer.discard()
        return aggregator.close()

    async def _stream(self, plan: ChatPlan, caller: Caller, shape: _Shape) -> Response:
        answers = await self._client.open_all(plan.calls, caller)
        stamp = {**self._stamp(plan), "include_usage": plan.include_usage}
        translator: typing.Any = (
            ChatStreamTranslator(**stamp) if len(answers) == 1 else ChatStreamMerger(len(answers), **stamp)
        )
        events = translated_events(
            answers,
            translator if shape is _as_it_is else _Shaped(translator, shape),
            last=DONE_EVENT,
            keepalive_seconds=self._keepalive_seconds,
        )
        return Response(200, EVENT_STREAM_FIELDS, await begin_body(events, caller))

    def _stamp(self, plan: ChatPlan) -> dict[str, typing.Any]:
        return {
            "model": plan.model,
            "created": int(self._clock()),
            "make_id": self._make_id,
            "forced_tool": plan.forced_tool,
        }


def _chat_job(
    ask: typing.Callable[[ChatPlan, NativeCall, Caller], typing.Awaitable[JsonObject]],
    plan: ChatPlan,
    call: NativeCall,
    caller: Caller,
) -> typing.Callable[[], typing.Awaitable[JsonObject]]:
    return lambda: ask(plan, call, caller)


def _as_it_is(chat: JsonObject) -> JsonObject:
    return chat


class _Shaped:
    """A translator whose chunks get another shape, or are left out."""

    def __init__(self, translator: StreamTranslator, shape: _Shape) -> None:
        self._translator = translator
        self._shape = shape

    @property
    def error(self) -> DashScopeError | None:
        return self._translator.error

    def feed(self, data: bytes, *source: int) -> list[JsonObject]:
        return self._shaped(self._translator.feed(data, *source))

    def close(self, *source: int) -> list[JsonObject]:
        return self._shaped(self._translator.close(*source))

    def _shaped(self, chunks: list[JsonObject]) -> list[JsonObject]:
        return [shaped for shaped in map(self._shape, chunks) if shaped is not None]
