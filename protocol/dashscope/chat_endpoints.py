"""Chat completions, and legacy completions through them: which calls are made, and what becomes of their answers."""

from __future__ import annotations

import collections
import functools
import typing

from protocol.dashscope.calls import (
    MOST_ANSWER_BYTES,
    Caller,
    CallerKind,
    NativeClient,
    next_piece,
    read_whole,
    run_together,
    too_large,
)
from protocol.dashscope.chat_events import ChatEvents
from protocol.dashscope.direct_call import Attempt, DirectCall, GoOn
from protocol.dashscope.mapping.aggregator import ChatAggregator
from protocol.dashscope.mapping.answer import CompletionFacts, chat_completion, merge_completions
from protocol.dashscope.mapping.chat import ChatPlan, final_chat_error, plan_chat, retry_plan
from protocol.dashscope.mapping.errors import DashScopeError, upstream_bad_response
from protocol.dashscope.mapping.learned import NOTHING_LEARNED, LearnedMemory
from protocol.dashscope.mapping.legacy import chat_request_for_completion, text_completion, text_completion_chunk
from protocol.dashscope.mapping.native import NativeCall
from protocol.dashscope.mapping.plain_completion import plain_completion
from protocol.dashscope.mapping.stream import ChatStreamTranslator, parallel_translators
from protocol.dashscope.mapping.usual_chat import usual_chat
from protocol.dashscope.request_body import BodyReader
from protocol.dashscope.streaming import TranslatedBody, encode_events, streamed_response, translated_events
from protocol.exchange import LONG_BODY, Answer, Request, Response
from protocol.openai.answers import EVENT_STREAM_FIELDS, JSON_FIELDS, json_response
from protocol.upstream.connection import UpstreamConnection
from protocol.wire.http1.messages import ResponseHead
from protocol.wire.json_text import JsonObject, encode_json
from protocol.wire.sse import DONE_EVENT

# Of so many chats of a caller that have no form, or none that is known, one is looked at for its own.
_CHATS_A_LOOK = 32
_FORMS_A_CALLER = 4
_MOST_CALLERS = 256  # whose forms are kept

