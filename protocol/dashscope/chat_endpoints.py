"""Chat completions, and legacy completions through them: which calls are made, and what becomes of their answers."""

from __future__ import annotations

import functools
import typing

from protocol.dashscope.calls import MOST_ANSWER_BYTES, Caller, NativeClient, next_piece, run_together, too_large
from protocol.dashscope.mapping.aggregator import ChatAggregator
from protocol.dashscope.mapping.answer import CompletionFacts, chat_completion, merge_completions
from protocol.dashscope.mapping.chat import ChatPlan, final_chat_error, plan_chat, retry_plan
from protocol.dashscope.mapping.errors import DashScopeError, upstream_bad_response
from protocol.dashscope.mapping.learned import NOTHING_LEARNED, LearnedMemory
from protocol.dashscope.mapping.legacy import chat_request_for_completion, text_completion, text_completion_chunk
from protocol.dashscope.mapping.native import NativeCall
from protocol.dashscope.mapping.stream import ChatStreamTranslator, parallel_translators
from protocol.dashscope.request_body import BodyReader
from protocol.dashscope.streaming import encode_events, streamed_response, translated_events
from protocol.exchange import Request, Response
from protocol.openai.answers import EVENT_STREAM_FIELDS, json_response
from protocol.wire.json_text import JsonObject
from protocol.wire.sse import DONE_EVENT


class ChatEndpoints:
    """Answers requests for chat completions and legacy completions.

    `default_model` is asked where a request names none. `endpoints` says which of DashScope's chat endpoints takes a
    model (pattern → "text" or "multimodal"). In a stream `keepalive_seconds` of silence give a comment (0: never).
    `clock` gives seconds since the epoch, `make_id` fresh hex digits.
    """

    def __init__(
        self,
        client: NativeClient,
        bodies: BodyReader,
        *,
        default_model: str,
        endpoints: typing.Mapping[str, str],
        keepalive_seconds: float,
        clock: typing.Callable[[], float],
        make_id: typing.Callable[[], str],
    ) -> None:
        self._client = client
        self._bodies = bodies
        self._default_model = default_model
        self._endpoints = endpoints
        self._keepalive_seconds = keepalive_seconds
        self._clock = clock
        self._make_id = make_id
        self._memory = LearnedMemory()

    async def create_chat_completion(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /chat/completions`."""
        return await self._answer(self._with_model(await self._bodies.read_object(request)), caller, legacy=False)

    async def create_completion(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /completions`."""
        body = chat_request_for_completion(self._with_model(await self._bodies.read_object(request)))
        return await self._answer(body, caller, legacy=True)

    def _with_model(self, body: JsonObject) -> JsonObject:
        return {**body, "model": self._default_model} if body.get("model") is None else body

    async def _answer(self, body: JsonObject, caller: Caller, *, legacy: bool) -> Response:
        """Carry the request out, again where that may help (`retry_plan` says how), and remember what did."""
        model = body["model"]
        known = self._memory.recall(model) if isinstance(model, str) else NOTHING_LEARNED
        plan = plan_chat(body, routes=self._endpoints, learned=known)
        while True:
            try:
                response = await self._carry_out(plan, caller, legacy)
            except DashScopeError as error:
                retry = retry_plan(body, plan, error)
                if retry is None:
                    raise final_chat_error(plan, error) from None
                plan = retry
            else:
                if plan.learned != known:
                    self._memory.remember(plan.model, plan.learned)
                return response

    async def _carry_out(self, plan: ChatPlan, caller: Caller, legacy: bool) -> Response:
        if plan.stream:
            return await self._stream(plan, caller, legacy)
        ask = self._ask_by_stream if plan.aggregate else self._ask
        jobs = [functools.partial(ask, plan, call, caller) for call in plan.calls]
        completions = await run_together(jobs, len(jobs))
        completion = merge_completions(completions) if len(completions) > 1 else completions[0]
        return json_response(text_completion(completion) if legacy else completion)

    async def _ask(self, plan: ChatPlan, call: NativeCall, caller: Caller) -> JsonObject:
        answer = await self._client.ask(call, caller)
        completion = chat_completion(answer, self._facts(plan))
        if not completion["choices"]:
            raise upstream_bad_response("the answer has no choices")
        return completion

    async def _ask_by_stream(self, plan: ChatPlan, call: NativeCall, caller: Caller) -> JsonObject:
        """Make a call as a stream and put it together, for models that answer in no other way."""
        aggregator = ChatAggregator(self._facts(plan), cumulative=plan.cumulative)
        answer = await self._client.open(call, caller)
        size = 0
        try:
            data = await next_piece(answer)
            while data:
                size += len(data)
                if size > MOST_ANSWER_BYTES:
                    raise too_large(MOST_ANSWER_BYTES)
                caller.request.hold(len(data))
                aggregator.feed(data)
                data = await next_piece(answer)
        finally:
            answer.discard()
        return aggregator.close()

    async def _stream(self, plan: ChatPlan, caller: Caller, legacy: bool) -> Response:
        answers = await self._client.open_all(plan.calls, caller)
        facts = self._facts(plan)
        usage, cumulative = plan.include_usage, plan.cumulative
        if len(answers) == 1:
            translators = [ChatStreamTranslator(facts, include_usage=usage, cumulative=cumulative)]
        else:
            translators = parallel_translators(len(answers), facts, include_usage=usage, cumulative=cumulative)
        events = translated_events(
            list(zip(answers, translators)),
            encode=_encode_legacy_chunks if legacy else encode_events,
            last=DONE_EVENT,
            keepalive_seconds=self._keepalive_seconds,
        )
        return await streamed_response(EVENT_STREAM_FIELDS, events, caller)

    def _facts(self, plan: ChatPlan) -> CompletionFacts:
        return CompletionFacts(plan.model, int(self._clock()), self._make_id, plan.forced_tool, plan.stand_ins)


def _encode_legacy_chunks(chunks: list[JsonObject]) -> bytes:
    return encode_events([legacy for legacy in map(text_completion_chunk, chunks) if legacy is not None])
