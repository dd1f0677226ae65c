"""Embeddings and rerank: one request, one answer, perhaps several native calls."""

from __future__ import annotations

import typing

from protocol.dashscope.calls import Caller, NativeClient, run_together
from protocol.dashscope.mapping.embed import merge_embeddings, plan_embeddings, plan_rerank, rerank_answer
from protocol.dashscope.mapping.native import NativeCall
from protocol.exchange import Request, Response
from protocol.openai.answers import json_response
from protocol.wire.json_text import JsonObject

_EMBEDDING_CALLS_AT_ONCE = 4


class Lists:
    """Answers requests for embeddings and rerank."""

    def __init__(self, client: NativeClient) -> None:
        self._client = client

    async def embed(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /embeddings`; more inputs than a call takes go in several, at most four at once."""
        plan = plan_embeddings(request.json_object())
        jobs = [self._job(call, caller) for call in plan.calls]
        answers = await run_together(jobs, _EMBEDDING_CALLS_AT_ONCE)
        return json_response(merge_embeddings(plan, answers))

    async def rerank(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /rerank`."""
        body = request.json_object()
        answer = await self._client.ask(plan_rerank(body), caller)
        return json_response(rerank_answer(answer, body["model"]))

    def _job(self, call: NativeCall, caller: Caller) -> typing.Callable[[], typing.Awaitable[JsonObject]]:
        return lambda: self._client.ask(call, caller)