#: Makes the coroutine that awaits an attempt for a caller, and gives its answer or error the last touch.
Finish = typing.Callable[[Caller, Attempt], typing.Coroutine[typing.Any, typing.Any, Response]]


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
        finish: Finish,
        *,
        default_model: str,
        endpoints: typing.Mapping[str, str],
        keepalive_seconds: float,
        clock: typing.Callable[[], float],
        make_id: typing.Callable[[], str],
    ) -> None:
        self._client = client
        self._bodies = bodies
        self._finish = finish
        self._default_model = default_model
        self._endpoints = endpoints
        self._keepalive_seconds = keepalive_seconds
        self._clock = clock
        self._make_id = make_id
        self._memory = LearnedMemory()
        self._kinds: collections.deque[CallerKind] = collections.deque()  # those with usual chats

    def create_chat_completion(self, request: Request, caller: Caller) -> Answer:
        """Answer `POST /chat/completions`."""
        body = request.body
        if len(body) <= LONG_BODY:
            for usual in caller.kind.usual_chats:
                native_body = usual.native_body(body)
                if native_body:
                    connection = self._client.begin_usual(usual.plan.calls[0], native_body, caller)
                    if connection is None:
                        break
                    go_on = functools.partial(self._go_on_usual, request, usual.plan, caller, connection)
                    return self._direct_call(usual.plan, connection, caller, False, go_on)
        return self._begin(request, caller, legacy=False)

    def create_completion(self, request: Request, caller: Caller) -> Answer:
        """Answer `POST /completions`."""
        return self._begin(request, caller, legacy=True)

    def _begin(self, request: Request, caller: Caller, *, legacy: bool) -> Answer:
        """Make the call at once where that can be done without waiting (direct_call.py)."""
        if len(request.body) > LONG_BODY:
            return self._finish(caller, functools.partial(self._answer_long, request, caller, legacy))
        body = self._chat_request(self._bodies.short_object(request), legacy)
        plan = self._plan(body)
        connection = None
        if len(plan.calls) == 1 and not plan.aggregate:
            connection = self._client.begin(plan.calls[0], caller)
        go_on = functools.partial(self._go_on, body, plan, caller, legacy, connection)
        if connection is None:
            return go_on(None)
        if not legacy:
            self._look_for_form(request, body, plan, caller)
        return self._direct_call(plan, connection, caller, legacy, go_on)

    def _look_for_form(self, request: Request, body: JsonObject, plan: ChatPlan, caller: Caller) -> None:
        """Find the form of a chat, often at first and then now and then, for those that follow."""
        kind = caller.kind
        number = kind.other_chats
        kind.other_chats += 1
        if number & (number - 1) and number % _CHATS_A_LOOK:
            return
        found = usual_chat(request.body, body, plan, self._endpoints)
        if found is not None:
            if not kind.usual_chats:
                self._kinds.append(kind)
            kind.usual_chats = (found, *kind.usual_chats[: _FORMS_A_CALLER - 1])
            if len(self._kinds) > _MOST_CALLERS:
                self._kinds.popleft().usual_chats = ()

    def _direct_call(
        self, plan: ChatPlan, connection: UpstreamConnection, caller: Caller, legacy: bool, go_on: GoOn
    ) -> DirectCall:
        """Return the answer to a plan's only call, which is made."""
        if not plan.stream:
            finish = functools.partial(self._whole, plan, caller, legacy)
            return DirectCall(self._client, connection, caller, go_on, finish=finish)
        seconds = self._keepalive_seconds
        if legacy:
            body = TranslatedBody(self._translator(plan), _encode_legacy_chunks, DONE_EVENT, seconds, caller)
        else:
            body = TranslatedBody(self._events(plan), b"".join, DONE_EVENT, seconds, caller)
        return DirectCall(self._client, connection, caller, go_on, reading=body)

    async def _answer_long(self, request: Request, caller: Caller, legacy: bool) -> Response:
        body = self._chat_request(await self._bodies.read_object(request), legacy)
        plan = self._plan(body)
        return await self._answer(body, plan, caller, legacy, functools.partial(self._carry_out, plan, caller, legacy))

    def _chat_request(self, body: JsonObject, legacy: bool) -> JsonObject:
        if body.get("model") is None:
            body = {**body, "model": self._default_model}
        return chat_request_for_completion(body) if legacy else body

    def _plan(self, body: JsonObject) -> ChatPlan:
        """Return the plan that is made with what is known of the model."""
        model = body["model"]
        known = self._memory.recall(model) if isinstance(model, str) else NOTHING_LEARNED
        return plan_chat(body, routes=self._endpoints, learned=known)

    def _go_on(
        self,
        body: JsonObject,
        plan: ChatPlan,
        caller: Caller,
        legacy: bool,
        connection: UpstreamConnection | None,
        attempt: Attempt | None,
    ) -> typing.Coroutine[typing.Any, typing.Any, Response]:
        if attempt is None:
            attempt = functools.partial(self._carry_out, plan, caller, legacy, connection)
        return self._finish(caller, functools.partial(self._answer, body, plan, caller, legacy, attempt))

    def _go_on_usual(
        self,
        request: Request,
        usual: ChatPlan,
        caller: Caller,
        connection: UpstreamConnection,
        attempt: Attempt | None,
    ) -> typing.Coroutine[typing.Any, typing.Any, Response]:
        """Go on with a chat whose call was made by its form. It is planned now, with what was known then."""
        body = self._chat_request(self._bodies.short_object(request), False)
        plan = plan_chat(body, routes=self._endpoints, learned=usual.learned)
        return self._go_on(body, plan, caller, False, connection, attempt)

    async def _answer(
        self, body: JsonObject, plan: ChatPlan, caller: Caller, legacy: bool, attempt: Attempt
    ) -> Response:
        """Carry a plan out, which is what `attempt` does.

        Make other plans where these may help (`retry_plan` says how), and remember what did.
        """
        known = plan.learned
        while True:
            try:
                response = await attempt()
            except DashScopeError as error:
                retry = retry_plan(body, plan, error)
                if retry is None:
                    raise final_chat_error(plan, error) from None
                plan = retry
                attempt = functools.partial(self._carry_out, plan, caller, legacy)
            else:
                if plan.learned != known:
                    self._memory.remember(plan.model, plan.learned)
                    self._forget_forms()
                return response

    def _forget_forms(self) -> None:
        """Forget the forms that were found: now more is known than the calls were made with."""
        while self._kinds:
            kind = self._kinds.pop()
            kind.usual_chats, kind.other_chats = (), 0

    async def _carry_out(
        self, plan: ChatPlan, caller: Caller, legacy: bool, begun: UpstreamConnection | None = None
    ) -> Response:
        """Make the calls of a plan and answer as they are answered; `begun` is where the only one is made already."""
        if plan.stream:
            return await self._stream(plan, caller, legacy, begun)
        if begun is not None:
            answer = await self._client.open(plan.calls[0], caller, begun)
            body = await read_whole(answer, MOST_ANSWER_BYTES, caller.request)
            return self._whole(plan, caller, legacy, body, answer.head)
        ask = self._ask_by_stream if plan.aggregate else self._ask
        jobs = [functools.partial(ask, plan, call, caller) for call in plan.calls]
        completions = await run_together(jobs, len(jobs))
        completion = merge_completions(completions) if len(completions) > 1 else completions[0]
        return json_response(text_completion(completion) if legacy else completion)

    def _whole(self, plan: ChatPlan, caller: Caller, legacy: bool, body: bytes, head: ResponseHead) -> Response:
        """Return our answer for the whole body of the only call's, and its head."""
        usual = None if legacy else plain_completion(body, self._facts(plan))
        if usual is not None:
            written, request_id = usual
            caller.adopt_request_id(request_id)
        else:
            completion = self._completion(plan, self._client.read_object(body, head, caller))
            written = encode_json(text_completion(completion) if legacy else completion)
        return Response(200, JSON_FIELDS, written, None, caller.answer_id)

    async def _ask(self, plan: ChatPlan, call: NativeCall, caller: Caller) -> JsonObject:
        return self._completion(plan, await self._client.ask(call, caller))

    def _completion(self, plan: ChatPlan, answer: JsonObject) -> JsonObject:
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

    async def _stream(self, plan: ChatPlan, caller: Caller, legacy: bool, begun: UpstreamConnection | None) -> Response:
        if begun is not None:
            answers = [await self._client.open(plan.calls[0], caller, begun)]
        else:
            answers = await self._client.open_all(plan.calls, caller)
        if len(answers) == 1:
            translators = [self._translator(plan)]
        else:
            usage, cumulative = plan.include_usage, plan.cumulative
            translators = parallel_translators(
                len(answers), self._facts(plan), include_usage=usage, cumulative=cumulative
            )
        events = translated_events(
            list(zip(answers, translators)),
            encode=_encode_legacy_chunks if legacy else encode_events,
            last=DONE_EVENT,
            keepalive_seconds=self._keepalive_seconds,
        )
        return await streamed_response(EVENT_STREAM_FIELDS, events, caller)

    def _events(self, plan: ChatPlan) -> ChatEvents:
        return ChatEvents(self._facts(plan), include_usage=plan.include_usage, cumulative=plan.cumulative)

    def _translator(self, plan: ChatPlan) -> ChatStreamTranslator:
        return ChatStreamTranslator(self._facts(plan), include_usage=plan.include_usage, cumulative=plan.cumulative)

    def _facts(self, plan: ChatPlan) -> CompletionFacts:
        return CompletionFacts(plan.model, int(self._clock()), self._make_id, plan.forced_tool, plan.stand_ins)


def _encode_legacy_chunks(chunks: list[JsonObject]) -> bytes:
    return encode_events([legacy for legacy in map(text_completion_chunk, chunks) if legacy is not None])
