"""Equal answers to equal requests, for `freeze = yes`: ids and choices come from the request alone, not from its turn.

That holds where nothing is kept of a request. What is kept has to have an id of its own, which comes from the order of
requests, and so is the same in each run.
"""

from __future__ import annotations

import hashlib

from protocol.decided import draw_for
from protocol.errors import ApiError
from protocol.exchange import LONG_BODY, Endpoint, LateEndpoint, Request, Response, answer_in_turns
from protocol.turns import in_turns
from protocol.wire.gathering import stretches

# Paths that answer and keep nothing, or only what `store` says; whether they keep it where that is not said.
_KEEPS = {
    "/audio/speech": False,
    "/chat/completions": False,
    "/completions": False,
    "/embeddings": False,
    "/images/generations": False,
    "/moderations": False,
    "/responses": True,
}

# Steps (protocol/budget.py): to hash what is hashed before others may have their turns.
_HASHED_STEPS = 1_000


def repeating_endpoint(endpoint: Endpoint, method: str, path: str, seed: str) -> Endpoint:
    """Return an endpoint that answers equal requests equally: that one itself where it keeps what it makes."""
    if method != "POST" or path not in _KEEPS:
        return endpoint
    if isinstance(endpoint, LateEndpoint):
        late = endpoint

        async def find(request: Request) -> Endpoint:
            return repeating_endpoint(await late.find(request), method, path, seed)

        return LateEndpoint(find, streams_body=endpoint.streams_body)

    async def answer(request: Request) -> Response:
        is_long = len(request.body) > LONG_BODY
        mark = await in_turns(lambda: _mark(request, _KEEPS[path])) if is_long else _mark(request, _KEEPS[path])
        if mark:
            draw_for(seed, f"{path}?{request.head.query} {mark}", 0)
        if is_long:
            return await answer_in_turns(lambda: endpoint.answer(request))
        given = endpoint.answer(request)
        return given if isinstance(given, Response) else await given

    return Endpoint(
        answer,
        endpoint.label,
        streams_body=endpoint.streams_body,
        errors=endpoint.errors,
        early_head=endpoint.early_head,
    )


def _mark(request: Request, keeps_by_default: bool) -> str:
    """Return what equal bodies have in common, "" for a request of which something is kept."""
    if _is_kept(request, keeps_by_default):
        return ""
    hashed = hashlib.sha256()
    for stretch in stretches(request.body, _HASHED_STEPS):
        hashed.update(stretch)
    return hashed.hexdigest()


def _is_kept(request: Request, by_default: bool) -> bool:
    try:
        store = request.json_object().get("store")
    except ApiError:
        return True
    return store if isinstance(store, bool) else by_default
