"""Embeddings and rerank: one request, one answer, perhaps several native calls."""

from __future__ import annotations

import functools

from protocol.dashscope.calls import Caller, NativeClient, run_together
from protocol.dashscope.mapping.embed import merge_embeddings, plan_embeddings, plan_rerank, rerank_answer
from protocol.dashscope.request_body import BodyReader
from protocol.exchange import Request, Response
from protocol.openai.answers import json_response

_CALLS_AT_ONCE = 4


class EmbeddingEndpoints:
    """Answers requests for embeddings and rerank."""

    def __init__(self, client: NativeClient, bodies: BodyReader) -> None:
        self._client = client
        self._bodies = bodies

    async def create_embeddings(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /embeddings`; more inputs than a call takes go in several, at most four at once."""
        plan = plan_embeddings(await self._bodies.read_object(request))
        jobs = [functools.partial(self._client.ask, call, caller) for call in plan.calls]
        return json_response(merge_embeddings(plan, await run_together(jobs, _CALLS_AT_ONCE)))

    async def rerank(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /rerank`, and `/reranks`, as DashScope's own API of this shape has it."""
        body = await self._bodies.read_object(request)
        answer = await self._client.ask(plan_rerank(body), caller)
        return json_response(rerank_answer(answer, body["model"]))
